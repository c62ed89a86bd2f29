//! SIP to RTC: a phone calls an app user.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::capture::Capture;
use crate::peers::browser::Browser;
use crate::peers::webphone::WebPhone;
use crate::peers::wsclient::WsClient;
use crate::rig::{Rig, Wishes, sound};

const SOON: Duration = Duration::from_secs(15);

/// Sound both ways, asserted on our RTP as sent; the browser's own recording may gap a little more.
#[test]
fn a_desk_phone_rings_a_browser_and_each_hears_the_other() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    let capture = Capture::start();

    phone.order("dial", &rig.uri("alice"));
    alice.rings();
    assert!(alice.caller().contains("1001"), "shown: {}", alice.caller());
    phone.event("CALL_RINGING", SOON);
    assert!(!phone.has_event("CALL_ESTABLISHED"), "answered before the user accepted");
    alice.accept();
    alice.talks();
    phone.event("CALL_ESTABLISHED", SOON);

    let from = Instant::now();
    let heard = alice.listen(6.0);
    let to = Instant::now();
    heard.assert_tone("the browser's recording", 700.0, 5.0, 120);
    let sent = phone.sent_to(&capture).between(from, to);
    sent.g711().assert_tone("RTP to the phone", 1100.0, 5.0, rig.gap_ms());
    let from_browser = capture.filter(|p| p.to == rig.webrtc()).between(from, to);
    sent.assert_steady("RTP to the phone", &from_browser, rig.gap_ms());
    let secured = capture.filter(|p| p.from == rig.webrtc()).between(from, to);
    assert!(secured.0.len() > 250, "only {} packets to the browser", secured.0.len());
    let from_phone = phone.received_from(&capture).between(from, to);
    secured.assert_steady("SRTP to the browser", &from_phone, rig.gap_ms());

    phone.order("hangup", "");
    let hung_up = Instant::now();
    alice.ended();
    assert!(hung_up.elapsed() < Duration::from_secs(2), "the browser heard of it after {:?}", hung_up.elapsed());
    rig.quiet();
    let cdr = rig.only_cdr();
    assert_eq!(cdr["kind"], "sip_to_rtc", "{cdr}");
    assert!(cdr["answered_at"].is_string() || cdr["answered_at"].is_object(), "{cdr}");
}

#[test]
fn the_browser_hangs_up_and_the_phone_is_free() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    phone.order("dial", &rig.uri("alice"));
    alice.rings();
    alice.accept();
    alice.talks();
    alice.hang_up();
    phone.event("CALL_CLOSED", Duration::from_secs(5));
    alice.ended();
    rig.quiet();
}

#[test]
fn declined_busy_and_cancelled_each_give_their_status_and_state() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);

    let mut refused = rig.pstn("uac_603", &["-s", "alice", "-m", "1"]);
    alice.rings();
    alice.decline();
    refused.done(SOON);
    // REFUSED_BY_REMOTE, REFUSED.
    assert_eq!(alice.invitation_state(), (4, 3));

    let mut busy = rig.pstn("uac_486", &["-s", "alice", "-m", "1"]);
    alice.rings();
    alice.say_busy();
    busy.done(SOON);
    assert_eq!(alice.invitation_state(), (4, 3));

    let mut gave_up = rig.pstn("uac_cancel", &["-s", "alice", "-m", "1"]);
    alice.rings();
    gave_up.done(SOON);
    alice.page.hidden("incoming");
    // CANCELED on both sides.
    assert_eq!(alice.invitation_state(), (5, 5));
    rig.quiet();
    assert_eq!(rig.cdrs().len(), 3);
}

#[test]
fn an_offline_user_is_480_and_an_unknown_number_404() {
    // Users are dialled by the prefix 0 alone here, so that a number can be unknown.
    let rig = Rig::with(&Wishes { sip_to_rtc: "by_request_uri = false", ..Wishes::default() });
    rig.pstn("uac_480", &["-s", "0alice", "-m", "1"]).done(SOON);
    rig.pstn("uac_404", &["-s", "5550000", "-m", "1"]).done(SOON);
    rig.quiet();
}

/// A callee who is absent, a device that is silent, and one that rings and rings: the ends of an invitation that take their time,
/// side by side.
#[test]
fn an_absent_user_and_a_silent_device_fail_after_30_s_and_no_answer_after_60_s() {
    let rig = Rig::start();
    let (mut silent, mut ringing, mut inviting) = (rig.client("bob"), rig.client("carol"), rig.client("dave"));
    let state = |client: &mut WsClient, invitation: &Value| {
        let state = client.request(json!({ "type": "invite.state", "invitation": invitation }));
        let number = |side: &str| state[side].as_u64().unwrap_or_else(|| panic!("no state: {state}"));
        (number("local"), number("remote"))
    };
    let sent = inviting.request(json!({ "type": "invite", "callee": "erin", "content": "{\"Mode\":1}" }));
    assert_eq!(sent["type"], "ok.invitation", "{sent}");
    let to_nobody = sent["invitation"].clone();
    let zeroth = Instant::now();
    // SENT_TO_REMOTE, and nobody has it.
    assert_eq!(state(&mut inviting, &to_nobody), (1, 0));
    let mut no_device = rig.pstn("uac_408", &["-s", "bob", "-m", "1"]);
    let unseen = silent.event("invitation.received", SOON)["invitation"].clone();
    let first = Instant::now();
    let mut no_answer = rig.pstn("uac_480", &["-s", "carol", "-m", "1"]);
    let seen = ringing.event("invitation.received", SOON)["invitation"].clone();
    let second = Instant::now();
    assert_eq!(ringing.request(json!({ "type": "invite.ack", "invitation": seen }))["type"], "ok");
    let took = |since: Instant, seconds: f64| {
        let took = since.elapsed().as_secs_f64();
        assert!((took - seconds).abs() < 2.0, "after {took:.1} s, not {seconds}");
    };

    // PEER_OFFLINE; FAILURE, and the callee never had it.
    assert_eq!(inviting.event("invitation.failed", Duration::from_secs(35))["code"], 1);
    took(zeroth, 30.0);
    assert_eq!(state(&mut inviting, &to_nobody), (6, 0));

    no_device.done(SOON);
    took(first, 30.0);
    assert!(!no_device.messages().contains("180 Ringing"), "{}", no_device.messages());
    // INVITATION_EXPIRE; FAILURE on both sides.
    assert_eq!(silent.event("invitation.failed", SOON)["code"], 3);
    assert_eq!(state(&mut silent, &unseen), (6, 6));
    // The other call was not touched: RECEIVED_BY_REMOTE, INVITATION_RECEIVED.
    assert_eq!(state(&mut ringing, &seen), (2, 1));

    no_answer.done(Duration::from_secs(35));
    took(second, 60.0);
    assert!(no_answer.messages().contains("180 Ringing"), "{}", no_answer.messages());
    assert_eq!(ringing.event("invitation.failed", SOON)["code"], 3);
    assert_eq!(state(&mut ringing, &seen), (6, 6));
    rig.quiet();
    let mut statuses: Vec<_> = rig.cdrs().iter().filter_map(|cdr| cdr["cause"]["sip_status"].as_u64()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 480]);
}
