//! What the operator sees, and by what: `[log]`, `[http]`, `[hep]`.

use serde::{Deserialize, Serialize};

use super::Secret;

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
