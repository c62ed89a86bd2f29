//! One media session as its thread knows it: what was agreed, what it is joined to, and what it does by itself each tick
//! (clips, digits, filling silence, reports).
//!
//! A session that may send always sends: where nothing is to be heard it fills in silence, so that NAT bindings stay open and
//! the peer's own detection of dead calls rests. Joined to nothing, it fills at once; bridged, after [`FILL_AFTER_NS`] without a
//! packet from the other side (which may use DTX, or not be connected yet).

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tandem_actors::model::ids::MediaId;
use tandem_actors::model::media::Digit;
use tandem_actors::ports::media::{MediaEvent, MediaEventKind};

use super::agreement::Agreement;
use super::bridge::Order;
use super::clip::Clip;
use super::codec::{Coder, law, opus};
use super::mixer::Member;
use super::paths::Paths;
use super::playout::{Digits, Player};
use super::receive::Receive;
use super::ring::SlotId;
use super::rtcp;
use super::seat::Seat;
use super::transmit::{Maker, Place, Transmit, Wire};

const MS: u64 = 1_000_000;
/// A bridged session fills in silence after this long without a packet to relay.
pub const FILL_AFTER_NS: u64 = 200 * MS;
/// RTCP interval; RFC 3550 §6.2 allows a fixed 5 s for two parties.
const RTCP_NS: u64 = 5_000 * MS;
/// What a session is joined to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attached {
    /// Nothing.
    #[default]
    Nothing,
    /// Another session of this worker: its place, and its name, since places are used again.
    Bridge(SlotId, MediaId),
    /// A room of this worker.
    Room(SlotId),
}

/// Sound waiting to fill a packet, at the coder's rate.
pub struct Fifo {
    samples: [i16; Self::CAPACITY],
    len: usize,
}

impl Fifo {
    /// 240 ms at 16 kHz: the longest packet in and out.
    const CAPACITY: usize = 3840;
    fn push(&mut self, samples: &[i16]) {
        if let Some(place) = self.samples.get_mut(self.len..self.len + samples.len()) {
            place.copy_from_slice(samples);
            self.len += samples.len();
        }
    }
    fn drop_front(&mut self, n: usize) {
        self.samples.copy_within(n..self.len, 0);
        self.len -= n;
    }
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

/// See the module.
pub struct Session {
    /// What outlives the thread.
    pub seat: Arc<Seat>,
    /// What was agreed, once it is.
    pub agreement: Option<Agreement>,
    /// What it is joined to.
    pub attached: Attached,
    /// What it decodes and encodes with, once it must.
    pub coder: Option<Box<Coder>>,
    /// Its state as a member of a room.
    pub member: Option<Box<Member>>,
    /// Incoming.
    pub receive: Receive,
    /// Where its packets come from, on the shared port.
    pub paths: Paths,
    /// Outgoing.
    pub transmit: Transmit,
    /// Puts a transcoded stream in order.
    pub order: Order,
    /// Sound waiting to fill a packet.
    pub fifo: Fifo,
    /// The clip that plays.
    pub(super) player: Option<Player>,
    /// The token of the last one that ended.
    pub(super) played: Option<u64>,
    /// Digits of ours.
    pub(super) digits: Digits,
    /// When silence is filled in next.
    pub(super) fill_ns: u64,
    silent_since_ns: u64,
    silent_told: bool,
    first_told: bool,
    rtcp_ns: u64,
    rtcp_packets: u64,
    lost_told: u64,
    /// Where the event being relayed to this session's peer sits: `incoming`, `outgoing` timestamp.
    pub relayed_event: Option<(u32, u32)>,
}

impl Session {
    /// A session on its seat. Allocates: built off the thread.
    pub fn new(seat: Arc<Seat>, successor: bool) -> Self {
        Self {
            transmit: Transmit::new(&seat, successor),
            receive: Receive::new(seat.sockets.is_none()),
            paths: Paths::default(),
            seat,
            agreement: None,
            attached: Attached::Nothing,
            coder: None,
            member: None,
            order: Order::default(),
            fifo: Fifo { samples: [0; Fifo::CAPACITY], len: 0 },
            player: None,
            played: None,
            digits: Digits::default(),
            fill_ns: 0,
            silent_since_ns: 0,
            silent_told: false,
            first_told: successor,
            rtcp_ns: 0,
            rtcp_packets: 0,
            lost_told: 0,
            relayed_event: None,
        }
    }

