//! Switches that route to each other without end.

use super::pair::{FINE, both_empty, call, pair_of, to_b};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_loop_of_two_switches_ends_with_483_back_to_the_caller() {
    let pair = pair_of(1, FINE, [Manner::Forwards(2), Manner::Forwards(1)], open(), open());
    let dialog = call(&pair, to_b("200"));
    let end = || pair.a.1.ended().into_iter().find(|(ended, _)| *ended == dialog);
    until("the caller's end", || end().is_some()).await;
    assert_eq!(end().map(|(_, cause)| cause.status), Some(483));
    let hops = |brain: &Scripted| -> Vec<u8> {
        let events = brain.events.lock().expect("the events");
        let came = |event: &SipEvent| match event {
            SipEvent::Incoming(invite) => Some(invite.max_forwards.0),
            SipEvent::Dialog { .. }
            | SipEvent::Register(_)
            | SipEvent::ConnectionGone { .. }
            | SipEvent::KeptAlive { .. }
            | SipEvent::TrunkRegistration { .. }
            | SipEvent::TrunkOptions { .. } => None,
        };
        events.iter().filter_map(came).collect()
    };
    assert_eq!((hops(&pair.b.1), hops(&pair.a.1)), (vec![9, 7, 5, 3, 1], vec![8, 6, 4, 2]));
    both_empty(&pair).await;
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_calls_itself_ends_with_483_too() {
    let pair = pair_of(1, FINE, [Manner::Rejects, Manner::Forwards(2)], open(), open());
    call(&pair, to_b("200"));
    until("the caller's end", || !pair.a.1.ended().is_empty()).await;
    assert_eq!(pair.a.1.ended().first().map(|(_, cause)| cause.status), Some(483));
    both_empty(&pair).await;
}
