//! Requests of ours before they have a Via: kept by their transaction, so that the ACK to a failure, a CANCEL and the
//! repetition with credentials are made of the same parts (RFC 3261 §9.1, §17.1.1.3, §22.2).

use bytes::Bytes;
use tandem_actors::model::address::MaxForwards;

use super::super::message::write::Writer;
use super::super::message::{HeaderName, Method};

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
            content_type: "",
            body: String::new(),
        }
    }

    /// The credentials it carries: an ACK repeats them (RFC 3261 §22.1).
    pub fn credentials(&self) -> Vec<(HeaderName, String)> {
        let carries = |name: HeaderName| matches!(name, HeaderName::Authorization | HeaderName::ProxyAuthorization);
        self.headers.iter().filter(|(name, _)| carries(*name)).cloned().collect()
    }
}
