use proptest::prelude::*;

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

fn sent() -> Phase {
    let (phase, effects) = Phase::new(NO_ACK).step(Input::Send { logged_in: true }, Duration::ZERO);
    assert_eq!(effects, Effects::none(ApiCode::Ok));
    phase
}

/// Steps in order, with what came of the last.
fn after(inputs: &[(Input, Duration)]) -> (Phase, Effects) {
    inputs.iter().cloned().fold((sent(), Effects::none(ApiCode::Ok)), |(phase, _), (input, at)| phase.step(input, at))
}

fn now(inputs: &[Input]) -> (Phase, Effects) {
    after(&inputs.iter().map(|input| (input.clone(), S(1))).collect::<Vec<_>>())
}

fn accept() -> Input {
    Input::Accept("yes".into())
}
fn cancel() -> Input {
    Input::Cancel("bye".into())
}
fn tick(callee_online: bool) -> Input {
    Input::Tick { callee_online }
}
fn numbers(phase: &Phase) -> (u8, u8) {
    (phase.local.number(), phase.remote.number())
}

#[test]
fn accept_is_a_handshake_of_three() {
    let (phase, effects) = now(&[Input::Delivered]);
    assert_eq!(effects.callbacks, [Callback::Remote(RemoteCallback::Received)]);
    let (phase, effects) = phase.step(Input::Ack, S(1));
    assert_eq!(effects.callbacks, [Callback::Local(LocalCallback::ReceivedByPeer)]);
    assert_eq!(numbers(&phase), (2, 1));
    let (phase, effects) = phase.step(accept(), S(2));
    assert_eq!(effects.callbacks, [Callback::Local(LocalCallback::Accepted("yes".into()))]);
    assert_eq!(numbers(&phase), (3, 2));
    let (phase, effects) = phase.step(Input::AcceptHeard, S(3));
    assert_eq!(effects.callbacks, [Callback::Remote(RemoteCallback::Accepted("yes".into()))]);
    assert_eq!(numbers(&phase), (3, 4));
    assert!(phase.is_over());
}

#[test]
fn an_answer_that_overtakes_the_ack_is_heard_after_received_by_peer() {
    let (phase, effects) = now(&[Input::Delivered, accept()]);
    assert_eq!(
        effects.callbacks,
        [Callback::Local(LocalCallback::ReceivedByPeer), Callback::Local(LocalCallback::Accepted("yes".into()))]
    );
    // And the ack that comes late does nothing.
    assert_eq!(phase.clone().step(Input::Ack, S(2)), (phase, Effects::none(ApiCode::Ok)));

    let (phase, effects) = now(&[Input::Delivered, Input::Refuse("busy".into())]);
    assert_eq!(
        effects.callbacks,
        [
            Callback::Local(LocalCallback::ReceivedByPeer),
            Callback::Local(LocalCallback::Refused("busy".into())),
            Callback::Remote(RemoteCallback::Refused("busy".into())),
        ]
    );
    assert_eq!(numbers(&phase), (4, 3));
}

#[test]
fn of_accept_and_cancel_the_first_wins() {
    let (phase, effects) = now(&[Input::Delivered, accept(), cancel()]);
    assert_eq!((numbers(&phase), effects), ((3, 2), Effects::none(ApiCode::AlreadyEnd)));
    let (phase, effects) = now(&[Input::Delivered, cancel(), accept()]);
    assert_eq!((numbers(&phase), effects), ((5, 5), Effects::none(ApiCode::AlreadyEnd)));
}

#[test]
fn a_cancel_is_heard_on_both_sides_with_its_reason() {
    let (_, effects) = now(&[Input::Delivered, Input::Ack, cancel()]);
    assert_eq!(
        effects.callbacks,
        [
            Callback::Local(LocalCallback::Canceled("bye".into())),
            Callback::Remote(RemoteCallback::Canceled("bye".into())),
        ]
    );
}

#[test]
fn a_cancel_before_any_device_has_it_leaves_nothing_to_deliver() {
    let (phase, effects) = now(&[cancel()]);
    assert_eq!(effects.callbacks, [Callback::Local(LocalCallback::Canceled("bye".into()))]);
    assert!(phase.is_over() && !phase.deliverable(S(2)));
}

