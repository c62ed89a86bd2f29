//! Configuration as meant: what was written, typed, cross-checked and with every path resolved. The wiring (`app`) hands each
//! adapter its part.

mod check;
mod identity;
mod lines;
mod network;
mod routing;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_actors::model::address::Transport;
use tandem_actors::model::ids::{ListenerId, TrunkId};
use tandem_actors::model::settings::{Limits, Modes, NumberRules, Registrar, Settings, SipToRtc};

use super::problem::{Problem, Problems};
use super::raw::{self, Digest, LogFormat, Prack, Raw, Secret};
use super::read::Places;
use check::Checker;
pub use identity::Telling;
use network::{encryption, hep, http, media, ports_do_not_meet, sip};
use routing::{numbers_lead_to_one_place, services, trunks};
use tandem_actors::model::net::Net;

/// Everything, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// What may stay as it is, but should be known.
    pub warnings: Option<Problems>,
    /// What the brain is told.
    pub brain: Settings,
    /// Folder of what outlives the process.
    pub data_dir: PathBuf,
    /// The database's URL; empty for SQLite in `data_dir`.
    pub store: Secret,
    /// Folder of the prompts: its `*.wav` files can be read, and those that flows play are among them.
    pub prompts_dir: PathBuf,
    /// For the SIP adapter.
    pub sip: Sip,
    /// For the media engine.
    pub media: Media,
    /// For the HTTP adapter.
    pub http: Http,
    /// The collector of what passes the SIP wire.
    pub hep: Option<Hep>,
    /// For telemetry.
    pub log: Log,
    /// How long a drain waits for calls to end.
    pub drain: Duration,
    /// Calls that may begin a second; 0: any.
    pub max_cps: u32,
}

impl Config {
    /// The database's URL; `None` for SQLite in the data folder.
    pub fn store_url(&self) -> Option<&str> {
        Some(self.store.expose()).filter(|url| !url.is_empty())
    }
}

/// SIP as the adapter needs it.
#[derive(Debug, Clone)]
pub struct Sip {
    /// Where SIP is heard; names differ, addresses too.
    pub listeners: Vec<Listener>,
    /// Reachability and credentials of trunks, by the ids of [`Settings::trunks`].
    pub trunks: Vec<TrunkAccess>,
    /// What peers outside are told to reach us at, where a listener has no address of its own for that.
    pub external_ip: Option<IpAddr>,
    /// Digest algorithms in the order they are offered; at least one.
    pub digest: Vec<Digest>,
    /// The same for users of these numbers, instead.
    pub digest_by_user: Vec<(NumberRules, Vec<Digest>)>,
    /// Whether auth-int is offered.
    pub digest_integrity: bool,
    /// Against scanners, floods and guessed passwords.
    pub abuse: Abuse,
    /// Whether unknown callers are admitted.
    pub allow_strangers: bool,
    /// Headers that pass between phones.
    pub pass_headers: Vec<String>,
    /// How long sessions with others than trunks last.
    pub sessions: Sessions,
    /// How long a silent target is waited for where there is another.
    pub failover_after: Duration,
    /// Name servers; none: the system's.
    pub name_servers: Vec<SocketAddr>,
}

/// Against scanners, floods and guessed passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abuse {
    /// As written and checked: rates, counts, scanners.
    pub written: raw::Abuse,
    /// Never counted, never blocked.
    pub never_block: Vec<Net>,
}

/// One SIP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub id: ListenerId,
    /// On one port; at least one, none twice.
    pub transports: Vec<Transport>,
    /// Where; port 0 is any free one.
    pub address: SocketAddr,
    /// Digest algorithms offered here; empty: [`Sip::digest`].
    pub digest: Vec<Digest>,
    /// What peers outside `local_net` are told to reach us at.
    pub external_ip: Option<IpAddr>,
    /// Networks without NAT between us.
    pub local_net: Vec<Net>,
    /// For `tls` and `wss`: certificate chains and private keys, PEM files; none: that of HTTPS.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// For `tls` and `wss`: authorities of peers' certificates, PEM file, and whether a peer must have one.
    pub client_ca: Option<(PathBuf, bool)>,
}

