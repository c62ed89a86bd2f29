//! Every actor of a call panics in turn, at each stretch of it, and the call goes on.

use tandem_actors::Kind;
use tandem_actors::client::protocol::Request;
use tandem_actors::control::Control;
use tandem_actors::fakes::FakeSip;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::media::Direction;
use tandem_actors::ports::sip::SipCommand;

use super::*;
use crate::sip_to_rtc::talking;

const KINDS: [Kind; 4] = [Kind::SipLeg, Kind::RtcLeg, Kind::Call, Kind::CallSupervisor];

#[tokio::test(start_paused = true)]
async fn a_crash_while_they_talk_is_not_heard_and_the_dialog_still_answers() {
    for kind in KINDS {
        let world = world().await;
        let (dialog, alice) = talking(&world).await;
        let log = world.media.log().len();
        assert_eq!(world.crash(kind).await, 1, "{kind}");
        world.pass(std::time::Duration::from_secs(1)).await;
        assert!(bridged(&world), "{kind}");
        let closed = world
            .media
            .log()
            .iter()
            .skip(log)
            .any(|(_, command)| matches!(command, tandem_actors::ports::media::MediaCommand::Close { .. }));
        assert!(!closed, "{kind}");
        world.sip.reoffer(dialog, Some(FakeSip::phone_offer(4000, Direction::SendOnly)));
        world
            .until("hold is answered", |world| {
                matches!(world.sip.orders_of(dialog).last(), Some(SipCommand::AnswerReoffer { .. }))
            })
            .await;
        let call = world.ctx().calls()[0].call;
        assert_eq!(ended(&world, alice, call), None, "{kind}");
        world.sip.end(dialog, Cause::hangup());
        world.until("alice hears it", |world| ended(world, alice, call) == Some(200)).await;
        assert_eq!(nothing_left(&world).await.len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_it_rings_still_leads_to_the_answer() {
    for kind in [Kind::SipLeg, Kind::Call, Kind::CallSupervisor, Kind::Invitation] {
        let world = world().await;
        let alice = login(&world, "alice").await;
        let dialog = dial(&world, "alice");
        let invitation = rung(&world, alice).await;
        world.until("it rings", |world| statuses(world, dialog).contains(&180)).await;
        world.crash(kind).await;
        let accept = Request::InviteAccept { invitation, response: String::new(), sdp: Some(sdp()) };
        world.client.request(alice, accept);
        answered(&world, dialog).await;
        world.until("they talk", bridged).await;
        world.sip.end(dialog, Cause::hangup());
        assert_eq!(nothing_left(&world).await.len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_a_calling_leg_or_call_still_hears_the_phone_answer() {
    for kind in [Kind::SipLeg, Kind::RtcLeg, Kind::Call] {
        let world = world().await;
        let alice = login(&world, "alice").await;
        let call = call(&world, alice, "1001").await;
        let phone = called(&world).await;
        world.sip.ring(phone);
        world.pass(std::time::Duration::from_secs(1)).await;
        // The answer comes while nobody listens.
        world.tree.crash(kind);
        world.sip.pick_up(phone);
        world
            .until("they talk", |world| {
                bridged(world) && world.ctx().calls().first().is_some_and(|call| call.phase == "talking")
            })
            .await;
        world.client.request(alice, Request::Hangup { call });
        assert_eq!(nothing_left(&world).await.len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_ivr_begins_the_step_again() {
    for kind in [Kind::Flow, Kind::SipLeg, Kind::Call] {
        let world = world().await;
        dial(&world, "9000");
        let media = crate::ivr::plays(&world, "menu").await;
        world.crash(kind).await;
        world.pass(std::time::Duration::from_millis(100)).await;
        crate::ivr::plays(&world, "menu").await;
        world.media.press(media, '1');
        let desk = called(&world).await;
        world.crash(kind).await;
        world.sip.pick_up(desk);
        world.until("they talk", bridged).await;
        world.sip.end(desk, Cause::hangup());
        assert_eq!(nothing_left(&world).await.len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_keeps_failing_ends_the_call_cleanly() {
    let world = world().await;
    let (dialog, alice) = talking(&world).await;
    let call = world.ctx().calls()[0].call;
    for _ in 0..4 {
        world.tree.crash(Kind::SipLeg);
        world.pass(std::time::Duration::from_secs(1)).await;
    }
    world.until("alice hears it", |world| ended(world, alice, call) == Some(500)).await;
    assert!(world.sip.orders_of(dialog).iter().any(|order| matches!(order, SipCommand::Hangup(_))));
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_keeps_failing_is_cleaned_up_and_the_cdr_blames_us() {
    let world = world().await;
    let (_, alice) = talking(&world).await;
    let call = world.ctx().calls()[0].call;
    for _ in 0..3 {
        world.tree.crash(Kind::Call);
        world.pass(std::time::Duration::from_secs(1)).await;
    }
    world.until("alice hears it", |world| ended(world, alice, call) == Some(500)).await;
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].cause.status), (1, 500));
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_keeps_failing_takes_the_steps_error_branch() {
    let world = world().await;
    let dialog = dial(&world, "9000");
    crate::ivr::plays(&world, "menu").await;
    for _ in 0..4 {
        world.tree.crash(Kind::Flow);
        world.pass(std::time::Duration::from_millis(500)).await;
    }
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), statuses(&world, dialog)), (1, vec![200, 200]));
}
