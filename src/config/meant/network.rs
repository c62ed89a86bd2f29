//! Addresses, ports, trunks' hosts, certificates: what meets the network.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_actors::model::address::Transport;
use tandem_actors::model::ids::{ListenerId, TrunkId};
use tandem_actors::model::settings::NumberRules;
use tandem_actors::model::srtp::MediaEncryption;

use super::super::problem::nearest;
use super::super::raw::{self, Raw, Secret};
use super::check::Checker;
use super::{Abuse, Hep, Http, Listener, Media, Sessions, Sip, TrunkAccess, TrunkTls};
use super::{identity, lines};
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

/// A file that can be opened, relative to the configuration's folder.
fn pem(check: &mut Checker<'_>, key: &str, folder: &Path, text: &str) -> PathBuf {
    let path = folder.join(text);
    if let Err(error) = std::fs::File::open(&path) {
        check.wrong(key, format!("{}: {error}", path.display()), "name a PEM file that we may read");
    }
    path
}

/// A certificate and its private key: both, or none.
fn pair(
    check: &mut Checker<'_>,
    keys: [&str; 2],
    folder: &Path,
    certificate: &str,
    private: &str,
) -> Option<(PathBuf, PathBuf)> {
    match (certificate, private) {
        ("", "") => None,
        ("", _) => {
            check.wrong(keys[0], "there is a private key without a certificate", "set both or none");
            None
        }
        (_, "") => {
            check.wrong(keys[1], "there is a certificate without a private key", "set both or none");
            None
        }
        _ => Some((pem(check, keys[0], folder, certificate), pem(check, keys[1], folder, private))),
    }
}

pub(super) fn encryption(raw: raw::Encryption) -> MediaEncryption {
    match raw {
        raw::Encryption::None => MediaEncryption::None,
        raw::Encryption::SdesOptional => MediaEncryption::SdesOptional,
        raw::Encryption::Sdes => MediaEncryption::Sdes,
        raw::Encryption::Dtls => MediaEncryption::Dtls,
    }
}

/// Keys of SDES stand in the SDP: whoever sees a message that is not encrypted has them.
fn keys_stay_secret(check: &mut Checker<'_>, raw: &Raw) {
    let has_keys = |encryption| matches!(encryption, raw::Encryption::Sdes | raw::Encryption::SdesOptional);
    let (what, remedy) =
        ("SRTP keys travel in the clear", "use an encrypted SIP transport, or media_encryption = \"dtls\"");
    let open = |listener: &raw::Listener| listener.transports.iter().any(|transport| !transport.is_secure());
    if has_keys(raw.sip.media_encryption) && raw.sip.listeners.iter().any(open) {
        let what = format!("phones may register over transports that are not encrypted: {what}");
        check.warn("sip.media_encryption", what, remedy);
    }
    for (n, trunk) in raw.trunks.iter().enumerate() {
        if has_keys(trunk.media_encryption.unwrap_or(raw.sip.media_encryption))
            && trunk.transport != raw::TrunkTransport::Tls
        {
            let key = if trunk.media_encryption.is_some() { "media_encryption" } else { "transport" };
            check.warn(format!("trunks[{n}].{key}"), format!("its SIP is not encrypted: {what}"), remedy);
        }
    }
}

