//! The timer values of RFC 3261 §17.1.1.1, and retransmission that doubles up to a cap.

use std::time::Duration;

use tokio::time::Instant;

/// T1, T2 and T4; everything else is made of them (RFC 3261 table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip estimate.
    pub t1: Duration,
    /// Longest interval between retransmissions of a non-INVITE request and of a 2xx.
    pub t2: Duration,
    /// Longest time a message stays in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timers {
    /// 64*T1: how long a transaction is tried (timers B, F, H, J, L, M).
    pub fn give_up(&self) -> Duration {
        self.t1 * 64
    }
}

/// A message that is sent again until something stops it: the next time, and the interval after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retransmit {
    /// When next.
    pub at: Instant,
    interval: Duration,
    cap: Option<Duration>,
}

impl Retransmit {
    /// Begins with T1; doubles, up to `cap` where there is one.
    pub fn begin(now: Instant, t1: Duration, cap: Option<Duration>) -> Self {
        Self { at: now + t1, interval: t1, cap }
    }
    /// The state after one retransmission at `now`.
    #[must_use]
    pub fn again(self, now: Instant) -> Self {
        let doubled = self.interval * 2;
        let interval = self.cap.map_or(doubled, |cap| doubled.min(cap));
        Self { at: now + interval, interval, cap: self.cap }
    }
    /// From now on at the longest interval (timer E in Proceeding).
    #[must_use]
    pub fn slow(self, now: Instant, t2: Duration) -> Self {
        Self { at: now + t2, interval: t2, cap: Some(t2) }
    }
}
