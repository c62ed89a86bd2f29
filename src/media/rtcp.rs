//! RTCP (RFC 3550 §6): compound packets of SR or RR and SDES CNAME out; reports in, for round trip and for the jitter and loss
//! that our own reports carry.

/// Reception statistics of the peer's stream (RFC 3550 A.3, A.8).
#[derive(Debug, Clone, Copy, Default)]
pub struct Reception {
    first: Option<u64>,
    top: u64,
    received: u64,
    /// Of streams before the present SSRC.
    lost_before: u64,
    expected_prior: u64,
    received_prior: u64,
    transit: Option<i64>,
    /// Jitter in nanoseconds.
    jitter_ns: i64,
    last_report: Option<(u32, u64)>,
}

impl Reception {
    /// A packet was accepted: its index, timestamp and clock, and when it came.
    pub fn packet(&mut self, index: u64, timestamp: u32, clock_rate: u32, now_ns: u64) {
        self.count(index);
        // Timestamps wrap: the difference of two transits is taken modulo one wrap of the clock.
        let wrap = (1u64 << 32) as i64 * 1_000_000_000 / i64::from(clock_rate.max(1));
        let media_ns = (u64::from(timestamp) * 1_000_000_000 / u64::from(clock_rate.max(1))) as i64;
        let transit = now_ns as i64 - media_ns;
        if let Some(before) = self.transit {
            let mut difference = (transit - before).abs() % wrap;
            difference = difference.min(wrap - difference);
            // A jump of a second or more is a new talk spurt or a re-timed stream, not the network.
            if difference < 1_000_000_000 {
                self.jitter_ns += (difference - self.jitter_ns) / 16;
            }
        }
        self.transit = Some(transit);
    }

    /// A packet was accepted whose timestamp says nothing of when it was sent (a telephone-event).
    pub fn count(&mut self, index: u64) {
        let first = *self.first.get_or_insert(index);
        self.first = Some(first.min(index));
        self.top = self.top.max(index);
        self.received += 1;
    }

    /// The peer began a new stream.
    pub fn restart(&mut self) {
        *self = Self { lost_before: self.lost(), ..Self::default() };
    }

    /// Packets missing so far.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.expected().saturating_sub(self.received)
    }

    /// Interarrival jitter, microseconds.
    pub fn jitter_us(&self) -> u32 {
        u32::try_from(self.jitter_ns / 1000).unwrap_or(0)
    }

    fn expected(&self) -> u64 {
        self.first.map_or(0, |first| self.top - first + 1)
    }

    /// A sender report came: its middle NTP bits.
    fn sender_report(&mut self, ntp_middle: u32, now_ns: u64) {
        self.last_report = Some((ntp_middle, now_ns));
    }

    /// The 24 octets of a report block about `ssrc`.
    fn block(&mut self, ssrc: u32, clock_rate: u32, now_ns: u64) -> [u8; 24] {
        let expected = self.expected() - self.expected_prior.min(self.expected());
        let received = self.received - self.received_prior;
        (self.expected_prior, self.received_prior) = (self.expected(), self.received);
        let fraction = (expected.saturating_sub(received) * 256).checked_div(expected).unwrap_or(0).min(255);
        let lost = self.expected().saturating_sub(self.received).min(0x7f_ffff);
        let jitter = u64::from(self.jitter_us()) * u64::from(clock_rate) / 1_000_000;
        let (lsr, delay) = self.last_report.map_or((0, 0), |(lsr, at)| {
            (lsr, u32::try_from(now_ns.saturating_sub(at) / 1000 * 65_536 / 1_000_000).unwrap_or(u32::MAX))
        });
        let mut block = [0; 24];
        block[..4].copy_from_slice(&ssrc.to_be_bytes());
        block[4..8].copy_from_slice(&((fraction << 24 | lost) as u32).to_be_bytes());
        block[8..12].copy_from_slice(&(self.top as u32).to_be_bytes());
        block[12..16].copy_from_slice(&(jitter as u32).to_be_bytes());
        block[16..20].copy_from_slice(&lsr.to_be_bytes());
        block[20..24].copy_from_slice(&delay.to_be_bytes());
        block
    }
}

/// What a report of ours says about what we send.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Our SSRC.
    pub ssrc: u32,
    /// Wall clock as NTP (32.32).
    pub ntp: u64,
    /// The media clock now.
    pub timestamp: u32,
    /// Packets since the last report but one, to tell SR from RR: 0 is RR.
    pub recent: u64,
    /// Packets in all.
    pub packets: u64,
    /// Payload octets in all.
    pub octets: u64,
}

