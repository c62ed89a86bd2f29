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
