//! What the SIP adapter is told at start: listeners, trunks and timers, as meant (the files are read by `src/config`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tandem_actors::model::address::Transport;
use tandem_actors::model::ids::{ListenerId, TrunkId};
use tandem_actors::model::settings::NumberRules;

use super::dialog::session_timer::SessionPolicy;
use super::digest::{DigestAlgorithm, DigestOffer};
use super::message::passed::HeaderList;
use super::nuisance::Budget;
use super::sight::hep::HepConfig;
use super::transaction::timer::Timers;
use tandem_actors::model::net::Net;

/// Everything.
#[derive(Debug, Clone)]
pub struct SipConfig {
    /// Our domain: digest realm, host of From in calls out.
    pub domain: String,
    /// Where we listen; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// Trunks.
    pub trunks: Vec<TrunkConfig>,
    /// What `sips:` URIs of nobody's are called with; `None`: they cannot be.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Origins whose pages may open a WebSocket, beside those of the listener's own address.
    pub allowed_origins: Vec<String>,
    /// Whether strangers may call without a password.
    pub anonymous: bool,
    /// Challenges, in order of preference. MD5 comes first by default: phones take the first they see, and some of them drop
    /// a 401 whose first challenge they cannot read.
    pub algorithms: Vec<DigestOffer>,
    /// Challenges to users of these numbers, instead.
    pub algorithms_by_user: Vec<(NumberRules, Vec<DigestOffer>)>,
    /// Whether auth-int is offered beside auth.
    pub integrity: bool,
    /// Value of User-Agent and Server.
    pub user_agent: String,
    /// Prefixes that may be dialled through trunks: a redirection goes no further.
    pub allow: Vec<String>,
    /// Prefixes that may not, whatever `allow` says; `00` in a number counts as `+`.
    pub deny: Vec<String>,
    /// Timers of RFC 3261.
    pub timers: Timers,
    /// How long a target that says nothing is waited for where there is another.
    pub failover_after: Duration,
    /// Name servers; none: the system's.
    pub name_servers: Vec<SocketAddr>,
    /// What one source may do outside dialogs.
    pub budget: Budget,
    /// Most dialogs at once; beyond, INVITE gets 503.
    pub max_dialogs: usize,
    /// Calls that may begin a second; 0: any.
    pub max_cps: u32,
    /// Retry-After of 503, seconds: the least; up to twice as much is said.
    pub retry_after: u32,
    /// The collector that sees every message; `None`: nobody.
    pub hep: Option<HepConfig>,
    /// What is wanted of sessions with peers that are no trunk, and with trunks without a wish of their own.
    pub session: SessionPolicy,
    /// Headers that pass between phones, and from and to trunks as those have it.
    pub pass_headers: HeaderList,
}

impl Default for SipConfig {
    fn default() -> Self {
        Self {
            domain: "localhost".into(),
            listeners: Vec::new(),
            trunks: Vec::new(),
            tls: None,
            allowed_origins: Vec::new(),
            anonymous: false,
            algorithms: vec![DigestAlgorithm::Md5.into(), DigestAlgorithm::Sha256.into()],
            algorithms_by_user: Vec::new(),
            integrity: false,
            user_agent: concat!("Tandem/", env!("CARGO_PKG_VERSION")).into(),
            allow: Vec::new(),
            deny: Vec::new(),
            timers: Timers::default(),
            failover_after: Duration::from_secs(4),
            name_servers: Vec::new(),
            budget: Budget::default(),
            max_dialogs: 10_000,
            max_cps: 0,
            retry_after: 5,
            hep: None,
            session: SessionPolicy::default(),
            pass_headers: HeaderList::default(),
        }
    }
}

/// One place to listen.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Its name.
    pub id: ListenerId,
    /// The transports, on one port: UDP, and one of the others.
    pub transports: Vec<Transport>,
    /// Address and port; port 0 takes a free one, the same for all transports.
    pub bind: SocketAddr,
    /// What peers outside `local_nets` are told instead of our address.
    pub external_ip: Option<IpAddr>,
    /// Networks whose peers see our real address. Loopback always does.
    pub local_nets: Vec<Net>,
    /// Challenges to who comes by it, instead of everybody's; empty: those.
    pub algorithms: Vec<DigestOffer>,
    /// What TLS and WSS are answered with.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Whom TLS is opened to.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// The host that the peer's certificate must be for.
    pub name: String,
    /// Whom we trust, and what we show.
    pub config: Arc<rustls::ClientConfig>,
}