/// Writes a compound packet; returns its length, at most 76 octets. `peer` is the stream reported on and its clock.
pub fn write(
    out: &mut [u8],
    sent: Sent,
    reception: &mut Reception,
    peer: Option<(u32, u32)>,
    now_ns: u64,
) -> Option<usize> {
    let block = peer.map(|(ssrc, clock)| reception.block(ssrc, clock, now_ns));
    let count = u8::from(block.is_some());
    let mut at = 4;
    let mut put = |bytes: &[u8]| -> Option<()> {
        out.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        at += bytes.len();
        Some(())
    };
    put(&sent.ssrc.to_be_bytes())?;
    let kind = if sent.recent > 0 { 200 } else { 201 };
    if sent.recent > 0 {
        put(&sent.ntp.to_be_bytes())?;
        put(&sent.timestamp.to_be_bytes())?;
        put(&(sent.packets as u32).to_be_bytes())?;
        put(&(sent.octets as u32).to_be_bytes())?;
    }
    if let Some(block) = block {
        put(&block)?;
    }
    let words = ((at / 4 - 1) as u16).to_be_bytes();
    // SDES with a CNAME of our SSRC in hexadecimal: required in every compound packet (§6.1), and says nothing of the host.
    let mut sdes = [0u8; 24];
    sdes[..4].copy_from_slice(&[0x81, 202, 0, 5]);
    sdes[4..8].copy_from_slice(&sent.ssrc.to_be_bytes());
    sdes[8..10].copy_from_slice(&[1, 8]);
    for (i, digit) in sdes[10..18].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(sent.ssrc >> (28 - 4 * i) & 0xf) as usize];
    }
    out.get_mut(at..at + sdes.len())?.copy_from_slice(&sdes);
    at += sdes.len();
    out.get_mut(..4)?.copy_from_slice(&[0x80 | count, kind, words[0], words[1]]);
    Some(at)
}

/// Reads a compound packet: notes sender reports of `peer` in `reception`; returns the round trip in microseconds when a block
/// about our stream tells it. `None` when nothing was learnt; malformed parts end the reading.
pub fn read(packet: &[u8], ours: u32, reception: &mut Reception, now_ns: u64, now_ntp: u64) -> Option<u32> {
    let mut round_trip = None;
    let mut rest = packet;
    while let Some(&[first, kind, high, low]) = rest.first_chunk() {
        let len = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let Some((part, after)) = rest.split_at_checked(len) else { break };
        rest = after;
        if first >> 6 != 2 {
            break;
        }
        let blocks = match kind {
            200 => {
                if let Some(ntp) = word(part, 8).zip(word(part, 12)) {
                    reception.sender_report(ntp.0 << 16 | ntp.1 >> 16, now_ns);
                }
                part.get(28..)
            }
            201 => part.get(8..),
            _ => None,
        };
        for block in blocks.unwrap_or_default().chunks_exact(24).take(usize::from(first & 0x1f)) {
            let (Some(about), Some(lsr), Some(delay)) = (word(block, 0), word(block, 16), word(block, 20)) else {
                continue;
            };
            if about == ours && lsr != 0 {
                let now = (now_ntp >> 16) as u32;
                let elapsed = now.wrapping_sub(lsr).wrapping_sub(delay);
                // A clock that jumped would give half a day: not believed.
                if elapsed < 65_536 * 60 {
                    round_trip = Some((u64::from(elapsed) * 1_000_000 / 65_536) as u32);
                }
            }
        }
    }
    round_trip
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn sent(ssrc: u32, ntp: u64) -> Sent {
        Sent { ssrc, ntp, timestamp: 5, recent: 1, packets: 100, octets: 16_000 }
    }

    #[test]
    fn two_ends_learn_the_round_trip_and_the_loss() {
        let ntp = |ms: u64| (1000 << 32) + (ms << 32) / 1000;
        let (mut a, mut b) = (Reception::default(), Reception::default());
        for n in (0..100u64).filter(|n| n % 10 != 3) {
            b.packet(n, n as u32 * 160, 8000, n * 20 * MS);
        }
        let mut packet = [0; 128];
        // a -> b takes 30 ms, b answers 50 ms later, b -> a takes 20 ms.
        let n = write(&mut packet, sent(1, ntp(0)), &mut a, None, 0).expect("written");
        assert_eq!(read(&packet[..n], 2, &mut b, 30 * MS, ntp(30)), None);
        let n = write(&mut packet, sent(2, ntp(80)), &mut b, Some((1, 8000)), 80 * MS).expect("written");
        let round_trip = read(&packet[..n], 1, &mut a, 100 * MS, ntp(100)).expect("a block about us");
        assert!((49_000..=51_000).contains(&round_trip), "{round_trip}");
        assert_eq!(b.lost(), 10);
        assert_eq!(packet[28 + 4], 25, "a tenth lost, in 256ths");
        assert_eq!(b.jitter_us(), 0);
    }

    #[test]
    fn jitter_follows_rfc_3550() {
        let mut reception = Reception::default();
        for n in 0..500u64 {
            reception.packet(n, n as u32 * 160, 8000, (n * 20 + (n % 2) * 8) * MS);
        }
        assert!((7_000..=8_000).contains(&reception.jitter_us()), "{}", reception.jitter_us());
    }

    #[test]
    fn the_report_is_a_receiver_report_while_nothing_is_sent() {
        let mut packet = [0; 128];
        let quiet = Sent { recent: 0, ..sent(1, 0) };
        let n = write(&mut packet, quiet, &mut Reception::default(), None, 0).expect("written");
        assert_eq!((packet[0], packet[1], packet[3], n), (0x80, 201, 1, 32));
    }

    proptest! {
        #[test]
        fn reading_never_panics(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&packet, 1, &mut Reception::default(), 0, 0);
        }
    }
}
