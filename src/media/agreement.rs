//! What the two sides agreed on, as a media thread knows it.

use std::net::SocketAddr;
use std::time::Duration;

use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{Negotiated, Secured};

use super::receive::Kind;

/// Payload types of codecs that may be agreed.
const CODECS: usize = 8;
/// Payload types of telephone-event that may be agreed.
const EVENTS: usize = 4;

/// What was agreed, in the form a thread wants it: no heap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// The codec sent and its payload type.
    pub send: (Codec, u8),
    receive: [Option<(u8, Codec)>; CODECS],
    events: [Option<(u8, u32)>; EVENTS],
    /// telephone-event sent: payload type and clock rate.
    pub send_event: Option<(u8, u32)>,
    /// What a packet of ours holds, milliseconds.
    pub frame_ms: usize,
    /// From our point of view.
    pub direction: Direction,
    /// Where the peer wants RTP.
    pub remote_rtp: Option<SocketAddr>,
    /// Where it wants RTCP, where not on the next port.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTCP on the RTP port.
    pub rtcp_mux: bool,
    /// With keys that were agreed on with it; packets in the clear are refused.
    pub secured: bool,
    /// Report silence after this long.
    pub silence_ns: Option<u64>,
}

impl Agreement {
    /// From what the signalling agreed on.
    pub fn new(negotiated: &Negotiated, silence_after: Option<Duration>) -> Self {
        let mut receive = [None; CODECS];
        receive.iter_mut().zip(&negotiated.receive).for_each(|(r, l)| *r = Some((l.payload_type, l.codec)));
        let mut events = [None; EVENTS];
        events.iter_mut().zip(&negotiated.receive_events).for_each(|(e, t)| *e = Some((t.payload_type, t.clock_rate)));
        let codec = negotiated.send.codec;
        let frame_ms = match (codec, negotiated.ptime_ms) {
            (Codec::Opus, ms @ (10 | 20 | 40 | 60)) => ms.into(),
            (Codec::Pcmu | Codec::Pcma, ms @ 10..=60) if ms % 5 == 0 => ms.into(),
            // Nothing a frame of the codec can be: 20 ms, the default of RFC 3551 §4.2.
            (Codec::Opus | Codec::Pcmu | Codec::Pcma, _) => 20,
        };
        Self {
            send: (codec, negotiated.send.payload_type),
            receive,
            events,
            send_event: negotiated.send_event.map(|e| (e.payload_type, e.clock_rate)),
            frame_ms,
            direction: negotiated.direction,
            remote_rtp: negotiated.remote_rtp.filter(|a| !a.ip().is_unspecified() && a.port() != 0),
            remote_rtcp: negotiated.remote_rtcp.filter(|a| !a.ip().is_unspecified() && a.port() != 0),
            rtcp_mux: negotiated.rtcp_mux,
            secured: matches!(negotiated.secured, Secured::Sdes(_)),
            silence_ns: silence_after.map(|d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        }
    }
    /// What a payload type means, coming in.
    pub fn incoming(&self, payload_type: u8) -> Option<Kind> {
        let codec = self.receive.iter().flatten().find(|(pt, _)| *pt == payload_type);
        let event = || self.events.iter().flatten().find(|(pt, _)| *pt == payload_type);
        codec.map(|(_, codec)| Kind::Audio(*codec)).or_else(|| event().map(|(_, rate)| Kind::Event(*rate)))
    }
    /// Whether this codec may come in.
    pub fn takes(&self, codec: Codec) -> bool {
        self.receive.iter().flatten().any(|(_, c)| *c == codec)
    }
    /// Whether anything but this codec may come in.
    pub fn takes_other_than(&self, codec: Codec) -> bool {
        self.receive.iter().flatten().any(|(_, c)| *c != codec)
    }
    /// Timestamp units in a packet of ours.
    pub fn frame_units(&self) -> u32 {
        self.send.0.clock_rate() / 1000 * self.frame_ms as u32 // at most 60 ms
    }
    /// The same in nanoseconds.
    pub fn frame_ns(&self) -> u64 {
        self.frame_ms as u64 * 1_000_000
    }
}
