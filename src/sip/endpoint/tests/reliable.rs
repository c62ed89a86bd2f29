//! A core alone: reliable provisional responses of ours, and what a PRACK carries (RFC 3262 §3, §5).

use tandem_actors::model::negotiate::AudioAnswer;

use super::super::super::config::{Reliability, TrunkConfig};
use super::outbound::header;
use super::pair::{confirmed, empty};
use super::requests::Bench;
use super::*;

const RELIABLE: (&str, &str) = ("Require", "100rel");

fn sdp(version: u64) -> String {
    crate::sdp::write(&offer(version).0)
}

/// An INVITE of this kind that a leg has adopted; its dialog.
fn invited(bench: &Bench, offered: bool, changes: &[(&str, &str)]) -> DialogId {
    let body = sdp(7);
    let mut changes = changes.to_vec();
    if offered {
        changes.extend([("Content-Type", "application/sdp"), ("body", body.as_str())]);
    }
    assert_eq!(Bench::codes(&bench.ask("INVITE", &changes)), [100]);
    let id = bench.core.shared().with(|core, _| *core.dialogs.keys().next().expect("a dialog"));
    bench.brain.order(id, SipCommand::Adopt(LegId(1)));
    id
}

fn progress(bench: &Bench, id: DialogId, status: u16, described: bool) -> Vec<String> {
    bench.heard();
    let answer = described.then(|| Box::new(AudioAnswer(offer(2).0)));
    bench.brain.order(id, SipCommand::Progress { status, answer, headers: AppHeaders::default() });
    bench.heard()
}

fn answer(bench: &Bench, id: DialogId) -> Vec<String> {
    bench.heard();
    bench.brain.order(id, SipCommand::Answer { description: Box::new(offer(2)), headers: AppHeaders::default() });
    bench.heard()
}

/// A PRACK for a provisional response; `body`: with a description.
fn prack(bench: &Bench, response: &str, cseq: u32, rseq: Option<&str>, body: Option<&str>) -> Vec<String> {
    let (to, own) = (header(response, "To"), header(response, "RSeq"));
    let rack = format!("{} 1 INVITE", rseq.unwrap_or(&own));
    let (cseq, via) = (format!("{cseq} PRACK"), format!("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKp{cseq}"));
    let mut changes = vec![("To", to.as_str()), ("RAck", &rack), ("CSeq", &cseq), ("Via", &via)];
    if let Some(body) = body {
        changes.extend([("Content-Type", "application/sdp"), ("body", body)]);
    }
    bench.ask("PRACK", &changes)
}

#[tokio::test(start_paused = true)]
async fn a_200_waits_for_the_prack_of_a_description_and_does_not_repeat_it() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, true, &[RELIABLE]);
    let sent = progress(&bench, id, 183, true);
    let [early] = &sent[..] else { panic!("{sent:?}") };
    assert!(early.contains("Require: 100rel\r\n") && early.contains("RSeq: ") && early.contains("m=audio"), "{early}");
    assert_eq!(answer(&bench, id), Vec::<String>::new());
    assert_eq!(Bench::codes(&prack(&bench, early, 2, Some("1"), None)), [481], "it acknowledges nothing");
    let answers = prack(&bench, early, 3, None, None);
    assert_eq!(Bench::codes(&answers), [200, 200]);
    let ok = answers.last().expect("a 200");
    assert!(ok.contains("CSeq: 1 INVITE\r\n") && !ok.contains("m=audio"), "{ok}");
    bench.ask("ACK", &[("To", &header(ok, "To")), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKack")]);
    assert!(confirmed(&bench.core, id));
}

#[tokio::test(start_paused = true)]
async fn a_200_does_not_wait_for_a_ringing_without_description_whose_prack_is_still_answered() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, true, &[RELIABLE]);
    let ringing = progress(&bench, id, 180, false).concat();
    let ok = answer(&bench, id).concat();
    assert!(ok.starts_with("SIP/2.0 200 ") && ok.contains("m=audio"), "{ok}");
    assert_eq!(Bench::codes(&prack(&bench, &ringing, 2, None, None)), [200]);
}

