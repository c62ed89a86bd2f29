//! Transfers: who is left hears who comes, and the one who transferred is free.

use std::time::{Duration, Instant};

use crate::capture::Capture;
use crate::peers::baresip::Baresip;
use crate::peers::until;
use crate::rig::{Rig, sound};

const SOON: Duration = Duration::from_secs(15);

/// From now on each hears a tone: three seconds of packets are waited for, and listened to.
#[track_caller]
fn hear(rig: &Rig, capture: &Capture, phones: [(&str, &Baresip, f64); 2]) {
    let from = Instant::now();
    let sent = |phone: &Baresip| phone.sent_to(capture).between(from, Instant::now());
    until("three seconds of sound to both", SOON, || {
        phones.iter().all(|(_, phone, _)| sent(phone).0.len() >= 150).then_some(())
    });
    for (who, phone, hz) in phones {
        sent(phone).g711().assert_tone(who, hz, 2.0, rig.gap_ms());
    }
}

/// 1001 calls 1002 and transfers it to 1003, who answers.
#[test]
fn a_desk_phone_transfers_a_call_blind_and_the_two_left_hear_each_other() {
    let _sound = sound();
    let rig = Rig::start();
    let transferor = rig.phone("1001", 700.0, false);
    let stays = rig.phone("1002", 1100.0, true);
    let target = rig.phone("1003", 500.0, true);
    let capture = Capture::start();
    transferor.order("dial", &rig.uri("1002"));
    transferor.event("CALL_ESTABLISHED", SOON);
    stays.event("CALL_ESTABLISHED", SOON);

    transferor.order("transfer", &rig.uri("1003"));
    target.event("CALL_ESTABLISHED", SOON);
    transferor.event("CALL_CLOSED", SOON);
    assert!(!stays.has_event("CALL_CLOSED"), "who stays was hung up");
    hear(&rig, &capture, [("who stays", &stays, 500.0), ("the target", &target, 1100.0)]);

    stays.order("hangup", "");
    target.event("CALL_CLOSED", SOON);
    rig.quiet();
    assert_eq!(rig.only_cdr()["legs"].as_array().map(Vec::len), Some(3));
}

/// A caller from the PSTN (SIPp) talks with 1001 and asks 1002, then joins the two: no phone sees a new INVITE.
#[test]
fn an_attended_transfer_joins_two_phones_that_were_in_two_calls() {
    let _sound = sound();
    let rig = Rig::start();
    let first = rig.phone("1001", 700.0, true);
    let second = rig.phone("1002", 1100.0, true);
    let capture = Capture::start();
    let mut transferor = rig.pstn("uac_attended", &["-m", "1"]);
    transferor.done(SOON);
    assert!(!first.has_event("CALL_CLOSED") && !second.has_event("CALL_CLOSED"));
    until("one call", SOON, || (rig.list("/api/v1/calls").len() == 1).then_some(()));
    hear(&rig, &capture, [("the first", &first, 1100.0), ("the second", &second, 700.0)]);
    first.order("hangup", "");
    second.event("CALL_CLOSED", SOON);
    rig.quiet();
}

/// NOTIFY by NOTIFY, as a carrier sees it.
#[test]
fn a_trunk_that_transfers_hears_100_180_and_the_outcome() {
    let rig = Rig::start();
    let stays = rig.phone("1001", 700.0, true);
    let target = rig.phone("1002", 1100.0, true);
    let mut transferor = rig.pstn("uac_blind", &["-s", "1002", "-m", "1"]);
    transferor.done(SOON);
    stays.event("CALL_ESTABLISHED", SOON);
    target.event("CALL_ESTABLISHED", SOON);
    stays.order("hangup", "");
    target.event("CALL_CLOSED", SOON);
    rig.quiet();
}
