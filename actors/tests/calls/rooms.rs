//! Rooms, and the API's phone calls into them.

use tandem_actors::Kind;
use tandem_actors::client::protocol::{Event, Request};
use tandem_actors::control::{Control, PhoneCall};
use tandem_actors::model::cause::Cause;
use tandem_actors::ports::media::Attachment;

use super::*;

pub fn room() -> RoomId {
    RoomId::new("lobby").expect("an id")
}

pub async fn join(world: &World, client: ClientId) -> CallId {
    begun(world, client, Request::RoomJoin { room: room(), sdp: sdp() }).await
}

pub fn participants(world: &World, client: ClientId) -> Vec<String> {
    let told = |event| if let Event::RoomParticipants { participants, .. } = event { Some(participants) } else { None };
    world.client.events(client).into_iter().rev().find_map(told).unwrap_or_default()
}

fn order(number: &str) -> PhoneCall {
    PhoneCall { phone_number: number.into(), room: room(), ttl: None, caller: String::new() }
}

#[tokio::test(start_paused = true)]
async fn two_browsers_and_a_phone_are_mixed_and_told_of_each_other() {
    let world = world().await;
    let (alice, bob) = (login(&world, "alice").await, login(&world, "bob").await);
    let call = join(&world, alice).await;
    join(&world, bob).await;
    dial(&world, "9000");
    let media = crate::ivr::plays(&world, "menu").await;
    world.media.press(media, '2');
    world.until("three are in", |world| participants(world, alice) == ["alice", "bob", "1002"]).await;
    let mixed = world.media.sessions().iter().all(|(_, s)| s.attachment == Attachment::Room(room()));
    assert!(mixed && world.media.sessions().len() == 3);
    world.client.request(alice, Request::Hangup { call });
    world.until("bob is told", |world| participants(world, bob) == ["bob", "1002"]).await;
    world.client.lose(bob);
    let cdrs = nothing_left(&world).await;
    assert_eq!(cdrs.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_api_calls_a_phone_into_a_room_and_keeps_its_history() {
    let world = world().await;
    let call = world.ctx().start_phone_call(order("1001")).await.expect("it is begun");
    let phone = called(&world).await;
    world.sip.ring(phone);
    world.sip.pick_up(phone);
    world
        .until("it is in the room", |world| world.ctx().rooms().first().is_some_and(|r| r.participants.len() == 1))
        .await;
    world.ctx().hang_up(call).await.expect("it lives");
    let cdrs = nothing_left(&world).await;
    assert_eq!(cdrs[0].kind, "connector");
    let history = world.ctx().phone_call_state(call).expect("a history");
    assert!(history.done);
    assert_eq!(history.states.iter().map(|s| s.state).collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
    world.pass(Duration::from_secs(601)).await;
    assert_eq!(world.ctx().phone_call_state(call), None);
}

#[tokio::test(start_paused = true)]
async fn the_api_refuses_numbers_it_may_not_call() {
    use tandem_actors::control::StartError;
    let world = world().await;
    assert!(matches!(world.ctx().start_phone_call(order("nobody")).await, Err(StartError::Number(_))));
    assert!(matches!(world.ctx().start_phone_call(order("+4412")).await, Err(StartError::Number(_))));
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn the_ttl_ends_a_phone_call_and_a_phone_left_alone_leaves_after_a_minute() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    join(&world, alice).await;
    let short = PhoneCall { ttl: Some(Duration::from_secs(20)), ..order("1001") };
    let call = world.ctx().start_phone_call(short).await.expect("it is begun");
    world.sip.pick_up(called(&world).await);
    world.until("the ttl ends it", |world| world.ctx().phone_call_state(call).is_some_and(|h| h.done)).await;
    let call = world.ctx().start_phone_call(order("1001")).await.expect("it is begun");
    world.sip.pick_up(called(&world).await);
    world.until("both are in", |world| world.ctx().rooms().first().is_some_and(|r| r.participants.len() == 2)).await;
    world.client.lose(alice);
    world.until("it is left alone", |world| world.ctx().phone_call_state(call).is_some_and(|h| h.done)).await;
    let reason = world.ctx().phone_call_state(call).and_then(|h| h.cause).map(|c| c.reason.into_owned());
    assert_eq!(reason.as_deref(), Some("left alone in the room"));
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_that_keeps_failing_is_closed_and_its_calls_end() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let call = join(&world, alice).await;
    world.until("she is in", |world| participants(world, alice) == ["alice"]).await;
    for _ in 0..3 {
        world.crash(Kind::Room).await;
        world.until("the room is back", |world| world.ctx().directory.rooms.get(&room()).is_some()).await;
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(ended(&world, alice, call), None);
    }
    world.tree.crash(Kind::Room);
    world.until("the call ends", |world| ended(world, alice, call) == Some(500)).await;
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_conference_invitation_brings_the_phone_into_the_room() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    join(&world, alice).await;
    let content = r#"{"Mode":1,"Conference":true,"ChanId":"lobby"}"#.to_owned();
    world.client.request(alice, Request::Invite { callee: user("1001"), content, channel: String::new() });
    let phone = called(&world).await;
    world.sip.pick_up(phone);
    world.until("the phone is in", |world| participants(world, alice) == ["alice", "1001"]).await;
    world.sip.end(phone, Cause::hangup());
    world.until("the phone is out", |world| participants(world, alice) == ["alice"]).await;
    world.client.lose(alice);
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_at_once_or_in_a_crash_of_the_room_is_not_in_it() {
    for (kind, early) in
        [(Kind::Room, false), (Kind::RoomSupervisor, false), (Kind::Room, true), (Kind::RoomSupervisor, true)]
    {
        let world = world().await;
        let (alice, bob) = (login(&world, "alice").await, login(&world, "bob").await);
        join(&world, bob).await;
        world.until("bob is in", |world| participants(world, bob) == ["bob"]).await;
        let call = join(&world, alice).await;
        if !early {
            world.until("alice is in", |world| participants(world, bob) == ["bob", "alice"]).await;
        }
        world.client.request(alice, Request::Hangup { call });
        world.tree.crash(kind);
        world.until("alice's end", |world| ended(world, alice, call).is_some()).await;
        world.pass(Duration::from_secs(5)).await;
        let members = world.ctx().rooms().remove(0).participants;
        assert_eq!(members.iter().map(|member| member.party.as_str()).collect::<Vec<_>>(), ["bob"], "{kind} {early}");
        world.client.lose(bob);
        nothing_left(&world).await;
    }
}
