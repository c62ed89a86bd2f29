//! When a child is restarted, after how long, and when its supervisor gives up. Pure: told the time and the dice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Whether an ended child comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always, however it ended.
    Permanent,
    /// After a failure; a normal stop is its end.
    Transient,
    /// Never.
    Temporary,
}

/// At most so many restarts in so long; one more is the last act's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts allowed within the window; `None`: the supervisor never gives up.
    pub restarts: Option<u32>,
    /// The window, sliding.
    pub within: Duration,
}

impl Intensity {
    /// `n/t`: at most `restarts` in `within`.
    pub const fn of(restarts: u32, within: Duration) -> Self {
        Self { restarts: Some(restarts), within }
    }

    /// No limit; `within` is how long a failure goes on slowing down the next restart.
    pub const fn unlimited(within: Duration) -> Self {
        Self { restarts: None, within }
    }
}

/// How long to wait before a restart: doubled for each failure in the window, up to `max`, then spread by `jitter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first wait. Zero: the first restart of a window is at once, and the second waits a hundredth of `max`.
    pub first: Duration,
    /// No wait is longer than this, jitter aside.
    pub max: Duration,
    /// 0.2 spreads each wait by up to 20 % either way.
    pub jitter: f64,
}

impl Backoff {
    /// Whoever holds somebody's call is back at once, and within 20 ms, 40 ms… when it fails again.
    pub const PROMPT: Self = Self { first: Duration::ZERO, max: Duration::from_secs(2), jitter: 0.2 };
    /// 1 s to 60 s +-20 %: for what talks to a far network.
    pub const PATIENT: Self = Self { first: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.2 };

    /// The wait before the restart that follows the `failures`-th failure of the window (from 1); `dice` in 0..1.
    pub fn wait(&self, failures: u32, dice: f64) -> Duration {
        let doublings = if self.first.is_zero() { failures.saturating_sub(2) } else { failures.saturating_sub(1) };
        let base = match (self.first.is_zero(), failures) {
            (true, 0 | 1) => return Duration::ZERO,
            (true, _) => self.max / 100,
            (false, _) => self.first,
        };
        let wait = base.saturating_mul(1u32.checked_shl(doublings.min(31)).unwrap_or(u32::MAX)).min(self.max);
        wait.mul_f64(1.0 + self.jitter * (2.0 * dice - 1.0))
    }
}

/// Whether each child has a window of its own or all share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A call's failures do not count against its neighbours.
    Each,
    /// The children are one subsystem: it fails as a whole.
    All,
}

/// What a supervisor does about its children.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Which ends are followed by a restart.
    pub restart: Restart,
    /// When to give up.
    pub intensity: Intensity,
    /// How fast.
    pub backoff: Backoff,
    /// Whose failures are counted together.
    pub scope: Scope,
}

impl Policy {
    /// Transient, `n/t` for each child, restarted promptly: calls, legs, flows, invitations, rooms.
    pub const fn transient(restarts: u32, within: Duration) -> Self {
        Self {
            restart: Restart::Transient,
            intensity: Intensity::of(restarts, within),
            backoff: Backoff::PROMPT,
            scope: Scope::Each,
        }
    }

    /// What Media, Rtc and Sip supervisors have: permanent, 5/60 s.
    pub const SUBSYSTEM: Self = Self::permanent(5, Duration::from_secs(60));

    /// Permanent, `n/t` for all children together, restarted promptly: the subsystems.
    pub const fn permanent(restarts: u32, within: Duration) -> Self {
        Self {
            restart: Restart::Permanent,
            intensity: Intensity::of(restarts, within),
            backoff: Backoff::PROMPT,
            scope: Scope::All,
        }
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Restart after this long (zero: now).
    Restart {
        /// The wait.
        after: Duration,
    },
    /// The intensity is exceeded.
    GiveUp,
}

/// The failures of the recent past.
#[derive(Debug, Clone)]
pub struct Window {
    intensity: Intensity,
    backoff: Backoff,
    failures: VecDeque<Instant>,
}

/// More failures than this in one window slow nothing down further.
const REMEMBERED: usize = 32;

impl Window {
    /// An empty window.
    pub fn new(policy: &Policy) -> Self {
        Self { intensity: policy.intensity, backoff: policy.backoff, failures: VecDeque::new() }
    }

    /// Counts a failure at `now`. `dice` in 0..1 spreads the wait.
    pub fn record(&mut self, now: Instant, dice: f64) -> Verdict {
        while self.failures.front().is_some_and(|&at| now.saturating_duration_since(at) >= self.intensity.within) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let failures = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        match self.intensity.restarts {
            Some(limit) if failures > limit => Verdict::GiveUp,
            None if self.failures.len() > REMEMBERED => {
                self.failures.pop_front();
                Verdict::Restart { after: self.backoff.wait(failures, dice) }
            }
            Some(_) | None => Verdict::Restart { after: self.backoff.wait(failures, dice) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_more_failure_than_allowed_gives_up() {
        let mut window = Window::new(&Policy::transient(3, 10 * SECOND));
        let start = tokio::time::Instant::now().into_std();
        for n in 0..3 {
            assert!(matches!(window.record(start + n * SECOND, 0.5), Verdict::Restart { .. }), "failure {n}");
        }
        assert_eq!(window.record(start + 4 * SECOND, 0.5), Verdict::GiveUp);
    }

    #[test]
    fn failures_older_than_the_window_are_forgotten() {
        let mut window = Window::new(&Policy::transient(1, 10 * SECOND));
        let start = tokio::time::Instant::now().into_std();
        for n in 0..20 {
            assert_eq!(window.record(start + n * 10 * SECOND, 0.5), Verdict::Restart { after: Duration::ZERO });
        }
    }

    #[test]
    fn the_first_prompt_restart_is_at_once_and_the_next_ones_wait_longer_and_longer() {
        let waits: Vec<_> = (1..=5).map(|n| Backoff::PROMPT.wait(n, 0.5).as_millis()).collect();
        assert_eq!(waits, [0, 20, 40, 80, 160]);
    }

    #[test]
    fn a_patient_wait_doubles_from_1_s_to_60_s_and_is_spread_by_20_percent() {
        let waits: Vec<_> = (1..=8).map(|n| Backoff::PATIENT.wait(n, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(Backoff::PATIENT.wait(100, 0.0), Duration::from_secs(48));
        assert_eq!(Backoff::PATIENT.wait(100, 1.0), Duration::from_secs(72));
    }

    #[test]
    fn an_unlimited_window_never_gives_up_and_stays_small() {
        let policy = Policy {
            intensity: Intensity::unlimited(600 * SECOND),
            backoff: Backoff::PATIENT,
            ..Policy::permanent(0, SECOND)
        };
        let mut window = Window::new(&policy);
        let now = tokio::time::Instant::now().into_std();
        for _ in 0..10_000 {
            assert!(matches!(window.record(now, 0.5), Verdict::Restart { .. }));
        }
        assert!(window.failures.len() <= REMEMBERED);
    }
}
