//! Non-INVITE client transaction: RFC 3261 figure 6.
//!
//! ```text
//!   Trying --1xx--> Proceeding --200-699--> Completed (timer K) --> gone
//!     '------200-699------------------------^
//!     '--timer F, transport error--> gone
//! ```

use bytes::Bytes;
use tokio::time::Instant;

use super::timer::{Retransmit, Timers};
use super::{Effects, Tell};

/// A request of ours other than INVITE under way. `None` is the terminated state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOther {
    /// No final response yet; `heard` once a provisional one came (then timer E runs at T2).
    Waiting {
        /// The request.
        request: Bytes,
        /// Timer E; none on a reliable transport.
        retransmit: Option<Retransmit>,
        /// Timer F.
        give_up: Instant,
        /// Proceeding instead of Trying.
        heard: bool,
    },
    /// Absorbs repeats of the final response.
    Completed {
        /// Timer K.
        until: Instant,
    },
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// 1xx.
    Provisional,
    /// 200-699.
    Final,
    /// The transport could not deliver.
    TransportFailed,
    /// Time passed.
    Tick,
}

impl ClientOther {
    /// Sends the request.
    pub fn start(request: Bytes, reliable: bool, timers: &Timers, now: Instant) -> (Self, Effects) {
        let effects = Effects::send(&request);
        let retransmit = (!reliable).then(|| Retransmit::begin(now, timers.t1, Some(timers.t2)));
        (Self::Waiting { request, retransmit, give_up: now + timers.give_up(), heard: false }, effects)
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Instant {
        match self {
            Self::Waiting { retransmit, give_up, .. } => retransmit.map_or(*give_up, |r| r.at.min(*give_up)),
            Self::Completed { until } => *until,
        }
    }

    /// The next state (`None`: terminated) and what to do.
    pub fn step(self, input: Input, reliable: bool, timers: &Timers, now: Instant) -> (Option<Self>, Effects) {
        match (self, input) {
            (Self::Waiting { request, retransmit, give_up, heard }, Input::Provisional) => {
                let retransmit = if heard { retransmit } else { retransmit.map(|timer| timer.slow(now, timers.t2)) };
                (Some(Self::Waiting { request, retransmit, give_up, heard: true }), Effects::tell(Tell::Response))
            }
            (Self::Waiting { .. }, Input::Final) => {
                let state = (!reliable).then(|| Self::Completed { until: now + timers.t4 });
                (state, Effects::tell(Tell::Response))
            }
            (Self::Waiting { .. }, Input::TransportFailed) => (None, Effects::tell(Tell::Unreachable)),
            (Self::Waiting { request, retransmit, give_up, heard }, Input::Tick) => {
                if now >= give_up {
                    return (None, Effects::tell(Tell::TimedOut));
                }
                match retransmit {
                    Some(timer) if now >= timer.at => {
                        let effects = Effects::resend(&request);
                        let retransmit = Some(timer.again(now));
                        (Some(Self::Waiting { request, retransmit, give_up, heard }), effects)
                    }
                    Some(_) | None => (Some(Self::Waiting { request, retransmit, give_up, heard }), Effects::none()),
                }
            }
            (Self::Completed { until }, Input::Tick) if now >= until => (None, Effects::none()),
            (
                state @ Self::Completed { .. },
                Input::Provisional | Input::Final | Input::TransportFailed | Input::Tick,
            ) => (Some(state), Effects::none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timer_e_doubles_up_to_t2_and_timer_f_ends_it() {
        let (began, timers) = (Instant::now(), Timers::default());
        let (mut state, _) = ClientOther::start(Bytes::from_static(b"BYE"), false, &timers, began);
        let mut sent = Vec::new();
        loop {
            let at = state.deadline();
            let (next, effects) = state.step(Input::Tick, false, &timers, at);
            if effects.send.is_some() {
                sent.push((at - began).as_millis());
            }
            match next {
                Some(next) => state = next,
                None => break,
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_provisional_the_interval_is_t2() {
        let (now, timers) = (Instant::now(), Timers::default());
        let (state, _) = ClientOther::start(Bytes::from_static(b"BYE"), false, &timers, now);
        let (state, _) = state.step(Input::Provisional, false, &timers, now);
        assert_eq!(state.map(|state| state.deadline()), Some(now + timers.t2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_response_is_told_once_and_repeats_absorbed_for_t4() {
        let (now, timers) = (Instant::now(), Timers::default());
        let (state, _) = ClientOther::start(Bytes::from_static(b"BYE"), false, &timers, now);
        let (state, effects) = state.step(Input::Final, false, &timers, now);
        assert_eq!(effects.tell, Some(Tell::Response));
        let (state, effects) = state.expect("timer K runs").step(Input::Final, false, &timers, now);
        assert_eq!(effects.tell, None);
        assert_eq!(state.expect("timer K runs").step(Input::Tick, false, &timers, now + timers.t4).0, None);
    }
}
