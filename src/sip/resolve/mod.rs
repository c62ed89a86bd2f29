//! Where a request goes: names to targets (RFC 3263, RFC 2782, RFC 7984), off the receive path.
//!
//! ```text
//!   Place --plan(place, what is known)--> targets in order
//!              |  some answers are missing
//!              '--> Question --client task--> Heard --cache--> plan again
//! ```
//! [`plan`](plan::plan) is pure: it walks NAPTR, SRV, A and AAAA records as far as they are known, and says which are not. The
//! core asks each question once however many requests wait for it ([`client`]), and keeps the answers in a [`cache`].
//!
//! Implemented: RFC 3263 §4 (transport by URI, port, NAPTR or SRV; SRV and address look-up; numeric hosts and explicit ports
//! without either; sips only over secure transports), RFC 2782 (priorities, weighted random order, weight 0, the target "."),
//! RFC 2308 (negative answers), RFC 8767 (stale answers where the servers fail), RFC 7984 (both address families of every host).
//! Deliberately not: NAPTR flags other than "s" (RFC 3263 §4.1 defines no other for SIP), and §5's look-up of a Via's name for
//! responses: they go to the address that the request came from (RFC 3581, RFC 3261 §18.2.2), which is never a name.

pub mod cache;
pub mod client;
pub mod plan;
pub mod weights;

use std::net::IpAddr;

pub use client::Resolver;
pub use plan::{Place, Target};

/// One question to the domain name system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name in lower case, without the final dot.
    pub name: String,
    /// What is asked of it.
    pub kind: RecordKind,
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Question {
    /// A question about a name as it was written.
    pub fn new(name: &str, kind: RecordKind) -> Self {
        Self { name: name.trim_end_matches('.').to_ascii_lowercase(), kind }
    }
}

/// The records of a name; none of them: it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of [`RecordKind::Naptr`].
    Naptr(Vec<Naptr>),
    /// Of [`RecordKind::Srv`].
    Srv(Vec<Srv>),
    /// Of [`RecordKind::A`] and [`RecordKind::Aaaa`].
    Addresses(Vec<IpAddr>),
}

impl Answer {
    /// The answer without a record.
    pub fn nothing(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Naptr => Self::Naptr(Vec::new()),
            RecordKind::Srv => Self::Srv(Vec::new()),
            RecordKind::A | RecordKind::Aaaa => Self::Addresses(Vec::new()),
        }
    }
}

/// A NAPTR record, as far as SIP reads it (RFC 3263 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// Lowest first; the first that can be used excludes all higher ones.
    pub order: u16,
    /// Lowest first within an order.
    pub preference: u16,
    /// `s`: the replacement is the name of SRV records.
    pub flags: String,
    /// As `SIP+D2U`.
    pub service: String,
    /// The name to go on with.
    pub replacement: String,
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lowest first.
    pub priority: u16,
    /// Its share among those of one priority.
    pub weight: u16,
    /// Where the service listens.
    pub port: u16,
    /// The host; empty for the root, which says that there is no such service.
    pub host: String,
}
