//! Mid-call every kind of actor panics in turn, then the media thread: the tone goes on. So it does in a room, and a menu is
//! played again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tandem_actors::supervision::Kind;

use crate::capture::{Capture, Stream};
use crate::peers::baresip::Baresip;
use crate::peers::browser::Browser;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, sound};

const SOON: Duration = Duration::from_secs(15);

/// Every actor that lives while two people talk, leaves of the tree first.
pub(super) const IN_A_CALL: &[Kind] = &[
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
        let before = rig.restarts(kind);
        rig.crash(kind);
        until(&format!("the restart of {kind:?}"), SOON, || (rig.restarts(kind) > before).then_some(()));
        // A second of sound after each, so that the windows of restarts do not run together.
        let mark = Instant::now();
        until("a second of packets", SOON, || {
            (phone.sent_to(&capture).between(mark, Instant::now()).0.len() >= 50).then_some(())
        });
        let around = |stream: Stream| stream.between(mark - Duration::from_secs(1), Instant::now());
        let (given, sent) = (capture.filter(|p| p.to == rig.webrtc()), phone.sent_to(&capture));
        around(sent).assert_steady(&format!("{kind:?}: to the phone"), &around(given), rig.gap_ms());
        let (given, sent) = (phone.received_from(&capture), capture.filter(|p| p.from == rig.webrtc()));
        around(sent).assert_steady(&format!("{kind:?}: to the browser"), &around(given), rig.gap_ms());
    }
    let sent = phone.sent_to(&capture).between(begin, Instant::now());
    assert_eq!(sent.ssrcs().len(), 1, "the stream to the phone changed its SSRC");
    let secured = capture.filter(|p| p.from == rig.webrtc()).between(begin, Instant::now());
    assert_eq!(secured.ssrcs().len(), 1, "the stream to the browser changed its SSRC");
    sent.g711().assert_tone("RTP to the phone through all of it", 1100.0, 5.0, rig.gap_ms());
    alice.page.heard().assert_tone("the browser through all of it", 700.0, 5.0, 120);
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
        let before = rig.restarts(kind);
        rig.crash(kind);
        until("the restart", SOON, || (rig.restarts(kind) > before).then_some(()));
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

#[test]
fn a_flow_may_panic_and_its_menu_is_played_again() {
    let _sound = sound();
    let rig = Rig::inside();
    let desk = rig.phone("1001", 700.0, true);
    let caller = rig.phone("1002", 1100.0, false);
    let capture = Capture::start();
    let menu = |since: Instant, at_least: Duration| {
        let heard = || caller.sent_to(&capture).between(since, Instant::now()).g711().tone(550.0, 0.5);
        until("the menu", SOON, || (heard().heard >= at_least).then_some(()));
    };
    let dialled = Instant::now();
    caller.order("dial", &rig.uri("9000"));
    caller.event("CALL_ESTABLISHED", SOON);
    // Once while the menu plays, once while it waits for a digit (four seconds, before it is played again anyway).
    menu(dialled, Duration::from_millis(300));
    for pause in [Duration::ZERO, Duration::from_millis(1500)] {
        let quiet_from = Instant::now();
        until("the moment", SOON, || (quiet_from.elapsed() >= pause).then_some(()));
        rig.crash(Kind::Flow);
        let crashed = Instant::now();
        menu(crashed, Duration::from_millis(900));
        assert!(crashed.elapsed() < Duration::from_secs(2), "the menu was back after {:?}", crashed.elapsed());
    }
    caller.digits("1");
    desk.event("CALL_ESTABLISHED", SOON);
    let talking = Instant::now();
    let tone_to = |phone: &Baresip, hz: f64| {
        let sent = || phone.sent_to(&capture).between(talking, Instant::now()).g711();
        until("two seconds of talk", SOON, || (sent().tone(hz, 0.5).heard > Duration::from_secs(2)).then_some(()));
    };
    tone_to(&caller, 700.0);
    tone_to(&desk, 1100.0);
    caller.order("hangup", "");
    desk.event("CALL_CLOSED", SOON);
    rig.quiet();
    assert_eq!(rig.only_cdr()["kind"], "ivr");
}

#[test]
fn a_room_may_panic_and_all_three_hear_on() {
    let _sound = sound();
    let rig = Rig::inside();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let bob = WebPhone::open(&browser, &rig, "bob", 1600.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.join("lobby");
    bob.join("lobby");
    alice.talks();
    bob.talks();
    rig.post("/api/v1/phone-calls", &serde_json::json!({ "phone_number": "1001", "room": "lobby" }));
    phone.event("CALL_ESTABLISHED", SOON);
    let three = "phone.active?.participants.length === 3";
    alice.page.wait(three);
    bob.page.wait(three);
    let capture = Capture::start();
    let to_phone = || phone.sent_to(&capture);
    alice.page.record();
    bob.page.record();
    let begin = Instant::now();
    // A room's intensity is three restarts in 30 s.
    for _ in 0..3 {
        let mark = Instant::now();
        until("a second of packets", SOON, || (to_phone().between(mark, Instant::now()).0.len() >= 50).then_some(()));
        let before = rig.restarts(Kind::Room);
        rig.crash(Kind::Room);
        until("the restart", SOON, || (rig.restarts(Kind::Room) > before).then_some(()));
    }
    let mark = Instant::now();
    until("two more", SOON, || (to_phone().between(mark, Instant::now()).0.len() >= 100).then_some(()));
    let (to, limit) = (Instant::now(), Duration::from_millis(rig.gap_ms()));
    let heard = to_phone().between(begin, to);
    let secured = capture.filter(|p| p.from == rig.webrtc()).between(begin, to);
    let mut streams: Vec<SocketAddr> = secured.0.iter().map(|packet| packet.to).collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 2, "one stream a browser");
    for stream in [heard.clone()]
        .into_iter()
        .chain(streams.iter().map(|to| Stream(secured.0.iter().filter(|packet| packet.to == *to).cloned().collect())))
    {
        assert!(stream.longest_gap() <= limit, "a gap of {:?} to {:?}", stream.longest_gap(), stream.0[0].to);
        assert_eq!(stream.ssrcs().len(), 1, "another SSRC to {:?}", stream.0[0].to);
    }
    for (who, pcm, others) in [
        ("the phone", heard.g711(), [1100.0, 1600.0]),
        ("alice", alice.page.heard(), [700.0, 1600.0]),
        ("bob", bob.page.heard(), [700.0, 1100.0]),
    ] {
        for hz in others {
            let tone = pcm.tone(hz, 0.15);
            assert!(tone.heard > Duration::from_secs(4), "{who} hears {hz} Hz for {tone:?}");
            assert!(tone.longest_gap <= Duration::from_millis(200), "{who} hears {hz} Hz with {tone:?}");
        }
    }
    // The room still knows who is in it.
    phone.order("hangup", "");
    alice.page.wait("phone.active?.participants.length === 2");
    alice.hang_up();
    bob.hang_up();
    rig.quiet();
    assert_eq!(rig.cdrs().len(), 3);
}
