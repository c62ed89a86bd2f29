//! REGISTER from phones, gateways and browsers: proof of the password, the shape of the request, and the answer of the
//! registrar actor (RFC 3261 §10.3, RFC 3327, RFC 5626 §6, RFC 5627 §5). Bindings are not kept here.
//!
//! An address of record is known by its user part, whatever domain the phone wrote: phones are set up with our address as well
//! as with our name. Service-Route (RFC 3608) is not given: a phone that registered sends everything to us anyway.

use std::time::SystemTime;

use tandem_actors::model::address::{InstanceId, SipUri};
use tandem_actors::ports::sip::{
    AskedContact, ListedBinding, Outbound, RegisterAnswer, RegisterChange, RegisterRequest, RegisterSupport,
};
use tokio::time::Instant;

use super::super::dialog::reoffer::DECISION;
use super::super::message::uri::unescape;
use super::super::message::view::NameAddr;
use super::super::message::write::quoted;
use super::super::overload::Waiting;
use super::identity::Proved;
use super::*;

/// What a REGISTER may require, and the answer to one says that we support.
pub(super) const EXTENSIONS: &[&str] = &["path", "outbound", "gruu"];

/// A REGISTER that waits for the registrar.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldRegister {
    key: ServerKey,
}

impl Core {
    pub(super) fn register_asked(&mut self, key: ServerKey, flow: Flow, now: Instant) {
        let Some(server) = self.servers.get(&key) else { return };
        // Whoever proved nothing was challenged before the transaction began.
        let Some(Proved { subscriber, .. }) = server.proved.clone() else { return };
        let request = &server.request;
        // RFC 3261 §10.3 step 4: a subscriber changes nobody's bindings but its own.
        let to = request.get(HeaderName::To).unwrap_or_default();
        let aor = NameAddr::parse(&to).map(|to| SipUri(to.uri_string()));
        let aor_user = aor.as_ref().and_then(SipUri::user).map(|user| unescape(user.as_bytes()));
        if aor_user.as_deref() != Some(subscriber.as_str().as_bytes()) {
            metrics::auth("forbidden");
            self.refuse(key, 403, now);
            return;
        }
        let Some(change) = change_of(request, flow) else {
            self.refuse(key, 400, now);
            return;
        };
        let Some(names) = Names::of(request) else { return };
        let user_agent = request.text(HeaderName::UserAgent);
        let path = values_of(request, HeaderName::Path);
        if !path.iter().all(|proxy| NameAddr::parse(proxy.as_bytes()).is_some_and(|proxy| proxy.uri.is_sip())) {
            self.refuse(key, 400, now);
            return;
        }
        let supports = RegisterSupport { gruu: supports(request, "gruu"), outbound: outbound_of(request, &path) };
        let aor_user = aor.as_ref().and_then(SipUri::user).unwrap_or_default().to_owned();
        let Some(listener) = self.listeners.get(flow.listener).map(|listener| listener.id.clone()) else { return };
        let serial = self.next_serial();
        self.registers.insert(serial, HeldRegister { key });
        self.overload.told(Waiting::Register(serial), now);
        self.arm(now + DECISION, Due::Register(serial));
        self.event(SipEvent::Register(Box::new(RegisterRequest {
            request: serial,
            subscriber,
            aor_user,
            call_id: names.call_id,
            cseq: names.cseq,
            source: flow.remote,
            transport: flow.transport,
            listener,
            heard_at: flow.local,
            change,
            path,
            supports,
            user_agent,
        })));
    }

