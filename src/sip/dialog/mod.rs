//! The dialog record and its pure parts (RFC 3261 §12, §13, §14): identity, sequence numbers, routes and targets here; 2xx
//! retransmission in [`accepted`]; provisional responses that are acknowledged in [`reliable`]; who may offer when in
//! [`reoffer`]; sessions that end unless they are refreshed in [`session_timer`].

pub mod accepted;
pub mod reliable;
pub mod reoffer;
pub mod session_id;
pub mod session_timer;

use super::message::uri::Uri;
use super::message::view::{self, NameAddr};
use super::message::{HeaderName, Kind, Message, trim};
use super::transport::Flow;

/// What a dialog is made of (RFC 3261 §12.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Theirs; empty for RFC 2543 peers.
    pub remote_tag: String,
    /// From value of our requests, tag included.
    pub local: String,
    /// To value of our requests, tag included.
    pub remote: String,
    /// CSeq number of our last request.
    pub local_cseq: u32,
    /// CSeq number of their last request.
    pub remote_cseq: Option<u32>,
    /// Route set, in the order of our Route headers.
    pub routes: Vec<String>,
    /// Remote target: their Contact URI.
    pub target: String,
    /// Whether we chose the Call-ID (decides who waits longer after 491).
    pub owner: bool,
    /// Where the message that made it came from.
    pub flow: Flow,
    /// Whether it was asked for by a `sips:` URI, so that our Contact has to be one (RFC 3261 §12.1.1, RFC 5630 §3.2.1).
    pub sips: bool,
}

impl Record {
    /// As the UAS of an INVITE (RFC 3261 §12.1.1). `None` without From, or with a Contact that is no SIP URI; without any (RFC 2543)
    /// its target is where From says.
    pub fn as_uas(request: &Message, local_tag: &str, flow: Flow) -> Option<Self> {
        let from = request.get(HeaderName::From)?;
        let cseq = view::cseq(&request.get(HeaderName::CSeq)?)?.0;
        let routes = routes_of(request, false);
        let target = match request.all(HeaderName::Contact).next() {
            Some(_) => contact_of(request)?,
            None => NameAddr::parse(&from)?.uri_string(),
        };
        let next = match routes.first() {
            Some(route) => NameAddr::parse(route.as_bytes()).map(|value| value.uri_string()).unwrap_or_default(),
            None => target.clone(),
        };
        Some(Self {
            sips: is_sips(&request_uri(request)) || is_sips(&next),
            call_id: request.text(HeaderName::CallId)?,
            local_tag: local_tag.to_owned(),
            remote_tag: tag_of(&from),
            local: format!("{};tag={local_tag}", request.text(HeaderName::To)?),
            remote: String::from_utf8_lossy(&from).into_owned(),
            local_cseq: u32::from(rand::random::<u16>()) + 1,
            remote_cseq: Some(cseq),
            routes,
            target,
            owner: false,
            flow,
        })
    }

    /// As the UAC of an INVITE that got this response (RFC 3261 §12.1.2). `None` without a To tag; a 2xx without Contact
    /// keeps the Request-URI as target, since the call is up all the same.
    pub fn as_uac(response: &Message, local_tag: &str, request_uri: &str, flow: Flow) -> Option<Self> {
        let to = response.get(HeaderName::To)?;
        let cseq = view::cseq(&response.get(HeaderName::CSeq)?)?.0;
        Some(Self {
            call_id: response.text(HeaderName::CallId)?,
            local_tag: local_tag.to_owned(),
            remote_tag: tag_of(&to),
            local: response.text(HeaderName::From)?,
            remote: String::from_utf8_lossy(&to).into_owned(),
            local_cseq: cseq,
            remote_cseq: None,
            routes: routes_of(response, true),
            target: contact_of(response).unwrap_or_else(|| request_uri.to_owned()),
            owner: true,
            flow,
            sips: is_sips(request_uri),
        })
    }

    /// The number of our next request.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Takes the number of their next request; `false` when it is not above the last (RFC 3261 §12.2.2). Gaps are legal.
    pub fn take_cseq(&mut self, cseq: u32) -> bool {
        let fresh = self.remote_cseq.is_none_or(|last| cseq > last);
        if fresh {
            self.remote_cseq = Some(cseq);
        }
        fresh
    }

    /// A target refresh (INVITE, UPDATE and their 2xx) moves the remote target.
    pub fn refresh(&mut self, message: &Message) {
        if let Some(target) = contact_of(message) {
            self.target = target;
        }
    }

    /// The 2xx of an early dialog: its routes are those of the 2xx (RFC 3261 §13.2.2.4), its numbers go on.
    pub fn confirm(&mut self, response: &Message) {
        self.routes = routes_of(response, true);
        self.refresh(response);
    }

    /// Request-URI and Route values of our next request.
    pub fn path(&self) -> (String, Vec<String>) {
        path(&self.target, &self.routes)
    }

    /// The URI whose host our next request is sent to.
    pub fn next_hop(&self) -> String {
        self.routes
            .first()
            .and_then(|first| NameAddr::parse(first.as_bytes()).map(|value| value.uri_string()))
            .unwrap_or_else(|| self.target.clone())
    }
}

