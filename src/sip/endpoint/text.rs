//! MESSAGE (RFC 3428): a text from a phone or a trunk to a phone of ours. The brain says at which contacts that is; the body goes on
//! as it came, to all of them at once, and the first that takes it answers for all.
//!
//! Not stored for who is away: 480 says so, and the sender's phone keeps it (RFC 3428 §7: 202 would promise delivery). Not to app
//! users, services and trunks: they have no way to take one, and a trunk's costs money; 405. Not inside a call (§4: it makes no
//! dialog, and needs none). A 408 of ours would come when its receiver has given up (RFC 4320 §4.2): 480 before that.

use tandem_actors::model::address::{CallerId, MaxForwards, NameAddr as Named, SipOrigin, SipUri};
use tandem_actors::ports::sip::{MessageRelay, MessageRequest};
use tokio::time::Instant;

use super::super::dialog::reoffer::DECISION;
use super::super::dialog::request_uri;
use super::super::message::tel;
use super::super::message::view::NameAddr;
use super::*;

/// Longest text that goes on.
const LONGEST: usize = 16 * 1024;
/// How long its receivers are waited for: half of what the sender waits (Timer F).
const PATIENCE: Duration = Duration::from_secs(16);

/// A MESSAGE that waits for the brain, or for its receivers.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldMessage {
    key: ServerKey,
    /// Receivers that have not answered; `None` before the brain has.
    left: Option<usize>,
    /// The failure that tells most.
    worst: Option<u16>,
    /// When whoever is waited for is given up.
    until: Instant,
}

impl Core {
    /// A MESSAGE outside a dialog.
    pub(super) fn message_asked(&mut self, key: ServerKey, flow: Flow, now: Instant) {
        let origin = self.origin_of(key, flow);
        let Some(server) = self.servers.get(&key) else { return };
        let request = &server.request;
        let hops = request.get(HeaderName::MaxForwards).and_then(|value| view::number(trim(&value), 255));
        let refusal = if hops == Some(0) {
            Some(483)
        } else if origin == SipOrigin::Anonymous {
            // Whoever may call may not therefore write: unasked texts are what strangers send.
            Some(403)
        } else if trust::beyond_us(request) {
            Some(500)
        } else if request.body().len() > LONGEST {
            Some(513)
        } else if !request.body().is_empty() && request.get(HeaderName::ContentType).is_none() {
            Some(400)
        } else if std::str::from_utf8(request.body()).is_err() || request.get(HeaderName::ContentEncoding).is_some() {
            Some(415)
        } else {
            None
        };
        if let Some(status) = refusal {
            self.refuse(key, status, now);
            return;
        }
        let believed =
            self.trunk_at(flow).and_then(|at| self.trunks.get(at)).is_some_and(|trunk| trunk.config.identity.believed);
        let named = |name| {
            let value = request.get(name)?;
            NameAddr::parse(&value).map(|value| trust::named(&value))
        };
        let empty = || Named { display: String::new(), uri: SipUri(String::new()) };
        let message = MessageRequest {
            request: 0,
            origin,
            request_uri: SipUri(tel::canonical(&request_uri(request))),
            from: named(HeaderName::From).unwrap_or_else(empty),
            to: named(HeaderName::To).unwrap_or_else(empty),
            asserted: if believed { trust::asserted(request) } else { None },
            carried: trust::carried_of(request, believed),
        };
        let request = self.next_serial();
        self.messages.insert(request, HeldMessage { key, left: None, worst: None, until: now + DECISION });
        self.arm(now + DECISION, Due::Message(request));
        self.event(SipEvent::Message(Box::new(MessageRequest { request, ..message })));
    }