#[tokio::test(start_paused = true)]
async fn one_reliable_response_waits_at_a_time_and_the_latest_goes_next() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, true, &[RELIABLE]);
    let ringing = progress(&bench, id, 180, false).concat();
    assert!(progress(&bench, id, 183, true).is_empty());
    assert!(progress(&bench, id, 182, false).is_empty());
    let answers = prack(&bench, &ringing, 2, None, None);
    assert_eq!(Bench::codes(&answers), [200, 182]);
    let next = answers.last().expect("a 182");
    assert!(next.contains("m=audio"), "the description waited too: {next}");
    let rseq = |text: &str| header(text, "RSeq").parse::<u32>().expect("a number");
    assert_eq!(rseq(next), rseq(&ringing) + 1);
}

#[tokio::test(start_paused = true)]
async fn a_reliable_response_that_is_never_acknowledged_ends_the_invite_with_5xx_after_64_t1() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, true, &[RELIABLE]);
    progress(&bench, id, 183, true);
    tokio::time::sleep(Duration::from_millis(32_100)).await;
    let codes = Bench::codes(&bench.heard());
    assert_eq!(codes.iter().filter(|code| **code == 183).count(), 6, "{codes:?}");
    assert!(codes.contains(&504));
    assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.status), Some(504));
    bench.brain.order(id, SipCommand::Forget);
    until("an empty table", || empty(&bench.core)).await;
}

#[tokio::test(start_paused = true)]
async fn an_offer_in_the_prack_is_answered_in_its_200_before_the_invite() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, true, &[RELIABLE]);
    let early = progress(&bench, id, 183, true).concat();
    assert!(prack(&bench, &early, 2, None, Some(&sdp(8))).is_empty(), "it waits for the leg");
    assert_eq!(answer(&bench, id), Vec::<String>::new());
    let pending = bench.core.snapshot(id).and_then(|snapshot| snapshot.pending);
    let (request, offered) = pending.expect("an offer");
    assert!(offered.is_some());
    bench.heard();
    bench.brain.order(id, SipCommand::AnswerReoffer { request, description: Box::new(offer(3)) });
    let answers = bench.heard();
    assert_eq!(Bench::codes(&answers), [200, 200]);
    assert!(answers.first().is_some_and(|ok| ok.contains("PRACK\r\n") && ok.contains("m=audio")), "{answers:?}");
    assert!(answers.last().is_some_and(|ok| ok.contains("INVITE\r\n") && !ok.contains("m=audio")), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn an_invite_without_offer_gets_ours_in_the_reliable_response_and_the_prack_answers_it() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, false, &[RELIABLE]);
    let early = progress(&bench, id, 183, true).concat();
    assert!(early.contains("m=audio"));
    assert_eq!(Bench::codes(&prack(&bench, &early, 2, None, Some(&sdp(8)))), [200]);
    assert!(bench.brain.saw(|event| matches!(event, DialogEvent::Pracked(_))));
    assert!(bench.core.snapshot(id).is_some_and(|snapshot| snapshot.remote.is_some()), "for a leg that was away");
    let ok = answer(&bench, id).concat();
    assert!(ok.starts_with("SIP/2.0 200 ") && !ok.contains("m=audio"), "{ok}");
}

