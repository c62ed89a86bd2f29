//! DTMF as telephone-event (RFC 4733): each digit heard once, sent with three end packets; and as in-band tones where the
//! peer has no telephone-event. No in-band *detection* here.

use std::time::Duration;

use tandem_actors::model::media::Digit;

/// A digit of ours lasts this long.
pub const DIGIT: Duration = Duration::from_millis(100);
/// The pause between two digits of ours.
pub const PAUSE: Duration = Duration::from_millis(60);
/// Digits that may wait on one session; more are refused by the control side.
pub const QUEUE: usize = 32;
/// Packets that end an event (RFC 4733 §2.5.1.4: the last is sent three times).
pub const END_PACKETS: u8 = 3;

/// The four octets of a telephone-event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Event code; 0-15 are digits.
    pub code: u8,
    /// The E bit.
    pub end: bool,
    /// Power, -dBm0 (0-63).
    pub volume: u8,
    /// So far, in timestamp units.
    pub duration: u16,
}

impl Event {
    /// Reads the payload; `None` when it is too short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[code, flags, high, low] = payload.first_chunk()?;
        Some(Self { code, end: flags & 0x80 != 0, volume: flags & 0x3f, duration: u16::from_be_bytes([high, low]) })
    }
    /// Writes the payload.
    pub fn write(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, (self.volume & 0x3f) | if self.end { 0x80 } else { 0 }, high, low]
    }
}

/// Hears digits: whatever is repeated or lost on the wire, each is reported once, when it ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listener {
    current: Option<Current>,
    /// Timestamp and code of the last one reported: late repetitions of its end are nothing new.
    reported: Option<(u32, u8)>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    timestamp: u32,
    code: u8,
    duration: u16,
    rate: u32,
    heard_at: Duration,
}

/// An event that has no end packet ends this long after its last packet (three lost ends, RFC 4733 §2.5.2.2).
const LOST_END: Duration = Duration::from_millis(200);

impl Listener {
    /// An event packet came; returns the digit that ended by it. `rate` is the payload type's clock, `now` any monotonic time.
    pub fn hear(&mut self, event: Event, timestamp: u32, rate: u32, now: Duration) -> Option<(Digit, Duration)> {
        if self.reported == Some((timestamp, event.code)) {
            return None;
        }
        // A new timestamp is a new event: the one before it lost its end.
        let lost = self.current.take_if(|c| (c.timestamp, c.code) != (timestamp, event.code));
        let earlier = lost.and_then(|current| self.report(current));
        let duration = self.current.map_or(event.duration, |c| c.duration.max(event.duration));
        let current = Current { timestamp, code: event.code, duration, rate, heard_at: now };
        if event.end {
            self.current = None;
            // Should both end at once, the later one is kept for the next call by leaving it current.
            if earlier.is_some() {
                self.current = Some(Current { heard_at: Duration::ZERO, ..current });
                return earlier;
            }
            return self.report(current);
        }
        self.current = Some(current);
        earlier
    }

    /// Time passes; returns a digit whose end was lost.
    pub fn tick(&mut self, now: Duration) -> Option<(Digit, Duration)> {
        let over = self.current.take_if(|c| now.saturating_sub(c.heard_at) >= LOST_END)?;
        self.report(over)
    }

    fn report(&mut self, current: Current) -> Option<(Digit, Duration)> {
        self.reported = Some((current.timestamp, current.code));
        let micros = u64::from(current.duration) * 1_000_000 / u64::from(current.rate.max(1));
        Some((Digit::from_event(current.code)?, Duration::from_micros(micros)))
    }
}

/// Converts a duration from one clock to another; RFC 4733 durations are 16 bits, longer ones stay at the top.
pub fn convert_duration(duration: u16, from: u32, to: u32) -> u16 {
    u16::try_from(u64::from(duration) * u64::from(to) / u64::from(from.max(1))).unwrap_or(u16::MAX)
}

/// The two frequencies of a digit, Hz (ITU-T Q.23).
pub fn frequencies(digit: Digit) -> (f32, f32) {
    let (row, column) = match digit.event() {
        0 => (3, 1),
        d @ 1..=9 => ((d - 1) / 3, (d - 1) % 3),
        10 => (3, 0),
        11 => (3, 2),
        letter => (letter - 12, 3),
    };
    let rows = [697.0, 770.0, 852.0, 941.0];
    let columns = [1209.0, 1336.0, 1477.0, 1633.0];
    (rows[usize::from(row & 3)], columns[usize::from(column & 3)])
}

/// A digit of ours on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// Which.
    pub digit: Digit,
    /// Its one timestamp.
    pub timestamp: u32,
    /// How much of it is out.
    pub elapsed: Duration,
    /// End packets sent.
    pub ends: u8,
}

/// What a sender does at its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this event; `first` carries the marker bit.
    Send {
        /// The payload.
        event: Event,
        /// Whether it begins the digit.
        first: bool,
    },
    /// The digit is out.
    Done,
}

