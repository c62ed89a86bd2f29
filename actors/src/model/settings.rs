//! What the operator configured, as meant: typed and cross-checked by `src/config`, read by the brain. Immutable for the
//! life of the process.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{LineId, RoomId, ServiceId, SubscriberId, TrunkId, UserId};
use super::media::Codec;
use super::plan::{CallerIdPolicy, TrunkNumbers};
use super::srtp::MediaEncryption;
use crate::flow::script::Script;

/// Everything the brain is told at start.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Which of the three modes are on.
    pub modes: Modes,
    /// Our SIP domain, as in `sip:1001@DOMAIN` (also the host of From in calls to subscribers).
    pub domain: String,
    /// IVR services by id.
    pub services: BTreeMap<ServiceId, Service>,
    /// SIP to RTC: how app users are named by numbers.
    pub sip_to_rtc: SipToRtc,
    /// RTC to SIP: which callee ids are numbers, and where they lead.
    pub rtc_to_sip: RtcToSip,
    /// Trunks by id.
    pub trunks: BTreeMap<TrunkId, Trunk>,
    /// Codecs offered to phones and trunks without a list of their own, in order.
    pub sip_codecs: Vec<Codec>,
    /// What media of phones is protected with, and that of callers we do not know.
    pub sip_encryption: MediaEncryption,
    /// Codecs allowed towards browsers, in order.
    pub rtc_codecs: Vec<Codec>,
    /// Timers and limits.
    pub limits: Limits,
    /// What the registrar grants.
    pub registrar: Registrar,
}

/// What the registrar grants, and how it keeps NATs open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrar {
    /// Lifetime where a REGISTER asks for none (RFC 3261 §10.2.1.1).
    pub default_expires: Duration,
    /// A shorter lifetime is answered 423 with this as Min-Expires.
    pub min_expires: Duration,
    /// A longer lifetime is shortened to this.
    pub max_expires: Duration,
    /// Contacts of one address of record; more are answered 403.
    pub max_contacts: usize,
    /// What contacts behind a NAT are sent, over UDP.
    pub keep_alive: KeepAlive,
    /// How often.
    pub keep_alive_interval: Duration,
    /// Flow-Timer of outbound registrations (RFC 5626 §4.4): how often a phone is to show that its flow lives.
    pub flow_timer: Duration,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            default_expires: Duration::from_secs(3600),
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            max_contacts: 10,
            keep_alive: KeepAlive::Options,
            keep_alive_interval: Duration::from_secs(25),
            flow_timer: Duration::from_secs(120),
        }
    }
}

/// What keeps a NAT open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepAlive {
    /// OPTIONS: whatever the answer, the phone is there; one that used to answer and falls silent is removed.
    Options,
    /// An empty line: cheap, and tells nothing of the phone.
    Crlf,
    /// Nothing.
    Off,
}

/// The three modes of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// `[modes.ivr] enabled`.
    pub ivr: bool,
    /// `[modes.sip_to_rtc] enabled`.
    pub sip_to_rtc: bool,
    /// `[modes.rtc_to_sip] enabled`.
    pub rtc_to_sip: bool,
}

/// One IVR service: an app user id and numbers that lead to a flow.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its id, also the app user id that is called or invited.
    pub id: ServiceId,
    /// Numbers that reach it from SIP and from apps.
    pub numbers: Vec<String>,
    /// What it does.
    pub script: Script,
}

/// `[modes.sip_to_rtc]`.
#[derive(Debug, Clone, Default)]
pub struct SipToRtc {
    /// A dialled number with this prefix names the app user that follows it (`0` + id); `None` switches the rule off.
    pub user_prefix: Option<String>,
    /// Whether a Request-URI user that is nothing else names an app user.
    pub by_request_uri: bool,
    /// How long a caller hears ringback for an offline user before 480 (0-30 s).
    pub offline_wait: Duration,
    /// A shorter ring than the invitation's own 60 s, as a cancel by the switch; `None`: the invitation's.
    pub ring_timeout: Option<Duration>,
}

/// `[modes.rtc_to_sip]`.
#[derive(Debug, Clone, Default)]
pub struct RtcToSip {
    /// Which numbers are ours to dial: `1016;1017;20[01-05]` expanded and checked.
    pub numbers: NumberRules,
    /// The trunk that `Pstn: true` and PSTN numbers leave by.
    pub pstn_trunk: Option<TrunkId>,
    /// Trunks tried in turn where that one cannot take a call.
    pub pstn_fallback: Vec<TrunkId>,
    /// Prefixes that may be dialled through the trunk (toll fraud: nothing else is). `+86` allows `+8613…`.
    pub allow: Vec<String>,
    /// Prefixes that may not, whatever `allow` says; `00` in a number counts as `+`.
    pub deny: Vec<String>,
    /// When an inviting client hears "accepted".
    pub accept_on: AcceptOn,
}

