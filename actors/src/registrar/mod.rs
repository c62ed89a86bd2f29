//! The registrar: bindings of phones and gateways. The rules are pure ([`bindings`], [`same_uri`], [`keep_alive`]); the actor
//! keeps the ledger's table and the store in step with them. Calls read bindings from the ledger and never wait for the actor.
//!
//! RFC 3261 §10.3, RFC 3327 (Path), RFC 5626 §6 (outbound), RFC 5627 (GRUU, [`gruu`]).

mod actor;
mod agenda;
pub mod bindings;
pub mod gruu;
pub mod keep_alive;
mod same_uri;

pub use actor::{Registrar, contacts, forget, remove};

use std::net::SocketAddr;

use ractor::RpcReplyPort;

use crate::model::address::{SipUri, Transport};
use crate::model::ids::{ListenerId, SubscriberId};
use crate::ports::sip::{MessageRequest, RegisterRequest};

/// What the registrar hears.
#[derive(Debug)]
pub enum RegistrarMsg {
    /// A REGISTER whose digest was right; answered through the SIP port.
    Register(Box<RegisterRequest>),
    /// A MESSAGE for somebody whose contacts are known here; answered through the SIP port.
    Message(Box<MessageRequest>),
    /// A connection is gone, and with it the bindings that were made by it: nobody is rung over a dead WebSocket.
    ConnectionGone {
        /// Our listener that accepted it.
        listener: ListenerId,
        /// Its transport.
        transport: Transport,
        /// Where it came from.
        source: SocketAddr,
    },
    /// These may not register any more, or not with the password they did: all their bindings go.
    Forget {
        /// Who.
        subscribers: Vec<SubscriberId>,
        /// Answered when it is done.
        reply: RpcReplyPort<()>,
    },
    /// The operator removes bindings.
    Remove {
        /// Whose.
        subscriber: SubscriberId,
        /// The contact that goes; `None`: all.
        contact: Option<SipUri>,
        /// How many went.
        reply: RpcReplyPort<usize>,
    },
    /// What became of a keep-alive, as in `SipEvent::KeptAlive`.
    KeptAlive {
        /// Which.
        id: u64,
        /// Whether it was answered.
        answered: bool,
    },
    /// A binding may have run out.
    Expire,
    /// A keep-alive may be due.
    KeepAlive,
    /// Nothing: see `Faults`.
    Poke,
}

/// Names of the metrics of the registrar.
pub fn describe() {
    metrics::describe_gauge!("tandem_registrations", "Bindings of phones and gateways");
    metrics::describe_counter!(
        "tandem_register_requests_total",
        "REGISTER requests, by outcome (query, registered, removed, too_brief, out_of_order, too_many, no_outbound)"
    );
    metrics::describe_counter!(
        "tandem_bindings_dropped_total",
        "Bindings that ended before their time without the phone's doing, by reason (silent, connection_gone, operator, forgotten)"
    );
    metrics::describe_counter!("tandem_keep_alives_total", "Keep-alives sent to contacts behind a NAT");
}
