//! Rate limits of what strangers can make `rtc-ctl` compute. Pure, told the time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Checks a source may have refused in one second before the rest of that second is not looked at. A browser has none refused.
pub const REFUSED_A_SECOND: u32 = 20;
/// Sources remembered a second. When there are more, the others go unlimited: a flood with forged sources must not lock out peers.
pub const SOURCES: usize = 4096;
/// Checks of a peer that are answered at once, and a second. RFC 8445 §14 paces them by 50 ms.
pub const CHECKS: u32 = 200;
/// DTLS datagrams of a peer that are read at once, and a second. A handshake takes about ten.
pub const DTLS: u32 = 100;

/// Refusals by source within the current second. Whoever forges a source uses its share up: ask only about sources from which
/// nothing authentic has come.
#[derive(Debug, Default)]
pub struct Sources {
    since: Option<Instant>,
    refused: HashMap<SocketAddr, u32>,
}

impl Sources {
    /// Whether a datagram of this source is to be looked at.
    pub fn allows(&mut self, source: SocketAddr, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + Duration::from_secs(1)) {
            self.since = Some(now);
            self.refused.clear();
        }
        self.refused.get(&source).is_none_or(|&refused| refused < REFUSED_A_SECOND)
    }

    /// One was refused.
    pub fn refused(&mut self, source: SocketAddr) {
        if let Some(refused) = self.refused.get_mut(&source) {
            *refused += 1;
        } else if self.refused.len() < SOURCES {
            self.refused.insert(source, 1);
        }
    }
}

/// A token bucket: so many at once, so many a second.
#[derive(Debug, Clone)]
pub struct Bucket {
    tokens: f64,
    size: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one that fills in one second.
    pub fn new(size: u32, now: Instant) -> Self {
        Self { tokens: size.into(), size: size.into(), filled: now }
    }

    /// Takes one; false when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.size).min(self.size);
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_refused_too_often_waits_for_the_next_second() {
        let now = tokio::time::Instant::now().into_std();
        let source = "192.0.2.1:1".parse().expect("an address");
        let mut sources = Sources::default();
        for _ in 0..REFUSED_A_SECOND {
            assert!(sources.allows(source, now));
            sources.refused(source);
        }
        assert!(!sources.allows(source, now));
        assert!(sources.allows("192.0.2.1:2".parse().expect("an address"), now));
        assert!(sources.allows(source, now + Duration::from_secs(1)));
    }

    #[test]
    fn many_sources_take_bounded_memory() {
        let now = tokio::time::Instant::now().into_std();
        let mut sources = Sources::default();
        for n in 0..SOURCES as u32 + 10 {
            let source = SocketAddr::from((n.to_be_bytes(), 1));
            assert!(sources.allows(source, now));
            sources.refused(source);
        }
        assert_eq!(sources.refused.len(), SOURCES);
    }

    #[test]
    fn a_bucket_gives_its_size_at_once_and_again_after_a_second() {
        let now = tokio::time::Instant::now().into_std();
        let mut bucket = Bucket::new(3, now);
        assert_eq!((0..5).filter(|_| bucket.take(now)).count(), 3);
        assert_eq!((0..5).filter(|_| bucket.take(now + Duration::from_secs(1))).count(), 3);
    }
}
