//! Configuration as written: one TOML, unknown keys refused. Every key's comment says what it is, its unit where it has one,
//! its default and why; the README's table is made of these comments, and a test compares the defaults named here with those
//! in the code.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tandem_actors::flow::script::Step;
use tandem_actors::model::address::Transport;
use tandem_actors::model::media::Codec;
use tandem_actors::model::settings::{AcceptOn, KeepAlive, Rotation};
use zeroize::ZeroizeOnDrop;

/// Text that never prints.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, Serialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for who must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    /// Our SIP domain: phones register as `sip:1001@DOMAIN`, and it is the realm of our digest challenges. Default:
    /// `"tandem.local"`. Why: phones send it whether or not DNS knows it; passwords are kept hashed with it, so a change makes
    /// every phone's password invalid.
    pub domain: String,
    /// Folder of everything that outlives the process: database, secrets, certificate. Default: `"data"`. Why: one folder to
    /// back up, readable by our user only; a relative path starts at this file's folder.
    pub data_dir: String,
    /// Folder of the prompts, WAV files of any rate, named by their stem. Default: `"prompts"`. Why: beside this file, where
    /// they are shipped; a relative path starts at this file's folder.
    pub prompts_dir: String,
    /// Address that peers outside `local_net` reach us at. Default: none, the address of the interface a packet leaves by. Why:
    /// behind NAT, or in a cloud, we cannot see it ourselves, and without it there is no audio.
    pub external_ip: Option<IpAddr>,
    /// Networks that reach us without NAT, where `external_ip` is not shown. Default: `["10.0.0.0/8", "172.16.0.0/12",
    /// "192.168.0.0/16", "127.0.0.0/8"]`. Why: the private networks of RFC 1918, and ourselves.
    pub local_net: Vec<String>,
    /// The database.
    pub store: Store,
    /// What is logged and how.
    pub log: Log,
    /// SIP.
    pub sip: Sip,
    /// What phones that register are granted.
    pub registrar: Registrar,
    /// RTP towards phones and trunks, and the media threads.
    pub rtp: Rtp,
    /// Media towards browsers.
    pub rtc: Rtc,
    /// The API, the web phone, metrics.
    pub http: Http,
    /// Export of SIP to a collector.
    pub hep: Hep,
    /// Timers and limits.
    pub limits: Limits,
    /// The three modes.
    pub modes: Modes,
    /// IVR services, each a `[[services]]`.
    pub services: Vec<Service>,
    /// Trunks, each a `[[trunks]]`.
    pub trunks: Vec<Trunk>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            domain: "tandem.local".into(),
            data_dir: "data".into(),
            prompts_dir: "prompts".into(),
            external_ip: None,
            local_net: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"].map(Into::into).into(),
            store: Store::default(),
            log: Log::default(),
            sip: Sip::default(),
            registrar: Registrar::default(),
            rtp: Rtp::default(),
            rtc: Rtc::default(),
            http: Http::default(),
            hep: Hep::default(),
            limits: Limits::default(),
            modes: Modes::default(),
            services: Vec::new(),
            trunks: Vec::new(),
        }
    }
}

/// `[store]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// PostgreSQL's URL, as `postgres://tandem:PASSWORD@127.0.0.1/tandem`; better given as `TANDEM_STORE__URL`. Default: `""`,
    /// SQLite in `data_dir`. Why: nothing else to run; the connection is not encrypted, so a server elsewhere wants a protected
    /// network.
    pub url: Secret,
}

