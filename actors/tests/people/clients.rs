use std::time::Duration;

use tandem_actors::Kind;
use tandem_actors::client::protocol::{Body, ErrorCode, Event, PresenceOf, Reply, Request};
use tandem_actors::fakes::World;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::{CallId, ClientId};
use tandem_actors::model::settings::Settings;

use super::{ask, log_in, numbers, pass_awake, types, user};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn event(n: u64) -> Event {
    Event::CallEnded { call: CallId(n), cause: Cause::hangup() }
}

fn say(world: &World, client: ClientId, event: Event) {
    assert!(world.ctx().directory.clients.post(&client, tandem_actors::client::ClientMsg::Emit(event)).is_ok());
}

async fn resume(world: &World, name: &str, from: (ClientId, u64)) -> (ClientId, bool) {
    let socket = world.client.connect(&user(name), Some(from));
    let reply = world.find("the welcome", |world| world.client.reply(socket, "login")).await;
    let Reply::Welcome { resumed, .. } = reply else { panic!("not welcome: {reply:?}") };
    (socket, resumed)
}

#[tokio::test(start_paused = true)]
async fn a_resumed_connection_hears_what_it_missed_and_keeps_its_identity() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    say(&world, alice, event(1));
    say(&world, alice, event(2));
    world.until("two events", |world| numbers(world, alice) == [1, 2]).await;
    world.client.lose(alice);
    world.pass(MS(100)).await;
    say(&world, alice, event(3));
    world.pass(MS(20_000)).await;
    let (socket, resumed) = resume(&world, "alice", (alice, 1)).await;
    assert!(resumed);
    say(&world, alice, event(4));
    world.until("what it missed", |world| numbers(world, socket) == [2, 3, 4]).await;
    assert_eq!(world.ctx().ledger.clients.keys(), [alice]);
    // And again, from the new socket, by the same identity.
    world.client.lose(socket);
    let (again, resumed) = resume(&world, "alice", (alice, 4)).await;
    assert!(resumed && numbers(&world, again).is_empty());
    assert!(matches!(ask(&world, again, Request::Ping {}).await, Reply::Done {}));
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_needs_a_dropped_event_logs_in_afresh_and_is_counted() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    for n in 0..300 {
        say(&world, alice, event(n));
    }
    world.until("all events", |world| numbers(world, alice).len() == 300).await;
    world.client.lose(alice);
    world.pass(MS(1000)).await;
    let (socket, resumed) = resume(&world, "alice", (alice, 10)).await;
    assert!(!resumed);
    assert_eq!(world.meter.count("tandem_client_resumes_total", Some(("outcome", "overflow"))), 1);
    world.until("the old one is gone", |world| world.ctx().ledger.clients.keys() == [socket]).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_resumes_somebody_elses_connection() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    let (_, resumed) = resume(&world, "eve", (alice, 0)).await;
    assert!(!resumed);
    assert!(matches!(ask(&world, alice, Request::Ping {}).await, Reply::Done {}));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_kept_for_the_resume_window_and_no_longer() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    world.client.lose(alice);
    world.pass(MS(29_900)).await;
    assert_eq!(world.ctx().ledger.clients.len(), 1);
    world.pass(MS(300)).await;
    assert!(world.ctx().ledger.clients.is_empty() && world.ctx().directory.clients.is_empty());
    assert!(world.ctx().directory.users.clients(&user("alice")).is_empty());
    assert!(!resume(&world, "alice", (alice, 0)).await.1);
}

#[tokio::test(start_paused = true)]
async fn a_second_login_kicks_the_first() {
    let world = World::start(Settings::default()).await;
    let first = log_in(&world, "alice").await;
    let second = log_in(&world, "alice").await;
    world.until("the first is closed", |world| world.client.closed(first).is_some()).await;
    assert_eq!(world.client.events(first), [Event::Kicked { reason: "REMOTE_LOGIN".into() }]);
    assert!(matches!(ask(&world, second, Request::Ping {}).await, Reply::Done {}));
    assert_eq!(world.ctx().directory.users.clients(&user("alice")), [second]);
}

#[tokio::test(start_paused = true)]
async fn a_third_login_within_a_second_is_refused() {
    let world = World::start(Settings::default()).await;
    log_in(&world, "alice").await;
    log_in(&world, "alice").await;
    let third = world.client.connect(&user("alice"), None);
    let reply = world.find("a reply", |world| world.client.reply(third, "login")).await;
    assert!(matches!(reply, Reply::Error { code: ErrorCode::RateLimited, .. }));
    world.pass(MS(1000)).await;
    log_in(&world, "alice").await;
}

