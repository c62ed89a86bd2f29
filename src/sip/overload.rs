//! Admission before the brain: which new requests are answered 503 at once, when there are more than can be served.
//!
//! What is shed costs a stateless 503 and nothing else, so that goodput does not fall when the offered load goes on rising
//! (RFC 6357 §3). Measured are the calls that live (the brain says when `max_calls` are), the calls begun a second (`max_cps`),
//! and the brain's lag: the age of the oldest request that it was told of and has not taken. Between [`LAG_BEGINS`] and
//! [`LAG_MOST`] a growing share is shed, so that the load settles instead of swinging.
//!
//! Never shed: ACK, CANCEL, BYE and everything else inside a dialog, which ends or keeps what was begun; and a trunk's call
//! with a Resource-Priority (RFC 4412, RFC 7200 §3.2) short of `max_calls`. REGISTER goes before INVITE: a refresh that is told
//! to come later costs nobody anything, as a phone refreshes long before its binding ends, while a call shed is a call lost.
//! Retry-After is spread over twice its time, so that those who were shed do not come back together. `oc` parameters
//! (RFC 7339) are deliberately not spoken: they are for proxies chained in trust, and no carrier or phone sends them.

use std::collections::VecDeque;
use std::time::Duration;

use tandem_actors::model::ids::DialogId;
use tokio::time::Instant;

/// From this lag on some are shed. A brain that is well takes a request within a millisecond.
const LAG_BEGINS: Duration = Duration::from_millis(200);
/// From this on all are: before callers send again (RFC 3261 §17.1.1.2: T1, 500 ms), since what is sent again costs as much as
/// what is new and serves nobody.
const LAG_MOST: Duration = Duration::from_millis(450);

/// A request that wants to begin something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomer {
    /// A call.
    Call {
        /// A trunk's call with a Resource-Priority.
        priority: bool,
    },
    /// Somebody asks whether we take calls.
    Options,
    /// A registration.
    Register,
}

/// Why one is shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// We are about to stop.
    Draining,
    /// As many calls live as may.
    Full,
    /// Too many calls begin.
    Rate,
    /// The brain is behind.
    Lag,
}

impl Shed {
    /// For the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Full => "full",
            Self::Rate => "rate",
            Self::Lag => "lag",
        }
    }
}

/// What the brain was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// An INVITE.
    Invite(DialogId),
    /// A REGISTER.
    Register(u64),
}

/// What is known of the load.
#[derive(Debug)]
pub struct Overload {
    /// We are about to stop.
    pub draining: bool,
    /// As many calls live as may.
    pub full: bool,
    /// Calls that may begin a second; 0: any.
    max_cps: f64,
    tokens: f64,
    at: Instant,
    /// Oldest first; what is answered is taken out when it comes to the front.
    told: VecDeque<(Instant, Waiting)>,
}

impl Overload {
    /// Nothing to do yet.
    pub fn new(max_cps: u32, now: Instant) -> Self {
        let max_cps = f64::from(max_cps);
        Self { draining: false, full: false, max_cps, tokens: max_cps, at: now, told: VecDeque::new() }
    }

    /// The brain was told of this.
    pub fn told(&mut self, what: Waiting, now: Instant) {
        self.told.push_back((now, what));
    }

    /// How far the brain is behind. `waits` says whether a request is still to be taken.
    pub fn lag(&mut self, now: Instant, waits: impl Fn(Waiting) -> bool) -> Duration {
        while let Some((at, what)) = self.told.front() {
            if waits(*what) {
                return now.saturating_duration_since(*at);
            }
            self.told.pop_front();
        }
        Duration::ZERO
    }

    /// Whether a newcomer is shed, and why. `chance` is a random number from 0 to 1.
    pub fn sheds(&mut self, who: Newcomer, lag: Duration, chance: f64, now: Instant) -> Option<Shed> {
        let (priority, begins) = match who {
            Newcomer::Call { priority } => (priority, LAG_BEGINS),
            Newcomer::Options => (false, LAG_BEGINS),
            Newcomer::Register => (false, LAG_BEGINS / 2),
        };
        let call = who != Newcomer::Register;
        if self.draining && call {
            return Some(Shed::Draining);
        }
        if self.full && call {
            return Some(Shed::Full);
        }
        if priority {
            return None;
        }
        let share = lag.saturating_sub(begins).as_secs_f64() / (LAG_MOST - begins).as_secs_f64();
        if share > 0.0 && chance < share {
            return Some(Shed::Lag);
        }
        if matches!(who, Newcomer::Call { .. }) && self.max_cps > 0.0 {
            let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.max_cps;
            self.tokens = (self.tokens + earned).min(self.max_cps);
            self.at = now;
            if self.tokens < 1.0 {
                return Some(Shed::Rate);
            }
            self.tokens -= 1.0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Newcomer = Newcomer::Call { priority: false };
    const URGENT: Newcomer = Newcomer::Call { priority: true };
    const NONE: Duration = Duration::ZERO;

    #[tokio::test(start_paused = true)]
    async fn calls_begin_at_the_rate_that_is_set_and_no_faster() {
        let mut now = Instant::now();
        let mut overload = Overload::new(10, now);
        let mut taken = 0;
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            taken += u32::from(overload.sheds(CALL, NONE, 0.5, now).is_none());
        }
        assert!((100..=111).contains(&taken), "{taken} in 10 s");
        assert_eq!(overload.sheds(Newcomer::Register, NONE, 0.5, now), None);
        assert_eq!(overload.sheds(URGENT, NONE, 0.5, now), None, "RFC 7200: a priority is not counted");
        assert_eq!(Overload::new(0, now).sheds(CALL, NONE, 0.5, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_further_the_brain_is_behind_the_more_is_shed_registrations_first() {
        let now = Instant::now();
        let mut overload = Overload::new(0, now);
        let mut share = |who, lag| {
            let shed = (0..100)
                .filter(|n| overload.sheds(who, Duration::from_millis(lag), f64::from(*n) / 100.0, now).is_some());
            shed.count()
        };
        assert_eq!([share(CALL, 200), share(CALL, 450), share(CALL, 5000)], [0, 100, 100]);
        assert!((45..=55).contains(&share(CALL, 325)));
        assert!(share(Newcomer::Register, 200) > 0 && share(Newcomer::Register, 300) > share(CALL, 300));
        assert_eq!(share(URGENT, 5000), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_or_stopping_switch_takes_no_call_and_says_so_when_asked() {
        let now = Instant::now();
        let mut overload = Overload::new(0, now);
        overload.full = true;
        for who in [CALL, URGENT, Newcomer::Options] {
            assert_eq!(overload.sheds(who, NONE, 0.5, now), Some(Shed::Full));
        }
        overload.draining = true;
        assert_eq!(overload.sheds(CALL, NONE, 0.5, now), Some(Shed::Draining));
        assert_eq!(overload.sheds(Newcomer::Register, NONE, 0.5, now), None, "phones stay where they are");
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_the_age_of_the_oldest_request_that_nobody_took() {
        let now = Instant::now();
        let mut overload = Overload::new(0, now);
        assert_eq!(overload.lag(now, |_| true), NONE);
        (0..3u64).for_each(|n| overload.told(Waiting::Register(n), now + Duration::from_secs(n)));
        let later = now + Duration::from_secs(5);
        assert_eq!(overload.lag(later, |_| true), Duration::from_secs(5));
        assert_eq!(overload.lag(later, |what| what != Waiting::Register(0)), Duration::from_secs(4));
        assert_eq!(overload.lag(later, |_| false), NONE);
    }
}
