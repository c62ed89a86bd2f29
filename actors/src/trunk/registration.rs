//! Our registration with a carrier (RFC 3261 §10.2): when to send a REGISTER, and what to make of the answer. Pure; times are
//! the switch's own wall time, which never jumps.
//!
//! Not here: digest, 423 rounds and transactions, which are the SIP core's.
//!
//! ```text
//!   Waiting --start--> Registering --granted--> Registered --85 % of the grant--> Registering (until kept)
//!      ^                   |  refused, unanswered                                        |
//!      |                   v                                                             |
//!      +---- back-off --- Failed  <------------------------------------------------------+
//!   any --drain--> Unregistered
//! ```

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::supervision::Backoff;

/// No outcome after this long is a failure (the core answers itself after 64*T1 = 32 s; this is for an answer lost on the way).
pub const NO_OUTCOME: Duration = Duration::from_secs(40);
/// A registration is refreshed after this share of what was granted.
const REFRESH_AT: f64 = 0.85;

/// Where a registration stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// The trunk is known by its address: we never register.
    Static,
    /// Not begun yet.
    Waiting,
    /// A REGISTER is out.
    Registering {
        /// Sent when.
        since: SystemTime,
        /// The registration that is being refreshed runs until then.
        until: Option<SystemTime>,
        /// Failures in a row before this attempt.
        failures: u32,
    },
    /// Granted.
    Registered {
        /// It runs until then.
        until: SystemTime,
        /// It is refreshed then.
        refresh_at: SystemTime,
    },
    /// Refused or unanswered; tried again for ever.
    Failed {
        /// Final status.
        status: u16,
        /// Failures in a row.
        failures: u32,
        /// Tried again then.
        retry_at: SystemTime,
        /// An earlier registration may still run until then.
        until: Option<SystemTime>,
    },
    /// Taken back: the switch drains.
    Unregistered,
}

/// What happens to a registration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// The trunk's actor is there: begin, or after a crash go on. An attempt under way is made again.
    Start,
    /// Time passed.
    Tick,
    /// The core says how it went: granted lifetime, or the final status. `dice` in 0..1 spreads the next wait.
    Outcome(Result<Duration, u16>, f64),
    /// Take it back.
    Drain,
}

/// The REGISTER to send: what to ask for in Expires, zero to un-register.
pub type Send = Option<Duration>;

impl Registration {
    /// Before the first step.
    pub fn new(registers: bool) -> Self {
        if registers { Self::Waiting } else { Self::Static }
    }

    /// One step. `expires` is what the configuration asks for.
    pub fn step(self, input: Input, expires: Duration, now: SystemTime) -> (Self, Send) {
        match (self, input) {
            (Self::Static, _) => (Self::Static, None),
            (Self::Unregistered, Input::Start) => (Self::Unregistered, Some(Duration::ZERO)),
            (Self::Unregistered, _) => (Self::Unregistered, None),
            (state, Input::Drain) => {
                let known = !matches!(state, Self::Waiting | Self::Failed { until: None, .. });
                (Self::Unregistered, known.then_some(Duration::ZERO))
            }
            (Self::Waiting, Input::Start | Input::Tick) => Self::attempt(None, 0, expires, now),
            (Self::Waiting, Input::Outcome(..)) => (Self::Waiting, None),
            (Self::Registering { until, failures, .. }, Input::Start) => Self::attempt(until, failures, expires, now),
            (Self::Registering { since, until, failures }, Input::Tick) if now >= since + NO_OUTCOME => {
                (Self::failed(408, failures, until, now, 0.5), None)
            }
            (state @ Self::Registering { .. }, Input::Tick) => (state, None),
            (
                Self::Registering { .. } | Self::Failed { .. } | Self::Registered { .. },
                Input::Outcome(Ok(granted), _),
            ) if !granted.is_zero() => {
                (Self::Registered { until: now + granted, refresh_at: now + granted.mul_f64(REFRESH_AT) }, None)
            }
            // A 200 that grants nothing is no registration.
            (Self::Registering { until, failures, .. }, Input::Outcome(Ok(_), dice)) => {
                (Self::failed(200, failures, until, now, dice), None)
            }
            (Self::Registering { until, failures, .. }, Input::Outcome(Err(status), dice)) => {
                (Self::failed(status, failures, until, now, dice), None)
            }
            (Self::Registered { until, refresh_at }, Input::Start | Input::Tick) if now >= refresh_at => {
                Self::attempt(Some(until), 0, expires, now)
            }
            (state @ Self::Registered { .. }, Input::Start | Input::Tick | Input::Outcome(..)) => (state, None),
            (Self::Failed { failures, retry_at, until, .. }, Input::Start | Input::Tick) if now >= retry_at => {
                Self::attempt(until, failures, expires, now)
            }
            (Self::Failed { status, failures, retry_at, until }, Input::Start | Input::Tick | Input::Outcome(..)) => {
                let until = until.filter(|until| *until > now);
                (Self::Failed { status, failures, retry_at, until }, None)
            }
        }
    }

    fn attempt(until: Option<SystemTime>, failures: u32, expires: Duration, now: SystemTime) -> (Self, Send) {
        let until = until.filter(|until| *until > now);
        (Self::Registering { since: now, until, failures }, Some(expires))
    }

    fn failed(status: u16, failures: u32, until: Option<SystemTime>, now: SystemTime, dice: f64) -> Self {
        let failures = failures.saturating_add(1);
        let retry_at = now + Backoff::PATIENT.wait(failures, dice);
        Self::Failed { status, failures, retry_at, until: until.filter(|until| *until > now) }
    }

