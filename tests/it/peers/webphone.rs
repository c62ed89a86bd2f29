//! The web phone as its user handles it: every act is a click on a real button.

use std::time::Duration;

use super::browser::{Browser, Page};
use super::until;
use crate::rig::Rig;
use crate::tone::Pcm;

/// A logged-in web phone.
pub struct WebPhone<'a> {
    pub page: Page<'a>,
}

impl<'a> WebPhone<'a> {
    /// Opens the page with a login link, as `config/run` prints it, and waits until it is online.
    #[track_caller]
    pub fn open(browser: &'a Browser, rig: &Rig, user: &str, hz: f64) -> Self {
        let page = browser.open(user, &rig.phone_url(user), hz);
        page.wait("window.phone?.client?.state === 'online'");
        // What the page shows only for a moment is kept for the story to look at.
        page.eval(
            "window.rang = []; phone.client.on('invitation', ({ invitation }) => { rang.push(invitation.id); });
             window.seen = { ended: null, digits: '' }; phone.client.on('call', ({ call }) => {
               window.seen = { ended: null, digits: '' };
               call.on('ended', ({ cause }) => { window.seen.ended = cause; });
               call.on('dtmf', ({ digit }) => { window.seen.digits += digit; });
             }), null",
        );
        Self { page }
    }

    /// Dials.
    #[track_caller]
    pub fn dial(&self, number: &str) {
        self.page.fill("dial-input", number);
        self.page.click("call-button");
    }
    /// Waits for a ring.
    #[track_caller]
    pub fn rings(&self) {
        self.page.visible("incoming");
    }
    /// Who rings, as shown.
    #[track_caller]
    pub fn caller(&self) -> String {
        self.page.text("incoming-caller")
    }
    /// The states of what rang last, the caller's and the callee's, as `domain/invitations.md` numbers them.
    #[track_caller]
    pub fn invitation_state(&self) -> (u64, u64) {
        let state = self.page.eval("phone.client.invitationState(rang.at(-1))");
        let number = |side: &str| state[side].as_u64().unwrap_or_else(|| panic!("no state: {state}"));
        (number("local"), number("remote"))
    }
    #[track_caller]
    pub fn accept(&self) {
        self.page.click("accept");
    }
    #[track_caller]
    pub fn decline(&self) {
        self.page.click("decline");
    }
    #[track_caller]
    pub fn say_busy(&self) {
        self.page.click("busy");
    }
    #[track_caller]
    pub fn hang_up(&self) {
        self.page.click("hangup");
    }
    /// Waits until the call is up.
    #[track_caller]
    pub fn talks(&self) {
        self.page.wait("phone.active?.state === 'talking'");
    }
    /// Waits until there is no call, and returns why it ended.
    #[track_caller]
    pub fn ended(&self) -> String {
        self.page.wait("phone.active === null && seen.ended !== null");
        self.page.eval("seen.ended.reason").as_str().unwrap_or_default().to_owned()
    }
    /// Presses digits on the keypad in a call.
    #[track_caller]
    pub fn digits(&self, digits: &str) {
        if self.page.eval("document.getElementById('dtmf-keys').hidden") == true {
            self.page.click("dtmf-toggle");
        }
        for digit in digits.chars() {
            let name = match digit {
                '*' => "star".into(),
                '#' => "hash".into(),
                other => other.to_string(),
            };
            self.page.click(&format!("dtmf-key-{name}"));
        }
    }
    /// Joins a room.
    #[track_caller]
    pub fn join(&self, room: &str) {
        self.page.click("tab-room");
        self.page.fill("room-input", room);
        self.page.click("room-join");
    }
    /// Waits until the far side holds us, or does so no longer.
    #[track_caller]
    pub fn held(&self, held: bool) {
        self.page.wait(&format!("phone.active?.held === {held}"));
    }
    /// Waits until these digits came from the far side, and no others.
    #[track_caller]
    pub fn hears_digits(&self, digits: &str) {
        self.page.wait(&format!("seen.digits === '{digits}'"));
    }
    /// Records what it hears for as long as `seconds`.
    #[track_caller]
    pub fn listen(&self, seconds: f64) -> Pcm {
        self.page.record();
        let want = (seconds * 16000.0) as usize;
        let limit = Duration::from_secs_f64(seconds * 3.0 + 10.0);
        until("the recording", limit, || Some(self.page.heard()).filter(|pcm| pcm.samples.len() >= want))
    }
}
