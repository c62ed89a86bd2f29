//! Who may offer when, in a confirmed dialog: one INVITE or UPDATE with an offer at a time, glare and its back-off
//! (RFC 3261 §14, RFC 3311 §5.2).
//!
//! ```text
//!            Want                Refused 491
//!   Idle ----------> Ours -----------------------> BackOff --Tick--> Ours
//!     '---Incoming--> Theirs --Answered--> Settling --Settled--> Idle, or Ours if one was wanted meanwhile
//! ```

use std::time::Duration;

use tandem_actors::model::negotiate::AudioOffer;
use tokio::time::Instant;

/// How long the brain may take to answer a peer's offer before the core answers 500 itself.
pub const DECISION: Duration = Duration::from_secs(2);

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reoffer {
    /// Nobody offers.
    #[default]
    Idle,
    /// Our re-INVITE is out.
    Ours {
        /// What it offers.
        offer: Box<AudioOffer>,
        /// A later offer of ours that waits for its turn.
        wanted: Option<Box<AudioOffer>>,
    },
    /// Ours met 491 and is tried again at a time of its own.
    BackOff {
        /// What is offered.
        offer: Box<AudioOffer>,
        /// When.
        at: Instant,
    },
    /// Theirs waits for our answer.
    Theirs {
        /// Names the request.
        request: u64,
        /// What it offers.
        offer: Option<Box<AudioOffer>>,
        /// When the core answers 500.
        deadline: Instant,
        /// An offer of ours that waits for its turn.
        wanted: Option<Box<AudioOffer>>,
    },
    /// Theirs was answered with 200, whose ACK has not come.
    Settling {
        /// An offer of ours that waits for its turn.
        wanted: Option<Box<AudioOffer>>,
    },
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The leg wants to offer.
    Want(Box<AudioOffer>),
    /// The session is to be refreshed with what was described last. Whatever is under way refreshes it as well.
    Refresh(Box<AudioOffer>),
    /// The peer offers, or asks for an offer.
    Incoming {
        /// Names the request.
        request: u64,
        /// The offer.
        offer: Option<Box<AudioOffer>>,
    },
    /// Ours got a final response other than 491.
    Done,
    /// Ours got 491: try again after this long.
    Glare(Duration),
    /// Theirs was answered; `acknowledged`: no ACK is to come (UPDATE, or a failure).
    Answered {
        /// See above.
        acknowledged: bool,
    },
    /// The ACK to our 200 came, or never will.
    Settled,
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Nothing.
    Nothing,
    /// Send a re-INVITE with this offer.
    Send(Box<AudioOffer>),
    /// Give theirs to the leg.
    Deliver,
    /// Answer theirs with this status: 491 while ours is out, 500 with Retry-After while another of theirs waits.
    Refuse(u16),
    /// The leg did not decide in time: answer theirs 500 with Retry-After.
    Overdue {
        /// Names the request.
        request: u64,
    },
}

impl Reoffer {
    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Idle | Self::Ours { .. } | Self::Settling { .. } => None,
            Self::BackOff { at, .. } => Some(*at),
            Self::Theirs { deadline, .. } => Some(*deadline),
        }
    }

    /// The next state and what to do.
    pub fn step(self, input: Input, now: Instant) -> (Self, Output) {
        match (self, input) {
            (Self::Idle, Input::Want(offer) | Input::Refresh(offer)) => send(offer),
            (Self::Theirs { request, offer, deadline, wanted: None }, Input::Refresh(wanted)) => {
                (Self::Theirs { request, offer, deadline, wanted: Some(wanted) }, Output::Nothing)
            }
            (Self::Settling { wanted: None }, Input::Refresh(offer)) => {
                (Self::Settling { wanted: Some(offer) }, Output::Nothing)
            }
            // The later wish counts; one INVITE at a time.
            (Self::BackOff { at, .. }, Input::Want(offer)) => (Self::BackOff { offer, at }, Output::Nothing),
            (Self::Theirs { request, offer, deadline, .. }, Input::Want(wanted)) => {
                (Self::Theirs { request, offer, deadline, wanted: Some(wanted) }, Output::Nothing)
            }
            (Self::Settling { .. }, Input::Want(offer)) => (Self::Settling { wanted: Some(offer) }, Output::Nothing),
            (Self::Ours { offer, .. }, Input::Want(wanted)) => {
                (Self::Ours { offer, wanted: Some(wanted) }, Output::Nothing)
            }
            (Self::Idle, Input::Incoming { request, offer }) => {
                (Self::Theirs { request, offer, deadline: now + DECISION, wanted: None }, Output::Deliver)
            }
            (Self::BackOff { offer: wanted, .. }, Input::Incoming { request, offer }) => {
                let wanted = Some(wanted);
                (Self::Theirs { request, offer, deadline: now + DECISION, wanted }, Output::Deliver)
            }
            (state @ Self::Ours { .. }, Input::Incoming { .. }) => (state, Output::Refuse(491)),
            (state @ Self::Theirs { .. }, Input::Incoming { .. }) => (state, Output::Refuse(500)),
            (state @ Self::Settling { .. }, Input::Incoming { .. }) => (state, Output::Refuse(491)),
            (Self::Ours { offer, wanted }, Input::Glare(wait)) => {
                (Self::BackOff { offer: wanted.unwrap_or(offer), at: now + wait }, Output::Nothing)
            }
            (Self::Theirs { wanted, .. }, Input::Answered { acknowledged: false }) => {
                (Self::Settling { wanted }, Output::Nothing)
            }
            (Self::Ours { wanted, .. }, Input::Done)
            | (Self::Theirs { wanted, .. }, Input::Answered { acknowledged: true })
            | (Self::Settling { wanted }, Input::Settled) => match wanted {
                Some(offer) => send(offer),
                None => (Self::Idle, Output::Nothing),
            },
            (Self::BackOff { offer, at }, Input::Tick) if now >= at => send(offer),
            (Self::Theirs { request, offer, deadline, wanted }, Input::Tick) if now >= deadline => {
                (Self::Theirs { request, offer, deadline, wanted }, Output::Overdue { request })
            }
            (
                state @ (Self::Idle
                | Self::Ours { .. }
                | Self::BackOff { .. }
                | Self::Theirs { .. }
                | Self::Settling { .. }),
                Input::Refresh(_)
                | Input::Done
                | Input::Glare(_)
                | Input::Answered { .. }
                | Input::Settled
                | Input::Tick,
            ) => (state, Output::Nothing),
        }
    }
}

