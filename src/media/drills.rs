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

/// Which packet of a digit every peer sends at this tick: one in the bridges' time, one in the room's.
fn pressed(tick: usize) -> Option<u16> {
    let since = [300, 1000].map(|began| (tick % 2000).wrapping_sub(began) / 4);
    since.into_iter().find(|n| *n < 8).and_then(|n| u16::try_from(n).ok())
}

#[test]
fn a_hundred_thousand_ticks_of_all_that_happens_allocate_nothing() {
    let mut rig = Rig::new(8, 38_000..=38_199).expect("sockets");
    let clips = Clips::load("/nonexistent".into(), OpusSettings::default()).expect("tones");
    let codecs = [(Codec::Pcmu, false), (Codec::Opus, true), (Codec::Pcma, false), (Codec::Opus, true)];
    let sounds: Vec<Vec<Vec<u8>>> = codecs.iter().map(|(codec, _)| speech(*codec)).collect();
    let mut peers: Vec<Peer> = Vec::new();
    let (mut allocations, mut heard, mut played, mut digits, mut linked, mut junk) = (0, 0, 0, 0, 0, 0);
    for tick in 0..100_000usize {
        match tick % 2000 {
            // Open, bridge, play, send digits, hear some; enter a room, hear some there, one leaves it; close.
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
                    rig.order(Command::Fence(peer.media, tandem_actors::model::ids::LegId(1), 1));
                }
            }
            // One takes no telephone-event any more: what its partner presses goes to it in-band.
            250 => rig.agree(&peers[2], false),
            700 => {
                for peer in &peers {
                    let clip = clips.get("tone:hold").expect("a tone");
                    rig.order(Command::Play { slot: peer.slot, media: peer.media, clip, token: 2, repeat: true });
                    rig.order(Command::StopPlay(peer.slot, peer.media));
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
                if let Some(n) = pressed(tick) {
                    peer.press(7, n);
                    continue;
                }
                // One in fifty is lost; nobody speaks in the second half of a room's life but one.
                if (tick / 4 + n * 7) % 50 != 0 && (n == 0 || tick % 2000 < 1200) {
                    peer.send(&sounds[n][tick / 4 % 50]);
                }
            }
        }
        if tick % 100 == 50 {
            for peer in &mut peers {
                peer.report(tick as u64);
                // What is no RTP, and what a stranger sends.
                peer.send_raw(&[0x80, 0, 1]);
                junk += 1;
            }
            let secured = peers.iter_mut().filter(|peer| peer.slot % 2 == 1);
            secured.for_each(|peer| [[0u8; 20], [22; 20]].iter().for_each(|datagram| peer.send_raw(datagram)));
            for peer in peers.iter().filter(|peer| peer.slot % 2 == 1) {
                rig.link(peer, &[1; 100]);
                for port in 1..=6 {
                    let path = std::net::SocketAddr::from(([127, 0, 0, 9], port));
                    rig.order(Command::Path(peer.slot, peer.media, path));
                }
                rig.order(Command::Path(peer.slot, peer.media, peer.address()));
            }
        }
        allocations += allocations_in(|| rig.tick());
        linked += rig.linked();
        for event in rig.drain() {
            played += usize::from(matches!(event.kind, MediaEventKind::Played(_)));
            digits += usize::from(matches!(event.kind, MediaEventKind::Digit { .. }));
        }
        heard += peers.iter_mut().map(|peer| peer.receive().0).sum::<usize>();
    }
    let (received, refused) = rig.counts();
    assert_eq!(allocations, 0);
    assert_eq!(played, 4 * 50);
    assert_eq!(digits, 4 * 2 * 50, "a digit in a bridge, a digit in a room");
    assert_eq!(linked, 2 * 2 * 18 * 50, "a STUN and a DTLS datagram of each browser while it is open");
    assert_eq!(refused, junk);
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