/// The transports of a listener, and what TLS needs.
fn listener(
    check: &mut Checker<'_>,
    key: &str,
    id: ListenerId,
    raw: (&raw::Listener, &Raw),
    local_net: &[Net],
    folder: &Path,
) -> Listener {
    let (raw, file) = raw;
    let own = |name: &str| format!("{key}.{name}");
    check.no_repeat(&own("transports"), raw.transports.iter());
    check.no_repeat(&own("digest"), raw.digest.iter());
    let streams = raw.transports.iter().filter(|transport| transport.is_stream()).count();
    if raw.transports.is_empty() {
        let remedy = "name at least one of \"udp\", \"tcp\", \"tls\", \"ws\", \"wss\"";
        check.wrong(own("transports"), "it is empty", remedy);
    } else if streams > 1 {
        let what = "a TCP port speaks one of \"tcp\", \"tls\", \"ws\", \"wss\"";
        check.wrong(own("transports"), what, "give each its own [[sip.listeners]] with another port");
    }
    let secure = raw.transports.iter().any(|transport| transport.is_secure());
    let (chains, privates) = (&raw.certificates, &raw.private_keys);
    let any = !chains.is_empty() || !privates.is_empty() || !raw.client_ca.is_empty();
    if any && !secure {
        let name = if chains.is_empty() { "client_ca" } else { "certificates" };
        let remedy = "remove it, or write \"tls\" or \"wss\" among the transports";
        check.wrong(own(name), "only \"tls\" and \"wss\" have certificates", remedy);
    }
    if chains.len() != privates.len() {
        let what = format!("{} certificates, {} private keys", chains.len(), privates.len());
        check.wrong(own("private_keys"), what, "name one key for each certificate, in the same order");
    }
    let certificates = chains.iter().zip(privates).enumerate().filter_map(|(n, (certificate, private))| {
        let keys = [own(&format!("certificates[{n}]")), own(&format!("private_keys[{n}]"))];
        pair(check, [&keys[0], &keys[1]], folder, certificate, private)
    });
    let certificates = certificates.collect();
    let required = raw.client_certificates == raw::ClientCertificates::Required;
    let client_ca = &raw.client_ca;
    let client_ca = (!client_ca.is_empty()).then(|| (pem(check, &own("client_ca"), folder, client_ca), required));
    Listener {
        id,
        transports: raw.transports.clone(),
        address: raw.listen,
        digest: raw.digest.clone(),
        external_ip: raw.external_ip.or(file.external_ip),
        local_net: match &raw.local_net {
            Some(nets) => check.nets(&own("local_net"), nets),
            None => local_net.to_vec(),
        },
        certificates,
        client_ca,
    }
}

pub(super) fn sip(check: &mut Checker<'_>, raw: &Raw, local_net: &[Net], folder: &Path) -> Sip {
    let mut listeners: Vec<Listener> = Vec::new();
    if raw.sip.listeners.is_empty() {
        check.wrong("sip.listeners", "there is none", "remove the key for UDP and TCP on 0.0.0.0:5060");
    }
    for (n, written) in raw.sip.listeners.iter().enumerate() {
        let key = format!("sip.listeners[{n}]");
        let Some(id) = check.id(&format!("{key}.name"), &written.name, ListenerId::new) else { continue };
        if listeners.iter().any(|other| other.id == id) {
            check.wrong(
                format!("{key}.name"),
                format!("another listener is named \"{id}\" too"),
                "choose another name",
            );
        }
        listeners.push(listener(check, &key, id, (written, raw), local_net, folder));
    }
    if raw.sip.digest.is_empty() {
        check.wrong("sip.digest", "it is empty", "name at least one of \"md5\", \"sha256\", \"sha512-256\"");
    }
    check.no_repeat("sip.digest", raw.sip.digest.iter());
    check.seconds("sip.failover_after_s", raw.sip.failover_after_s, 1);
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
    keys_stay_secret(check, raw);
    let trunks = raw.trunks.iter().enumerate().filter_map(|(n, trunk)| access(check, n, trunk, raw, folder)).collect();
    Sip {
        listeners,
        trunks,
        external_ip: raw.external_ip,
        digest: raw.sip.digest.clone(),
        digest_by_user,
        digest_integrity: raw.sip.digest_integrity,
        abuse: abuse(check, &raw.sip.abuse),
        allow_strangers: raw.sip.allow_strangers,
        pass_headers: identity::passed(check, "sip.pass_headers", &raw.sip.pass_headers),
        sessions: sessions(check, "sip.", raw.sip.session_expires_s, raw.sip.min_se_s),
        failover_after: Duration::from_secs(raw.sip.failover_after_s),
        name_servers: raw.sip.name_servers.clone(),
    }
}