    /// The registrar's answer; one that comes too late meets nothing.
    pub(super) fn register_answered(&mut self, request: u64, answer: &RegisterAnswer, now: Instant) {
        let Some(HeldRegister { key }) = self.registers.remove(&request) else { return };
        let info = self.servers.get(&key).and_then(|server| server.proved.as_ref()?.info.clone());
        match answer {
            RegisterAnswer::Bindings { bindings, flow_timer, date } => {
                self.bind_connection(key);
                let Some(server) = self.servers.get(&key) else { return };
                // RFC 3327 §5.3: the phone sees which way it will be reached.
                let path = if supports(&server.request, "path") {
                    values_of(&server.request, HeaderName::Path)
                } else {
                    Vec::new()
                };
                self.respond(
                    key,
                    200,
                    now,
                    |writer| {
                        if let Some(info) = info {
                            writer.header(HeaderName::AuthenticationInfo, info);
                        }
                        for binding in bindings {
                            writer.header(HeaderName::Contact, contact_value(binding));
                        }
                        for proxy in path {
                            writer.header(HeaderName::Path, proxy);
                        }
                        if let Some(flow_timer) = flow_timer {
                            writer
                                .header(HeaderName::Require, "outbound")
                                .header(HeaderName::FlowTimer, flow_timer.as_secs());
                        }
                        writer
                            .header(HeaderName::Supported, EXTENSIONS.join(", "))
                            .header(HeaderName::Date, http_date(*date));
                    },
                    "",
                );
            }
            RegisterAnswer::TooBrief(least) => {
                self.respond(
                    key,
                    423,
                    now,
                    |writer| {
                        writer.header(HeaderName::MinExpires, least);
                    },
                    "",
                );
            }
            RegisterAnswer::Refused(status) => self.refuse(key, *status, now),
        }
    }

    /// Remembers that the connection a REGISTER came by has to be missed; where it is gone already, it is missed now.
    fn bind_connection(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get(&key).filter(|server| server.flow.is_callers()) else { return };
        let flow = server.flow.connection();
        if self.open.contains(&flow) {
            self.bound.insert(flow);
        } else {
            self.connection_gone(flow);
        }
    }

    /// Tells the registrar.
    pub(super) fn connection_gone(&mut self, flow: Flow) {
        let Some(listener) = self.listeners.get(flow.listener).map(|listener| listener.id.clone()) else { return };
        let Flow { transport, remote: source, .. } = flow;
        self.event(SipEvent::ConnectionGone { listener, transport, source });
    }

    /// Nobody answered in 2 s.
    pub(super) fn register_overdue(&mut self, request: u64, now: Instant) {
        if let Some(HeldRegister { key }) = self.registers.remove(&request) {
            metrics::dropped("undecided");
            self.refuse(key, 500, now);
        }
    }
}

/// A binding as Contact lists it (RFC 3261 §10.3 step 8, RFC 5627 §5.2).
fn contact_value(binding: &ListedBinding) -> String {
    let mut value = format!("<{}>;expires={}", binding.uri.0, binding.seconds);
    if binding.q < 1000 {
        value.push_str(&format!(";q=0.{:03}", binding.q));
    }
    if let Some(instance) = &binding.instance {
        value.push_str(&format!(";+sip.instance={}", quoted(&format!("<{instance}>"))));
    }
    if let Some(reg_id) = binding.reg_id {
        value.push_str(&format!(";reg-id={reg_id}"));
    }
    if let Some((public, temporary)) = &binding.gruus {
        value.push_str(&format!(";pub-gruu={};temp-gruu={}", quoted(public), quoted(temporary)));
    }
    value
}

