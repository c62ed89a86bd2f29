//! App users, their invitations, phones' bindings and trunks: the whole tree on virtual time.

mod clients;
mod invitations;
mod registrar;
mod trunks;

use std::time::Duration;

use tandem_actors::client::protocol::{Event, Reply, Request};
use tandem_actors::fakes::World;
use tandem_actors::model::ids::{ClientId, UserId};

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a user id")
}

/// Logs in on a new socket; fails unless it is welcome.
async fn log_in(world: &World, name: &str) -> ClientId {
    let client = world.client.connect(&user(name), None);
    let reply = world.find("the welcome", |world| world.client.reply(client, "login")).await;
    assert!(matches!(reply, Reply::Welcome { resumed: false, .. }), "{reply:?}");
    client
}

/// A request and its reply.
async fn ask(world: &World, client: ClientId, body: Request) -> Reply {
    let request = world.client.request(client, body);
    world.find("a reply", |world| world.client.reply(client, &request)).await
}

/// Lets time pass while these keep pinging.
async fn pass_awake(world: &World, clients: &[ClientId], time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        for client in clients {
            world.client.request(*client, Request::Ping {});
        }
        let left = end - tokio::time::Instant::now();
        world.pass(left.min(Duration::from_secs(2))).await;
    }
}

/// The sequence numbers of what was delivered to a socket.
fn numbers(world: &World, client: ClientId) -> Vec<u64> {
    use tandem_actors::client::protocol::Body;
    let number = |body: Body| match body {
        Body::Event { seq, .. } => Some(seq),
        Body::Reply { .. } => None,
    };
    world.client.frames(client).into_iter().filter_map(|frame| number(frame.body)).collect()
}

/// The `type` of each event of a socket, in order.
fn types(world: &World, client: ClientId) -> Vec<String> {
    let name = |event: &Event| {
        let json = serde_json::to_value(event).expect("json");
        json.get("type").and_then(|name| name.as_str()).unwrap_or_default().to_owned()
    };
    world.client.events(client).iter().map(name).collect()
}
