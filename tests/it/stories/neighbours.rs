//! The neighbours that trunks lead to, each by the profile shipped for it and with the habits it is known for, played by SIPp;
//! whatever is not as a scenario says, fails it. What real ones do is in `trunk` (Kamailio) and in the stories of phones.

use std::time::Duration;

use serde_json::json;

use crate::capture::{Capture, Stream};
use crate::peers::until;
use crate::rig::{PSTN, Rig, Wishes};

const SOON: Duration = Duration::from_secs(20);
const NUMBER: &str = "+8613800000000";

/// A switch whose trunk `pstn` has these lines.
fn beside(pstn: &'static str) -> Rig {
    Rig::with(&Wishes { pstn, ..Wishes::default() })
}

/// Waits until a tone was heard in what passes.
#[track_caller]
fn hears(what: &str, hz: f64, passes: impl Fn() -> Stream) {
    until(what, SOON, || (passes().g711().tone(hz, 0.5).heard > Duration::from_millis(600)).then_some(()));
}

#[test]
fn an_ims_caller_meets_its_preconditions_and_hears_the_phone_through_an_immediate_re_invite() {
    let rig = beside("profile = \"ims\"\nroutes = { \"+8675500001001\" = \"subscriber:1001\" }");
    let phone = rig.phone("1001", 700.0, false);
    let capture = Capture::start();
    let mut caller = rig.pstn("uac_ims", &["-m", "1", "-d", "1500"]);
    let call = phone.event("CALL_INCOMING", SOON);
    assert!(call["peeruri"].as_str().is_some_and(|uri| uri.contains("+8613800000001")), "the asserted number: {call}");
    until("the UPDATE's answer", SOON, || (caller.messages().matches("CSeq: 4 UPDATE").count() > 1).then_some(()));
    phone.order("accept", "");
    hears("the phone at the IMS caller", 700.0, || rig.sent_to_pstn(&capture));
    caller.done(SOON);
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

/// The answer only in the 183, an UPDATE before the 200, and PRACK to the 183's own Contact.
#[test]
fn an_ims_network_is_called_by_tel_uris_and_answers_in_its_183() {
    let rig = beside("profile = \"ims\"");
    let mut network = rig.pstn_answers("uas_prack");
    rig.post("/api/v1/phone-calls", &json!({ "phone_number": NUMBER, "room": "lobby" }));
    network.done(SOON);
    let wire = network.messages();
    for line in [&format!("INVITE tel:{NUMBER} SIP/2.0"), &format!("To: <tel:{NUMBER}>"), "PRACK sip:pstn@"] {
        assert!(wire.contains(line), "{line} in\n{wire}");
    }
    rig.quiet();
}

#[test]
fn a_vos_caller_gets_g711_of_its_two_g729_and_its_info_digit_and_refreshes_by_both_methods() {
    let rig = beside("profile = \"vos\"");
    let phone = rig.phone("1001", 700.0, true);
    let capture = Capture::start();
    let mut caller = rig.pstn("uac_vos", &["-s", "9000", "-m", "1", "-d", "3000"]);
    hears("the service's greeting", 440.0, || rig.sent_to_pstn(&capture));
    phone.event("CALL_ESTABLISHED", SOON);
    hears("the desk that was chosen", 700.0, || rig.sent_to_pstn(&capture));
    caller.done(SOON);
    phone.event("CALL_CLOSED", SOON);
    assert!(rig.sent_to_pstn(&capture).0.iter().all(|packet| packet.payload_type == 8), "one codec, as was answered");
    rig.quiet();
}

#[test]
fn asterisk_qualifies_us_and_moves_its_media_and_the_phone_is_heard_there() {
    let rig = beside("profile = \"asterisk\"");
    let phone = rig.phone("1001", 700.0, true);
    let capture = Capture::start();
    let mut asterisk = rig.pstn("uac_asterisk", &["-s", "1001", "-m", "1", "-d", "2000"]);
    phone.event("CALL_ESTABLISHED", SOON);
    let port = until("the port that it moved to", SOON, || {
        let wire = asterisk.messages();
        let moved = wire.split("CSeq: 3 INVITE").nth(1)?.split("m=audio ").nth(1)?;
        moved.split(' ').next()?.parse::<u16>().ok()
    });
    hears("the phone at the new port", 700.0, || capture.filter(|p| p.to.ip() == PSTN && p.to.port() == port));
    asterisk.done(SOON);
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

/// And the digest of a registration, and of a call.
#[test]
fn freeswitch_registers_us_and_a_hold_that_it_answers_500_goes_through_all_the_same() {
    let rig = beside("profile = \"freeswitch\"\nregister = true\nusername = \"tandem\"\npassword = \"tandem-pw\"");
    let mut freeswitch = rig.pstn_called("uas_freeswitch", &["-m", "2"]);
    let phone = rig.phone("1001", 700.0, false);
    until("the registration", SOON, || {
        let trunks = rig.list("/api/v1/trunks");
        trunks.iter().any(|trunk| trunk["id"] == "pstn" && trunk["registration"] == "registered").then_some(())
    });
    phone.order("dial", &rig.uri(NUMBER));
    phone.event("CALL_ESTABLISHED", SOON);
    phone.order("hold", "");
    freeswitch.done(SOON);
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

/// By its double Record-Route the last proxy is the first on our way.
#[test]
fn a_proxy_that_forks_and_records_its_route_twice_gets_ack_and_bye_by_that_route() {
    let rig = beside("profile = \"kamailio\"\nusername = \"tandem\"\npassword = \"tandem-pw\"");
    let mut proxy = rig.pstn_called("uas_kamailio", &["-m", "1"]);
    let phone = rig.phone("1001", 700.0, false);
    phone.order("dial", &rig.uri(NUMBER));
    phone.event("CALL_ESTABLISHED", SOON);
    phone.order("hangup", "");
    proxy.done(SOON);
    let wire = proxy.messages();
    for request in ["ACK sip:third@", "BYE sip:third@"] {
        let text = wire.split(request).nth(1).unwrap_or_else(|| panic!("no {request} in\n{wire}"));
        let routes: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).collect();
        let routes: Vec<&&str> = routes.iter().filter(|line| line.starts_with("Route:")).collect();
        assert!(
            routes.len() == 2 && routes[0].contains("did=7.1") && routes[1].contains("lr=on"),
            "{request} {routes:?}"
        );
    }
    rig.quiet();
}

#[test]
fn linphone_over_tcp_speaks_avpf_holds_and_is_hung_up_at_its_whole_contact() {
    let rig = beside("profile = \"linphone\"");
    let phone = rig.phone("1001", 700.0, true);
    let mut caller = rig.pstn("uac_linphone", &["-s", "1001", "-m", "1", "-t", "t1"]);
    phone.event("CALL_ESTABLISHED", SOON);
    until("the call is taken back", SOON, || caller.messages().contains("CSeq: 22 ACK").then_some(()));
    phone.order("hangup", "");
    caller.done(SOON);
    let wire = caller.messages();
    let bye = wire.split("BYE sip:pat@").nth(1).expect("a BYE").lines().next().unwrap_or_default().to_owned();
    assert!(bye.contains("pn-prid=ABCDEF0123:remote") && bye.contains("pn-timeout=0"), "{bye}");
    rig.quiet();
}

/// 503 of a line is that line's: the next call goes by another.
#[test]
fn a_sim_line_without_a_signal_rests_and_the_next_call_takes_another_and_its_digits() {
    let rig = beside(
        "profile = \"sim_gateway\"\nlines = [{ name = \"sim1\", prefix = \"1\" }, { name = \"sim2\", prefix = \"2\" }]",
    );
    let mut gateway = rig.pstn_called("uas_sim_gateway", &["-m", "2"]);
    let phone = rig.phone("1001", 700.0, false);
    let capture = Capture::start();
    phone.order("dial", &rig.uri(NUMBER));
    let closed = phone.event("CALL_CLOSED", SOON);
    assert!(closed["param"].as_str().is_some_and(|why| why.contains("503")), "{closed}");
    phone.order("dial", &rig.uri(NUMBER));
    phone.event("CALL_ESTABLISHED", SOON);
    phone.digits("5");
    until("the digit, as the gateway numbers it", SOON, || {
        (rig.sent_to_pstn(&capture).digits(97) == "5").then_some(())
    });
    phone.order("hangup", "");
    gateway.done(SOON);
    let trunks = rig.list("/api/v1/trunks");
    let lines = &trunks.iter().find(|trunk| trunk["id"] == "pstn").expect("the trunk")["lines"];
    assert_eq!((&lines[0]["state"], &lines[0]["failures"]), (&"resting".into(), &1.into()), "{lines}");
    assert_eq!(lines[1]["answered"], 1, "{lines}");
    rig.quiet();
}

#[test]
fn a_carriers_announcement_is_heard_and_then_its_busy_is_the_callers_and_nothing_was_answered() {
    let rig = beside("profile = \"carrier\"");
    let mut carrier = rig.pstn_called("uas_carrier", &["-m", "1", "-d", "2500"]);
    let phone = rig.phone("1001", 1100.0, false);
    let capture = Capture::start();
    phone.order("dial", &rig.uri(NUMBER));
    phone.event("CALL_PROGRESS", SOON);
    hears("the announcement", 700.0, || phone.sent_to(&capture));
    let closed = phone.event("CALL_CLOSED", SOON);
    assert!(closed["param"].as_str().is_some_and(|why| why.contains("486")), "{closed}");
    assert!(!phone.has_event("CALL_ESTABLISHED"));
    carrier.done(SOON);
    rig.quiet();
    let legs = rig.only_cdr();
    assert_eq!(legs["cause"]["q850"], 17, "{legs}");
}