#[tokio::test(start_paused = true)]
async fn watchers_hear_of_silence_after_6_and_30_s_and_queries_never_say_unreachable() {
    let world = World::start(Settings::default()).await;
    let (alice, bob) = (log_in(&world, "alice").await, log_in(&world, "bob").await);
    let of_bob = |state| Reply::Presence { users: vec![PresenceOf { user: user("bob"), state }] };
    let changed = |state| Event::PresenceChanged(PresenceOf { user: user("bob"), state });
    ask(&world, bob, Request::Ping {}).await;
    assert_eq!(ask(&world, alice, Request::PresenceSubscribe { users: vec![user("bob")] }).await, of_bob(0));
    pass_awake(&world, &[alice], MS(5_500)).await;
    assert!(world.client.events(alice).is_empty());
    pass_awake(&world, &[alice], MS(1_000)).await;
    assert_eq!(world.client.events(alice), [changed(1)]);
    assert_eq!(ask(&world, alice, Request::PresenceQuery { users: vec![user("bob")] }).await, of_bob(0));
    ask(&world, bob, Request::Ping {}).await;
    world.until("bob is back", |world| world.client.events(alice) == [changed(1), changed(0)]).await;
    pass_awake(&world, &[alice], MS(30_500)).await;
    assert_eq!(world.client.events(alice), [changed(1), changed(0), changed(1), changed(2)]);
    assert_eq!(ask(&world, alice, Request::PresenceQuery { users: vec![user("bob")] }).await, of_bob(2));
}

#[tokio::test(start_paused = true)]
async fn who_logs_out_is_offline_at_once() {
    let world = World::start(Settings::default()).await;
    let (alice, bob) = (log_in(&world, "alice").await, log_in(&world, "bob").await);
    ask(&world, alice, Request::PresenceSubscribe { users: vec![user("bob")] }).await;
    ask(&world, bob, Request::Logout {}).await;
    let offline = Event::PresenceChanged(PresenceOf { user: user("bob"), state: 2 });
    world.until("alice hears so", |world| world.client.events(alice) == [offline.clone()]).await;
    assert_eq!(world.client.closed(bob).map(|(code, _)| code), Some(1000));
}

