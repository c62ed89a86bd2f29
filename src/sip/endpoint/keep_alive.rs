//! What keeps the NAT of a registered phone open: OPTIONS, or an empty line (RFC 5626 §4.4.1 has the latter from the phone; from
//! us it is a datagram that nobody answers). Whom and when is the registrar's.

use tandem_actors::model::address::{Contact, MaxForwards};
use tokio::time::Instant;

use super::*;

/// Double CRLF.
const EMPTY_LINE: &[u8] = b"\r\n\r\n";

impl Core {
    pub(super) fn keep_alive(&mut self, contact: &Contact, id: Option<u64>, now: Instant) {
        let listener = self.listener_for(Some(&contact.listener), contact.transport, contact.source.ip());
        let Some(listener) = listener else {
            if let Some(id) = id {
                self.kept_alive(id, 503);
            }
            return;
        };
        let flow = self.datagrams_to(listener, contact);
        let Some(id) = id else {
            self.send(flow, Bytes::from_static(EMPTY_LINE));
            return;
        };
        let draft = Draft {
            method: rsip::Method::Options,
            uri: contact.uri.0.clone(),
            routes: Vec::new(),
            from: format!("<sip:{}>;tag={}", self.config.domain, new_tag()),
            to: format!("<{}>", contact.uri.0),
            call_id: new_call_id(),
            cseq: 1,
            max_forwards: MaxForwards::default(),
            contact: Some(String::new()),
            headers: Vec::new(),
            passed: Vec::new(),
            session_id: None,
            content_type: "",
            body: String::new(),
        };
        self.begin(draft, flow, Owner::KeepAlive { id }, false, now);
    }

    /// Any answer of the phone's will do: it is there. Only our own 408 and 503 say that it is not.
    pub(super) fn keep_alive_heard(&mut self, id: u64, status: u16, response: Option<&Message>) {
        if status >= 200 {
            self.kept_alive(id, if response.is_some() { 200 } else { status });
        }
    }

    fn kept_alive(&mut self, id: u64, status: u16) {
        self.event(SipEvent::KeptAlive { id, answered: status < 300 });
    }
}
