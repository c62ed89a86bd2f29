//! `[[trunks]]`, their targets and their lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tandem_actors::model::media::Codec;
use tandem_actors::model::settings::Rotation;

use super::{Encryption, Secret};

/// How a trunk is reached, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrunkTransport {
    /// As DNS says.
    Auto,
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
    /// Streams inside TLS.
    Tls,
}

/// Which redirections are followed, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirects {
    /// None.
    Off,
    /// To hosts of the trunk.
    Trunk,
    /// All.
    Any,
}

/// `[[trunks.targets]]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkTarget {
    /// Host name or address. Default: none, required. Why: nothing to call without.
    pub host: String,
    /// Port. Default: none, as for the trunk's own host. Why: the same.
    pub port: Option<u16>,
    /// Lower is tried first; the trunk's own `host` has 0. Default: `1`. Why: a further host is one to fall back to; with 0 it
    /// shares the load.
    pub priority: u16,
    /// Its share among those of one priority; the trunk's own `host` has 100. Default: `100`. Why: RFC 2782, as for SRV records.
    pub weight: u16,
}

impl Default for TrunkTarget {
    fn default() -> Self {
        Self { host: String::new(), port: None, priority: 1, weight: 100 }
    }
}

/// `[[trunks]]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trunk {
    /// Its name. Default: none, required. Why: routes, logs and metrics name it by this.
    pub name: String,
    /// What kind of neighbour it is: `asterisk`, `carrier`, `freeswitch`, `ims`, `kamailio`, `linphone`, `sim_gateway` or `vos` gives
    /// it the keys of `config/profiles`, where it has not its own. Default: `""`, none. Why: what each wants is known.
    pub profile: String,
    /// Host name or address of the provider; without one, all its lines register with us. Default: none, required. Why: nothing to
    /// call without.
    pub host: String,
    /// Port of the provider. Default: none, which is what DNS says (SRV records), else 5060, or 5061 over `tls`. Why: RFC 3263 §4.2;
    /// a port that is named goes past the SRV records by which a provider spreads and moves its load.
    pub port: Option<u16>,
    /// `"udp"`, `"tcp"`, `"tls"`, or `"auto"`: UDP or TCP as DNS says (NAPTR, then SRV records), else UDP, but TCP for a request above
    /// 1300 octets where the provider takes it. Default: `"auto"`. Why: RFC 3263 §4.1, RFC 3261 §18.1.1; the provider knows best.
    /// Write `"udp"` where its firewall drops TCP in silence. TLS is used where you ask for it, for then nothing else is.
    pub transport: TrunkTransport,
    /// Further hosts of the provider, each a `[[trunks.targets]]`. Default: `[]`, none. Why: where DNS does not name them; one
    /// that does not answer is passed over.
    pub targets: Vec<TrunkTarget>,
    /// Proxy that every request goes through, as `"proxy.example.com:5070"` or a `sip:` URI; `""` is none. Default: `""`. Why:
    /// some providers, and session border controllers of your own, stand before the host that is named (RFC 3261 §8.1.2).
    pub outbound_proxy: String,
    /// Which 3xx answers of the provider are followed: `"trunk"`, to hosts of its own; `"any"`, to any host; `"off"`, to none.
    /// Never to a number outside `allow`. Default: `"trunk"`. Why: a provider moves numbers among its servers; where else a call
    /// of yours goes is not for it to say.
    pub redirects: Redirects,
    /// Over `tls`: authorities that may have issued the provider's certificate, or that certificate itself, PEM file. Default: `""`,
    /// those of the system. Why: providers buy from the authorities that browsers know; a gateway makes its own.
    pub tls_ca: String,
    /// Over `tls`: the name that the provider's certificate must have. Default: `""`, that of `host`. Why: RFC 5922 §7.3; a host that is
    /// written as an address is seldom in a certificate.
    pub tls_name: String,
    /// Over `tls`: certificate chain that we show, PEM file. Default: `""`, none. Why: most providers ask for a password instead.
    pub tls_certificate: String,
    /// Private key of `tls_certificate`, PEM file. Default: `""`. Why: set both or none.
    pub tls_private_key: String,
    /// User part of our address at the provider. Default: `""`. Why: a trunk known by address has none.
    pub username: String,
    /// Digest user name, where it differs from `username`. Default: `""`, the same. Why: some providers tell them apart.
    pub auth_user: String,
    /// Digest password; better given as `TANDEM_TRUNKS__NAME__PASSWORD`. Default: `""`. Why: a trunk known by address has none.
    pub password: Secret,
    /// The realm we answer; `""` is any. Default: `""`. Why: the first challenge tells it.
    pub realm: String,
    /// Host of From and To in requests to it; `""` is our `domain` in From and `host` in To. Default: `""`. Why: some providers
    /// expect their own domain in both.
    pub domain: String,
    /// Headers in which calls out name the caller, beside From: `"pai"` (P-Asserted-Identity, RFC 3325), `"ppi"`
    /// (P-Preferred-Identity), `"rpid"` (Remote-Party-ID). Default: `["pai"]`. Why: it is where providers look for the caller's number;
    /// some take the wish of a customer (`ppi`), old gateways know the third.
    pub identity_headers: Vec<IdentityHeader>,
    /// Whether what it says of its callers is believed: P-Asserted-Identity, Remote-Party-ID, who sent the call on, signatures, ported
    /// numbers. Default: `true`. Why: a provider knows its customers; where it passes on what they write, say `false`.
    pub trust_id_inbound: bool,
    /// Whether it is told the number of a caller who hides (with Privacy: id), who sent a call on, signatures, and where ported numbers
    /// are. Default: `true`. Why: providers have to know, and hide the number themselves; anybody else gets an anonymous From.
    pub trust_id_outbound: bool,
    /// How it is told who sent a call on: `"diversion"` (RFC 5806), `"history_info"` (RFC 7044), `"both"` or `"none"`. Default:
    /// `"diversion"`. Why: providers show or refuse a foreign caller's number by it.
    pub forwarding_headers: ForwardingHeaders,
    /// The listener that its requests leave by; `""` is the first that fits. Default: `""`. Why: a machine with two networks
    /// has one listener for each.
    pub listener: String,
    /// Whether we register with it. Default: `false`. Why: a trunk between two fixed addresses needs no registration.
    pub register: bool,
    /// How long a registration is asked for. Unit: seconds. Default: `3600`. Why: RFC 3261 §10.2.1.1; refreshed at 85 % of
    /// what is granted.
    pub register_expires_s: u64,
    /// Addresses and networks that calls from it come from, beside those its host resolves to. Default: `[]`. Why: an
    /// INVITE from anywhere else is a stranger's.
    pub allowed_addresses: Vec<String>,
    /// How often an OPTIONS asks whether it is alive; 0 never. Unit: seconds. Default: `30`. Why: a dead trunk is seen
    /// before a caller finds it.
    pub options_interval_s: u64,
    /// Codecs offered to it, in order. Default: `[]`, those of `[sip]`. Why: a provider that transcodes badly is told less.
    pub codecs: Vec<Codec>,
    /// What protects its media: `none`, `sdes_optional`, `sdes`, `dtls`, as in `[sip]`. Default: none, that of `[sip]`. Why: what a
    /// provider speaks is in its contract.
    pub media_encryption: Option<Encryption>,
    /// Where its calls go by the number dialled, exact number first, then `"*"`: `user:ID`, `service:ID`, `subscriber:ID` or
    /// `room:ID`. A number without a route goes where any caller's goes (services, `user_prefix`, registered phones,
    /// `by_request_uri`), but never out by a trunk. Default: `{}`, no routes. Why: nobody but you knows.
    pub routes: BTreeMap<String, String>,
    /// Put before every number dialled out. Default: `""`. Why: some providers want a prefix for an outside line.
    pub prefix: String,
    /// `"pass"` shows the caller's own number or user id; anything else is shown as it is. Default: `"pass"`. Why: many providers
    /// refuse numbers that are not yours: then write yours.
    pub caller_id: String,
    /// Numbers that may be shown, as `modes.rtc_to_sip.numbers` are written: a caller who has one of them, or asks to be shown by it
    /// (From, P-Preferred-Identity), is; all others as `caller_id`. Default: `""`, only `caller_id` counts. Why: direct dial-in numbers
    /// of your own; a phone cannot show any other.
    pub caller_id_allowed: String,
    /// Headers of its that go on to the other side of a call, in INVITE and its answers: names, and beginnings with a `*`, as
    /// `["X-Ticket", "X-Acme-*"]`. Default: `[]`. Why: X-Number, X-CusData, X-ArInfo and X-App pass by themselves; what dialogs,
    /// routes and proofs are made of never passes.
    pub pass_headers_in: Vec<String>,
    /// Headers of the other side that it is sent, in the same way. Default: `[]`. Why: what your callers write is not for every
    /// provider.
    pub pass_headers_out: Vec<String>,
    /// The number in `identity_headers`: `""` is what From shows, `"pass"` the caller's own, anything else is written as it is.
    /// Default: `""`. Why: some providers bill by it, and let From show any number (CLIP no screening).
    pub asserted_id: String,
    /// Country code of its network, as `"49"`. Default: `""`, numbers are taken as they come. Why: with it, numbers are known
    /// whichever way they are written, and compared in E.164 with +: in `routes`, `allow`, `deny` and `caller_id_allowed`.
    pub country_code: String,
    /// What its network puts before an area code. Default: `"0"`. Why: most countries do; write `"1"` for North America, `""` where
    /// there is none.
    pub national_prefix: String,
    /// What its network puts before a country code. Default: `"00"`. Why: the ITU's advice; `"011"` in North America.
    pub international_prefix: String,
    /// How it wants the number called: `"as_is"`, `"e164"` (+4930123456), `"e164_bare"` (4930123456) or `"national"` (030123456, and
    /// 0033... abroad). Default: `"as_is"`. Why: many providers want E.164; numbers that nothing tells, as extensions, stay as they are.
    pub number_format: NumberFormat,
    /// The same of the caller's number. Default: none, as `number_format`. Why: a few want the two differently.
    pub caller_id_format: Option<NumberFormat>,
    /// How numbers are written as URIs: `"sip"`, `"phone"` (with `user=phone`) or `"tel"` (`tel:` in the Request-URI and To, RFC 3966).
    /// Default: `"sip"`. Why: all understand it; IMS networks want one of the others.
    pub number_uri: NumberUri,
    /// Calls at once, both directions; 0 has no limit of its own. Default: `0`. Why: set what you pay for.
    pub max_calls: u32,
    /// Calls out that may begin; 0 is any. A guard: one more is refused (403), and no other trunk takes it. Unit: calls a minute.
    /// Default: `0`. Why: toll fraud through many users at once; the provider's own rate is `max_cps`.
    pub calls_per_minute: u32,
    /// Calls begun in a second, both directions; 0 has no limit of its own. One more goes out by `pstn_fallback`, or is answered 503.
    /// Default: `0`. Why: a provider that limits them answers more with 503, or blocks you; against toll fraud there is
    /// `calls_per_minute`.
    pub max_cps: u32,
    /// How long a call out may ring. Unit: seconds. Default: `60`. Why: the field's habit.
    pub ring_timeout_s: u64,
    /// Whether provisional responses are acknowledged by PRACK (`100rel`, RFC 3262): `"off"` refuses who requires it,
    /// `"supported"` does where the other side requires it, `"required"` always, and refuses calls from who does not know it.
    /// Default: `"supported"`. Why: carriers and IMS ask where they need it; some gateways stumble over it unasked.
    pub prack: Prack,
    /// How long a session with it lasts unless it is refreshed; 0 asks for no timer. Unit: seconds. Default: `1800`. Why: the
    /// field's habit; a carrier without timers cuts calls, or lets dead ones run.
    pub session_expires_s: u64,
    /// Shortest session accepted from it, and asked for. Unit: seconds. Default: `90`. Why: RFC 4028 §5 allows no less.
    pub min_se_s: u64,
    /// Lines of a SIM gateway, each a `[[trunks.lines]]`: each carries one call at a time, in either direction. Default: `[]`, none.
    /// Why: only SIM gateways have them.
    pub lines: Vec<Line>,
    /// Which line is next: `"least_recently_used"` or `"round_robin"`. Default: `"least_recently_used"`. Why: it spreads calls, and
    /// networks look at SIMs that call too much.
    pub line_rotation: Rotation,
    /// How long a line rests after a call. Unit: seconds. Default: `3`. Why: GSM modules take a moment to hang up.
    pub line_rest_s: u64,
    /// How long a line rests after a call out that failed (no answer of the gateway, 480, 5xx); twice as long after each further
    /// one, up to an hour. Unit: seconds. Default: `60`. Why: a SIM without credit or signal should not cost every caller a try.
    pub line_failure_rest_s: u64,
}

