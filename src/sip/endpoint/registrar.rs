//! REGISTER from phones, gateways and browsers: proof of the password, the shape of the request, and the answer of the
//! registrar actor (RFC 3261 §10.3). Bindings are not kept here.

use tandem_actors::model::address::SipUri;
use tandem_actors::ports::sip::{RegisterAnswer, RegisterChange, RegisterRequest};
use tokio::time::Instant;

use super::super::dialog::reoffer::DECISION;
use super::super::message::uri::unescape;
use super::super::message::view::NameAddr;
use super::super::overload::Waiting;
use super::identity::Proved;
use super::*;

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
        let Some(change) = change_of(request) else {
            self.refuse(key, 400, now);
            return;
        };
        let Some(names) = Names::of(request) else { return };
        let user_agent = request.text(HeaderName::UserAgent);
        let Some(listener) = self.listeners.get(flow.listener).map(|listener| listener.id.clone()) else { return };
        let serial = self.next_serial();
        self.registers.insert(serial, HeldRegister { key });
        self.overload.told(Waiting::Register(serial), now);
        self.arm(now + DECISION, Due::Register(serial));
        self.event(SipEvent::Register(Box::new(RegisterRequest {
            request: serial,
            subscriber,
            call_id: names.call_id,
            cseq: names.cseq,
            source: flow.remote,
            transport: flow.transport,
            listener,
            change,
            user_agent,
        })));
    }

    /// The registrar's answer; one that comes too late meets nothing.
    pub(super) fn register_answered(&mut self, request: u64, answer: &RegisterAnswer, now: Instant) {
        let Some(HeldRegister { key }) = self.registers.remove(&request) else { return };
        let info = self.servers.get(&key).and_then(|server| server.proved.as_ref()?.info.clone());
        match answer {
            RegisterAnswer::Bindings(bindings) => {
                self.bind_connection(key);
                self.respond(
                    key,
                    200,
                    now,
                    |writer| {
                        if let Some(info) = info {
                            writer.header(HeaderName::AuthenticationInfo, info);
                        }
                        for (uri, seconds) in bindings {
                            writer.header(HeaderName::Contact, format_args!("<{}>;expires={seconds}", uri.0));
                        }
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

/// What a REGISTER asks (RFC 3261 §10.3 steps 6 and 7); `None` when it contradicts itself.
fn change_of(request: &Message) -> Option<RegisterChange> {
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
            let expires = contact.parameter("expires").and_then(view::seconds).or(header_expires);
            let q = contact.parameter("q").map_or(Some(1000), quality)?;
            Some((SipUri(contact.uri_string()), expires, q))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(RegisterChange::Update(contacts))
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

    fn register(headers: &str) -> Option<RegisterChange> {
        let text = format!("REGISTER sip:b SIP/2.0\r\n{headers}\r\n");
        let (message, _) = Message::parse(Bytes::from(text), Carried::Datagram).expect("a message");
        change_of(&message)
    }

    #[test]
    fn a_contacts_own_expires_beats_the_header() {
        let change = register("Expires: 300\r\nContact: <sip:a@h>;expires=60;q=0.5, <sip:b@h>\r\n");
        let update = vec![(SipUri("sip:a@h".into()), Some(60), 500), (SipUri("sip:b@h".into()), Some(300), 1000)];
        assert_eq!(change, Some(RegisterChange::Update(update)));
    }

    #[test]
    fn a_star_stands_alone_with_expires_0() {
        assert_eq!(register("Expires: 0\r\nContact: *\r\n"), Some(RegisterChange::RemoveAll));
        assert_eq!(register("Contact: *\r\n"), None);
        assert_eq!(register("Expires: 0\r\nContact: *, <sip:a@h>\r\n"), None);
        assert_eq!(register(""), Some(RegisterChange::Query));
    }
}