fn send(offer: Box<AudioOffer>) -> (Reoffer, Output) {
    (Reoffer::Ours { offer: offer.clone(), wanted: None }, Output::Send(offer))
}

/// How long to wait after 491: the owner of the Call-ID 2.1 to 4.0 s, the other side 0 to 2.0 s, in steps of 10 ms
/// (RFC 3261 §14.1).
pub fn back_off(owner: bool) -> Duration {
    let steps = if owner { rand::random_range(210..=400) } else { rand::random_range(0..=200) };
    Duration::from_millis(10 * steps)
}

#[cfg(test)]
mod tests {
    use tandem_actors::model::media::{Codec, Direction};
    use tandem_actors::model::negotiate::{Capabilities, Security};

    use super::*;

    fn offer() -> Box<AudioOffer> {
        Box::new(AudioOffer::from_capabilities(&Capabilities {
            codecs: vec![Codec::Pcmu],
            rtp: "192.0.2.1:4000".parse().expect("an address"),
            direction: Direction::SendRecv,
            session_id: 1,
            session_version: 1,
            security: Security::Plain,
        }))
    }

    fn incoming() -> Input {
        Input::Incoming { request: 7, offer: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peers_offer_meets_491_while_ours_is_out() {
        let now = Instant::now();
        let (state, output) = Reoffer::Idle.step(Input::Want(offer()), now);
        assert_eq!(output, Output::Send(offer()));
        assert_eq!(state.step(incoming(), now).1, Output::Refuse(491));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_offer_before_the_first_is_answered_meets_500() {
        let now = Instant::now();
        let (state, _) = Reoffer::Idle.step(incoming(), now);
        assert_eq!(state.step(incoming(), now).1, Output::Refuse(500));
    }

    #[tokio::test(start_paused = true)]
    async fn after_glare_ours_is_sent_again_in_its_own_time() {
        let now = Instant::now();
        let (state, _) = Reoffer::Idle.step(Input::Want(offer()), now);
        let (state, _) = state.step(Input::Glare(Duration::from_secs(3)), now);
        let at = state.deadline().expect("a time");
        assert_eq!(at - now, Duration::from_secs(3));
        assert_eq!(state.step(Input::Tick, at).1, Output::Send(offer()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_during_theirs_is_sent_after_the_ack() {
        let now = Instant::now();
        let (state, _) = Reoffer::Idle.step(incoming(), now);
        let (state, output) = state.step(Input::Want(offer()), now);
        assert_eq!(output, Output::Nothing);
        let (state, _) = state.step(Input::Answered { acknowledged: false }, now);
        assert_eq!(state.step(Input::Settled, now).1, Output::Send(offer()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_gives_way_to_what_is_wanted() {
        let now = Instant::now();
        let (state, _) = Reoffer::Idle.step(Input::Want(offer()), now);
        let (state, output) = state.step(Input::Refresh(offer()), now);
        assert_eq!((output, state), (Output::Nothing, Reoffer::Ours { offer: offer(), wanted: None }));
        let (state, _) = Reoffer::Idle.step(incoming(), now);
        let (state, _) = state.step(Input::Refresh(offer()), now);
        let (_, output) = state.step(Input::Answered { acknowledged: true }, now);
        assert_eq!(output, Output::Send(offer()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_nobody_decides_on_is_overdue_after_2_s() {
        let now = Instant::now();
        let (state, _) = Reoffer::Idle.step(incoming(), now);
        assert_eq!(state.step(Input::Tick, now + DECISION).1, Output::Overdue { request: 7 });
    }

    #[test]
    fn the_owner_of_the_call_id_waits_longer() {
        for _ in 0..100 {
            assert!((2100..=4000).contains(&back_off(true).as_millis()));
            assert!(back_off(false).as_millis() <= 2000);
        }
    }
}
