//! What a packet and a call cost on a media thread, beside a bare loop of the same shape in the same run: one thread, loopback
//! sockets, 172-byte RTP, everything that arrived handled in one tick. CPU time of this thread, the senders' left out.
//!
//! Absolute figures depend on the machine of the day; the ratios printed first (medians of interleaved repetitions) do not.

use std::hint::black_box;
use std::net::UdpSocket;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tandem::media::codec::Rate;
use tandem::media::codec::g711::Law;
use tandem::media::codec::opus::{Decoder, Encoder, OpusSettings};
use tandem::media::rig::{Peer, Rig};
use tandem::media::srtp::{OVERHEAD, Receiver, Sender};
use tandem_actors::model::media::Codec;
use tandem_actors::model::srtp::{MasterKey, SrtpProfile};

/// Calls of two legs.
const CALLS: usize = 25;

/// CPU time of this thread.
fn cpu() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Relay,
    SrtpRelay,
    Transcode,
}

/// The engine, with both legs of every call sending 20 ms a round.
struct Engine {
    rig: Rig,
    peers: Vec<(Peer, Vec<u8>)>,
}

impl Engine {
    fn new(work: Work, ports: std::ops::RangeInclusive<u16>) -> Self {
        let mut rig = Rig::new(CALLS * 2, ports).expect("sockets");
        let mut peers = Vec::new();
        for call in 0..CALLS as u32 {
            let codec = if work == Work::Transcode { Codec::Opus } else { Codec::Pcmu };
            let a = rig.open(call * 2, codec, work == Work::SrtpRelay).expect("a leg");
            let b = rig.open(call * 2 + 1, Codec::Pcmu, false).expect("a leg");
            rig.bridge(&a, &b, work == Work::Transcode);
            rig.tick();
            peers.push((a, if work == Work::Transcode { opus_frame() } else { vec![0x55; 160] }));
            peers.push((b, vec![0x55; 160]));
        }
        Self { rig, peers }
    }
    fn round(&mut self) -> Duration {
        self.peers.iter_mut().for_each(|(peer, payload)| peer.send(payload));
        let start = cpu();
        self.rig.tick();
        let spent = cpu() - start;
        // The other three ticks of the 20 ms belong to the cost of a round.
        let idle = cpu();
        (0..3).for_each(|_| self.rig.tick());
        let spent = spent + (cpu() - idle);
        let got: usize = self.peers.iter_mut().map(|(peer, _)| peer.receive().0).sum();
        assert!(got >= CALLS * 2 - 2, "{got} packets of {}", CALLS * 2);
        self.rig.drain();
        spent
    }
}

fn opus_frame() -> Vec<u8> {
    let mut encoder = Encoder::new(Rate::Narrow, OpusSettings::default()).expect("an encoder");
    let mut out = vec![0; 1500];
    let mut len = 0;
    for n in 0..10 {
        let frame: Vec<i16> = (0..160).map(|k| (((n * 160 + k) as f64 * 0.35).sin() * 8000.0) as i16).collect();
        len = encoder.encode(&frame, &mut out).expect("encoded");
    }
    out.truncate(len);
    out
}

/// The bare loop: a socket a leg, what comes in goes out on the other, rewritten.
struct Bare {
    work: Work,
    legs: Vec<(UdpSocket, UdpSocket, Vec<u8>)>,
    coders: Vec<(Decoder, Encoder)>,
    sender: Sender,
    receivers: Vec<Receiver>,
    index: u64,
}

