//! The engine as its callers see it, with real sockets and real time: parties that send tones and are heard by Goertzel.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tandem_actors::model::ids::{LegId, MediaId, RoomId, WorkerId};
use tandem_actors::model::media::{Codec, Digit, Direction};
use tandem_actors::model::negotiate::Negotiated;
use tandem_actors::ports::Brain;
use tandem_actors::ports::media::{
    Attachment, Carriage, MediaCommand, MediaEvent, MediaEventKind, MediaPort, MediaSpec, OpenError, Opened,
};

use super::codec::opus::{Decoder, Encoder, duration_48k};
use super::codec::{Rate, law};
use super::dtmf::Event;
use super::rtp::Header;
use super::testing::{level_db, negotiated, tone};
use super::{Engine, MediaConfig, OpusSettings, srtp};
use crate::link::{ControlEnd, MasterKey, SrtpKeys, SrtpProfile, SrtpSink, Wake};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const W: WorkerId = WorkerId(0);

struct Ears(Mutex<mpsc::Sender<MediaEvent>>);

impl Brain for Ears {
    fn sip(&self, _: tandem_actors::ports::sip::SipEvent) {}
    fn rtc(&self, _: tandem_actors::ports::rtc::RtcEvent) {}
    fn client(&self, _: tandem_actors::ports::client::ClientInput) {}
    fn media(&self, event: MediaEvent) {
        self.0.lock().expect("the ears").send(event).ok();
    }
}

struct Stage {
    engine: Arc<Engine>,
    events: mpsc::Receiver<MediaEvent>,
    heard: Vec<MediaEvent>,
    control: mpsc::Receiver<ControlEnd>,
    _prompts: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut MediaConfig)) -> Self {
        let prompts = tempfile::tempdir().expect("a folder");
        // Each stage a range of its own, so that stories may run side by side.
        static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
        let first = 20_000
            + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 100 * 100
            + (std::process::id() % 100 * 100) as u16;
        let mut config = MediaConfig {
            threads: 1,
            webrtc_bind: SocketAddr::new(HERE, 0),
            webrtc_candidate_ip: None,
            rtp_ports: first..=first + 99,
            port_rest: Duration::ZERO,
            prompts: prompts.path().into(),
            max_sessions: 64,
            realtime: false,
            opus: OpusSettings::default(),
        };
        change(&mut config);
        let (event_in, events) = mpsc::channel();
        let (control_in, control) = mpsc::channel();
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        let engine =
            Engine::start(config, Arc::new(Ears(Mutex::new(event_in))), control_in, wake).expect("the engine starts");
        Self { engine, events, heard: Vec::new(), control, _prompts: prompts }
    }

    fn push(&self, command: MediaCommand) {
        self.engine.push(W, command).expect("taken");
    }

    fn attach(&self, media: MediaId, to: Attachment) {
        self.push(MediaCommand::Attach { media, to });
    }

    fn bridge(&self, a: &Party, b: &Party) {
        self.attach(a.media, Attachment::Bridge(b.media));
        self.attach(b.media, Attachment::Bridge(a.media));
    }

    /// Waits until an event of this session satisfies; earlier ones stay noted.
    fn wait_for(&mut self, media: MediaId, what: impl Fn(&MediaEventKind) -> bool) -> MediaEventKind {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(event) = self.heard.iter().find(|e| e.media == media && what(&e.kind)) {
                return event.kind.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.heard.push(self.events.recv_timeout(left).expect("the event comes"));
        }
    }

    fn digits(&mut self, media: MediaId) -> String {
        self.heard.extend(self.events.try_iter());
        let of = self.heard.iter().filter(|e| e.media == media);
        of.filter_map(|e| if let MediaEventKind::Digit { digit, .. } = &e.kind { Some(digit.char()) } else { None })
            .collect()
    }
}

/// One packet as a party received it.
struct Got {
    at: Instant,
    header: Header,
    payload: Vec<u8>,
}