/// How a trunk is reached and how we prove who we are.
#[derive(Debug, Clone)]
pub struct TrunkAccess {
    /// Which.
    pub id: TrunkId,
    /// Host name or address.
    pub host: String,
    /// Its port; `None`: as DNS says.
    pub port: Option<u16>,
    /// How it is reached; `None`: as DNS says.
    pub transport: Option<Transport>,
    /// Over TLS.
    pub tls: Option<TrunkTls>,
    /// User part of our address there; may be empty.
    pub username: String,
    /// Digest user name; may be empty only where the password is.
    pub auth_user: String,
    /// Digest password.
    pub password: Secret,
    /// Realm we answer; `None` any.
    pub realm: Option<String>,
    /// Host of From and To, where it is not ours and `host`.
    pub domain: Option<String>,
    /// What it is believed and told of callers.
    pub identity: Telling,
    /// The listener that requests leave by; one of [`Sip::listeners`].
    pub listener: Option<ListenerId>,
    /// Where its calls may come from, beside what `host` resolves to.
    pub allowed_addresses: Vec<Net>,
    /// Whether it may be asked by OPTIONS.
    pub asks: bool,
    /// Further hosts.
    pub targets: Vec<raw::TrunkTarget>,
    /// The URI of the proxy before it.
    pub outbound_proxy: Option<String>,
    /// Which redirections are followed.
    pub redirects: raw::Redirects,
    /// What stands before every number dialled out.
    pub prefix: String,
    /// Whether provisional responses are acknowledged.
    pub prack: Prack,
    /// How long sessions with it last.
    pub sessions: Sessions,
}

/// How long sessions last unless they are refreshed (RFC 4028), seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// Asked for; 0 for no timer of ours.
    pub expires: u32,
    /// Shortest; at least 90.
    pub min_se: u32,
}

/// How a trunk's TLS is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkTls {
    /// Authorities, PEM file; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// The name that its certificate must have.
    pub name: String,
    /// Certificate chain and private key that we show, PEM files.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Media ports and threads.
#[derive(Debug, Clone)]
pub struct Media {
    /// RTP and RTCP ports: begins even, ends odd.
    pub rtp_ports: RangeInclusive<u16>,
    /// Media threads; at least 1.
    pub threads: u16,
    /// Whether to ask for SCHED_FIFO.
    pub realtime: bool,
    /// Where browsers' media is heard.
    pub rtc_ip: IpAddr,
    /// First of `threads` ports of browsers' media.
    pub rtc_port: u16,
    /// The address told to browsers; `None`: the bound one, or, where that is every interface, [`default_address`].
    pub rtc_address: Option<IpAddr>,
}

