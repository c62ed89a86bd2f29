//! Typed views of header values, borrowed from the message: name-addr, Via, CSeq, parameters, lists (RFC 3261 §20, §25).

use std::borrow::Cow;

use super::uri::{Uri, host_port_of};
use super::{blank, trim, trim_start};

/// Whether octets are a `token`.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(token_octet)
}

fn token_octet(c: &u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// Decimal digits as a number not above `max`.
pub fn number(text: &[u8], max: u64) -> Option<u64> {
    if text.is_empty() || text.len() > 12 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    (value <= max).then_some(value)
}

/// Text before and after the first `separator`.
pub fn cut(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Splits at a separator that is neither quoted nor inside angle brackets.
pub fn split(text: &[u8], separator: u8) -> Split<'_> {
    Split { rest: Some(text), separator }
}

/// See [`split`].
#[derive(Debug, Clone)]
pub struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (mut quoted, mut escaped, mut angle) = (false, false, false);
        for (at, c) in rest.iter().enumerate() {
            if escaped {
                escaped = false;
            } else if quoted {
                match c {
                    b'\\' => escaped = true,
                    b'"' => quoted = false,
                    _ => {}
                }
            } else if *c == self.separator && !angle {
                self.rest = rest.get(at + 1..);
                return rest.get(..at);
            } else {
                match c {
                    b'"' => quoted = true,
                    b'<' => angle = true,
                    b'>' => angle = false,
                    _ => {}
                }
            }
        }
        self.rest = None;
        Some(rest)
    }
}

fn key_value(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match cut(text, b'=') {
        Some((key, value)) => (trim(key), Some(trim(value))),
        None => (trim(text), None),
    }
}

/// A parameter of a `;` list: its value as written, empty where it has none; `None` when absent.
pub fn parameter<'a>(list: &'a [u8], name: &str) -> Option<&'a [u8]> {
    split(list, b';').find_map(|item| {
        let (key, value) = key_value(item);
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.unwrap_or_default())
    })
}

/// Whether a `;` list is made of well-formed generic parameters.
fn parameters_ok(list: &[u8]) -> bool {
    split(list, b';').all(|item| {
        let (key, value) = key_value(item);
        let value_ok = match value {
            None => true,
            Some([b'"', inner @ .., b'"']) => !inner.is_empty() || item.ends_with(b"\"\""),
            Some(value) => {
                !value.is_empty()
                    && value.iter().all(|c| token_octet(c) || matches!(c, b'[' | b']' | b':' | b'/' | b'@'))
            }
        };
        is_token(key) && value_ok
    })
}

/// A quoted string's meaning; other text as it is.
pub fn unquote(text: &[u8]) -> Cow<'_, [u8]> {
    match text {
        [b'"', inner @ .., b'"'] if inner.contains(&b'\\') => {
            let mut out = Vec::with_capacity(inner.len());
            let mut escaped = false;
            for c in inner {
                if *c == b'\\' && !escaped {
                    escaped = true;
                } else {
                    out.push(*c);
                    escaped = false;
                }
            }
            Cow::Owned(out)
        }
        [b'"', inner @ .., b'"'] => Cow::Borrowed(inner),
        _ => Cow::Borrowed(text),
    }
}

/// From, To, Contact, Route, Record-Route, P-Asserted-Identity.
#[derive(Debug, Clone, Copy)]
pub struct NameAddr<'a> {
    display: &'a [u8],
    /// The URI's octets.
    pub uri_text: &'a [u8],
    /// The URI, read.
    pub uri: Uri<'a>,
    /// Header parameters without the leading `;`.
    pub parameters: &'a [u8],
    /// Whether the URI stood in angle brackets.
    pub bracketed: bool,
}

