//! The adapter whole, on real sockets: a media thread of a few lines, a browser's double that can misbehave, and the `webrtc` crate.

mod double;
mod independent;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tandem_actors::model::ids::{Epoch, LegId, MediaId, PeerId, WorkerId};
use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{
    AudioAnswer, AudioOffer, Capabilities, DtlsIce, Negotiated, Secured, Security, Setup,
};
use tandem_actors::ports::Brain;
use tandem_actors::ports::client::ClientInput;
use tandem_actors::ports::media::MediaEvent;
use tandem_actors::ports::rtc::{PeerState, RtcCommand, RtcEvent, RtcEventKind, RtcPort, Sdp};
use tandem_actors::ports::sip::SipEvent;

use super::Rtc;
use crate::link::{Datagram, SrtpSink, Wake, ring};
pub(super) use double::Double;
use tandem_actors::model::srtp::SrtpKeys;

const DEADLINE: Duration = Duration::from_secs(10);
const LEG: LegId = LegId(1);
const MEDIA: MediaId = MediaId(2);
const PEER: PeerId = PeerId(3);

/// A brain that passes on what it hears, and panics on [`RtcEventKind::Refused`] when told to: that kills the control thread.
pub(super) struct Ear {
    events: Mutex<mpsc::Sender<RtcEvent>>,
    deadly: AtomicBool,
    killed: AtomicBool,
}

impl Ear {
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<RtcEvent>) {
        let (event, events) = mpsc::channel();
        let ear = Self { events: Mutex::new(event), deadly: AtomicBool::new(false), killed: AtomicBool::new(false) };
        (Arc::new(ear), events)
    }
}

impl Brain for Ear {
    fn sip(&self, _: SipEvent) {}
    fn rtc(&self, event: RtcEvent) {
        if matches!(event.kind, RtcEventKind::Refused(_)) && self.deadly.load(Ordering::Relaxed) {
            self.killed.store(true, Ordering::Relaxed);
            panic!("the test kills the control thread");
        }
        self.events.lock().expect("unpoisoned").send(event).expect("the test listens");
    }
    fn media(&self, _: MediaEvent) {}
    fn client(&self, _: ClientInput) {}
}

#[derive(Debug)]
pub(super) enum Sunk {
    Secure(SrtpKeys, SocketAddr),
    Path(SocketAddr),
}

pub(super) struct Sink(Mutex<mpsc::Sender<Sunk>>);

impl Sink {
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Sunk>) {
        let (sink, sunk) = mpsc::channel();
        (Arc::new(Self(Mutex::new(sink))), sunk)
    }
}

impl SrtpSink for Sink {
    fn secure(&self, media: MediaId, keys: SrtpKeys, path: SocketAddr) {
        assert_eq!(media, MEDIA);
        self.0.lock().expect("unpoisoned").send(Sunk::Secure(keys, path)).expect("the test listens");
    }
    fn path(&self, media: MediaId, path: SocketAddr) {
        assert_eq!(media, MEDIA);
        self.0.lock().expect("unpoisoned").send(Sunk::Path(path)).expect("the test listens");
    }
}