/// `[log]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `"text"` for people, `"json"` for a log collector. Default: `"text"`. Why: the first reader is a person.
    pub format: LogFormat,
    /// Which lines: a level, or `target=level` pairs with commas (the syntax of tracing's EnvFilter). Default: `"info"`. Why:
    /// info has a few lines a call, debug has numbers and addresses unmasked.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[sip]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sip {
    /// Where SIP is heard, each a `[[sip.listeners]]`. Default: UDP and TCP on 0.0.0.0:5060. Why: RFC 3261 §18 asks for both.
    pub listeners: Vec<Listener>,
    /// Codecs offered to phones and to trunks without a list of their own, in order: `opus`, `pcma`, `pcmu`. Default:
    /// `["opus", "pcma", "pcmu"]`. Why: Opus passes to a browser untouched; G.711 is what every phone has.
    pub codecs: Vec<Codec>,
    /// What protects the media of phones: `none` (RTP in the clear; a phone that demands SRTP is answered 488), `sdes_optional` (keys
    /// are offered in the SDP and SRTP is spoken with who takes them), `sdes` (SRTP or no call), `dtls` (DTLS-SRTP with ICE, as
    /// browsers speak it, or no call). A caller who offers DTLS-SRTP with ICE is answered so under each of them. Default: `"none"`.
    /// Why: keys in an SDP that itself travels in the clear protect nothing, and some old phones stumble over them.
    pub media_encryption: Encryption,
    /// Digest algorithms in the order they are offered: `md5`, `sha256`, `sha512-256`, each also with `-sess`. Default: `["md5"]`.
    /// Why: every phone has it, and some (baresip 1, as Debian 12 has it) give up on a challenge that offers SHA-256 beside it; add
    /// it where all yours know it. A subscriber made before `sha512-256` was kept has to be made again to use it.
    pub digest: Vec<Digest>,
    /// The same for the users whose number a rule names, as `{ "20[01-20]" = ["sha256"] }`: numbers as in
    /// `modes.rtc_to_sip.numbers`. Default: `{}`. Why: old phones keep MD5 while others are asked for better.
    pub digest_by_user: BTreeMap<String, Vec<Digest>>,
    /// Whether a digest may cover the body as well (auth-int). Default: `false`. Why: border controllers and helpful routers
    /// rewrite SDP on the way, and some phones fail over a list.
    pub digest_integrity: bool,
    /// Against scanners, floods and guessed passwords.
    pub abuse: Abuse,
    /// Whether callers we do not know may call our users and services. Default: `false`. Why: an open SIP port is scanned
    /// within minutes.
    pub allow_strangers: bool,
    /// How long a session lasts unless it is refreshed, with phones and with trunks that say nothing else (Session-Expires,
    /// RFC 4028); 0 asks for no timer, and keeps one where the peer asks. Unit: seconds. Default: `1800`. Why: the field's habit;
    /// a call whose other end died unheard is ended.
    pub session_expires_s: u64,
    /// Shortest session accepted, and asked for (Min-SE). Unit: seconds. Default: `90`. Why: RFC 4028 §5 allows no less.
    pub min_se_s: u64,
    /// How long a target that says nothing is waited for where there is another to send to. Unit: seconds. Default: `4`. Why:
    /// four tries of a datagram; RFC 3261's own 32 s are longer than a caller holds the line. One that is merely slow may ring
    /// too, and is cancelled then.
    pub failover_after_s: u64,
    /// Name servers, as `["192.0.2.53:53"]`. Default: `[]`, those of the system. Why: a provider's names may be known inside its
    /// own network only.
    pub name_servers: Vec<SocketAddr>,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listeners: vec![Listener { name: "main".into(), ..Listener::default() }],
            codecs: vec![Codec::Opus, Codec::Pcma, Codec::Pcmu],
            media_encryption: Encryption::None,
            digest: vec![Digest::Md5],
            digest_by_user: BTreeMap::new(),
            digest_integrity: false,
            abuse: Abuse::default(),
            allow_strangers: false,
            session_expires_s: 1800,
            min_se_s: 90,
            failover_after_s: 4,
            name_servers: Vec::new(),
        }
    }
}

