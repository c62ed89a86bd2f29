//! Mid-call every kind of actor panics in turn, then the media thread: the tone goes on.

use std::time::{Duration, Instant};

use tandem_actors::supervision::Kind;

use crate::capture::{Capture, Stream};
use crate::peers::browser::Browser;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, sound};

const SOON: Duration = Duration::from_secs(15);

/// Every actor that lives while two people talk, leaves of the tree first.
const IN_A_CALL: &[Kind] = &[
    Kind::SipLeg,
    Kind::RtcLeg,
    Kind::Call,
    Kind::Client,
    Kind::Trunk,
    Kind::Registrar,
    Kind::MediaWorker,
    Kind::RtcControl,
    Kind::SipEndpoint,
    Kind::CallSupervisor,
    Kind::ClientSupervisor,
    Kind::InvitationSupervisor,
    Kind::RoomSupervisor,
    Kind::TrunkSupervisor,
    Kind::MediaSupervisor,
    Kind::RtcSupervisor,
    Kind::SipSupervisor,
];

#[test]
fn any_actor_may_panic_while_two_people_talk() {
    let _sound = sound();
    let rig = Rig::inside();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.dial("1001");
    alice.talks();
    phone.event("CALL_ESTABLISHED", SOON);
    let capture = Capture::start();
    alice.page.record();
    let begin = Instant::now();
    until("packets", SOON, || (phone.sent_to(&capture).0.len() > 50).then_some(()));
    for &kind in IN_A_CALL {
        let before = rig.metric_sum("tandem_actor_restarts_total");
        rig.crash(kind);
        until(&format!("the restart of {kind:?}"), SOON, || {
            (rig.metric_sum("tandem_actor_restarts_total") > before).then_some(())
        });
        // A second of sound after each, so that the windows of restarts do not run together.
        let mark = Instant::now();
        until("a second of packets", SOON, || {
            (phone.sent_to(&capture).between(mark, Instant::now()).0.len() >= 50).then_some(())
        });
        let around = |stream: Stream| stream.between(mark - Duration::from_secs(1), Instant::now());
        let (given, sent) = (capture.filter(|p| p.to == rig.webrtc()), phone.sent_to(&capture));
        around(sent).assert_steady(&format!("{kind:?}: to the phone"), &around(given), rig.gap_ms());
    }
    let sent = phone.sent_to(&capture).between(begin, Instant::now());
    assert_eq!(sent.ssrcs().len(), 1, "the stream to the phone changed its SSRC");
    sent.g711().assert_tone("RTP to the phone through all of it", 1100.0, 5.0, rig.gap_ms());
    alice.page.heard().assert_tone("the browser through all of it", 700.0, 5.0, 200);
    // The dialog still answers a re-INVITE and the BYE.
    phone.order("hold", "");
    alice.held(true);
    phone.order("resume", "");
    alice.held(false);
    phone.order("hangup", "");
    alice.ended();
    rig.quiet();
    let cdr = rig.only_cdr();
    assert_eq!(cdr["legs"].as_array().map(Vec::len), Some(2), "{cdr}");
}

#[test]
fn a_media_thread_may_die_and_sound_is_back_within_250_ms() {
    let _sound = sound();
    let rig = Rig::inside();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.dial("1001");
    alice.talks();
    phone.event("CALL_ESTABLISHED", SOON);
    let capture = Capture::start();
    let to_phone = || phone.sent_to(&capture);
    let to_browser = || capture.filter(|p| p.from == rig.webrtc());
    until("packets", SOON, || (to_phone().0.len() > 50).then_some(()));
    rig.crash(Kind::MediaThread);
    let died = Instant::now();
    until("a second of packets", SOON, || (to_phone().between(died, Instant::now()).0.len() > 75).then_some(()));
    for (who, sent) in [("the phone", to_phone()), ("the browser", to_browser())] {
        assert!(sent.longest_gap() <= Duration::from_millis(250), "{who}: {:?}", sent.longest_gap());
        assert_eq!(sent.ssrcs().len(), 1, "{who}: another SSRC");
        let forward = sent.0.windows(2).all(|pair| pair[1].sequence.wrapping_sub(pair[0].sequence) < 0x8000);
        assert!(forward, "{who}: sequence numbers went backwards");
    }
    alice.listen(2.0).assert_tone("the browser after it", 700.0, 1.5, 120);
    alice.hang_up();
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

#[test]
fn an_actor_may_panic_while_it_rings() {
    let rig = Rig::inside();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, false);
    for kind in [Kind::Call, Kind::SipLeg, Kind::Invitation, Kind::Client] {
        phone.order("dial", &rig.uri("alice"));
        alice.rings();
        phone.event("CALL_RINGING", SOON);
        let before = rig.metric_sum("tandem_actor_restarts_total");
        rig.crash(kind);
        until("the restart", SOON, || (rig.metric_sum("tandem_actor_restarts_total") > before).then_some(()));
        alice.accept();
        alice.talks();
        phone.event("CALL_ESTABLISHED", SOON);
        alice.hang_up();
        phone.event("CALL_CLOSED", SOON);
        alice.ended();
    }
    rig.quiet();
    assert_eq!(rig.cdrs().len(), 4);
}
