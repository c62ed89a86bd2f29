//! What a session sends by itself, in place of what it is joined to: clips at their pace, digits as events or tones.

use std::sync::Arc;
use std::time::Duration;

use tandem_actors::model::media::Digit;
use tandem_actors::ports::media::MediaEventKind;

use super::agreement::Agreement;
use super::clip::Clip;
use super::codec::{Rate, law};
use super::dtmf::{self, Sending, Step, Tones};
use super::session::{Session, copy};
use super::transmit::{Maker, Wire};

const MS: u64 = 1_000_000;

/// A clip being played.
pub(super) struct Player {
    clip: Arc<Clip>,
    token: u64,
    repeat: bool,
    /// Milliseconds played.
    position: usize,
    due_ns: u64,
}

impl Player {
    /// From its beginning.
    pub fn new(clip: Arc<Clip>, token: u64, repeat: bool, now_ns: u64) -> Self {
        Self { clip, token, repeat, position: 0, due_ns: now_ns }
    }
    /// Whether it is this order that plays.
    pub fn plays(&self, clip: &Arc<Clip>, token: u64) -> bool {
        self.token == token && Arc::ptr_eq(&self.clip, clip)
    }
}

/// Digits of ours.
#[derive(Default)]
pub(super) struct Digits {
    queue: [Option<Digit>; dtmf::QUEUE],
    sending: Option<Output>,
    due_ns: u64,
}

enum Output {
    Event(Sending),
    Tones(Tones, Duration),
}

impl Digits {
    /// Queues one; a full queue refuses it.
    pub fn push(&mut self, digit: Digit) -> bool {
        self.queue.iter_mut().find(|place| place.is_none()).map(|place| *place = Some(digit)).is_some()
    }
    fn pop(&mut self) -> Option<Digit> {
        let digit = self.queue[0].take()?;
        self.queue.rotate_left(1);
        Some(digit)
    }
    /// Whether any is queued or on its way.
    pub fn busy(&self) -> bool {
        self.sending.is_some() || self.queue[0].is_some()
    }
}

impl Session {
    /// The clip's next frames, when they are due.
    pub(super) fn step_clip(&mut self, agreement: &Agreement, wire: &mut Wire<'_>) {
        if self.digits.busy() {
            return;
        }
        let Some(mut player) = self.player.take() else { return };
        let codec = agreement.send.0;
        let ms = if law(codec).is_some() { agreement.frame_ms } else { 20 };
        // Not more than two frames behind: after a stall it goes on from here rather than in a burst.
        if wire.now_ns.saturating_sub(player.due_ns) > 40 * MS {
            player.due_ns = wire.now_ns;
        }
        while player.due_ns <= wire.now_ns {
            if player.position >= player.clip.length_ms() {
                if !player.repeat {
                    self.played = Some(player.token);
                    self.tell(wire, MediaEventKind::Played(player.token));
                    self.fill_ns = wire.now_ns;
                    return;
                }
                player.position = 0;
            }
            player.due_ns += ms as u64 * MS;
            let position = player.position;
            player.position += ms;
            if self.destination(wire).is_none() {
                continue; // time passes all the same
            }
            let place = self.transmit.made(Maker::Clip, wire.now_ns, codec.clock_rate());
            match law(codec) {
                Some(law) => self.send_sound(wire, (place, ms as u32 * 8), |out| {
                    let n = copy(player.clip.g711(law, position * 8, ms * 8), out)?;
                    out.get_mut(n..ms * 8)?.fill(law.silence()); // the end of a clip may not fill a long packet
                    Some(ms * 8)
                }),
                None => self.send_sound(wire, (place, 960), |out| copy(player.clip.opus(position / 20)?, out)),
            }
        }
        self.player = Some(player);
    }

    /// The next packet of our digits, when it is due.
    pub(super) fn step_digits(&mut self, agreement: &Agreement, wire: &mut Wire<'_>) {
        const STEP: Duration = Duration::from_millis(20);
        if !self.digits.busy() || wire.now_ns < self.digits.due_ns {
            return;
        }
        let Some(to) = self.destination(wire) else { return };
        let clock_rate = agreement.send.0.clock_rate();
        let mut sending = match self.digits.sending.take() {
            Some(sending) => sending,
            None => {
                let Some(digit) = self.digits.pop() else { return };
                match agreement.send_event {
                    Some(_) => {
                        let begins = self.transmit.timestamp_at(wire.now_ns, clock_rate);
                        self.transmit.interrupt();
                        Output::Event(Sending::new(digit, begins))
                    }
                    None => Output::Tones(Tones::new(digit), Duration::ZERO),
                }
            }
        };
        self.digits.due_ns = wire.now_ns + STEP.as_nanos() as u64;
        let over = match (&mut sending, agreement.send_event) {
            (Output::Event(event), Some((payload_type, rate))) => match event.step(STEP, rate) {
                Step::Send { event: payload, first } => {
                    let place = self.transmit.event(event.timestamp, first);
                    self.transmit.send(wire, to, payload_type, (place, 0), |out| copy(&payload.write(), out));
                    false
                }
                Step::Done => true,
            },
            (Output::Event(_), None) => true, // the peer no longer takes events: the rest goes in-band
            (Output::Tones(tones, elapsed), _) => {
                *elapsed += STEP;
                let over = *elapsed > dtmf::DIGIT;
                if !over {
                    let mut samples = [0; 160];
                    tones.fill(&mut samples);
                    self.send_tones(agreement, wire, &samples);
                }
                over
            }
        };
        if over {
            self.digits.due_ns = wire.now_ns + dtmf::PAUSE.as_nanos() as u64 - STEP.as_nanos() as u64;
            self.fill_ns = wire.now_ns;
            self.transmit.interrupt();
        } else {
            self.digits.sending = Some(sending);
        }
    }

    /// In-band tones: 20 ms at 8 kHz. G.711 needs no coder; Opus needs a narrow one, which the control side sends along.
    fn send_tones(&mut self, agreement: &Agreement, wire: &mut Wire<'_>, samples: &[i16; 160]) {
        match law(agreement.send.0) {
            Some(law) => {
                let place = self.transmit.made(Maker::Tones, wire.now_ns, 8000);
                self.send_sound(wire, (place, 160), |out| Some(law.encode_slice(samples, out.get_mut(..160)?)));
            }
            None if self.coder.as_ref().is_some_and(|c| c.rate() == Rate::Narrow) => {
                self.send_samples(wire, Maker::Tones, samples);
            }
            None => {}
        }
    }
}
