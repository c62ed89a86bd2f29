//! A two-party bridge: what one side said goes to the other within the tick that received it, on the sender's clock.
//!
//! Same codec: relayed as it is, losses and order included. Otherwise decoded and encoded packet by packet at 8 kHz; a packet
//! that came too early waits for the missing one until the next packet or one ptime, then up to [`CONCEALED`] missing packets are
//! made up. Events (RFC 4733) are relayed one for one, translated to the other side's payload type and clock.

use tandem_actors::model::media::Codec;

use super::codec::{MAX_SAMPLES, law, opus};
use super::dtmf::{Event, convert_duration};
use super::receive::{Heard, Kind};
use super::rtp::MAX_DROPOUT;
use super::session::{Session, copy};
use super::stats::Refusal;
use super::transmit::{Maker, Wire};

/// Missing packets that are made up; a longer gap is a pause.
pub const CONCEALED: u64 = 3;
/// A packet that came too early waits at most this long.
const PATIENCE_NS: u64 = 20_000_000;
/// Longest payload that can wait: an Opus packet of RFC 6716 §3.2.
const PAYLOAD: usize = 1500;

/// Puts the packets of one sender in order for transcoding.
pub struct Order {
    /// The stream put in order; another one begins afresh.
    ssrc: u32,
    next: Option<u64>,
    /// Timestamp at which the next packet should begin.
    expected_timestamp: u32,
    /// Milliseconds of the last packet.
    ms: usize,
    held: Option<Held>,
    bytes: Box<[u8; PAYLOAD]>,
}

#[derive(Clone, Copy)]
struct Held {
    index: u64,
    timestamp: u32,
    codec: Codec,
    len: usize,
    since_ns: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self { ssrc: 0, next: None, expected_timestamp: 0, ms: 20, held: None, bytes: Box::new([0; PAYLOAD]) }
    }
}

impl Order {
    /// Forgets the stream, without giving up its buffer.
    pub fn reset(&mut self) {
        (self.next, self.held, self.ms) = (None, None, 20);
    }
    /// Whether a packet waits that has waited long enough.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.held.is_some_and(|held| now_ns.saturating_sub(held.since_ns) >= PATIENCE_NS)
    }
}

/// Milliseconds a payload holds; `None` when it cannot be.
pub fn payload_ms(codec: Codec, payload: &[u8]) -> Option<usize> {
    let ms = match law(codec) {
        Some(_) => payload.len() / 8,
        None => opus::duration_48k(payload)? as usize / 48,
    };
    (1..=120).contains(&ms).then_some(ms)
}

/// Passes a packet of `from` to the party of `to`.
///
/// # Errors
/// When the packet makes no sense as what it claims to be, or cannot be converted.
pub fn forward(
    from: &mut Session,
    to: &mut Session,
    heard: Heard,
    packet: &[u8],
    wire: &mut Wire<'_>,
    scratch: &mut [i16; MAX_SAMPLES],
) -> Result<(), Refusal> {
    let payload = packet.get(heard.header.start..heard.header.end).ok_or(Refusal::Malformed)?;
    match heard.kind {
        Kind::Nothing => Ok(()),
        Kind::Event(rate) => {
            let event = Event::parse(payload).ok_or(Refusal::Malformed)?;
            from.order.next = from.order.next.map(|next| next.max(heard.index + 1));
            relay_event(from, to, heard, event, rate, wire);
            Ok(())
        }
        Kind::Audio(codec) => {
            let ms = payload_ms(codec, payload).ok_or(Refusal::Codec)?;
            let Some((send, frame_ms)) = to.agreement.map(|a| (a.send, a.frame_ms)) else { return Ok(()) };
            if to.destination(wire).is_none() || to.is_occupied() {
                from.order.reset();
                return Ok(());
            }
            to.relayed_event = None;
            // Opus is passed on whatever its length: a receiver must take any (RFC 7587 §4.2).
            if codec == send.0 && to.fifo.is_empty() && (codec == Codec::Opus || ms == frame_ms) {
                from.order.reset();
                let (ssrc, clock_rate) = (heard.header.ssrc, codec.clock_rate());
                let place = to.transmit.relay(ssrc, heard.index, heard.header.timestamp, wire.now_ns, clock_rate);
                if let Some(mut place) = place {
                    place.marker |= heard.header.marker;
                    to.send_sound(wire, (place, ms as u32 * clock_rate / 1000), |out| copy(payload, out));
                }
                return Ok(());
            }
            if from.coder.is_none() || to.coder.is_none() {
                return Err(Refusal::Codec);
            }
            put_in_order(from, to, heard, codec, payload, wire, scratch)
        }
    }
}