/// The address that packets to the world leave from, which peers in the same network reach us at; loopback where there is no
/// route. Nothing is sent: a connected UDP socket only asks the routing table.
pub fn default_address() -> IpAddr {
    // An address of RFC 5737: documentation's, so nobody's.
    std::net::UdpSocket::bind(("0.0.0.0", 0))
        .and_then(|socket| {
            socket.connect(("192.0.2.1", 9))?;
            socket.local_addr()
        })
        .map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

/// The HTTP side.
#[derive(Debug, Clone)]
pub struct Http {
    /// Plain HTTP.
    pub listen: Option<SocketAddr>,
    /// HTTPS.
    pub https_listen: Option<SocketAddr>,
    /// Certificate chain and private key, PEM files; `None`: self-made, in the data folder.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Origins that may open `/ws`.
    pub allowed_origins: Vec<String>,
}

/// A HEP collector.
#[derive(Debug, Clone)]
pub struct Hep {
    /// `host:port`.
    pub collector: String,
    /// Our number there.
    pub capture_id: u32,
    /// Empty: none.
    pub password: Secret,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines, in EnvFilter's syntax; parses.
    pub filter: String,
}

/// Checks all of it. Every problem found is reported, not the first.
pub(super) fn resolve(raw: Raw, file: &Path, places: &Places) -> Result<Config, Vec<Problem>> {
    let mut check = Checker { places, problems: Vec::new(), warnings: Vec::new() };
    // A file named without a folder lies in the working directory, which "" joined with a path also means.
    let folder = file.parent().unwrap_or(Path::new(""));
    let domain_ok = !raw.domain.is_empty() && raw.domain.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    if !domain_ok {
        check.wrong("domain", format!("\"{}\" is no host name", raw.domain), "write letters, digits, dots and hyphens");
    }
    if raw.data_dir.is_empty() {
        check.wrong("data_dir", "it is empty", "name a folder, as \"data\"");
    }
    let url = raw.store.url.expose();
    if !(url.is_empty() || url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        // It may have a password in it: it is not repeated.
        let remedy = "write postgres://USER:PASSWORD@HOST/DATABASE, or \"\" for SQLite in data_dir";
        check.wrong("store.url", "it is no URL of a PostgreSQL database", remedy);
    }
    let local_net = check.nets("local_net", &raw.local_net);
    let prompts_dir = folder.join(&raw.prompts_dir);
    let prompts = prompts(&mut check, &prompts_dir);
    let media = media(&mut check, &raw);
    let sip = sip(&mut check, &raw, &local_net, folder);
    let http = http(&mut check, &raw.http, folder);
    let hep = hep(&mut check, &raw.hep);
    ports_do_not_meet(&mut check, &sip, &media, &http);
    let services = services(&mut check, &raw, &prompts);
    let (trunks, rtc_to_sip) = trunks(&mut check, &raw, &services);
    numbers_lead_to_one_place(&mut check, &raw, &services, &rtc_to_sip.numbers);
    let limits = limits(&mut check, &raw.limits);
    let registrar = registrar(&mut check, &raw.registrar);
    let sip_to_rtc = sip_to_rtc(&mut check, &raw.modes.sip_to_rtc);
    for (key, codecs) in [("sip.codecs", &raw.sip.codecs), ("rtc.codecs", &raw.rtc.codecs)] {
        check.no_repeat(key, codecs.iter());
        if codecs.is_empty() {
            check.wrong(key, "it is empty", "name at least one of \"opus\", \"pcma\", \"pcmu\"");
        }
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&raw.log.filter) {
        check.wrong("log.filter", format!("{error}"), "write a level, as \"info\", or \"info,tandem=debug\"");
    }
    if !check.problems.is_empty() {
        return Err(check.problems);
    }
    let modes = Modes {
        ivr: raw.modes.ivr.enabled,
        sip_to_rtc: raw.modes.sip_to_rtc.enabled,
        rtc_to_sip: raw.modes.rtc_to_sip.enabled,
    };
    let warnings = (!check.warnings.is_empty()).then(|| Problems::new(file, check.warnings));
    Ok(Config {
        file: file.to_owned(),
        warnings,
        data_dir: folder.join(&raw.data_dir),
        store: raw.store.url,
        prompts_dir,
        sip,
        media,
        http,
        hep,
        log: Log { format: raw.log.format, filter: raw.log.filter },
        drain: Duration::from_secs(raw.limits.drain_s),
        max_cps: raw.limits.max_cps,
        brain: Settings {
            modes,
            domain: raw.domain,
            services,
            sip_to_rtc,
            rtc_to_sip,
            trunks,
            sip_encryption: encryption(raw.sip.media_encryption),
            sip_codecs: raw.sip.codecs,
            rtc_codecs: raw.rtc.codecs,
            limits,
            registrar,
        },
    })
}

/// Every WAV of the folder, by stem, and how long it is. Each is opened: a broken prompt is found now, not by the first caller.
fn prompts(check: &mut Checker<'_>, folder: &Path) -> BTreeMap<String, Duration> {
    let mut prompts = BTreeMap::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let what = format!("{}: {error}", folder.display());
            check.wrong("prompts_dir", what, "name the folder that has the WAV files");
            return prompts;
        }
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_wav = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav"));
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_wav) else { continue };
        match hound::WavReader::open(&path) {
            Ok(wav) => {
                let rate = u64::from(wav.spec().sample_rate.max(1));
                prompts.insert(name.to_owned(), Duration::from_millis(u64::from(wav.duration()) * 1000 / rate));
            }
            Err(error) => {
                let what = format!("{}: {error}", path.display());
                check.wrong("prompts_dir", what, "make it a PCM WAV file, or take it out of the folder");
            }
        }
    }
    prompts
}

/// 0 switches a timer off.
fn seconds(s: u64) -> Option<Duration> {
    (s != 0).then(|| Duration::from_secs(s))
}

