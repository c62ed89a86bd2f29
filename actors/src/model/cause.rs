//! Why a call, a leg or an invitation ended: SIP status, Q.850 cause, whose fault, and plain words for the operator.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose doing an end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// It ended as calls end: somebody hung up, declined, was busy, did not answer.
    Success,
    /// The party that asked did something wrong, or something we do not allow.
    Client,
    /// We failed.
    Server,
    /// The far network or device failed.
    Upstream,
    /// Cannot be told.
    Indeterminate,
}

/// Why something ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// SIP status code that says it on the wire (200 for a normal hang-up).
    pub status: u16,
    /// Q.850 cause value for the Reason header (RFC 3326), where one fits.
    pub q850: Option<u8>,
    /// Whose doing.
    pub blame: Blame,
    /// Plain words, for logs, the CDR and the API; never sent to a SIP peer.
    pub reason: Cow<'static, str>,
}

impl Cause {
    /// A cause made of its parts.
    pub fn new(status: u16, q850: Option<u8>, blame: Blame, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { status, q850, blame, reason: reason.into() }
    }
    /// Either side hung up an answered call.
    pub fn hangup() -> Self {
        Self::new(200, Some(16), Blame::Success, "hung up")
    }
    /// The caller gave up before the answer (487).
    pub fn cancelled() -> Self {
        Self::new(487, Some(16), Blame::Success, "the caller gave up")
    }
    /// The callee is busy (486).
    pub fn busy() -> Self {
        Self::new(486, Some(17), Blame::Success, "busy")
    }
    /// The callee declined (603).
    pub fn declined() -> Self {
        Self::new(603, Some(21), Blame::Success, "declined")
    }
    /// The callee is not there (480).
    pub fn offline() -> Self {
        Self::new(480, Some(20), Blame::Success, "the callee is offline")
    }
    /// The callee's device never acknowledged the invitation (408).
    pub fn no_response() -> Self {
        Self::new(408, Some(18), Blame::Upstream, "the callee's device did not respond")
    }
    /// Nobody answered in time (480).
    pub fn expired() -> Self {
        Self::new(480, Some(19), Blame::Success, "no answer")
    }
    /// The switch's own ring timer ran out (408).
    pub fn ring_timeout() -> Self {
        Self::new(408, Some(19), Blame::Success, "no answer within ring_timeout")
    }
    /// No such user, number or service (404).
    pub fn not_found(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, Some(1), Blame::Client, what)
    }
    /// Not allowed: mode switched off, number outside the allow list (403).
    pub fn forbidden(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(403, Some(21), Blame::Client, why)
    }
    /// The two sides share no codec or transport (488).
    pub fn not_acceptable(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(488, Some(88), Blame::Client, why)
    }
    /// We are full or draining (503).
    pub fn unavailable(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, Some(42), Blame::Server, why)
    }
    /// Something of ours failed (500).
    pub fn internal(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(500, Some(41), Blame::Server, why)
    }
    /// No RTP arrived for longer than the configured time, or the peer's path is gone.
    pub fn media_lost(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(408, Some(27), Blame::Upstream, why)
    }
    /// The app user's signalling connection is gone for good.
    pub fn client_lost() -> Self {
        Self::new(480, Some(27), Blame::Upstream, "the app user's connection was lost")
    }
    /// A SIP final status, with the Q.850 mapping of RFC 3398 §8.2.6.1 and a blame by class.
    pub fn from_sip(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        let q850 = match status {
            200 | 487 => 16,
            400 | 481 | 500 => 41,
            401 | 402 | 403 | 407 | 603 => 21,
            404 | 485 | 604 => 1,
            405 => 63,
            406 | 415 | 488 | 606 => 79,
            408 | 504 => 102,
            410 => 22,
            413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
            480 => 18,
            482 | 483 => 25,
            484 => 28,
            486 | 600 => 17,
            501 => 79,
            502 => 38,
            503 => 41,
            _ => 31,
        };
        let blame = match status {
            200 | 480 | 486 | 487 | 600 | 603 => Blame::Success,
            404 | 484 | 485 | 604 => Blame::Client,
            _ => Blame::Upstream,
        };
        Self::new(status, Some(q850), blame, reason)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.status)
    }
}