/// `[[trunks.lines]]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Line {
    /// Its name. Default: none, required. Why: logs and the API name it by this.
    pub name: String,
    /// Its own number: a call that comes for it came in on it. Default: `""`. Why: a line that registers is known without.
    pub number: String,
    /// The subscriber that it registers with us as. Default: `""`. Why: set this or `prefix`.
    pub subscriber: String,
    /// Put before the number to call by this line, at the trunk's `host`. Default: `""`. Why: set this or `subscriber`.
    pub prefix: String,
}

/// A header that names the caller, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityHeader {
    /// P-Asserted-Identity.
    Pai,
    /// P-Preferred-Identity.
    Ppi,
    /// Remote-Party-ID.
    Rpid,
}

/// Headers that name who sent a call on, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardingHeaders {
    /// None.
    None,
    /// Diversion.
    Diversion,
    /// History-Info.
    HistoryInfo,
    /// Both.
    Both,
}

/// How numbers are written, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormat {
    /// As they are.
    AsIs,
    /// With `+`.
    E164,
    /// Without.
    E164Bare,
    /// As dialled at home.
    National,
}

/// How numbers are written as URIs, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberUri {
    /// `sip:`.
    Sip,
    /// With `user=phone`.
    Phone,
    /// `tel:`.
    Tel,
}

