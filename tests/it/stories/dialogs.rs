//! What carriers and callers do inside and before a dialog, by SIPp: reliable progress, offers that come late, sessions that
//! must be refreshed, forks, hold. Whatever is not as the scenario says, fails it.

use std::time::Duration;

use serde_json::json;

use crate::peers::until;
use crate::rig::Rig;

const SOON: Duration = Duration::from_secs(20);

/// The API calls the PSTN into a room; the carrier does as its scenario says.
fn carrier(scenario: &str) {
    let rig = Rig::start();
    let mut pstn = rig.pstn_answers(scenario);
    rig.post("/api/v1/phone-calls", &json!({ "phone_number": "+8613800000000", "room": "lobby" }));
    pstn.done(Duration::from_secs(40));
    rig.quiet();
}

#[test]
fn a_carrier_with_prack_answers_in_its_183_and_changes_the_session_before_the_200() {
    carrier("uas_prack");
}

#[test]
fn a_fork_that_rings_one_that_plays_and_ends_and_two_that_answer_are_one_call() {
    carrier("uas_forked");
}

#[test]
fn short_sessions_are_refreshed_by_update_and_by_re_invite_and_by_the_carrier() {
    carrier("uas_sessions");
}

#[test]
fn a_caller_that_requires_100rel_hears_a_ringing_that_it_acknowledges() {
    let rig = Rig::start();
    let phone = rig.phone("1001", 700.0, false);
    let mut caller = rig.pstn("uac_100rel", &["-s", "1001", "-m", "1"]);
    phone.event("CALL_INCOMING", SOON);
    until("the PRACK and its answer", SOON, || (caller.messages().matches("CSeq: 2 PRACK").count() > 1).then_some(()));
    phone.order("accept", "");
    caller.done(SOON);
    rig.quiet();
}

#[test]
fn an_invite_without_offer_gets_ours_and_a_codec_we_have_not_leaves_the_call_as_it_is() {
    let rig = Rig::start();
    rig.pstn("uac_late", &["-s", "9000", "-m", "1"]).done(SOON);
    rig.quiet();
}

#[test]
fn a_phones_hold_reaches_the_far_side_as_a_re_invite() {
    let rig = Rig::start();
    let mut pstn = rig.pstn_answers("uas_held");
    let phone = rig.phone("1001", 700.0, false);
    phone.order("dial", &rig.uri("+8613800000000"));
    phone.event("CALL_ESTABLISHED", SOON);
    phone.order("hold", "");
    until("the re-INVITE at the far side", SOON, || pstn.messages().contains("a=sendonly").then_some(()));
    phone.order("resume", "");
    pstn.done(SOON);
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}
