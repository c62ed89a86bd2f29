//! The PSTN through a trunk that registers with Kamailio.

use std::time::Duration;

use crate::peers::browser::Browser;
use crate::peers::kamailio::Kamailio;
use crate::peers::sipp::Sipp;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::rig::{PSTN, Rig, Wishes, sound};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_trunk_registers_with_digest_and_carries_calls_out_and_in() {
    let _sound = sound();
    let scratch = tempfile::tempdir().expect("a folder");
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let local = std::net::SocketAddr::new(PSTN, 0);
    let mut pstn = Sipp::start(scratch.path(), "uas", local, nowhere, &["-rtp_echo", "-m", "1"]);
    let carrier = Kamailio::start(scratch.path(), pstn.sip);
    let rig = Rig::with(&Wishes { carrier: Some(carrier.sip), ..Wishes::default() });
    until("the registration", SOON, || {
        let trunks = rig.list("/api/v1/trunks");
        trunks.iter().any(|t| t["id"] == "carrier" && t["registration"] == "registered").then_some(())
    });
    assert!(carrier.log().contains("REGISTERED tandem"), "{}", carrier.log());

    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    alice.dial("+8613800000000");
    alice.talks();
    alice.listen(4.0).assert_tone("the PSTN's echo", 1100.0, 3.0, 120);
    alice.hang_up();
    pstn.done(SOON);

    // In: Kamailio finds our contact; the trunk's route leads to alice.
    let call = ["-s", "tandem", "-m", "1", "-d", "6000"];
    let mut caller = Sipp::start(rig.folder(), "uac", local, carrier.sip, &call);
    alice.rings();
    alice.accept();
    alice.talks();
    alice.listen(3.0).assert_tone("the PSTN caller", 700.0, 2.0, 120);
    caller.done(Duration::from_secs(30));
    alice.ended();
    rig.quiet();
}

/// Toll fraud: only what the allow list names leaves by the trunk.
#[test]
fn a_number_outside_the_allow_list_is_refused_before_it_leaves() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    alice.dial("+1900555000");
    let why = alice.ended();
    assert!(why.contains("allow"), "shown: {why}");
    rig.quiet();
}