fn limits(check: &mut Checker<'_>, raw: &raw::Limits) -> Limits {
    for (key, value, least) in [
        ("ring_timeout_s", raw.ring_timeout_s, 1),
        ("no_rtp_timeout_s", raw.no_rtp_timeout_s, 0),
        ("alone_grace_s", raw.alone_grace_s, 0),
        ("resume_window_s", raw.resume_window_s, 1),
        ("max_duration_s", raw.max_duration_s, 1),
        ("connector_ttl_s", raw.connector_ttl_s, 1),
        ("retry_after_s", raw.retry_after_s, 1),
        ("drain_s", raw.drain_s, 0),
    ] {
        check.seconds(format!("limits.{key}"), value, least);
    }
    if raw.devices_per_user == 0 {
        check.wrong("limits.devices_per_user", "nobody could log in", "write 1 or more");
    }
    if raw.max_calls == 0 {
        check.wrong("limits.max_calls", "no call would be taken", "write 1 or more");
    }
    Limits {
        max_calls: raw.max_calls,
        user_trunk_calls: (raw.user_trunk_calls != 0).then_some(raw.user_trunk_calls),
        user_trunk_calls_per_minute: (raw.user_trunk_calls_per_minute != 0).then_some(raw.user_trunk_calls_per_minute),
        ring_timeout: Duration::from_secs(raw.ring_timeout_s),
        no_rtp_timeout: seconds(raw.no_rtp_timeout_s),
        alone_grace: Duration::from_secs(raw.alone_grace_s),
        resume_window: Duration::from_secs(raw.resume_window_s),
        max_duration: Duration::from_secs(raw.max_duration_s),
        connector_ttl: Duration::from_secs(raw.connector_ttl_s),
        retry_after: Duration::from_secs(raw.retry_after_s),
        devices_per_user: raw.devices_per_user,
    }
}

fn registrar(check: &mut Checker<'_>, raw: &raw::Registrar) -> Registrar {
    for (key, value, least) in [
        ("default_expires_s", raw.default_expires_s, 1),
        ("min_expires_s", raw.min_expires_s, 1),
        ("max_expires_s", raw.max_expires_s, 1),
        ("nat_keepalive_s", raw.nat_keepalive_s, 5),
        ("flow_timer_s", raw.flow_timer_s, 30),
    ] {
        check.seconds(format!("registrar.{key}"), value, least);
    }
    // RFC 3261 §10.3 step 7: 423 is for less than an hour only.
    if raw.min_expires_s > 3600 {
        check.wrong(
            "registrar.min_expires_s",
            format!("{} s", raw.min_expires_s),
            "write 3600 or less (RFC 3261 §10.3)",
        );
    }
    if !(raw.min_expires_s..=raw.max_expires_s).contains(&raw.default_expires_s) {
        let what = format!("{} s is not between min_expires_s and max_expires_s", raw.default_expires_s);
        check.wrong("registrar.default_expires_s", what, "change one of the three");
    }
    if raw.max_contacts == 0 {
        check.wrong("registrar.max_contacts", "no phone could register", "write 1 or more");
    }
    Registrar {
        default_expires: Duration::from_secs(raw.default_expires_s),
        min_expires: Duration::from_secs(raw.min_expires_s),
        max_expires: Duration::from_secs(raw.max_expires_s),
        max_contacts: raw.max_contacts,
        keep_alive: raw.nat_keepalive,
        keep_alive_interval: Duration::from_secs(raw.nat_keepalive_s),
        flow_timer: Duration::from_secs(raw.flow_timer_s),
    }
}

fn sip_to_rtc(check: &mut Checker<'_>, raw: &raw::SipToRtc) -> SipToRtc {
    if raw.offline_wait_s > 30 {
        let what = format!("{} s", raw.offline_wait_s);
        check.wrong("modes.sip_to_rtc.offline_wait_s", what, "write 0 to 30");
    }
    check.seconds("modes.sip_to_rtc.ring_timeout_s", raw.ring_timeout_s, 0);
    SipToRtc {
        user_prefix: (!raw.user_prefix.is_empty()).then(|| raw.user_prefix.clone()),
        by_request_uri: raw.by_request_uri,
        offline_wait: Duration::from_secs(raw.offline_wait_s),
        ring_timeout: seconds(raw.ring_timeout_s),
    }
}

#[cfg(test)]
mod tests;