    /// Tells its leg.
    pub fn tell(&self, wire: &mut Wire<'_>, kind: MediaEventKind) {
        wire.events.push(MediaEvent { leg: self.seat.leg, media: self.seat.media, kind });
    }

    /// The socket its RTP leaves by.
    fn socket(&self, wire: &Wire<'_>) -> RawFd {
        self.seat.sockets.as_ref().map_or(wire.station.shared.as_raw_fd(), |(rtp, _)| rtp.as_raw_fd())
    }

    /// Where its RTP goes, if it may send now.
    pub fn destination(&self, wire: &Wire<'_>) -> Option<(RawFd, SocketAddr)> {
        self.agreement.filter(|a| a.direction.sends())?;
        if self.receive.authenticated && self.transmit.srtp.is_none() {
            return None;
        }
        Some((self.socket(wire), self.receive.source.remote()?))
    }

    /// Whether its party hears a clip or our digits instead of what it is joined to.
    pub fn is_occupied(&self) -> bool {
        self.player.is_some() || self.digits.busy()
    }

    /// New agreement. What it was joined to, its stream and its source stay.
    pub fn configure(&mut self, agreement: Agreement, now_ns: u64) {
        if self.agreement == Some(agreement) {
            return;
        }
        if self.seat.sockets.is_some() {
            self.receive.authenticated = agreement.secured;
            self.receive.source.signal(agreement.remote_rtp);
        }
        if self.agreement.is_none_or(|before| before.send != agreement.send || before.frame_ms != agreement.frame_ms) {
            self.transmit.interrupt();
            self.fifo.clear();
            self.relayed_event = None;
        }
        self.silent_since_ns = now_ns;
        self.silent_told = false;
        self.fill_ns = self.fill_ns.max(now_ns);
        if self.rtcp_ns == 0 {
            // The first report soon (RFC 3550 §6.2 halves the first interval), so that the peer learns of us.
            self.rtcp_ns = now_ns + RTCP_NS / 2;
        }
        self.agreement = Some(agreement);
    }

    /// Joined to something else; returns the member state that is of no more use.
    pub fn attach(&mut self, to: Attached, member: Option<Box<Member>>) -> Option<Box<Member>> {
        if self.attached == to {
            return member;
        }
        self.attached = to;
        self.order.reset();
        self.fifo.clear();
        self.relayed_event = None;
        self.transmit.interrupt();
        std::mem::replace(&mut self.member, member)
    }

    /// A clip begins, unless it is the one that plays, or has just played.
    pub fn play(&mut self, clip: Arc<Clip>, token: u64, repeat: bool, wire: &mut Wire<'_>) {
        if self.player.as_ref().is_some_and(|p| p.plays(&clip, token)) {
            return;
        }
        if self.played == Some(token) {
            self.tell(wire, MediaEventKind::Played(token));
            return;
        }
        self.player = Some(Player::new(clip, token, repeat, wire.now_ns));
        self.fifo.clear();
    }

    /// The clip ends.
    pub fn stop_play(&mut self) {
        self.player = None;
    }

    /// Queues a digit to send; a full queue refuses it.
    pub fn send_digit(&mut self, digit: Digit) -> bool {
        self.digits.push(digit)
    }

    /// A packet was taken: tells of the first, ends silence.
    pub fn note_arrival(&mut self, from: SocketAddr, wire: &mut Wire<'_>) {
        self.silent_since_ns = wire.now_ns;
        self.silent_told = false;
        if !self.first_told {
            self.first_told = true;
            self.tell(wire, MediaEventKind::FirstPacket(from));
        }
    }

