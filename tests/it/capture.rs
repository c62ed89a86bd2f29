//! What the switch really sent: RTP seen on the loopback interface by a packet socket (needs root, as the peers' installation
//! does). A recording on the far side has the peer's own faults in it; this has ours alone.

use std::mem::{size_of, size_of_val, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::tone::Pcm;

/// One RTP packet as it passed; payload encrypted where the leg is.
#[derive(Debug, Clone)]
pub struct Packet {
    pub at: Instant,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
}

/// A running capture.
pub struct Capture {
    packets: Arc<Mutex<Vec<Packet>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts capturing every RTP packet on the loopback interface.
    pub fn start() -> Self {
        let socket = open();
        let (packets, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, until) = (packets.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0u8; 2048];
            while !until.load(Ordering::Relaxed) {
                if let Some(packet) = receive(socket, &mut buffer) {
                    into.lock().expect("the capture").push(packet);
                }
            }
            // SAFETY: our own descriptor, closed once.
            unsafe { libc::close(socket) };
        });
        Self { packets, stop, thread: Some(thread) }
    }

    /// The packets so far that are wanted.
    pub fn filter(&self, keep: impl Fn(&Packet) -> bool) -> Stream {
        Stream(self.packets.lock().expect("the capture").iter().filter(|packet| keep(packet)).cloned().collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Packets of one direction, in order of arrival.
#[derive(Debug, Clone)]
pub struct Stream(pub Vec<Packet>);

impl Stream {
    /// Keeps what came between two moments.
    pub fn between(&self, from: Instant, to: Instant) -> Stream {
        Stream(self.0.iter().filter(|packet| packet.at >= from && packet.at <= to).cloned().collect())
    }

    /// The longest time between two packets.
    pub fn longest_gap(&self) -> Duration {
        self.0.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default()
    }

    /// Asserts that whoever sent this added no gap above `gap_ms` to what it was `given`: what a peer does not send in time, none
    /// can relay in time.
    #[track_caller]
    pub fn assert_steady(&self, what: &str, given: &Stream, gap_ms: u64) {
        const RELAYED: Duration = Duration::from_millis(20);
        let (sent, received) = (self.longest_gap(), given.longest_gap());
        assert!(
            sent <= Duration::from_millis(gap_ms).max(received + RELAYED),
            "{what}: a gap of {sent:?}, where the peer's own packets had {received:?}"
        );
    }

    /// Distinct SSRCs, in order.
    pub fn ssrcs(&self) -> Vec<u32> {
        let mut seen = Vec::new();
        for packet in &self.0 {
            if !seen.contains(&packet.ssrc) {
                seen.push(packet.ssrc);
            }
        }
        seen
    }

    /// G.711 payload types 0 and 8, decoded and laid out by RTP timestamp: what is missing is silence.
    pub fn g711(&self) -> Pcm {
        let audio: Vec<&Packet> = self.0.iter().filter(|packet| matches!(packet.payload_type, 0 | 8)).collect();
        let mut samples: Vec<i16> = Vec::new();
        if let Some(first) = audio.first() {
            for packet in &audio {
                let start = packet.timestamp.wrapping_sub(first.timestamp) as usize;
                if start > 8000 * 600 {
                    continue;
                }
                let end = start + packet.payload.len();
                if samples.len() < end {
                    samples.resize(end, 0);
                }
                for (sample, &byte) in samples[start..end].iter_mut().zip(&packet.payload) {
                    *sample = if packet.payload_type == 0 { from_mu_law(byte) } else { from_a_law(byte) };
                }
            }
        }
        Pcm { samples, rate: 8000 }
    }

    /// Digits of RFC 4733 events of this payload type, one for each event (told apart by their timestamp).
    pub fn digits(&self, payload_type: u8) -> String {
        let mut seen = Vec::new();
        for packet in self.0.iter().filter(|packet| packet.payload_type == payload_type) {
            if let Some(&event) = packet.payload.first()
                && !seen.iter().any(|&(timestamp, _)| timestamp == packet.timestamp)
            {
                seen.push((packet.timestamp, event));
            }
        }
        seen.iter().filter_map(|&(_, event)| "0123456789*#ABCD".chars().nth(event.into())).collect()
    }
}

/// ITU-T G.711 tables 2a and 1a, written out here so that the test does not trust the switch's own codec.
fn from_mu_law(byte: u8) -> i16 {
    let u = !byte;
    let magnitude = ((i16::from(u & 0x0f) << 3) + 0x84) << ((u & 0x70) >> 4);
    if u & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

fn from_a_law(byte: u8) -> i16 {
    let a = byte ^ 0x55;
    let (segment, step) = ((a & 0x70) >> 4, i16::from(a & 0x0f) << 4);
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if a & 0x80 != 0 { magnitude } else { -magnitude }
}

fn open() -> i32 {
    // SAFETY: plain socket calls on structures of ours that live through each call.
    unsafe {
        let protocol = (libc::ETH_P_IP as u16).to_be();
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM, i32::from(protocol));
        assert!(socket >= 0, "a packet socket needs root: {}", std::io::Error::last_os_error());
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::if_nametoindex(c"lo".as_ptr()) as i32;
        let bound = libc::bind(socket, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32);
        assert_eq!(bound, 0, "bind to lo: {}", std::io::Error::last_os_error());
        let size: i32 = 16 << 20;
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const size).cast(), 4);
        let yes: i32 = 1;
        let stamped = libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const yes).cast(), 4);
        assert_eq!(stamped, 0, "kernel timestamps: {}", std::io::Error::last_os_error());
        let timeout = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
        let len = size_of::<libc::timeval>() as u32;
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const timeout).cast(), len);
        socket
    }
}