/// The adapter and a media thread that knows nothing but to sort datagrams.
struct World {
    rtc: Arc<Rtc>,
    ear: Arc<Ear>,
    events: mpsc::Receiver<RtcEvent>,
    sunk: mpsc::Receiver<Sunk>,
    shared_port: UdpSocket,
    srtp: mpsc::Receiver<Vec<u8>>,
    over: Arc<AtomicBool>,
    media: Option<JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        let (ends, incoming) = mpsc::channel();
        let (mut worker, control) = ring(WorkerId(0), wake.clone(), Arc::default());
        ends.send(control).expect("a receiver");
        let (ear, events) = Ear::new();
        let (sink, sunk) = Sink::new();
        let rtc = Rtc::start(ear.clone(), sink, incoming, wake).expect("it starts");
        let shared_port = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let socket = shared_port.try_clone().expect("a second handle");
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        let (packet, srtp) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let media = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !until.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    if (128..192).contains(&buffer[0]) {
                        let _ = packet.send(buffer[..length].to_vec());
                    } else {
                        worker.push(Datagram::new(from, &buffer[..length]).expect("short"));
                        worker.wake();
                    }
                }
                while let Some(datagram) = worker.pop() {
                    socket.send_to(datagram.payload(), datagram.peer).expect("sent");
                }
            }
        });
        Self { rtc, ear, events, sunk, shared_port, srtp, over, media: Some(media) }
    }

    fn port(&self) -> SocketAddr {
        self.shared_port.local_addr().expect("bound")
    }

    fn accept_with(&self, peer: PeerId, epoch: u32, offer: &str, codecs: &[Codec]) {
        let command = RtcCommand::Accept {
            leg: LEG,
            media: MEDIA,
            candidate: self.port(),
            offer: Sdp(offer.to_owned()),
            codecs: codecs.to_vec(),
            direction: Direction::SendRecv,
        };
        self.rtc.order(peer, Epoch(epoch), command).expect("not fenced");
    }

    /// Offers, and waits for the answer.
    fn accept(&self, offer: &str) -> String {
        self.accept_with(PEER, 1, offer, &[Codec::Opus, Codec::Pcmu]);
        let event = self.event();
        let RtcEventKind::Accepted { answer, .. } = event else { panic!("not accepted: {event:?}") };
        answer.0
    }

    fn event(&self) -> RtcEventKind {
        self.events.recv_timeout(DEADLINE).expect("an event in time").kind
    }

    fn secured(&self) -> (SrtpKeys, SocketAddr) {
        match self.sunk.recv_timeout(DEADLINE).expect("keys in time") {
            Sunk::Secure(keys, path) => (keys, path),
            Sunk::Path(path) => panic!("a path {path} before keys"),
        }
    }

    fn state(&self) -> Option<PeerState> {
        self.rtc.snapshot(PEER).map(|snapshot| snapshot.state)
    }

    /// Connects a double and takes what that brings.
    fn connected(&self) -> Double {
        let mut double = Double::new(self.port());
        double.answered(&self.accept(&double.offer()));
        double.connect();
        let (keys, path) = self.secured();
        assert_eq!(path, double.address());
        assert_eq!(keys.receive.key, double.keys().send.key);
        assert_eq!(self.event(), RtcEventKind::Connected);
        double
    }

    /// Kills the control thread.
    fn kill(&self) {
        self.ear.deadly.store(true, Ordering::Relaxed);
        self.accept_with(PeerId(99), 1, "nonsense", &[Codec::Pcmu]);
        wait_until(|| self.ear.killed.load(Ordering::Relaxed));
        self.ear.deadly.store(false, Ordering::Relaxed);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(media) = self.media.take() {
            media.join().expect("the media thread ends");
        }
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "it did not come to hold in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_browser_connects_and_both_have_the_same_keys() {
    let world = World::new();
    let double = world.connected();
    assert_eq!(world.state(), Some(PeerState::Connected));
    double.check(&[]);
}

#[test]
fn a_peer_that_will_not_begin_is_begun_with() {
    let world = World::new();
    let mut double = Double::new(world.port());
    double.setup = "passive";
    double.answered(&world.accept(&double.offer()));
    double.connect();
    let (keys, _) = world.secured();
    assert_eq!(keys.send.key, double.keys().receive.key);
    assert_eq!(world.event(), RtcEventKind::Connected);
}

/// What a SIP dialog describes of our side, with a mid as an offer has it.
fn ours(world: &World) -> Capabilities {
    let ice = DtlsIce {
        ufrag: "ours".into(),
        pwd: "ourpasswordourpassword".into(),
        lite: true,
        fingerprint: world.rtc.fingerprint(),
        setup: Setup::Actpass,
        mid: "0".into(),
        candidates: vec![world.port()],
        audio_level: None,
        ssrc: None,
    };
    let (codecs, direction, security) = (vec![Codec::Pcmu], Direction::SendRecv, Security::Dtls(Box::new(ice)));
    Capabilities { codecs, rtp: world.port(), direction, session_id: 1, session_version: 1, security }
}

fn connect(world: &World, agreed: &Negotiated) {
    let Secured::Dtls(dtls) = &agreed.secured else { panic!("no DTLS: {agreed:?}") };
    let command = RtcCommand::Connect { leg: LEG, media: MEDIA, dtls: dtls.clone() };
    world.rtc.order(PEER, Epoch(1), command).expect("not fenced");
}

#[test]
fn a_peer_whose_offer_came_by_sip_connects() {
    let world = World::new();
    let mut double = Double::new(world.port());
    let offer = AudioOffer(crate::sdp::parse(&double.offer()).expect("readable"));
    let (answer, agreed) = offer.answer(&ours(&world)).expect("an answer");
    double.answered(&crate::sdp::write(&answer.0));
    connect(&world, &agreed);
    connect(&world, &agreed);
    double.connect();
    let (keys, path) = world.secured();
    assert_eq!((keys.receive.key, path), (double.keys().send.key, double.address()));
    assert_eq!(world.event(), RtcEventKind::Connected);
    assert!(world.sunk.try_recv().is_err(), "the repetition changed nothing");
}