/// A phone or browser with a plain socket that sends a tone.
struct Party {
    media: MediaId,
    opened: Opened,
    socket: UdpSocket,
    codec: Codec,
    hertz: f64,
    encoder: Encoder,
    sent: u32,
    sequence: u16,
    event: Option<(u8, u32, u16)>,
    got: Vec<Got>,
    keys: Option<(srtp::Sender, srtp::Receiver)>,
    frame_ms: u32,
    ssrc: u32,
}

impl Party {
    fn new(stage: &Stage, n: u64, codec: Codec, hertz: f64) -> Self {
        Self::with(stage, n, codec, hertz, Carriage::Rtp(HERE), |_| {})
    }

    fn with(
        stage: &Stage,
        n: u64,
        codec: Codec,
        hertz: f64,
        carriage: Carriage,
        change: impl FnOnce(&mut Negotiated),
    ) -> Self {
        let socket = UdpSocket::bind((HERE, 0)).expect("a socket");
        socket.set_nonblocking(true).expect("non-blocking");
        let media = MediaId(n);
        let opened = stage.engine.open(media, &MediaSpec { leg: LegId(n), carriage, near: None }).expect("opened");
        let mut agreed = negotiated(codec, Some(socket.local_addr().expect("bound")));
        change(&mut agreed);
        let silence_after = Some(Duration::from_millis(400));
        stage.push(MediaCommand::Configure { media, negotiated: Box::new(agreed), silence_after });
        let encoder = Encoder::new(Rate::Narrow, OpusSettings::default()).expect("an encoder");
        Self {
            media,
            opened,
            socket,
            codec,
            hertz,
            encoder,
            sent: 0,
            sequence: 65_500,
            event: None,
            got: Vec::new(),
            keys: None,
            frame_ms: 20,
            ssrc: n as u32,
        }
    }

    fn step(&mut self) {
        self.receive();
        let samples = self.frame_ms * 8;
        let units = self.frame_ms * (self.codec.clock_rate() / 1000);
        let timestamp = self.sent.wrapping_mul(units).wrapping_add(0xffff_f000);
        let mut payload = [0u8; 1500];
        let (payload_type, timestamp, len) = match &mut self.event {
            Some((code, began, steps)) => {
                *steps += 1;
                let end = *steps >= 5;
                let duration = (u32::from((*steps).min(5)) * units) as u16;
                payload[..4].copy_from_slice(&Event { code: *code, end, volume: 10, duration }.write());
                let sent = (if self.codec == Codec::Opus { 110 } else { 101 }, *began, 4);
                if *steps == 7 {
                    self.event = None;
                }
                sent
            }
            None => {
                let all = tone(8000, self.hertz, (samples * (self.sent + 1)) as usize, 8000.0);
                let frame = &all[(samples * self.sent) as usize..];
                let len = match law(self.codec) {
                    Some(law) => law.encode_slice(frame, &mut payload),
                    None => self.encoder.encode(frame, &mut payload).expect("encoded"),
                };
                (self.codec.default_payload_type(), timestamp, len)
            }
        };
        self.sent += 1;
        let index = u64::from(self.sequence) + u64::from(self.sent);
        let mut packet = Header::write(payload_type, false, index as u16, timestamp, self.ssrc).to_vec();
        packet.extend_from_slice(&payload[..len]);
        if let Some((sender, _)) = &self.keys {
            let plain = packet.len();
            packet.resize(plain + srtp::OVERHEAD, 0);
            let n = sender.protect(&mut packet, plain, index).expect("protected");
            packet.truncate(n);
        }
        self.socket.send_to(&packet, self.opened.local).expect("sent");
    }

