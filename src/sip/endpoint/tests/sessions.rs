//! Session timers end to end (RFC 4028): two cores that refresh for hours, and one alone with peers of every kind.

use super::super::super::dialog::session_timer::SessionPolicy;
use super::outbound::header;
use super::pair::{FINE, call, confirmed, pair, to_b};
use super::requests::Bench;
use super::*;

/// A call of a peer that knows timers, answered and acknowledged: its dialog and our To.
fn called(bench: &Bench, changes: &[(&str, &str)]) -> (DialogId, String, String) {
    let body = crate::sdp::write(&offer(7).0);
    let mut changes = changes.to_vec();
    changes.extend([("Content-Type", "application/sdp"), ("body", body.as_str())]);
    let ok = bench.ask("INVITE", &changes).pop().expect("a 200");
    let to = header(&ok, "To");
    bench.ask("ACK", &[("To", &to), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKack")]);
    let id = bench.core.shared().with(|core, _| *core.dialogs.keys().next().expect("a dialog"));
    bench.heard();
    (id, to, ok)
}

/// The answer to a request of ours.
fn answer(request: &str, status: &str, more: &[&str], body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        text.push_str(&format!("{name}: {}\r\n", header(request, name)));
    }
    text.push_str("Contact: <sip:x@192.0.2.7>\r\n");
    for line in more {
        text.push_str(&format!("{line}\r\n"));
    }
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

const OURS: &[(&str, &str)] = &[("Supported", "timer"), ("Session-Expires", "90;refresher=uas")];

#[tokio::test(start_paused = true)]
async fn two_cores_keep_a_call_for_a_day_and_neither_side_outlives_the_other() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert!(confirmed(&pair.a.0, dialog) && pair.b.1.ended().is_empty());
    // One side forgets the call without a word; the other's session ends by itself.
    pair.a.0.shared().with(|core, _| {
        core.dialogs.clear();
        core.names.clear();
    });
    tokio::time::sleep(Duration::from_secs(1800)).await;
    assert_eq!(pair.b.1.ended().first().map(|(_, cause)| cause.status), Some(408));
}

#[tokio::test(start_paused = true)]
async fn the_refresher_sends_update_at_half_where_the_peer_allows_it() {
    let bench = Bench::new(Manner::Answers, open());
    let mut changes = OURS.to_vec();
    changes.push(("Allow", "INVITE, ACK, BYE, UPDATE"));
    let (id, _, ok) = called(&bench, &changes);
    assert_eq!((header(&ok, "Session-Expires"), header(&ok, "Require")), ("90;refresher=uas".into(), "timer".into()));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(46)).await;
        let update = bench.heard().into_iter().find(|text| text.starts_with("UPDATE ")).expect("an UPDATE");
        assert_eq!(header(&update, "Session-Expires"), "90;refresher=uac", "the role is kept");
        assert!(update.contains("Content-Length: 0\r\n"));
        bench.raw(answer(&update, "200 OK", &["Session-Expires: 90;refresher=uac"], ""));
    }
    assert!(confirmed(&bench.core, id));
}

#[tokio::test(start_paused = true)]
async fn without_update_the_refresh_is_a_re_invite_whose_description_is_the_one_that_stands() {
    let bench = Bench::new(Manner::Answers, open());
    let (id, _, ok) = called(&bench, OURS);
    let o_line = |text: &str| text.lines().find(|line| line.starts_with("o=")).map(str::to_owned);
    tokio::time::sleep(Duration::from_secs(46)).await;
    let reinvite = bench.heard().into_iter().find(|text| text.starts_with("INVITE ")).expect("a re-INVITE");
    assert_eq!(o_line(&reinvite), o_line(&ok), "RFC 4028 §7.4: o= unchanged");
    let body = crate::sdp::write(&offer(7).0);
    let ack = bench.raw(answer(&reinvite, "200 OK", &["Session-Expires: 90;refresher=uac"], &body));
    assert!(ack.concat().starts_with("ACK "));
    tokio::time::sleep(Duration::from_secs(46)).await;
    assert!(bench.heard().concat().contains("INVITE sip:x@192.0.2.7"), "and again");
    assert!(confirmed(&bench.core, id));
}

