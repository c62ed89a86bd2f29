//! IVR: the service number 9000 greets, asks, and leads on.

use std::time::Duration;

use crate::capture::Capture;
use crate::peers::browser::Browser;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, sound};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_browser_calls_the_ivr_presses_1_and_talks_to_the_desk() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.dial("9000");
    alice.talks();
    // The greeting of the tests is a tone of 440 Hz.
    alice.listen(1.5).assert_tone("the greeting", 440.0, 0.8, 120);
    alice.digits("1");
    phone.event("CALL_ESTABLISHED", SOON);
    let capture = Capture::start();
    alice.listen(3.0).assert_tone("the desk", 700.0, 2.0, 120);
    let sent = phone.sent_to(&capture);
    let tone = sent.g711().tone(1100.0, 0.5);
    assert!(tone.heard > Duration::from_secs(2), "RTP to the desk: {tone:?}");
    alice.hang_up();
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
    assert_eq!(rig.only_cdr()["kind"], "ivr");
}

#[test]
fn a_phone_calls_the_ivr_presses_2_and_talks_to_a_browser() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    let capture = Capture::start();
    phone.order("dial", &rig.uri("9000"));
    phone.event("CALL_ESTABLISHED", SOON);
    crate::peers::until("the greeting, then the menu", SOON, || {
        let heard = phone.sent_to(&capture).g711();
        let long = |hz: f64| heard.tone(hz, 0.5).heard > Duration::from_millis(500);
        (long(440.0) && long(550.0)).then_some(())
    });
    phone.digits("2");
    alice.rings();
    alice.accept();
    alice.talks();
    alice.listen(3.0).assert_tone("the phone", 700.0, 2.0, 120);
    phone.order("hangup", "");
    alice.ended();
    rig.quiet();
}

#[test]
fn nothing_pressed_and_wrong_digits_both_end_with_goodbye() {
    let rig = Rig::start();
    let phone = rig.phone("1001", 700.0, false);
    phone.order("dial", &rig.uri("9000"));
    phone.event("CALL_ESTABLISHED", SOON);
    phone.event("CALL_CLOSED", Duration::from_secs(40));
    phone.order("dial", &rig.uri("9000"));
    phone.event("CALL_ESTABLISHED", SOON);
    // A wrong digit replays the menu; with retries = 1 the second ends it.
    for _ in 0..2 {
        let capture = Capture::start();
        crate::peers::until("the menu", SOON, || {
            (phone.sent_to(&capture).g711().tone(550.0, 0.5).heard > Duration::from_millis(200)).then_some(())
        });
        phone.digits("7");
    }
    phone.event("CALL_CLOSED", Duration::from_secs(30));
    rig.quiet();
    assert_eq!(rig.cdrs().len(), 2);
}