    fn press(&mut self, code: u8) {
        let units = self.frame_ms * (self.codec.clock_rate() / 1000);
        self.event = Some((code, self.sent.wrapping_mul(units).wrapping_add(0xffff_f000), 0));
    }

    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((n, _)) = self.socket.recv_from(&mut buffer) {
            let mut len = n;
            if buffer[1] >= 192 && buffer[1] <= 223 {
                continue;
            }
            if let Some((_, receiver)) = &mut self.keys {
                len = receiver.unprotect(&mut buffer[..n]).expect("authentic and never replayed").0;
            }
            let header = Header::parse(&buffer[..len]).expect("RTP");
            self.got.push(Got { at: Instant::now(), header, payload: buffer[header.start..header.end].to_vec() });
        }
    }

    /// What was heard, decoded at 8 kHz.
    fn sound(&self) -> Vec<i16> {
        let mut decoder = Decoder::new(Rate::Narrow).expect("a decoder");
        let mut sound = Vec::new();
        for got in self.got.iter().filter(|g| g.header.payload_type == self.codec.default_payload_type()) {
            let mut out = [0; 960];
            let n = match law(self.codec) {
                Some(law) => law.decode_slice(&got.payload, &mut out),
                None => decoder.decode(&got.payload, &mut out).expect("decoded"),
            };
            sound.extend_from_slice(&out[..n]);
        }
        sound
    }

    /// Level of a frequency in the last second heard.
    fn level(&self, hertz: f64) -> f64 {
        let sound = self.sound();
        assert!(sound.len() >= 8000, "only {} samples were heard", sound.len());
        level_db(&sound[sound.len() - 8000..], 8000, hertz)
    }

    /// Longest time between two packets.
    fn longest_gap(&self) -> Duration {
        self.got.windows(2).map(|w| w[1].at - w[0].at).max().unwrap_or(Duration::MAX)
    }

    /// Sequence numbers and timestamps only ever went forward, on one SSRC.
    fn assert_forward(&self) {
        for pair in self.got.windows(2) {
            assert_eq!(pair[0].header.ssrc, pair[1].header.ssrc);
            assert!((pair[1].header.sequence.wrapping_sub(pair[0].header.sequence) as i16) > 0);
            assert!((pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp) as i32) >= 0);
        }
    }
}

/// Runs the parties in real time, 20 ms a step.
fn run(parties: &mut [&mut Party], time: Duration) {
    run_with(parties, time, |_, _| {});
}

fn run_with(parties: &mut [&mut Party], time: Duration, mut each: impl FnMut(u128, &mut [&mut Party])) {
    let start = Instant::now();
    let steps = time.as_millis() / 20;
    for n in 0..steps {
        for party in parties.iter_mut() {
            if n % u128::from(party.frame_ms / 20).max(1) == 0 { party.step() } else { party.receive() }
        }
        each(n, parties);
        let next = Duration::from_millis((n as u64 + 1) * 20);
        std::thread::sleep(next.saturating_sub(start.elapsed()));
    }
    parties.iter_mut().for_each(|party| party.receive());
}

const SECONDS: Duration = Duration::from_millis(2000);
/// A tone of amplitude 8000, as [`level_db`] measures it.
const LOUD: f64 = 78.0;

fn assert_hears(party: &Party, hertz: f64) {
    let level = party.level(hertz);
    assert!((level - LOUD).abs() < 3.0, "{hertz} Hz at {level} dB");
}

fn assert_deaf_to(party: &Party, hertz: f64) {
    let level = party.level(hertz);
    assert!(level < LOUD - 30.0, "{hertz} Hz at {level} dB");
}

#[test]
fn a_transcoded_bridge_carries_a_tone_each_way_without_gaps() {
    let stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcma, 700.0);
    let mut browser = Party::new(&stage, 2, Codec::Opus, 1100.0);
    stage.bridge(&phone, &browser);
    run(&mut [&mut phone, &mut browser], SECONDS);
    assert_hears(&phone, 1100.0);
    assert_hears(&browser, 700.0);
    assert_deaf_to(&phone, 700.0);
    for party in [&phone, &browser] {
        party.assert_forward();
        // The bar for sound as sent is 60 ms; this machine is shared, so the test leaves as much again.
        assert!(party.longest_gap() < Duration::from_millis(120), "{:?}", party.longest_gap());
        assert!(party.got[1..].iter().filter(|g| g.header.marker).count() <= 3);
        let snapshot = stage.engine.snapshot(party.media).expect("open");
        assert!(snapshot.packets_received >= 95 && snapshot.packets_lost == 0, "{snapshot:?}");
        assert_eq!(snapshot.codec, Some(party.codec));
    }
}