impl Sending {
    /// A digit about to begin.
    pub fn new(digit: Digit, timestamp: u32) -> Self {
        Self { digit, timestamp, elapsed: Duration::ZERO, ends: 0 }
    }
    /// One step of `ptime`: an update, or an end packet once [`DIGIT`] has passed.
    pub fn step(&mut self, ptime: Duration, rate: u32) -> Step {
        if self.ends == END_PACKETS {
            return Step::Done;
        }
        let first = self.elapsed.is_zero();
        if self.elapsed < DIGIT {
            self.elapsed += ptime;
        }
        let end = self.elapsed >= DIGIT;
        if end {
            self.ends += 1;
        }
        let units = self.elapsed.min(DIGIT).as_millis() as u64 * u64::from(rate) / 1000;
        let duration = u16::try_from(units).unwrap_or(u16::MAX);
        Step::Send { event: Event { code: self.digit.event(), end, volume: 10, duration }, first }
    }
}

/// Two tones of a digit, sample by sample at 8 kHz.
#[derive(Debug, Clone, Copy)]
pub struct Tones {
    steps: (f32, f32),
    phases: (f32, f32),
}

impl Tones {
    /// Of this digit.
    pub fn new(digit: Digit) -> Self {
        let (low, high) = frequencies(digit);
        let step = |hertz: f32| hertz * std::f32::consts::TAU / 8000.0;
        Self { steps: (step(low), step(high)), phases: (0.0, 0.0) }
    }
    /// Fills `out`, about -7 dBm0 a tone.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            *sample = ((self.phases.0.sin() + self.phases.1.sin()) * 8000.0) as i16;
            self.phases.0 = (self.phases.0 + self.steps.0) % std::f32::consts::TAU;
            self.phases.1 = (self.phases.1 + self.steps.1) % std::f32::consts::TAU;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::level_db;

    const MS: Duration = Duration::from_millis(1);

    fn event(code: u8, end: bool, duration: u16) -> Event {
        Event { code, end, volume: 10, duration }
    }

    fn digit(c: char) -> Digit {
        Digit::new(c).expect("a digit")
    }

    #[test]
    fn an_event_reads_back_what_was_written() {
        let sent = event(11, true, 800);
        assert_eq!(Event::parse(&sent.write()), Some(sent));
        assert_eq!(Event::parse(&[1, 2, 3]), None);
    }

    #[test]
    fn a_digit_is_heard_once_however_often_its_end_is_repeated() {
        let mut listener = Listener::default();
        assert_eq!(listener.hear(event(5, false, 160), 1000, 8000, MS), None);
        assert_eq!(listener.hear(event(5, true, 800), 1000, 8000, MS), Some((digit('5'), 100 * MS)));
        assert_eq!(listener.hear(event(5, true, 800), 1000, 8000, MS), None);
        assert_eq!(listener.hear(event(5, true, 800), 1000, 8000, MS), None);
        assert_eq!(listener.tick(10_000 * MS), None);
        assert!(listener.hear(event(5, true, 800), 3000, 8000, MS).is_some(), "the same digit again");
    }

    #[test]
    fn a_digit_whose_ends_were_lost_is_heard_all_the_same() {
        let mut listener = Listener::default();
        listener.hear(event(1, false, 4800), 1000, 48_000, MS);
        assert_eq!(listener.tick(100 * MS), None);
        assert_eq!(listener.tick(202 * MS), Some((digit('1'), 100 * MS)));
        listener.hear(event(2, false, 4800), 9000, 48_000, 300 * MS);
        assert_eq!(listener.hear(event(3, false, 960), 20_000, 48_000, 310 * MS).map(|d| d.0), Some(digit('2')));
    }

    #[test]
    fn a_digit_is_sent_with_three_ends_and_one_marker() {
        let mut sending = Sending::new(digit('#'), 77);
        let mut sent = Vec::new();
        while let Step::Send { event, first } = sending.step(20 * MS, 48_000) {
            sent.push((event.duration, event.end, first));
        }
        let end = (4800, true, false);
        let run = [(960, false, true), (1920, false, false), (2880, false, false), (3840, false, false), end, end, end];
        assert_eq!(sent, run);
    }

    #[test]
    fn durations_follow_the_clock() {
        assert_eq!(convert_duration(800, 8000, 48_000), 4800);
        assert_eq!(convert_duration(4800, 48_000, 8000), 800);
        assert_eq!(convert_duration(60_000, 8000, 48_000), u16::MAX);
    }

    #[test]
    fn in_band_tones_are_those_of_q_23() {
        for (c, low, high) in [('1', 697.0, 1209.0), ('0', 941.0, 1336.0), ('#', 941.0, 1477.0), ('D', 941.0, 1633.0)] {
            let mut samples = [0; 800];
            Tones::new(digit(c)).fill(&mut samples);
            let quiet = level_db(&samples, 8000, 1070.0);
            assert!(level_db(&samples, 8000, low) > quiet + 30.0, "{c}");
            assert!(level_db(&samples, 8000, high) > quiet + 30.0, "{c}");
        }
    }
}
