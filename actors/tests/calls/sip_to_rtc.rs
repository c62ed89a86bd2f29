//! A phone calls an app user.

use std::time::Duration;

use tandem_actors::Kind;
use tandem_actors::client::protocol::{Event, Request};
use tandem_actors::control::Control;
use tandem_actors::fakes::FakeSip;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::media::Direction;
use tandem_actors::ports::sip::SipCommand;

use super::*;

/// Alice is called by the phone and accepts.
pub async fn talking(world: &World) -> (DialogId, ClientId) {
    let alice = login(world, "alice").await;
    let dialog = dial(world, "alice");
    accept(world, alice).await;
    answered(world, dialog).await;
    world.until("they talk", |world| world.ctx().calls().iter().all(|call| call.phase == "talking")).await;
    (dialog, alice)
}

pub async fn accept(world: &World, client: ClientId) {
    let invitation = rung(world, client).await;
    let accept = Request::InviteAccept { invitation, response: String::new(), sdp: Some(sdp()) };
    world.client.request(client, accept);
}

#[tokio::test(start_paused = true)]
async fn the_phone_hears_180_then_200_once_the_user_accepted_and_media_is_up() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let dialog = dial(&world, "alice");
    let invitation = rung(&world, alice).await;
    world.until("it rings", |world| statuses(world, dialog) == [180]).await;
    world.rtc.hold_back(true);
    let accept = Request::InviteAccept { invitation, response: String::new(), sdp: Some(sdp()) };
    world.client.request(alice, accept);
    world.until("there is a peer", |world| !world.rtc.peers().is_empty()).await;
    world.pass(Duration::from_secs(3)).await;
    assert_eq!(statuses(&world, dialog), [180]);
    let (peer, ..) = world.rtc.peers()[0];
    world.rtc.connect(peer);
    answered(&world, dialog).await;
    assert!(bridged(&world), "media is ready before we answer");
    assert!(world.client.events(alice).iter().any(|event| matches!(event, Event::MediaAnswer { .. })));
    // One codec on both sides, the phone's.
    let codecs: Vec<_> = world.media.sessions().iter().filter_map(|(_, s)| s.negotiated.clone()).collect();
    assert!(codecs.iter().all(|agreed| agreed.send.codec == Codec::Pcmu));
    world.sip.end(dialog, Cause::hangup());
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].kind.as_str(), cdrs[0].legs.len()), (1, "sip_to_rtc", 2));
    assert!(cdrs[0].answered_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_603_and_busy_is_486() {
    for (response, status) in [("", 603), ("busy", 486)] {
        let world = world().await;
        let alice = login(&world, "alice").await;
        let dialog = dial(&world, "alice");
        let invitation = rung(&world, alice).await;
        world.client.request(alice, Request::InviteRefuse { invitation, response: response.into() });
        world.until("the phone hears it", |world| statuses(world, dialog).last() == Some(&status)).await;
        assert_eq!(nothing_left(&world).await[0].cause.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_browsers_hold_is_told_to_the_phone_by_a_re_invite_and_survives_the_leg() {
    let world = world().await;
    let (dialog, _) = talking(&world).await;
    let offers = |world: &World| {
        let direction = |command: &SipCommand| {
            if let SipCommand::Reoffer(offer) = command { Some(offer.0.direction) } else { None }
        };
        world.sip.orders_of(dialog).iter().filter_map(direction).collect::<Vec<_>>()
    };
    let (peer, ..) = world.rtc.peers()[0];
    world.rtc.renegotiate(peer, Direction::RecvOnly);
    world.until("the phone is told", |world| offers(world) == [Direction::SendOnly]).await;
    world.sip.reoffer_answered(dialog);
    world.crash(Kind::SipLeg).await;
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(offers(&world), [Direction::SendOnly], "once");
    world.rtc.renegotiate(peer, Direction::SendRecv);
    world.until("and when it is over", |world| offers(world).last() == Some(&Direction::SendRecv)).await;
    world.sip.end(dialog, Cause::hangup());
    nothing_left(&world).await;
}

async fn stay_online(world: &World, client: ClientId, seconds: u64) {
    for _ in 0..seconds / 5 {
        world.client.request(client, Request::Ping {});
        world.pass(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_offline_user_is_480_no_ack_408_and_no_answer_480() {
    let world = world().await;
    let dialog = dial(&world, "nobody");
    world.until("offline", |world| statuses(world, dialog).last() == Some(&480)).await;
    let alice = login(&world, "alice").await;
    let mute = dial(&world, "alice");
    stay_online(&world, alice, 40).await;
    world.until("no response", |world| statuses(world, mute).last() == Some(&408)).await;
    let bob = login(&world, "bob").await;
    let late = dial(&world, "bob");
    rung(&world, bob).await;
    stay_online(&world, bob, 70).await;
    world.until("no answer", |world| statuses(world, late).last() == Some(&480)).await;
    assert_eq!(nothing_left(&world).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_takes_the_invitation_back() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let dialog = dial(&world, "alice");
    rung(&world, alice).await;
    world.until("it rings", |world| statuses(world, dialog) == [180]).await;
    world.sip.end(dialog, Cause::cancelled());
    world
        .until("alice hears it", |world| {
            world.client.events(alice).iter().any(|event| matches!(event, Event::InvitationCanceled { .. }))
        })
        .await;
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].cause.status), (1, 487));
}

#[tokio::test(start_paused = true)]
async fn the_app_user_hangs_up_and_the_phone_gets_bye() {
    let world = world().await;
    let (dialog, alice) = talking(&world).await;
    let call = world.ctx().calls()[0].call;
    world.client.request(alice, Request::Hangup { call });
    world.until("a BYE", |world| matches!(world.sip.orders_of(dialog).last(), Some(SipCommand::Forget))).await;
    assert_eq!(ended(&world, alice, call), Some(200));
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_calls_to_one_user_do_not_end_each_other() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let first = dial(&world, "alice");
    accept(&world, alice).await;
    answered(&world, first).await;
    let second = dial(&world, "alice");
    world
        .until("the second rings", |world| {
            let rings = |e: &Event| matches!(e, Event::InvitationReceived { .. });
            world.client.events(alice).iter().filter(|e| rings(e)).count() == 2
        })
        .await;
    accept(&world, alice).await;
    answered(&world, second).await;
    world.sip.end(first, Cause::hangup());
    world.until("one is over", |world| world.ctx().calls().len() == 1).await;
    world.pass(Duration::from_secs(2)).await;
    assert!(world.sip.dialog(second).is_some());
    world.sip.end(second, Cause::hangup());
    assert_eq!(nothing_left(&world).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn hold_is_answered_recvonly_told_to_the_browser_and_taken_back() {
    let world = world().await;
    let (dialog, alice) = talking(&world).await;
    world.sip.reoffer(dialog, Some(FakeSip::phone_offer(4000, Direction::SendOnly)));
    let direction = |world: &World| world.sip.dialog(dialog).and_then(|d| d.local).map(|local| local.0.direction);
    world.until("hold is answered", |world| direction(world) == Some(Direction::RecvOnly)).await;
    let held = |world: &World| {
        let told = world.client.events(alice).into_iter().rev();
        told.into_iter().find_map(|e| if let Event::CallHeld { held, .. } = e { Some(held) } else { None })
    };
    world.until("alice is told", |world| held(world) == Some(true)).await;
    world.sip.reoffer(dialog, Some(FakeSip::phone_offer(4000, Direction::SendRecv)));
    world.until("resume is answered", |world| direction(world) == Some(Direction::SendRecv)).await;
    world.until("alice is told again", |world| held(world) == Some(false)).await;
    let mut other = FakeSip::phone_offer(4000, Direction::SendRecv);
    other.0.codecs.clear();
    world.sip.reoffer(dialog, Some(other));
    world
        .until("no codec is 488", |world| {
            matches!(world.sip.orders_of(dialog).last(), Some(SipCommand::RejectReoffer { status: 488, .. }))
        })
        .await;
    assert!(bridged(&world));
    world.sip.end(dialog, Cause::hangup());
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_mode_that_is_off_and_a_full_switch_say_so() {
    let mut off = settings();
    off.modes.sip_to_rtc = false;
    let world = World::start(off).await;
    let dialog = dial(&world, "alice");
    world.until("403", |world| statuses(world, dialog) == [403]).await;
    assert_eq!(nothing_left(&world).await.len(), 1);
    let mut full = settings();
    full.limits.max_calls = 0;
    let world = World::start(full).await;
    let dialog = dial(&world, "alice");
    world.until("503", |world| statuses(world, dialog) == [503]).await;
    assert!(world.store.cdrs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn application_headers_travel_into_the_content_and_back_in_the_200() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let mut invite = FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1002")), "1002", "9000");
    invite.headers.number = Some("<sip:alice@app>".into());
    invite.headers.cus_data = Some("order 7".into());
    invite.headers.ar_info = Some("vip".into());
    let dialog = world.sip.incoming(invite);
    let invitation = rung(&world, alice).await;
    let received = |event| if let Event::InvitationReceived { content, .. } = event { Some(content) } else { None };
    let content = world.client.events(alice).into_iter().find_map(received).expect("a content");
    assert!(content.contains(r#""SipData":"order 7""#) && content.contains(r#""UserData":"vip""#), "{content}");
    let response = r#"{"Mode":1,"UserData":"desk 3"}"#.to_owned();
    world.client.request(alice, Request::InviteAccept { invitation, response, sdp: Some(sdp()) });
    answered(&world, dialog).await;
    let said = world.sip.orders_of(dialog).iter().any(
        |order| matches!(order, SipCommand::Answer { headers, .. } if headers.ar_info.as_deref() == Some("desk 3")),
    );
    assert!(said);
    world.sip.end(dialog, Cause::hangup());
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_cannot_be_answered_is_488_and_rings_nobody() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let mut invite = FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1002")), "1002", "alice");
    if let Some(offer) = &mut invite.offer {
        offer.0.codecs.clear();
    }
    let dialog = world.sip.incoming(invite);
    world.until("it is refused", |world| statuses(world, dialog) == [488]).await;
    let warning = |order| if let SipCommand::Reject { warning, .. } = order { warning } else { None };
    assert_eq!(world.sip.orders_of(dialog).into_iter().find_map(warning), Some(305));
    nothing_left(&world).await;
    assert!(world.client.events(alice).is_empty());
}
