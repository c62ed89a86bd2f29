//! A 2xx to an INVITE, repeated by the UAS core until its ACK: T1 doubling to T2, over reliable transports too; after 64*T1
//! without an ACK the dialog is ended (RFC 3261 §13.3.1.4).

use bytes::Bytes;
use tokio::time::Instant;

use super::super::transaction::timer::{Retransmit, Timers};

/// A 2xx that waits for its ACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The INVITE's CSeq number: the ACK has the same.
    pub cseq: u32,
    response: Bytes,
    retransmit: Retransmit,
    give_up: Instant,
}

/// What time asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Send this again.
    Resend(Bytes),
    /// The ACK never came: BYE.
    GiveUp,
}

impl Accepted {
    /// The 2xx has just been sent.
    pub fn new(cseq: u32, response: Bytes, timers: &Timers, now: Instant) -> Self {
        let retransmit = Retransmit::begin(now, timers.t1, Some(timers.t2));
        Self { cseq, response, retransmit, give_up: now + timers.give_up() }
    }

    /// When [`Accepted::tick`] is due.
    pub fn deadline(&self) -> Instant {
        self.retransmit.at.min(self.give_up)
    }

    /// Time passed.
    pub fn tick(self, now: Instant) -> (Self, Due) {
        if now >= self.give_up {
            (self, Due::GiveUp)
        } else if now >= self.retransmit.at {
            let response = self.response.clone();
            let retransmit = self.retransmit.again(now);
            (Self { retransmit, ..self }, Due::Resend(response))
        } else {
            (self, Due::Nothing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_2xx_is_repeated_from_t1_to_t2_and_given_up_after_64_t1() {
        let (began, timers) = (Instant::now(), Timers::default());
        let mut state = Accepted::new(1, Bytes::from_static(b"200"), &timers, began);
        let mut sent = Vec::new();
        let gave_up = loop {
            let at = state.deadline();
            let (next, due) = state.tick(at);
            match due {
                Due::Nothing => {}
                Due::Resend(_) => sent.push((at - began).as_millis()),
                Due::GiveUp => break at - began,
            }
            state = next;
        };
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(gave_up, timers.give_up());
    }
}
