//! The gate every message passes before it meets a state machine (RFC 3261 §8.2, §16.3, §18.3): headers a dialog or a
//! transaction is made of must be there once and readable.
//!
//! Not here: Require, Content-Type and everything else that needs to know whether a dialog exists.

use super::uri::Uri;
use super::view::{self, NameAddr, Via};
use super::{HeaderName, Kind, Message, Method, trim};

/// The fault of a request line with another version than SIP/2.0.
pub const VERSION: &str = "the SIP version is not 2.0";
/// The fault of a Request-URI beyond [`super::MAX_URI`].
pub const URI_TOO_LONG: &str = "the Request-URI is too long";
/// The fault of a message with more headers or a longer body than are read.
pub const TOO_LARGE: &str = "too many headers, or too long a body";

/// Why a message goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A request that can be answered with this status.
    Refuse {
        /// Status.
        status: u16,
        /// For the log.
        why: &'static str,
    },
    /// Nothing that could be answered, or a response: counted and dropped.
    Drop {
        /// For the log.
        why: &'static str,
    },
}

/// Checks a message.
///
/// # Errors
/// [`Fault`], with the status to answer where the message can be answered at all.
pub fn validate(message: &Message) -> Result<(), Fault> {
    match check(message) {
        Ok(()) => Ok(()),
        Err((status, why)) => match message.kind() {
            Kind::Request { method, .. } if method != Method::ACK && answerable(message) => {
                Err(Fault::Refuse { status, why })
            }
            Kind::Request { .. } | Kind::Response { .. } => Err(Fault::Drop { why }),
        },
    }
}

/// RFC 3261 §8.2.6.2: a response repeats these, so they must be there in some shape; of Via who sent it must be readable, whatever
/// its parameters or its version are like.
fn answerable(message: &Message) -> bool {
    let has = |name| message.all(name).next().is_some();
    let via = message.get(HeaderName::Via);
    via.as_deref().and_then(|via| view::split(via, b',').next()).is_some_and(Via::names_a_sender)
        && [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq].into_iter().all(has)
}

/// RFC 3261 §8.1.1.8: a request that makes a dialog has exactly one Contact. A caller of RFC 2543, known by a branch without the
/// cookie, may have none: then it is where From says.
fn contact_ok(message: &Message) -> bool {
    match message.all(HeaderName::Contact).count() {
        0 => message.get(HeaderName::Via).is_some_and(|via| {
            let top = view::split(&via, b',').next().and_then(|top| Via::parse(trim(top)));
            top.is_some_and(|via| via.transaction().is_none())
        }),
        contacts => contacts == 1,
    }
}

fn check(message: &Message) -> Result<(), (u16, &'static str)> {
    if let Some(fault) = message.fault() {
        let status = match fault {
            VERSION => 505,
            URI_TOO_LONG => 414,
            TOO_LARGE => 513,
            _ => 400,
        };
        return Err((status, fault));
    }
    for (name, why) in [
        (HeaderName::From, "From is missing or repeated"),
        (HeaderName::To, "To is missing or repeated"),
        (HeaderName::CallId, "Call-ID is missing or repeated"),
        (HeaderName::CSeq, "CSeq is missing or repeated"),
    ] {
        if message.all(name).count() != 1 {
            return Err((400, why));
        }
    }
    if message.all(HeaderName::MaxForwards).count() > 1 {
        return Err((400, "Max-Forwards is repeated"));
    }
    let mut vias = 0;
    let (mut from_to, mut call_id) = (true, true);
    for header in message.headers() {
        let list = |one: &dyn Fn(&[u8]) -> bool| view::split(&message.value(header), b',').all(|item| one(trim(item)));
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other forty headers are not checked here")]
        let ok = match header.name {
            HeaderName::Via => {
                vias += 1;
                list(&|item| Via::parse(item).is_some())
            }
            HeaderName::From | HeaderName::To => {
                from_to &= NameAddr::parse(&message.value(header)).is_some();
                true
            }
            HeaderName::CallId => {
                let value = message.value(header);
                call_id &= !value.is_empty() && !value.iter().any(u8::is_ascii_whitespace);
                true
            }
            HeaderName::Contact => &*message.value(header) == b"*" || list(&|item| NameAddr::parse(item).is_some()),
            HeaderName::Route | HeaderName::RecordRoute => {
                list(&|item| NameAddr::parse(item).is_some_and(|value| value.bracketed))
            }
            HeaderName::MaxForwards => view::number(trim(&message.value(header)), 255).is_some(),
            _ => true,
        };
        if !ok {
            return Err((400, header.name.as_str()));
        }
    }
    if vias == 0 {
        return Err((400, "Via is missing"));
    }
    if !from_to {
        return Err((400, "From or To is malformed"));
    }
    if !call_id {
        return Err((400, "Call-ID is malformed"));
    }
    let cseq = message.get(HeaderName::CSeq).unwrap_or_default();
    let (_, cseq_method) = view::cseq(&cseq).ok_or((400, "CSeq is malformed"))?;
    match message.kind() {
        Kind::Request { token, .. } if token != cseq_method => Err((400, "CSeq names another method")),
        Kind::Request { method, uri, .. } => {
            let uri = Uri::parse(uri).ok_or((400, "the Request-URI is malformed"))?;
            if !uri.is_sip() && !uri.scheme.eq_ignore_ascii_case(b"tel") {
                return Err((416, "the Request-URI has an unknown scheme"));
            }
            // RFC 3261 §19.1.1: headers have no meaning there.
            if !uri.headers.is_empty() {
                return Err((400, "the Request-URI has headers"));
            }
            if method == Method::INVITE && !contact_ok(message) {
                return Err((400, "INVITE without exactly one Contact"));
            }
            Ok(())
        }
        Kind::Response { .. } => Ok(()),
    }
}
