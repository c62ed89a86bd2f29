//! A core alone: what becomes of INVITEs of ours.

use super::pair::empty;
use super::requests::Bench;
use super::*;

/// Orders an INVITE to these.
fn invite(bench: &Bench, to: Vec<Destination>) -> DialogId {
    let dialog = DialogId::random();
    let invite = OutgoingInvite {
        leg: LegId(9),
        to,
        caller: CallerId { display: String::new(), number: "100".into() },
        headers: AppHeaders::default(),
        max_forwards: MaxForwards::default(),
        offer: offer(1),
    };
    bench.brain.order(dialog, SipCommand::Invite(Box::new(invite)));
    dialog
}

fn uri(uri: &str) -> Vec<Destination> {
    vec![Destination::Uri(SipUri(uri.into()))]
}

/// The first value of a header.
fn header(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.expect("a header").to_owned()
}

/// A response to a request of ours, as its peer would send it.
fn response(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        text.push_str(&format!("{name}: {}\r\n", header(request, name)));
    }
    text + &format!("To: {};tag=them\r\nContent-Length: 0\r\n\r\n", header(request, "To"))
}

// No test of a lookup awaits before its addresses are given by hand: the resolver's own task never gets to run.
#[tokio::test(start_paused = true)]
async fn a_call_cancelled_while_its_host_is_looked_up_is_never_sent() {
    for forgotten in [true, false] {
        let bench = Bench::new(Manner::Sleeps, open());
        let dialog = invite(&bench, uri("sip:200@slow.example.com"));
        bench.brain.order(dialog, SipCommand::Hangup(Cause::cancelled()));
        if forgotten {
            bench.brain.order(dialog, SipCommand::Forget);
        }
        bench.core.shared().with(|core, now| core.resolved("slow.example.com", vec![[192, 0, 2, 7].into()], now));
        assert_eq!(bench.heard(), Vec::<String>::new());
        until("an empty table", || empty(&bench.core)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_callees_bye_before_its_answer_cancels_the_invite_and_nothing_is_left_of_it() {
    let bench = Bench::new(Manner::Rings, open());
    invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    assert!(bench.raw(response(&request, "180 Ringing")).is_empty());
    let (from, to) = (header(&request, "To") + ";tag=them", header(&request, "From"));
    let answers = bench.ask("BYE", &[("From", &from), ("To", &to), ("Call-ID", &header(&request, "Call-ID"))]);
    assert!(answers.iter().any(|text| text.starts_with("SIP/2.0 200 ")), "{answers:?}");
    assert!(answers.iter().any(|text| text.starts_with("CANCEL sip:200@192.0.2.7 ")), "{answers:?}");
    // It answers neither the CANCEL nor the INVITE (RFC 3261 §9.1: over after 64*T1).
    until("an empty table", || empty(&bench.core)).await;
}
