//! Configuration as written: one TOML, unknown keys refused. Every key's comment says what it is, its unit where it has one,
//! its default and why; the README's table is made of these comments, and a test compares the defaults named here with those
//! in the code.

mod limits;
mod media;
mod modes;
mod registrar;
mod sight;
mod sip;
mod trunk;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

pub use limits::Limits;
pub use media::{Rtc, Rtp};
pub use modes::{Accept, Ivr, Modes, RtcToSip, Service, SipToRtc};
pub use registrar::Registrar;
pub use sight::{Hep, Http, Log, LogFormat};
pub use sip::{Abuse, ClientCertificates, Digest, Encryption, Listener, Sip};
pub use trunk::{
    ForwardingHeaders, IdentityHeader, Line, NumberFormat, NumberUri, Prack, Redirects, Trunk, TrunkTarget,
    TrunkTransport,
};

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
    /// SQLite in `data_dir`. Why: nothing else to run; to a server elsewhere put `?sslmode=verify-full` behind it (and
    /// `&sslrootcert=FILE` where its authority is not the system's), or anybody on the way reads and writes along.
    pub url: Secret,
}