impl Bare {
    fn new(work: Work) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_nonblocking(true).expect("non-blocking");
            socket
        };
        let legs = (0..CALLS * 2).map(|n| {
            let opus = work == Work::Transcode && n % 2 == 0;
            (socket(), socket(), if opus { opus_frame() } else { vec![0x55; 160] })
        });
        let coder = || {
            let encoder = Encoder::new(Rate::Narrow, OpusSettings::default()).expect("an encoder");
            (Decoder::new(Rate::Narrow).expect("a decoder"), encoder)
        };
        let (profile, key) = (SrtpProfile::AesCm128HmacSha1_80, MasterKey { key: [7; 32], salt: [7; 14] });
        Self {
            work,
            legs: legs.collect(),
            coders: (0..CALLS).map(|_| coder()).collect(),
            sender: Sender::new(profile, &key),
            receivers: (0..CALLS).map(|_| Receiver::new(profile, &key)).collect(),
            index: 0,
        }
    }
    fn round(&mut self) -> Duration {
        self.index += 1;
        let sequence = (self.index as u16).to_be_bytes();
        for (n, (ours, theirs, payload)) in self.legs.iter().enumerate() {
            let mut packet = [0u8; 400];
            packet[..4].copy_from_slice(&[0x80, 0, sequence[0], sequence[1]]);
            packet[8..12].copy_from_slice(&(n as u32 % 4).to_be_bytes());
            packet[12..12 + payload.len()].copy_from_slice(payload);
            let mut len = 12 + payload.len();
            if self.work == Work::SrtpRelay && n % 2 == 0 {
                len = self.sender.protect(&mut packet, len, self.index).expect("protected");
            }
            theirs.send_to(&packet[..len], ours.local_addr().expect("bound")).expect("sent");
        }
        let peers: Vec<_> = self.legs.iter().map(|(_, theirs, _)| theirs.local_addr().expect("bound")).collect();
        let start = cpu();
        let mut buffer = [0u8; 2048];
        for n in 0..self.legs.len() {
            let Ok((mut len, _)) = self.legs[n].0.recv_from(&mut buffer) else { continue };
            let other = n ^ 1;
            match self.work {
                Work::Relay => {}
                Work::SrtpRelay if n % 2 == 0 => {
                    len = self.receivers[n / 2].unprotect(&mut buffer[..len]).expect("authentic").0;
                }
                Work::SrtpRelay => {
                    len = self.sender.protect(&mut buffer, len, self.index).expect("protected");
                }
                Work::Transcode => {
                    let (decoder, encoder) = &mut self.coders[n / 2];
                    let mut samples = [0i16; 960];
                    if n % 2 == 0 {
                        let got = decoder.decode(&buffer[12..len], &mut samples).expect("decoded");
                        len = 12 + Law::Mu.encode_slice(&samples[..got], &mut buffer[12..12 + got]);
                    } else {
                        let got = Law::Mu.decode_slice(&buffer[12..len], &mut samples);
                        len = 12 + encoder.encode(&samples[..got], &mut buffer[12..1500 - OVERHEAD]).expect("encoded");
                    }
                }
            }
            buffer[2..4].copy_from_slice(&sequence);
            buffer[8..12].copy_from_slice(&7u32.to_be_bytes());
            self.legs[other].0.send_to(&buffer[..len], peers[other]).expect("sent");
        }
        let spent = cpu() - start;
        for (_, theirs, _) in &self.legs {
            while theirs.recv_from(&mut buffer).is_ok() {}
        }
        spent
    }
}

/// Medians of interleaved rounds, microseconds a packet (or a call's 20 ms, both directions), and their ratio.
fn ratio(name: &str, work: Work, ports: std::ops::RangeInclusive<u16>) {
    let (mut engine, mut bare) = (Engine::new(work, ports), Bare::new(work));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let (a, b) = (engine.round(), bare.round());
        if n >= 20 {
            ours.push(a);
            theirs.push(b);
        }
    }
    let units = if work == Work::Transcode { CALLS } else { CALLS * 2 } as f64;
    let median = |mut of: Vec<Duration>| {
        of.sort();
        of[of.len() / 2].as_secs_f64() * 1e6 / units
    };
    let (ours, theirs) = (median(ours), median(theirs));
    eprintln!("{name}: engine {ours:.2} us, bare {theirs:.2} us, ratio {:.2}", ours / theirs);
}

fn media(c: &mut Criterion) {
    ratio("relay, a packet", Work::Relay, 42_000..=42_199);
    ratio("SRTP relay, a packet", Work::SrtpRelay, 42_200..=42_399);
    ratio("Opus <-> PCMU, a call's 20 ms", Work::Transcode, 42_400..=42_599);
    let mut group = c.benchmark_group("media");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    for (name, work, first) in [
        ("relay", Work::Relay, 42_600),
        ("srtp_relay", Work::SrtpRelay, 42_800),
        ("transcode", Work::Transcode, 43_000),
    ] {
        let mut engine = Engine::new(work, first..=first + 199);
        group.bench_function(format!("{name}/engine"), |b| {
            b.iter_custom(|n| (0..n).map(|_| black_box(engine.round())).sum());
        });
        let mut bare = Bare::new(work);
        group.bench_function(format!("{name}/bare"), |b| {
            b.iter_custom(|n| (0..n).map(|_| black_box(bare.round())).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, media);
criterion_main!(benches);
