//! A request that makes its handler panic on every delivery: delivered again once, then answered 500 by who holds it, and
//! nothing else is lost with it.

use tandem_actors::Kind;
use tandem_actors::control::Control;
use tandem_actors::fakes::FakeSip;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::media::Direction;
use tandem_actors::ports::sip::SipCommand;

use super::*;
use crate::sip_to_rtc::talking;

#[tokio::test(start_paused = true)]
async fn a_poisonous_re_invite_is_answered_500_after_the_second_crash_and_the_call_goes_on() {
    let world = world().await;
    let (dialog, alice) = talking(&world).await;
    let call = world.ctx().calls()[0].call;
    world.sip.poison(|order| matches!(order, SipCommand::AnswerReoffer { .. }));
    world.sip.reoffer(dialog, Some(FakeSip::phone_offer(4000, Direction::SendOnly)));
    world.until("the core answers", |world| world.sip.given_up() == [dialog]).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(world.restarts(Kind::SipLeg), 2);
    assert!(bridged(&world) && ended(&world, alice, call).is_none());

    world.sip.poison(|_| false);
    let asked = world.sip.reoffer(dialog, Some(FakeSip::phone_offer(4000, Direction::SendRecv)));
    world
        .until("the next one is answered", |world| {
            let answers =
                |order: &SipCommand| matches!(order, SipCommand::AnswerReoffer { request, .. } if *request == asked);
            world.sip.orders_of(dialog).iter().any(answers)
        })
        .await;
    world.sip.end(dialog, Cause::hangup());
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invite_that_is_poisonous_to_its_leg_is_answered_500_after_the_second_crash() {
    for poison in [(|order| matches!(order, SipCommand::Adopt(_))) as fn(&SipCommand) -> bool, |order| {
        matches!(order, SipCommand::Progress { .. } | SipCommand::Answer { .. })
    }] {
        let world = world().await;
        world.sip.poison(poison);
        let dialog = dial(&world, "9000");
        world.until("the core answers", |world| world.sip.given_up() == [dialog]).await;
        let cdrs = nothing_left(&world).await;
        assert_eq!((cdrs.len(), cdrs[0].cause.status), (1, 500));
        assert_eq!((world.restarts(Kind::SipLeg), world.restarts(Kind::Call)), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_invite_that_is_poisonous_to_the_call_supervisor_does_not_take_the_switch_down() {
    let mut settings = settings();
    settings.limits.max_calls = 0;
    let world = World::start(settings).await;
    world.sip.poison(|order| matches!(order, SipCommand::Reject { .. }));
    let dialog = dial(&world, "9000");
    world.until("the core answers", |world| world.sip.given_up() == [dialog]).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.restarts(Kind::CallSupervisor), 2);
    world.sip.poison(|_| false);
    let next = dial(&world, "9000");
    world.until("the next caller is refused as usual", |world| statuses(world, next) == [503]).await;
}

#[tokio::test(start_paused = true)]
async fn an_invite_that_fell_into_a_crash_is_delivered_to_the_next_call_supervisor_once() {
    let world = world().await;
    // In the same instant: the event dies with the mailbox.
    world.tree.crash(Kind::CallSupervisor);
    let dialogs = [dial(&world, "9000"), dial(&world, "9000")];
    let since = tokio::time::Instant::now();
    for dialog in dialogs {
        answered(&world, dialog).await;
    }
    assert!(since.elapsed() < Duration::from_secs(2), "before the core gives up waiting");
    assert_eq!(world.ctx().calls().len(), 2);
    for dialog in dialogs {
        world.sip.end(dialog, Cause::hangup());
    }
    assert_eq!(nothing_left(&world).await.len(), 2);
}