/// Whether provisional responses are acknowledged, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Prack {
    /// Never.
    Off,
    /// Where the other side requires it.
    Supported,
    /// Always.
    Required,
}

impl Default for Trunk {
    fn default() -> Self {
        Self {
            name: String::new(),
            profile: String::new(),
            host: String::new(),
            port: None,
            transport: TrunkTransport::Auto,
            targets: Vec::new(),
            outbound_proxy: String::new(),
            redirects: Redirects::Trunk,
            tls_ca: String::new(),
            tls_name: String::new(),
            tls_certificate: String::new(),
            tls_private_key: String::new(),
            username: String::new(),
            auth_user: String::new(),
            password: Secret::default(),
            realm: String::new(),
            domain: String::new(),
            identity_headers: vec![IdentityHeader::Pai],
            trust_id_inbound: true,
            trust_id_outbound: true,
            forwarding_headers: ForwardingHeaders::Diversion,
            listener: String::new(),
            register: false,
            register_expires_s: 3600,
            allowed_addresses: Vec::new(),
            options_interval_s: 30,
            codecs: Vec::new(),
            media_encryption: None,
            routes: BTreeMap::new(),
            prefix: String::new(),
            caller_id: "pass".into(),
            caller_id_allowed: String::new(),
            pass_headers_in: Vec::new(),
            pass_headers_out: Vec::new(),
            asserted_id: String::new(),
            country_code: String::new(),
            national_prefix: "0".into(),
            international_prefix: "00".into(),
            number_format: NumberFormat::AsIs,
            caller_id_format: None,
            number_uri: NumberUri::Sip,
            max_calls: 0,
            calls_per_minute: 0,
            max_cps: 0,
            ring_timeout_s: 60,
            prack: Prack::Supported,
            session_expires_s: 1800,
            min_se_s: 90,
            lines: Vec::new(),
            line_rotation: Rotation::default(),
            line_rest_s: 3,
            line_failure_rest_s: 60,
        }
    }
}
