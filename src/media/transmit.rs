//! The outgoing side of a session: one SSRC whose sequence numbers and timestamps only ever go forward, whatever the sound
//! comes from.
//!
//! Two ways to be placed on the stream: *relayed* packets keep the distances of the stream they come from (so that the receiver
//! sees its losses and re-orderings), *made* ones follow one another. At each change of origin the new one begins right after
//! the last packet, with the time that has passed and a marker bit (RFC 3550 §5.1, RFC 3551 §4.1).

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use super::ring::EventSink;
use super::rtp::{HEADER, Header, MAX_DROPOUT};
use super::seat::{RESUME_GAP, Seat, Station};
use super::socket::Outbox;
use super::srtp::{self, Keyed};

/// Sequence numbers from here on are near their wrap: ten seconds of sound.
const NEAR_WRAP: u64 = 0xffff - 500;

/// What one tick works with.
pub struct Wire<'a> {
    /// Where packets go.
    pub outbox: &'a mut Outbox,
    /// Where events go.
    pub events: &'a mut EventSink,
    /// The worker's.
    pub station: &'a Station,
    /// Monotonic time, nanoseconds, read once a tick.
    pub now_ns: u64,
}

/// Where made sound comes from; a change of it is a change of origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Transcoded from the bridge's other side.
    Bridge,
    /// A clip.
    Clip,
    /// A room's mix.
    Room,
    /// Filling in.
    Silence,
    /// Digits of ours, in-band.
    Tones,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Nowhere,
    Relay { ssrc: u32, index_offset: u64, floor: u64, top: u64, timestamp_offset: u32 },
    Made(Maker),
}

/// A packet's place on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Extended sequence number.
    pub index: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
}

/// See the module.
pub struct Transmit {
    ssrc: u32,
    next: u64,
    origin: Origin,
    /// The last timestamp, the time it stands for, and how much sound it held.
    anchor: (u32, u64, u32),
    started: bool,
    /// When the last packet went out.
    pub sent_ns: u64,
    /// SRTP, once there are keys.
    pub srtp: Option<Box<srtp::Sender>>,
    /// Packets and payload octets sent.
    pub packets: u64,
    /// See [`Transmit::packets`].
    pub octets: u64,
    rtcp_next: u32,
    /// Which keys.
    keys: u32,
}

impl Transmit {
    /// Begins where the seat says, or goes on there for a successor.
    pub fn new(seat: &Seat, successor: bool) -> Self {
        let gap = if successor { RESUME_GAP } else { 0 };
        Self {
            ssrc: seat.ssrc,
            next: seat.next_index.load(Ordering::Acquire) + gap,
            origin: Origin::Nowhere,
            anchor: (seat.timestamp.load(Ordering::Acquire), 0, 0),
            started: false,
            sent_ns: 0,
            srtp: None,
            packets: seat.sent.load(Ordering::Acquire),
            octets: 0,
            rtcp_next: seat.rtcp_index.load(Ordering::Acquire) + gap as u32,
            keys: seat.send_keys.load(Ordering::Acquire),
        }
    }

    /// The timestamp of sound that begins now.
    pub fn timestamp_at(&self, now_ns: u64, clock_rate: u32) -> u32 {
        let (timestamp, at_ns, held) = self.anchor;
        if !self.started {
            // A successor does not know how long ago: one second is longer than any take-over, and forward is all that counts.
            return timestamp.wrapping_add(clock_rate);
        }
        let elapsed = u128::from(now_ns.saturating_sub(at_ns)) * u128::from(clock_rate) / 1_000_000_000;
        timestamp.wrapping_add((elapsed as u32).max(held))
    }

    /// The place of a packet relayed from the peer's stream `ssrc`; `None` for one older than where the relaying began.
    pub fn relay(&mut self, ssrc: u32, index: u64, timestamp: u32, now_ns: u64, clock_rate: u32) -> Option<Place> {
        if let Origin::Relay { ssrc: known, index_offset, floor, top, timestamp_offset } = &mut self.origin
            && *known == ssrc
            && index.abs_diff(*top) < MAX_DROPOUT as u64
        {
            if index < *floor {
                return None;
            }
            *top = (*top).max(index);
            let place = Place {
                index: index.wrapping_add(*index_offset),
                timestamp: timestamp.wrapping_add(*timestamp_offset),
                marker: false,
            };
            return Some(place);
        }
        let ours = self.timestamp_at(now_ns, clock_rate);
        self.origin = Origin::Relay {
            ssrc,
            index_offset: self.next.wrapping_sub(index),
            floor: index,
            top: index,
            timestamp_offset: ours.wrapping_sub(timestamp),
        };
        Some(Place { index: self.next, timestamp: ours, marker: true })
    }

