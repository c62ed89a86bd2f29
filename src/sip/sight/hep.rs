//! HEP3 export (Homer's encapsulation, "HEP3" rev. 11): every SIP message with its addresses and time, and reports of media, to a
//! collector over UDP. It never blocks: what the queue has no room for is dropped and counted. The correlation id is our call id
//! where the call is known, else the Call-ID.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use metrics::{counter, describe_counter};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Packets that wait for the collector's socket. // overflow: DROPS, counted
const QUEUE: usize = 4096;
/// How often the collector's name is looked up again, and how soon after a failure.
const LOOK_UP: Duration = Duration::from_secs(60);
/// Longest payload: with its chunks it must fit into a datagram.
const LONGEST: usize = 60_000;

const SENT: &str = "tandem_hep_sent_total";
const DROPPED: &str = "tandem_hep_dropped_total";

/// Describes its metrics.
pub fn describe() {
    describe_counter!(SENT, "HEP packets sent to the collector");
    describe_counter!(DROPPED, "HEP packets that were dropped, by reason: queue_full, unresolved, send_failed");
}

/// Where and as whom.
#[derive(Debug, Clone)]
pub struct HepConfig {
    /// `host:port` of the collector.
    pub collector: String,
    /// Our number there.
    pub capture_id: u32,
    /// Shared with the collector; empty: none.
    pub password: String,
    /// Wall time and the instant it was read at: time stamps are that and what has elapsed.
    pub began: (SystemTime, Instant),
}

/// What a packet's payload is, by its number in HEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A SIP message.
    Sip = 1,
    /// A report of a media session, in JSON as RTCP agents write it.
    Rtcp = 5,
}

/// One thing to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Over a stream.
    pub reliable: bool,
    /// When.
    pub at: Instant,
    /// Our call id, else the Call-ID.
    pub correlation: String,
    /// What the payload is.
    pub kind: Payload,
    /// The SIP message, or the report.
    pub payload: Vec<u8>,
}

/// The way to the collector.
#[derive(Debug, Clone)]
pub struct Hep {
    queue: mpsc::Sender<Packet>,
}

impl Hep {
    /// Begins to export; ends with its last handle. Must be called inside a tokio runtime.
    pub fn start(config: HepConfig) -> Self {
        let (queue, packets) = mpsc::channel(QUEUE);
        tokio::spawn(run(config, packets));
        Self { queue }
    }

    /// Exports one.
    pub fn send(&self, packet: Packet) {
        if self.queue.try_send(packet).is_err() {
            counter!(DROPPED, "reason" => "queue_full").increment(1);
        }
    }
}

async fn run(config: HepConfig, mut packets: mpsc::Receiver<Packet>) {
    let mut socket: Option<UdpSocket> = None;
    let mut look_up_at = Instant::now();
    while let Some(packet) = packets.recv().await {
        if Instant::now() >= look_up_at {
            look_up_at = Instant::now() + LOOK_UP;
            match connect(&config.collector).await {
                Ok(connected) => socket = Some(connected),
                // The last one's address is as good as any.
                Err(error) => tracing::warn!(collector = %config.collector, %error, "the HEP collector is not found"),
            }
        }
        let Some(socket) = &socket else {
            counter!(DROPPED, "reason" => "unresolved").increment(1);
            continue;
        };
        match socket.send(&encode(&config, &packet)).await {
            Ok(_) => counter!(SENT).increment(1),
            // Nobody listens there, or it is too long.
            Err(_) => counter!(DROPPED, "reason" => "send_failed").increment(1),
        }
    }
}

async fn connect(collector: &str) -> std::io::Result<UdpSocket> {
    let mut last = std::io::Error::other("it has no address");
    for address in tokio::net::lookup_host(collector).await? {
        let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let connected = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        match connected.await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One packet as HEP3: the magic, the length, and chunks of vendor 0.
fn encode(config: &HepConfig, packet: &Packet) -> BytesMut {
    let mut out = BytesMut::with_capacity(packet.payload.len() + 160);
    out.put_slice(b"HEP3\0\0");
    let v4 = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    let (family, addresses) = match (v4(packet.from.ip()), v4(packet.to.ip())) {
        (Some(from), Some(to)) => (2, [(3, from.octets().to_vec()), (4, to.octets().to_vec())]),
        _ => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            (10, [(5, v6(packet.from.ip())), (6, v6(packet.to.ip()))])
        }
    };
    let (wall, instant) = config.began;
    let at = wall + packet.at.saturating_duration_since(instant);
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    chunk(&mut out, 1, &[family]);
    chunk(&mut out, 2, &[if packet.reliable { 6 } else { 17 }]);
    for (kind, octets) in &addresses {
        chunk(&mut out, *kind, octets);
    }
    chunk(&mut out, 7, &packet.from.port().to_be_bytes());
    chunk(&mut out, 8, &packet.to.port().to_be_bytes());
    chunk(&mut out, 9, &u32::try_from(at.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    chunk(&mut out, 10, &at.subsec_micros().to_be_bytes());
    chunk(&mut out, 11, &[packet.kind as u8]);
    chunk(&mut out, 12, &config.capture_id.to_be_bytes());
    if !config.password.is_empty() {
        chunk(&mut out, 14, config.password.as_bytes());
    }
    chunk(&mut out, 17, packet.correlation.as_bytes().get(..256).unwrap_or(packet.correlation.as_bytes()));
    chunk(&mut out, 15, packet.payload.get(..LONGEST).unwrap_or(&packet.payload));
    let length = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
    for (place, octet) in out.iter_mut().skip(4).zip(length) {
        *place = octet;
    }
    out
}

fn chunk(out: &mut BytesMut, kind: u16, value: &[u8]) {
    out.put_u16(0);
    out.put_u16(kind);
    out.put_u16(u16::try_from(value.len() + 6).unwrap_or(u16::MAX));
    out.put_slice(value);
}
