//! The order of targets that a place leads to (RFC 3263 §4.1, §4.2). Pure: it is told what is known of names, and says what it
//! would have to know.

use std::net::{IpAddr, SocketAddr};

use tandem_actors::model::address::Transport;

use super::super::message::uri::{Uri, host_ip};
use super::weights::{self, Dice};
use super::{Answer, Naptr, Question, RecordKind, Srv};

/// Where a URI, or a trunk's configuration, says to send.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// A name or an address; an IPv6 address with or without brackets.
    pub host: String,
    /// The port, where one is named: then no SRV record is looked for.
    pub port: Option<u16>,
    /// The transport, where one is named: then no NAPTR record is looked for.
    pub transport: Option<Transport>,
    /// Nothing but transports that nobody on the way can read (a sips URI).
    pub secure: bool,
}

impl Place {
    /// The place a SIP URI names: `maddr` before the host (RFC 3263 §4.1). `None` for other schemes and for transports that
    /// are not ours.
    pub fn of_uri(text: &str) -> Option<Self> {
        let uri = Uri::parse(text.as_bytes()).filter(Uri::is_sip)?;
        let secure = uri.scheme.eq_ignore_ascii_case(b"sips");
        let named = uri.parameter("transport").map(<[u8]>::to_ascii_lowercase);
        // `sips` means TLS whatever the transport (RFC 3261 §19.1.2); `transport=tls`, though no RFC has it any more, is how
        // everybody says the same of one hop.
        let transport = match (named.as_deref(), secure) {
            (None, _) => None,
            (Some(b"ws"), false) => Some(Transport::Ws),
            (Some(b"ws" | b"wss"), _) => Some(Transport::Wss),
            (Some(b"tls"), _) | (Some(b"udp" | b"tcp"), true) => Some(Transport::Tls),
            (Some(b"tcp"), false) => Some(Transport::Tcp),
            (Some(b"udp"), false) => Some(Transport::Udp),
            (Some(_), _) => return None,
        };
        let host = uri.parameter("maddr").unwrap_or(uri.host);
        Some(Self { host: String::from_utf8_lossy(host).into_owned(), port: uri.port, transport, secure })
    }

    /// A socket address, over this transport.
    pub fn at(address: SocketAddr, transport: Transport) -> Self {
        Self { host: address.ip().to_string(), port: Some(address.port()), transport: Some(transport), secure: false }
    }

    /// Its address, where it names one.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host.as_bytes())
    }
}

/// The weight of each of several addresses: large, so that RFC 2782's rounding favours none.
const EQUAL: u16 = 1000;

/// One address to send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// The targets of a place in the order they are to be tried; none: it cannot be reached. `ours` are the transports that we can
/// send by, most liked first.
///
/// # Errors
/// The questions whose answers are not known yet. More may follow once they are.
pub fn plan<'a>(
    place: &Place,
    ours: &[Transport],
    known: &impl Fn(&Question) -> Option<&'a Answer>,
    dice: &mut impl Dice,
) -> Result<Vec<Target>, Vec<Question>> {
    // A WebSocket is never opened by us. TLS is used where it is asked for: what DNS offers beside it is no less to be believed.
    let usable = |transport: &Transport| {
        let asked = place.secure || place.transport == Some(Transport::Tls);
        ours.contains(transport) && !transport.is_websocket() && transport.is_secure() == asked
    };
    let mut walk = Walk { known, missing: Vec::new(), targets: Vec::new() };
    // RFC 3263 §4.1: without NAPTR the transport is UDP, or TLS for sips.
    let default = ours.iter().copied().filter(usable).min_by_key(|transport| *transport != Transport::Udp);
    let named = place.transport.filter(usable);
    let (Some(default), true) = (named.or(default), place.transport == named) else { return Ok(Vec::new()) };
    if let Some(ip) = place.ip() {
        walk.add(default, &[ip], place.port.unwrap_or(default.default_port()));
    } else if let Some(port) = place.port {
        walk.host(&place.host, default, port, dice);
    } else {
        let all: Vec<Transport> = ours.iter().copied().filter(usable).collect();
        let services = match named {
            Some(transport) => vec![(transport, srv_name(transport, &place.host))],
            None => walk.services(&place.host, &all),
        };
        if !walk.srv(&services, dice) {
            walk.host(&place.host, default, default.default_port(), dice);
        }
    }
    if walk.missing.is_empty() { Ok(walk.targets) } else { Err(walk.missing) }
}

