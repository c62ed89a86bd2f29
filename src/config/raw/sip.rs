//! SIP: `[sip]`, its listeners, its guard.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tandem_actors::model::address::Transport;
use tandem_actors::model::media::Codec;

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
    /// Headers that phones' calls pass on, and that phones are sent: names, and beginnings with a `*`, as `["X-Ticket", "Alert-Info"]`.
    /// Default: `[]`. Why: as `pass_headers_in` and `pass_headers_out` of trunks.
    pub pass_headers: Vec<String>,
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
            pass_headers: Vec::new(),
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
