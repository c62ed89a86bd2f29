//! A SIM gateway on the wire: SIPp with two lines, one call each.

use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::until;
use crate::rig::{Rig, Wishes};

const SOON: Duration = Duration::from_secs(20);

const LINES: &str = r#"profile = "sim_gateway"
line_rest_s = 1
lines = [{ name = "sim1", prefix = "1", number = "1001" }, { name = "sim2", prefix = "2" }]"#;

#[test]
fn each_line_carries_one_call_and_the_next_caller_is_told_that_all_are_in_use() {
    let rig = Rig::with(&Wishes { pstn: LINES, ..Wishes::default() });
    let mut gateway = rig.pstn_called("uas", &["-m", "3"]);
    let call = |number: &str| {
        let begun = rig.post("/api/v1/phone-calls", &json!({ "phone_number": number, "room": "lobby" }));
        begun["id"].as_str().expect("an id").to_owned()
    };
    let lines = || {
        let trunks = rig.list("/api/v1/trunks");
        trunks.into_iter().find(|trunk| trunk["id"] == "pstn").expect("the trunk")["lines"].clone()
    };
    let states = || {
        let lines = lines();
        [0, 1].map(|line| lines[line]["state"].as_str().unwrap_or("").to_owned())
    };
    let state_of = |call: &str| {
        let history = rig.get(&format!("/api/v1/phone-calls/{call}"));
        let last = history["states"].as_array().and_then(|all| all.last().cloned()).unwrap_or(Value::Null);
        (last["state_text"].as_str().unwrap_or("").to_owned(), last["status_code"].as_u64().unwrap_or(0))
    };
    let (first, second) = (call("+8613800000001"), call("+8613800000002"));
    until("both are up", SOON, || [&first, &second].iter().all(|call| state_of(call).0 == "CONFIRMED").then_some(()));
    assert_eq!(states(), ["busy", "busy"]);
    let third = call("+8613800000003");
    until("it is refused", SOON, || (state_of(&third) == ("DISCONNECTED".to_owned(), 503)).then_some(()));
    rig.delete(&format!("/api/v1/phone-calls/{first}"));
    until("its line is free, after a rest", SOON, || (states() == ["free", "busy"]).then_some(()));
    let fourth = call("+8613800000004");
    until("it is up", SOON, || (state_of(&fourth).0 == "CONFIRMED").then_some(()));
    for call in [&second, &fourth] {
        rig.delete(&format!("/api/v1/phone-calls/{call}"));
    }
    gateway.done(SOON);
    let wire = gateway.messages();
    for invite in ["INVITE sip:1+8613800000001@", "INVITE sip:2+8613800000002@", "INVITE sip:1+8613800000004@"] {
        assert!(wire.contains(invite), "{invite} in\n{wire}");
    }
    assert!(!wire.contains("+8613800000003"));
    assert_eq!((lines()[0]["attempts"].as_u64(), lines()[0]["answered"].as_u64()), (Some(2), Some(2)));
    rig.quiet();
}
