//! Addresses, ports, trunks' hosts, certificates: what meets the network.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use tandem_actors::model::address::Transport;
use tandem_actors::model::ids::{ListenerId, TrunkId};
use tandem_actors::model::settings::NumberRules;

use super::super::problem::nearest;
use super::super::raw::{self, Raw, Secret};
use super::check::Checker;
use super::{Hep, Http, Listener, Media, Sip, TrunkAccess};
use tandem_actors::model::net::Net;

pub(super) fn media(check: &mut Checker<'_>, raw: &Raw) -> Media {
    let threads = raw.rtp.threads;
    if threads != 1 {
        check.wrong("rtp.threads", format!("{threads} threads"), "write 1: rooms do not span threads yet");
    }
    let ports = raw
        .rtp
        .ports
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?)));
    let rtp_ports = match ports {
        // RFC 3550 §11: RTP on an even port, RTCP on the odd one above.
        Some((first, last)) if first >= 1024 && first.is_multiple_of(2) && last > first && !last.is_multiple_of(2) => {
            first..=last
        }
        // The field writes 10000-20000: the last port without a partner is left unused.
        Some((first, last)) if first >= 1024 && first.is_multiple_of(2) && last > first + 1 => first..=last - 1,
        Some(_) | None => {
            let what = format!("\"{}\" is no range of ports", raw.rtp.ports);
            check.wrong("rtp.ports", what, "write FIRST-LAST, FIRST even and at least 1024, as \"10000-20000\"");
            10000..=10001
        }
    };
    if u32::from(raw.rtc.port) + u32::from(threads) > 65536 || raw.rtc.port == 0 {
        let what = format!("{threads} ports from {} on do not exist", raw.rtc.port);
        check.wrong("rtc.port", what, "write a port from 1 to 65000, or fewer rtp.threads");
    }
    Media {
        rtp_ports,
        threads,
        realtime: raw.rtp.realtime,
        rtc_ip: raw.rtc.listen_ip,
        rtc_port: raw.rtc.port,
        rtc_address: raw.rtc.address.or(raw.external_ip),
    }
}

fn transport(raw: raw::Transport) -> Transport {
    match raw {
        raw::Transport::Udp => Transport::Udp,
        raw::Transport::Tcp => Transport::Tcp,
    }
}

pub(super) fn sip(check: &mut Checker<'_>, raw: &Raw, local_net: Vec<Net>) -> Sip {
    let mut listeners: Vec<Listener> = Vec::new();
    if raw.sip.listeners.is_empty() {
        check.wrong("sip.listeners", "there is none", "remove the key for UDP and TCP on 0.0.0.0:5060");
    }
    for (n, listener) in raw.sip.listeners.iter().enumerate() {
        let key = format!("sip.listeners[{n}]");
        let Some(id) = check.id(&format!("{key}.name"), &listener.name, ListenerId::new) else { continue };
        if listeners.iter().any(|other| other.id == id) {
            check.wrong(
                format!("{key}.name"),
                format!("another listener is named \"{id}\" too"),
                "choose another name",
            );
        }
        check.no_repeat(&format!("{key}.transports"), listener.transports.iter());
        if listener.transports.is_empty() {
            check.wrong(format!("{key}.transports"), "it is empty", "name at least one of \"udp\", \"tcp\"");
        }
        let transports = listener.transports.iter().map(|t| transport(*t)).collect();
        check.no_repeat(&format!("{key}.digest"), listener.digest.iter());
        let digest = listener.digest.clone();
        listeners.push(Listener { id, transports, address: listener.listen, digest });
    }
    if raw.sip.digest.is_empty() {
        check.wrong("sip.digest", "it is empty", "name at least one of \"md5\", \"sha256\", \"sha512-256\"");
    }
    check.no_repeat("sip.digest", raw.sip.digest.iter());
    let mut digest_by_user = Vec::new();
    for (numbers, list) in &raw.sip.digest_by_user {
        let key = format!("sip.digest_by_user.{numbers}");
        check.no_repeat(&key, list.iter());
        match NumberRules::parse(numbers) {
            Ok(_) if list.is_empty() => check.wrong(key, "it is empty", "name an algorithm, or leave the rule out"),
            Ok(rules) => digest_by_user.push((rules, list.clone())),
            Err(error) => check.wrong(key, error.to_string(), "write numbers as \"1016;1017;20[01-05]\""),
        }
    }
    let trunks = raw.trunks.iter().enumerate().filter_map(|(n, trunk)| access(check, n, trunk, raw)).collect();
    Sip {
        listeners,
        trunks,
        external_ip: raw.external_ip,
        local_net,
        digest: raw.sip.digest.clone(),
        digest_by_user,
        digest_integrity: raw.sip.digest_integrity,
        allow_strangers: raw.sip.allow_strangers,
    }
}

/// A host name or an address, without a port.
fn is_host(text: &str) -> bool {
    let named = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    named || text.parse::<IpAddr>().is_ok()
}