/// `[sip.abuse]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Abuse {
    /// Requests outside calls that one source (an IPv4 address, an IPv6 /64) may send. Unit: requests a second.
    /// Default: `500`. Why: an office behind one address sends a few; trunks are not counted.
    pub requests_per_second: u32,
    /// How many of them at once. Default: `1000`. Why: all phones of an office register together after a power cut.
    pub requests_burst: u32,
    /// Wrong passwords, one a minute forgiven, that block a source. Default: `10`. Why: a phone with an old password asks about
    /// once a minute; a source that proved a password within the hour is not blocked whole, only the name it gets wrong.
    pub wrong_passwords: u32,
    /// How long a source is blocked the first time; each further time twice as long. Unit: seconds. Default: `300`. Why: a
    /// mistake mends itself, an attack goes elsewhere.
    pub block_s: u64,
    /// The longest block. Unit: seconds. Default: `86400`. Why: addresses change hands.
    pub block_most_s: u64,
    /// Pieces of a User-Agent, in any case, whose requests are dropped in silence and whose source is blocked. Default:
    /// `["friendly-scanner", "sipvicious", "sundayddr", "sipcli", "pplsip", "sip-scan", "sivus", "siparmyknife", "smap", "iwar", "vaxsipuseragent"]`.
    /// Why: what knocks at every open port; add your own guests from the log.
    pub scanners: Vec<String>,
    /// Addresses and networks that are never counted and never blocked. Default: `[]`. Why: your own monitoring; trunks are not
    /// counted anyway.
    pub never_block: Vec<String>,
}

impl Default for Abuse {
    fn default() -> Self {
        let scanners = [
            "friendly-scanner",
            "sipvicious",
            "sundayddr",
            "sipcli",
            "pplsip",
            "sip-scan",
            "sivus",
            "siparmyknife",
            "smap",
            "iwar",
            "vaxsipuseragent",
        ];
        Self {
            requests_per_second: 500,
            requests_burst: 1000,
            wrong_passwords: 10,
            block_s: 300,
            block_most_s: 86400,
            scanners: scanners.map(Into::into).into(),
            never_block: Vec::new(),
        }
    }
}

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

/// `[[sip.listeners]]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// Its name, for logs and metrics. Default: none, required. Why: addresses change, names stay.
    pub name: String,
    /// What it listens with, on one port: `udp` and one of `tcp`, `tls`, `ws`, `wss`, or either alone; the others take
    /// a listener each. Default: `["udp", "tcp"]`. Why: RFC 3261 §18 asks for both, and a TCP port speaks one language.
    pub transports: Vec<Transport>,
    /// Address and port; by habit 5061 for `tls`, 443 or 7443 for `wss`. Default: `"0.0.0.0:5060"`. Why: SIP's own port, every
    /// interface of IPv4; `"[::]:5060"` is a listener of its own.
    pub listen: SocketAddr,
    /// Digest algorithms offered here, in order. Default: `[]`, those of `[sip]`. Why: a listener for old phones, one for new ones.
    pub digest: Vec<Digest>,
    /// `external_ip` for this listener's peers. Default: none, the file's own. Why: a machine with two networks has two outsides.
    pub external_ip: Option<IpAddr>,
    /// `local_net` for this listener's peers. Default: none, the file's own. Why: as `external_ip`.
    pub local_net: Option<Vec<String>>,
    /// Certificate chains for `tls` and `wss`, PEM files: each is shown to who asks for a host it is for, the first to all others.
    /// Default: `[]`, that of `[http]`. Why: one certificate does for most; it is read again every hour and at SIGHUP.
    pub certificates: Vec<String>,
    /// Private keys of `certificates`, PEM files, in the same order. Default: `[]`. Why: as many as certificates.
    pub private_keys: Vec<String>,
    /// Authorities of the certificates that peers show over `tls` or `wss`, PEM file; `""` asks for none. Default: `""`. Why:
    /// phones and browsers have no certificate; trunks may.
    pub client_ca: String,
    /// Whether a peer without a certificate of `client_ca` is refused (`"required"`) or not (`"optional"`). Default: `"required"`.
    /// Why: who names authorities wants them heeded.
    pub client_certificates: ClientCertificates,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: String::new(),
            transports: vec![Transport::Udp, Transport::Tcp],
            listen: ([0, 0, 0, 0], 5060).into(),
            digest: Vec::new(),
            external_ip: None,
            local_net: None,
            certificates: Vec::new(),
            private_keys: Vec::new(),
            client_ca: String::new(),
            client_certificates: ClientCertificates::Required,
        }
    }
}

