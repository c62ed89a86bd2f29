//! Early media: what the far side plays before it answers (183 with SDP) is heard by whoever calls, and nobody is told that it
//! was answered. The far side is SIPp: a tone for six seconds, then the answer.

use std::time::{Duration, Instant};

use crate::capture::Capture;
use crate::peers::browser::Browser;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, Wishes, sound};

const SOON: Duration = Duration::from_secs(15);
const NUMBER: &str = "+8613800000000";

#[test]
fn a_browser_hears_the_announcement_before_the_answer() {
    let _sound = sound();
    let rig = Rig::start();
    let mut pstn = rig.pstn_announces();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    alice.dial(NUMBER);
    alice.page.wait("phone.active?.state === 'early'");
    alice.listen(2.5).assert_tone("the announcement", 700.0, 1.5, 120);
    assert_eq!(alice.page.eval("phone.active.state"), "early", "answered meanwhile");
    let call = rig.list("/api/v1/calls").remove(0);
    assert!(call["answered_at"].is_null(), "{call}");
    alice.talks();
    alice.listen(2.0).assert_tone("after the answer", 700.0, 1.0, 120);
    alice.hang_up();
    pstn.done(SOON);
    rig.quiet();
}

/// An invitation's caller joins media only once accepted: with `accept_on = "early"` that is at the first ring.
#[test]
fn an_inviting_app_accepted_early_hears_the_announcement_before_the_answer() {
    let _sound = sound();
    let rig = Rig::with(&Wishes { rtc_to_sip: "accept_on = \"early\"", ..Wishes::default() });
    let mut pstn = rig.pstn_announces();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    alice.page.eval(&format!(
        "phone.client.invite('{NUMBER}', {{ content: JSON.stringify({{ Mode: 1, ChanId: 'early' }}) }}).then((sent) => {{
           sent.on('accepted', ({{ media }}) => {{ window.accepted = media; }});
         }})"
    ));
    alice.page.wait("window.accepted !== undefined");
    alice.listen(2.5).assert_tone("the announcement", 700.0, 1.5, 120);
    let call = rig.list("/api/v1/calls").remove(0);
    assert!(call["answered_at"].is_null(), "answered meanwhile: {call}");
    until("the ACK at the target", SOON, || pstn.messages().contains("ACK sip:").then_some(()));
    alice.page.eval("accepted.hangup().then(() => null)");
    pstn.done(SOON);
    rig.quiet();
}

#[test]
fn a_desk_phone_hears_the_announcement_of_the_trunk_before_the_answer() {
    let _sound = sound();
    let rig = Rig::start();
    let mut pstn = rig.pstn_announces();
    let phone = rig.phone("1001", 1100.0, false);
    let capture = Capture::start();
    phone.order("dial", &rig.uri(NUMBER));
    phone.event("CALL_PROGRESS", SOON);
    let from = Instant::now();
    let heard = until("two seconds of RTP to the phone", SOON, || {
        let heard = phone.sent_to(&capture).between(from, Instant::now()).g711();
        (heard.samples.len() > 8000 * 5 / 2).then_some(heard)
    });
    assert!(!phone.has_event("CALL_ESTABLISHED"), "answered meanwhile");
    heard.assert_tone("the announcement", 700.0, 2.0, rig.gap_ms());
    phone.event("CALL_ESTABLISHED", SOON);
    phone.order("hangup", "");
    pstn.done(SOON);
    rig.quiet();
}