fn abuse(check: &mut Checker<'_>, raw: &raw::Abuse) -> Abuse {
    for (key, count, most) in [
        ("requests_per_second", raw.requests_per_second, 100_000),
        ("requests_burst", raw.requests_burst, 1_000_000),
        ("wrong_passwords", raw.wrong_passwords, 1000),
    ] {
        if !(1..=most).contains(&count) {
            check.wrong(format!("sip.abuse.{key}"), format!("{count}"), format!("write 1 to {most}"));
        }
    }
    check.seconds("sip.abuse.block_s", raw.block_s, 1);
    check.seconds("sip.abuse.block_most_s", raw.block_most_s, 1);
    for (n, scanner) in raw.scanners.iter().enumerate() {
        if scanner.trim().len() < 3 {
            let what = format!("\"{scanner}\" is in the name of many a phone");
            check.wrong(format!("sip.abuse.scanners[{n}]"), what, "write more of the scanner's name");
        }
    }
    let never_block = check.nets("sip.abuse.never_block", &raw.never_block);
    Abuse { written: raw.clone(), never_block }
}

/// A host name or an address, without a port.
fn is_host(text: &str) -> bool {
    let named = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    named || text.parse::<IpAddr>().is_ok()
}

/// The URI of an outbound proxy; a bare host is a loose router (RFC 3261 §19.1.1: `lr`), a URI is taken as it is.
fn proxy_uri(written: &str) -> Option<String> {
    match written.split_once(':') {
        _ if written.is_empty() => None,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => {
            Some(written.to_owned())
        }
        Some(_) | None => Some(format!("sip:{written};lr")),
    }
}

/// Whether a SIP URI without a user is `HOST` or `HOST:PORT` before its parameters.
fn names_a_host(uri: &str) -> bool {
    let Some((_, rest)) = uri.split_once(':') else { return false };
    let host_port = rest.split(';').next().unwrap_or_default();
    match host_port.rsplit_once(':') {
        _ if host_port.starts_with('[') => {
            let inner = host_port.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            host_port.parse::<SocketAddr>().is_ok() || inner.is_some_and(|ip| ip.parse::<IpAddr>().is_ok())
        }
        Some((host, port)) => is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0),
        None => is_host(host_port),
    }
}

fn access(check: &mut Checker<'_>, n: usize, trunk: &raw::Trunk, raw: &Raw, folder: &Path) -> Option<TrunkAccess> {
    let key = |name: &str| format!("trunks[{n}].{name}");
    let id = check.id(&key("name"), &trunk.name, TrunkId::new);
    if trunk.host.is_empty() && lines::register_with_us(trunk) {
        if trunk.register {
            check.wrong(key("register"), "there is no host to register with", "write register = false, or a host");
        }
        return None;
    }
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
    if trunk.port == Some(0) {
        check.wrong(key("port"), "no provider listens on port 0", "write its port, or leave the key out");
    }
    for (at, target) in trunk.targets.iter().enumerate() {
        if !is_host(&target.host) {
            let what = format!("\"{}\" is no host name or address", target.host);
            check.wrong(key(&format!("targets[{at}].host")), what, "write a host; its port goes into \"port\"");
        }
    }
    let outbound_proxy = proxy_uri(&trunk.outbound_proxy);
    if outbound_proxy.as_deref().is_some_and(|uri| !names_a_host(uri)) {
        let what = format!("\"{}\" is no host and no SIP URI", trunk.outbound_proxy);
        check.wrong(key("outbound_proxy"), what, "write HOST, HOST:PORT, or sip:HOST:PORT;transport=tcp;lr");
    }
    let tls = trunk_tls(check, n, trunk, folder);
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
        transport: match trunk.transport {
            raw::TrunkTransport::Auto => None,
            raw::TrunkTransport::Udp => Some(Transport::Udp),
            raw::TrunkTransport::Tcp => Some(Transport::Tcp),
            raw::TrunkTransport::Tls => Some(Transport::Tls),
        },
        tls,
        username: trunk.username.clone(),
        auth_user: if trunk.auth_user.is_empty() { trunk.username.clone() } else { trunk.auth_user.clone() },
        password: trunk.password.clone(),
        realm: (!trunk.realm.is_empty()).then(|| trunk.realm.clone()),
        domain: (!trunk.domain.is_empty()).then(|| trunk.domain.clone()),
        identity: identity::telling(check, n, trunk),
        listener: ListenerId::new(&trunk.listener).ok(),
        allowed_addresses,
        prack: trunk.prack,
        sessions: sessions(check, &key(""), trunk.session_expires_s, trunk.min_se_s),
        asks: trunk.options_interval_s != 0,
        targets: trunk.targets.clone(),
        outbound_proxy,
        redirects: trunk.redirects,
        prefix: trunk.prefix.clone(),
    })
}

