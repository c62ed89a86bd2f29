//! A media thread without its thread: the engine's [`Core`] on real loopback sockets, ticked by hand on a clock of its own. For
//! the benches, which compare it with a bare loop, and for the tests that count allocations. Not used by the switch.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tandem_actors::model::ids::{LegId, MediaId, WorkerId};
use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{CodecLine, Negotiated, Secured, TelephoneEvent};
use tandem_actors::ports::media::MediaEvent;

use super::agreement::Agreement;
use super::codec::opus::OpusSettings;
use super::codec::{Coder, CoderSpec, Rate};
use super::dtmf::Event;
use super::ports::{Ports, bind_socket};
use super::ring::{Command, DrainEnds, SlotId, rings};
use super::rtcp;
use super::rtp::Header;
use super::seat::{Seat, Station};
use super::session::{Attached, Session};
use super::socket::Epoll;
use super::srtp::{self, Keyed};
use super::stats::WorkerStats;
use super::worker::{Core, TICK, TOKEN_RTCP};
use crate::link::{ControlEnd, Datagram, Wake};
use tandem_actors::model::srtp::{MasterKey, SrtpProfile};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The payload type of telephone-event.
const EVENT: u8 = 101;

/// A peer with a socket of its own.
pub struct Peer {
    /// Its place on the worker.
    pub slot: u32,
    /// Its name.
    pub media: MediaId,
    socket: UdpSocket,
    theirs: SocketAddr,
    to: SocketAddr,
    codec: Codec,
    sent: u32,
    reports: u32,
    sender: Option<srtp::Sender>,
}

/// See the module.
pub struct Rig {
    core: Core,
    commands: rtrb::Producer<Command>,
    drain: DrainEnds,
    station: Arc<Station>,
    epoll: Arc<Epoll>,
    ports: Ports,
    now_ns: u64,
    opened: u64,
    control: ControlEnd,
}

impl Rig {
    /// Room for this many sessions, ports from this range.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn new(most: usize, ports: std::ops::RangeInclusive<u16>) -> std::io::Result<Self> {
        let station = Arc::new(Station {
            shared: bind_socket(SocketAddr::new(HERE, 0))?,
            epoch: AtomicU64::new(1),
            heartbeat: AtomicU64::new(0),
            idle: false.into(),
            stats: WorkerStats::default(),
        });
        let epoll = Arc::new(Epoll::new()?);
        let (commands, thread_ends, drain) = rings();
        let (end, control) = crate::link::ring(WorkerId(0), Arc::new(Wake::new()?), Arc::default());
        let core = Core::new(WorkerId(0), 1, most, station.clone(), epoll.clone(), thread_ends, end);
        let ports = Ports::new(ports, Duration::ZERO);
        Ok(Self { core, commands, drain, station, epoll, ports, now_ns: 1, opened: 0, control })
    }

    /// Opens a session at a place and gives it a peer; with SRTP it is on the shared port.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn open(&mut self, slot: u32, codec: Codec, secured: bool) -> std::io::Result<Peer> {
        let socket = bind_socket(SocketAddr::new(HERE, 0))?;
        let theirs = socket.local_addr()?;
        self.opened += 1;
        let media = MediaId(self.opened);
        let (to, sockets) = if secured {
            (self.station.shared.local_addr()?, None)
        } else {
            let bound = self.ports.bind(HERE, Instant::now());
            let (port, rtp, rtcp) = bound.map_err(|why| std::io::Error::other(format!("{why:?}")))?;
            self.ports.release(port, Instant::now());
            (SocketAddr::new(HERE, port), Some((rtp, rtcp)))
        };
        let seat = Arc::new(Seat::new(media, LegId(self.opened), sockets));
        if let Some((rtp, rtcp)) = &seat.sockets {
            use std::os::fd::AsRawFd;
            self.epoll.add(rtp.as_raw_fd(), slot.into())?;
            self.epoll.add(rtcp.as_raw_fd(), u64::from(slot) | TOKEN_RTCP)?;
        }
        self.order(Command::Open(slot, Box::new(Session::new(seat, false))));
        let (profile, key) = (SrtpProfile::AesCm128HmacSha1_80, MasterKey { key: [7; 32], salt: [7; 14] });
        let sender = secured.then(|| srtp::Sender::new(profile, &key));
        let peer = Peer { slot, media, socket, theirs, to, codec, sent: 0, reports: 0, sender };
        self.agree(&peer, true);
        if secured {
            let sender = Keyed { keys: 1, cipher: Box::new(srtp::Sender::new(profile, &key)) };
            let receiver = Keyed { keys: 1, cipher: Box::new(srtp::Receiver::new(profile, &key)) };
            self.order(Command::Secure(slot, media, Some(sender), Some(receiver)));
            self.order(Command::Path(slot, media, theirs));
        }
        Ok(peer)
    }

    /// Tells a session what was agreed; `events` says whether its peer takes telephone-event.
    pub(super) fn agree(&mut self, peer: &Peer, events: bool) {
        let line =
            CodecLine { payload_type: peer.codec.default_payload_type(), codec: peer.codec, parameters: String::new() };
        let event = TelephoneEvent { payload_type: EVENT, clock_rate: peer.codec.clock_rate() };
        let secured = peer.sender.is_some();
        let negotiated = Negotiated {
            send: line.clone(),
            receive: vec![line],
            send_event: events.then_some(event),
            receive_events: vec![event],
            ptime_ms: 20,
            direction: Direction::SendRecv,
            remote_rtp: (!secured).then_some(peer.theirs),
            remote_rtcp: None,
            rtcp_mux: secured,
            audio_level: None,
            secured: Secured::Plain,
        };
        self.order(Command::Configure(peer.slot, peer.media, Agreement::new(&negotiated, None)));
    }

    /// Joins two sessions; `transcode` says whether they need coders.
    pub fn bridge(&mut self, a: &Peer, b: &Peer, transcode: bool) {
        for (own, other) in [(a, b), (b, a)] {
            if transcode {
                let opus = own.codec == Codec::Opus;
                self.coder(own, CoderSpec { rate: Rate::Narrow, opus_in: opus, opus_out: opus });
            }
            self.order(Command::Attach(own.slot, own.media, Attached::Bridge(other.slot, other.media), None));
        }
    }

    /// Gives a session a coder.
    pub(super) fn coder(&mut self, peer: &Peer, spec: CoderSpec) {
        if let Ok(coder) = Coder::new(spec, OpusSettings::default()) {
            self.order(Command::Coder(peer.slot, peer.media, Box::new(coder)));
        }
    }

    /// Sends a command; it takes effect at the next tick.
    pub(super) fn order(&mut self, command: Command) {
        // overflow: DROPS; the callers tick between a handful of orders
        let _full = self.commands.push(command);
    }

    /// One tick, 5 ms later than the last.
    pub fn tick(&mut self) {
        self.now_ns += TICK.as_nanos() as u64;
        let _ends_never = self.core.tick(self.now_ns);
    }

    /// Frees what came back; returns the events.
    pub fn drain(&mut self) -> Vec<MediaEvent> {
        while self.drain.retired.pop().is_ok() {}
        std::iter::from_fn(|| self.drain.events.pop().ok()).collect()
    }

    /// Hands the thread a datagram of the control thread, to be sent from the shared port.
    pub fn link(&mut self, to: &Peer, payload: &[u8]) {
        if let Some(datagram) = Datagram::new(to.theirs, payload) {
            self.control.push(datagram);
        }
    }

    /// Takes what came for the control thread; returns how many datagrams.
    pub fn linked(&mut self) -> usize {
        std::iter::from_fn(|| self.control.pop()).count()
    }

    /// Packets sent so far by all sessions, and packets refused.
    pub fn counts(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let stats = &self.station.stats;
        (stats.received.load(Relaxed), stats.refused.iter().map(|r| r.load(Relaxed)).sum())
    }

    /// Closes a session.
    pub fn close(&mut self, peer: &Peer) {
        self.order(Command::Close(peer.slot as SlotId, peer.media));
    }
}

