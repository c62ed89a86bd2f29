//! A timer of an actor that is gone with it: a plain `send_after` sleeps on, and a call's longest deadline is hours away.

use std::time::Duration;

use ractor::{ActorRef, Message};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Moments nearer to each other than this are one: a step that leaves a deadline where it was costs no new task, and a deadline
/// that is reckoned from the wall clock is never the same to the nanosecond.
const SAME: Duration = Duration::from_millis(1);

/// At most one message to come. Setting it again, dropping it, or a panic of its actor takes the message back.
#[derive(Debug, Default)]
pub struct Timer(Option<(Instant, AbortHandle)>);

impl Timer {
    /// Casts the message after this long, in place of what was set before: an actor sets its timer for one message only. It may
    /// come a millisecond early, and is to be set again then.
    pub fn set<M: Message>(&mut self, to: &ActorRef<M>, after: Duration, msg: impl FnOnce() -> M + Send + 'static) {
        let now = Instant::now();
        let at = now + after;
        // One whose moment is past may have been sent by now.
        let stands = |armed: Instant| armed > now && armed.max(at) - armed.min(at) <= SAME;
        if self.0.as_ref().is_some_and(|(armed, _)| stands(*armed)) {
            return;
        }
        self.clear();
        self.0 = Some((at, to.send_after(after, msg).abort_handle()));
    }

    /// Takes the message back.
    pub fn clear(&mut self) {
        if let Some((_, sleeping)) = self.0.take() {
            sleeping.abort();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clear();
    }
}
