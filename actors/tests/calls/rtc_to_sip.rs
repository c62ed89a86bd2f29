//! An app user calls, or invites, a phone.

use tandem_actors::client::protocol::{Event, Request};
use tandem_actors::control::Control;
use tandem_actors::model::cause::{Blame, Cause};

use super::*;

#[tokio::test(start_paused = true)]
async fn the_browser_hears_progress_then_the_answer() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let call = call(&world, alice, "1001").await;
    let phone = called(&world).await;
    let invite = world.sip.dialog(phone).and_then(|d| d.invite).expect("an INVITE");
    assert_eq!(invite.caller.number, "alice");
    world.sip.ring(phone);
    world
        .until("ringback", |world| {
            world.client.events(alice).contains(&Event::CallProgress { call, status: 180 })
                && world
                    .media
                    .sessions()
                    .iter()
                    .any(|(_, s)| s.playing.as_ref().is_some_and(|p| p.0 == "tone:ringback"))
        })
        .await;
    world.sip.pick_up(phone);
    world
        .until("answered", |world| {
            world.client.events(alice).iter().any(|event| matches!(event, Event::CallAnswered { .. }))
        })
        .await;
    assert!(bridged(&world));
    assert!(world.media.sessions().iter().all(|(_, s)| s.playing.is_none()));
    let agreed: Vec<_> = world.media.sessions().iter().filter_map(|(_, s)| s.negotiated.clone()).collect();
    assert!(agreed.iter().all(|agreed| agreed.send.codec == Codec::Pcmu), "passthrough");
    let digits = vec![Digit::new('5').expect("a digit")];
    world.client.request(alice, Request::Dtmf { call, digits });
    let far = media_of(&world, phone);
    world.until("the digit goes out", |world| world.media.session(far).is_some_and(|s| s.digits == "5")).await;
    world.media.press(far, '7');
    world
        .until("a digit comes in", |world| {
            world.client.events(alice).iter().any(|event| matches!(event, Event::CallDtmf { .. }))
        })
        .await;
    world.sip.end(phone, Cause::hangup());
    world.until("alice hears the end", |world| ended(world, alice, call) == Some(200)).await;
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].kind.as_str()), (1, "rtc_to_sip"));
}

#[tokio::test(start_paused = true)]
async fn a_busy_phone_and_one_that_is_not_registered_end_the_call() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let busy = call(&world, alice, "1001").await;
    let phone = called(&world).await;
    world.sip.end(phone, Cause::busy());
    world.until("busy", |world| ended(world, alice, busy) == Some(486)).await;
    let offline = call(&world, alice, "1003").await;
    world.until("offline", |world| ended(world, alice, offline) == Some(480)).await;
    assert_eq!(nothing_left(&world).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_gives_up_while_it_rings_leaves_no_leg() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let call = call(&world, alice, "1001").await;
    let phone = called(&world).await;
    world.sip.ring(phone);
    world.client.request(alice, Request::Hangup { call });
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs[0].cause.status, statuses(&world, phone)), (487, vec![487]));
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_never_answers_is_given_up_after_the_ring_timeout() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let call = call(&world, alice, "1001").await;
    let phone = called(&world).await;
    world.sip.ring(phone);
    for _ in 0..14 {
        world.client.request(alice, Request::Ping {});
        world.pass(Duration::from_secs(5)).await;
    }
    world.until("given up", |world| ended(world, alice, call) == Some(408)).await;
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_trunk_call_takes_a_line_and_shows_the_trunks_caller_id() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let first = call(&world, alice, "+8613800000000").await;
    let phone = called(&world).await;
    let invite = world.sip.dialog(phone).and_then(|d| d.invite).expect("an INVITE");
    assert_eq!(invite.caller.number, "+8621");
    let second = call(&world, alice, "+8613800000001").await;
    world.until("no line is left", |world| ended(world, alice, second) == Some(503)).await;
    world.sip.pick_up(phone);
    world.until("they talk", |world| world.ctx().calls().iter().all(|call| call.phase == "talking")).await;
    world.client.request(alice, Request::Hangup { call: first });
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_trunk_known_to_be_down_fails_at_once_and_is_tried_again_when_it_lives() {
    let mut settings = settings();
    settings.trunks.values_mut().for_each(|trunk| trunk.options_interval = Some(Duration::from_secs(30)));
    let world = world_with(settings).await;
    let becomes = async |is: bool| {
        world.sip.fail_trunks(!is);
        let trunk = |world: &World| world.ctx().trunks().first().and_then(|trunk| trunk.alive);
        world.until("the trunk is asked", |world| trunk(world) == Some(is)).await;
    };
    becomes(false).await;
    let alice = login(&world, "alice").await;
    let since = tokio::time::Instant::now();
    let hopeless = call(&world, alice, "+8613800000000").await;
    world.until("it is refused", |world| ended(world, alice, hopeless) == Some(503)).await;
    assert!(since.elapsed() < Duration::from_secs(1), "nobody waits for a timeout");
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].cause.q850, cdrs[0].cause.blame), (1, Some(38), Blame::Upstream));
    assert!(world.sip.outgoing().is_empty(), "nothing is sent");
    becomes(true).await;
    let alice = login(&world, "alice").await;
    let hopeful = call(&world, alice, "+8613800000000").await;
    let phone = called(&world).await;
    world.sip.pick_up(phone);
    world.until("they talk", |world| world.ctx().calls().iter().all(|call| call.phase == "talking")).await;
    world.client.request(alice, Request::Hangup { call: hopeful });
    nothing_left(&world).await;
}

