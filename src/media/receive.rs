//! The incoming side of a session: which source is believed, SRTP, payload types, replays, statistics.
//!
//! Symmetric RTP: a peer behind NAT sends from another address than it signalled. The first valid source is believed at once
//! where it is the signalled host, or where nothing usable was signalled (a private address, none at all); everywhere else,
//! and for every later change, a new source must *prove* itself: [`PROOF`] valid packets of one stream in a row, none of which
//! counts before the old source has been silent for [`SILENCE_NS`]. With SDES, packets are heard wherever they come from, since they are
//! authenticated; where ours go follows the same rules, for a packet can be carried to us by somebody else. WebRTC needs none of this:
//! ICE says where its peer is.

use std::net::{IpAddr, SocketAddr};

use tandem_actors::model::media::Codec;

use super::agreement::Agreement;
use super::dtmf::Listener;
use super::rtcp::Reception;
use super::rtp::{Header, MAX_DROPOUT, Window};
use super::srtp::{self, Keyed, Refused};
use super::stats::Refusal;

/// Packets in a row by which a new source proves itself: 200 ms of usual sound.
pub const PROOF: u32 = 10;
/// How long the believed source must have been silent before a packet of another one counts. Without it a burst that fits between
/// two packets of the peer would take its call over.
pub const SILENCE_NS: u64 = 200_000_000;
/// RFC 3389 comfort noise at 8 kHz: taken without being agreed, and not played.
const COMFORT_NOISE: u8 = 13;

/// A packet that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its header; the payload's range is inside the packet.
    pub header: Header,
    /// Extended sequence number.
    pub index: u64,
    /// What it carries.
    pub kind: Kind,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sound.
    Audio(Codec),
    /// A telephone-event at this clock rate.
    Event(u32),
    /// Nothing that is used: comfort noise, or sound while we hold the peer.
    Nothing,
}

/// Where packets may come from.
#[derive(Debug, Default)]
pub struct Source {
    signalled: Option<SocketAddr>,
    latched: Option<SocketAddr>,
    /// When the latched source was heard last.
    heard_ns: Option<u64>,
    candidate: Option<(SocketAddr, u32, u32)>,
}

impl Source {
    /// The peer signalled an address. Another one than before is believed at once: old sources must prove themselves anew.
    pub fn signal(&mut self, address: Option<SocketAddr>) {
        if address != self.signalled {
            *self = Self { signalled: address, ..Self::default() };
        }
    }
    /// Where to send.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.latched.or(self.signalled)
    }
    /// Whether a valid packet of this stream from this address is believed.
    fn admits(&mut self, from: SocketAddr, ssrc: u32, now_ns: u64) -> bool {
        let believed = match (self.latched, self.signalled) {
            (Some(latched), _) => latched == from,
            (None, None) => true,
            (None, Some(signalled)) => signalled.ip() == from.ip() || !is_public(signalled.ip()),
        };
        if believed {
            self.believe(from, now_ns);
            return true;
        }
        // A successor's source has not been heard by it yet: its silence begins with the first stranger.
        if self.latched.is_some() && now_ns.saturating_sub(*self.heard_ns.get_or_insert(now_ns)) < SILENCE_NS {
            return false;
        }
        let count = match self.candidate {
            Some((address, stream, count)) if (address, stream) == (from, ssrc) => count + 1,
            _ => 1,
        };
        self.candidate = Some((from, ssrc, count));
        if count >= PROOF {
            self.believe(from, now_ns);
        }
        count >= PROOF
    }
    fn believe(&mut self, from: SocketAddr, now_ns: u64) {
        self.latched = Some(from);
        self.heard_ns = Some(now_ns);
        self.candidate = None;
    }
    /// For a successor.
    pub fn resume(&mut self, latched: Option<SocketAddr>) {
        self.latched = latched;
    }
}

/// Whether an address can be reached over the internet; private, loopback and documentation ones say nothing of where a peer
/// behind NAT really is.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let carrier_nat = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64; // RFC 6598
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || carrier_nat)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Receive {
    /// SRTP, once there are keys.
    pub srtp: Option<Box<srtp::Receiver>>,
    /// Whether only authenticated packets count.
    pub authenticated: bool,
    /// Whether ICE says where packets come from.
    by_ice: bool,
    /// Which keys.
    keys: u32,
    /// Where packets come from.
    pub source: Source,
    /// The peer's stream.
    pub ssrc: Option<u32>,
    window: Window,
    /// Its statistics.
    pub reception: Reception,
    /// Hears its digits.
    pub listener: Listener,
    /// When the last packet came.
    pub last_ns: Option<u64>,
    /// Packets taken and refused.
    pub packets: u64,
    /// See [`Receive::packets`].
    pub refused: u64,
}

