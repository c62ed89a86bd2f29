//! The SIP adapter: sockets, messages, transactions, dialogs and digest of one switch, under the port that the brain
//! commands ([`tandem_actors::ports::sip::SipPort`], implemented by [`SipCore`]).
//!
//! ```text
//!   transport (udp, tcp, tls, ws, wss) --octets--> message (parse, validate) --> endpoint ----SipEvent----> Brain
//!        ^                                                        | transaction (pure machines)
//!        |                                                        | dialog      (pure records)
//!        '------------------------- octets -----------------------' digest, nuisance, overload, resolve
//!                      both ways seen by: sight (ladders of calls, HEP3 export)
//! ```
//!
//! Implemented: RFC 3261 (UAS, UAC and the wire side of a registrar; a B2BUA, not a proxy), RFC 6026, RFC 4320, RFC 3581,
//! RFC 3263 with RFC 2782 and 7984 ([`resolve`]; failover in the endpoint), RFC 7118, 5922, 5923 and 5626 as far as `transport`
//! says, RFC 5630 for who asks for it, RFC 3327, 5626 and 5627 as a registrar, RFC 7616 and 8760, RFC 3262 both ways,
//! RFC 3311, RFC 3312 as who reserves nothing, RFC 3326, RFC 3323, 3325, 5806, 7044 and 7544 by the trust of trunks
//! (`endpoint/trust`), RFC 3966 and 4694 ([`message::tel`]), RFC 3428 to phones (`endpoint/text`), RFC 7989 ([`dialog::session_id`]), RFC 4028 both ways with both refreshers, RFC 3960, 5009 and 6228 for early
//! media of several branches, RFC 6141, RFC 5118, INFO digits; transfers as the transferor's peer (RFC 3515, 3891, 3892, 4488, 5589,
//! 7647: `endpoint/refer`); 489 to subscriptions and publications (RFC 6665, 3903), since there is nothing to subscribe to here.
//! Deliberately not (yet): redirection by phones. Not at all: INVITEs of ours without an offer (we always have one),
//! offers of ours by UPDATE (see `endpoint::reoffers`), S/MIME (493), security agreement (a 494 is the end of the call), loops
//! seen by our own branch (RFC 5393 §4: a B2BUA's calls begin anew; Max-Forwards ends them, RFC 7332; its §5 is `endpoint::breadth`).
//!
//! Every message of RFC 4475 and RFC 5118 has its outcome in `tests/data/torture`; what reads a stranger's octets is fuzzed (`fuzz`,
//! `endpoint::tests::fuzz`).
//!
//! `rsip` supplies the vocabulary (methods); it is neither the parser nor the writer here, since it cannot read a good part
//! of the valid messages that real networks send. In tests it is an oracle where it can read.

pub mod config;
pub mod dialog;
pub mod digest;
pub mod endpoint;
#[cfg(test)]
mod fuzz;
pub mod message;
pub mod metrics;
pub mod nuisance;
pub mod overload;
pub mod resolve;
pub mod sight;
pub mod transaction;
pub mod transport;

pub use config::{
    BindError, ForwardingHeaders, IdentityHeader, IdentityPolicy, ListenerConfig, NumberUri, Redirects, Reliability,
    SipConfig, SipStartError, TlsPeer, TrunkConfig, TrunkTarget,
};
pub use dialog::session_timer::SessionPolicy;
pub use digest::{Credentials, DigestAlgorithm, DigestOffer};
pub use endpoint::SipCore;
pub use metrics::describe;