/// When an invitation to a number is accepted on the number's behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptOn {
    /// When the phone answers: truthful.
    #[default]
    Answer,
    /// When the phone rings: the app hears ringback and announcements.
    Early,
}

/// A set of dialled numbers (see [`RtcToSip::numbers`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberRules(pub Vec<NumberRule>);

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberRule {
    /// Exactly this number.
    One(String),
    /// `prefix[from-to]`: the prefix followed by a number zero-padded to the width of *from*.
    Range {
        /// What precedes the range.
        prefix: String,
        /// First number.
        from: u64,
        /// Last number; greater than `from`.
        to: u64,
        /// Digits of the range.
        width: usize,
    },
}

/// One trunk, as far as the brain cares: how it is reached and secured is the SIP adapter's.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// Its id.
    pub id: TrunkId,
    /// Whether we REGISTER with it.
    pub register: bool,
    /// What we ask for in Expires.
    pub register_expires: Duration,
    /// How often an OPTIONS asks whether it is alive; `None` switches that off.
    pub options_interval: Option<Duration>,
    /// Codecs in order.
    pub codecs: Vec<Codec>,
    /// What its media is protected with.
    pub media_encryption: MediaEncryption,
    /// Where calls from it go by the number dialled: exact number first, then `"*"`.
    pub routes: BTreeMap<String, InboundRoute>,
    /// Put before every number dialled out.
    pub prefix: String,
    /// What From shows on calls out.
    pub caller_id: CallerIdPolicy,
    /// How it writes numbers.
    pub numbers: TrunkNumbers,
    /// Calls at once, both directions; `None`: no limit of its own.
    pub max_calls: Option<u32>,
    /// Calls out that may begin a minute; `None`: any.
    pub calls_per_minute: Option<u32>,
    /// Calls begun a second, both directions; `None`: no limit of its own.
    pub max_cps: Option<u32>,
    /// How long a call out may ring.
    pub ring_timeout: Duration,
    /// The lines of a SIM gateway; none where the trunk is of another kind.
    pub lines: Lines,
}

/// Lines that carry one call each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// In order of configuration; empty: the trunk has no lines of its own.
    pub lines: Vec<Line>,
    /// Whose turn it is.
    pub rotation: Rotation,
    /// How long a line takes no call out after a call.
    pub rest: Duration,
    /// How long after a failure; twice as long after each further one, up to an hour.
    pub failure_rest: Duration,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub id: LineId,
    /// Its own number: calls that come for it come in on it.
    pub number: String,
    /// How a call out gets to it.
    pub reach: LineReach,
}

/// How a line is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineReach {
    /// It registers with us as this subscriber, and is called at its contact.
    Subscriber(SubscriberId),
    /// By this in front of the number, at the trunk's host.
    Prefix(String),
}

/// Which line is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// The one whose last call is longest ago.
    #[default]
    LeastRecentlyUsed,
    /// The one behind the last.
    RoundRobin,
}

/// Where an inbound call leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundRoute {
    /// An app user.
    User(UserId),
    /// An IVR service.
    Service(ServiceId),
    /// A desk phone.
    Subscriber(SubscriberId),
    /// A room.
    Room(RoomId),
}

/// Timers and limits, all with the field's defaults.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Calls at once; beyond: 503 with Retry-After.
    pub max_calls: u32,
    /// Calls by trunks that one user may have at once; `None`: any.
    pub user_trunk_calls: Option<u32>,
    /// Calls by trunks that one user may begin a minute; `None`: any.
    pub user_trunk_calls_per_minute: Option<u32>,
    /// How long a subscriber's phones ring.
    pub ring_timeout: Duration,
    /// No RTP for this long ends the call; `None` never.
    pub no_rtp_timeout: Option<Duration>,
    /// A party alone in a room leaves after this, then looked at every second.
    pub alone_grace: Duration,
    /// A lost client connection is kept this long for resume.
    pub resume_window: Duration,
    /// A call may not last longer.
    pub max_duration: Duration,
    /// Default time to live of a call started by the connector API.
    pub connector_ttl: Duration,
    /// Retry-After of our 503.
    pub retry_after: Duration,
    /// Connections an app user may have at once; one login more kicks the oldest (REMOTE_LOGIN).
    pub devices_per_user: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_calls: 2000,
            user_trunk_calls: Some(10),
            user_trunk_calls_per_minute: Some(60),
            ring_timeout: Duration::from_secs(60),
            no_rtp_timeout: Some(Duration::from_secs(60)),
            alone_grace: Duration::from_secs(60),
            resume_window: Duration::from_secs(30),
            max_duration: Duration::from_secs(12 * 3600),
            connector_ttl: Duration::from_secs(1800),
            retry_after: Duration::from_secs(5),
            devices_per_user: 1,
        }
    }
}