/// Whether clients must show a certificate, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They must.
    Required,
    /// They may.
    Optional,
}

/// What protects media, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// Nothing.
    None,
    /// SDES where the peer takes it.
    SdesOptional,
    /// SDES.
    Sdes,
    /// DTLS-SRTP with ICE.
    Dtls,
}

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

/// A digest algorithm, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// `MD5`.
    Md5,
    /// `MD5-sess`.
    #[serde(rename = "md5-sess")]
    Md5Sess,
    /// `SHA-256`.
    Sha256,
    /// `SHA-256-sess`.
    #[serde(rename = "sha256-sess")]
    Sha256Sess,
    /// `SHA-512-256`.
    #[serde(rename = "sha512-256")]
    Sha512t256,
    /// `SHA-512-256-sess`.
    #[serde(rename = "sha512-256-sess")]
    Sha512t256Sess,
}

/// `[rtp]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rtp {
    /// UDP ports for RTP (even) and RTCP (odd), `FIRST-LAST`; a call's leg takes two. Default: `"10000-20000"`. Why: the
    /// field's habit, 5000 legs; open the whole range in the firewall.
    pub ports: String,
    /// Media threads. Default: `1`. Why: a room or a bridge lives on one thread, so more are refused for now; one carries some
    /// hundred calls.
    pub threads: u16,
    /// Whether media threads ask for real-time scheduling (SCHED_FIFO). Default: `true`. Why: under load it is what keeps sound
    /// even; where it is refused a metric says so and calls go on.
    pub realtime: bool,
}

impl Default for Rtp {
    fn default() -> Self {
        Self { ports: "10000-20000".into(), threads: 1, realtime: true }
    }
}

/// `[rtc]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rtc {
    /// Address that browsers' media (ICE, DTLS, SRTP) is heard on. Default: `"0.0.0.0"`. Why: every interface.
    pub listen_ip: IpAddr,
    /// First UDP port of browsers' media: one a media thread, counted upwards. Default: `8444`. Why: one port serves every
    /// browser of a thread, so a firewall needs but a few, beside HTTPS's 8443.
    pub port: u16,
    /// Address told to browsers (ICE candidate). Default: none, which is `external_ip`, else `listen_ip`, else that of the default
    /// route. Why: only you know whether browsers come from inside or outside.
    pub address: Option<IpAddr>,
    /// Codecs allowed towards browsers, in order: `opus`, `pcma`, `pcmu`. Default: `["opus", "pcma", "pcmu"]`. Why: browsers
    /// speak all three, and a phone's G.711 then passes untouched.
    pub codecs: Vec<Codec>,
}

impl Default for Rtc {
    fn default() -> Self {
        Self {
            listen_ip: [0, 0, 0, 0].into(),
            port: 8444,
            address: None,
            codecs: vec![Codec::Opus, Codec::Pcma, Codec::Pcmu],
        }
    }
}

/// `[http]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Plain HTTP: address and port, `""` for none. Default: `"127.0.0.1:8080"`. Why: for this machine and for a proxy before
    /// us; keys and tokens do not belong on a network in the clear.
    pub listen: String,
    /// HTTPS: address and port, `""` for none. Default: `"0.0.0.0:8443"`. Why: a browser gives a microphone to secure pages only.
    pub https_listen: String,
    /// Certificate chain, PEM file. Default: `""`, a self-made certificate in `data_dir`. Why: a first call should not wait for
    /// a certificate; a relative path starts at this file's folder.
    pub certificate: String,
    /// Private key of `certificate`, PEM file. Default: `""`. Why: set both or none.
    pub private_key: String,
    /// Origins, as `https://app.example.com`, whose pages may open `/ws` or SIP's `ws` and `wss` beside our own; `*` is any.
    /// Default: `[]`. Why: a page elsewhere should not use a user's login.
    pub allowed_origins: Vec<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            https_listen: "0.0.0.0:8443".into(),
            certificate: String::new(),
            private_key: String::new(),
            allowed_origins: Vec::new(),
        }
    }
}

