//! Ports: what the brain asks of the world (a trait each, implemented in `src/`) and what the world tells the brain (an event
//! enum each, delivered through [`Brain`]). Commands are idempotent, carry the epoch of the actor that sends them, and never
//! block; answers come as events or are read from a snapshot.
//!
//! ```text
//!   actor --SipCommand--> SipPort  (src/sip)      --SipEvent-->   Brain --> CallSupervisor | SipLeg | Registrar | Trunk
//!   actor --RtcCommand--> RtcPort  (src/rtc)      --RtcEvent-->   Brain --> RtcLeg
//!   actor --MediaCommand> MediaPort (src/media)   --MediaEvent--> Brain --> SipLeg | RtcLeg -> Call
//!   actor --ClientEvent-> ClientPort (src/http)   --ClientInput-> Brain --> Client
//!   actor --Record------> StorePort (src/store)
//! ```

pub mod client;
pub mod media;
pub mod rtc;
pub mod sip;
pub mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where adapters deliver events. Implemented by `crate::inbox::Inbox`, which finds the actor; never blocks, callable from
/// any thread. An event for something that no longer exists is dropped and counted.
pub trait Brain: Send + Sync + 'static {
    /// From the SIP core.
    fn sip(&self, event: sip::SipEvent);
    /// From the `rtc-ctl` thread.
    fn rtc(&self, event: rtc::RtcEvent);
    /// From the media engine.
    fn media(&self, event: media::MediaEvent);
    /// From an app user's connection.
    fn client(&self, event: client::ClientInput);
}

/// All ports together, as actors are handed them.
#[derive(Clone)]
pub struct Ports {
    /// SIP.
    pub sip: Arc<dyn sip::SipPort>,
    /// WebRTC.
    pub rtc: Arc<dyn rtc::RtcPort>,
    /// Media.
    pub media: Arc<dyn media::MediaPort>,
    /// App users' connections.
    pub client: Arc<dyn client::ClientPort>,
    /// What outlives the process.
    pub store: Arc<dyn store::StorePort>,
}

/// A command refused because its sender is an earlier incarnation than one already heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a command of an older incarnation was refused")]
pub struct Fenced;

/// How often a request was given to handlers that crashed over it. Whoever holds the request counts: the first crash has it
/// delivered to the next incarnation, after the second the holder answers it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliveries {
    count: u8,
    /// When it was delivered last.
    at: Instant,
}

impl Deliveries {
    /// Deliveries of one request.
    const MOST: u8 = 2;
    /// A handler that lived so long with a request did not crash over it.
    const SURVIVED: Duration = Duration::from_secs(2);

    /// The request came, and is delivered.
    pub fn first(now: Instant) -> Self {
        Self { count: 1, at: now }
    }

    /// Its handler crashed. `true`: it is delivered once more; `false` after the second crash.
    #[must_use]
    pub fn again(&mut self, now: Instant) -> bool {
        let survived = now.saturating_duration_since(self.at) >= Self::SURVIVED;
        let count = if survived { 1 } else { self.count.saturating_add(1) };
        *self = Self { count, at: now };
        count <= Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_delivered_again_after_the_first_crash_but_not_after_the_second() {
        let now = tokio::time::Instant::now().into_std();
        let mut deliveries = Deliveries::first(now);
        assert!(deliveries.again(now));
        assert!(!deliveries.again(now));
    }

    #[test]
    fn a_crash_long_after_the_delivery_is_not_held_against_the_request() {
        let now = tokio::time::Instant::now().into_std();
        let mut deliveries = Deliveries::first(now);
        for n in 1..5 {
            assert!(deliveries.again(now + Duration::from_secs(2 * n)));
        }
    }
}