fn put_in_order(
    from: &mut Session,
    to: &mut Session,
    heard: Heard,
    codec: Codec,
    payload: &[u8],
    wire: &mut Wire<'_>,
    scratch: &mut [i16; MAX_SAMPLES],
) -> Result<(), Refusal> {
    let (index, timestamp) = (heard.index, heard.header.timestamp);
    let restarted = from.order.next.is_some_and(|next| index.abs_diff(next) > MAX_DROPOUT as u64);
    if restarted || from.order.ssrc != heard.header.ssrc {
        from.order.reset();
        from.order.ssrc = heard.header.ssrc;
        to.transmit.interrupt();
        to.fifo.clear();
    }
    let next = *from.order.next.get_or_insert(index);
    if index < next {
        return Ok(()); // its place was made up
    }
    if index > next && index - next <= CONCEALED && from.order.held.is_none() {
        let Some(place) = from.order.bytes.get_mut(..payload.len()) else { return Err(Refusal::Codec) };
        place.copy_from_slice(payload);
        from.order.held = Some(Held { index, timestamp, codec, len: payload.len(), since_ns: wire.now_ns });
        return Ok(());
    }
    // What waits goes first if it is earlier.
    if index > next && from.order.held.is_some_and(|held| held.index < index) {
        release(from, to, wire, scratch);
    }
    let next = from.order.next.unwrap_or(index);
    if index > next && index - next <= CONCEALED {
        make_up(from, to, codec, (index - next) as usize, wire, scratch);
    } else if index > next {
        to.transmit.interrupt();
        to.fifo.clear();
    }
    let played = play(from, to, index, timestamp, codec, payload, wire, scratch);
    if from.order.held.is_some_and(|held| held.index == index + 1) {
        release(from, to, wire, scratch);
    }
    if from.order.held.is_some_and(|held| from.order.next.is_some_and(|next| held.index < next)) {
        from.order.held = None;
    }
    played
}

/// Plays what waits, making up what is missing before it.
pub fn release(from: &mut Session, to: &mut Session, wire: &mut Wire<'_>, scratch: &mut [i16; MAX_SAMPLES]) {
    let Some(held) = from.order.held.take() else { return };
    let next = from.order.next.unwrap_or(held.index);
    if to.destination(wire).is_none() || to.is_occupied() || held.index < next {
        return;
    }
    let missing = held.index - next;
    if (1..=CONCEALED).contains(&missing) {
        make_up(from, to, held.codec, missing as usize, wire, scratch);
    }
    // Copied out, since the session is borrowed whole below; a packet that came too early is rare.
    let mut payload = [0; PAYLOAD];
    payload[..held.len].copy_from_slice(&from.order.bytes[..held.len]);
    let _undecodable = play(from, to, held.index, held.timestamp, held.codec, &payload[..held.len], wire, scratch);
}

fn make_up(
    from: &mut Session,
    to: &mut Session,
    codec: Codec,
    packets: usize,
    wire: &mut Wire<'_>,
    scratch: &mut [i16; MAX_SAMPLES],
) {
    for _ in 0..packets {
        let ms = from.order.ms;
        let Some(coder) = &mut from.coder else { return };
        let n = coder.conceal(codec, ms, scratch);
        to.send_samples(wire, Maker::Bridge, &scratch[..n]);
        from.order.expected_timestamp =
            from.order.expected_timestamp.wrapping_add(ms as u32 * (codec.clock_rate() / 1000));
    }
}

#[expect(clippy::too_many_arguments, reason = "one packet's facts, used by the two callers above only")]
fn play(
    from: &mut Session,
    to: &mut Session,
    index: u64,
    timestamp: u32,
    codec: Codec,
    payload: &[u8],
    wire: &mut Wire<'_>,
    scratch: &mut [i16; MAX_SAMPLES],
) -> Result<(), Refusal> {
    let per_ms = codec.clock_rate() / 1000;
    // The sender was silent on purpose (DTX, a digit): time passed that has no packets. 40 ms of slack for odd clocks.
    let skipped = timestamp.wrapping_sub(from.order.expected_timestamp) as i32;
    if from.order.next == Some(index) && skipped.unsigned_abs() > 40 * per_ms {
        to.transmit.interrupt();
        to.fifo.clear();
    }
    from.order.next = Some(index + 1);
    let ms = payload_ms(codec, payload).ok_or(Refusal::Codec)?;
    from.order.ms = ms;
    from.order.expected_timestamp = timestamp.wrapping_add(ms as u32 * per_ms);
    let coder = from.coder.as_mut().ok_or(Refusal::Codec)?;
    let n = coder.decode(codec, payload, scratch).ok_or(Refusal::Codec)?;
    to.send_samples(wire, Maker::Bridge, &scratch[..n]);
    Ok(())
}

/// Passes an event on, where the other side takes events; where it does not, the digit is sent in-band once it ended.
fn relay_event(from: &mut Session, to: &mut Session, heard: Heard, event: Event, rate: u32, wire: &mut Wire<'_>) {
    let Some((payload_type, to_rate)) = to.agreement.and_then(|a| a.send_event) else { return };
    let Some(destination) = to.destination(wire).filter(|_| !to.is_occupied()) else { return };
    let clock_rate = to.agreement.map_or(8000, |a| a.send.0.clock_rate());
    let incoming = heard.header.timestamp;
    let in_step = from.receive.ssrc.is_some_and(|ssrc| to.transmit.relays(ssrc));
    let known = to.relayed_event.filter(|(before, _)| *before == incoming);
    let mut place = if in_step {
        let placed = to.transmit.relay(heard.header.ssrc, heard.index, incoming, wire.now_ns, clock_rate);
        let Some(place) = placed else { return };
        place
    } else {
        to.transmit.event(incoming, known.is_none())
    };
    let (_, outgoing) = *to.relayed_event.insert(known.unwrap_or_else(|| {
        let in_time = in_step && rate == to_rate;
        (incoming, if in_time { place.timestamp } else { to.transmit.timestamp_at(wire.now_ns, clock_rate) })
    }));
    place.timestamp = outgoing;
    place.marker |= known.is_none();
    if !in_step {
        // Sound after the event begins anew, by the time that passed.
        to.transmit.interrupt();
        to.fifo.clear();
    }
    let event = Event { duration: convert_duration(event.duration, rate, to_rate), ..event };
    to.transmit.send(wire, destination, payload_type, (place, 0), |out| copy(&event.write(), out));
    to.postpone_filling(wire.now_ns);
}
