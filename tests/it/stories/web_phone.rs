//! The web phone as a page: from the keyboard alone, and when something is missing or wrong.

use crate::peers::browser::Browser;
use crate::peers::webphone::WebPhone;
use crate::rig::Rig;

#[test]
fn a_call_is_made_answered_refused_and_given_up_from_the_keyboard_alone() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let bob = WebPhone::open(&browser, &rig, "bob", 700.0);
    let dial = |keys: &str| {
        keys.chars().for_each(|key| alice.page.press(&key.to_string()));
        alice.page.press("Enter");
    };
    // Digits find the number by themselves, and are sent once the service has answered.
    dial("9000");
    alice.talks();
    alice.page.press("3");
    assert_eq!(alice.page.text("dtmf-log"), "3");
    alice.hang_up();
    alice.ended();
    // The focus is back in the number.
    dial("bob");
    bob.rings();
    bob.page.press("Enter");
    alice.talks();
    bob.talks();
    bob.hang_up();
    alice.ended();
    dial("bob");
    bob.rings();
    bob.page.press("Escape");
    assert_eq!(alice.ended(), "declined");
    dial("bob");
    bob.rings();
    alice.page.press("Escape");
    alice.ended();
    bob.page.hidden("incoming");
    rig.quiet();
    let errors = |page: &WebPhone<'_>| page.page.log().into_iter().filter(|line| line.contains("error")).count();
    assert_eq!(errors(&alice) + errors(&bob), 0, "{:?} {:?}", alice.page.log(), bob.page.log());
}

#[test]
fn a_wrong_token_a_refused_microphone_and_a_name_that_is_none_are_said_in_words() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let stranger = browser.open("stranger", &format!("http://{}/phone/", rig.http()), 440.0);
    stranger.fill("login-token", "eyJ.not.ours");
    stranger.click("login-submit");
    stranger.visible("notice");
    assert!(stranger.text("notice").starts_with("The token is not one of this switch"), "{}", stranger.text("notice"));
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    alice.page.eval(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); }, null",
    );
    alice.dial("9000");
    alice.page.visible("notice");
    assert!(alice.page.text("notice").contains("microphone was refused"), "{}", alice.page.text("notice"));
    assert_eq!(alice.page.eval("document.getElementById('dial-input').value"), "9000", "kept for the next try");
    alice.page.press("Escape");
    alice.page.hidden("notice");
    // 64 letters, but more than the 64 bytes that a user id may have: refused, and not kept in the list.
    alice.page.fill("people-input", &"王".repeat(64));
    alice.page.click("people-add");
    alice.page.visible("notice");
    assert_eq!(alice.page.eval("phone.people.items.length"), 0);
}
