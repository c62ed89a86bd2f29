//! A timer of an actor that is gone with it: a plain `send_after` sleeps on, and a call's longest deadline is hours away.

use std::time::Duration;

use ractor::{ActorRef, Message};
use tokio::task::AbortHandle;

/// At most one message to come. Setting it again, dropping it, or a panic of its actor takes the message back.
#[derive(Debug, Default)]
pub struct Timer(Option<AbortHandle>);

impl Timer {
    /// Casts the message after this long, in place of what was set before.
    pub fn set<M: Message>(&mut self, to: &ActorRef<M>, after: Duration, msg: impl FnOnce() -> M + Send + 'static) {
        self.clear();
        self.0 = Some(to.send_after(after, msg).abort_handle());
    }

    /// Takes the message back.
    pub fn clear(&mut self) {
        if let Some(sleeping) = self.0.take() {
            sleeping.abort();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clear();
    }
}