async fn invite(world: &World, client: ClientId, callee: &str, content: &str) {
    let callee = user(callee);
    world.client.request(client, Request::Invite { callee, content: content.into(), channel: String::new() });
}

fn accepted(world: &World, client: ClientId) -> Option<CallId> {
    let accepted = |event| if let Event::InvitationAccepted { call, .. } = event { call } else { None };
    world.client.events(client).into_iter().find_map(accepted)
}

#[tokio::test(start_paused = true)]
async fn an_invitation_to_a_number_is_accepted_when_the_phone_answers() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    invite(&world, alice, "1001", r#"{"Mode":1,"ChanId":"c1","UserData":"u"}"#).await;
    let phone = called(&world).await;
    let sent = world.sip.dialog(phone).and_then(|d| d.invite).expect("an INVITE");
    assert_eq!(sent.headers.ar_info.as_deref(), Some("u"));
    world.sip.ring(phone);
    world
        .until("it rings at alice's", |world| {
            let rings = |e: &Event| matches!(e, Event::InvitationReceivedByPeer { .. });
            world.client.events(alice).iter().any(rings)
        })
        .await;
    assert_eq!(accepted(&world, alice), None);
    world.sip.pick_up(phone);
    let call = world.find("the acceptance", |world| accepted(world, alice)).await;
    world.client.request(alice, Request::MediaOffer { call, sdp: sdp() });
    world.until("they talk", |world| world.ctx().calls().iter().all(|call| call.phase == "talking")).await;
    assert!(bridged(&world));
    world.sip.end(phone, Cause::hangup());
    world.until("alice hears the end", |world| ended(world, alice, call) == Some(200)).await;
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invitation_to_a_busy_number_is_refused_busy_and_bad_content_unkown() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    invite(&world, alice, "1001", "{}").await;
    let phone = called(&world).await;
    world.sip.end(phone, Cause::busy());
    let refused = |world: &World, word: &str| {
        world
            .client
            .events(alice)
            .iter()
            .any(|event| matches!(event, Event::InvitationRefused { response, .. } if response == word))
    };
    world.until("busy", |world| refused(world, "busy")).await;
    invite(&world, alice, "1001", "not json").await;
    world.until("unkown", |world| refused(world, "unkown")).await;
    assert_eq!(nothing_left(&world).await.len(), 2);
}
