//! What somebody asks, or is to hear, while those who pass it on crash: nobody says it again, and it is not lost.

use tandem_actors::Kind;
use tandem_actors::client::protocol::{Reply, Request};
use tandem_actors::control::{Control, PhoneCall};
use tandem_actors::fakes::World;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::RoomId;

use super::*;
use crate::sip_to_rtc::talking;

/// Everybody between an app user and what it asks for.
const BETWEEN: [Kind; 6] = [
    Kind::Client,
    Kind::ClientSupervisor,
    Kind::Call,
    Kind::CallSupervisor,
    Kind::Invitation,
    Kind::InvitationSupervisor,
];

fn to(number: &str) -> Request {
    Request::Call {
        to: number.into(),
        sdp: sdp(),
        pstn: false,
        display_name: String::new(),
        headers: Default::default(),
        sip_number: None,
    }
}

async fn call_id(world: &World, client: ClientId, request: &str) -> CallId {
    let reply = world.find("a reply", |world| world.client.reply(client, request)).await;
    let Reply::Call { call } = reply else { panic!("no call: {reply:?}") };
    call
}

#[tokio::test(start_paused = true)]
async fn a_call_asked_for_in_a_crash_is_begun() {
    for kind in BETWEEN {
        let world = world().await;
        let alice = login(&world, "alice").await;
        // Before and behind the crash in the mailboxes.
        let first = world.client.request(alice, to("1001"));
        world.tree.crash(kind);
        let second = world.client.request(alice, to("1001"));
        for request in [first, second] {
            let call = call_id(&world, alice, &request).await;
            world.until("it is there", |world| world.ctx().ledger.calls.contains(&call)).await;
            world.client.request(alice, Request::Hangup { call });
            world.until("its end is heard", |world| ended(world, alice, call).is_some()).await;
        }
        assert_eq!(nothing_left(&world).await.len(), 2, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_in_a_crash_hangs_up() {
    for kind in BETWEEN {
        let world = world().await;
        let (_, alice) = talking(&world).await;
        let call = world.ctx().calls()[0].call;
        world.tree.crash(kind);
        world.client.request(alice, Request::Hangup { call });
        world.until("its end is heard", |world| ended(world, alice, call).is_some()).await;
        assert_eq!(nothing_left(&world).await.len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_at_once_in_a_crash_leaves_nothing() {
    for kind in BETWEEN {
        let world = world().await;
        let alice = login(&world, "alice").await;
        let begin = world.client.request(alice, to("1001"));
        let call = call_id(&world, alice, &begin).await;
        world.tree.crash(kind);
        world.client.request(alice, Request::Hangup { call });
        world.until("its end is heard", |world| ended(world, alice, call).is_some()).await;
        nothing_left(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_call_in_a_crash_is_heard() {
    for kind in BETWEEN {
        let world = world().await;
        let (dialog, alice) = talking(&world).await;
        let call = world.ctx().calls()[0].call;
        world.sip.end(dialog, Cause::hangup());
        world.tree.crash(kind);
        world.until("alice hears it", |world| ended(world, alice, call) == Some(200)).await;
        assert_eq!(nothing_left(&world).await.len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invitation_sent_in_a_crash_rings_and_is_taken_back_in_another() {
    for kind in BETWEEN {
        let world = world().await;
        let (alice, bob) = (login(&world, "alice").await, login(&world, "bob").await);
        world.tree.crash(kind);
        let request = world
            .client
            .request(alice, Request::Invite { callee: user("bob"), content: String::new(), channel: String::new() });
        let invitation = rung(&world, bob).await;
        assert!(world.client.reply(alice, &request).is_some(), "{kind}");
        world.client.request(alice, Request::InviteCancel { invitation, reason: "no".into() });
        world.tree.crash(kind);
        world
            .until("bob hears it once", |world| {
                let canceled = |event: &Event| matches!(event, Event::InvitationCanceled { .. });
                world.client.events(bob).iter().filter(|event| canceled(event)).count() == 1
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_hangs_up_in_a_crash_stops_the_ringing() {
    for kind in BETWEEN {
        let world = world().await;
        let alice = login(&world, "alice").await;
        let dialog = dial(&world, "alice");
        rung(&world, alice).await;
        world.tree.crash(kind);
        world.sip.end(dialog, Cause::cancelled());
        world
            .until("alice's ringing stops", |world| {
                world.client.events(alice).iter().any(|event| matches!(event, Event::InvitationCanceled { .. }))
            })
            .await;
        assert_eq!(nothing_left(&world).await.len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_of_the_api_in_a_crash_is_carried_out() {
    let world = world().await;
    let order = PhoneCall {
        phone_number: "1001".into(),
        room: RoomId::new("lobby").expect("an id"),
        caller: String::new(),
        ttl: None,
    };
    world.tree.crash(Kind::CallSupervisor);
    let call = world.ctx().start_phone_call(order).await.expect("a call");
    let phone = called(&world).await;
    world.sip.pick_up(phone);
    world.until("the phone is in", |world| !world.ctx().ledger.rooms.is_empty()).await;
    world.tree.crash(Kind::Call);
    world.ctx().hang_up(call).await.expect("a hang-up");
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_digit_in_a_crash_is_passed_on_once() {
    for kind in [Kind::SipLeg, Kind::RtcLeg, Kind::Call, Kind::CallSupervisor] {
        let world = world().await;
        let (dialog, alice) = talking(&world).await;
        let media = media_of(&world, dialog);
        world.tree.crash(kind);
        world.media.press(media, '5');
        let digits = |world: &World| {
            let digit = |event: &Event| matches!(event, Event::CallDtmf { .. });
            world.client.events(alice).iter().filter(|event| digit(event)).count()
        };
        world.until("alice hears it", |world| digits(world) == 1).await;
        world.pass(std::time::Duration::from_secs(1)).await;
        assert_eq!(digits(&world), 1, "{kind}");
    }
}
