//! Rooms: two browsers and a phone.

use std::time::Duration;

use crate::capture::Capture;
use crate::peers::browser::Browser;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, sound};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn three_parties_in_a_room_each_hear_the_two_others_and_not_themselves() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let bob = WebPhone::open(&browser, &rig, "bob", 1600.0);
    let phone = rig.phone("1001", 700.0, false);
    alice.join("lobby");
    alice.talks();
    bob.join("lobby");
    bob.talks();
    let capture = Capture::start();
    phone.order("dial", &rig.uri("9000"));
    phone.event("CALL_ESTABLISHED", SOON);
    until("the menu", SOON, || {
        (phone.sent_to(&capture).g711().tone(550.0, 0.5).heard > Duration::from_millis(300)).then_some(())
    });
    phone.digits("3");
    let people = |page: &WebPhone<'_>| page.page.wait("phone.active?.participants.length === 3");
    people(&alice);
    people(&bob);

    let (at_alice, at_bob) = (alice.listen(4.0), bob.listen(4.0));
    let before = phone.sent_to(&capture).g711().samples.len();
    let enough = |pcm: &crate::tone::Pcm| pcm.samples.len() > before + 8000 * 4;
    let mut at_phone =
        until("4 s at the phone", SOON, || Some(phone.sent_to(&capture).g711()).filter(|pcm| enough(pcm)));
    at_phone.samples.drain(..before);
    for (who, heard, others, own) in [
        ("alice", &at_alice, [700.0, 1600.0], 1100.0),
        ("bob", &at_bob, [700.0, 1100.0], 1600.0),
        ("the phone", &at_phone, [1100.0, 1600.0], 700.0),
    ] {
        for hz in others {
            let tone = heard.tone(hz, 0.15);
            assert!(tone.heard > Duration::from_secs(3), "{who} hears {hz} Hz for {tone:?}");
            assert!(tone.longest_gap <= Duration::from_millis(200), "{who} hears {hz} Hz with {tone:?}");
        }
        let itself = heard.tone(own, 0.05);
        assert!(itself.heard < Duration::from_millis(200), "{who} hears itself: {itself:?}");
    }
    let rooms = rig.list("/api/v1/rooms");
    assert_eq!(rooms[0]["participants"].as_array().map(Vec::len), Some(3), "{rooms:?}");
    alice.hang_up();
    bob.hang_up();
    phone.order("hangup", "");
    rig.quiet();
}

/// The connector API: a phone is called into a room where an app user waits.
#[test]
fn the_api_calls_a_phone_into_a_room_and_tells_its_states() {
    let _sound = sound();
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.join("support");
    alice.talks();
    let call = rig.post("/api/v1/phone-calls", &serde_json::json!({ "phone_number": "1001", "room": "support" }));
    let id = call["id"].as_str().expect("an id").to_owned();
    phone.event("CALL_ESTABLISHED", SOON);
    alice.listen(3.0).assert_tone("the phone in the room", 700.0, 2.0, 120);
    rig.delete(&format!("/api/v1/phone-calls/{id}"));
    phone.event("CALL_CLOSED", SOON);
    let history = until("the last state", SOON, || {
        Some(rig.get(&format!("/api/v1/phone-calls/{id}"))).filter(|state| state["done"] == true)
    });
    let states: Vec<u64> =
        history["states"].as_array().expect("states").iter().filter_map(|state| state["state"].as_u64()).collect();
    assert!(states.is_sorted() && states.first() == Some(&1) && states.last() == Some(&6), "{states:?}");
    assert!(states.contains(&5), "{states:?}");
    alice.hang_up();
    rig.quiet();
}
