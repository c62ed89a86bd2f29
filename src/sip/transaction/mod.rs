//! The four transaction machines of RFC 3261 §17 with RFC 6026's Accepted state and RFC 4320's rules for non-INVITE, a file a
//! figure. All are pure: they are told the time and return what to send and what to tell.
//!
//! ```text
//!   datagram --> endpoint --> step(input, now) --> Effects { send, tell } --> endpoint --> dialog, registrar, trunk
//!   timer ------------------^
//! ```

pub mod client_invite;
pub mod client_other;
pub mod server_invite;
pub mod server_other;
pub mod timer;

use bytes::Bytes;

/// What a step asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Octets to hand to the transport.
    pub send: Option<Bytes>,
    /// Whether what is sent was sent before (for the count of retransmissions).
    pub again: bool,
    /// What the transaction user hears.
    pub tell: Option<Tell>,
}

impl Effects {
    fn none() -> Self {
        Self::default()
    }
    fn send(bytes: &Bytes) -> Self {
        Self { send: Some(bytes.clone()), again: false, tell: None }
    }
    fn resend(bytes: &Bytes) -> Self {
        Self { send: Some(bytes.clone()), again: true, tell: None }
    }
    fn tell(tell: Tell) -> Self {
        Self { send: None, again: false, tell: Some(tell) }
    }
    fn and_tell(mut self, tell: Tell) -> Self {
        self.tell = Some(tell);
        self
    }
}

/// What a transaction tells its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// Client: this response is for you.
    Response,
    /// Client: nothing came in time (RFC 3261 §8.1.3.1: treated as 408).
    TimedOut,
    /// The transport failed (treated as 503).
    Unreachable,
    /// Server, INVITE: the ACK to a failure response never came. The response stands.
    NoAck,
}
