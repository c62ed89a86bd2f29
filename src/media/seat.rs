//! What outlives a media thread: a session's sockets, its place on its outgoing stream, and what telemetry reads.
//!
//! ```text
//!   media-k (epoch n) --stores each tick--> Seat, Station <--loads at take-over-- media-k (epoch n + 1)
//!                                                ^---------reads--------------- snapshot, metrics
//! ```
//! The successor raises [`Station::epoch`] and resumes [`RESUME_GAP`] packets further; a thread compares epochs before every
//! flush and ends itself once fenced, so no SRTP index is used twice.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tandem_actors::model::ids::{LegId, MediaId};

use super::stats::WorkerStats;

/// How far a successor jumps on every outgoing stream: more than a thread sends on one session between two stores.
pub const RESUME_GAP: u64 = 64;

/// One session's seat.
pub struct Seat {
    /// Which session.
    pub media: MediaId,
    /// Who hears its events.
    pub leg: LegId,
    /// Its own port pair, RTP and RTCP; `None` on the worker's shared port.
    pub sockets: Option<(UdpSocket, UdpSocket)>,
    /// Ours, for the life of the session.
    pub ssrc: u32,
    /// Which keys [`Seat::next_index`] counts under (`Keyed::keys`), and which [`Seat::peer_top`].
    pub send_keys: AtomicU32,
    /// See [`Seat::send_keys`].
    pub receive_keys: AtomicU32,
    /// Next extended sequence number.
    pub next_index: AtomicU64,
    /// Last timestamp sent.
    pub timestamp: AtomicU32,
    /// Next SRTCP index.
    pub rtcp_index: AtomicU32,
    /// The peer's stream and the highest index accepted on it: `ssrc`, `top`; nothing while `top` is `u64::MAX`.
    pub peer_ssrc: AtomicU32,
    /// See [`Seat::peer_ssrc`].
    pub peer_top: AtomicU64,
    /// Packets accepted.
    pub received: AtomicU64,
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets missing.
    pub lost: AtomicU64,
    /// Packets refused.
    pub refused: AtomicU64,
    /// Interarrival jitter, microseconds.
    pub jitter_us: AtomicU32,
    /// Round trip, microseconds.
    pub round_trip_us: AtomicU32,
    /// Where RTP comes from.
    pub remote: AddressCell,
}

impl Seat {
    /// A new seat. The first sequence number lies below 2^15, so that a receiver that misses the first packets still guesses
    /// rollover 0 (RFC 3711 §3.3.1); SSRC and first timestamp are random (RFC 3550 §5.1).
    pub fn new(media: MediaId, leg: LegId, sockets: Option<(UdpSocket, UdpSocket)>) -> Self {
        Self {
            media,
            leg,
            sockets,
            ssrc: rand::random(),
            send_keys: AtomicU32::new(0),
            receive_keys: AtomicU32::new(0),
            next_index: AtomicU64::new(u64::from(rand::random::<u16>() >> 2)),
            timestamp: AtomicU32::new(rand::random()),
            rtcp_index: AtomicU32::new(0),
            peer_ssrc: AtomicU32::new(0),
            peer_top: AtomicU64::new(u64::MAX),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            jitter_us: AtomicU32::new(0),
            round_trip_us: AtomicU32::new(0),
            remote: AddressCell::default(),
        }
    }
}

/// A socket address one thread stores and others read: a sequence lock on three words.
#[derive(Default)]
pub struct AddressCell {
    version: AtomicU32,
    words: [AtomicU64; 3],
}

impl AddressCell {
    /// Stores; only ever called by one thread at a time.
    pub fn store(&self, address: SocketAddr) {
        let (high, low) = match address.ip() {
            IpAddr::V4(ip) => (0, u64::from(u32::from(ip))),
            IpAddr::V6(ip) => ((u128::from(ip) >> 64) as u64, u128::from(ip) as u64),
        };
        let kind = if address.is_ipv4() { 4u64 } else { 6 };
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Release);
        for (word, value) in self.words.iter().zip([high, low, kind << 32 | u64::from(address.port())]) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
    /// The address, once there is one.
    pub fn load(&self) -> Option<SocketAddr> {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let [high, low, rest] = [0, 1, 2].map(|i: usize| self.words[i].load(Ordering::Relaxed));
            std::sync::atomic::fence(Ordering::Acquire);
            if before != self.version.load(Ordering::Relaxed) || before % 2 == 1 {
                std::hint::spin_loop();
                continue;
            }
            let ip = match rest >> 32 {
                4 => IpAddr::V4((low as u32).into()),
                6 => IpAddr::V6((u128::from(high) << 64 | u128::from(low)).into()),
                _ => return None,
            };
            return Some(SocketAddr::new(ip, rest as u16));
        }
    }
}

/// What outlives the thread of one worker.
pub struct Station {
    /// The shared port of its WebRTC sessions.
    pub shared: UdpSocket,
    /// Which incarnation of the thread owns it.
    pub epoch: AtomicU64,
    /// Ticks of all incarnations.
    pub heartbeat: AtomicU64,
    /// Whether the thread sleeps for want of sessions and must be woken for a command.
    pub idle: AtomicBool,
    /// What it counts.
    pub stats: WorkerStats,
}

impl Station {
    /// Whether this incarnation may still send.
    pub fn owned_by(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_in_both_families() {
        let cell = AddressCell::default();
        assert_eq!(cell.load(), None);
        for text in ["192.0.2.7:4000", "[2001:db8::1]:5060", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().expect("an address");
            cell.store(address);
            assert_eq!(cell.load(), Some(address));
        }
    }

    #[test]
    fn the_first_sequence_number_is_below_2_to_15() {
        for _ in 0..100 {
            let seat = Seat::new(MediaId(1), LegId(1), None);
            assert!(seat.next_index.load(Ordering::Relaxed) < 1 << 15);
        }
    }
}