fn access(check: &mut Checker<'_>, n: usize, trunk: &raw::Trunk, raw: &Raw) -> Option<TrunkAccess> {
    let key = |name: &str| format!("trunks[{n}].{name}");
    let id = check.id(&key("name"), &trunk.name, TrunkId::new);
    if !is_host(&trunk.host) {
        let what = format!("\"{}\" is no host name or address", trunk.host);
        check.wrong(key("host"), what, "write the provider's host; its port goes into \"port\"");
    }
    if trunk.register && trunk.username.is_empty() {
        check.wrong(
            key("register"),
            "there is no username to register",
            "write username and password, or register = false",
        );
    }
    if trunk.password != Secret::default() && trunk.username.is_empty() && trunk.auth_user.is_empty() {
        check.wrong(key("password"), "there is a password without a user", "write username or auth_user");
    }
    if !trunk.domain.is_empty() && !is_host(&trunk.domain) {
        check.wrong(
            key("domain"),
            format!("\"{}\" is no host name", trunk.domain),
            "write the provider's domain, or \"\"",
        );
    }
    if trunk.port == 0 {
        check.wrong(key("port"), "no provider listens on port 0", "write its port, or leave the key out for 5060");
    }
    if !trunk.listener.is_empty() && !raw.sip.listeners.iter().any(|listener| listener.name == trunk.listener) {
        let remedy = match nearest(&trunk.listener, raw.sip.listeners.iter().map(|listener| listener.name.as_str())) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => "name one of sip.listeners".to_owned(),
        };
        check.wrong(key("listener"), format!("there is no listener \"{}\"", trunk.listener), remedy);
    }
    let allowed_addresses = check.nets(&key("allowed_addresses"), &trunk.allowed_addresses);
    Some(TrunkAccess {
        id: id?,
        host: trunk.host.clone(),
        port: trunk.port,
        transport: transport(trunk.transport),
        username: trunk.username.clone(),
        auth_user: if trunk.auth_user.is_empty() { trunk.username.clone() } else { trunk.auth_user.clone() },
        password: trunk.password.clone(),
        realm: (!trunk.realm.is_empty()).then(|| trunk.realm.clone()),
        domain: (!trunk.domain.is_empty()).then(|| trunk.domain.clone()),
        assert_identity: trunk.assert_identity,
        listener: ListenerId::new(&trunk.listener).ok(),
        allowed_addresses,
    })
}

pub(super) fn http(check: &mut Checker<'_>, raw: &raw::Http, folder: &Path) -> Http {
    let certificate = match (raw.certificate.as_str(), raw.private_key.as_str()) {
        ("", "") => None,
        ("", _) => {
            check.wrong("http.certificate", "there is a private_key without a certificate", "set both or none");
            None
        }
        (_, "") => {
            check.wrong("http.private_key", "there is a certificate without a private_key", "set both or none");
            None
        }
        (certificate, key) => {
            let files = (folder.join(certificate), folder.join(key));
            for (name, path) in [("http.certificate", &files.0), ("http.private_key", &files.1)] {
                if let Err(error) = std::fs::File::open(path) {
                    check.wrong(name, format!("{}: {error}", path.display()), "name a PEM file that we may read");
                }
            }
            Some(files)
        }
    };
    for (n, origin) in raw.allowed_origins.iter().enumerate() {
        let is_origin = origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
        if origin != "*" && !is_origin {
            let what = format!("\"{origin}\" is no origin");
            check.wrong(
                format!("http.allowed_origins[{n}]"),
                what,
                "write it as \"https://app.example.com\", or \"*\"",
            );
        }
    }
    Http {
        listen: check.address("http.listen", &raw.listen),
        https_listen: check.address("http.https_listen", &raw.https_listen),
        certificate,
        allowed_origins: raw.allowed_origins.clone(),
    }
}

/// The collector, where one is named.
pub(super) fn hep(check: &mut Checker<'_>, raw: &raw::Hep) -> Option<Hep> {
    if raw.collector.is_empty() {
        return None;
    }
    let port = raw.collector.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(1..))) {
        let what = format!("\"{}\" is no host and port", raw.collector);
        check.wrong("hep.collector", what, "write as \"homer.example.com:9060\", or \"\" for none");
    }
    Some(Hep { collector: raw.collector.clone(), capture_id: raw.capture_id, password: raw.password.clone() })
}

/// A port that two of ours want. Port 0 is any free one and meets nothing.
pub(super) fn ports_do_not_meet(check: &mut Checker<'_>, sip: &Sip, media: &Media, http: &Http) {
    struct Claim {
        key: String,
        udp: bool,
        ip: IpAddr,
        ports: RangeInclusive<u16>,
    }
    let one = |key: String, udp: bool, at: SocketAddr| Claim { key, udp, ip: at.ip(), ports: at.port()..=at.port() };
    let mut claims: Vec<Claim> = Vec::new();
    for (n, listener) in sip.listeners.iter().enumerate() {
        for transport in &listener.transports {
            let udp = match transport {
                Transport::Udp => true,
                Transport::Tcp => false,
            };
            claims.push(one(format!("sip.listeners[{n}].listen"), udp, listener.address));
        }
    }
    claims.extend(http.listen.map(|at| one("http.listen".into(), false, at)));
    claims.extend(http.https_listen.map(|at| one("http.https_listen".into(), false, at)));
    claims.push(Claim {
        key: "rtp.ports".into(),
        udp: true,
        ip: IpAddr::from([0, 0, 0, 0]),
        ports: media.rtp_ports.clone(),
    });
    let last = media.rtc_port.saturating_add(media.threads.saturating_sub(1));
    claims.push(Claim { key: "rtc.port".into(), udp: true, ip: media.rtc_ip, ports: media.rtc_port..=last });
    for (n, later) in claims.iter().enumerate() {
        for earlier in claims.iter().take(n) {
            let same_ip = earlier.ip == later.ip || earlier.ip.is_unspecified() || later.ip.is_unspecified();
            let first = *earlier.ports.start().max(later.ports.start());
            let meet = first <= *earlier.ports.end().min(later.ports.end()) && first != 0;
            if earlier.udp == later.udp && same_ip && meet {
                let protocol = if later.udp { "UDP" } else { "TCP" };
                let what = format!("{protocol} port {first} is also that of {}", earlier.key);
                check.wrong(later.key.clone(), what, "give one of them another port");
            }
        }
    }
}