    /// Whether packets of `ssrc` are being relayed.
    pub fn relays(&self, ssrc: u32) -> bool {
        matches!(self.origin, Origin::Relay { ssrc: known, .. } if known == ssrc)
    }

    /// The place of the next made packet.
    pub fn made(&mut self, maker: Maker, now_ns: u64, clock_rate: u32) -> Place {
        let (timestamp, _, held) = self.anchor;
        if self.origin == Origin::Made(maker) && self.started {
            return Place { index: self.next, timestamp: timestamp.wrapping_add(held), marker: false };
        }
        self.origin = Origin::Made(maker);
        Place { index: self.next, timestamp: self.timestamp_at(now_ns, clock_rate), marker: true }
    }

    /// What comes next does not follow what was: time has passed unheard.
    pub fn interrupt(&mut self) {
        self.origin = Origin::Nowhere;
    }

    /// The place of an event packet that is not relayed in step: its timestamp is the event's.
    pub fn event(&self, timestamp: u32, marker: bool) -> Place {
        Place { index: self.next, timestamp, marker }
    }

    /// Notes that the packet of this place, with `held` timestamp units of sound, goes out. An event's updates leave the anchor
    /// where the event began.
    pub fn note(&mut self, place: Place, held: u32, now_ns: u64) {
        if place.index >= self.next {
            self.next = place.index + 1;
            if !self.started || place.timestamp != self.anchor.0 {
                self.anchor = (place.timestamp, now_ns, held);
            }
        }
        self.started = true;
        self.sent_ns = now_ns;
    }

    /// Puts one packet on the wire; `write` fills the payload and returns its length.
    pub fn send(
        &mut self,
        wire: &mut Wire<'_>,
        to: (RawFd, SocketAddr),
        payload_type: u8,
        (place, held): (Place, u32),
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let mut octets = 0;
        let (ssrc, srtp) = (self.ssrc, self.srtp.as_deref());
        let sent = wire.outbox.push(wire.station, to.0, to.1, |buffer| {
            let header = Header::write(payload_type, place.marker, place.index as u16, place.timestamp, ssrc);
            buffer[..HEADER].copy_from_slice(&header);
            let end = buffer.len() - srtp::OVERHEAD;
            octets = write(&mut buffer[HEADER..end])?;
            let len = HEADER + octets;
            match srtp {
                Some(srtp) => srtp.protect(buffer, len, place.index),
                None => Some(len),
            }
        });
        if sent {
            self.note(place, held, wire.now_ns);
            self.packets += 1;
            wire.station.stats.sent.fetch_add(1, Ordering::Relaxed);
            self.octets += octets as u64;
        }
        sent
    }

    /// Puts a compound RTCP packet on the wire.
    pub fn send_rtcp(
        &mut self,
        wire: &mut Wire<'_>,
        to: (RawFd, SocketAddr),
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let (srtp, index) = (self.srtp.as_deref(), self.rtcp_next);
        let sent = wire.outbox.push(wire.station, to.0, to.1, |buffer| {
            let len = write(buffer)?;
            srtp.map_or(Some(len), |srtp| srtp.protect_rtcp(buffer, len, index))
        });
        if sent {
            self.rtcp_next = (self.rtcp_next + 1) & 0x7fff_ffff;
        }
    }

    /// New keys begin with rollover 0, as the peer's new context does (RFC 4568 §7.1.4, RFC 5764 §4.2); the sequence goes on, but
    /// steps over a wrap so near that a peer which misses its last packets would believe that it has not come. The keys that
    /// are in use already (a successor gets them) change nothing.
    pub fn rekey(&mut self, new: Keyed<srtp::Sender>) -> Option<Box<srtp::Sender>> {
        if self.keys != new.keys {
            self.keys = new.keys;
            let sequence = self.next & 0xffff;
            let next = if sequence >= NEAR_WRAP { 0 } else { sequence };
            if next != self.next {
                self.next = next;
                self.interrupt();
            }
        }
        self.srtp.replace(new.cipher)
    }

