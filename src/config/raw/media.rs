//! Media: `[rtp]`, `[rtc]`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tandem_actors::model::media::Codec;

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
