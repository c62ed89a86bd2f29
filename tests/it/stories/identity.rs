//! Who is told who calls: a carrier's word at a phone and an app, and a hidden caller behind a trunk that is trusted and one that is
//! not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tempfile::TempDir;

use crate::peers::sipp::Sipp;
use crate::rig::{Rig, Wishes};

const SOON: Duration = Duration::from_secs(20);

/// How the carrier's network dials, and where its numbers lead.
const CARRIER: &str = "country_code = \"86\"\npass_headers_in = [\"X-*\"]\nroutes = { \"+861012345678\" = \"subscriber:1001\", \"+861012345679\" = \"user:alice\" }";

/// A callee behind a trunk of its own, at this address of loopback.
fn callee(folder: &TempDir, last: u8) -> Sipp {
    let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0);
    Sipp::start(folder.path(), "uas", at, "127.0.0.1:9".parse().expect("an address"), &["-m", "1"])
}

/// A trunk to it, and a service that calls it for whoever calls the number.
fn service(name: &str, number: &str, callee: &Sipp, keys: &str) -> String {
    let (ip, port) = (callee.sip.ip(), callee.sip.port());
    format!(
        "[[trunks]]\nname = \"{name}\"\nhost = \"{ip}\"\nport = {port}\noptions_interval_s = 0\n{keys}\n\
         [[services]]\nid = \"to-{name}\"\nnumbers = [\"{number}\"]\nstart = \"out\"\n[services.steps.out]\n\
         do = \"dial\"\nto = \"trunk:{name}:+8613800000000\"\n"
    )
}

/// The carrier calls this URI.
fn calls(rig: &Rig, uri: &str, privacy: &str) -> Sipp {
    rig.pstn("uac_identity", &["-key", "uri", uri, "-key", "privacy", privacy, "-m", "1", "-d", "2000"])
}

/// The INVITE that a callee got.
fn invite(callee: &Sipp) -> String {
    let wire = callee.messages();
    let invite = wire.split("\nINVITE ").nth(1).unwrap_or_else(|| panic!("no INVITE in\n{wire}"));
    let head = invite.split("\r\n\r\n").next().unwrap_or(invite);
    head.split("\n\n").next().unwrap_or(head).replace('\r', "")
}

#[test]
fn a_tel_uri_rings_the_phone_of_its_number_which_sees_the_number_that_the_carrier_asserts() {
    let rig = Rig::with(&Wishes { pstn: CARRIER, ..Wishes::default() });
    let phone = rig.phone("1001", 700.0, false);
    let mut caller = calls(&rig, "tel:010-1234-5678;phone-context=carrier.example", "none");
    let call = phone.event("CALL_INCOMING", SOON);
    assert!(call["peeruri"].as_str().is_some_and(|uri| uri.contains("+8613900000001")), "{call}");
    assert_eq!(call["peerdisplayname"], "Al", "{call}");
    phone.order("accept", "");
    caller.done(SOON);
    let mut hidden = calls(&rig, "tel:+86-10-1234-5678", "id");
    let call = phone.event("CALL_INCOMING", SOON);
    assert!(call["peeruri"].as_str().is_some_and(|uri| uri.contains("anonymous@anonymous.invalid")), "{call}");
    phone.order("accept", "");
    hidden.done(SOON);
    rig.quiet();
}

#[test]
fn a_trusted_trunk_is_told_who_hides_and_who_sent_the_call_on_and_an_untrusted_one_is_not() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (mut near, mut far) = (callee(&scratch, 3), callee(&scratch, 4));
    let trunks = service(
        "near",
        "9101",
        &near,
        "forwarding_headers = \"both\"\nnumber_uri = \"phone\"\npass_headers_out = [\"X-Ticket\"]",
    ) + &service("far", "9102", &far, "trust_id_outbound = false");
    let rig = Rig::with(&Wishes { pstn: CARRIER, trunks, ..Wishes::default() });
    let call = |number: &str| {
        let mut caller = calls(&rig, &rig.uri(number), "id");
        caller.done(SOON);
    };
    call("9101");
    near.done(SOON);
    let told = invite(&near);
    for line in [
        "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=",
        "P-Asserted-Identity: \"Al\" <sip:+8613900000001@127.0.0.1;user=phone>",
        "Privacy: id",
        "Diversion: <sip:9101@127.0.0.1>;reason=unconditional;counter=1",
        "Diversion: <sip:+8610555@127.0.0.1>;reason=no-answer;counter=1",
        "History-Info: <sip:+8610555@127.0.0.1>;index=1",
        "History-Info: <sip:9101@127.0.0.1;cause=408>;index=1.1;mp=1",
        "History-Info: <sip:+8613800000000@127.0.0.3;cause=302>;index=1.1.1;mp=1.1",
        "X-Ticket: 42",
        "Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=",
    ] {
        assert!(told.lines().any(|own| own.starts_with(line)), "{line} is not in\n{told}");
    }
    assert!(told.starts_with("sip:+8613800000000@127.0.0.3:") && told.contains(";user=phone SIP/2.0"), "{told}");
    assert!(!told.contains("X-Secret"), "{told}");
    call("9102");
    far.done(SOON);
    let told = invite(&far);
    assert!(told.contains("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{told}");
    for leak in ["13900000001", "Al", "P-Asserted-Identity", "Privacy", "Diversion", "History-Info", "X-"] {
        assert!(!told.replace("Allow", "").contains(leak), "{leak} leaks:\n{told}");
    }
    // RFC 7989: one name on every leg, and in the record of the call.
    let cdrs = rig.list("/api/v1/cdrs");
    let legs: Vec<_> = cdrs.iter().filter_map(|cdr| cdr["legs"].as_array()).flatten().collect();
    assert!(legs.iter().any(|leg| leg["session_id"] == "ab30317f1a784dc48ff824d0d3715d86"), "{cdrs:?}");
    rig.quiet();
}

#[test]
fn a_text_reaches_the_phone_and_an_app_user_who_takes_none_is_405() {
    let rig = Rig::start();
    let _phone = rig.phone("1001", 700.0, false);
    let mut sender = rig.pstn("uac_message", &["-s", "1001", "-m", "1"]);
    sender.done(SOON);
    rig.quiet();
}