/// What a trunk's TLS is checked by; that it has a transport which we can call by.
fn trunk_tls(check: &mut Checker<'_>, n: usize, trunk: &raw::Trunk, folder: &Path) -> Option<TrunkTls> {
    let key = |name: &str| format!("trunks[{n}].{name}");
    let files = [
        ("tls_ca", &trunk.tls_ca),
        ("tls_name", &trunk.tls_name),
        ("tls_certificate", &trunk.tls_certificate),
        ("tls_private_key", &trunk.tls_private_key),
    ];
    if trunk.transport != raw::TrunkTransport::Tls {
        for (name, _) in files.iter().filter(|(_, text)| !text.is_empty()) {
            check.wrong(key(name), "the trunk's transport is not \"tls\"", "remove it, or write transport = \"tls\"");
        }
        return None;
    }
    if !trunk.tls_name.is_empty() && !is_host(&trunk.tls_name) {
        check.wrong(key("tls_name"), format!("\"{}\" is no host name", trunk.tls_name), "write the certificate's name");
    }
    let authorities = (!trunk.tls_ca.is_empty()).then(|| pem(check, &key("tls_ca"), folder, &trunk.tls_ca));
    let keys = [key("tls_certificate"), key("tls_private_key")];
    let own = pair(check, [&keys[0], &keys[1]], folder, &trunk.tls_certificate, &trunk.tls_private_key);
    let name = if trunk.tls_name.is_empty() { trunk.host.clone() } else { trunk.tls_name.clone() };
    Some(TrunkTls { authorities, name, own })
}

/// `prefix`: of the keys' names.
fn sessions(check: &mut Checker<'_>, prefix: &str, expires_s: u64, min_se_s: u64) -> Sessions {
    check.seconds(format!("{prefix}min_se_s"), min_se_s, 90);
    if expires_s != 0 {
        check.seconds(format!("{prefix}session_expires_s"), expires_s, min_se_s.max(90));
    }
    let seconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Sessions { expires: seconds(expires_s), min_se: seconds(min_se_s) }
}

pub(super) fn http(check: &mut Checker<'_>, raw: &raw::Http, folder: &Path) -> Http {
    let keys = ["http.certificate", "http.private_key"];
    let certificate = pair(check, keys, folder, &raw.certificate, &raw.private_key);
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
            claims.push(one(format!("sip.listeners[{n}].listen"), !transport.is_stream(), listener.address));
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
            // `[::]` is IPv6 alone; RTP is of either family.
            let family = earlier.ip.is_ipv4() == later.ip.is_ipv4() || "rtp.ports" == later.key;
            let same_ip =
                family && (earlier.ip == later.ip || earlier.ip.is_unspecified() || later.ip.is_unspecified());
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