    /// When the next [`Input::Tick`] is due.
    pub fn wake_at(&self) -> Option<SystemTime> {
        match self {
            Self::Static | Self::Waiting | Self::Unregistered => None,
            Self::Registering { since, .. } => Some(*since + NO_OUTCOME),
            Self::Registered { refresh_at, .. } => Some(*refresh_at),
            Self::Failed { retry_at, .. } => Some(*retry_at),
        }
    }

    /// Until when the carrier knows where we are, as far as it told us.
    pub fn until(&self) -> Option<SystemTime> {
        match self {
            Self::Static | Self::Waiting | Self::Unregistered => None,
            Self::Registering { until, .. } | Self::Failed { until, .. } => *until,
            Self::Registered { until, .. } => Some(*until),
        }
    }

    /// The state in a word, as the API and the metrics show it: a refresh under way is `registered`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Registering { until: Some(_), .. } | Self::Registered { .. } => "registered",
            Self::Waiting | Self::Registering { until: None, .. } => "registering",
            Self::Failed { .. } => "failed",
            Self::Unregistered => "unregistered",
        }
    }

    /// The final status of the last attempt, where it failed.
    pub fn last_status(&self) -> Option<u16> {
        match self {
            Self::Failed { status, .. } => Some(*status),
            Self::Static | Self::Waiting | Self::Registering { .. } | Self::Registered { .. } | Self::Unregistered => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn registering() -> Registration {
        let (state, send) = Registration::new(true).step(Input::Start, ASKED, at(0));
        assert_eq!(send, Some(ASKED));
        state
    }

    fn granted(seconds: u64) -> Input {
        Input::Outcome(Ok(Duration::from_secs(seconds)), 0.5)
    }

    #[test]
    fn it_is_refreshed_at_85_percent_of_what_was_granted() {
        let (state, _) = registering().step(granted(100), ASKED, at(1));
        assert_eq!((state.word(), state.until(), state.wake_at()), ("registered", Some(at(101)), Some(at(86))));
        assert_eq!(state.clone().step(Input::Tick, ASKED, at(85)), (state.clone(), None));
        let (state, send) = state.step(Input::Tick, ASKED, at(86));
        assert_eq!((send, state.word()), (Some(ASKED), "registered"));
    }

    #[test]
    fn a_failure_is_tried_again_after_1_to_60_s_for_ever() {
        let mut state = registering();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..10 {
            (state, _) = state.step(Input::Outcome(Err(503), 0.5), ASKED, now);
            let retry = state.wake_at().expect("a retry");
            waits.push(retry.duration_since(now).expect("later").as_secs());
            now = retry;
            let (next, send) = state.step(Input::Tick, ASKED, now);
            assert_eq!(send, Some(ASKED));
            state = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn a_failed_refresh_keeps_the_old_registration_until_it_runs_out() {
        let (state, _) = registering().step(granted(100), ASKED, at(0));
        let (state, _) = state.step(Input::Tick, ASKED, at(85));
        let (state, _) = state.step(Input::Outcome(Err(408), 0.5), ASKED, at(90));
        assert_eq!((state.word(), state.last_status(), state.until()), ("failed", Some(408), Some(at(100))));
        let (state, _) = state.step(Input::Tick, ASKED, at(101));
        assert_eq!(state.until(), None);
    }

    #[test]
    fn an_outcome_that_never_comes_is_a_timeout() {
        let (state, send) = registering().step(Input::Tick, ASKED, at(40));
        assert_eq!((state.last_status(), send), (Some(408), None));
    }

    #[test]
    fn a_restarted_actor_asks_again_only_where_an_attempt_was_under_way() {
        assert_eq!(registering().step(Input::Start, ASKED, at(3)).1, Some(ASKED));
        let (registered, _) = registering().step(granted(100), ASKED, at(1));
        assert_eq!(registered.clone().step(Input::Start, ASKED, at(3)), (registered, None));
    }

    #[test]
    fn draining_takes_it_back_once() {
        let (registered, _) = registering().step(granted(100), ASKED, at(1));
        let (state, send) = registered.step(Input::Drain, ASKED, at(2));
        assert_eq!((state.word(), send), ("unregistered", Some(Duration::ZERO)));
        assert_eq!(state.step(granted(100), ASKED, at(3)), (Registration::Unregistered, None));
        assert_eq!(Registration::new(true).step(Input::Drain, ASKED, at(0)), (Registration::Unregistered, None));
    }

    #[test]
    fn a_static_trunk_never_registers() {
        for input in [Input::Start, Input::Tick, granted(60), Input::Drain] {
            assert_eq!(Registration::new(false).step(input, ASKED, at(0)), (Registration::Static, None));
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_registered_or_tries_again(
            events in proptest::collection::vec((0_u8..4, 0_u64..200, 200_u16..700, 0.0_f64..1.0), 0..60),
        ) {
            let mut state = registering();
            let mut now = at(0);
            for (kind, after, status, dice) in events {
                now += Duration::from_secs(after);
                let input = match kind {
                    0 => Input::Start,
                    1 => Input::Tick,
                    2 => Input::Outcome(Ok(Duration::from_secs(u64::from(status))), dice),
                    _ => Input::Outcome(Err(status), dice),
                };
                state = state.step(input, ASKED, now).0;
                let wake = state.wake_at();
                prop_assert!(wake.is_some_and(|wake| wake <= now + ASKED), "{state:?} waits for nothing");
            }
        }
    }
}