impl<'a> NameAddr<'a> {
    /// Reads one value (not a list); `None` when it is malformed.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let (display, rest) = if value.first() == Some(&b'"') {
            let end = quoted_end(value)?;
            (value.get(..end)?, trim_start(value.get(end..)?))
        } else {
            match memchr::memchr(b'<', value) {
                Some(at) => {
                    let display = trim(value.get(..at)?);
                    if !display.iter().all(|c| token_octet(c) || blank(c) || *c >= 0x80) {
                        return None;
                    }
                    (display, value.get(at..)?)
                }
                None => (b"".as_slice(), value),
            }
        };
        let (uri_text, rest, bracketed) = match rest {
            [b'<', inner @ ..] => {
                let (uri, rest) = cut(inner, b'>')?;
                (uri, rest, true)
            }
            _ if !display.is_empty() => return None,
            _ => {
                // Without brackets everything after `;` belongs to the header, and `?` and `,` are not allowed
                // (RFC 3261 §20).
                let end = rest.iter().position(|c| *c == b';' || blank(c)).unwrap_or(rest.len());
                let (uri, rest) = (rest.get(..end)?, rest.get(end..)?);
                if uri.iter().any(|c| matches!(c, b'?' | b',')) {
                    return None;
                }
                (uri, rest, false)
            }
        };
        let parameters = match trim(rest) {
            [] => b"".as_slice(),
            [b';', parameters @ ..] if parameters_ok(parameters) => parameters,
            _ => return None,
        };
        Some(Self { display, uri_text, uri: Uri::parse(uri_text)?, parameters, bracketed })
    }

    /// The tag, where there is one.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.parameter("tag").filter(|tag| !tag.is_empty())
    }

    /// A header parameter.
    pub fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        if self.parameters.is_empty() { None } else { parameter(self.parameters, name) }
    }

    /// The display name, unquoted, as text.
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&unquote(self.display)).into_owned()
    }

    /// The URI as text.
    pub fn uri_string(&self) -> String {
        String::from_utf8_lossy(self.uri_text).into_owned()
    }
}

/// Where a quoted string that begins the text ends, one past the closing quote.
fn quoted_end(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.iter().enumerate().skip(1) {
        match c {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// One Via value.
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// `UDP`, `TCP`…, as spelled.
    pub transport: &'a [u8],
    /// sent-by host.
    pub host: &'a [u8],
    /// sent-by port.
    pub port: Option<u16>,
    /// Parameters without the leading `;`.
    pub parameters: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads one value (not a list); `None` when it is malformed.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (version, via) = Self::of_any_version(value)?;
        (version == b"2.0" && (via.parameters.is_empty() || parameters_ok(via.parameters))).then_some(via)
    }

    /// Whether it says who sent the message, whatever its version and parameters are like.
    pub fn names_a_sender(value: &'a [u8]) -> bool {
        Self::of_any_version(value).is_some()
    }

    fn of_any_version(value: &'a [u8]) -> Option<(&'a [u8], Self)> {
        let (protocol, rest) = cut(value, b'/')?;
        let (version, rest) = cut(rest, b'/')?;
        if !trim(protocol).eq_ignore_ascii_case(b"SIP") {
            return None;
        }
        let rest = trim(rest);
        let end = rest.iter().position(blank)?;
        let (transport, rest) = (rest.get(..end)?, trim(rest.get(end..)?));
        let (sent_by, parameters) = cut(rest, b';').unwrap_or((rest, b""));
        let (host, port) = host_port_of(trim(sent_by))?;
        is_token(transport).then_some((trim(version), Self { transport, host, port, parameters }))
    }

    /// A parameter.
    pub fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        if self.parameters.is_empty() { None } else { parameter(self.parameters, name) }
    }

    /// The branch, where there is one.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.parameter("branch").filter(|branch| !branch.is_empty())
    }

    /// The branch, where it names a transaction (RFC 3261 §8.1.1.7): the cookie and something after it.
    pub fn transaction(&self) -> Option<&'a [u8]> {
        let cookie = |branch: &[u8]| branch.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"z9hG4bK"));
        self.branch().filter(|branch| branch.len() > 7 && cookie(branch))
    }
}

/// CSeq: number below 2^31 (RFC 3261 §8.1.1.5) and method.
pub fn cseq(value: &[u8]) -> Option<(u32, &[u8])> {
    let value = trim(value);
    let end = value.iter().position(blank)?;
    let number = u32::try_from(number(value.get(..end)?, (1 << 31) - 1)?).ok()?;
    let method = trim(value.get(end..)?);
    is_token(method).then_some((number, method))
}

/// delta-seconds; what is larger than u32 is the largest (RFC 3261 §20.19 names 2^32-1 as the bound).
pub fn seconds(value: &[u8]) -> Option<u32> {
    let value = trim(split(trim(value), b';').next()?);
    let digits = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
    digits.then(|| number(value, u64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX))
}

/// The seconds of a Retry-After value, which may go on with a comment and parameters (RFC 3261 §20.33).
pub fn retry_after(value: &[u8]) -> Option<u32> {
    let value = trim(value);
    let digits = value.iter().take_while(|octet| octet.is_ascii_digit()).count();
    seconds(value.get(..digits)?)
}

