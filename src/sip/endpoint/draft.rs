//! Requests of ours before they have a Via: kept by their transaction, so that the ACK to a failure, a CANCEL and the
//! repetition with credentials are made of the same parts (RFC 3261 §9.1, §17.1.1.3, §22.2).

use bytes::Bytes;
use tandem_actors::model::address::MaxForwards;

use super::super::dialog::session_timer::Said;
use super::super::message::write::Writer;
use super::super::message::{HeaderName, Message, Method};

/// A request to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub method: rsip::Method,
    pub uri: String,
    pub routes: Vec<String>,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    /// Of its ACK and CANCEL as well.
    pub max_forwards: MaxForwards,
    /// User part of our Contact, where the request has one.
    pub contact: Option<String>,
    /// Further headers.
    pub headers: Vec<(HeaderName, String)>,
    /// Headers of the far side, by their names.
    pub passed: Vec<(String, String)>,
    /// Session-ID (RFC 7989), of its ACK and CANCEL as well.
    pub session_id: Option<String>,
    pub content_type: &'static str,
    pub body: String,
}

impl Draft {
    fn begin(&self, method: rsip::Method, to: &str, via: &str) -> Writer {
        let method = Method::Known(method).label();
        let mut writer = Writer::request(method, &self.uri);
        writer.header(HeaderName::Via, via);
        for route in &self.routes {
            writer.header(HeaderName::Route, route);
        }
        writer
            .header(HeaderName::MaxForwards, self.max_forwards)
            .header(HeaderName::From, &self.from)
            .header(HeaderName::To, to)
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format_args!("{} {method}", self.cseq));
        if let Some(session_id) = &self.session_id {
            writer.header(HeaderName::SessionId, session_id);
        }
        writer
    }

    /// The request itself; `contact` is the whole Contact value.
    pub fn write(&self, via: &str, contact: &str, user_agent: &str) -> Bytes {
        let mut writer = self.begin(self.method, &self.to, via);
        if self.contact.is_some() {
            writer.header(HeaderName::Contact, contact);
        }
        writer.header(HeaderName::UserAgent, user_agent);
        for (name, value) in &self.headers {
            writer.header(*name, value);
        }
        for (name, value) in &self.passed {
            writer.named(name, value);
        }
        writer.finish(self.content_type, self.body.as_bytes())
    }

    /// The ACK of a failure response: same branch, the response's To (RFC 3261 §17.1.1.3).
    pub fn ack(&self, via: &str, to: &str) -> Bytes {
        self.begin(rsip::Method::Ack, to, via).finish("", b"")
    }

    /// The CANCEL as a draft; it is sent with the INVITE's own Via (RFC 3261 §9.1).
    pub fn cancel(&self, reason: Option<String>) -> Draft {
        Draft {
            method: rsip::Method::Cancel,
            uri: self.uri.clone(),
            routes: self.routes.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            max_forwards: self.max_forwards,
            contact: None,
            headers: reason.map(|reason| (HeaderName::Reason, reason)).into_iter().collect(),
            passed: Vec::new(),
            session_id: self.session_id.clone(),
            content_type: "",
            body: String::new(),
        }
    }

    /// Whether it requires an extension.
    pub fn requires(&self, tag: &str) -> bool {
        self.headers.iter().any(|(name, value)| *name == HeaderName::Require && value == tag)
    }

    /// Asks for a session as long as the Min-SE of a 422; what that is. `None` where that is no more than was asked for.
    pub fn raise_session(&mut self, refusal: &Message) -> Option<u32> {
        let least = Said::of(refusal).least()?;
        let asked = self.headers.iter_mut().find(|(name, _)| *name == HeaderName::SessionExpires)?;
        if asked.1.parse::<u32>().is_ok_and(|asked| asked >= least) {
            return None;
        }
        asked.1 = least.to_string();
        self.headers.retain(|(name, _)| *name != HeaderName::MinSe);
        self.headers.push((HeaderName::MinSe, least.to_string()));
        Some(least)
    }

    /// Leaves out what a 420 lists as Unsupported; whether it required any of it.
    pub fn leave_out(&mut self, refusal: &Message) -> bool {
        let before = self.headers.len();
        self.headers
            .retain(|(name, value)| *name != HeaderName::Require || !refusal.lists(HeaderName::Unsupported, value));
        self.headers.len() < before
    }

    /// Once more in a new transaction: the next CSeq, and credentials only when it is challenged again (RFC 3261 §8.1.3.5).
    pub fn again(&mut self) {
        self.headers.retain(|(name, _)| !matches!(name, HeaderName::Authorization | HeaderName::ProxyAuthorization));
        self.cseq += 1;
    }

    /// The credentials it carries: an ACK repeats them (RFC 3261 §22.1).
    pub fn credentials(&self) -> Vec<(HeaderName, String)> {
        let carries = |name: HeaderName| matches!(name, HeaderName::Authorization | HeaderName::ProxyAuthorization);
        self.headers.iter().filter(|(name, _)| carries(*name)).cloned().collect()
    }
}
