//! RTP (RFC 3550 §5): reading and writing the header, extended sequence numbers, and a window against replays.

/// Length of a header without CSRCs and extension.
pub const HEADER: usize = 12;

/// A parsed RTP header; the payload is a range of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
    /// Where the payload begins.
    pub start: usize,
    /// Where it ends, padding left out.
    pub end: usize,
}

impl Header {
    /// Reads a packet. `None` when it is no RTP of version 2 or is cut short.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let start = header_len(packet)?;
        let mut end = packet.len();
        if fixed[0] & 0x20 != 0 {
            // RFC 3550 §5.1: the last octet counts the padding, itself included.
            let padding = usize::from(*packet.last()?);
            end = end.checked_sub(padding).filter(|end| padding > 0 && *end >= start)?;
        }
        Some(Self {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            start,
            end,
        })
    }

    /// Writes the 12 octets of a header of ours.
    pub fn write(payload_type: u8, marker: bool, sequence: u16, timestamp: u32, ssrc: u32) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0] = 0x80;
        out[1] = payload_type & 0x7f | if marker { 0x80 } else { 0 };
        out[2..4].copy_from_slice(&sequence.to_be_bytes());
        out[4..8].copy_from_slice(&timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&ssrc.to_be_bytes());
        out
    }
}

/// Length of the header with CSRCs and extension: what SRTP leaves in the clear (RFC 3711 §3.1).
pub fn header_len(packet: &[u8]) -> Option<usize> {
    let fixed: &[u8; HEADER] = packet.first_chunk()?;
    let mut len = HEADER + usize::from(fixed[0] & 0x0f) * 4;
    if fixed[0] & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    (len <= packet.len()).then_some(len)
}

/// Whether a packet on a muxed port is RTCP (RFC 5761 §4).
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [first, kind, ..] if first >> 6 == 2 && (192..=223).contains(kind))
}

/// How far apart two sequence numbers may be before the stream counts as a new one (RFC 3550 A.1, MAX_DROPOUT).
pub const MAX_DROPOUT: i64 = 3000;

/// Extends the 16-bit sequence of one stream to 48 bits and refuses what was seen or is too old: the index of RFC 3711
/// §3.3.1 and the window of §3.3.2 in one. Used for plain RTP too: a duplicate relayed under SRTP would use a keystream twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    top: u64,
    seen: u64,
    started: bool,
}

impl Window {
    /// One that refuses everything up to `top`: for a successor that must not accept what its predecessor may have.
    pub fn after(top: u64) -> Self {
        Self { top, seen: u64::MAX, started: true }
    }
    /// The highest index accepted; `None` before the first.
    pub fn top(&self) -> Option<u64> {
        self.started.then_some(self.top)
    }
    /// The index this sequence number most likely has.
    pub fn index(&self, sequence: u16) -> u64 {
        if !self.started {
            return u64::from(sequence);
        }
        let delta = i64::from(sequence.wrapping_sub(self.top as u16) as i16);
        // Before the very first packet's cycle there is no earlier one: RFC 3711 §3.3.1 with ROC 0 stays at 0.
        self.top.checked_add_signed(delta).unwrap_or(u64::from(sequence))
    }
    /// Whether this index is new and not older than 64 packets.
    pub fn admits(&self, index: u64) -> bool {
        match self.top.checked_sub(index) {
            None => true,
            Some(_) if !self.started => true,
            Some(age) => age < 64 && self.seen >> age & 1 == 0,
        }
    }
    /// Notes an index that was admitted and proven.
    pub fn accept(&mut self, index: u64) {
        if !self.started {
            *self = Self { top: index, seen: 1, started: true };
        } else if index > self.top {
            let ahead = index - self.top;
            self.seen = if ahead < 64 { self.seen << ahead | 1 } else { 1 };
            self.top = index;
        } else if let age @ 0..64 = self.top - index {
            self.seen |= 1 << age;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_reads_back_what_was_written() {
        let mut packet = Header::write(111, true, 65_535, 7, 0xdead_beef).to_vec();
        packet.extend([1, 2, 3]);
        let header = Header::parse(&packet).expect("valid");
        assert_eq!((header.payload_type, header.marker, header.sequence), (111, true, 65_535));
        assert_eq!((header.timestamp, header.ssrc, header.start, header.end), (7, 0xdead_beef, 12, 15));
    }

    #[test]
    fn csrcs_extensions_and_padding_are_left_out_of_the_payload() {
        let mut packet = Header::write(0, false, 1, 2, 3).to_vec();
        packet[0] |= 0x20 | 0x10 | 1;
        packet.extend([9; 4]); // CSRC
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        packet.extend([42, 42, 0, 2]); // payload, padding of 2
        let header = Header::parse(&packet).expect("valid");
        assert_eq!(&packet[header.start..header.end], [42, 42]);
    }

    #[test]
    fn the_index_goes_on_across_the_wrap_and_back_for_late_ones() {
        let mut window = Window::default();
        for n in 65_000..70_000u64 {
            let index = window.index(n as u16);
            assert_eq!(index, n);
            assert!(window.admits(index));
            window.accept(index);
            assert!(!window.admits(index), "a duplicate");
        }
        assert_eq!(window.index(69_990u64 as u16), 69_990);
        assert!(!window.admits(69_990 - 100), "older than the window");
    }

    #[test]
    fn a_successor_refuses_what_its_predecessor_may_have_taken() {
        let window = Window::after(1000);
        assert!(!window.admits(window.index(1000)));
        assert!(!window.admits(window.index(950)));
        assert!(window.admits(window.index(1001)));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_ranges_lie_inside(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(header) = Header::parse(&packet) {
                prop_assert!(header.start <= header.end && header.end <= packet.len());
            }
        }
    }
}
