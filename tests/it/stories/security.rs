//! Media that nobody on the way can hear: SRTP with keys from the descriptions (SDES).

use std::time::{Duration, Instant};

use crate::capture::{Capture, Stream};
use crate::peers::browser::Browser;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, Wishes, sound};

const SOON: Duration = Duration::from_secs(15);

fn switch(media_encryption: &'static str) -> Rig {
    Rig::with(&Wishes { media_encryption: Some(media_encryption), ..Wishes::default() })
}

/// What passed cannot be heard by who only listens: a G.711 payload that is none has no tone in it.
#[track_caller]
fn assert_unheard(stream: &Stream, hz: f64) {
    assert!(stream.0.len() > 100, "only {} packets passed", stream.0.len());
    let tone = stream.g711().tone(hz, 0.1);
    assert!(tone.heard < Duration::from_millis(300), "{hz} Hz is heard on the wire: {tone:?}");
}

#[test]
fn a_phone_that_demands_srtp_calls_a_browser_and_neither_is_heard_on_the_wire() {
    let _sound = sound();
    let rig = switch("sdes_optional");
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone_with("1001", 700.0, false, "srtp-mand");
    let capture = Capture::start();
    phone.order("dial", &rig.uri("alice"));
    alice.rings();
    alice.accept();
    alice.talks();
    phone.event("CALL_ESTABLISHED", SOON);
    let from = Instant::now();
    alice.listen(4.0).assert_tone("the browser's recording", 700.0, 3.0, 120);
    let to = Instant::now();
    let sent = phone.sent_to(&capture).between(from, to);
    assert_unheard(&sent, 1100.0);
    assert_unheard(&phone.received_from(&capture).between(from, to), 700.0);
    assert_eq!(sent.ssrcs().len(), 1);
    phone.order("hangup", "");
    alice.ended();
    phone.played().assert_tone("what the phone played", 1100.0, 3.0, 150);
    rig.quiet();
}

#[test]
fn an_app_calls_a_phone_where_srtp_is_demanded_and_hold_changes_no_key() {
    let _sound = sound();
    let rig = switch("sdes");
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone_with("1001", 700.0, true, "srtp-mand");
    let capture = Capture::start();
    alice.dial("1001");
    alice.talks();
    alice.listen(2.0).assert_tone("the browser's recording", 700.0, 1.0, 120);
    phone.order("hold", "");
    alice.held(true);
    phone.order("resume", "");
    alice.held(false);
    alice.listen(3.0).assert_tone("after the hold", 700.0, 2.0, 120);
    let sent = phone.sent_to(&capture);
    assert_unheard(&sent, 1100.0);
    assert_eq!(sent.ssrcs().len(), 1, "one stream and one key stream through the hold");
    alice.hang_up();
    phone.event("CALL_CLOSED", SOON);
    // Until its hold; after one of its own it plays nothing, with SRTP or without.
    let played = phone.played().tone(1100.0, 0.5);
    assert!(played.heard > Duration::from_secs(1), "the phone played {played:?}");
    rig.quiet();
}

/// A phone that knows nothing of SRTP is called in the clear where it is optional, and not at all where it is demanded.
#[test]
fn a_phone_without_srtp_is_called_in_the_clear_only_where_that_is_allowed() {
    for (policy, talks) in [("sdes_optional", true), ("sdes", false)] {
        let rig = switch(policy);
        let browser = Browser::start(rig.folder());
        let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
        let phone = rig.phone("1001", 700.0, true);
        alice.dial("1001");
        if talks {
            alice.talks();
            alice.hang_up();
            phone.event("CALL_CLOSED", SOON);
        } else {
            let why = alice.ended();
            assert!(!why.is_empty());
        }
        rig.quiet();
    }
}

#[test]
fn a_carriers_savp_offer_is_answered_with_its_tag_and_a_repeated_key_changes_nothing() {
    let rig = switch("sdes");
    let mut pstn = rig.pstn("uac_savp", &["-s", "9000", "-m", "1"]);
    pstn.done(SOON);
    let log = rig.log();
    assert!(!log.contains("inline:"), "no key in the log");
    rig.quiet();
}

#[test]
fn savp_that_cannot_be_spoken_is_488_with_the_warning_that_says_why() {
    const KEY: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let good = format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}");
    let weak = format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} UNENCRYPTED_SRTP");
    for (policy, crypto, warning) in [("none", good, "302"), ("sdes_optional", weak, "306")] {
        let rig = switch(policy);
        let mut pstn = rig.pstn("uac_savp_refused", &["-s", "9000", "-m", "1", "-key", "crypto", &crypto]);
        pstn.done(SOON);
        let messages = pstn.messages();
        assert!(messages.contains(&format!("Warning: {warning} ")), "{messages}");
        rig.quiet();
    }
}
