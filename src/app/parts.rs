//! The configuration as meant, cut into what each adapter takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::Config;
use crate::config::meant::{Abuse, Sessions, Telling};
use crate::config::raw::{self, Digest, Prack};
use crate::http::tokens::{ShortKey, TokenKey};
use crate::http::{HttpConfig, HttpsConfig};
use crate::media::{MediaConfig, OpusSettings};
use crate::sip::message::passed::HeaderList;
use crate::sip::nuisance::Budget;
use crate::sip::sight::hep::HepConfig;
use crate::sip::{
    DigestAlgorithm, DigestOffer, ForwardingHeaders, IdentityHeader, IdentityPolicy, ListenerConfig, NumberUri,
    Redirects, Reliability, SessionPolicy, SipConfig, TlsPeer, TrunkConfig, TrunkTarget,
};

use super::certificates::Configs;

/// How long a released port pair rests: a stray packet of the old call is no longer under way.
const PORT_REST: Duration = Duration::from_secs(5);
/// Media sessions on all threads: two a call at `limits.max_calls`, and what is being set up.
const MAX_SESSIONS: usize = 5000;

/// `began`: wall time and the instant it was read at.
pub(super) fn sip(config: &Config, certificates: &Configs, began: (SystemTime, Instant)) -> SipConfig {
    let sip = &config.sip;
    SipConfig {
        domain: config.brain.domain.clone(),
        listeners: sip
            .listeners
            .iter()
            .zip(&certificates.listeners)
            .map(|(listener, tls)| ListenerConfig {
                id: listener.id.clone(),
                transports: listener.transports.clone(),
                bind: listener.address,
                external_ip: listener.external_ip,
                local_nets: listener.local_net.clone(),
                tls: tls.clone(),
                algorithms: offers(&listener.digest),
            })
            .collect(),
        trunks: sip
            .trunks
            .iter()
            .zip(&certificates.trunks)
            .map(|(trunk, tls)| TrunkConfig {
                port: trunk.port,
                transport: trunk.transport,
                username: trunk.username.clone(),
                auth_user: (!trunk.auth_user.is_empty()).then(|| trunk.auth_user.clone()),
                password: trunk.password.expose().to_owned(),
                realm: trunk.realm.clone(),
                allowed_addresses: trunk.allowed_addresses.clone(),
                domain: trunk.domain.clone(),
                identity: identity_policy(&trunk.identity),
                pass_headers_in: HeaderList(trunk.identity.pass_headers_in.clone()),
                pass_headers_out: HeaderList(trunk.identity.pass_headers_out.clone()),
                listener: trunk.listener.clone(),
                tls: trunk
                    .tls
                    .as_ref()
                    .zip(tls.clone())
                    .map(|(named, config)| TlsPeer { name: named.name.clone(), config }),
                reliable: match trunk.prack {
                    Prack::Off => Reliability::Off,
                    Prack::Supported => Reliability::Supported,
                    Prack::Required => Reliability::Required,
                },
                session: Some(session_policy(trunk.sessions)),
                asks: trunk.asks,
                others: trunk
                    .targets
                    .iter()
                    .map(|target| TrunkTarget {
                        host: target.host.clone(),
                        port: target.port,
                        priority: target.priority,
                        weight: target.weight,
                    })
                    .collect(),
                outbound_proxy: trunk.outbound_proxy.clone(),
                redirects: match trunk.redirects {
                    raw::Redirects::Off => Redirects::Off,
                    raw::Redirects::Trunk => Redirects::Trunk,
                    raw::Redirects::Any => Redirects::Any,
                },
                prefix: trunk.prefix.clone(),
                ..TrunkConfig::new(trunk.id.clone(), trunk.host.clone())
            })
            .collect(),
        tls: certificates.anyone.clone(),
        allowed_origins: config.http.allowed_origins.clone(),
        anonymous: sip.allow_strangers,
        pass_headers: HeaderList(sip.pass_headers.clone()),
        algorithms: offers(&sip.digest),
        algorithms_by_user: sip.digest_by_user.iter().map(|(users, list)| (users.clone(), offers(list))).collect(),
        integrity: sip.digest_integrity,
        allow: config.brain.rtc_to_sip.allow.clone(),
        deny: config.brain.rtc_to_sip.deny.clone(),
        failover_after: sip.failover_after,
        name_servers: sip.name_servers.clone(),
        hep: config.hep.as_ref().map(|hep| HepConfig {
            collector: hep.collector.clone(),
            capture_id: hep.capture_id,
            password: hep.password.expose().to_owned(),
            began,
        }),
        session: session_policy(sip.sessions),
        budget: budget(&sip.abuse),
        max_cps: config.max_cps,
        // Two a call, those being set up, and those that ended and wait for their peers' last words.
        max_dialogs: 4 * config.brain.limits.max_calls as usize + 4096,
        retry_after: u32::try_from(config.brain.limits.retry_after.as_secs()).unwrap_or(u32::MAX),
        ..SipConfig::default()
    }
}