/// `[hep]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hep {
    /// `host:port` of a HEP3 collector (Homer, heplify-server) that is sent every SIP message over UDP, secrets masked, and every 10 s a report of
    /// each media session. Default:
    /// `""`, none. Why: whoever has a collector knows where it is; without one nothing is sent.
    pub collector: String,
    /// Our number at the collector. Default: `0`. Why: it tells several switches apart.
    pub capture_id: u32,
    /// The collector's password, sent in the clear as HEP has it. Default: `""`, none. Why: most collectors ask for none.
    pub password: Secret,
}

/// `[limits]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls at once; one more is answered 503 with Retry-After. Default: `2000`. Why: calls that are up stay good.
    pub max_calls: u32,
    /// Calls from SIP that may begin a second; more are answered 503 with Retry-After; 0 is any. Unit: calls a second. Default: `0`. Why:
    /// what is too much depends on the machine, and is noticed by itself: when requests wait, new ones are refused.
    pub max_cps: u32,
    /// Calls by trunks that one user, phone or app, may have at once; 0 is any. Default: `10`. Why: toll fraud; a stolen password
    /// then costs little.
    pub user_trunk_calls: u32,
    /// Calls by trunks that one user may begin; 0 is any. Unit: calls a minute. Default: `60`. Why: as above; machines that dial
    /// need more.
    pub user_trunk_calls_per_minute: u32,
    /// How long a phone rings. Unit: seconds. Default: `60`. Why: the field's habit.
    pub ring_timeout_s: u64,
    /// A call without RTP for this long is ended; 0 never. Unit: seconds. Default: `60`. Why: the other side is gone and did not
    /// say so; a hold is not counted.
    pub no_rtp_timeout_s: u64,
    /// A phone alone in a room leaves after this. Unit: seconds. Default: `60`. Why: time for the others to come back.
    pub alone_grace_s: u64,
    /// An app user's lost connection is kept for this long. Unit: seconds. Default: `30`. Why: a change of network takes some
    /// seconds, and the call goes on meanwhile.
    pub resume_window_s: u64,
    /// No call lasts longer. Unit: seconds. Default: `43200`. Why: twelve hours is a forgotten handset.
    pub max_duration_s: u64,
    /// Life of a call started by the API without a `ttl`. Unit: seconds. Default: `1800`. Why: the connector API's own default.
    pub connector_ttl_s: u64,
    /// Retry-After of our 503: the least, up to twice as much is said. Unit: seconds. Default: `5`. Why: long enough to matter, short
    /// enough to be noticed by nobody; spread, so that those refused together do not come back together.
    pub retry_after_s: u64,
    /// Connections an app user may have at once; one login more ends the oldest. Default: `1`. Why: as the SDKs that apps come
    /// from do; more rings every device.
    pub devices_per_user: u32,
    /// How long a drain (SIGTERM) waits for calls to end. Unit: seconds. Default: `600`. Why: most calls are shorter; the unit
    /// file waits a little longer.
    pub drain_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_calls: 2000,
            max_cps: 0,
            user_trunk_calls: 10,
            user_trunk_calls_per_minute: 60,
            ring_timeout_s: 60,
            no_rtp_timeout_s: 60,
            alone_grace_s: 60,
            resume_window_s: 30,
            max_duration_s: 43200,
            connector_ttl_s: 1800,
            retry_after_s: 5,
            devices_per_user: 1,
            drain_s: 600,
        }
    }
}

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
    /// Whether calls out carry P-Asserted-Identity (RFC 3325). Default: `true`. Why: it is where providers look for the caller's
    /// number; one that trusts nobody may ask to leave it out.
    pub assert_identity: bool,
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
            assert_identity: true,
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
