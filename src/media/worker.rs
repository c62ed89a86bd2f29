//! A media thread: it owns its sessions, bridges and rooms outright and works on a 5 ms absolute tick.
//!
//! ```text
//!  each tick:  commands -> STUN/DTLS out -> shared port in -> RTP ports in -> room steps -> sessions' own steps -> flush
//! ```
//! Nothing on this thread locks, allocates, frees or logs; each packet and each session's step runs under `catch_unwind`, so
//! that a bug costs one session. [`Core`] is the thread without its clock: tests and `replace` drive it directly.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tandem_actors::model::ids::{MediaId, WorkerId};
use tandem_actors::ports::media::{MediaEvent, MediaEventKind};

use super::bridge;
use super::codec::MAX_SAMPLES;
use super::dtmf::Event;
use super::jitter::Arrival;
use super::mixer::{self, Room};
use super::paths::PATHS;
use super::receive::{Heard, Kind};
use super::ring::{RETIRED_BY_ONE, Retired, SlotId, ThreadEnds};
use super::rtp;
use super::seat::Station;
use super::session::{Attached, Session};
use super::socket::{BATCH, Epoll, Inbox, Outbox};
use super::stats::Refusal;
use super::transmit::Wire;
use crate::link::{Datagram, WorkerEnd};

/// The period.
pub const TICK: Duration = Duration::from_millis(5);
/// Ticks of a room's step.
pub const STEP_TICKS: u64 = 4;
/// Commands taken in one tick.
const COMMANDS_A_TICK: usize = 256;
/// Batches taken from the shared port in one tick.
const BATCHES_A_TICK: usize = 16;
/// RTP ports looked at in one system call, and how often in one tick.
const READY: usize = 256;
const ROUNDS: usize = 8;
/// Datagrams taken from one RTP port in one round.
const FROM_ONE_PORT: usize = 16;

/// Bit of an epoll token: the RTCP port of the pair.
pub const TOKEN_RTCP: u64 = 1 << 32;

/// The thread without its clock.
pub struct Core {
    pub(super) worker: WorkerId,
    epoch: u64,
    pub(super) station: Arc<Station>,
    epoll: Arc<Epoll>,
    pub(super) ends: ThreadEnds,
    link: WorkerEnd,
    pub(super) sessions: Vec<Option<Box<Session>>>,
    pub(super) open: usize,
    pub(super) rooms: Vec<Option<Box<Room>>>,
    /// Whose packets come from where, on the shared port: at most [`PATHS`] a session. Has twice the room that takes, so that it
    /// never grows.
    by_address: HashMap<SocketAddr, SlotId>,
    /// Lent out while its datagrams are worked on; always back by the end of the tick.
    inbox: Option<Inbox>,
    outbox: Outbox,
    ready: Box<[libc::epoll_event; READY]>,
    scratch: Box<[i16; MAX_SAMPLES]>,
    ticks: u64,
    pub(super) now_ns: u64,
    told: bool,
    pub(super) stop: Option<End>,
}

/// Why a thread ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// A successor owns the station.
    Fenced,
}

impl Core {
    /// Everything a thread will ever need; allocates, so made before the thread is.
    pub fn new(
        worker: WorkerId,
        epoch: u64,
        most_sessions: usize,
        station: Arc<Station>,
        epoll: Arc<Epoll>,
        ends: ThreadEnds,
        link: WorkerEnd,
    ) -> Self {
        Self {
            worker,
            epoch,
            station,
            epoll,
            ends,
            link,
            sessions: (0..most_sessions).map(|_| None).collect(),
            open: 0,
            rooms: (0..most_sessions).map(|_| None).collect(),
            by_address: HashMap::with_capacity(most_sessions * PATHS * 2),
            inbox: Some(Inbox::default()),
            outbox: Outbox::new(epoch),
            ready: Box::new([libc::epoll_event { events: 0, u64: 0 }; READY]),
            scratch: Box::new([0; MAX_SAMPLES]),
            ticks: 0,
            now_ns: 0,
            told: false,
            stop: None,
        }
    }

