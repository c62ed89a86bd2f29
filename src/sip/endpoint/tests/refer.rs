//! REFER, its NOTIFYs, and INVITE with Replaces, at a core alone.

use tandem_actors::ports::sip::{Referral, Replaced};

use super::requests::Bench;
use super::*;

const TO_200: (&str, &str) = ("Refer-To", "<sip:200@example.com>");

/// An answered and acknowledged call from 192.0.2.7; the To of its 200.
fn answered(bench: &Bench) -> String {
    let answers = bench.ask("INVITE", &[]);
    let to = header(answers.last().expect("a 200"), "To");
    bench.ask("ACK", &[("To", &to), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKack")]);
    to
}

fn header(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

fn refer(bench: &Bench, to: &str, cseq: u32, more: &[(&str, &str)]) -> Vec<String> {
    let (via, cseq) = (format!("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKr{cseq}"), format!("{cseq} REFER"));
    let mut changes = vec![("To", to), ("Via", via.as_str()), ("CSeq", cseq.as_str())];
    changes.extend(more);
    bench.ask("REFER", &changes)
}

/// The NOTIFYs among what was sent: the state and the body of each.
fn notifies(sent: &[String]) -> Vec<(String, String)> {
    let notifies = sent.iter().filter(|text| text.starts_with("NOTIFY "));
    notifies
        .map(|text| {
            assert_eq!(header(text, "Content-Type"), "message/sipfrag;version=2.0");
            let body = text.split("\r\n\r\n").nth(1).expect("a body");
            (header(text, "Subscription-State"), body.trim().to_owned())
        })
        .collect()
}

/// Answers the last request that was sent; what that led to.
fn answer(bench: &Bench, request: &str, status: &str) -> Vec<String> {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        text.push_str(&format!("{name}: {}\r\n", header(request, name)));
    }
    bench.raw(text + "Content-Length: 0\r\n\r\n")
}

fn referral(bench: &Bench) -> Referral {
    let events = bench.brain.events.lock().expect("the events");
    let referral = events.iter().rev().find_map(|event| {
        let SipEvent::Dialog { event: DialogEvent::Referred(referral), .. } = event else { return None };
        Some((**referral).clone())
    });
    referral.expect("a referral")
}

#[tokio::test(start_paused = true)]
async fn a_refer_is_answered_202_told_100_first_and_ended_by_exactly_one_notify() {
    let bench = Bench::new(Manner::Answers, open());
    let to = answered(&bench);
    let sent = refer(&bench, &to, 2, &[TO_200, ("Referred-By", "<sip:x@example.com>")]);
    assert_eq!(Bench::codes(&sent), [202]);
    assert_eq!(notifies(&sent), [("active;expires=180".to_owned(), "SIP/2.0 100 Trying".to_owned())]);
    assert_eq!(header(&sent[1], "Event"), "refer;id=2");
    let referral = referral(&bench);
    assert_eq!((referral.to.0.as_str(), &referral.replaces), ("sip:200@example.com", &Replaced::Nobody));
    assert_eq!(referral.referred_by.as_deref(), Some("<sip:x@example.com>"));

    // One after the other: 180 waits for the answer to the first.
    bench.heard();
    bench.core.refer_outcome(referral.request, 180);
    assert!(bench.heard().is_empty());
    let next = answer(&bench, &sent[1], "200 OK");
    assert_eq!(notifies(&next).first().map(|(_, body)| body.as_str()), Some("SIP/2.0 180 Ringing"));
    bench.core.refer_outcome(referral.request, 486);
    bench.core.refer_outcome(referral.request, 200);
    let last = answer(&bench, &next[0], "200 OK");
    assert_eq!(notifies(&last), [("terminated;reason=noresource".to_owned(), "SIP/2.0 486 Busy Here".to_owned())]);
    assert!(answer(&bench, &last[0], "200 OK").is_empty());
    bench.core.refer_outcome(referral.request, 200);
    assert!(bench.heard().is_empty());
    assert!(bench.core.shared().with(|core, _| core.refers.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn norefersub_has_no_subscription() {
    let bench = Bench::new(Manner::Answers, open());
    let to = answered(&bench);
    let sent = refer(&bench, &to, 2, &[TO_200, ("Refer-Sub", "false"), ("Require", "norefersub")]);
    assert_eq!(Bench::codes(&sent), [202]);
    assert_eq!(header(&sent[0], "Refer-Sub"), "false");
    assert!(notifies(&sent).is_empty());
    bench.heard();
    bench.core.refer_outcome(referral(&bench).request, 200);
    assert!(bench.heard().is_empty());
    assert!(bench.core.shared().with(|core, _| core.refers.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_refer_is_refused_by_what_is_wrong_with_it() {
    let bench = Bench::new(Manner::Answers, open());
    let to = answered(&bench);
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[], 400),
        (&[("Refer-To", "<http://example.com>")], 416),
        (&[("Refer-To", "<sip:a@b;method=SUBSCRIBE>")], 403),
        (&[("Refer-To", "<sip:a@b?Replaces=only>")], 400),
        (&[("Refer-To", "<sip:a@b>"), ("Require", "tdialog")], 420),
    ];
    for (cseq, (more, code)) in (2..).zip(cases) {
        assert_eq!(Bench::codes(&refer(&bench, &to, cseq, more)), [*code], "{more:?}");
    }
    assert_eq!(Bench::codes(&refer(&bench, &to, 20, &[TO_200])), [202]);
    assert_eq!(Bench::codes(&refer(&bench, &to, 21, &[TO_200])), [491], "one transfer at a time");
    assert_eq!(Bench::codes(&refer(&bench, "<sip:200@example.com>;tag=none", 22, &[TO_200])), [481]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_transfer_is_told_though_the_dialog_is_over() {
    let bench = Bench::new(Manner::Answers, open());
    let to = answered(&bench);
    let sent = refer(&bench, &to, 2, &[TO_200]);
    answer(&bench, &sent[1], "200 OK");
    let bye = bench.ask("BYE", &[("To", &to), ("CSeq", "3 BYE"), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKbye")]);
    assert_eq!(Bench::codes(&bye), [200]);
    bench.heard();
    bench.core.refer_outcome(referral(&bench).request, 200);
    let last = bench.heard();
    assert_eq!(notifies(&last), [("terminated;reason=noresource".to_owned(), "SIP/2.0 200 OK".to_owned())]);
    // RFC 6665 §4.2.2: a subscriber that is gone ends it too.
    assert!(answer(&bench, &last[0], "481 Gone").is_empty());
    until("an empty table", || super::pair::empty(&bench.core)).await;
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_nobody_decides_is_ended_by_time() {
    let bench = Bench::new(Manner::Answers, open());
    let to = answered(&bench);
    let sent = refer(&bench, &to, 2, &[TO_200]);
    answer(&bench, &sent[1], "200 OK");
    bench.heard();
    tokio::time::sleep(Duration::from_secs(181)).await;
    assert_eq!(
        notifies(&bench.heard()).first().map(|(_, body)| body.clone()).as_deref(),
        Some("SIP/2.0 503 Service Unavailable")
    );
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_crashed_over_a_referral_finds_it_until_something_was_said_of_it() {
    let bench = Bench::new(Manner::Answers, open());
    let to = answered(&bench);
    refer(&bench, &to, 2, &[TO_200]);
    let dialog = *bench.brain.orders.lock().expect("the orders").keys().next().expect("a dialog");
    let pending = || bench.core.snapshot(dialog).expect("a dialog").referral;
    let request = pending().expect("a referral").request;
    bench.core.refer_outcome(request, 180);
    assert_eq!(pending(), None);
}

#[tokio::test(start_paused = true)]
async fn an_invite_with_replaces_names_a_dialog_of_ours_or_is_refused() {
    let bench = Bench::new(Manner::Answers, open());
    let to = answered(&bench);
    let tag = to.split("tag=").nth(1).expect("a tag").to_owned();
    let ask = |at: u32, replaces: &str| {
        let (via, call_id) = (format!("SIP/2.0/UDP h;branch=z9hG4bKp{at}"), format!("p{at}"));
        let changes = [("Via", via.as_str()), ("Call-ID", call_id.as_str()), ("Replaces", replaces)];
        *Bench::codes(&bench.ask("INVITE", &changes)).last().expect("an answer")
    };
    assert_eq!(ask(1, "c1"), 400);
    assert_eq!(ask(2, "c1;to-tag=other;from-tag=f"), 481);
    assert_eq!(ask(3, &format!("c1;to-tag={tag};from-tag=other")), 481);
    assert_eq!(ask(4, &format!("c1;to-tag={tag};from-tag=f;early-only")), 486);
    assert_eq!(ask(5, &format!("c1;to-tag={tag};from-tag=f")), 200);
    let replaced = bench
        .brain
        .events
        .lock()
        .expect("the events")
        .iter()
        .rev()
        .find_map(|event| if let SipEvent::Incoming(invite) = event { Some(invite.replaces) } else { None });
    assert_eq!(replaced, Some(Some(LegId(1))));
    bench.ask("BYE", &[("To", &to), ("CSeq", "3 BYE"), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKbye")]);
    // The scripted brain forgets what is over at once: nothing is left to be replaced.
    assert_eq!(ask(6, &format!("c1;to-tag={tag};from-tag=f")), 481);
}

#[tokio::test(start_paused = true)]
async fn an_early_dialog_that_we_did_not_begin_is_not_replaced() {
    let bench = Bench::new(Manner::Rings, open());
    let to = header(bench.ask("INVITE", &[]).last().expect("a 180"), "To");
    let tag = to.split("tag=").nth(1).expect("a tag");
    let replaces = format!("c1;to-tag={tag};from-tag=f");
    let changes = [("Via", "SIP/2.0/UDP h;branch=z9hG4bKe"), ("Call-ID", "e1"), ("Replaces", replaces.as_str())];
    assert_eq!(Bench::codes(&bench.ask("INVITE", &changes)).last(), Some(&481));
}