impl Receive {
    /// `by_ice`: a WebRTC peer, of which only SRTP counts.
    pub fn new(by_ice: bool) -> Self {
        Self { authenticated: by_ice, by_ice, ..Self::default() }
    }

    /// New keys: whatever comes under them is a new stream. Returns the old ones, to be freed elsewhere.
    pub fn rekey(&mut self, new: Keyed<srtp::Receiver>) -> Option<Box<srtp::Receiver>> {
        self.keys = new.keys;
        if self.ssrc.take().is_some() {
            self.reception.restart();
        }
        self.window = Window::default();
        self.srtp.replace(new.cipher)
    }

    /// For a successor: the stream goes on after `top`.
    pub fn resume(&mut self, ssrc: u32, top: u64, latched: Option<SocketAddr>) {
        self.ssrc = Some(ssrc);
        self.window = Window::after(top);
        self.source.resume(latched);
        if let Some(srtp) = &mut self.srtp {
            srtp.resume(ssrc, top);
        }
    }

    /// Which keys are in use.
    pub fn keys(&self) -> u32 {
        self.keys
    }

    /// The peer's stream and the highest index on it.
    pub fn top(&self) -> Option<(u32, u64)> {
        self.ssrc.zip(self.window.top())
    }

    /// Judges a packet that arrived on the RTP port; decrypts it in place.
    ///
    /// # Errors
    /// Why it is not used.
    pub fn take(
        &mut self,
        packet: &mut [u8],
        from: SocketAddr,
        agreement: Option<&Agreement>,
        now_ns: u64,
    ) -> Result<Heard, Refusal> {
        let heard = self.judge(packet, from, agreement, now_ns);
        match heard {
            Ok(_) => {
                self.packets += 1;
                self.last_ns = Some(now_ns);
            }
            Err(_) => self.refused += 1,
        }
        heard
    }

    fn judge(
        &mut self,
        packet: &mut [u8],
        from: SocketAddr,
        agreement: Option<&Agreement>,
        now_ns: u64,
    ) -> Result<Heard, Refusal> {
        let agreement = agreement.ok_or(Refusal::Source)?;
        let mut len = packet.len();
        let mut proven = None;
        if self.authenticated {
            let srtp = self.srtp.as_mut().ok_or(Refusal::Authentication)?;
            let (plain, index) = srtp.unprotect(packet).map_err(refusal)?;
            (len, proven) = (plain, Some(index));
        }
        let header = Header::parse(&packet[..len]).ok_or(Refusal::Malformed)?;
        let kind = agreement
            .incoming(header.payload_type)
            .or((header.payload_type == COMFORT_NOISE).then_some(Kind::Nothing))
            .ok_or(Refusal::PayloadType)?;
        let admitted = self.by_ice || self.source.admits(from, header.ssrc, now_ns);
        if proven.is_none() && !admitted {
            return Err(Refusal::Source);
        }
        if self.ssrc != Some(header.ssrc) {
            self.begin_stream(header.ssrc);
        }
        let index = match proven {
            Some(index) => index,
            None => {
                let index = self.window.index(header.sequence);
                // A jump is a sender that restarted its numbers on one SSRC.
                if self.window.top().is_some_and(|top| index.abs_diff(top) > MAX_DROPOUT as u64) {
                    self.begin_stream(header.ssrc);
                }
                self.window.index(header.sequence)
            }
        };
        // Authenticated packets passed their own window: this one only follows.
        if proven.is_none() && !self.window.admits(index) {
            return Err(Refusal::Replayed);
        }
        self.window.accept(index);
        match kind {
            Kind::Audio(codec) => self.reception.packet(index, header.timestamp, codec.clock_rate(), now_ns),
            Kind::Event(_) | Kind::Nothing => self.reception.count(index),
        }
        let kind = if agreement.direction.receives() { kind } else { Kind::Nothing };
        Ok(Heard { header, index, kind })
    }

    fn begin_stream(&mut self, ssrc: u32) {
        if self.ssrc.is_some() {
            self.reception.restart();
        }
        self.ssrc = Some(ssrc);
        self.window = Window::default();
        self.listener = Listener::default();
    }
}

