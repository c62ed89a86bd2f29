//! INVITE client transaction: RFC 3261 figure 5 as corrected by RFC 6026 §7.2.
//!
//! ```text
//!   Calling --1xx--> Proceeding --2xx--> Accepted (timer M) --> gone
//!      |                  |--300-699--> Completed (timer D, ACKs every repeat) --> gone
//!      '--timer B, transport error--> gone
//! ```

use bytes::Bytes;
use tokio::time::Instant;

use super::timer::{Retransmit, Timers};
use super::{Effects, Tell};

/// An INVITE of ours under way. `None` is the terminated state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientInvite {
    /// Sent, nothing heard.
    Calling {
        /// The request.
        request: Bytes,
        /// Timer A; none on a reliable transport.
        retransmit: Option<Retransmit>,
        /// Timer B.
        give_up: Instant,
    },
    /// A provisional response came. No timer of the RFC: the dialog's user decides how long it rings.
    Proceeding,
    /// A failure came and is acknowledged.
    Completed {
        /// The ACK.
        ack: Bytes,
        /// Timer D.
        until: Instant,
    },
    /// A 2xx came; its repeats go up to be acknowledged.
    Accepted {
        /// Timer M.
        until: Instant,
    },
}

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 300-699, with the ACK for it (RFC 3261 §17.1.1.3).
    Failure {
        /// The ACK.
        ack: Bytes,
    },
    /// The transport could not deliver.
    TransportFailed,
    /// Time passed.
    Tick,
}

impl ClientInvite {
    /// Sends the INVITE.
    pub fn start(request: Bytes, reliable: bool, timers: &Timers, now: Instant) -> (Self, Effects) {
        let effects = Effects::send(&request);
        let retransmit = (!reliable).then(|| Retransmit::begin(now, timers.t1, None));
        (Self::Calling { request, retransmit, give_up: now + timers.give_up() }, effects)
    }

    /// The same, given up by its user: the INVITE is not sent again, but whatever answers it is still dealt with.
    #[must_use]
    pub fn hushed(self) -> Self {
        match self {
            Self::Calling { request, give_up, .. } => Self::Calling { request, retransmit: None, give_up },
            Self::Proceeding | Self::Completed { .. } | Self::Accepted { .. } => self,
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Calling { retransmit, give_up, .. } => Some(retransmit.map_or(*give_up, |r| r.at.min(*give_up))),
            Self::Proceeding => None,
            Self::Completed { until, .. } | Self::Accepted { until } => Some(*until),
        }
    }

    /// The next state (`None`: terminated) and what to do.
    pub fn step(self, input: Input, reliable: bool, timers: &Timers, now: Instant) -> (Option<Self>, Effects) {
        match (self, input) {
            (Self::Calling { .. } | Self::Proceeding, Input::Provisional) => {
                (Some(Self::Proceeding), Effects::tell(Tell::Response))
            }
            (Self::Calling { .. } | Self::Proceeding, Input::Success) => {
                (Some(Self::Accepted { until: now + timers.give_up() }), Effects::tell(Tell::Response))
            }
            (Self::Calling { .. } | Self::Proceeding, Input::Failure { ack }) => {
                let effects = Effects::send(&ack).and_tell(Tell::Response);
                // Timer D is at least 32 s on unreliable transports, 0 on reliable ones.
                (if reliable { None } else { Some(Self::Completed { ack, until: now + timers.give_up() }) }, effects)
            }
            (Self::Completed { ack, until }, Input::Failure { .. }) => {
                let effects = Effects::resend(&ack);
                (Some(Self::Completed { ack, until }), effects)
            }
            // RFC 6026 §7.2: every further 2xx goes to the user, which acknowledges it.
            (Self::Accepted { until }, Input::Success) => {
                (Some(Self::Accepted { until }), Effects::tell(Tell::Response))
            }
            (Self::Calling { .. }, Input::TransportFailed) => (None, Effects::tell(Tell::Unreachable)),
            (Self::Calling { request, retransmit, give_up }, Input::Tick) => {
                if now >= give_up {
                    return (None, Effects::tell(Tell::TimedOut));
                }
                match retransmit {
                    Some(timer) if now >= timer.at => {
                        let effects = Effects::resend(&request);
                        (Some(Self::Calling { request, retransmit: Some(timer.again(now)), give_up }), effects)
                    }
                    Some(_) | None => (Some(Self::Calling { request, retransmit, give_up }), Effects::none()),
                }
            }
            (Self::Completed { until, .. } | Self::Accepted { until }, Input::Tick) if now >= until => {
                (None, Effects::none())
            }
            // RFC 6026 §7.2: a transport error in Accepted is not fatal; nor is it in Proceeding, where the peer may
            // answer by another connection. Late provisionals mean nothing.
            (
                state @ (Self::Proceeding | Self::Completed { .. } | Self::Accepted { .. }),
                Input::Provisional | Input::Success | Input::Failure { .. } | Input::TransportFailed | Input::Tick,
            ) => (Some(state), Effects::none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn calling() -> (ClientInvite, Instant, Timers) {
        let (now, timers) = (Instant::now(), Timers::default());
        (ClientInvite::start(Bytes::from_static(b"INVITE"), false, &timers, now).0, now, timers)
    }

    #[tokio::test(start_paused = true)]
    async fn timer_a_doubles_and_timer_b_ends_it_after_64_t1() {
        let (mut state, began, timers) = calling();
        let mut sent = Vec::new();
        loop {
            let at = state.deadline().expect("armed");
            let (next, effects) = state.step(Input::Tick, false, &timers, at);
            if effects.send.is_some() {
                sent.push((at - began).as_millis());
            }
            match next {
                Some(next) => state = next,
                None => {
                    assert_eq!(effects.tell, Some(Tell::TimedOut));
                    assert_eq!(at - began, Duration::from_secs(32));
                    break;
                }
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provisional_response_stops_the_timers() {
        let (state, now, timers) = calling();
        let (state, effects) = state.step(Input::Provisional, false, &timers, now);
        assert_eq!((state.as_ref().and_then(ClientInvite::deadline), effects.tell), (None, Some(Tell::Response)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_failure_is_acknowledged_again_but_not_told() {
        let (state, now, timers) = calling();
        let ack = Bytes::from_static(b"ACK");
        let (state, effects) = state.step(Input::Failure { ack: ack.clone() }, false, &timers, now);
        assert_eq!((effects.send, effects.tell), (Some(ack.clone()), Some(Tell::Response)));
        let state = state.expect("timer D runs");
        let (_, effects) = state.step(Input::Failure { ack: Bytes::new() }, false, &timers, now);
        assert_eq!((effects.send, effects.tell), (Some(ack), None));
    }

    #[tokio::test(start_paused = true)]
    async fn every_2xx_reaches_the_user_until_timer_m() {
        let (state, now, timers) = calling();
        let (state, _) = state.step(Input::Success, false, &timers, now);
        let (state, effects) = state.expect("accepted").step(Input::Success, false, &timers, now);
        assert_eq!(effects.tell, Some(Tell::Response));
        let (state, effects) = state.expect("accepted").step(Input::TransportFailed, false, &timers, now);
        assert_eq!(effects, Effects::none());
        let (state, _) = state.expect("accepted").step(Input::Tick, false, &timers, now + timers.give_up());
        assert_eq!(state, None);
    }
}