/// Every value of a header, one a line or several.
fn values_of(request: &Message, name: HeaderName) -> Vec<String> {
    let lines = request.all(name).map(|header| request.value(header));
    lines
        .flat_map(|line| {
            let values = view::split(&line, b',').map(trim).filter(|value| !value.is_empty());
            values.map(|value| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
        })
        .collect()
}

fn supports(request: &Message, extension: &str) -> bool {
    values_of(request, HeaderName::Supported).iter().any(|token| token.eq_ignore_ascii_case(extension))
}

/// RFC 5626 §6: the first proxy, whose Path is the last since each puts its own before it, says `ob` where it keeps the flow.
fn outbound_of(request: &Message, path: &[String]) -> Outbound {
    if !supports(request, "outbound") {
        return Outbound::NotWanted;
    }
    let direct = values_of(request, HeaderName::Via).len() < 2;
    let keeps = |proxy: &String| NameAddr::parse(proxy.as_bytes()).is_some_and(|p| p.uri.parameter("ob").is_some());
    if direct || path.last().is_some_and(keeps) { Outbound::Possible } else { Outbound::FirstHopLacks }
}

/// `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17).
fn http_date(at: SystemTime) -> String {
    const RFC_1123: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    // These items format any time.
    time::OffsetDateTime::from(at).format(RFC_1123).unwrap_or_default()
}

/// What a REGISTER asks (RFC 3261 §10.3 steps 6 and 7); `None` when it contradicts itself.
fn change_of(request: &Message, flow: Flow) -> Option<RegisterChange> {
    let header_expires = request.get(HeaderName::Expires).and_then(|value| view::seconds(&value));
    let values: Vec<_> = request.all(HeaderName::Contact).map(|header| request.value(header)).collect();
    let items: Vec<&[u8]> = values.iter().flat_map(|value| view::split(value, b',')).map(trim).collect();
    if items.is_empty() {
        return Some(RegisterChange::Query);
    }
    if items.contains(&b"*".as_slice()) {
        // RFC 3261 §10.3 step 6: alone, and with Expires 0.
        return (items.len() == 1 && header_expires == Some(0)).then_some(RegisterChange::RemoveAll);
    }
    let contacts = items
        .into_iter()
        .map(|item| {
            let contact = NameAddr::parse(item).filter(|contact| contact.uri.is_sip())?;
            let reg_id = contact.parameter("reg-id").and_then(|value| view::number(value, (1 << 31) - 1));
            Some(AskedContact {
                uri: SipUri(contact.uri_string()),
                expires: contact.parameter("expires").and_then(view::seconds).or(header_expires),
                q: contact.parameter("q").map_or(Some(1000), quality)?,
                instance: contact.parameter("+sip.instance").and_then(instance),
                reg_id: reg_id.filter(|id| *id > 0).and_then(|id| u32::try_from(id).ok()),
                behind_nat: is_elsewhere(&contact, flow),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(RegisterChange::Update(contacts))
}

/// Whether a contact says that it is not where its request came from. The port of a stream is always another.
fn is_elsewhere(contact: &NameAddr<'_>, flow: Flow) -> bool {
    let source = flow.remote;
    let port = flow.transport.is_stream() || contact.uri.port.unwrap_or(5060) == source.port();
    contact.uri.ip().map(|ip| ip.to_canonical()) != Some(source.ip().to_canonical()) || !port
}

/// `"<urn:uuid:…>"`.
fn instance(value: &[u8]) -> Option<InstanceId> {
    let text = String::from_utf8(view::unquote(value).into_owned()).ok()?;
    let urn = text.strip_prefix('<')?.strip_suffix('>')?;
    (urn.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn:")) && urn.len() <= 256)
        .then(|| InstanceId(urn.to_owned()))
}

/// A qvalue times 1000 (RFC 3261 §25.1).
fn quality(text: &[u8]) -> Option<u16> {
    let value: f32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // In range, so the conversion is exact to a thousandth.
    (0.0..=1.0).contains(&value).then_some((value * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::super::super::message::Carried;
    use super::*;

    fn message(headers: &str) -> Message {
        let text = format!("REGISTER sip:b SIP/2.0\r\n{headers}\r\n");
        Message::parse(Bytes::from(text), Carried::Datagram).expect("a message").0
    }

    fn from(source: &str) -> Flow {
        Flow::udp(0, source.parse().expect("an address"))
    }

    fn register(headers: &str) -> Option<RegisterChange> {
        change_of(&message(headers), from("192.0.2.7:5060"))
    }

    fn contacts(headers: &str, source: &str) -> Vec<AskedContact> {
        match change_of(&message(headers), from(source)) {
            Some(RegisterChange::Update(contacts)) => contacts,
            other @ (Some(RegisterChange::Query | RegisterChange::RemoveAll) | None) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_contacts_own_expires_beats_the_header() {
        let asked = contacts("Expires: 300\r\nContact: <sip:a@h>;expires=60;q=0.5, <sip:b@h>\r\n", "192.0.2.7:5060");
        let short: Vec<_> = asked.iter().map(|asked| (asked.uri.0.as_str(), asked.expires, asked.q)).collect();
        assert_eq!(short, [("sip:a@h", Some(60), 500), ("sip:b@h", Some(300), 1000)]);
    }

    #[test]
    fn a_star_stands_alone_with_expires_0() {
        assert_eq!(register("Expires: 0\r\nContact: *\r\n"), Some(RegisterChange::RemoveAll));
        assert_eq!(register("Contact: *\r\n"), None);
        assert_eq!(register("Expires: 3600\r\nContact: *\r\n"), None);
        assert_eq!(register("Expires: 0\r\nContact: *, <sip:a@h>\r\n"), None);
        assert_eq!(register(""), Some(RegisterChange::Query));
    }

    #[test]
    fn a_contact_names_its_instance_and_its_flow() {
        let asked = contacts("m: <sip:a@h>;reg-id=2;+sip.instance=\"<urn:uuid:1>\"\r\n", "192.0.2.7:5060");
        assert_eq!((asked[0].instance.clone(), asked[0].reg_id), (Some(InstanceId("urn:uuid:1".into())), Some(2)));
        let asked = contacts("m: <sip:a@h>;reg-id=0;+sip.instance=\"urn:uuid:1\"\r\n", "192.0.2.7:5060");
        assert_eq!((asked[0].instance.clone(), asked[0].reg_id), (None, None), "neither is one");
    }

    #[test]
    fn a_contact_that_is_not_where_it_came_from_is_behind_a_nat() {
        let nat = |contact: &str, source: &str| contacts(&format!("Contact: <{contact}>\r\n"), source)[0].behind_nat;
        assert!(!nat("sip:a@192.0.2.7", "192.0.2.7:5060"));
        assert!(!nat("sip:a@192.0.2.7:5062", "192.0.2.7:5062"));
        assert!(nat("sip:a@192.0.2.7", "192.0.2.7:40000"));
        assert!(nat("sip:a@10.0.0.7", "192.0.2.7:5060"));
        assert!(nat("sip:a@df7jal23ls0d.invalid;transport=ws", "192.0.2.7:5060"));
        assert!(!nat("sip:a@[2001:db8::7]", "[2001:db8::7]:5060"));
    }

    #[test]
    fn outbound_is_possible_directly_or_through_a_proxy_whose_path_says_ob() {
        let judged = |headers: &str| {
            let message = message(headers);
            outbound_of(&message, &values_of(&message, HeaderName::Path))
        };
        let via = "Via: SIP/2.0/UDP p, SIP/2.0/UDP a\r\n";
        assert_eq!(judged("Via: SIP/2.0/UDP a\r\nSupported: path, outbound\r\n"), Outbound::Possible);
        assert_eq!(judged("Via: SIP/2.0/UDP a\r\nSupported: path\r\n"), Outbound::NotWanted);
        assert_eq!(judged(&format!("{via}k: outbound\r\n")), Outbound::FirstHopLacks);
        let (far, edge) =
            ("Path: <sip:far;lr;ob>, <sip:edge;lr>\r\n", "Path: <sip:far;lr>\r\nPath: <sip:edge;lr;ob>\r\n");
        assert_eq!(judged(&format!("{via}k: outbound\r\n{far}")), Outbound::FirstHopLacks);
        assert_eq!(judged(&format!("{via}k: outbound\r\n{edge}")), Outbound::Possible);
    }

    #[test]
    fn a_binding_is_listed_with_all_that_it_has() {
        let listed = ListedBinding {
            uri: SipUri("sip:a@h".into()),
            seconds: 60,
            q: 500,
            instance: Some(InstanceId("urn:uuid:1".into())),
            reg_id: Some(1),
            gruus: Some(("sip:a@d;gr=urn:uuid:1".into(), "sip:tgruu.0@d;gr".into())),
        };
        let text = contact_value(&listed);
        assert_eq!(
            text,
            "<sip:a@h>;expires=60;q=0.500;+sip.instance=\"<urn:uuid:1>\";reg-id=1\
             ;pub-gruu=\"sip:a@d;gr=urn:uuid:1\";temp-gruu=\"sip:tgruu.0@d;gr\""
        );
        assert!(NameAddr::parse(text.as_bytes()).is_some_and(|read| read.parameter("reg-id") == Some(b"1")));
    }

    #[test]
    fn a_date_is_in_gmt() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_289_690_940);
        assert_eq!(http_date(at), "Sat, 13 Nov 2010 23:29:00 GMT");
    }
}