#[tokio::test(start_paused = true)]
async fn an_update_is_answered_once_the_invites_offer_was_and_before_that_with_500() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, true, &[RELIABLE]);
    let early = progress(&bench, id, 183, true).concat();
    let (to, body) = (header(&early, "To"), sdp(8));
    let update = |cseq: u32, body: &str| {
        let (via, cseq) = (format!("SIP/2.0/UDP h;branch=z9hG4bKu{cseq}"), format!("{cseq} UPDATE"));
        let mut changes = vec![("To", to.as_str()), ("Via", &via), ("CSeq", &cseq)];
        if !body.is_empty() {
            changes.extend([("Content-Type", "application/sdp"), ("body", body)]);
        }
        bench.ask("UPDATE", &changes)
    };
    prack(&bench, &early, 2, None, None);
    assert!(update(3, &body).is_empty(), "it waits for the leg");
    let glare = update(4, &body);
    assert_eq!(Bench::codes(&glare), [500], "a second before the first is answered");
    assert!(glare.concat().contains("Retry-After: "));
    let (request, _) = bench.core.snapshot(id).and_then(|snapshot| snapshot.pending).expect("an offer");
    bench.heard();
    bench.brain.order(id, SipCommand::AnswerReoffer { request, description: Box::new(offer(3)) });
    assert!(bench.heard().concat().contains("m=audio"));
    let refreshed = update(5, "").concat();
    assert!(refreshed.starts_with("SIP/2.0 200 ") && !refreshed.contains("m=audio"), "it only refreshes: {refreshed}");

    let plain = Bench::new(Manner::Rings, open());
    let ringing = plain.ask("INVITE", &[("Content-Type", "application/sdp"), ("body", &body)]);
    let to = header(ringing.last().expect("a 180"), "To");
    let cseq = [("CSeq", "2 UPDATE"), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKu")];
    let mut changes = vec![("To", to.as_str()), ("Content-Type", "application/sdp"), ("body", body.as_str())];
    changes.extend(cseq);
    assert_eq!(Bench::codes(&plain.ask("UPDATE", &changes)), [500], "the INVITE's offer is not answered");
}

#[tokio::test(start_paused = true)]
async fn a_trunk_without_100rel_refuses_it_and_one_that_requires_it_refuses_who_has_none() {
    for (reliable, require, code) in
        [(Reliability::Off, "100rel", 420), (Reliability::Required, "", 421), (Reliability::Supported, "", 180)]
    {
        let mut trunk = TrunkConfig::new(TrunkId::new("carrier").expect("a name"), "192.0.2.7");
        trunk.reliable = reliable;
        let bench = Bench::new(Manner::Rings, SipConfig { trunks: vec![trunk], ..open() });
        let changes: &[(&str, &str)] = if require.is_empty() { &[] } else { &[("Require", require)] };
        let answers = bench.ask("INVITE", changes);
        assert_eq!(Bench::codes(&answers).last(), Some(&code));
        let text = answers.concat();
        assert_eq!(text.contains("Unsupported: 100rel\r\n"), code == 420);
        assert_eq!(text.contains("Require: 100rel\r\n"), code == 421);
    }
}

#[tokio::test(start_paused = true)]
async fn early_media_is_announced_to_a_trunk_that_asks_for_p_early_media() {
    let trunk = TrunkConfig::new(TrunkId::new("ims").expect("a name"), "192.0.2.7");
    let bench = Bench::new(Manner::Sleeps, SipConfig { trunks: vec![trunk], ..open() });
    let id = invited(&bench, true, &[("P-Early-Media", "supported")]);
    assert!(!progress(&bench, id, 180, false).concat().contains("P-Early-Media"));
    assert!(progress(&bench, id, 183, true).concat().contains("P-Early-Media: sendrecv\r\n"));
}

#[tokio::test(start_paused = true)]
async fn preconditions_are_understood_and_make_progress_reliable() {
    let bench = Bench::new(Manner::Sleeps, open());
    let id = invited(&bench, true, &[("Require", "precondition"), ("Supported", "100rel")]);
    assert!(progress(&bench, id, 183, true).concat().contains("RSeq: "));
    let answers = bench.ask("OPTIONS", &[("Require", "precondition"), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKo")]);
    assert_eq!(Bench::codes(&answers), [420], "nothing is offered in it");
}
