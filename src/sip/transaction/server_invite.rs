//! INVITE server transaction: RFC 3261 figure 7 as corrected by RFC 6026 §7.1.
//!
//! ```text
//!   Proceeding --2xx from user--> Accepted (timer L, absorbs repeats; the 2xx is repeated by the dialog) --> gone
//!       '------300-699----------> Completed (timers G, H) --ACK--> Confirmed (timer I) --> gone
//! ```

use bytes::Bytes;
use tokio::time::Instant;

use super::timer::{Retransmit, Timers};
use super::{Effects, Tell};

/// An INVITE of a peer's under way. `None` is the terminated state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerInvite {
    /// No final response yet.
    Proceeding {
        /// The last provisional response: what a repeated INVITE gets.
        last: Option<Bytes>,
    },
    /// A failure was sent and is repeated until its ACK.
    Completed {
        /// The response.
        response: Bytes,
        /// Timer G; none on a reliable transport.
        retransmit: Option<Retransmit>,
        /// Timer H.
        give_up: Instant,
    },
    /// The ACK came; repeats of it are absorbed.
    Confirmed {
        /// Timer I.
        until: Instant,
    },
    /// A 2xx was sent; repeats of the INVITE are absorbed.
    Accepted {
        /// Timer L.
        until: Instant,
    },
}

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The INVITE again.
    Repeat,
    /// The ACK of a failure response.
    Ack,
    /// The user answers.
    Respond {
        /// Status.
        status: u16,
        /// The response.
        response: Bytes,
    },
    /// Time passed.
    Tick,
}

impl ServerInvite {
    /// A new INVITE.
    pub fn start() -> Self {
        Self::Proceeding { last: None }
    }

    /// Whether a final response was given.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Proceeding { .. } => false,
            Self::Completed { .. } | Self::Confirmed { .. } | Self::Accepted { .. } => true,
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Proceeding { .. } => None,
            Self::Completed { retransmit, give_up, .. } => Some(retransmit.map_or(*give_up, |r| r.at.min(*give_up))),
            Self::Confirmed { until } | Self::Accepted { until } => Some(*until),
        }
    }

    /// The next state (`None`: terminated) and what to do.
    pub fn step(self, input: Input, reliable: bool, timers: &Timers, now: Instant) -> (Option<Self>, Effects) {
        match (self, input) {
            (Self::Proceeding { last }, Input::Repeat) => {
                let effects = last.as_ref().map_or_else(Effects::none, Effects::resend);
                (Some(Self::Proceeding { last }), effects)
            }
            (Self::Proceeding { .. }, Input::Respond { status, response }) => {
                let effects = Effects::send(&response);
                let state = match status {
                    0..=199 => Self::Proceeding { last: Some(response) },
                    200..=299 => Self::Accepted { until: now + timers.give_up() },
                    _ => Self::Completed {
                        response,
                        retransmit: (!reliable).then(|| Retransmit::begin(now, timers.t1, Some(timers.t2))),
                        give_up: now + timers.give_up(),
                    },
                };
                (Some(state), effects)
            }
            (Self::Completed { response, retransmit, give_up }, Input::Repeat) => {
                let effects = Effects::resend(&response);
                (Some(Self::Completed { response, retransmit, give_up }), effects)
            }
            (Self::Completed { .. }, Input::Ack) => {
                // Timer I is T4 on unreliable transports, 0 on reliable ones.
                ((!reliable).then(|| Self::Confirmed { until: now + timers.t4 }), Effects::none())
            }
            (Self::Completed { response, retransmit, give_up }, Input::Tick) => {
                if now >= give_up {
                    return (None, Effects::tell(Tell::NoAck));
                }
                match retransmit {
                    Some(timer) if now >= timer.at => {
                        let effects = Effects::resend(&response);
                        let retransmit = Some(timer.again(now));
                        (Some(Self::Completed { response, retransmit, give_up }), effects)
                    }
                    Some(_) | None => (Some(Self::Completed { response, retransmit, give_up }), Effects::none()),
                }
            }
            (Self::Confirmed { until } | Self::Accepted { until }, Input::Tick) if now >= until => {
                (None, Effects::none())
            }
            (
                state @ (Self::Proceeding { .. }
                | Self::Completed { .. }
                | Self::Confirmed { .. }
                | Self::Accepted { .. }),
                Input::Repeat | Input::Ack | Input::Respond { .. } | Input::Tick,
            ) => (Some(state), Effects::none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(status: u16) -> Input {
        Input::Respond { status, response: Bytes::from(status.to_string()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_invite_gets_the_last_provisional() {
        let (now, timers) = (Instant::now(), Timers::default());
        let (state, _) = ServerInvite::start().step(respond(180), false, &timers, now);
        let (_, effects) = state.expect("proceeding").step(Input::Repeat, false, &timers, now);
        assert_eq!((effects.send, effects.again), (Some(Bytes::from_static(b"180")), true));
    }

    #[tokio::test(start_paused = true)]
    async fn timer_g_doubles_up_to_t2_until_the_ack() {
        let (began, timers) = (Instant::now(), Timers::default());
        let (state, _) = ServerInvite::start().step(respond(486), false, &timers, began);
        let mut state = state.expect("completed");
        let mut sent = Vec::new();
        while sent.len() < 6 {
            let at = state.deadline().expect("armed");
            let (next, effects) = state.step(Input::Tick, false, &timers, at);
            sent.extend(effects.send.map(|_| (at - began).as_millis()));
            state = next.expect("completed");
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500]);
        let (state, _) = state.step(Input::Ack, false, &timers, began);
        assert_eq!(state.and_then(|state| state.deadline()), Some(began + timers.t4));
    }

    #[tokio::test(start_paused = true)]
    async fn timer_h_ends_a_failure_nobody_acknowledges() {
        let (now, timers) = (Instant::now(), Timers::default());
        let (state, _) = ServerInvite::start().step(respond(486), true, &timers, now);
        let (state, effects) = state.expect("completed").step(Input::Tick, true, &timers, now + timers.give_up());
        assert_eq!((state, effects.tell), (None, Some(Tell::NoAck)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_invite_repeated_after_2xx_is_absorbed() {
        let (now, timers) = (Instant::now(), Timers::default());
        let (state, _) = ServerInvite::start().step(respond(200), false, &timers, now);
        let (state, effects) = state.expect("accepted").step(Input::Repeat, false, &timers, now);
        assert_eq!(effects, Effects::none());
        assert_eq!(state.and_then(|state| state.deadline()), Some(now + timers.give_up()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_final_response_is_not_sent() {
        let (now, timers) = (Instant::now(), Timers::default());
        let (state, _) = ServerInvite::start().step(respond(487), false, &timers, now);
        let (_, effects) = state.expect("completed").step(respond(200), false, &timers, now);
        assert_eq!(effects, Effects::none());
    }
}