    /// The brain says where it goes, or how it is refused.
    pub(super) fn message_answered(&mut self, id: u64, answer: Result<MessageRelay, u16>, now: Instant) {
        let Some(HeldMessage { key, left: None, .. }) = self.messages.get(&id).copied() else { return };
        let relay = match answer {
            Ok(relay) => relay,
            Err(status) => {
                self.messages.remove(&id);
                self.refuse(key, status, now);
                return;
            }
        };
        let to = relay.to.iter();
        let drafts: Vec<_> = to.filter_map(|contact| self.message_draft(key, contact, &relay)).collect();
        if let Some(held) = self.messages.get_mut(&id) {
            held.left = Some(drafts.len());
            held.until = now + PATIENCE;
        }
        self.arm(now + PATIENCE, Due::Message(id));
        if drafts.is_empty() {
            self.message_over(id, 480, now);
        }
        for (draft, hop) in drafts {
            self.dispatch(draft, hop, Owner::Message { id }, now);
        }
    }

    fn message_draft(
        &mut self,
        key: ServerKey,
        contact: &tandem_actors::model::address::Contact,
        relay: &MessageRelay,
    ) -> Option<(Draft, NextHop)> {
        let hop = self.contact_hop(contact)?;
        let server = self.servers.get(&key)?;
        let request = &server.request;
        let passed = self.passed_in(self.trunk_at(server.flow)).of(request);
        let copied = |name: HeaderName| Some((name, request.text(name)?));
        let headers = [HeaderName::ContentType, HeaderName::Expires].into_iter().filter_map(copied).collect();
        let draft = Draft {
            method: rsip::Method::Message,
            uri: contact.uri.0.clone(),
            routes: contact.path.clone(),
            from: format!("{};tag={}", self.message_from(&relay.caller, relay.hidden), new_tag()),
            to: format!("<{}>", contact.uri.0),
            call_id: new_call_id(),
            cseq: 1,
            max_forwards: self.message_hops(request),
            contact: None,
            headers,
            passed: passed.into_iter().filter(|(name, _)| self.passed_out(None).takes(name)).collect(),
            session_id: request.text(HeaderName::SessionId),
            content_type: "",
            body: String::from_utf8_lossy(request.body()).into_owned(),
        };
        Some((draft, hop))
    }

    fn message_from(&self, caller: &CallerId, hidden: bool) -> String {
        if hidden {
            trust::ANONYMOUS.to_owned()
        } else {
            trust::name_addr(&caller.display, &caller.number, &self.config.domain, "")
        }
    }

    fn message_hops(&self, request: &Message) -> MaxForwards {
        let hops = request.get(HeaderName::MaxForwards).and_then(|value| view::number(trim(&value), 255));
        hops.and_then(|hops| u8::try_from(hops).ok()).map_or_else(MaxForwards::default, MaxForwards).forwarded()
    }

    /// A receiver has answered.
    pub(super) fn message_heard(&mut self, id: u64, status: u16, response: Option<&Message>, now: Instant) {
        if status < 200 {
            return;
        }
        // Nobody there, and our own word for it.
        let status = if response.is_none() { 480 } else { status };
        let Some(held) = self.messages.get_mut(&id) else { return };
        held.left = held.left.map(|left| left.saturating_sub(1));
        if status >= 300 {
            held.worst = Some(held.worst.map_or(status, |worst| if worst == 480 { status } else { worst }));
        }
        let (last, worst) = (held.left == Some(0), held.worst);
        match worst {
            _ if status < 300 => self.message_over(id, status, now),
            Some(worst) if last => self.message_over(id, worst, now),
            Some(_) | None => {}
        }
    }

    fn message_over(&mut self, id: u64, status: u16, now: Instant) {
        let Some(HeldMessage { key, .. }) = self.messages.remove(&id) else { return };
        // A challenge, or a redirection, is for us and not for the sender.
        let status = if matches!(status, 300..=399 | 401 | 407 | 408) { 480 } else { status };
        self.refuse(key, status, now);
    }

    /// Nobody has decided, or nobody has answered in time.
    pub(super) fn message_overdue(&mut self, id: u64, now: Instant) {
        let Some(held) = self.messages.get(&id).filter(|held| now >= held.until) else { return };
        if held.left.is_none() {
            metrics::dropped("undecided");
        }
        let status = if held.left.is_none() { 500 } else { 480 };
        self.message_over(id, status, now);
    }
}
