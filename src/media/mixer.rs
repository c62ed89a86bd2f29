//! A room: everybody hears everybody else (N-1), mixed at 16 kHz in steps of 20 ms. Who speaks is encoded for alone; all
//! Opus listeners hear the same and share one encoder. A room where nobody speaks mixes and encodes nothing.

use tandem_actors::model::media::Codec;

use super::codec::opus::{Encoder, OpusError, OpusSettings};
use super::codec::{MAX_SAMPLES, Rate};
use super::jitter::{Arrival, Jitter, Next};
use super::ring::SlotId;
use super::session::{Session, copy};
use super::transmit::{Maker, Wire};

/// Members of one room at most.
pub const MEMBERS: usize = 256;
/// Samples of one step.
const FRAME: usize = 320;
/// A frame louder than this (mean square; about -55 dBov) is speech…
const SPEECH: i64 = 3600;
/// …and the pauses of speech last this many steps.
const HANGOVER: u32 = 25;
/// Packets made up when none came, before silence.
const MADE_UP: u32 = 3;

/// A session's state as a member.
pub struct Member {
    jitter: Jitter,
    waiting: [i16; MAX_SAMPLES + FRAME],
    len: usize,
    frame: [i16; FRAME],
    /// Steps it still counts as speaking.
    speaking: u32,
    starved: u32,
    codec: Codec,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            jitter: Jitter::default(),
            waiting: [0; MAX_SAMPLES + FRAME],
            len: 0,
            frame: [0; FRAME],
            speaking: 0,
            starved: MADE_UP,
            codec: Codec::Pcmu,
        }
    }
}

impl Member {
    /// A packet of its party.
    pub fn hear(&mut self, arrival: Arrival<'_>) {
        self.jitter.push(arrival);
    }
    fn is_speaking(&self) -> bool {
        self.speaking > 0
    }
    fn append(&mut self, samples: &[i16]) {
        if let Some(place) = self.waiting.get_mut(self.len..self.len + samples.len()) {
            place.copy_from_slice(samples);
            self.len += samples.len();
        }
    }
}

/// Takes the next 20 ms out of a member's buffer.
pub fn pull(session: &mut Session, scratch: &mut [i16; MAX_SAMPLES]) {
    let (Some(member), Some(coder)) = (&mut session.member, &mut session.coder) else { return };
    if coder.rate() != Rate::Wide {
        return;
    }
    catch_up(member);
    while member.len < FRAME {
        let n = match member.jitter.pop() {
            Next::Packet(codec, payload) => {
                (member.codec, member.starved) = (codec, 0);
                coder.decode(codec, payload, scratch).unwrap_or(0)
            }
            Next::Lost(codec, ms) => coder.conceal(codec, ms, scratch),
            Next::Empty if member.starved < MADE_UP => {
                member.starved += 1;
                coder.conceal(member.codec, 20, scratch)
            }
            Next::Empty => break,
        };
        if n == 0 {
            break;
        }
        member.append(&scratch[..n]);
    }
    let n = member.len.min(FRAME);
    member.frame[..n].copy_from_slice(&member.waiting[..n]);
    member.frame[n..].fill(0);
    member.waiting.copy_within(n..member.len, 0);
    member.len -= n;
    let energy: i64 = member.frame.iter().map(|s| i64::from(*s) * i64::from(*s)).sum();
    member.speaking = if energy / FRAME as i64 > SPEECH { HANGOVER } else { member.speaking.saturating_sub(1) };
}

/// A buffer that grew too deep (a slow route that became quick, a sender whose clock runs fast) loses a packet: in a pause where
/// it can wait for one, at once where it cannot.
fn catch_up(member: &mut Member) {
    let excess = member.jitter.level_ms().saturating_sub(member.jitter.target_ms());
    if excess > 120 || (excess > 40 && !member.is_speaking()) {
        member.jitter.skip();
    }
}

/// A room on its thread.
pub struct Room {
    members: Vec<SlotId>,
    /// Which of the four ticks of a step is its.
    pub phase: u64,
    mix: [i32; FRAME],
    speakers: usize,
    shared: Encoder,
    packet: [u8; 1500],
    packet_len: Option<usize>,
}

impl Room {
    /// An empty room; allocates, so never on a media thread.
    ///
    /// # Errors
    /// When libopus gives no memory.
    pub fn new(phase: u64, settings: OpusSettings) -> Result<Self, OpusError> {
        Ok(Self {
            members: Vec::with_capacity(MEMBERS),
            phase: phase & 3,
            mix: [0; FRAME],
            speakers: 0,
            shared: Encoder::new(Rate::Wide, settings)?,
            packet: [0; 1500],
            packet_len: None,
        })
    }
    /// Somebody comes; a full room takes nobody (the control side counts).
    pub fn join(&mut self, slot: SlotId) {
        if !self.members.contains(&slot) && self.members.len() < self.members.capacity() {
            self.members.push(slot);
        }
    }
    /// Somebody goes.
    pub fn leave(&mut self, slot: SlotId) {
        self.members.retain(|member| *member != slot);
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }
    /// The `n`-th.
    pub fn member(&self, n: usize) -> Option<SlotId> {
        self.members.get(n).copied()
    }
    /// A step begins.
    pub fn clear(&mut self) {
        self.mix.fill(0);
        self.speakers = 0;
        self.packet_len = None;
    }
    /// Adds what a member says.
    pub fn add(&mut self, session: &Session) {
        let Some(member) = session.member.as_ref().filter(|m| m.is_speaking()) else { return };
        self.mix.iter_mut().zip(&member.frame).for_each(|(sum, s)| *sum += i32::from(*s));
        self.speakers += 1;
    }
    /// Sends a member what the others say.
    pub fn send(&mut self, session: &mut Session, wire: &mut Wire<'_>) {
        let Some(agreement) = session.agreement else { return };
        if session.is_occupied() || session.destination(wire).is_none() {
            return;
        }
        let Some(member) = &session.member else { return };
        let speaks = member.is_speaking();
        let whole_frames = agreement.frame_ms == 20 && session.fifo.is_empty();
        if self.speakers == usize::from(speaks) && whole_frames {
            session.send_silence(wire, Maker::Room);
            return;
        }
        if !speaks && whole_frames && agreement.send.0 == Codec::Opus {
            if self.packet_len.is_none() {
                let samples = self.mix.map(clip);
                self.packet_len = Some(self.shared.encode(&samples, &mut self.packet).unwrap_or(0));
            }
            let Some(payload) = self.packet_len.and_then(|len| self.packet.get(..len)).filter(|p| !p.is_empty()) else {
                return;
            };
            let place = session.transmit.made(Maker::Room, wire.now_ns, 48_000);
            session.send_sound(wire, (place, 960), |out| copy(payload, out));
            return;
        }
        let mut samples = [0i16; FRAME];
        for (i, sample) in samples.iter_mut().enumerate() {
            let own = if speaks { i32::from(member.frame[i]) } else { 0 };
            *sample = clip(self.mix[i] - own);
        }
        session.send_samples(wire, Maker::Room, &samples);
    }
}

fn clip(sum: i32) -> i16 {
    sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}