#[test]
fn a_peer_that_answers_our_offer_connects_in_either_role() {
    for setup in ["active", "passive"] {
        let world = World::new();
        let mut double = Double::new(world.port());
        double.setup = setup;
        let offer = AudioOffer::from_capabilities(&ours(&world));
        double.answered(&crate::sdp::write(&offer.0));
        let answer = AudioAnswer(crate::sdp::parse(&double.offer()).expect("readable"));
        connect(&world, &answer.accept(&offer).expect("agreed"));
        double.connect();
        assert_eq!(world.secured().0.send.key, double.keys().receive.key, "{setup}");
        assert_eq!(world.event(), RtcEventKind::Connected);
    }
}

#[test]
fn an_ice_restart_by_sip_keeps_dtls_and_another_certificate_begins_it_anew() {
    let world = World::new();
    let mut double = Double::new(world.port());
    let agree = |double: &Double, ufrag: &str| {
        let offer = AudioOffer(crate::sdp::parse(&double.offer()).expect("readable"));
        let mut ours = ours(&world);
        if let Security::Dtls(ice) = &mut ours.security {
            ice.ufrag = ufrag.into();
        }
        offer.answer(&ours).expect("an answer")
    };
    let (answer, agreed) = agree(&double, "one1");
    double.answered(&crate::sdp::write(&answer.0));
    connect(&world, &agreed);
    double.connect();
    world.secured();
    assert_eq!(world.event(), RtcEventKind::Connected);
    double.restarts_ice();
    let (answer, agreed) = agree(&double, "two2");
    double.answered(&crate::sdp::write(&answer.0));
    connect(&world, &agreed);
    double.moves();
    double.check(&[(0x25, &[])]);
    assert!(matches!(world.sunk.recv_timeout(DEADLINE), Ok(Sunk::Path(path)) if path == double.address()));
    let mut other = Double::new(world.port());
    let (answer, agreed) = agree(&other, "thr3");
    other.answered(&crate::sdp::write(&answer.0));
    connect(&world, &agreed);
    other.connect();
    assert_eq!(world.secured().0.receive.key, other.keys().send.key);
}

#[test]
fn the_same_offer_again_is_answered_the_same() {
    let world = World::new();
    let double = Double::new(world.port());
    let answer = world.accept(&double.offer());
    assert_eq!(world.accept(&double.offer()), answer);
}

#[test]
fn what_is_not_authenticated_changes_nothing_and_gets_no_answer() {
    let world = World::new();
    let mut double = Double::new(world.port());
    double.answered(&world.accept(&double.offer()));
    let stranger = Double::new(world.port());
    assert!(stranger.is_ignored(&super::stun::request(&double.username(), "not the password here!", &[])));
    assert!(stranger.is_ignored(&super::stun::request("some:body", double.remote_pwd(), &[])));
    assert!(double.is_ignored(&double.hello()), "DTLS before a check");
    assert_eq!(world.state(), Some(PeerState::Connecting));
    double.connect();
    assert_eq!(world.secured().1, double.address());
}

#[test]
fn a_peer_that_believes_we_are_controlling_is_told_487_only_when_authentic() {
    let world = World::new();
    let mut double = Double::new(world.port());
    double.answered(&world.accept(&double.offer()));
    let controlled = (0x8029, &[0; 8][..]);
    let reply = double.reply(&double.request(&[controlled]));
    assert!(reply.starts_with(&[1, 0x11]) && reply.windows(2).any(|code| code == [4, 87]));
    assert!(double.is_ignored(&super::stun::request(&double.username(), "wrong", &[controlled])));
}

#[test]
fn a_later_nomination_moves_the_path() {
    let world = World::new();
    let mut double = world.connected();
    double.moves();
    double.check(&[(0x25, &[])]);
    let Sunk::Path(path) = world.sunk.recv_timeout(DEADLINE).expect("in time") else { panic!("keys again") };
    assert_eq!(path, double.address());
}

#[test]
fn hold_is_answered_without_touching_the_connection() {
    let world = World::new();
    let double = world.connected();
    let answer = world.accept(&double.offer().replace("a=sendrecv", "a=sendonly"));
    assert!(answer.contains("a=recvonly\r\n") && answer.contains(" 2 IN IP4 "));
    assert_eq!(world.state(), Some(PeerState::Connected));
    assert!(world.sunk.try_recv().is_err());
}

