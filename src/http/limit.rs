//! A token bucket, told the time.

use tokio::time::Instant;

/// Lets `rate` a second through, `burst` at once.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { rate: rate.into(), burst: burst.into(), tokens: burst.into(), at: now }
    }

    /// Takes one; `false` when there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60, 120, start);
        assert_eq!((0..200).filter(|_| bucket.take(start)).count(), 120);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..200).filter(|_| bucket.take(later)).count(), 30);
        let rested = later + Duration::from_secs(3600);
        assert_eq!((0..200).filter(|_| bucket.take(rested)).count(), 120);
    }
}