/// The counter of an SRTP refusal.
pub fn refusal(why: Refused) -> Refusal {
    match why {
        Refused::Malformed => Refusal::Malformed,
        Refused::Replayed => Refusal::Replayed,
        Refused::Authentication => Refusal::Authentication,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::agreement;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    const MS: u64 = 1_000_000;

    fn take(receive: &mut Receive, from: &str, ssrc: u32, sequence: u16) -> Result<Kind, Refusal> {
        take_at(receive, from, ssrc, sequence, 0)
    }

    fn take_at(receive: &mut Receive, from: &str, ssrc: u32, sequence: u16, now_ns: u64) -> Result<Kind, Refusal> {
        let mut packet = Header::write(0, false, sequence, 0, ssrc).to_vec();
        packet.extend([0xff; 160]);
        let agreement = agreement(Codec::Pcmu, Some(address("198.51.100.7:4000")));
        receive.source.signal(agreement.remote_rtp);
        receive.take(&mut packet, address(from), Some(&agreement), now_ns).map(|heard| heard.kind)
    }

    const AUDIO: Result<Kind, Refusal> = Ok(Kind::Audio(Codec::Pcmu));

    #[test]
    fn the_signalled_host_is_believed_from_any_port() {
        let mut receive = Receive::default();
        assert_eq!(take(&mut receive, "198.51.100.7:9999", 1, 1), AUDIO);
        assert_eq!(receive.source.remote(), Some(address("198.51.100.7:9999")));
    }

    #[test]
    fn a_burst_between_two_packets_of_the_peer_takes_nothing_over() {
        let mut receive = Receive::default();
        for n in 0..50u16 {
            let now_ns = u64::from(n) * 20 * MS;
            assert_eq!(take_at(&mut receive, "198.51.100.7:4000", 1, n, now_ns), AUDIO);
            for k in 0..PROOF as u16 + 3 {
                let taken = take_at(&mut receive, "203.0.113.9:5000", 2, n * 20 + k, now_ns + 10 * MS);
                assert_eq!(taken, Err(Refusal::Source));
            }
        }
        assert_eq!(receive.source.remote(), Some(address("198.51.100.7:4000")));
    }

    #[test]
    fn a_peer_that_moved_is_believed_once_its_old_source_is_silent_and_the_new_one_has_proven_itself() {
        let mut receive = Receive::default();
        assert_eq!(take(&mut receive, "198.51.100.7:4000", 1, 1), AUDIO);
        let moved: Vec<_> =
            (1..=20u16).map(|n| take_at(&mut receive, "203.0.113.9:5000", 2, n, u64::from(n) * 20 * MS)).collect();
        // Nothing counts for 200 ms; then nine packets prove, and the tenth is heard.
        assert_eq!(moved.iter().position(Result::is_ok), Some(18));
        assert_eq!(receive.source.remote(), Some(address("203.0.113.9:5000")));
        assert_eq!(take_at(&mut receive, "198.51.100.7:4000", 1, 2, 420 * MS), Err(Refusal::Source));
    }

    #[test]
    fn a_successor_gives_the_source_it_inherits_its_time_to_be_heard() {
        let mut receive = Receive::default();
        receive.source.signal(Some(address("198.51.100.7:4000")));
        receive.resume(1, 1, Some(address("198.51.100.7:4000")));
        let now_ns = 3_600_000 * MS;
        for n in 0..PROOF as u16 + 3 {
            assert_eq!(take_at(&mut receive, "203.0.113.9:5000", 2, n, now_ns), Err(Refusal::Source));
        }
        assert_eq!(take_at(&mut receive, "198.51.100.7:4000", 1, 2, now_ns + 20 * MS), AUDIO);
    }

    #[test]
    fn a_private_signalled_address_is_replaced_by_the_first_source() {
        let mut source = Source::default();
        source.signal(Some(address("192.168.1.5:4000")));
        assert!(source.admits(address("203.0.113.9:31000"), 1, 0));
        assert_eq!(source.remote(), Some(address("203.0.113.9:31000")));
        source.signal(Some(address("192.168.1.5:4000")));
        assert_eq!(source.remote(), Some(address("203.0.113.9:31000")), "the same signalled again changes nothing");
        source.signal(Some(address("192.168.1.5:4002")));
        assert_eq!(source.remote(), Some(address("192.168.1.5:4002")));
    }

    #[test]
    fn duplicates_and_unknown_payload_types_are_refused() {
        let mut receive = Receive::default();
        assert_eq!(take(&mut receive, "198.51.100.7:4000", 1, 1), AUDIO);
        assert_eq!(take(&mut receive, "198.51.100.7:4000", 1, 1), Err(Refusal::Replayed));
        let mut packet = Header::write(97, false, 2, 0, 1).to_vec();
        let agreement = agreement(Codec::Pcmu, None);
        let taken = receive.take(&mut packet, address("198.51.100.7:4000"), Some(&agreement), 0);
        assert_eq!(taken, Err(Refusal::PayloadType));
        assert_eq!((receive.packets, receive.refused), (1, 2));
    }

    #[test]
    fn a_new_stream_is_no_loss() {
        let mut receive = Receive::default();
        for (ssrc, sequence) in [(1, 10), (1, 11), (2, 60_000), (2, 60_001), (2, 10), (2, 11)] {
            assert_eq!(take(&mut receive, "198.51.100.7:4000", ssrc, sequence), AUDIO);
        }
        assert_eq!(receive.reception.lost(), 0);
    }
}