/// A plan under way.
struct Walk<'k, K> {
    known: &'k K,
    missing: Vec<Question>,
    targets: Vec<Target>,
}

impl<'a, K: Fn(&Question) -> Option<&'a Answer>> Walk<'_, K> {
    fn ask(&mut self, name: &str, kind: RecordKind) -> Option<&'a Answer> {
        let question = Question::new(name, kind);
        let answer = (self.known)(&question);
        if answer.is_none() && !self.missing.contains(&question) {
            self.missing.push(question);
        }
        answer
    }

    /// The services of a domain in order, each the name of SRV records: those its NAPTR records name, else the usual ones
    /// (RFC 3263 §4.1).
    fn services(&mut self, host: &str, ours: &[Transport]) -> Vec<(Transport, String)> {
        let usual = || ours.iter().map(|transport| (*transport, srv_name(*transport, host))).collect();
        let Some(Answer::Naptr(records)) = self.ask(host, RecordKind::Naptr) else {
            // Most domains have none: what follows then is asked at the same time, so that they cost one round trip.
            self.ask(host, RecordKind::A);
            self.ask(host, RecordKind::Aaaa);
            return usual();
        };
        let service = |record: &Naptr| {
            let ours = ours.iter().find(|transport| record.service.eq_ignore_ascii_case(naptr_service(**transport)));
            ours.copied().filter(|_| record.flags.eq_ignore_ascii_case("s"))
        };
        let mut found: Vec<(&Naptr, Transport)> =
            records.iter().filter_map(|record| Some((record, service(record)?))).collect();
        found.sort_by_key(|(record, _)| (record.order, record.preference));
        let Some(order) = found.first().map(|(record, _)| record.order) else { return usual() };
        // RFC 3403 §4.1: higher orders are not looked at once one has been used.
        let first = found.into_iter().take_while(|(record, _)| record.order == order);
        first.map(|(record, transport)| (transport, record.replacement.clone())).collect()
    }

    /// The targets of SRV records; whether there are any records, or may be.
    fn srv(&mut self, services: &[(Transport, String)], dice: &mut impl Dice) -> bool {
        let answers: Vec<_> =
            services.iter().map(|(transport, name)| (*transport, self.ask(name, RecordKind::Srv))).collect();
        let mut any = false;
        for (transport, answer) in answers {
            let Some(Answer::Srv(records)) = answer else {
                any |= answer.is_none();
                continue;
            };
            any |= !records.is_empty();
            // RFC 2782: the root as target says that the service is decidedly not there.
            let offered: Vec<&Srv> = records.iter().filter(|record| !record.host.is_empty()).collect();
            for record in weights::order(offered, |record| (record.priority, record.weight), dice) {
                self.host(&record.host, transport, record.port, dice);
            }
        }
        any
    }

    /// The addresses of a host. RFC 7984: of both families, IPv6 first as RFC 6724's default policy has it; who sends drops
    /// what there is no socket for. Those of one family share the load, as SRV records of equal weight do.
    fn host(&mut self, host: &str, transport: Transport, port: u16, dice: &mut impl Dice) {
        if let Some(ip) = host_ip(host.as_bytes()) {
            self.add(transport, &[ip], port);
            return;
        }
        for kind in [RecordKind::Aaaa, RecordKind::A] {
            if let Some(Answer::Addresses(addresses)) = self.ask(host, kind) {
                let addresses = weights::order(addresses.clone(), |_| (0, EQUAL), dice);
                self.add(transport, &addresses, port);
            }
        }
    }

    fn add(&mut self, transport: Transport, addresses: &[IpAddr], port: u16) {
        for ip in addresses {
            let target = Target { transport, address: SocketAddr::new(*ip, port) };
            if !self.targets.contains(&target) {
                self.targets.push(target);
            }
        }
    }
}

/// The service field of NAPTR records (RFC 3263 §4.1, RFC 7118 §6).
fn naptr_service(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "SIP+D2U",
        Transport::Tcp => "SIP+D2T",
        Transport::Tls => "SIPS+D2T",
        Transport::Ws => "SIP+D2W",
        Transport::Wss => "SIPS+D2W",
    }
}

/// The name of a domain's SRV records for a transport (RFC 3263 §4.1).
fn srv_name(transport: Transport, host: &str) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{host}"),
        Transport::Tcp => format!("_sip._tcp.{host}"),
        Transport::Tls => format!("_sips._tcp.{host}"),
        Transport::Ws => format!("_sip._ws.{host}"),
        Transport::Wss => format!("_sips._ws.{host}"),
    }
}

#[cfg(test)]
mod tests;
