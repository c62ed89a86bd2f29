//! Non-INVITE server transaction: RFC 3261 figure 8 with RFC 4320 (no provisional response but 100, which we never need since
//! every request is answered within 2 s; no 408).

use bytes::Bytes;
use tokio::time::Instant;

use super::Effects;
use super::timer::Timers;

/// A request of a peer's other than INVITE and ACK. `None` is the terminated state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerOther {
    /// No response yet; repeats are absorbed.
    Trying,
    /// Answered; a repeat gets the response again.
    Completed {
        /// The response.
        response: Bytes,
        /// Timer J.
        until: Instant,
    },
}

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The request again.
    Repeat,
    /// The user answers, finally.
    Respond {
        /// The response.
        response: Bytes,
    },
    /// Time passed.
    Tick,
}

impl ServerOther {
    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Trying => None,
            Self::Completed { until, .. } => Some(*until),
        }
    }

    /// The next state (`None`: terminated) and what to do.
    pub fn step(self, input: Input, reliable: bool, timers: &Timers, now: Instant) -> (Option<Self>, Effects) {
        match (self, input) {
            (Self::Trying, Input::Respond { response }) => {
                let effects = Effects::send(&response);
                ((!reliable).then(|| Self::Completed { response, until: now + timers.give_up() }), effects)
            }
            (Self::Completed { response, until }, Input::Repeat) => {
                let effects = Effects::resend(&response);
                (Some(Self::Completed { response, until }), effects)
            }
            (Self::Completed { until, .. }, Input::Tick) if now >= until => (None, Effects::none()),
            (state @ (Self::Trying | Self::Completed { .. }), Input::Repeat | Input::Respond { .. } | Input::Tick) => {
                (Some(state), Effects::none())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeat_gets_the_same_response_until_timer_j() {
        let (now, timers) = (Instant::now(), Timers::default());
        let response = Bytes::from_static(b"200");
        let (state, _) = ServerOther::Trying.step(Input::Repeat, false, &timers, now);
        let (state, effects) =
            state.expect("trying").step(Input::Respond { response: response.clone() }, false, &timers, now);
        assert_eq!(effects.send, Some(response.clone()));
        let (state, effects) = state.expect("completed").step(Input::Repeat, false, &timers, now);
        assert_eq!(effects.send, Some(response));
        let (state, _) = state.expect("completed").step(Input::Tick, false, &timers, now + timers.give_up());
        assert_eq!(state, None);
    }

    #[tokio::test(start_paused = true)]
    async fn timer_j_is_zero_on_a_reliable_transport() {
        let (now, timers) = (Instant::now(), Timers::default());
        let input = Input::Respond { response: Bytes::from_static(b"200") };
        assert_eq!(ServerOther::Trying.step(input, true, &timers, now).0, None);
    }
}