    /// One tick. Returns why the thread must end, if it must.
    pub fn tick(&mut self, now_ns: u64) -> Option<End> {
        if !self.station.owned_by(self.epoch) {
            return Some(End::Fenced);
        }
        self.now_ns = now_ns;
        self.ticks += 1;
        for _ in 0..COMMANDS_A_TICK {
            if self.ends.retired.slots() < RETIRED_BY_ONE {
                break;
            }
            let Ok(command) = self.ends.commands.pop() else { break };
            self.apply(command);
        }
        self.send_link();
        self.receive_shared();
        self.receive_ports();
        self.step_rooms();
        self.step_sessions();
        self.outbox.flush(&self.station);
        let (fresh, dropped) = self.ends.events.settle();
        self.station.stats.events_dropped.fetch_add(dropped, Ordering::Relaxed);
        self.station.heartbeat.fetch_add(1, Ordering::Release);
        self.told |= fresh;
        self.stop
    }

    /// Whether there are events since it was last asked.
    pub fn has_told(&mut self) -> bool {
        std::mem::take(&mut self.told)
    }

    /// Sets the time for commands applied before the first tick.
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Whether it has nothing to do between commands.
    pub fn is_idle(&self) -> bool {
        self.open == 0
    }

    /// Gives something back to be freed.
    pub(super) fn retire(&mut self, retired: Option<Retired>) {
        if let Some(retired) = retired
            && let Err(rtrb::PushError::Full(retired)) = self.ends.retired.push(retired)
        {
            // Cannot be (see `ring`), short of sessions failing by the thousand in one tick: leaking is better than freeing.
            std::mem::forget(retired);
        }
    }

    pub(super) fn session(&mut self, slot: SlotId, media: MediaId) -> Option<&mut Session> {
        self.sessions.get_mut(slot as usize)?.as_deref_mut().filter(|s| s.seat.media == media)
    }

    pub(super) fn room(&mut self, slot: SlotId) -> Option<&mut Room> {
        self.rooms.get_mut(slot as usize)?.as_deref_mut()
    }

    pub(super) fn leave_room(&mut self, attached: Attached, slot: SlotId) {
        if let Attached::Room(room) = attached
            && let Some(room) = self.room(room)
        {
            room.leave(slot);
        }
    }

    /// A session leaves its thread.
    pub(super) fn take_out(&mut self, slot: SlotId) {
        let Some(session) = self.sessions.get_mut(slot as usize).and_then(Option::take) else { return };
        self.open -= 1;
        self.leave_room(session.attached, slot);
        for path in session.paths.iter() {
            self.forget(path, slot);
        }
        self.retire(Some(session));
    }

    /// The path leads to this session no more; another one may have it by now.
    fn forget(&mut self, path: SocketAddr, slot: SlotId) {
        if self.by_address.get(&path) == Some(&slot) {
            self.by_address.remove(&path);
        }
    }

    pub(super) fn path(&mut self, slot: SlotId, media: MediaId, path: SocketAddr) {
        let Some(session) = self.session(slot, media) else { return };
        session.receive.source.signal(Some(path));
        // A peer's earlier paths stay known: its packets are authenticated wherever they come from.
        let oldest = session.paths.nominate(path);
        if let Some(oldest) = oldest {
            self.forget(oldest, slot);
        }
        self.by_address.insert(path, slot);
    }

