//! IVR: the service number 9000 greets, asks, and leads on.

use std::time::{Duration, Instant};

use crate::capture::Capture;
use crate::peers::browser::Browser;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, Wishes, sound};

const SOON: Duration = Duration::from_secs(20);

/// The prompts of the tests are tones, Hz.
const WELCOME: u32 = 440;
const MENU: u32 = 550;
const INVALID: u32 = 880;
const GOODBYE: u32 = 330;
const PROMPTS: &[u32] = &[WELCOME, MENU, INVALID, GOODBYE];

#[test]
fn a_browser_calls_the_ivr_presses_1_and_talks_to_the_desk() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.dial("9000");
    alice.talks();
    alice.listen(1.5).assert_tone("the greeting", WELCOME.into(), 0.8, 120);
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
fn a_phone_calls_the_ivr_presses_1_and_talks_to_a_browser() {
    let _sound = sound();
    let rig = Rig::with(&Wishes { choices: Some(r#""1" = "app", "2" = "desk""#), ..Wishes::default() });
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    let capture = Capture::start();
    phone.order("dial", &rig.uri("9000"));
    phone.event("CALL_ESTABLISHED", SOON);
    until("the greeting, then the menu", SOON, || {
        (phone.sent_to(&capture).g711().sequence(PROMPTS) == [WELCOME, MENU]).then_some(())
    });
    phone.digits("1");
    alice.rings();
    alice.accept();
    alice.talks();
    let talking = Instant::now();
    alice.listen(3.0).assert_tone("the phone", 700.0, 2.0, 120);
    let sent = || phone.sent_to(&capture).between(talking, Instant::now()).g711();
    until("the browser", SOON, || (sent().tone(1100.0, 0.5).heard > Duration::from_secs(2)).then_some(()));
    phone.order("hangup", "");
    alice.ended();
    rig.quiet();
    assert_eq!(rig.only_cdr()["kind"], "ivr");
}

/// A browser and a phone side by side, each in calls of its own; with `retries = 1` the second answer that is none ends the menu.
#[test]
fn nothing_pressed_and_wrong_digits_both_end_with_goodbye() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    let call_both = || {
        let capture = Capture::start();
        phone.order("dial", &rig.uri("9000"));
        alice.dial("9000");
        alice.page.record();
        phone.event("CALL_ESTABLISHED", SOON);
        capture
    };
    let to_phone = |capture: &Capture| phone.sent_to(capture).g711().sequence(PROMPTS);
    let to_browser = || alice.page.heard().sequence(PROMPTS);

    let capture = call_both();
    phone.event("CALL_CLOSED", Duration::from_secs(40));
    alice.ended();
    // Silence is no wrong digit: the menu comes again without a word.
    let whole = [WELCOME, MENU, MENU, GOODBYE];
    assert_eq!(to_phone(&capture), whole, "RTP to the phone");
    assert_eq!(to_browser(), whole, "the browser's recording");

    let capture = call_both();
    let whole = [WELCOME, MENU, INVALID, MENU, GOODBYE];
    for asked in [&whole[..2], &whole[..4]] {
        until("the menu at the phone", SOON, || (to_phone(&capture) == asked).then_some(()));
        phone.digits("7");
        until("the menu at the browser", SOON, || (to_browser() == asked).then_some(()));
        alice.digits("7");
    }
    phone.event("CALL_CLOSED", SOON);
    alice.ended();
    assert_eq!(to_phone(&capture), whole, "RTP to the phone");
    assert_eq!(to_browser(), whole, "the browser's recording");
    rig.quiet();
    assert_eq!(rig.cdrs().len(), 4);
}