#[test]
fn a_sender_that_changes_its_stream_is_heard_on() {
    let stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = Party::new(&stage, 2, Codec::Opus, 1100.0);
    stage.bridge(&phone, &browser);
    run(&mut [&mut phone, &mut browser], Duration::from_millis(400));
    // Lower numbers on another SSRC, as after a transfer at the far end.
    (phone.sequence, phone.ssrc) = (100, 4242);
    browser.got.clear();
    run(&mut [&mut phone, &mut browser], Duration::from_millis(1300));
    assert_hears(&browser, 700.0);
    browser.assert_forward();
    assert_eq!(stage.engine.snapshot(phone.media).map(|s| s.packets_lost), Some(0));
}

#[test]
fn g711_of_either_law_and_of_unlike_ptime_is_bridged() {
    let stage = Stage::new();
    let mut a = Party::new(&stage, 1, Codec::Pcma, 700.0);
    let mut b = Party::with(&stage, 2, Codec::Pcmu, 1100.0, Carriage::Rtp(HERE), |n| n.ptime_ms = 40);
    b.frame_ms = 40;
    stage.bridge(&a, &b);
    run(&mut [&mut a, &mut b], SECONDS);
    assert_hears(&a, 1100.0);
    assert_hears(&b, 700.0);
    assert!(a.got.iter().all(|g| g.payload.len() == 160));
    assert!(b.got.iter().all(|g| g.payload.len() == 320));
}

#[test]
fn one_codec_is_relayed_octet_for_octet() {
    let mut stage = Stage::new();
    let mut a = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut b = Party::new(&stage, 2, Codec::Pcmu, 1100.0);
    stage.bridge(&a, &b);
    run(&mut [&mut a, &mut b], SECONDS);
    let first = stage.wait_for(a.media, |kind| matches!(kind, MediaEventKind::FirstPacket(_)));
    assert_eq!(first, MediaEventKind::FirstPacket(a.socket.local_addr().expect("bound")));
    let sound: Vec<u8> = b.got.iter().flat_map(|g| g.payload.clone()).collect();
    let mut expected = [0; 8000];
    super::codec::g711::Law::Mu.encode_slice(&tone(8000, 700.0, 8000, 8000.0), &mut expected);
    assert!(sound.windows(8000).any(|w| w == expected));
    b.assert_forward();
    assert!(b.got.iter().all(|g| g.header.ssrc != 1), "on our SSRC, not the sender's");
}

#[test]
fn digits_cross_between_clock_rates_each_once() {
    let mut stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = Party::new(&stage, 2, Codec::Opus, 1100.0);
    stage.bridge(&phone, &browser);
    run_with(&mut [&mut phone, &mut browser], Duration::from_millis(2400), |n, parties| match n {
        20 => parties[0].press(5),
        40 => parties[0].press(5),
        60 => parties[1].press(11),
        80 => parties[1].press(0),
        _ => {}
    });
    assert_eq!((stage.digits(phone.media).as_str(), stage.digits(browser.media).as_str()), ("55", "#0"));
    // As the other party hears them, by the very listener of the engine's receiving side.
    for (party, rate, expected) in [(&browser, 48_000, "55"), (&phone, 8000, "#0")] {
        let mut listener = super::dtmf::Listener::default();
        let mut heard = String::new();
        for got in party.got.iter().filter(|g| matches!(g.header.payload_type, 101 | 110)) {
            let event = Event::parse(&got.payload).expect("an event");
            if let Some((digit, time)) = listener.hear(event, got.header.timestamp, rate, Duration::ZERO) {
                assert_eq!(time, Duration::from_millis(100));
                heard.push(digit.char());
            }
        }
        assert_eq!(heard, expected);
        party.assert_forward();
        let markers = party.got.iter().filter(|g| matches!(g.header.payload_type, 101 | 110) && g.header.marker);
        assert_eq!(markers.count(), 2, "one marker an event");
    }
}