    /// What it does by itself.
    pub fn tick(&mut self, wire: &mut Wire<'_>, ntp: impl FnOnce() -> u64) -> Option<Digit> {
        let digit = self.receive.listener.tick(Duration::from_nanos(wire.now_ns));
        if let Some((digit, duration)) = digit {
            self.tell(wire, MediaEventKind::Digit { digit, duration });
        }
        if let Some(agreement) = self.agreement {
            self.step_digits(&agreement, wire);
            self.step_clip(&agreement, wire);
            self.fill(&agreement, wire);
            self.watch_silence(&agreement, wire);
            if wire.now_ns >= self.rtcp_ns {
                self.rtcp_ns = wire.now_ns + RTCP_NS;
                self.report(&agreement, wire, ntp());
            }
        }
        self.store(wire);
        digit.map(|(digit, _)| digit)
    }

    fn store(&mut self, wire: &Wire<'_>) {
        let seat = &self.seat;
        self.transmit.store(seat);
        if let Some((ssrc, top)) = self.receive.top() {
            seat.peer_ssrc.store(ssrc, Ordering::Relaxed);
            seat.receive_keys.store(self.receive.keys(), Ordering::Relaxed);
            seat.peer_top.store(top, Ordering::Release);
        }
        seat.received.store(self.receive.packets, Ordering::Relaxed);
        seat.refused.store(self.receive.refused, Ordering::Relaxed);
        let lost = self.receive.reception.lost();
        seat.lost.store(lost, Ordering::Relaxed);
        seat.jitter_us.store(self.receive.reception.jitter_us(), Ordering::Relaxed);
        // A packet may still come late: the worker's counter takes a loss only once it is a report old.
        if wire.now_ns + MS * 5 >= self.rtcp_ns && lost > self.lost_told {
            wire.station.stats.lost.fetch_add(lost - self.lost_told, Ordering::Relaxed);
            self.lost_told = lost;
        }
        if let Some(remote) = self.receive.source.remote()
            && seat.remote.load() != Some(remote)
        {
            seat.remote.store(remote);
        }
    }

    fn watch_silence(&mut self, agreement: &Agreement, wire: &mut Wire<'_>) {
        let Some(after) = agreement.silence_ns.filter(|_| agreement.direction.receives()) else { return };
        if !self.silent_told && wire.now_ns.saturating_sub(self.silent_since_ns) >= after {
            self.silent_told = true;
            self.tell(wire, MediaEventKind::Silent);
        }
    }

    /// Sends one payload of sound, `units` long; any other filling waits a while after it.
    pub fn send_sound(
        &mut self,
        wire: &mut Wire<'_>,
        (place, units): (Place, u32),
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let (Some(agreement), Some(to)) = (self.agreement, self.destination(wire)) else { return };
        if self.transmit.send(wire, to, agreement.send.1, (place, units), write) {
            let patience = match self.attached {
                Attached::Nothing => agreement.frame_ns(),
                Attached::Bridge(..) | Attached::Room(_) => FILL_AFTER_NS,
            };
            self.fill_ns = wire.now_ns + patience;
        }
    }

    /// Something other than sound was sent: no filling for a while.
    pub fn postpone_filling(&mut self, now_ns: u64) {
        self.fill_ns = now_ns + FILL_AFTER_NS;
    }

    /// Adds samples at the coder's rate and sends every packet they fill.
    pub fn send_samples(&mut self, wire: &mut Wire<'_>, maker: Maker, samples: &[i16]) {
        let Some(agreement) = self.agreement else { return };
        let Some(rate) = self.coder.as_ref().map(|c| c.rate()) else { return };
        self.fifo.push(samples);
        let frame = agreement.frame_ms * rate.per_ms();
        while self.fifo.len >= frame {
            // Taken out and put back: the coder and the rest of the session are wanted at once.
            let Some(mut coder) = self.coder.take() else { return };
            let place = self.transmit.made(maker, wire.now_ns, agreement.send.0.clock_rate());
            let mut packet = [0u8; 1500];
            let len = coder.encode(agreement.send.0, &self.fifo.samples[..frame], &mut packet);
            self.coder = Some(coder);
            self.fifo.drop_front(frame);
            if let Some(payload) = len.and_then(|len| packet.get(..len)) {
                self.send_sound(wire, (place, agreement.frame_units()), |out| copy(payload, out));
            }
        }
    }

