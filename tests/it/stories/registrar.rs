//! Phones that registered: across a restart of the switch, and while its database is away.

use std::time::Duration;

use serde_json::json;

use crate::peers::sipp::Sipp;
use crate::peers::until;
use crate::postgres::Server;
use crate::rig::{Rig, Wishes};

const SOON: Duration = Duration::from_secs(20);

/// A phone registers, the switch is killed and comes back, and the PSTN reaches the phone before it has registered again.
fn rung_after_a_restart(store_url: Option<String>) {
    let mut rig = Rig::with(&Wishes { store_url, ..Wishes::default() });
    let _phone = rig.phone("1001", 660.0, true);
    let before = rig.list("/api/v1/registrations");
    // Written a moment after it was answered.
    until("the writing", SOON, || (rig.metric_sum("tandem_store_queue") == 0.0).then_some(()));
    rig.kill_and_restart();
    assert_eq!(rig.list("/api/v1/registrations"), before, "the same contact, with the same end");
    let mut caller = rig.pstn("uac", &["-s", "1001", "-m", "1", "-d", "500"]);
    caller.done(SOON);
    rig.quiet();
}

#[test]
fn a_phone_registered_before_a_kill_is_rung_after_the_restart() {
    rung_after_a_restart(None);
}

#[test]
fn a_phone_registered_before_a_kill_is_rung_after_the_restart_with_postgresql() {
    let server = Server::start();
    rung_after_a_restart(Some(server.database()));
}

#[test]
fn calls_go_on_while_postgresql_is_away_and_their_cdrs_are_written_when_it_is_back() {
    let mut server = Server::start();
    let rig = Rig::with(&Wishes { store_url: Some(server.database()), ..Wishes::default() });
    let _phone = rig.phone("1001", 660.0, true);
    server.down();
    let mut caller = rig.pstn("uac", &["-s", "1001", "-m", "2", "-l", "2", "-d", "500"]);
    caller.done(SOON);
    until("it says that it is not written", SOON, || (rig.status("GET", "/readyz", None, None) == 503).then_some(()));
    assert!(rig.log().contains("records cannot be written: kept"), "{}", rig.log());
    server.up();
    until("the CDRs", SOON, || {
        let cdrs = || rig.list("/api/v1/cdrs").len();
        (rig.status("GET", "/readyz", None, None) == 200 && cdrs() == 2).then_some(())
    });
}

#[test]
fn a_phone_behind_proxies_registers_its_flow_and_is_given_gruus() {
    let rig = Rig::start();
    let added = rig.post("/api/v1/subscribers", &json!({ "id": "1002" }));
    let password = added["password"].as_str().expect("a password");
    let local = "127.0.0.1:0".parse().expect("an address");
    let extra = ["-s", "1002", "-au", "1002", "-ap", password, "-m", "1"];
    let mut phone = Sipp::start(rig.folder(), "uac_register", local, rig.sip(), &extra);
    phone.done(SOON);
    let listed = rig.list("/api/v1/registrations");
    let path = ["<sip:p2.example.com;lr>", "<sip:p1.example.com;lr;ob>"];
    assert_eq!(listed[0]["path"], json!(path), "{listed:?}");
    rig.delete("/api/v1/registrations/1002");
    assert!(rig.list("/api/v1/registrations").is_empty());
}