#[test]
fn digits_of_ours_are_sent_with_three_ends_and_in_band_where_events_are_not_taken() {
    let stage = Stage::new();
    let mut events = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut tones = Party::with(&stage, 2, Codec::Pcmu, 1100.0, Carriage::Rtp(HERE), |n| n.send_event = None);
    for media in [events.media, tones.media] {
        let digits = "17".chars().map(|c| Digit::new(c).expect("a digit")).collect();
        stage.push(MediaCommand::SendDigits { media, digits });
    }
    run(&mut [&mut events, &mut tones], Duration::from_millis(1600));
    let sent: Vec<Event> = events
        .got
        .iter()
        .filter(|g| g.header.payload_type == 101)
        .map(|g| Event::parse(&g.payload).expect("an event"))
        .collect();
    assert_eq!(sent.iter().filter(|e| e.end && e.code == 1).count(), 3);
    assert_eq!(sent.iter().filter(|e| e.end && e.code == 7).count(), 3);
    let sound = tones.sound();
    let loudest = |hertz| sound.windows(800).step_by(80).map(|w| level_db(w, 8000, hertz) as i64).max();
    for hertz in [697.0, 1209.0, 852.0] {
        assert!(loudest(hertz) > loudest(1400.0).map(|quiet| quiet + 20), "{hertz}");
    }
    events.assert_forward();
    tones.assert_forward();
}

#[test]
fn three_in_a_room_hear_the_two_others_and_not_themselves() {
    let stage = Stage::new();
    let mut a = Party::new(&stage, 1, Codec::Pcmu, 500.0);
    let mut b = Party::new(&stage, 2, Codec::Opus, 900.0);
    let mut c = Party::new(&stage, 3, Codec::Opus, 1300.0);
    let mut listener = Party::with(&stage, 4, Codec::Opus, 0.0, Carriage::Rtp(HERE), |_| {});
    let room = RoomId::new("standup").expect("a name");
    for party in [&a, &b, &c, &listener] {
        stage.attach(party.media, Attachment::Room(room.clone()));
    }
    run(&mut [&mut a, &mut b, &mut c, &mut listener], Duration::from_millis(2500));
    for (party, own) in [(&a, 500.0), (&b, 900.0), (&c, 1300.0), (&listener, 3000.0)] {
        for hertz in [500.0, 900.0, 1300.0] {
            if hertz == own { assert_deaf_to(party, hertz) } else { assert_hears(party, hertz) }
        }
        party.assert_forward();
        assert!(party.longest_gap() < Duration::from_millis(120), "{:?}", party.longest_gap());
    }
    stage.attach(a.media, Attachment::Nothing);
    b.got.clear();
    run(&mut [&mut a, &mut b, &mut c], SECONDS);
    assert_deaf_to(&b, 500.0);
    assert_hears(&b, 1300.0);
}

#[test]
fn clips_play_instead_of_the_bridge_and_say_when_they_end() {
    let mut stage = Stage::new();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 44_100,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let path = stage._prompts.path().join("hello.wav");
    let mut writer = hound::WavWriter::create(path, spec).expect("a file");
    tone(44_100, 1500.0, 44_100 * 6 / 5, 8000.0).into_iter().for_each(|s| writer.write_sample(s).expect("written"));
    writer.finalize().expect("finished");
    assert!(stage.engine.has_clip("hello") && stage.engine.has_clip("tone:busy") && !stage.engine.has_clip("other"));

    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = Party::new(&stage, 2, Codec::Opus, 1100.0);
    stage.bridge(&phone, &browser);
    for media in [phone.media, browser.media] {
        stage.push(MediaCommand::Play { media, clip: "hello".into(), token: 9, repeat: false });
    }
    run(&mut [&mut phone, &mut browser], Duration::from_millis(1100));
    for party in [&phone, &browser] {
        assert!((level_db(&party.sound()[1600..8000], 8000, 1500.0) - LOUD).abs() < 3.0);
        assert!(party.longest_gap() < Duration::from_millis(120));
    }
    assert_deaf_to_in(&phone, 1100.0, 1600..8000);
    run(&mut [&mut phone, &mut browser], Duration::from_millis(1500));
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Played(9));
    stage.wait_for(browser.media, |kind| *kind == MediaEventKind::Played(9));
    assert_hears(&phone, 1100.0);
    assert_hears(&browser, 700.0);
    phone.assert_forward();
    browser.assert_forward();

    stage.push(MediaCommand::Play { media: phone.media, clip: "nothing".into(), token: 10, repeat: false });
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::NoClip(10));
    stage.push(MediaCommand::Play { media: phone.media, clip: "tone:busy".into(), token: 11, repeat: true });
    stage.push(MediaCommand::Fence { media: phone.media, token: 77 });
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Fenced(77));
    phone.got.clear();
    run(&mut [&mut phone], Duration::from_millis(1200));
    let loudest = phone.sound().windows(800).step_by(80).map(|w| level_db(w, 8000, 425.0) as i64).max();
    assert!(loudest > Some(70), "a repeated tone goes on: {loudest:?}");
}