impl Peer {
    /// Where it sends from.
    pub fn address(&self) -> SocketAddr {
        self.theirs
    }

    /// Sends a packet of 20 ms.
    pub fn send(&mut self, payload: &[u8]) {
        let timestamp = (self.sent + 1).wrapping_mul(self.units());
        self.put(self.codec.default_payload_type(), timestamp, payload);
    }

    /// Sends the `n`-th packet of a digit in place of sound: five last, three end it.
    pub fn press(&mut self, code: u8, n: u16) {
        let began = (self.sent + 1 - u32::from(n)).wrapping_mul(self.units());
        let duration = (n + 1).min(5) * self.units() as u16; // at most 5 packets of 960
        self.put(EVENT, began, &Event { code, end: n >= 5, volume: 10, duration }.write());
    }

    /// Sends a report.
    pub fn report(&mut self, now_ns: u64) {
        let (ssrc, packets) = (self.media.0 as u32, self.sent.into());
        let sent = rtcp::Sent { ssrc, ntp: now_ns, timestamp: self.sent, recent: packets, packets, octets: 0 };
        let mut packet = [0u8; 256];
        let Some(len) = rtcp::write(&mut packet, sent, &mut rtcp::Reception::default(), Some((1, 8000)), now_ns) else {
            return;
        };
        self.reports += 1;
        let (len, to) = match &self.sender {
            Some(sender) => (sender.protect_rtcp(&mut packet, len, self.reports).unwrap_or(0), self.to),
            None => (len, SocketAddr::new(self.to.ip(), self.to.port() + 1)),
        };
        let _lost = self.socket.send_to(&packet[..len], to);
    }

    /// Sends these bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _lost = self.socket.send_to(bytes, self.to);
    }

    /// Units of its clock in 20 ms.
    fn units(&self) -> u32 {
        self.codec.clock_rate() / 50
    }

    fn put(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        self.sent += 1;
        let header = Header::write(payload_type, false, self.sent as u16, timestamp, self.media.0 as u32);
        let mut packet = [0u8; 1600];
        let len = header.len() + payload.len();
        packet[..header.len()].copy_from_slice(&header);
        packet[header.len()..len].copy_from_slice(payload);
        let len = match &self.sender {
            Some(sender) => sender.protect(&mut packet, len, self.sent.into()).unwrap_or(0),
            None => len,
        };
        // A full loopback queue loses a packet, as a network would.
        let _lost = self.socket.send_to(&packet[..len], self.to);
    }

    /// Takes what has come; returns how many packets and their octets.
    pub fn receive(&mut self) -> (usize, usize) {
        let (mut packets, mut octets, mut buffer) = (0, 0, [0u8; 2048]);
        while let Ok((n, _)) = self.socket.recv_from(&mut buffer) {
            packets += 1;
            octets += n;
        }
        (packets, octets)
    }
}