/// One trunk, as far as SIP is concerned.
#[derive(Debug, Clone)]
pub struct TrunkConfig {
    /// Its name.
    pub id: TrunkId,
    /// Where it is: an address or a name.
    pub host: String,
    /// Its port; `None`: what DNS says, else the transport's own.
    pub port: Option<u16>,
    /// How it is reached; `None`: as DNS says, else UDP.
    pub transport: Option<Transport>,
    /// User part of our AOR there.
    pub username: String,
    /// Digest user name, where it is not `username`.
    pub auth_user: Option<String>,
    /// Digest password; empty: challenges are not answered.
    pub password: String,
    /// Only this realm's challenges are answered, where set.
    pub realm: Option<String>,
    /// Calls from these come from this trunk without a password; the addresses that `host` resolves to count as well.
    pub allowed_addresses: Vec<Net>,
    /// Host of From and To in requests to it, where it is not `host` (To) and our domain (From).
    pub domain: Option<String>,
    /// What it is believed and told of callers.
    pub identity: IdentityPolicy,
    /// Headers of its that go on by name, beside the application's.
    pub pass_headers_in: HeaderList,
    /// Headers of others that it is sent.
    pub pass_headers_out: HeaderList,
    /// The listener that its requests leave by; otherwise the first that fits.
    pub listener: Option<ListenerId>,
    /// Over TLS.
    pub tls: Option<TlsPeer>,
    /// Whether provisional responses are acknowledged (RFC 3262).
    pub reliable: Reliability,
    /// What is wanted of sessions with it, where that differs from [`SipConfig::session`].
    pub session: Option<SessionPolicy>,
    /// Whether it is asked by OPTIONS whether a target that failed is back.
    pub asks: bool,
    /// Further hosts beside `host`, which has priority 0 and weight [`HOST_WEIGHT`].
    pub others: Vec<TrunkTarget>,
    /// The URI of the proxy that every request goes through.
    pub outbound_proxy: Option<String>,
    /// Which redirections of our calls are followed.
    pub redirects: Redirects,
    /// What stands before every number dialled out.
    pub prefix: String,
}

/// What a trunk is believed and told of callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityPolicy {
    /// What it says of its callers is believed (RFC 3325 §5).
    pub believed: bool,
    /// It is told of callers who hide, of who sent calls on, and of ported numbers.
    pub trusted: bool,
    /// Where it looks for the caller's number, beside From.
    pub headers: Vec<IdentityHeader>,
    /// How it is told who sent a call on.
    pub forwarding: ForwardingHeaders,
    /// How numbers are written as URIs.
    pub number_uri: NumberUri,
    /// The context of numbers that are not global (RFC 3966 §5.1.5); `None`: its domain.
    pub phone_context: Option<String>,
}

impl Default for IdentityPolicy {
    fn default() -> Self {
        Self {
            believed: true,
            trusted: true,
            headers: vec![IdentityHeader::Asserted],
            forwarding: ForwardingHeaders::Diversion,
            number_uri: NumberUri::Sip,
            phone_context: None,
        }
    }
}

/// A header that names the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityHeader {
    /// P-Asserted-Identity (RFC 3325).
    Asserted,
    /// P-Preferred-Identity (RFC 3325).
    Preferred,
    /// Remote-Party-ID (draft-ietf-sip-privacy-04).
    RemoteParty,
}

/// Headers that name who sent a call on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardingHeaders {
    /// None.
    None,
    /// Diversion (RFC 5806).
    Diversion,
    /// History-Info (RFC 7044).
    HistoryInfo,
    /// Both.
    Both,
}

/// How a number is written as a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberUri {
    /// `sip:NUMBER@HOST`.
    Sip,
    /// `sip:NUMBER@HOST;user=phone`.
    Phone,
    /// `tel:NUMBER` where it is called, and `user=phone` elsewhere.
    Tel,
}

/// Whether provisional responses are acknowledged (`100rel`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reliability {
    /// Never: we do not say that we know it, and refuse who requires it.
    Off,
    /// Where the peer wants it so.
    #[default]
    Supported,
    /// Always; calls from who does not know it are refused with 421.
    Required,
}

/// To which hosts a trunk may send our calls on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// To none.
    Off,
    /// To its own.
    Trunk,
    /// To any.
    Any,
}

/// The weight of a trunk's own host.
pub const HOST_WEIGHT: u16 = 100;

/// A further host of a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkTarget {
    /// An address or a name.
    pub host: String,
    /// Its port; `None`: what DNS says, else the transport's own.
    pub port: Option<u16>,
    /// Lowest first.
    pub priority: u16,
    /// Its share among those of one priority (RFC 2782).
    pub weight: u16,
}

impl TrunkConfig {
    /// A trunk with nothing but a name and a host.
    pub fn new(id: TrunkId, host: impl Into<String>) -> Self {
        Self {
            id,
            host: host.into(),
            port: None,
            transport: None,
            username: String::new(),
            auth_user: None,
            password: String::new(),
            realm: None,
            allowed_addresses: Vec::new(),
            domain: None,
            identity: IdentityPolicy::default(),
            pass_headers_in: HeaderList::default(),
            pass_headers_out: HeaderList::default(),
            listener: None,
            tls: None,
            reliable: Reliability::default(),
            session: None,
            asks: true,
            others: Vec::new(),
            outbound_proxy: None,
            redirects: Redirects::Trunk,
            prefix: String::new(),
        }
    }
}

/// Why the adapter did not start.
#[derive(Debug, thiserror::Error)]
pub enum SipStartError {
    /// No listener is configured.
    #[error("no SIP listener is configured: add one under `sip.listeners`")]
    NoListener,
    /// A listener's address cannot be had.
    #[error("SIP listener {listener} {why}")]
    Bind {
        /// Which.
        listener: ListenerId,
        /// Why.
        why: BindError,
    },
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({transport}): {error}{}", remedy(.error))]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
    /// What the system said.
    pub error: io::Error,
}

/// What to do about it.
fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        "; another program has the port: stop it, or choose another in `sip.listeners`"
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "; this machine has no such address"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need CAP_NET_BIND_SERVICE"
    } else if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        "; too many files are open: raise LimitNOFILE of the unit, or `ulimit -n`"
    } else {
        ""
    }
}
