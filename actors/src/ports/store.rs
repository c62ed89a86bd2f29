//! The store port: what outlives the process.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::address::{Contact, InstanceId};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, LegId, SubscriberId};
use crate::ports::media::MediaSnapshot;

/// What the brain asks of the store. No method waits for a disk.
pub trait StorePort: Send + Sync + 'static {
    /// Hands over a record; it is written in order, tried again while the database is locked or the disk full, and kept in
    /// memory meanwhile (bounded; an overflow is counted and logged, oldest kept).
    fn record(&self, record: Record);
    /// Bindings that were saved by an earlier run, to begin with.
    fn saved_bindings(&self) -> Vec<SavedBinding>;
    /// Whether records are being written (`/readyz` shows it).
    fn healthy(&self) -> bool;
}

/// Something to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A call ended.
    Cdr(Box<Cdr>),
    /// All bindings of one subscriber, as they are now (empty: none).
    Bindings(SubscriberId, Vec<SavedBinding>),
}

/// One call detail record, its legs inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cdr {
    /// Which call. Unique: writing the same id twice keeps the first.
    pub call: CallId,
    /// `ivr`, `sip_to_rtc`, `rtc_to_sip`, `sip_to_sip`, `rtc_to_rtc`, `connector`.
    pub kind: String,
    /// Caller as shown.
    pub from: String,
    /// What was called.
    pub to: String,
    /// When the first leg came.
    pub started_at: SystemTime,
    /// When both sides talked; `None` when never.
    pub answered_at: Option<SystemTime>,
    /// When it ended.
    pub ended_at: SystemTime,
    /// Why.
    pub cause: Cause,
    /// Its legs in order of appearance.
    pub legs: Vec<CdrLeg>,
}

/// One leg of a CDR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CdrLeg {
    /// Which leg.
    pub leg: LegId,
    /// `sip` or `rtc`.
    pub kind: String,
    /// The party: number, user id, URI.
    pub party: String,
    /// SIP Call-ID or peer id.
    pub signalling_id: String,
    /// The party's Session-ID (RFC 7989): as it said it, or as it was given one. Of SIP legs.
    #[serde(default)]
    pub session_id: Option<String>,
    /// When it answered, after `started_at` of the call.
    pub answered_after: Option<Duration>,
    /// Why it ended.
    pub cause: Option<Cause>,
    /// How often its actor was restarted.
    pub restarts: u32,
    /// Its media figures.
    pub media: Option<MediaSnapshot>,
}

/// One registered contact, as saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedBinding {
    /// Whose.
    pub subscriber: SubscriberId,
    /// Where it is.
    pub contact: Contact,
    /// Until when.
    pub expires_at: SystemTime,
    /// q times 1000.
    pub q: u16,
    /// Ordering, RFC 3261 §10.3.
    pub call_id: String,
    /// Ordering.
    pub cseq: u32,
    /// For the operator.
    pub user_agent: Option<String>,
    /// The user agent's own URN.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// Which of its flows (RFC 5626); only where outbound was used.
    #[serde(default)]
    pub reg_id: Option<u32>,
    /// User parts of its temporary GRUUs, newest last (RFC 5627 §3.2).
    #[serde(default)]
    pub temp_gruus: Vec<String>,
}
