//! The jitter buffer of a room member (the only place where the switch itself listens): a fixed ring of payloads by sequence
//! number. Its target depth follows the arrivals: the 97th percentile of how much later than the quickest they were.

use tandem_actors::model::media::Codec;

/// Packets held at most; a power of two.
const SLOTS: usize = 32;
/// Longest payload kept, octets: the longest Opus frame (RFC 6716 §3.2.1).
const PAYLOAD: usize = 1276;
/// Histogram of lateness: bins of 5 ms.
const BINS: usize = 48;
const BIN_NS: u64 = 5_000_000;
/// Each arrival forgets this share of the past (1/256: about five seconds of 20 ms packets).
const FORGET: f32 = 1.0 / 256.0;
/// Share of arrivals that come in time.
const IN_TIME: f32 = 0.97;
/// Deepest target, milliseconds.
const DEEPEST_MS: usize = 200;

struct Slot {
    index: u64,
    codec: Codec,
    len: u16,
    ms: u8,
    bytes: [u8; PAYLOAD],
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// This packet.
    Packet(Codec, &'a [u8]),
    /// One that did not come, though later ones have: conceal it. The codec and milliseconds of its neighbour.
    Lost(Codec, usize),
    /// None, for now.
    Empty,
}

/// See the module.
pub struct Jitter {
    slots: Box<[Slot]>,
    /// The index played next; `None` while filling up to the target.
    next: Option<u64>,
    /// Nothing before this is played any more.
    floor: u64,
    top: Option<u64>,
    histogram: [f32; BINS],
    quickest: Quickest,
    packet_ms: usize,
}

/// Least transit time of the last ten to twenty seconds: two windows, so that a route that grew longer is noticed.
#[derive(Default)]
struct Quickest {
    now: Option<i64>,
    before: Option<i64>,
    since: u64,
}

impl Quickest {
    fn update(&mut self, transit: i64, now: u64) -> u64 {
        const WINDOW_NS: u64 = 10_000_000_000;
        if now.saturating_sub(self.since) > WINDOW_NS {
            (self.before, self.now, self.since) = (self.now, None, now);
        }
        let least = self.now.map_or(transit, |n| n.min(transit));
        self.now = Some(least);
        transit.abs_diff(self.before.map_or(least, |b| b.min(least)))
    }
}

impl Default for Jitter {
    fn default() -> Self {
        let slot = || Slot { index: u64::MAX, codec: Codec::Pcmu, len: 0, ms: 20, bytes: [0; PAYLOAD] };
        let mut histogram = [0.0; BINS];
        histogram[0] = 1.0;
        Self {
            slots: (0..SLOTS).map(|_| slot()).collect(),
            next: None,
            floor: 0,
            top: None,
            histogram,
            quickest: Quickest::default(),
            packet_ms: 20,
        }
    }
}

/// One packet for the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Extended sequence number.
    pub index: u64,
    /// Timestamp in nanoseconds of its own clock, wrapped at will.
    pub media_ns: u64,
    /// When it came.
    pub now_ns: u64,
    /// Its codec.
    pub codec: Codec,
    /// Milliseconds it holds.
    pub ms: usize,
    /// Its payload.
    pub payload: &'a [u8],
}

impl Jitter {
    /// A packet came.
    pub fn push(&mut self, arrival: Arrival<'_>) {
        // A jump (a new stream, or a sender that restarted) begins afresh.
        if self.top.is_some_and(|top| arrival.index.abs_diff(top) > SLOTS as u64) {
            self.restart();
        }
        let transit = arrival.now_ns.wrapping_sub(arrival.media_ns) as i64;
        let late = self.quickest.update(transit, arrival.now_ns);
        let bin = usize::try_from(late / BIN_NS).unwrap_or(BINS).min(BINS - 1);
        self.histogram.iter_mut().for_each(|share| *share *= 1.0 - FORGET);
        self.histogram[bin] += FORGET;
        if arrival.index < self.floor {
            return; // too late, its place was concealed
        }
        self.packet_ms = arrival.ms.clamp(5, 120);
        self.top = Some(self.top.map_or(arrival.index, |top| top.max(arrival.index)));
        let slot = &mut self.slots[(arrival.index % SLOTS as u64) as usize];
        let Some(place) = slot.bytes.get_mut(..arrival.payload.len()) else { return };
        place.copy_from_slice(arrival.payload);
        slot.index = arrival.index;
        slot.codec = arrival.codec;
        slot.len = arrival.payload.len() as u16; // at most PAYLOAD
        slot.ms = self.packet_ms as u8; // at most 120
    }

    /// The depth wanted, milliseconds: at least one packet.
    pub fn target_ms(&self) -> usize {
        let mut sum = 0.0;
        let bins = self.histogram.iter().take_while(|share| {
            sum += **share;
            sum < IN_TIME
        });
        let late_ms = (bins.count() + 1) * (BIN_NS / 1_000_000) as usize;
        (late_ms + self.packet_ms).clamp(self.packet_ms, DEEPEST_MS)
    }