fn receive(socket: i32, buffer: &mut [u8]) -> Option<Packet> {
    // SAFETY: buffer, address and control live through the calls; the kernel says how much of each it filled.
    let (len, kind, stamp) = unsafe {
        let mut from: libc::sockaddr_ll = zeroed();
        let mut control = [0u64; 8];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut message: libc::msghdr = zeroed();
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let len = libc::recvmsg(socket, &raw mut message, 0);
        if len <= 0 {
            return None;
        }
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        assert!(!head.is_null() && (*head).cmsg_type == libc::SO_TIMESTAMPNS, "a packet without a timestamp");
        (len, from.sll_pkttype, libc::CMSG_DATA(head).cast::<libc::timespec>().read_unaligned())
    };
    // Loopback shows each packet leaving and arriving; one is enough.
    if kind == libc::PACKET_OUTGOING {
        return None;
    }
    // When the kernel had it, not when this thread was given a turn.
    let stamp = SystemTime::UNIX_EPOCH + Duration::new(stamp.tv_sec as u64, stamp.tv_nsec as u32);
    let at = Instant::now() - stamp.elapsed().unwrap_or_default();
    let ip = &buffer[..len as usize];
    let header = usize::from(ip.first()? & 0x0f) * 4;
    if ip.get(9) != Some(&17) {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    let udp = ip.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    let rtp = udp.get(8..)?;
    if rtp.len() < 12 || rtp[0] >> 6 != 2 || (192..=223).contains(&rtp[1]) {
        return None;
    }
    let mut start = 12 + usize::from(rtp[0] & 0x0f) * 4;
    if rtp[0] & 0x10 != 0 {
        start += 4 + 4 * usize::from(u16::from_be_bytes([*rtp.get(start + 2)?, *rtp.get(start + 3)?]));
    }
    Some(Packet {
        at,
        from: SocketAddrV4::new(address(12)?, port(0)?).into(),
        to: SocketAddrV4::new(address(16)?, port(2)?).into(),
        payload_type: rtp[1] & 0x7f,
        sequence: u16::from_be_bytes([rtp[2], rtp[3]]),
        timestamp: u32::from_be_bytes([rtp[4], rtp[5], rtp[6], rtp[7]]),
        ssrc: u32::from_be_bytes([rtp[8], rtp[9], rtp[10], rtp[11]]),
        payload: rtp.get(start..)?.to_vec(),
    })
}