#[tokio::test(start_paused = true)]
async fn a_re_invite_that_meets_500_with_retry_after_is_sent_again_then_but_not_for_ever() {
    let bench = Bench::new(Manner::Answers, open());
    let (id, _, _) = called(&bench, &[]);
    let overlapping = ["Retry-After: 2"];
    let mut sent = 0;
    bench.brain.order(id, SipCommand::Reoffer(Box::new(offer(5))));
    while let Some(reinvite) = bench.heard().into_iter().find(|text| text.starts_with("INVITE ")) {
        sent += 1;
        assert!(sent < 10, "it goes on for ever");
        bench.raw(answer(&reinvite, "500 Overlapping Requests", &overlapping, ""));
        tokio::time::sleep(Duration::from_millis(1900)).await;
        assert!(!bench.heard().concat().contains("INVITE sip:"), "before its time");
        tokio::time::sleep(Duration::from_millis(2200)).await;
    }
    assert_eq!(sent, 4);
    bench.brain.order(id, SipCommand::Reoffer(Box::new(offer(5))));
    let reinvite = bench.heard().into_iter().find(|text| text.starts_with("INVITE ")).expect("another");
    bench.raw(answer(&reinvite, "500 Out of order", &["Retry-After: 600"], ""));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(bench.heard().is_empty() && confirmed(&bench.core, id), "the call goes on as it was");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_answered_481_ends_the_dialog_and_491_backs_off() {
    let bench = Bench::new(Manner::Answers, open());
    let mut changes = OURS.to_vec();
    changes.push(("Allow", "UPDATE"));
    let (id, _, _) = called(&bench, &changes);
    tokio::time::sleep(Duration::from_secs(46)).await;
    let update = bench.heard().into_iter().find(|text| text.starts_with("UPDATE ")).expect("an UPDATE");
    bench.raw(answer(&update, "491 Request Pending", &[], ""));
    assert!(bench.heard().iter().all(|text| !text.starts_with("UPDATE ")));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let update = bench.heard().into_iter().find(|text| text.starts_with("UPDATE ")).expect("another UPDATE");
    assert!(confirmed(&bench.core, id));
    let sent = bench.raw(answer(&update, "481 Call/Transaction Does Not Exist", &[], "")).concat();
    assert!(sent.starts_with("BYE "), "{sent}");
    assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.status), Some(481));
}

#[tokio::test(start_paused = true)]
async fn rfc_3311_5_2_an_update_answered_500_with_retry_after_is_sent_again_after_it() {
    let bench = Bench::new(Manner::Answers, open());
    let mut changes = OURS.to_vec();
    changes.push(("Allow", "UPDATE"));
    let (id, _, _) = called(&bench, &changes);
    tokio::time::sleep(Duration::from_secs(46)).await;
    let update = bench.heard().into_iter().find(|text| text.starts_with("UPDATE ")).expect("an UPDATE");
    bench.raw(answer(&update, "500 Overlapping Requests", &["Retry-After: 7"], ""));
    tokio::time::sleep(Duration::from_millis(6900)).await;
    assert!(bench.heard().iter().all(|text| !text.starts_with("UPDATE ")), "not before");
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert!(bench.heard().iter().any(|text| text.starts_with("UPDATE ")));
    assert!(confirmed(&bench.core, id));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_wants_a_longer_session_is_sent_again_with_it() {
    let bench = Bench::new(Manner::Answers, open());
    let mut changes = OURS.to_vec();
    changes.push(("Allow", "UPDATE"));
    called(&bench, &changes);
    tokio::time::sleep(Duration::from_secs(46)).await;
    let update = bench.heard().into_iter().find(|text| text.starts_with("UPDATE ")).expect("an UPDATE");
    let sent = bench.raw(answer(&update, "422 Session Interval Too Small", &["Min-SE: 300"], "")).concat();
    assert_eq!((header(&sent, "Session-Expires"), header(&sent, "Min-SE")), ("300;refresher=uac".into(), "300".into()));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_its_peer_does_not_refresh_is_ended_by_bye_before_it_expires() {
    let bench = Bench::new(Manner::Answers, open());
    let (_, to, _) = called(&bench, &[("Supported", "timer"), ("Session-Expires", "90;refresher=uac")]);
    tokio::time::sleep(Duration::from_secs(50)).await;
    let update = [("To", to.as_str()), ("CSeq", "2 UPDATE"), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKu")];
    let mut refresh = update.to_vec();
    refresh.extend([("Supported", "timer"), ("Session-Expires", "90;refresher=uac")]);
    let ok = bench.ask("UPDATE", &refresh).concat();
    assert_eq!(header(&ok, "Session-Expires"), "90;refresher=uac");
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert!(bench.brain.ended().is_empty(), "it was refreshed");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(bench.heard().concat().contains("BYE sip:x@192.0.2.7"));
    assert_eq!(bench.brain.ended().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_longer_min_se_of_ours_is_what_a_422_says() {
    let session = SessionPolicy { expires: 1800, min_se: 600 };
    let bench = Bench::new(Manner::Answers, SipConfig { session, ..open() });
    let answers = bench.ask("INVITE", &[("Supported", "timer"), ("Session-Expires", "300")]);
    assert_eq!(Bench::codes(&answers), [100, 422]);
    assert_eq!(header(&answers.concat(), "Min-SE"), "600");
}