fn assert_deaf_to_in(party: &Party, hertz: f64, range: std::ops::Range<usize>) {
    let level = level_db(&party.sound()[range], 8000, hertz);
    assert!(level < LOUD - 30.0, "{hertz} Hz at {level} dB");
}

#[test]
fn a_session_joined_to_nothing_sends_silence_and_a_silent_peer_is_told_of() {
    let mut stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcma, 700.0);
    run(&mut [&mut phone], Duration::from_millis(600));
    assert!(phone.got.len() >= 25, "{}", phone.got.len());
    assert!(phone.got.iter().all(|g| g.payload.iter().all(|o| *o == 0xd5)));
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Silent);

    let mut held = negotiated(Codec::Pcma, Some(phone.socket.local_addr().expect("bound")));
    held.direction = Direction::Inactive;
    stage.push(MediaCommand::Configure { media: phone.media, negotiated: Box::new(held), silence_after: None });
    stage.push(MediaCommand::Fence { media: phone.media, token: 1 });
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Fenced(1));
    phone.receive();
    phone.got.clear();
    run(&mut [&mut phone], Duration::from_millis(300));
    assert_eq!(phone.got.len(), 0, "a held session sends nothing");
}

fn keys(n: u8) -> SrtpKeys {
    let master = |n: u8| MasterKey { key: [n; 16], salt: [n; 14] };
    SrtpKeys { profile: SrtpProfile::AesCm128HmacSha1_80, send: master(n), receive: master(n + 1) }
}

/// A browser: SRTP on the shared port.
fn browser(stage: &Stage, n: u64, hertz: f64) -> Party {
    let mut party = Party::with(stage, n, Codec::Opus, hertz, Carriage::Webrtc, |negotiated| {
        (negotiated.remote_rtp, negotiated.rtcp_mux) = (None, true);
    });
    let keys = keys(n as u8);
    party.keys = Some((srtp::Sender::new(keys.profile, &keys.receive), srtp::Receiver::new(keys.profile, &keys.send)));
    stage.engine.secure(party.media, keys, party.socket.local_addr().expect("bound"));
    party
}

#[test]
fn a_browser_with_srtp_and_a_phone_hear_each_other() {
    let stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = browser(&stage, 2, 1100.0);
    stage.bridge(&phone, &browser);
    run(&mut [&mut phone, &mut browser], SECONDS);
    assert_hears(&phone, 1100.0);
    assert_hears(&browser, 700.0);
    assert!(browser.got.iter().all(|g| duration_48k(&g.payload) == Some(960)));
}

