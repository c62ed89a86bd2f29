//! A core alone: early dialogs of INVITEs of ours, their reliable responses, and refusals that change the INVITE.

use super::outbound::{header, invite, uri};
use super::pair::{confirmed, empty};
use super::requests::Bench;
use super::*;

/// A response of the branch `tag` to a request of ours.
fn from(request: &str, status: &str, tag: &str, more: &[&str], body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        text.push_str(&format!("{name}: {}\r\n", header(request, name)));
    }
    text.push_str(&format!("To: {};tag={tag}\r\nContact: <sip:{tag}@192.0.2.7>\r\n", header(request, "To")));
    for line in more {
        text.push_str(&format!("{line}\r\n"));
    }
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

fn sdp(port: u16) -> String {
    let mut offer = offer(2).0;
    offer.rtp.set_port(port);
    crate::sdp::write(&offer)
}

/// The ports of the early media that the leg was told of, in order.
fn heard_from(bench: &Bench) -> Vec<Option<u16>> {
    let events = bench.brain.events.lock().expect("the events");
    events
        .iter()
        .filter_map(|event| match event {
            SipEvent::Dialog { event: DialogEvent::Progress { answer, .. }, .. } => {
                Some(answer.as_ref().map(|answer| answer.0.rtp.port()))
            }
            SipEvent::Dialog { .. }
            | SipEvent::Incoming(_)
            | SipEvent::Register(_)
            | SipEvent::ConnectionGone { .. }
            | SipEvent::KeptAlive { .. }
            | SipEvent::Message(_)
            | SipEvent::TrunkRegistration { .. }
            | SipEvent::TrunkOptions { .. } => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn reliable_responses_are_acknowledged_in_order_each_early_dialog_by_itself() {
    let bench = Bench::new(Manner::Sleeps, open());
    invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    assert!(header(&request, "Supported").contains("100rel"));
    let cseq: u32 = header(&request, "CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    let ring = |tag: &str, rseq: u32| {
        let (rseq, route) = (format!("RSeq: {rseq}"), "Record-Route: <sip:192.0.2.7;lr>");
        bench.raw(from(&request, "180 Ringing", tag, &["Require: 100rel", &rseq, route], "")).concat()
    };
    let first = ring("a", 100);
    assert!(first.starts_with("PRACK sip:a@192.0.2.7 SIP/2.0\r\n"), "{first}");
    assert_eq!(header(&first, "RAck"), format!("100 {cseq} INVITE"));
    assert_eq!(header(&first, "CSeq"), format!("{} PRACK", cseq + 1));
    assert_eq!(header(&first, "Route"), "<sip:192.0.2.7;lr>");
    assert_eq!(ring("a", 100), "", "a repeat is discarded: the PRACK repeats itself");
    assert_eq!(ring("a", 102), "", "one is missing in between");
    assert_eq!(header(&ring("b", 7), "RAck"), format!("7 {cseq} INVITE"), "another early dialog counts by itself");
    assert_eq!(header(&ring("a", 101), "RAck"), format!("101 {cseq} INVITE"));
    assert_eq!(heard_from(&bench).len(), 3, "what was discarded was not delivered");
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_a_reliable_183_is_the_calls_and_the_200_needs_none() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    bench.raw(from(&request, "183 Session Progress", "a", &["Require: 100rel", "RSeq: 1"], &sdp(4100)));
    let sent = bench.raw(from(&request, "200 OK", "a", &[], "")).concat();
    assert!(sent.starts_with("ACK sip:a@192.0.2.7"), "{sent}");
    assert_eq!(header(&sent, "CSeq").split(' ').next(), header(&request, "CSeq").split(' ').next());
    let answered =
        |event: &DialogEvent| matches!(event, DialogEvent::Answered { answer, .. } if answer.0.rtp.port() == 4100);
    assert!(bench.brain.saw(answered) && confirmed(&bench.core, id));
    bench.heard();
    bench.brain.order(id, SipCommand::Hangup(Cause::hangup()));
    let bye = bench.heard().concat();
    let number = |text: &str| header(text, "CSeq").split(' ').next().and_then(|n| n.parse::<u32>().ok());
    assert_eq!(number(&bye), number(&request).map(|n| n + 2), "the PRACK's number is not used again");
}

#[tokio::test(start_paused = true)]
async fn the_branch_that_answers_need_not_be_the_one_that_rang() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    bench.raw(from(&request, "183 Session Progress", "a", &[], &sdp(4100)));
    let sent = bench.raw(from(&request, "200 OK", "b", &[], &sdp(4200))).concat();
    assert!(sent.starts_with("ACK sip:b@192.0.2.7"), "{sent}");
    let answered =
        |event: &DialogEvent| matches!(event, DialogEvent::Answered { answer, .. } if answer.0.rtp.port() == 4200);
    assert!(bench.brain.saw(answered) && confirmed(&bench.core, id));
    let second = bench.raw(from(&request, "200 OK", "a", &[], &sdp(4100))).concat();
    assert!(second.starts_with("ACK sip:a@192.0.2.7") && second.contains("\r\n\r\nBYE sip:a@192.0.2.7"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn of_several_branches_the_one_described_last_is_heard_until_a_199_ends_it() {
    let bench = Bench::new(Manner::Sleeps, open());
    invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    bench.raw(from(&request, "183 Session Progress", "a", &[], &sdp(4100)));
    bench.raw(from(&request, "183 Session Progress", "b", &[], &sdp(4200)));
    bench.raw(from(&request, "180 Ringing", "c", &[], ""));
    bench.raw(from(&request, "199 Early Dialog Terminated", "b", &[], ""));
    assert_eq!(heard_from(&bench), [Some(4100), Some(4200), None, Some(4100)]);
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_may_not_send_early_media_is_not_listened_to_and_may_still_answer() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    bench.raw(from(&request, "183 Session Progress", "a", &["P-Early-Media: inactive"], &sdp(4100)));
    assert_eq!(heard_from(&bench), [None]);
    bench.raw(from(&request, "183 Session Progress", "a", &["P-Early-Media: sendonly, gated"], &sdp(4100)));
    assert_eq!(heard_from(&bench), [None, Some(4100)]);
    bench.raw(from(&request, "200 OK", "a", &[], ""));
    assert!(confirmed(&bench.core, id));
}

#[tokio::test(start_paused = true)]
async fn an_update_before_our_offer_is_answered_meets_491_and_after_a_reliable_answer_the_leg() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    let update = |cseq: u32| {
        let (from, to) = (header(&request, "To") + ";tag=a", header(&request, "From"));
        let (via, cseq) = (format!("SIP/2.0/UDP h;branch=z9hG4bKu{cseq}"), format!("{cseq} UPDATE"));
        let call_id = header(&request, "Call-ID");
        let names = [("From", from.as_str()), ("To", &to), ("Call-ID", &call_id), ("Via", &via), ("CSeq", &cseq)];
        let body = sdp(4300);
        let mut changes = names.to_vec();
        changes.extend([("Content-Type", "application/sdp"), ("body", body.as_str())]);
        bench.ask("UPDATE", &changes)
    };
    bench.raw(from(&request, "180 Ringing", "a", &[], ""));
    assert_eq!(Bench::codes(&update(1)), [491]);
    bench.raw(from(&request, "183 Session Progress", "a", &["Require: 100rel", "RSeq: 1"], &sdp(4100)));
    assert!(update(2).is_empty(), "it waits for the leg");
    let (pending, _) = bench.core.snapshot(id).and_then(|snapshot| snapshot.pending).expect("an offer");
    bench.heard();
    bench.brain.order(id, SipCommand::AnswerReoffer { request: pending, description: Box::new(offer(3)) });
    let ok = bench.heard().concat();
    assert!(ok.starts_with("SIP/2.0 200 ") && ok.contains("m=audio") && ok.contains("Contact: "), "{ok}");
    bench.raw(from(&request, "200 OK", "a", &[], ""));
    let remote = bench.core.snapshot(id).and_then(|snapshot| snapshot.remote).expect("a description");
    assert_eq!(remote.0.rtp.port(), 4300, "what was agreed on last stands");
}

#[tokio::test(start_paused = true)]
async fn a_422_is_answered_with_an_invite_for_a_longer_session_in_the_same_call() {
    let bench = Bench::new(Manner::Sleeps, open());
    invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    assert_eq!(header(&request, "Session-Expires"), "1800");
    let sent = bench.raw(from(&request, "422 Session Interval Too Small", "a", &["Min-SE: 3600"], ""));
    let again = sent.iter().find(|text| text.starts_with("INVITE ")).expect("another INVITE");
    assert_eq!((header(again, "Session-Expires"), header(again, "Min-SE")), ("3600".into(), "3600".into()));
    assert_eq!(header(again, "Call-ID"), header(&request, "Call-ID"));
    let number = |text: &str| header(text, "CSeq").split(' ').next().and_then(|n| n.parse::<u32>().ok());
    assert_eq!(number(again), number(&request).map(|n| n + 1));
    let last = bench.raw(from(again, "422 Session Interval Too Small", "a", &["Min-SE: 3600"], ""));
    assert!(last.iter().all(|text| !text.starts_with("INVITE ")), "no more than was asked for: {last:?}");
    assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.status), Some(422));
}

#[tokio::test(start_paused = true)]
async fn a_421_for_100rel_is_answered_with_an_invite_that_requires_it() {
    let bench = Bench::new(Manner::Sleeps, open());
    invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    let sent = bench.raw(from(&request, "421 Extension Required", "a", &["Require: 100rel"], ""));
    let again = sent.iter().find(|text| text.starts_with("INVITE ")).expect("another INVITE");
    assert_eq!(header(again, "Require"), "100rel");
    let sent = bench.raw(from(again, "420 Bad Extension", "a", &["Unsupported: 100rel"], ""));
    let third = sent.iter().find(|text| text.starts_with("INVITE ")).expect("a third");
    assert_eq!(header(third, "Require"), "");
}

#[tokio::test(start_paused = true)]
async fn a_callee_that_says_nothing_for_three_minutes_is_cancelled_and_each_180_gives_it_three_more() {
    let bench = Bench::new(Manner::Sleeps, open());
    invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    bench.raw(from(&request, "180 Ringing", "a", &[], ""));
    tokio::time::sleep(Duration::from_secs(170)).await;
    bench.raw(from(&request, "180 Ringing", "a", &[], ""));
    tokio::time::sleep(Duration::from_secs(170)).await;
    assert!(bench.heard().iter().all(|text| !text.starts_with("CANCEL")), "it rang again");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(bench.heard().concat().contains("CANCEL sip:200@192.0.2.7"));
    assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.status), Some(408));
    until("an empty table", || {
        let ids: Vec<_> = bench.core.shared().with(|core, _| core.dialogs.keys().copied().collect());
        ids.into_iter().for_each(|id| bench.brain.order(id, SipCommand::Forget));
        empty(&bench.core)
    })
    .await;
}
