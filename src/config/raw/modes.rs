//! Modes and services: what calls may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tandem_actors::flow::script::Step;
use tandem_actors::model::settings::AcceptOn;

/// `[modes]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Modes {
    /// A phone or an app user calls a service number.
    pub ivr: Ivr,
    /// A phone calls an app user.
    pub sip_to_rtc: SipToRtc,
    /// An app user calls a phone.
    pub rtc_to_sip: RtcToSip,
}

/// `[modes.ivr]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ivr {
    /// Whether services answer. Default: `true`. Why: harmless without `[[services]]`.
    pub enabled: bool,
}

impl Default for Ivr {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `[modes.sip_to_rtc]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SipToRtc {
    /// Whether phones reach app users. Default: `true`. Why: what a switch is for.
    pub enabled: bool,
    /// A dialled number with this prefix names the app user that follows it; `""` switches the rule off. Default: `"0"`. Why:
    /// user 1234 is dialled 01234 on a telephone's keys.
    pub user_prefix: String,
    /// Whether a dialled name that is nothing else names an app user. Default: `true`. Why: `sip:alice@DOMAIN` should ring alice.
    pub by_request_uri: bool,
    /// How long a caller hears ringback for an offline user, 0 to 30. Unit: seconds. Default: `0`. Why: without a push service
    /// nobody will come.
    pub offline_wait_s: u64,
    /// A shorter ring than the invitation's own 60; 0 is none. Unit: seconds. Default: `0`. Why: the invitation has its own end.
    pub ring_timeout_s: u64,
}

impl Default for SipToRtc {
    fn default() -> Self {
        Self { enabled: true, user_prefix: "0".into(), by_request_uri: true, offline_wait_s: 0, ring_timeout_s: 0 }
    }
}

/// `[modes.rtc_to_sip]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RtcToSip {
    /// Whether app users reach phones. Default: `true`. Why: what a switch is for.
    pub enabled: bool,
    /// Numbers of our phones that app users may ring: a `;` list of numbers and `prefix[from-to]`, zero-padded to the width of
    /// `from`, as `1016;1017;20[01-05]`. Default: `"10[01-99]"`. Why: it has the first phone, 1001, in it.
    pub numbers: String,
    /// The trunk that other numbers leave by. Default: `""`, none. Why: no lines are bundled.
    pub pstn_trunk: String,
    /// Trunks tried in this order where `pstn_trunk` cannot take a call: no answer at all, 500, 502, 503 or 504, no free line,
    /// known to be down. Default: `[]`, none. Why: a call that one carrier cannot take another may; what the callee says (busy,
    /// no such number) ends it.
    pub pstn_fallback: Vec<String>,
    /// Prefixes that may be dialled through the trunk, as `["+4930"]`. Default: `[]`, nothing. Why: toll fraud; a stolen
    /// login must not call the whole world.
    pub allow: Vec<String>,
    /// Prefixes that may not be dialled through a trunk whatever `allow` says. Default: `["+870", "+878", "+881", "+882", "+883",
    /// "+979", "+1900", "+1976"]`. Why: satellites and premium numbers, which is what toll fraud dials; `00` counts as `+`.
    pub deny: Vec<String>,
    /// When an inviting app hears "accepted": `"answer"`, or `"early"` to hear ringback and announcements. Default: `"answer"`.
    /// Why: it is the truth.
    pub accept_on: Accept,
}

impl Default for RtcToSip {
    fn default() -> Self {
        Self {
            enabled: true,
            numbers: "10[01-99]".into(),
            pstn_trunk: String::new(),
            pstn_fallback: Vec::new(),
            allow: Vec::new(),
            deny: ["+870", "+878", "+881", "+882", "+883", "+979", "+1900", "+1976"].map(Into::into).into(),
            accept_on: Accept::Answer,
        }
    }
}

/// When an invitation to a number is accepted, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// When the phone answers.
    Answer,
    /// When it rings.
    Early,
}

impl From<Accept> for AcceptOn {
    fn from(accept: Accept) -> Self {
        match accept {
            Accept::Answer => AcceptOn::Answer,
            Accept::Early => AcceptOn::Early,
        }
    }
}

/// `[[services]]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Its id, which is also the app user id that is called or invited. Default: none, required. Why: apps name it by this.
    pub id: String,
    /// Numbers that reach it, from phones and apps. Default: `[]`. Why: an app can reach it by its id alone.
    pub numbers: Vec<String>,
    /// The first step. Default: none, required. Why: steps have no order of their own.
    pub start: String,
    /// Steps by name, each a `[services.steps.NAME]` with `do = "play"`, `"menu"`, `"dial"`, `"room"` or `"hangup"`. Default:
    /// none, required. Why: a flow is data, so that it is checked before the first call.
    pub steps: BTreeMap<String, Step>,
}
