//! The registrar: bindings of phones and gateways. The rules are pure ([`bindings`]); the actor keeps the ledger's table and
//! the store in step with them. Calls read bindings from the ledger and never wait for the actor.

mod actor;
pub mod bindings;

pub use actor::{Registrar, contacts, forget};

use std::net::SocketAddr;

use ractor::RpcReplyPort;

use crate::model::address::Transport;
use crate::model::ids::{ListenerId, SubscriberId};
use crate::ports::sip::RegisterRequest;

/// What the registrar hears.
#[derive(Debug)]
pub enum RegistrarMsg {
    /// A REGISTER whose digest was right; answered through the SIP port.
    Register(Box<RegisterRequest>),
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
    /// A binding may have run out.
    Expire,
    /// Nothing: see `Faults`.
    Poke,
}

/// Names of the metrics of the registrar.
pub fn describe() {
    metrics::describe_gauge!("tandem_registrations", "Bindings of phones and gateways");
    metrics::describe_counter!(
        "tandem_register_requests_total",
        "REGISTER requests, by outcome (query, registered, removed, too_brief, out_of_order, too_many)"
    );
}
