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
            | SipEvent::Message(_)
            | SipEvent::TrunkRegistration { .. }
            | SipEvent::TrunkOptions { .. } => None,
        };
        events.iter().filter_map(came).collect()
    };
    assert_eq!((hops(&pair.b.1), hops(&pair.a.1)), (vec![9, 7, 5, 3, 1], vec![8, 6, 4, 2]));
    both_empty(&pair).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5393_5_what_came_of_max_breadth_is_shared_out_among_the_contacts_rung_and_none_is_440() {
    let bench = super::requests::Bench::new(Manner::Sleeps, open());
    let order = |max_breadth, contacts: u8| {
        let to = (1..=contacts).map(|n| Destination::Uri(SipUri(format!("sip:200@192.0.2.{}", 10 + n)))).collect();
        let invite = OutgoingInvite {
            leg: LegId(1),
            to,
            caller: CallerId::default(),
            headers: AppHeaders::default(),
            max_forwards: MaxForwards(9),
            carried: tandem_actors::model::address::Carried { max_breadth, ..Default::default() },
            offer: offer(1),
        };
        let dialog = DialogId::random();
        bench.brain.order(dialog, SipCommand::Invite(Box::new(invite)));
        let breadth =
            |text: &String| text.lines().find_map(|line| line.strip_prefix("Max-Breadth: ")).map(str::to_owned);
        let invites: Vec<_> = bench.heard().iter().filter(|text| text.starts_with("INVITE ")).map(breadth).collect();
        (invites, bench.brain.ended().into_iter().find(|(id, _)| *id == dialog).map(|(_, cause)| cause.status))
    };
    let said = |value: &str| Some(value.to_owned());
    assert_eq!(order(Some(5), 2), (vec![said("3"), said("2")], None));
    assert_eq!(order(Some(1), 2), (vec![said("1")], None));
    assert_eq!(order(None, 1), (vec![None], None));
    assert_eq!(order(Some(0), 1), (vec![], Some(440)));
    // As it is read.
    bench.ask("INVITE", &[("Max-Breadth", "7")]);
    let came = |event: &SipEvent| matches!(event, SipEvent::Incoming(invite) if invite.carried.max_breadth == Some(7));
    assert!(bench.brain.events.lock().expect("the events").iter().any(came));
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_calls_itself_ends_with_483_too() {
    let pair = pair_of(1, FINE, [Manner::Rejects, Manner::Forwards(2)], open(), open());
    call(&pair, to_b("200"));
    until("the caller's end", || !pair.a.1.ended().is_empty()).await;
    assert_eq!(pair.a.1.ended().first().map(|(_, cause)| cause.status), Some(483));
    both_empty(&pair).await;
}