/// The scheme and the comma-separated parameters of an Authorization or WWW-Authenticate value.
#[derive(Debug, Clone, Copy)]
pub struct AuthView<'a> {
    /// `Digest`…
    pub scheme: &'a [u8],
    list: &'a [u8],
}

impl<'a> AuthView<'a> {
    /// Reads the scheme; the parameters are looked at when asked for.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let end = value.iter().position(blank)?;
        Some(Self { scheme: value.get(..end)?, list: trim(value.get(end..)?) })
    }
    /// A parameter, unquoted.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        split(self.list, b',').find_map(|item| {
            let (key, value) = key_value(item);
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| unquote(value.unwrap_or_default()))
        })
    }
    /// A parameter as text; `None` as well where it is not UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| String::from_utf8(value.into_owned()).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_inside_a_display_name_is_not_the_identity() {
        let value = NameAddr::parse(b"\"A <sip:x@evil> B\" <sip:a@b>;tag=1").expect("a name-addr");
        assert_eq!((value.uri_text, value.tag()), (b"sip:a@b".as_slice(), Some(b"1".as_slice())));
        assert_eq!(value.display(), "A <sip:x@evil> B");
    }

    #[test]
    fn without_brackets_parameters_belong_to_the_header() {
        let value = NameAddr::parse(b"sip:a@b;tag=9").expect("an addr-spec");
        assert_eq!((value.tag(), value.uri.parameters), (Some(b"9".as_slice()), b"".as_slice()));
        assert!(NameAddr::parse(b"<sip:a@b> ; tag = 9").is_some_and(|value| value.tag() == Some(b"9")));
        assert!(NameAddr::parse(b"sip:a@b?x=y").is_none());
    }

    #[test]
    fn lists_are_split_outside_quotes_and_brackets() {
        let items: Vec<_> = split(b"\"a, b\\\"\" <sip:x@y;p=1,2>, <sip:z@y>", b',').collect();
        assert_eq!(items.len(), 2);
    }

    #[test]
    fn via_allows_white_space_around_its_separators() {
        let via = Via::parse(b"SIP / 2.0 / UDP  192.0.2.1 : 5062 ;branch=z9hG4bKx;rport").expect("a Via");
        assert_eq!(
            (via.host, via.port, via.branch()),
            (b"192.0.2.1".as_slice(), Some(5062), Some(b"z9hG4bKx".as_slice()))
        );
        assert_eq!(via.parameter("rport"), Some(b"".as_slice()));
    }

    #[test]
    fn a_cookie_without_more_names_no_transaction() {
        let named = |branch: &str| {
            let value = format!("SIP/2.0/UDP h;branch={branch}");
            Via::parse(value.as_bytes()).expect("a Via").transaction().is_some()
        };
        assert!(named("z9hG4bKx") && !named("z9hG4bK") && !named("390skdjuw"));
    }

    #[test]
    fn cseq_numbers_end_below_two_to_the_31() {
        assert_eq!(cseq(b"2147483647  INVITE"), Some((2_147_483_647, b"INVITE".as_slice())));
        assert_eq!(cseq(b"2147483648 INVITE"), None);
        assert_eq!(cseq(b"0009 INVITE"), Some((9, b"INVITE".as_slice())));
    }

    #[test]
    fn quoted_realms_with_commas_and_quotes_are_read_whole() {
        let auth =
            AuthView::parse(b"Digest realm=\"a, \\\"b\\\"\", nonce=\"n\",qop=\"auth,auth-int\"").expect("a challenge");
        assert_eq!(auth.text("realm").as_deref(), Some("a, \"b\""));
        assert_eq!(auth.text("QOP").as_deref(), Some("auth,auth-int"));
    }

    #[test]
    fn huge_delta_seconds_are_the_largest() {
        assert_eq!(seconds(b"99999999999999"), Some(u32::MAX));
        assert_eq!(seconds(b"1800;refresher=uac"), Some(1800));
        assert_eq!(seconds(b"-1"), None);
    }

    #[test]
    fn retry_after_is_read_past_its_comment_and_parameters() {
        assert_eq!(retry_after(b"18000;duration=3600"), Some(18_000));
        assert_eq!(retry_after(b" 120 (I'm in a meeting)"), Some(120));
        assert_eq!((retry_after(b"soon"), retry_after(b""), retry_after(b"99999999999")), (None, None, Some(u32::MAX)));
    }
}