    /// Works on one session; a panic retires it and nobody else.
    pub(super) fn with(
        &mut self,
        slot: SlotId,
        work: impl FnOnce(&mut Session, &mut Wire<'_>, &mut [i16; MAX_SAMPLES]),
    ) {
        let Some(session) = self.sessions.get_mut(slot as usize).and_then(Option::as_deref_mut) else { return };
        let mut wire = Wire {
            outbox: &mut self.outbox,
            events: &mut self.ends.events,
            station: &self.station,
            now_ns: self.now_ns,
        };
        let scratch = &mut self.scratch;
        if catch_unwind(AssertUnwindSafe(|| work(session, &mut wire, scratch))).is_err() {
            self.fail(slot);
        }
    }

    fn fail(&mut self, slot: SlotId) {
        self.station.stats.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(session) = self.sessions.get(slot as usize).and_then(Option::as_ref) {
            let (leg, media) = (session.seat.leg, session.seat.media);
            self.ends.events.push(MediaEvent { leg, media, kind: MediaEventKind::Failed });
        }
        self.take_out(slot);
    }

    fn send_link(&mut self) {
        let socket = self.station.shared.as_raw_fd();
        while let Some(datagram) = self.link.pop() {
            let payload = datagram.payload();
            self.outbox.push(&self.station, socket, datagram.peer, |out| super::session::copy(payload, out));
        }
    }

    /// The shared port: STUN and DTLS go to the control thread, RTP and RTCP to the session of their address (RFC 7983).
    fn receive_shared(&mut self) {
        let Some(mut inbox) = self.inbox.take() else { return };
        let mut linked = false;
        for _ in 0..BATCHES_A_TICK {
            let n = inbox.receive(self.station.shared.as_raw_fd(), BATCH);
            for i in 0..n {
                let Some((packet, from)) = inbox.datagram(i) else { continue };
                match packet.first() {
                    Some(0..=3 | 20..=63) => {
                        if let Some(datagram) = Datagram::new(from, packet) {
                            self.link.push(datagram);
                            linked = true;
                        }
                    }
                    Some(128..=191) => match self.by_address.get(&from) {
                        Some(&slot) if rtp::is_rtcp(packet) => self.hear_rtcp(slot, packet),
                        Some(&slot) => self.hear_rtp(slot, packet, from),
                        None => self.station.stats.refuse(Refusal::Source),
                    },
                    Some(_) | None => self.station.stats.refuse(Refusal::Malformed),
                }
            }
            if n < BATCH {
                break;
            }
        }
        if linked {
            self.link.wake();
        }
        self.inbox = Some(inbox);
    }

    /// The port pairs of plain RTP.
    fn receive_ports(&mut self) {
        let Some(mut inbox) = self.inbox.take() else { return };
        for _ in 0..ROUNDS {
            let n = self.epoll.poll(&mut self.ready[..]);
            for i in 0..n {
                let token = self.ready[i].u64;
                let slot = (token & 0xffff_ffff) as SlotId;
                let sockets =
                    self.sessions.get(slot as usize).and_then(Option::as_ref).and_then(|s| s.seat.sockets.as_ref());
                let Some((rtp_socket, rtcp_socket)) = sockets else { continue };
                let rtcp = token & TOKEN_RTCP != 0;
                let socket = if rtcp { rtcp_socket.as_raw_fd() } else { rtp_socket.as_raw_fd() };
                let got = inbox.receive(socket, FROM_ONE_PORT);
                for k in 0..got {
                    let Some((packet, from)) = inbox.datagram(k) else { continue };
                    if rtcp || rtp::is_rtcp(packet) {
                        self.hear_rtcp(slot, packet);
                    } else {
                        self.hear_rtp(slot, packet, from);
                    }
                }
            }
            if n < READY {
                break;
            }
        }
        self.inbox = Some(inbox);
    }

    fn hear_rtcp(&mut self, slot: SlotId, packet: &mut [u8]) {
        self.with(slot, |session, wire, _| session.hear_rtcp(packet, wire.now_ns, ntp_now()));
    }

    fn hear_rtp(&mut self, slot: SlotId, packet: &mut [u8], from: SocketAddr) {
        let mut taken = Err(Refusal::Malformed);
        let mut attached = Attached::Nothing;
        self.with(slot, |session, wire, _| {
            let agreement = session.agreement;
            taken = session.receive.take(packet, from, agreement.as_ref(), wire.now_ns);
            attached = session.attached;
            if taken.is_ok() {
                session.note_arrival(from, wire);
            }
        });
        let heard = match taken {
            Ok(heard) => heard,
            Err(why) => return self.station.stats.refuse(why),
        };
        self.station.stats.received.fetch_add(1, Ordering::Relaxed);
        if let Kind::Event(rate) = heard.kind {
            self.hear_event(slot, heard, rate, packet);
        }
        match attached {
            Attached::Nothing => {}
            Attached::Bridge(other, media) => self.forward(slot, other, media, heard, packet),
            Attached::Room(_) => self.with(slot, |session, wire, _| {
                let Kind::Audio(codec) = heard.kind else { return };
                let Some(payload) = packet.get(heard.header.start..heard.header.end) else { return };
                let Some(ms) = bridge::payload_ms(codec, payload) else {
                    return wire.station.stats.refuse(Refusal::Codec);
                };
                let media_ns = u64::from(heard.header.timestamp) * 1_000_000 / u64::from(codec.clock_rate() / 1000);
                if let Some(member) = &mut session.member {
                    member.hear(Arrival { index: heard.index, media_ns, now_ns: wire.now_ns, codec, ms, payload });
                }
            }),
        }
    }

    /// A digit is told to the leg, and sent in-band to a bridged party that takes no events.
    fn hear_event(&mut self, slot: SlotId, heard: Heard, rate: u32, packet: &[u8]) {
        let mut digit = None;
        self.with(slot, |session, wire, _| {
            let Some(event) = packet.get(heard.header.start..heard.header.end).and_then(Event::parse) else { return };
            let now = Duration::from_nanos(wire.now_ns);
            if let Some((d, duration)) = session.receive.listener.hear(event, heard.header.timestamp, rate, now) {
                session.tell(wire, MediaEventKind::Digit { digit: d, duration });
                digit = Some(d);
            }
        });
        if let Some(digit) = digit {
            self.pass_in_band(slot, digit);
        }
    }

    fn pass_in_band(&mut self, slot: SlotId, digit: tandem_actors::model::media::Digit) {
        if let Some((other, _)) = self.partner(slot) {
            self.with(other, |session, _, _| {
                if session.agreement.is_some_and(|a| a.send_event.is_none()) {
                    // overflow: DROPS; as for digits sent by order
                    let _full = session.send_digit(digit);
                }
            });
        }
    }

    /// The other side of a bridge, where each names the other.
    fn partner(&self, slot: SlotId) -> Option<(SlotId, MediaId)> {
        let session = self.sessions.get(slot as usize)?.as_ref()?;
        let Attached::Bridge(other, media) = session.attached else { return None };
        let partner = self.sessions.get(other as usize)?.as_ref().filter(|p| p.seat.media == media)?;
        (partner.attached == Attached::Bridge(slot, session.seat.media)).then_some((other, media))
    }

    fn forward(&mut self, slot: SlotId, other: SlotId, media: MediaId, heard: Heard, packet: &[u8]) {
        if self.partner(slot) != Some((other, media)) {
            return;
        }
        self.with_both(slot, other, |from, to, wire, scratch| {
            if let Err(why) = bridge::forward(from, to, heard, packet, wire, scratch) {
                wire.station.stats.refuse(why);
            }
        });
    }

    /// Works on both sides of a bridge; a panic retires the one that was heard.
    fn with_both(
        &mut self,
        slot: SlotId,
        other: SlotId,
        work: impl FnOnce(&mut Session, &mut Session, &mut Wire<'_>, &mut [i16; MAX_SAMPLES]),
    ) {
        let Ok([Some(from), Some(to)]) = self.sessions.get_disjoint_mut([slot as usize, other as usize]) else {
            return;
        };
        let mut wire = Wire {
            outbox: &mut self.outbox,
            events: &mut self.ends.events,
            station: &self.station,
            now_ns: self.now_ns,
        };
        let scratch = &mut self.scratch;
        if catch_unwind(AssertUnwindSafe(|| work(from, to, &mut wire, scratch))).is_err() {
            self.fail(slot);
        }
    }

    fn step_rooms(&mut self) {
        for slot in 0..self.rooms.len() {
            let Some(mut room) = self.rooms[slot].take_if(|r| r.phase == self.ticks % STEP_TICKS && r.len() > 0) else {
                continue;
            };
            room.clear();
            for n in 0..room.len() {
                let Some(member) = room.member(n) else { continue };
                self.with(member, |session, _, scratch| mixer::pull(session, scratch));
                if let Some(session) = self.sessions.get(member as usize).and_then(Option::as_ref) {
                    room.add(session);
                }
            }
            for n in 0..room.len() {
                let Some(member) = room.member(n) else { continue };
                self.with(member, |session, wire, _| room.send(session, wire));
            }
            // A member that failed in this step could not leave while the room was lent out.
            let mut n = 0;
            while let Some(member) = room.member(n) {
                match self.sessions.get(member as usize) {
                    Some(Some(_)) => n += 1,
                    Some(None) | None => room.leave(member),
                }
            }
            self.rooms[slot] = Some(room);
        }
    }

    fn step_sessions(&mut self) {
        for slot in 0..self.sessions.len() {
            if self.sessions[slot].is_none() {
                continue;
            }
            let slot = slot as SlotId; // at most max_sessions
            let mut digit = None;
            let mut due = false;
            self.with(slot, |session, wire, _| {
                digit = session.tick(wire, ntp_now);
                due = session.order.is_due(wire.now_ns);
            });
            if let Some(digit) = digit {
                self.pass_in_band(slot, digit);
            }
            if due && let Some((other, _)) = self.partner(slot) {
                self.with_both(slot, other, bridge::release);
            }
        }
    }
}

/// Wall clock as NTP: seconds since 1900 and their fraction (RFC 3550 §4).
fn ntp_now() -> u64 {
    const SINCE_1900: u64 = 2_208_988_800;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs().wrapping_add(SINCE_1900) << 32) | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000)
}