/// Whether a URI asks for TLS on every hop (RFC 3261 §19.1).
pub fn is_sips(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

/// Request-URI and Route values of a request to a target by these routes. A first route without `lr` is a strict router: it
/// becomes the Request-URI and the target the last route (RFC 3261 §12.2.1.1, and §8.1.1.1 for a pre-loaded route).
pub fn path(target: &str, routes: &[String]) -> (String, Vec<String>) {
    let strict = routes.first().and_then(|first| {
        let value = NameAddr::parse(first.as_bytes())?;
        value.uri.parameter("lr").is_none().then(|| value.uri_string())
    });
    match strict {
        None => (target.to_owned(), routes.to_vec()),
        Some(router) => {
            let mut routes: Vec<String> = routes.iter().skip(1).cloned().collect();
            routes.push(format!("<{target}>"));
            (router, routes)
        }
    }
}

/// The tag of a From or To value; empty where there is none.
pub fn tag_of(value: &[u8]) -> String {
    NameAddr::parse(value)
        .and_then(|value| value.tag())
        .map(|tag| String::from_utf8_lossy(tag).into_owned())
        .unwrap_or_default()
}

/// The URI of the first Contact.
pub fn contact_of(message: &Message) -> Option<String> {
    let value = message.get(HeaderName::Contact)?;
    let first = view::split(&value, b',').next()?;
    let contact = NameAddr::parse(trim(first))?;
    contact.uri.is_sip().then(|| contact.uri_string())
}

/// Record-Route values, one each; reversed for the UAC (RFC 3261 §12.1.2).
fn routes_of(message: &Message, reversed: bool) -> Vec<String> {
    let mut routes = Vec::new();
    for header in message.all(HeaderName::RecordRoute) {
        let value = message.value(header);
        routes.extend(view::split(&value, b',').map(|item| String::from_utf8_lossy(trim(item)).into_owned()));
    }
    if reversed {
        routes.reverse();
    }
    routes
}

/// The tags and the Call-ID by which a request or response names a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Call-ID.
    pub call_id: String,
    /// From tag.
    pub from_tag: String,
    /// To tag; empty outside dialogs.
    pub to_tag: String,
    /// CSeq number.
    pub cseq: u32,
}

impl Names {
    /// Reads them off a validated message.
    pub fn of(message: &Message) -> Option<Self> {
        Some(Self {
            call_id: message.text(HeaderName::CallId)?,
            from_tag: tag_of(&message.get(HeaderName::From)?),
            to_tag: tag_of(&message.get(HeaderName::To)?),
            cseq: view::cseq(&message.get(HeaderName::CSeq)?)?.0,
        })
    }
}

/// The Request-URI as text; empty for a response.
pub fn request_uri(message: &Message) -> String {
    match message.kind() {
        Kind::Request { uri, .. } => String::from_utf8_lossy(uri).into_owned(),
        Kind::Response { .. } => String::new(),
    }
}

/// The user part of the Request-URI, still escaped; empty where there is none.
pub fn request_user(message: &Message) -> String {
    let uri = request_uri(message);
    let user = Uri::parse(uri.as_bytes()).and_then(|uri| uri.user).unwrap_or_default();
    String::from_utf8_lossy(user).into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::message::Carried;
    use super::*;

    fn flow() -> Flow {
        Flow::udp(0, "192.0.2.1:5060".parse().expect("an address"))
    }

    fn message(text: &str) -> Message {
        Message::parse(Bytes::from(text.replace('\n', "\r\n")), Carried::Datagram).expect("a message").0
    }

    const OK: &str = "SIP/2.0 200 OK\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nRecord-Route: <sip:p2;lr>, <sip:p1;lr>\nRecord-Route: <sip:p0;lr>\n\
        From: <sip:a@b>;tag=me\nTo: <sip:c@d>;tag=you\nCall-ID: 1\nCSeq: 3 INVITE\nContact: <sip:c@192.0.2.3:5070>\n\n";

    #[test]
    fn the_uac_reverses_record_route() {
        let record = Record::as_uac(&message(OK), "me", "sip:c@d", flow()).expect("a record");
        assert_eq!(record.routes, ["<sip:p0;lr>", "<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(record.path().0, "sip:c@192.0.2.3:5070");
        assert_eq!((record.next_hop().as_str(), record.local_cseq), ("sip:p0;lr", 3));
    }

    #[test]
    fn a_strict_router_becomes_the_request_uri() {
        let mut record = Record::as_uac(&message(OK), "me", "sip:c@d", flow()).expect("a record");
        record.routes = vec!["<sip:strict.example.com>".into(), "<sip:p1;lr>".into()];
        let (uri, routes) = record.path();
        assert_eq!(uri, "sip:strict.example.com");
        assert_eq!(routes, ["<sip:p1;lr>", "<sip:c@192.0.2.3:5070>"]);
    }

    #[test]
    fn sequence_numbers_may_leap_but_not_fall() {
        let mut record = Record::as_uac(&message(OK), "me", "sip:c@d", flow()).expect("a record");
        assert!(record.take_cseq(7) && record.take_cseq(100));
        assert!(!record.take_cseq(100) && !record.take_cseq(8));
    }
}
