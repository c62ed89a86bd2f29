//! The media thread under the eyes of the allocator, and what a panic in one session costs the others.

use tandem_actors::model::ids::MediaId;
use tandem_actors::model::media::{Codec, Digit};
use tandem_actors::ports::media::MediaEventKind;

use super::clips::Clips;
use super::codec::opus::{Encoder, OpusSettings};
use super::codec::{CoderSpec, Rate, law};
use super::dtmf;
use super::mixer::Room;
use super::rig::{Peer, Rig};
use super::ring::Command;
use super::session::Attached;
use super::testing::{allocations_in, tone};

/// 20 ms of a tone in each codec, fifty of them.
fn speech(codec: Codec) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Rate::Narrow, OpusSettings::default()).expect("an encoder");
    let frames = tone(8000, 440.0, 8000, 8000.0);
    let encode = |frame: &[i16]| {
        let mut out = vec![0; 1500];
        let n = match law(codec) {
            Some(law) => law.encode_slice(frame, &mut out),
            None => encoder.encode(frame, &mut out).expect("encoded"),
        };
        out.truncate(n);
        out
    };
    frames.chunks(160).map(encode).collect()
}

fn wide(codec: Codec) -> CoderSpec {
    CoderSpec { rate: Rate::Wide, opus_in: codec == Codec::Opus, opus_out: codec == Codec::Opus }
}

#[test]
fn a_hundred_thousand_ticks_of_all_that_happens_allocate_nothing() {
    let mut rig = Rig::new(8, 38_000..=38_199).expect("sockets");
    let clips = Clips::load("/nonexistent".into(), OpusSettings::default()).expect("tones");
    let codecs = [(Codec::Pcmu, false), (Codec::Opus, true), (Codec::Pcma, false), (Codec::Opus, true)];
    let sounds: Vec<Vec<Vec<u8>>> = codecs.iter().map(|(codec, _)| speech(*codec)).collect();
    let mut peers: Vec<Peer> = Vec::new();
    let (mut allocations, mut heard, mut played) = (0, 0, 0);
    for tick in 0..100_000usize {
        match tick % 2000 {
            // Open, bridge, play, press; enter a room, one leaves it; close.
            0 => {
                for (slot, (codec, secured)) in (0..).zip(codecs) {
                    peers.push(rig.open(slot, codec, secured).expect("opened"));
                }
                rig.bridge(&peers[0], &peers[1], true);
                rig.bridge(&peers[2], &peers[3], true);
            }
            500 => {
                for peer in &peers {
                    let clip = clips.get("tone:congestion").expect("a tone");
                    rig.order(Command::Play { slot: peer.slot, media: peer.media, clip, token: 1, repeat: false });
                    let mut digits = [None; dtmf::QUEUE];
                    digits[0] = Digit::new('5');
                    rig.order(Command::Digits(peer.slot, peer.media, digits));
                }
            }
            800 => {
                rig.order(Command::OpenRoom(0, Box::new(Room::new(1, OpusSettings::default()).expect("a room"))));
                for (peer, (codec, _)) in peers.iter().zip(codecs) {
                    rig.coder(peer, wide(codec));
                    rig.order(Command::Attach(peer.slot, peer.media, Attached::Room(0), Some(Box::default())));
                }
            }
            1500 => rig.order(Command::Attach(peers[0].slot, peers[0].media, Attached::Nothing, None)),
            1800 => {
                peers.iter().for_each(|peer| rig.close(peer));
                rig.order(Command::CloseRoom(0));
            }
            1801 => peers.clear(),
            _ => {}
        }
        if tick % 4 == 0 {
            for (n, peer) in peers.iter_mut().enumerate() {
                // One in fifty is lost; nobody speaks in the second half of a room's life but one.
                if (tick / 4 + n * 7) % 50 != 0 && (n == 0 || tick % 2000 < 1200) {
                    peer.send(&sounds[n][tick / 4 % 50]);
                }
            }
        }
        allocations += allocations_in(|| rig.tick());
        played += rig.drain().iter().filter(|e| matches!(e.kind, MediaEventKind::Played(_))).count();
        heard += peers.iter_mut().map(|peer| peer.receive().0).sum::<usize>();
    }
    let (received, refused) = rig.counts();
    assert_eq!(allocations, 0);
    assert_eq!(played, 4 * 50);
    assert_eq!(refused, 0);
    assert!(received > 50_000, "{received}");
    assert!(heard > 70_000, "{heard}");
}

#[test]
fn a_panic_in_one_session_retires_it_alone() {
    let mut rig = Rig::new(4, 38_200..=38_299).expect("sockets");
    let a = rig.open(0, Codec::Pcmu, false).expect("opened");
    let mut b = rig.open(1, Codec::Pcmu, false).expect("opened");
    rig.tick();
    rig.order(Command::Panic(a.slot));
    rig.tick();
    let events = rig.drain();
    assert!(events.iter().any(|e| e.media == a.media && e.kind == MediaEventKind::Failed), "{events:?}");
    b.receive();
    (0..40).for_each(|_| rig.tick());
    assert!(b.receive().0 >= 9, "the other is heard on");
    // Its place can be taken again.
    let again = rig.open(0, Codec::Pcmu, false).expect("opened");
    rig.order(Command::Fence(again.media, tandem_actors::model::ids::LegId(1), 3));
    rig.tick();
    assert!(rig.drain().iter().any(|e| e.kind == MediaEventKind::Fenced(3)));
    rig.order(Command::Close(0, MediaId(999)));
    rig.order(Command::Fence(again.media, tandem_actors::model::ids::LegId(1), 4));
    rig.tick();
    assert_eq!(rig.drain().len(), 1, "a command for who sat there before does nothing");
}

#[test]
fn a_peer_that_nominates_without_end_takes_nobody_elses_place() {
    let mut rig = Rig::new(2, 38_300..=38_399).expect("sockets");
    let mut restless = rig.open(0, Codec::Opus, true).expect("opened");
    for port in 1..=1000 {
        let path = std::net::SocketAddr::from(([127, 0, 0, 9], port));
        rig.order(Command::Path(restless.slot, restless.media, path));
        rig.tick();
    }
    rig.order(Command::Path(restless.slot, restless.media, restless.address()));
    let mut other = rig.open(1, Codec::Opus, true).expect("opened");
    rig.tick();
    restless.send(&[0; 40]);
    other.send(&[0; 40]);
    rig.tick();
    assert_eq!(rig.counts(), (2, 0));
}
