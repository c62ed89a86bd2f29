//! RTC to SIP: an app user calls a desk phone.

use std::time::{Duration, Instant};

use crate::capture::Capture;
use crate::peers::browser::Browser;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, sound};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_browser_calls_a_desk_phone_with_the_right_caller_and_digits_both_ways() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    let capture = Capture::start();

    alice.dial("1001");
    let ring = phone.event("CALL_INCOMING", SOON);
    assert!(ring["peeruri"].as_str().unwrap_or_default().contains("alice"), "{ring}");
    phone.order("accept", "");
    phone.event("CALL_ESTABLISHED", SOON);
    alice.talks();

    let from = Instant::now();
    let heard = alice.listen(6.0);
    heard.assert_tone("the browser's recording", 700.0, 5.0, 120);
    let sent = phone.sent_to(&capture).between(from, Instant::now());
    sent.g711().assert_tone("RTP to the phone", 1100.0, 5.0, rig.gap_ms());

    alice.digits("159#");
    phone.digits("26*");
    let to_phone = || phone.sent_to(&capture).digits(101);
    crate::peers::until("the browser's digits on the wire", SOON, || (to_phone() == "159#").then_some(()));
    alice.hears_digits("26*");

    phone.order("hangup", "");
    alice.ended();
    rig.quiet();
    // Each once to the end: the end of a call comes after all its digits.
    assert_eq!(to_phone(), "159#");
    alice.hears_digits("26*");
    assert_eq!(rig.only_cdr()["kind"], "rtc_to_sip");
}

#[test]
fn hold_and_resume_by_the_phone_are_seen_and_heard() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.dial("1001");
    alice.talks();
    phone.order("hold", "");
    alice.held(true);
    phone.order("resume", "");
    alice.held(false);
    alice.listen(3.0).assert_tone("after the resume", 700.0, 2.0, 200);
    alice.hang_up();
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

#[test]
fn a_browser_that_gives_up_stops_the_ringing() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    alice.dial("1001");
    phone.event("CALL_INCOMING", SOON);
    alice.hang_up();
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

#[test]
fn a_phone_that_refuses_is_shown_as_such() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    alice.dial("1001");
    phone.event("CALL_INCOMING", SOON);
    phone.order("hangup", "");
    let why = alice.ended().to_lowercase();
    assert!(why.contains("busy") || why.contains("declined"), "shown: {why}");
    rig.quiet();
}