#[test]
fn an_ice_restart_keeps_dtls_and_the_old_credentials_until_the_new_path() {
    let world = World::new();
    let mut double = world.connected();
    let (old_username, old_pwd) = (double.username(), double.remote_pwd().to_owned());
    double.restarts_ice();
    double.answered(&world.accept(&double.offer()));
    let old_check = super::stun::request(&old_username, &old_pwd, &[]);
    double.reply(&old_check);
    double.moves();
    double.check(&[(0x25, &[])]);
    assert!(matches!(world.sunk.recv_timeout(DEADLINE), Ok(Sunk::Path(path)) if path == double.address()));
    assert!(double.is_ignored(&old_check));
    assert_eq!(world.state(), Some(PeerState::Connected));
}

#[test]
fn another_certificate_begins_dtls_anew() {
    let world = World::new();
    let first = world.connected();
    let mut second = Double::new(world.port());
    second.answered(&world.accept(&second.offer()));
    assert_eq!(world.state(), Some(PeerState::Connecting));
    second.connect();
    let (keys, path) = world.secured();
    assert_eq!((keys.receive.key, path), (second.keys().send.key, second.address()));
    assert_ne!(second.keys().send.key, first.keys().send.key);
    assert_eq!(world.event(), RtcEventKind::Connected);
}

#[test]
fn another_certificate_than_offered_fails_the_peer() {
    let world = World::new();
    let mut double = Double::new(world.port());
    let forged = double.offer().replace(&double.fingerprint(), &["00"; 32].join(":"));
    double.answered(&world.accept(&forged));
    double.connect();
    assert_eq!(world.event(), RtcEventKind::Failed("the peer's certificate is not the one its offer named".into()));
    assert_eq!(world.state(), Some(PeerState::Failed));
    assert!(world.sunk.try_recv().is_err(), "no keys");
}

#[test]
fn a_closed_association_is_missing_consent_not_the_end() {
    let world = World::new();
    let mut double = world.connected();
    double.closes();
    assert_eq!(world.event(), RtcEventKind::Disconnected);
    assert_eq!(world.state(), Some(PeerState::Disconnected));
    double.check(&[]);
    assert_eq!(world.event(), RtcEventKind::Reconnected);
}

#[test]
fn close_says_goodbye_and_answers_no_more() {
    let world = World::new();
    let mut double = world.connected();
    world.rtc.order(PEER, Epoch(1), RtcCommand::Close).expect("not fenced");
    wait_until(|| world.state().is_none());
    assert!(double.hears_close());
    assert!(double.is_ignored(&double.request(&[])));
    world.rtc.order(PEER, Epoch(0), RtcCommand::Close).expect("a close of an unknown peer is nothing");
}

#[test]
fn an_older_incarnation_is_refused() {
    let world = World::new();
    world.accept_with(PEER, 7, "nonsense", &[Codec::Pcmu]);
    assert!(world.rtc.order(PEER, Epoch(6), RtcCommand::Close).is_err());
    assert!(matches!(world.event(), RtcEventKind::Refused(_)));
    assert!(world.rtc.order(PEER, Epoch(7), RtcCommand::Close).is_ok());
}

#[test]
fn a_refused_offer_says_why_and_leaves_the_peer_as_it_was() {
    let world = World::new();
    let double = world.connected();
    let before = world.rtc.snapshot(PEER);
    world.accept_with(PEER, 1, "v=0\r\ns=-\r\n", &[Codec::Pcmu]);
    assert_eq!(world.event(), RtcEventKind::Refused("the session description has no audio section".into()));
    assert_eq!(world.rtc.snapshot(PEER), before);
    double.check(&[]);
}

#[test]
fn a_new_thread_goes_on_with_the_connected_and_fails_the_unfinished() {
    let world = World::new();
    let double = world.connected();
    let unfinished = PeerId(4);
    world.accept_with(unfinished, 1, &Double::new(world.port()).offer(), &[Codec::Opus]);
    assert!(matches!(world.event(), RtcEventKind::Accepted { .. }));
    world.kill();
    let heart = world.rtc.heartbeat();
    assert!(double.is_ignored(&double.request(&[])));
    assert_eq!(world.rtc.heartbeat(), heart);
    world.rtc.restart().expect("a thread");
    let event = world.events.recv_timeout(DEADLINE).expect("an event in time");
    let why = "the WebRTC control thread was replaced during the handshake".to_owned();
    assert_eq!((event.peer, event.kind), (unfinished, RtcEventKind::Failed(why)));
    double.check(&[]);
    assert_eq!(world.state(), Some(PeerState::Connected));
    assert!(world.sunk.try_recv().is_err(), "keys stay where they are");
    wait_until(|| world.rtc.heartbeat() > heart);
}