#[test]
fn api_codes_are_those_of_the_table() {
    let code = |inputs: &[Input]| now(inputs).1.code;
    let idle = Phase::new(NO_ACK);
    assert_eq!(idle.step(cancel(), S(0)).1.code, ApiCode::NotStarted);
    assert_eq!(code(&[Input::Send { logged_in: true }]), ApiCode::AlreadySent);
    assert_eq!(code(&[Input::Delivered, Input::Ack, Input::Send { logged_in: true }]), ApiCode::AlreadySent);
    assert_eq!(code(&[cancel(), Input::Send { logged_in: true }]), ApiCode::AlreadyEnd);
    assert_eq!(code(&[cancel(), cancel()]), ApiCode::AlreadyEnd);
    let refuse = || Input::Refuse(String::new());
    assert_eq!(code(&[Input::Delivered, accept(), accept()]), ApiCode::AlreadyAccept);
    assert_eq!(code(&[Input::Delivered, accept(), Input::AcceptHeard, accept()]), ApiCode::AlreadyAccept);
    assert_eq!(code(&[Input::Delivered, accept(), refuse()]), ApiCode::AlreadyEnd);
    assert_eq!(code(&[Input::Delivered, accept(), Input::AcceptHeard, refuse()]), ApiCode::AlreadyEnd);
    assert_eq!(code(&[Input::Delivered, refuse(), accept()]), ApiCode::AlreadyEnd);
    assert_eq!(code(&[Input::Delivered, refuse(), refuse()]), ApiCode::AlreadyEnd);
}

#[test]
fn who_is_not_logged_in_cannot_send() {
    let (phase, effects) = Phase::new(NO_ACK).step(Input::Send { logged_in: false }, S(0));
    assert_eq!(effects.callbacks, [Callback::Local(LocalCallback::Failure(LocalFailure::NotLoggedIn))]);
    assert!(phase.is_over());
}

#[test]
fn after_30_s_without_a_device_the_callee_is_offline() {
    let early = (tick(false), Duration::from_millis(29_900));
    let (phase, effects) = after(std::slice::from_ref(&early));
    assert!(effects.callbacks.is_empty() && phase.deliverable(early.1));
    assert_eq!(phase.next_deadline(), Some(NO_ACK));
    let (phase, effects) = after(&[early, (tick(false), Duration::from_millis(30_100))]);
    assert_eq!(effects.callbacks, [Callback::Local(LocalCallback::Failure(LocalFailure::PeerOffline))]);
    assert!(phase.is_over() && !phase.deliverable(S(31)));
}

#[test]
fn after_30_s_without_an_ack_of_an_online_callee_both_sides_fail() {
    let (phase, _) = after(&[(Input::Delivered, S(0)), (tick(true), Duration::from_millis(29_900))]);
    assert_eq!(numbers(&phase), (1, 1));
    let (phase, effects) = phase.step(tick(true), Duration::from_millis(30_100));
    assert_eq!(
        effects.callbacks,
        [
            Callback::Local(LocalCallback::Failure(LocalFailure::PeerNoResponse)),
            Callback::Remote(RemoteCallback::Failure(RemoteFailure::InvitationExpire)),
        ]
    );
    assert!(phase.is_over());
}

#[test]
fn after_60_s_from_the_send_both_sides_expire_however_late_it_was_received() {
    let (phase, _) =
        after(&[(Input::Delivered, S(20)), (Input::Ack, S(29)), (tick(true), Duration::from_millis(59_900))]);
    assert_eq!((numbers(&phase), phase.next_deadline()), ((2, 1), Some(NO_ANSWER)));
    let (phase, effects) = phase.step(tick(true), Duration::from_millis(60_100));
    assert_eq!(
        effects.callbacks,
        [
            Callback::Local(LocalCallback::Failure(LocalFailure::InvitationExpire)),
            Callback::Remote(RemoteCallback::Failure(RemoteFailure::InvitationExpire)),
        ]
    );
    assert!(phase.is_over());
}

#[test]
fn an_acceptance_that_is_not_confirmed_in_5_s_fails_on_the_callees_side_only() {
    let (phase, _) = after(&[(Input::Delivered, S(0)), (accept(), S(58)), (tick(true), Duration::from_millis(62_900))]);
    assert_eq!((numbers(&phase), phase.next_deadline()), ((3, 2), Some(S(63))));
    let (phase, effects) = phase.step(tick(true), Duration::from_millis(63_100));
    assert_eq!(effects.callbacks, [Callback::Remote(RemoteCallback::Failure(RemoteFailure::AcceptFailure))]);
    assert_eq!(numbers(&phase), (3, 6));
}

#[test]
fn a_caller_who_goes_offline_fails_the_callees_side_and_is_not_delivered_any_more() {
    let (phase, effects) = now(&[Input::Delivered, Input::Ack, Input::CallerOffline]);
    assert_eq!(effects.callbacks, [Callback::Remote(RemoteCallback::Failure(RemoteFailure::PeerOffline))]);
    assert_eq!(numbers(&phase), (2, 6));
    let (phase, effects) = now(&[Input::Delivered, accept(), Input::CallerOffline]);
    assert_eq!(effects.callbacks, [Callback::Remote(RemoteCallback::Failure(RemoteFailure::PeerOffline))]);
    assert!(phase.is_over());
    let (phase, _) = now(&[Input::CallerOffline]);
    assert!(!phase.deliverable(S(2)));
}