    /// Milliseconds from the next packet played to the newest.
    pub fn level_ms(&self) -> usize {
        let Some(top) = self.top else { return 0 };
        let from = self.next.unwrap_or_else(|| self.oldest().unwrap_or(top + 1));
        usize::try_from((top + 1).saturating_sub(from)).unwrap_or(0) * self.packet_ms
    }

    fn oldest(&self) -> Option<u64> {
        let top = self.top?;
        (top.saturating_sub(SLOTS as u64 - 1).max(self.floor)..=top).find(|index| self.has(*index))
    }

    fn has(&self, index: u64) -> bool {
        self.slots[(index % SLOTS as u64) as usize].index == index
    }

    /// The next packet. Begins once the target is reached; after an underrun waits for the target again.
    pub fn pop(&mut self) -> Next<'_> {
        let index = match self.next {
            Some(next) => next,
            None => {
                if self.level_ms() < self.target_ms() {
                    return Next::Empty;
                }
                let Some(oldest) = self.oldest() else { return Next::Empty };
                oldest
            }
        };
        if self.top.is_none_or(|top| index > top) {
            self.next = None;
            return Next::Empty;
        }
        self.next = Some(index + 1);
        self.floor = index + 1;
        let ms = self.packet_ms;
        let at = (index % SLOTS as u64) as usize;
        if !self.has(index) {
            return Next::Lost(self.slots[((index + 1) % SLOTS as u64) as usize].codec, ms);
        }
        let slot = &mut self.slots[at];
        slot.index = u64::MAX;
        Next::Packet(slot.codec, &slot.bytes[..usize::from(slot.len)])
    }

    /// Throws away the next packet unheard, to catch up.
    pub fn skip(&mut self) {
        if let Some(next) = &mut self.next {
            *next += 1;
            self.floor = *next;
        }
    }

    fn restart(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.index = u64::MAX);
        (self.next, self.floor, self.top) = (None, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(jitter: &mut Jitter, index: u64, now_ms: u64) {
        jitter.push(Arrival {
            index,
            media_ns: index * 20_000_000,
            now_ns: now_ms * 1_000_000,
            codec: Codec::Pcmu,
            ms: 20,
            payload: &index.to_be_bytes(),
        });
    }

    fn pop(jitter: &mut Jitter) -> Option<Result<u64, ()>> {
        match jitter.pop() {
            Next::Packet(_, bytes) => Some(Ok(u64::from_be_bytes(bytes.try_into().expect("8 bytes")))),
            Next::Lost(..) => Some(Err(())),
            Next::Empty => None,
        }
    }

    #[test]
    fn packets_leave_in_order_and_missing_ones_are_said() {
        let mut jitter = Jitter::default();
        for index in [10, 12, 11, 14] {
            push(&mut jitter, index, index * 20);
        }
        let out: Vec<_> = std::iter::from_fn(|| pop(&mut jitter)).collect();
        assert_eq!(out, [Ok(10), Ok(11), Ok(12), Err(()), Ok(14)]);
    }

    #[test]
    fn a_quiet_network_needs_little_and_a_rough_one_more() {
        let (mut quiet, mut rough) = (Jitter::default(), Jitter::default());
        for index in 0..1000 {
            push(&mut quiet, index, index * 20);
            push(&mut rough, index, index * 20 + [0, 0, 60, 10][(index % 4) as usize]);
            pop(&mut quiet);
            pop(&mut rough);
        }
        assert!(quiet.target_ms() <= 30, "{}", quiet.target_ms());
        assert!((70..=100).contains(&rough.target_ms()), "{}", rough.target_ms());
    }

    #[test]
    fn a_new_stream_begins_afresh() {
        let mut jitter = Jitter::default();
        (0..5).for_each(|n| push(&mut jitter, n, n * 20));
        assert_eq!(pop(&mut jitter), Some(Ok(0)));
        (40_000..40_005).for_each(|n| push(&mut jitter, n, n * 20));
        assert_eq!(pop(&mut jitter), Some(Ok(40_000)));
    }

    proptest! {
        #[test]
        fn whatever_arrives_each_packet_leaves_at_most_once_and_in_order(order in proptest::collection::vec((0u64..60, 0u64..3), 1..300)) {
            let mut jitter = Jitter::default();
            let mut last = None;
            for (n, (index, pops)) in order.into_iter().enumerate() {
                let index = index + n as u64 / 3;
                let jump = jitter.top.is_some_and(|top| index.abs_diff(top) > SLOTS as u64);
                push(&mut jitter, index, n as u64 * 7);
                if jump {
                    last = None;
                }
                for _ in 0..pops {
                    if let Some(Ok(index)) = pop(&mut jitter) {
                        prop_assert!(last.is_none_or(|last| index > last), "{index} after {last:?}");
                        last = Some(index);
                    }
                }
                prop_assert!(jitter.level_ms() <= SLOTS * 20 * 2);
            }
        }
    }
}
