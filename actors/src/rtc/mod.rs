//! The `rtc-ctl` thread as the brain sees it: an actor twin ([`control`]) and its supervisor. Peers are ordered by their legs,
//! through the port; nothing of a peer is here.

pub mod control;
pub mod supervisor;

pub use control::{RtcControl, RtcControlMsg};
pub use supervisor::RtcSupervisor;