#[test]
fn stun_goes_to_the_control_thread_and_its_answers_come_back() {
    let stage = Stage::new();
    let party = browser(&stage, 1, 1100.0);
    let mut control = stage.control.recv_timeout(Duration::from_secs(5)).expect("a control end");
    party.socket.send_to(&[0, 1, 0, 0, 42], party.opened.local).expect("sent");
    let deadline = Instant::now() + Duration::from_secs(5);
    let datagram = loop {
        if let Some(datagram) = control.pop() {
            break datagram;
        }
        assert!(Instant::now() < deadline, "the datagram comes");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(datagram.payload(), [0, 1, 0, 0, 42]);
    control.push(crate::link::Datagram::new(datagram.peer, &[1, 1, 0, 0]).expect("short"));
    let mut buffer = [0; 100];
    loop {
        match party.socket.recv(&mut buffer) {
            Ok(n) if buffer[0] == 1 => break assert_eq!(n, 4),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(Instant::now() < deadline, "the answer comes");
    }
}

/// Crashes or sticks the thread in the middle of a call and replaces it.
fn take_over(fault: impl FnOnce(&Engine)) {
    let stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = browser(&stage, 2, 1100.0);
    stage.bridge(&phone, &browser);
    let first_end = stage.control.recv_timeout(Duration::from_secs(5)).expect("a control end");
    let mut fault = Some(fault);
    run_with(&mut [&mut phone, &mut browser], Duration::from_millis(2600), |n, _| {
        if n == 40 {
            let before = stage.engine.heartbeat(W);
            fault.take().expect("once")(&stage.engine);
            // As the MediaWorker actor does: the heart stands still for 60 ms.
            let mut last = (before, Instant::now());
            while last.1.elapsed() < Duration::from_millis(60) {
                std::thread::sleep(Duration::from_millis(2));
                let beat = stage.engine.heartbeat(W);
                if beat != last.0 {
                    last = (beat, Instant::now());
                }
            }
            stage.engine.replace(W).expect("replaced");
        }
    });
    for (party, hertz) in [(&phone, 1100.0), (&browser, 700.0)] {
        assert!(party.longest_gap() < Duration::from_millis(250), "{:?}", party.longest_gap());
        assert_hears(party, hertz);
        party.assert_forward();
    }
    assert!(stage.control.recv_timeout(Duration::from_secs(5)).is_ok(), "a new control end");
    drop(first_end);
}

#[test]
fn audio_is_back_within_250_ms_when_a_thread_dies() {
    take_over(|engine| engine.crash_thread(W));
}

#[test]
fn audio_is_back_within_250_ms_when_a_thread_hangs_and_the_old_one_stays_silent() {
    take_over(|engine| engine.stick_thread(W, Duration::from_millis(900)));
}

#[test]
fn after_closing_no_port_is_left_and_opening_is_idempotent() {
    let mut stage = Stage::with(|config| config.max_sessions = 8);
    let mut parties: Vec<Party> = (0..8).map(|n| Party::new(&stage, n, Codec::Pcmu, 700.0)).collect();
    let spec = MediaSpec { leg: LegId(1), carriage: Carriage::Rtp(HERE), near: None };
    assert_eq!(stage.engine.open(MediaId(1), &spec), Ok(parties[1].opened));
    assert_eq!(stage.engine.open(MediaId(99), &spec), Err(OpenError::Full { limit: 8 }));
    let ports: Vec<SocketAddr> = parties.iter().map(|p| p.opened.local).collect();
    for party in parties.drain(..) {
        stage.push(MediaCommand::Close { media: party.media });
        assert_eq!(stage.engine.snapshot(party.media), None);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    for port in ports {
        for port in [port, SocketAddr::new(HERE, port.port() + 1)] {
            while UdpSocket::bind(port).is_err() {
                assert!(Instant::now() < deadline, "{port} is still bound");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    // Places and the ring are there for the next eight.
    let again = Party::new(&stage, 50, Codec::Pcmu, 700.0);
    stage.push(MediaCommand::Fence { media: again.media, token: 5 });
    stage.wait_for(again.media, |kind| *kind == MediaEventKind::Fenced(5));
}

#[test]
fn a_range_without_a_free_pair_says_so() {
    let stage = Stage::with(|config| config.rtp_ports = 40_001..=40_001);
    let spec = MediaSpec { leg: LegId(1), carriage: Carriage::Rtp(HERE), near: None };
    assert_eq!(stage.engine.open(MediaId(1), &spec), Err(OpenError::NoPorts { from: 40_001, to: 40_001 }));
}
