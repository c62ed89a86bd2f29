//! Headers that pass from one side of a call to the other by name (`pass_headers_in`, `pass_headers_out`).
//!
//! Never what a dialog, a transaction, a route, a proof or a body is made of, nor what says who calls: those are the core's own,
//! whatever a list names. What the core reads at all it writes itself, so only names it does not know can pass.

use tandem_actors::model::address::AppHeaders;

use super::view::is_token;
use super::{HeaderName, Message};

/// Most that pass with one message, and the longest value.
const MOST: usize = 32;
const LONGEST: usize = 1024;

/// Beside those the core knows: what other elements on the way act on.
const RESERVED: [&str; 22] = [
    "Proxy-Require",
    "Service-Route",
    "Security-Client",
    "Security-Server",
    "Security-Verify",
    "Proxy-Authentication-Info",
    "Content-Language",
    "MIME-Version",
    "Join",
    "Target-Dialog",
    "SIP-ETag",
    "SIP-If-Match",
    "Permission-Missing",
    "Trigger-Consent",
    "Encryption",
    "Hide",
    "Timestamp",
    "Identity-Info",
    "P-Called-Party-ID",
    "P-Associated-URI",
    "P-Charging-Vector",
    "Feature-Caps",
];

/// Whether a header of this name may pass at all.
pub fn may_pass(name: &str) -> bool {
    is_token(name.as_bytes())
        && HeaderName::identify(name.as_bytes()) == HeaderName::Other
        && !RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Names, and beginnings of names with a `*` behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderList(pub Vec<String>);

impl HeaderList {
    /// Whether a header of this name passes.
    pub fn takes(&self, name: &str) -> bool {
        let named = |item: &String| match item.strip_suffix('*') {
            Some(start) => name.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start)),
            None => item.eq_ignore_ascii_case(name),
        };
        self.0.iter().any(named) && may_pass(name)
    }

    /// The headers of a message that pass, in order.
    pub fn of(&self, message: &Message) -> Vec<(String, String)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let others = message.headers().iter().filter(|header| header.name == HeaderName::Other);
        others
            .filter_map(|header| {
                let name = std::str::from_utf8(message.spelled(header)).ok().filter(|name| self.takes(name))?;
                let value = message.value(header);
                let value = std::str::from_utf8(&value).ok().filter(|value| value.len() <= LONGEST)?;
                Some((name.to_owned(), value.to_owned()))
            })
            .take(MOST)
            .collect()
    }

    /// Those of the other side that pass.
    pub fn from<'a>(&'a self, headers: &'a AppHeaders) -> impl Iterator<Item = &'a (String, String)> {
        headers.passed().iter().filter(|(name, _)| self.takes(name)).take(MOST)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use tandem_actors::model::address::Further;

    use super::super::Carried;
    use super::*;

    #[test]
    fn dialog_routing_and_security_headers_never_pass() {
        let all = HeaderList(vec!["*".into()]);
        for name in [
            "Via",
            "v",
            "Route",
            "Record-Route",
            "Contact",
            "From",
            "Call-ID",
            "CSeq",
            "Require",
            "Authorization",
            "Proxy-Authorization",
            "Content-Type",
            "P-Asserted-Identity",
            "Identity",
            "y",
            "Privacy",
            "Session-ID",
            "Security-Verify",
            "Service-Route",
            "Proxy-Require",
            "Path",
            "Replaces",
            "X-Number",
            "a b",
            "",
        ] {
            assert!(!all.takes(name), "{name}");
        }
        assert!(all.takes("X-Ticket") && all.takes("Subject") && all.takes("User-to-User") && all.takes("Call-Info"));
    }

    #[test]
    fn a_list_has_names_and_beginnings_in_any_case() {
        let list = HeaderList(vec!["X-Ticket".into(), "X-Acme-*".into()]);
        assert!(list.takes("x-ticket") && list.takes("X-ACME-Id") && !list.takes("X-Tickets") && !list.takes("X-Acm"));
        assert!(!HeaderList::default().takes("X-Ticket"));
    }

    #[test]
    fn what_passes_of_a_message_is_in_its_order_and_bounded() {
        let long = "x".repeat(LONGEST + 1);
        let mut text = format!("INVITE sip:a@b SIP/2.0\r\nX-B: 1\r\nVia: x\r\nX-A: 2\r\nX-B: 3\r\nX-C: {long}\r\n");
        text.push_str(&"X-D: 1\r\n".repeat(MOST));
        let (message, _) = Message::parse(Bytes::from(text + "\r\n"), Carried::Datagram).expect("a message");
        let passed = HeaderList(vec!["x-*".into()]).of(&message);
        let first: Vec<_> = passed.iter().take(3).map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(first, [("X-B", "1"), ("X-A", "2"), ("X-B", "3")]);
        assert_eq!(passed.len(), MOST);
        let further = Some(Box::new(Further { passed, session_id: None }));
        let headers = AppHeaders { further, ..AppHeaders::default() };
        assert_eq!(HeaderList(vec!["X-A".into()]).from(&headers).count(), 1);
    }
}
