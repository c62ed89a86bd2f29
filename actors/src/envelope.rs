//! Messages that carry the time they were sent: the age a message reaches in a mailbox is the first sign of an actor that does
//! not keep up. Used by Call, Trunk, Registrar and MediaWorker.

use tokio::time::Instant;

use crate::supervision::Kind;

/// A message and when it was sent. `into()` stamps it, so that `directory.calls.cast(&id, CallMsg::…)` just works.
#[derive(Debug)]
pub struct Envelope<M> {
    at: Instant,
    msg: M,
}

impl<M> From<M> for Envelope<M> {
    fn from(msg: M) -> Self {
        Self { at: Instant::now(), msg }
    }
}

impl<M> Envelope<M> {
    /// What is in it.
    pub fn peek(&self) -> &M {
        &self.msg
    }

    /// Takes the message out where it never came into a mailbox.
    pub fn unopened(self) -> M {
        self.msg
    }

    /// Takes the message out and counts its age in `tandem_actor_message_age_seconds`.
    pub fn open(self, kind: Kind) -> M {
        metrics::histogram!("tandem_actor_message_age_seconds", "kind" => kind.label()).record(self.at.elapsed());
        self.msg
    }
}