    /// Sends one frame of silence, canned.
    pub fn send_silence(&mut self, wire: &mut Wire<'_>, maker: Maker) {
        let Some(agreement) = self.agreement else { return };
        let place = self.transmit.made(maker, wire.now_ns, agreement.send.0.clock_rate());
        match law(agreement.send.0) {
            Some(law) => self.send_sound(wire, (place, agreement.frame_units()), |out| {
                out.get_mut(..agreement.frame_ms * 8)?.fill(law.silence());
                Some(agreement.frame_ms * 8)
            }),
            // Canned Opus is 20 ms whatever was agreed: a receiver takes any length (RFC 7587 §4.2).
            None => self.send_sound(wire, (place, 960), |out| copy(&opus::SILENCE, out)),
        }
    }

    fn fill(&mut self, agreement: &Agreement, wire: &mut Wire<'_>) {
        if self.is_occupied() || wire.now_ns < self.fill_ns || self.destination(wire).is_none() {
            return;
        }
        let due = self.fill_ns;
        self.send_silence(wire, Maker::Silence);
        self.relayed_event = None;
        let frame = if law(agreement.send.0).is_some() { agreement.frame_ns() } else { 20 * MS };
        // Keeps its own pace; after a long pause it begins afresh.
        self.fill_ns = if wire.now_ns - due > 100 * MS { wire.now_ns + frame } else { due + frame };
    }

    fn report(&mut self, agreement: &Agreement, wire: &mut Wire<'_>, ntp: u64) {
        if self.receive.authenticated && self.transmit.srtp.is_none() {
            return;
        }
        let Some(remote) = self.receive.source.remote() else { return };
        let to = match &self.seat.sockets {
            Some((_, rtcp)) if !agreement.rtcp_mux => {
                let next = SocketAddr::new(remote.ip(), remote.port().saturating_add(1));
                // Where RTP comes from elsewhere than signalled, the signalled RTCP address is as wrong.
                let latched = Some(remote) != agreement.remote_rtp;
                (rtcp.as_raw_fd(), agreement.remote_rtcp.filter(|_| !latched).unwrap_or(next))
            }
            Some(_) | None => (self.socket(wire), remote),
        };
        let clock_rate = agreement.send.0.clock_rate();
        let sent = rtcp::Sent {
            ssrc: self.seat.ssrc,
            ntp,
            timestamp: self.transmit.timestamp_at(wire.now_ns, clock_rate),
            recent: self.transmit.packets - self.rtcp_packets,
            packets: self.transmit.packets,
            octets: self.transmit.octets,
        };
        self.rtcp_packets = self.transmit.packets;
        let peer = self.receive.ssrc.map(|ssrc| (ssrc, clock_rate));
        let (reception, now_ns) = (&mut self.receive.reception, wire.now_ns);
        self.transmit.send_rtcp(wire, to, |out| rtcp::write(out, sent, reception, peer, now_ns));
    }

    /// A compound RTCP packet came.
    pub fn hear_rtcp(&mut self, packet: &mut [u8], now_ns: u64, ntp: u64) {
        let len = match &mut self.receive.srtp {
            Some(srtp) => srtp.unprotect_rtcp(packet).ok(),
            None if self.receive.authenticated => None,
            None => Some(packet.len()),
        };
        let Some(packet) = len.and_then(|len| packet.get(..len)) else { return };
        if let Some(us) = rtcp::read(packet, self.seat.ssrc, &mut self.receive.reception, now_ns, ntp) {
            self.seat.round_trip_us.store(us, Ordering::Relaxed);
        }
    }
}

/// Copies into a packet; `None` when it does not fit.
pub fn copy(from: &[u8], to: &mut [u8]) -> Option<usize> {
    to.get_mut(..from.len())?.copy_from_slice(from);
    Some(from.len())
}