    /// Stores the place for a successor.
    pub fn store(&self, seat: &Seat) {
        seat.send_keys.store(self.keys, Ordering::Release);
        seat.next_index.store(self.next, Ordering::Release);
        seat.timestamp.store(self.anchor.0, Ordering::Release);
        seat.rtcp_index.store(self.rtcp_next, Ordering::Release);
        seat.sent.store(self.packets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tandem_actors::model::ids::{LegId, MediaId};

    const MS: u64 = 1_000_000;

    fn transmit() -> Transmit {
        Transmit::new(&Seat::new(MediaId(1), LegId(1), None), false)
    }

    fn step(transmit: &mut Transmit, place: Place, now_ms: u64) -> Place {
        transmit.note(place, 160, now_ms * MS);
        place
    }

    #[test]
    fn a_change_of_origin_goes_on_by_the_time_that_passed_with_a_marker() {
        let mut t = transmit();
        let relayed = t.relay(7, 5000, 99, 0, 8000).expect("placed");
        let a = step(&mut t, relayed, 0);
        let relayed = t.relay(7, 5001, 259, 20 * MS, 8000).expect("placed");
        let b = step(&mut t, relayed, 20);
        assert_eq!((b.index - a.index, b.timestamp.wrapping_sub(a.timestamp), b.marker), (1, 160, false));
        let made = t.made(Maker::Clip, 520 * MS, 8000);
        let c = step(&mut t, made, 520);
        assert_eq!((c.index - b.index, c.timestamp.wrapping_sub(b.timestamp), c.marker), (1, 4000, true));
        let made = t.made(Maker::Clip, 541 * MS, 8000);
        let d = step(&mut t, made, 541);
        assert_eq!((d.index - c.index, d.timestamp.wrapping_sub(c.timestamp), d.marker), (1, 160, false));
    }

    #[test]
    fn relaying_keeps_gaps_and_refuses_what_is_older_than_its_beginning() {
        let mut t = transmit();
        let first = t.relay(7, 100, 0, 0, 8000).expect("placed");
        step(&mut t, first, 0);
        let third = t.relay(7, 102, 320, 40 * MS, 8000).expect("placed");
        step(&mut t, third, 40);
        let second = t.relay(7, 101, 160, 45 * MS, 8000).expect("late but in place");
        assert_eq!((third.index - first.index, second.index - first.index), (2, 1));
        assert_eq!(t.relay(7, 99, 0, 50 * MS, 8000), None);
    }

    #[test]
    fn a_successor_goes_on_further_ahead() {
        let seat = Seat::new(MediaId(1), LegId(1), None);
        let mut first = Transmit::new(&seat, false);
        let made = first.made(Maker::Room, 0, 8000);
        let last = step(&mut first, made, 0);
        first.store(&seat);
        let next = Transmit::new(&seat, true).made(Maker::Room, 300 * MS, 8000);
        assert_eq!(next.index, last.index + 1 + RESUME_GAP);
        assert!((next.timestamp.wrapping_sub(last.timestamp) as i32) > 0);
    }

    fn keyed(keys: u32) -> Keyed<srtp::Sender> {
        let profile = tandem_actors::model::srtp::SrtpProfile::AeadAes128Gcm;
        let master = tandem_actors::model::srtp::MasterKey::random(profile);
        Keyed { keys, cipher: Box::new(srtp::Sender::new(profile, &master)) }
    }

    #[test]
    fn new_keys_begin_with_rollover_0_and_the_same_keys_change_nothing() {
        let seat = Seat::new(MediaId(1), LegId(1), None);
        let mut t = Transmit::new(&seat, false);
        let before = t.next;
        t.rekey(keyed(1));
        assert_eq!(t.next, before, "the first keys begin where the stream does");
        for (at, next) in [(0x3_1234, 0x1234), (0x3_fff0, 0), (0x1_8000, 0x8000)] {
            t.next = at;
            t.rekey(keyed(t.keys));
            assert_eq!(t.next, at);
            t.rekey(keyed(t.keys + 1));
            assert_eq!(t.next, next);
        }
    }

    #[test]
    fn a_successor_that_gets_keys_its_predecessor_never_had_begins_with_rollover_0() {
        let seat = Seat::new(MediaId(1), LegId(1), None);
        let mut first = Transmit::new(&seat, false);
        first.rekey(keyed(1));
        first.next = 0x5_0100;
        first.store(&seat);
        let mut same = Transmit::new(&seat, true);
        same.rekey(keyed(1));
        assert_eq!(same.next, 0x5_0100 + RESUME_GAP);
        let mut newer = Transmit::new(&seat, true);
        newer.rekey(keyed(2));
        assert_eq!(newer.next, 0x100 + RESUME_GAP);
    }

    proptest! {
        #[test]
        fn no_index_is_used_twice_and_made_ones_only_go_forward(steps in proptest::collection::vec((0u8..5, 0u64..70), 1..200)) {
            let mut t = transmit();
            let mut window = crate::media::rtp::Window::default();
            let mut used = std::collections::HashSet::new();
            for (n, (kind, index)) in steps.into_iter().enumerate() {
                let now = n as u64 * 5 * MS;
                // A duplicate never gets this far: the receiving window refuses it.
                let place = match kind {
                    0 => Some(t.made(Maker::Clip, now, 8000)),
                    1 => Some(t.made(Maker::Bridge, now, 8000)),
                    _ => {
                        let index = index + n as u64;
                        if !window.admits(index) { continue }
                        window.accept(index);
                        t.relay(7, index, index as u32 * 160, now, 8000)
                    }
                };
                if let Some(place) = place {
                    prop_assert!(used.insert(place.index), "{place:?} again");
                    t.note(place, 160, now);
                }
            }
        }
    }
}
