//! The engine as its callers see it, with real sockets and real time: parties that send tones and are heard by Goertzel.

mod bridges;
mod digits;
mod engine;
mod sdes;
mod sounds;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tandem_actors::model::ids::{LegId, MediaId, WorkerId};
use tandem_actors::model::media::Codec;
use tandem_actors::model::negotiate::Negotiated;
use tandem_actors::ports::Brain;
use tandem_actors::ports::media::{
    Attachment, Carriage, MediaCommand, MediaEvent, MediaEventKind, MediaPort, MediaSpec, Opened,
};

use super::codec::opus::{Decoder, Encoder};
use super::codec::{Rate, law};
use super::dtmf::Event;
use super::rtp::Header;
use super::testing::{level_db, negotiated, tone};
use super::{Engine, MediaConfig, OpusSettings, srtp};
use crate::link::{ControlEnd, SrtpSink, Wake};
use tandem_actors::model::srtp::{MasterKey, SrtpKeys, SrtpProfile};

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

    /// Waits until the thread has done what it was told so far.
    fn fence(&self, party: &Party) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1000);
        let token = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.push(MediaCommand::Fence { media: party.media, token });
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).expect("the fence comes back");
            if event.kind == MediaEventKind::Fenced(token) {
                return;
            }
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

fn keys(n: u8) -> SrtpKeys {
    let master = |n: u8| MasterKey { key: [n; 32], salt: [n; 14] };
    let (send, receive) = (master(n), master(n + 1));
    SrtpKeys { profile: SrtpProfile::AesCm128HmacSha1_80, send, receive, receive_mki: Vec::new() }
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
