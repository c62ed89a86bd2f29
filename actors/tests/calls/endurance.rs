//! The whole tree under a call: everything that is not the call's own panics in turn, and many calls leave nothing behind.

use tandem_actors::Kind;
use tandem_actors::control::Control;
use tandem_actors::fakes::FakeSip;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::media::Direction;
use tandem_actors::ports::sip::SipCommand;

use super::*;
use crate::sip_to_rtc::talking;

/// Longer than every window of the tree, so that one crash does not count against the next.
const APART: Duration = Duration::from_secs(61);

/// Every kind there is in a call between a phone and a browser.
const KINDS: [Kind; 18] = [
    Kind::MediaSupervisor,
    Kind::MediaWorker,
    Kind::RtcSupervisor,
    Kind::RtcControl,
    Kind::SipSupervisor,
    Kind::SipEndpoint,
    Kind::Registrar,
    Kind::TrunkSupervisor,
    Kind::Trunk,
    Kind::ClientSupervisor,
    Kind::Client,
    Kind::InvitationSupervisor,
    Kind::Invitation,
    Kind::RoomSupervisor,
    Kind::CallSupervisor,
    Kind::Call,
    Kind::SipLeg,
    Kind::RtcLeg,
];

#[tokio::test(start_paused = true)]
async fn a_call_outlives_the_crash_of_anything_in_the_tree() {
    for kind in KINDS {
        let world = world().await;
        let (dialog, alice) = talking(&world).await;
        let began = world.ctx().calls()[0].clone();
        assert!(world.crash(kind).await > 0, "{kind}: there is one to crash");
        assert!(bridged(&world), "{kind}: nothing that is heard was touched");
        world.pass(Duration::from_secs(3)).await;
        let now = world.ctx().calls()[0].clone();
        assert_eq!((now.call, &now.phase, now.answered_at), (began.call, &began.phase, began.answered_at), "{kind}");
        assert!(bridged(&world), "{kind}");
        assert_eq!(ended(&world, alice, now.call), None, "{kind}");

        let asked = world.sip.reoffer(dialog, Some(FakeSip::phone_offer(4000, Direction::SendOnly)));
        world.until("the re-INVITE is answered", |world| {
            let answers = |order: &SipCommand| matches!(order, SipCommand::AnswerReoffer { request, .. } if *request == asked);
            world.sip.orders_of(dialog).iter().any(answers)
        })
        .await;
        world.sip.end(dialog, Cause::hangup());
        world.until("alice hears the end", |world| ended(world, alice, now.call) == Some(200)).await;
        let [cdr] = &nothing_left(&world).await[..] else { panic!("{kind}: one CDR a call") };
        assert_eq!((cdr.legs.len(), cdr.answered_at), (2, began.answered_at), "{kind}");
        assert!(world.restarts(kind) > 0, "{kind}: the restart is counted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_outlives_one_crash_after_another() {
    let world = world().await;
    let (dialog, alice) = talking(&world).await;
    for kind in KINDS {
        // By and by the invitation is over and forgotten, and a browser that says nothing is taken for lost.
        if matches!(kind, Kind::Invitation) {
            continue;
        }
        assert!(world.crash(kind).await > 0, "{kind}: there is one to crash");
        for _ in 0..6 {
            world.client.request(alice, Request::Ping {});
            world.pass(APART / 6).await;
        }
        assert!(bridged(&world), "{kind}");
        assert_eq!(world.ctx().calls()[0].phase, "talking", "{kind}");
    }
    world.sip.end(dialog, Cause::hangup());
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_re_invite_or_a_bye_that_fell_into_a_crash_is_seen_by_the_next_incarnation() {
    let world = world().await;
    let (dialog, _) = talking(&world).await;
    // The crash and the request are in the same instant: the event dies with the mailbox.
    world.tree.crash(Kind::SipLeg);
    let asked = world.sip.reoffer(dialog, Some(FakeSip::phone_offer(4000, Direction::SendRecv)));
    let since = tokio::time::Instant::now();
    world
        .until("the re-INVITE is answered", |world| {
            let answers =
                |order: &SipCommand| matches!(order, SipCommand::AnswerReoffer { request, .. } if *request == asked);
            world.sip.orders_of(dialog).iter().any(answers)
        })
        .await;
    assert!(since.elapsed() < Duration::from_secs(2), "before the core gives up waiting");

    world.tree.crash(Kind::SipLeg);
    world.sip.end(dialog, Cause::hangup());
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_draining_switch_lets_calls_end_and_takes_no_more() {
    let world = world().await;
    let (dialog, _) = talking(&world).await;
    assert!(!world.tree.drained(Duration::from_secs(5)).await, "a call still lives");
    let late = dial(&world, "9000");
    world.until("a late caller is refused", |world| statuses(world, late).contains(&503)).await;
    world.sip.end(dialog, Cause::hangup());
    assert!(world.tree.drained(Duration::from_secs(5)).await);
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_over_the_moment_the_last_call_is() {
    let world = world().await;
    let (dialog, _) = talking(&world).await;
    let ending = async {
        // No moment at which anybody who looks at intervals would look.
        world.pass(Duration::from_micros(1_234_567)).await;
        world.sip.end(dialog, Cause::hangup());
        tokio::time::Instant::now()
    };
    let drain = async {
        assert!(world.tree.drained(Duration::from_secs(60)).await);
        tokio::time::Instant::now()
    };
    let (ended, drained) = tokio::join!(ending, drain);
    assert!(drained - ended <= Duration::from_millis(1), "after {:?}", drained - ended);
}

#[tokio::test(start_paused = true)]
async fn a_call_between_two_incarnations_is_hung_up_as_the_next_one() {
    let world = world().await;
    let (_, alice) = talking(&world).await;
    let call = world.ctx().calls()[0].call;
    // The second restart waits some 20 ms.
    world.crash(Kind::Call).await;
    world.tree.crash(Kind::Call);
    world.pass(Duration::from_millis(1)).await;
    world.ctx().hang_up(call).await.expect("it lives");
    world.until("alice hears it", |world| ended(world, alice, call) == Some(200)).await;
    assert_eq!(nothing_left(&world).await.len(), 1);
    assert!(world.ctx().hang_up(call).await.is_err(), "there is no such call any more");
}

#[tokio::test(start_paused = true)]
async fn stopping_hangs_up_what_lives() {
    let world = world().await;
    let (dialog, _) = talking(&world).await;
    let World { tree, sip, store, .. } = world;
    tree.stop(Duration::from_secs(5)).await;
    let hung_up = sip.orders().iter().any(|o| o.dialog == dialog && matches!(o.command, SipCommand::Hangup(_)));
    assert!(hung_up, "the phone gets its BYE");
    assert_eq!(store.cdrs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_ports_a_call_is_refused_503_and_leaves_nothing() {
    let world = world().await;
    world.media.use_up_ports(true);
    let dialog = dial(&world, "9000");
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].cause.status), (1, 503));
    assert!(statuses(&world, dialog).contains(&503));
}

#[tokio::test(start_paused = true)]
async fn fifty_calls_at_once_leave_nothing() {
    let world = world().await;
    let dialogs: Vec<_> = (0..50).map(|_| dial(&world, "9000")).collect();
    world.until("all are answered", |world| dialogs.iter().all(|dialog| statuses(world, *dialog).contains(&200))).await;
    for dialog in dialogs {
        world.sip.end(dialog, Cause::hangup());
    }
    assert_eq!(nothing_left(&world).await.len(), 50);
    assert_eq!(world.meter.count("tandem_actor_restarts_total", None), 0);
}
