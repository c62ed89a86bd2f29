//! `[registrar]`.

use serde::{Deserialize, Serialize};
use tandem_actors::model::settings::KeepAlive;

/// `[registrar]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registrar {
    /// Life of a registration that asks for none. Unit: seconds. Default: `3600`. Why: RFC 3261 §10.2.1.1.
    pub default_expires_s: u64,
    /// Shortest life; a REGISTER that asks for less is answered 423 with this. Unit: seconds. Default: `60`. Why: SIM gateways and
    /// phones behind NAT ask for a minute; less is load.
    pub min_expires_s: u64,
    /// Longest life; more is shortened to this. Unit: seconds. Default: `7200`. Why: a phone that vanished is rung in vain no longer
    /// than that.
    pub max_expires_s: u64,
    /// Contacts of one subscriber at once; one more is refused with 403. Default: `10`. Why: a desk phone, a soft phone, a browser,
    /// and each again after a restart.
    pub max_contacts: usize,
    /// What phones behind a NAT are sent over UDP, so that it keeps open: `"options"` (a phone that used to answer and leaves three
    /// unanswered is not rung any more), `"crlf"` (an empty line) or `"off"`. Default: `"options"`. Why: it tells who is gone.
    pub nat_keepalive: KeepAlive,
    /// How often. Unit: seconds. Default: `25`. Why: NATs forget UDP after 30.
    pub nat_keepalive_s: u64,
    /// Flow-Timer told to phones that use SIP outbound (RFC 5626). Unit: seconds. Default: `120`. Why: that RFC's own advice for
    /// streams; over UDP phones know better.
    pub flow_timer_s: u64,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            default_expires_s: 3600,
            min_expires_s: 60,
            max_expires_s: 7200,
            max_contacts: 10,
            nat_keepalive: KeepAlive::Options,
            nat_keepalive_s: 25,
            flow_timer_s: 120,
        }
    }
}