#[tokio::test(start_paused = true)]
async fn at_most_512_users_are_watched() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    let users = |from: usize, to: usize| (from..to).map(|n| user(&format!("user{n}"))).collect::<Vec<_>>();
    let subscribe = |users| Request::PresenceSubscribe { users };
    assert!(matches!(ask(&world, alice, subscribe(users(0, 512))).await, Reply::Presence { .. }));
    assert!(matches!(ask(&world, alice, subscribe(users(0, 512))).await, Reply::Presence { .. }));
    let more = ask(&world, alice, subscribe(users(512, 513))).await;
    assert!(matches!(more, Reply::Error { code: ErrorCode::InvalidArgument, .. }));
    ask(&world, alice, Request::PresenceUnsubscribe { users: users(0, 1) }).await;
    assert!(matches!(ask(&world, alice, subscribe(users(512, 513))).await, Reply::Presence { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_no_event_and_no_number() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    say(&world, alice, event(1));
    world.until("an event", |world| numbers(world, alice) == [1]).await;
    assert_eq!(world.crash(Kind::Client).await, 1);
    say(&world, alice, event(2));
    world.until("the next", |world| numbers(world, alice) == [1, 2]).await;
    // A request that was in the mailbox when the actor died is carried out all the same.
    world.tree.arm(Kind::Client, &alice);
    assert!(matches!(ask(&world, alice, Request::Ping {}).await, Reply::Done {}));
    // And one that kills it twice is answered.
    let request = world.client.request(alice, Request::Ping {});
    world
        .until("it is answered", |world| {
            world.tree.arm(Kind::Client, &alice);
            world.client.reply(alice, &request).is_some()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn only_the_request_that_kills_twice_is_given_up_and_those_behind_it_are_carried_out() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    assert!(world.tree.arm_times(Kind::Client, &alice, 2));
    let [poison, behind, last] = [(); 3].map(|()| world.client.request(alice, Request::Ping {}));
    let reply = world.find("its reply", |world| world.client.reply(alice, &poison)).await;
    assert!(matches!(reply, Reply::Error { code: ErrorCode::Internal, .. }), "{reply:?}");
    for request in [behind, last] {
        let reply = world.find("a reply", |world| world.client.reply(alice, &request)).await;
        assert!(matches!(reply, Reply::Done {}), "{reply:?}");
    }
    assert_eq!(world.meter.count("tandem_client_inputs_given_up_total", None), 1);
}

#[tokio::test(start_paused = true)]
async fn replies_come_in_the_order_of_the_requests() {
    let world = World::start(Settings::default()).await;
    let (alice, _bob) = (log_in(&world, "alice").await, log_in(&world, "bob").await);
    let invite = Request::Invite { callee: user("bob"), content: String::new(), channel: String::new() };
    let Reply::Invitation { invitation } = ask(&world, alice, invite).await else { panic!("not sent") };
    let requests = [
        world.client.request(alice, Request::InviteState { invitation }),
        world.client.request(alice, Request::Ping {}),
        world.client.request(alice, Request::InviteCancel { invitation, reason: String::new() }),
        world.client.request(alice, Request::Ping {}),
    ];
    world.until("all replies", |world| requests.iter().all(|re| world.client.reply(alice, re).is_some())).await;
    let order: Vec<String> = world
        .client
        .frames(alice)
        .into_iter()
        .filter_map(|frame| match frame.body {
            Body::Reply { re, .. } if requests.contains(&re) => Some(re),
            Body::Reply { .. } | Body::Event { .. } => None,
        })
        .collect();
    assert_eq!(order, requests);
}

#[tokio::test(start_paused = true)]
async fn orders_to_calls_of_others_are_not_found() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    let reply = ask(&world, alice, Request::Hangup { call: CallId(7) }).await;
    assert!(matches!(reply, Reply::Error { code: ErrorCode::NotFound, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_draining_switch_sends_away_who_is_in_no_call_and_takes_nobody() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    world.tree.drained(MS(100)).await;
    world.until("alice is sent away", |world| types(world, alice) == ["kicked"]).await;
    let bob = world.client.connect(&user("bob"), None);
    let reply = world.find("a reply", |world| world.client.reply(bob, "login")).await;
    assert!(matches!(reply, Reply::Error { code: ErrorCode::Unavailable, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_presence_while_the_supervisor_is_down_is_told_once() {
    let world = World::start(Settings::default()).await;
    let (alice, bob) = (log_in(&world, "alice").await, log_in(&world, "bob").await);
    ask(&world, alice, Request::PresenceSubscribe { users: vec![user("bob")] }).await;
    world.tree.crash(Kind::ClientSupervisor);
    world.client.request(bob, Request::Logout {});
    let gone = Event::PresenceChanged(PresenceOf { user: user("bob"), state: 2 });
    world.until("alice hears it", |world| world.client.events(alice).contains(&gone)).await;
    pass_awake(&world, &[alice], MS(3_000)).await;
    assert_eq!(world.client.events(alice), [gone]);
}

#[tokio::test(start_paused = true)]
async fn requests_in_a_crash_of_the_supervisor_are_answered_in_order() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    let mut requests = vec![world.client.request(alice, Request::Ping {})];
    world.tree.crash(Kind::ClientSupervisor);
    requests.extend((0..5).map(|_| world.client.request(alice, Request::Ping {})));
    let replies = |world: &World| -> Vec<String> {
        let re = |frame: tandem_actors::client::protocol::Frame| match frame.body {
            Body::Reply { re, .. } => Some(re).filter(|re| re != "login"),
            Body::Event { .. } => None,
        };
        world.client.frames(alice).into_iter().filter_map(re).collect()
    };
    world.until("every reply", |world| replies(world) == requests).await;
    // A socket that takes the connection up in the crash carries it.
    world.client.lose(alice);
    world.tree.crash(Kind::ClientSupervisor);
    let (socket, resumed) = resume(&world, "alice", (alice, 0)).await;
    assert!(resumed);
    assert!(matches!(ask(&world, socket, Request::Ping {}).await, Reply::Done {}));
}

#[tokio::test(start_paused = true)]
async fn a_good_bye_in_a_crash_of_the_supervisor_leaves_nothing_held() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    ask(&world, alice, Request::Ping {}).await;
    world.client.request(alice, Request::Logout {});
    while world.ctx().ledger.clients.contains(&alice) {
        tokio::task::yield_now().await;
    }
    // Its supervisor goes before it hears of the end.
    world.tree.crash(Kind::ClientSupervisor);
    world.until("nothing is held", |world| world.ctx().inputs.is_empty()).await;
}