#[test]
fn a_shorter_offline_wait_counts_only_until_a_device_has_it() {
    let wait = |inputs: &[(Input, Duration)]| {
        let (phase, _) = Phase::new(S(0)).step(Input::Send { logged_in: true }, S(0));
        inputs.iter().cloned().fold(phase, |phase, (input, at)| phase.step(input, at).0)
    };
    assert_eq!(numbers(&wait(&[(tick(false), S(0))])), (6, 0));
    assert_eq!(numbers(&wait(&[(Input::Delivered, S(0)), (tick(true), S(1))])), (1, 1));
}

#[test]
fn abandoning_ends_both_sides_by_the_tables() {
    let failed = |inputs: &[Input]| {
        let (phase, effects) = now(inputs).0.abandon(true);
        assert!(phase.is_over());
        effects.callbacks
    };
    assert_eq!(failed(&[Input::Delivered]).len(), 2);
    assert_eq!(failed(&[Input::Delivered, Input::Ack]).len(), 2);
    assert_eq!(failed(&[Input::Delivered, accept()]).len(), 1);
    assert_eq!(failed(&[]).len(), 1);
}

/// The tables, written a second time as pairs of state numbers.
const LOCAL_TABLE: [(u8, u8); 9] = [(0, 1), (0, 6), (1, 2), (1, 6), (1, 5), (2, 5), (2, 3), (2, 4), (2, 6)];
/// An answer that overtakes the ack passes RECEIVED within one step.
const LOCAL_THROUGH_RECEIVED: [(u8, u8); 2] = [(1, 3), (1, 4)];
const REMOTE_TABLE: [(u8, u8); 8] = [(0, 1), (1, 2), (2, 4), (2, 6), (2, 5), (1, 6), (1, 3), (1, 5)];

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        any::<bool>().prop_map(|logged_in| Input::Send { logged_in }),
        Just(Input::Delivered),
        Just(Input::Ack),
        Just(accept()),
        Just(Input::Refuse("busy".into())),
        Just(cancel()),
        Just(Input::AcceptHeard),
        Just(Input::CallerOffline),
        Just(Input::CalleeFailed),
        any::<bool>().prop_map(tick),
    ]
}

/// A callback without its words, so that repetitions are seen.
fn kind_of(callback: &Callback) -> &'static str {
    match callback {
        Callback::Local(LocalCallback::ReceivedByPeer) => "ReceivedByPeer",
        Callback::Local(LocalCallback::Accepted(_)) => "local Accepted",
        Callback::Local(LocalCallback::Refused(_)) => "local Refused",
        Callback::Local(LocalCallback::Canceled(_)) => "local Canceled",
        Callback::Local(LocalCallback::Failure(_)) => "local Failure",
        Callback::Remote(RemoteCallback::Received) => "Received",
        Callback::Remote(RemoteCallback::Accepted(_)) => "remote Accepted",
        Callback::Remote(RemoteCallback::Refused(_)) => "remote Refused",
        Callback::Remote(RemoteCallback::Canceled(_)) => "remote Canceled",
        Callback::Remote(RemoteCallback::Failure(_)) => "remote Failure",
    }
}

proptest! {
    #[test]
    fn random_orders_find_no_transition_outside_the_tables(
        inputs in proptest::collection::vec((any_input(), 0_u64..4000), 0..40),
        wait in 0_u64..40,
    ) {
        let mut phase = Phase::new(S(wait));
        let mut at = Duration::ZERO;
        let mut heard = Vec::new();
        for (input, step_ms) in inputs {
            at += Duration::from_millis(step_ms);
            let before = numbers(&phase);
            let was_terminal = (phase.local.is_terminal(), phase.remote.is_terminal());
            let (next, effects) = phase.step(input, at);
            let changed = numbers(&next);
            let local = (before.0, changed.0);
            prop_assert!(
                local.0 == local.1 || LOCAL_TABLE.contains(&local) || LOCAL_THROUGH_RECEIVED.contains(&local),
                "local went {local:?}"
            );
            let remote = (before.1, changed.1);
            prop_assert!(remote.0 == remote.1 || REMOTE_TABLE.contains(&remote), "remote went {remote:?}");
            prop_assert!(!was_terminal.0 || local.0 == local.1, "left a terminal state");
            prop_assert!(!was_terminal.1 || remote.0 == remote.1, "left a terminal state");
            for callback in &effects.callbacks {
                let kind = kind_of(callback);
                prop_assert!(!heard.contains(&kind), "{callback:?} twice");
                heard.push(kind);
            }
            // Where one side is accepted by the callee's own word, the other says so too.
            if changed.1 == 2 || changed.1 == 4 {
                prop_assert_eq!(changed.0, 3);
            }
            if changed.1 == 3 {
                prop_assert_eq!(changed.0, 4);
            }
            phase = next;
        }
        // Time ends everything that was sent.
        if phase.local != LocalState::Idle {
            let (phase, _) = phase.step(tick(true), at + S(100));
            prop_assert!(phase.is_over());
            prop_assert_eq!(phase.next_deadline(), None);
        }
    }
}