fn identity_policy(meant: &Telling) -> IdentityPolicy {
    let header = |header: &raw::IdentityHeader| match header {
        raw::IdentityHeader::Pai => IdentityHeader::Asserted,
        raw::IdentityHeader::Ppi => IdentityHeader::Preferred,
        raw::IdentityHeader::Rpid => IdentityHeader::RemoteParty,
    };
    IdentityPolicy {
        believed: meant.believed,
        trusted: meant.trusted,
        headers: meant.headers.iter().map(header).collect(),
        forwarding: match meant.forwarding {
            raw::ForwardingHeaders::None => ForwardingHeaders::None,
            raw::ForwardingHeaders::Diversion => ForwardingHeaders::Diversion,
            raw::ForwardingHeaders::HistoryInfo => ForwardingHeaders::HistoryInfo,
            raw::ForwardingHeaders::Both => ForwardingHeaders::Both,
        },
        number_uri: match meant.number_uri {
            raw::NumberUri::Sip => NumberUri::Sip,
            raw::NumberUri::Phone => NumberUri::Phone,
            raw::NumberUri::Tel => NumberUri::Tel,
        },
        phone_context: meant.phone_context.clone(),
    }
}

fn budget(abuse: &Abuse) -> Budget {
    let written = &abuse.written;
    Budget {
        per_second: written.requests_per_second.into(),
        burst: written.requests_burst.into(),
        wrong_passwords: written.wrong_passwords,
        block: Duration::from_secs(written.block_s),
        block_most: Duration::from_secs(written.block_most_s),
        scanners: written.scanners.clone(),
        never: abuse.never_block.clone(),
    }
}

fn offers(list: &[Digest]) -> Vec<DigestOffer> {
    let offer = |digest: &Digest| {
        let (algorithm, session) = match digest {
            Digest::Md5 => (DigestAlgorithm::Md5, false),
            Digest::Md5Sess => (DigestAlgorithm::Md5, true),
            Digest::Sha256 => (DigestAlgorithm::Sha256, false),
            Digest::Sha256Sess => (DigestAlgorithm::Sha256, true),
            Digest::Sha512t256 => (DigestAlgorithm::Sha512t256, false),
            Digest::Sha512t256Sess => (DigestAlgorithm::Sha512t256, true),
        };
        DigestOffer { algorithm, session }
    };
    list.iter().map(offer).collect()
}

fn session_policy(sessions: Sessions) -> SessionPolicy {
    SessionPolicy { expires: sessions.expires, min_se: sessions.min_se }
}

pub(super) fn media(config: &Config) -> MediaConfig {
    let media = &config.media;
    MediaConfig {
        threads: media.threads,
        webrtc_bind: SocketAddr::new(media.rtc_ip, media.rtc_port),
        webrtc_candidate_ip: Some(candidate(config)),
        rtp_ports: media.rtp_ports.clone(),
        realtime: media.realtime,
        prompts: config.prompts_dir.clone(),
        port_rest: PORT_REST,
        max_sessions: MAX_SESSIONS,
        opus: OpusSettings::default(),
    }
}

/// The address told to browsers: as configured, else `external_ip`, else the one we bind to, else the one this machine's
/// packets leave by, else loopback (a machine without a network still calls itself).
pub(super) fn candidate(config: &Config) -> IpAddr {
    let media = &config.media;
    let bound = Some(media.rtc_ip).filter(|ip| !ip.is_unspecified());
    media.rtc_address.or(bound).or_else(outward).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The local address of the default route. Connecting a UDP socket sends nothing; the address is one of RFC 5737.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

pub(super) fn http(config: &Config, certificates: &Configs, token_key: &[u8]) -> Result<HttpConfig, ShortKey> {
    Ok(HttpConfig {
        http: config.http.listen,
        https: config
            .http
            .https_listen
            .zip(certificates.https.clone())
            .map(|(address, tls)| HttpsConfig { address, tls }),
        allowed_origins: config.http.allowed_origins.clone(),
        token_key: TokenKey::new(token_key)?,
    })
}
