//! IVR: a script is data ([`script`]); a pure machine walks it ([`phase`], one file a kind of step); a runner actor ([`runner`])
//! does so for one call, as its child.
//!
//! ```text
//!   Call --FlowMsg (Digit, Played, DialFailed)--> Flow --media_play--> the caller's media session
//!        <--FlowReport (Dial, Room, HangUp)------
//! ```

pub mod phase;
pub mod runner;
pub mod script;

mod dial;
mod menu;
mod play;

pub use phase::FlowCheckpoint;
pub use runner::Flow;

use std::time::Duration;

use crate::model::address::Target;
use crate::model::cause::Cause;
use crate::model::ids::RoomId;
use crate::model::media::Digit;

/// What a flow hears.
#[derive(Debug)]
pub enum FlowMsg {
    /// Enter (or enter again) the step of the checkpoint.
    Begin,
    /// A clip of this flow ended, or there is none of that name.
    Played(u64),
    /// The caller pressed a digit.
    Digit(Digit),
    /// A wait set by the step entered as number `token` is over.
    Timeout(u64),
    /// Whom the dial step numbered so rang did not answer.
    DialFailed(u64),
    /// Nothing: makes an armed fault fire.
    Poke,
}

/// What a flow tells its call.
#[derive(Debug, Clone, PartialEq)]
pub enum FlowReport {
    /// Ring somebody; [`FlowMsg::DialFailed`] with the token brings the flow on, an answer ends it.
    Dial {
        /// Numbers the entry of the step.
        token: u64,
        /// Whom.
        target: Target,
        /// How long; the target's own limit without one.
        timeout: Option<Duration>,
    },
    /// Enter a room; the flow is over.
    Room(RoomId),
    /// Hang up; the flow is over.
    HangUp(Cause),
}
