//! URIs as the core reads them (RFC 3261 §19.1, RFC 3966 as an opaque scheme, RFC 5118 for IPv6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::view;

/// A URI's parts, borrowed. For schemes other than sip and sips only the scheme and the opaque part are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// Scheme as spelled.
    pub scheme: &'a [u8],
    /// User part with password and escapes, undecoded.
    pub user: Option<&'a [u8]>,
    /// Host; an IPv6 reference keeps its brackets.
    pub host: &'a [u8],
    /// Port, where given.
    pub port: Option<u16>,
    /// URI parameters without the leading `;`.
    pub parameters: &'a [u8],
    /// What follows `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI; `None` when it is malformed.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = view::cut(text, b':')?;
        let (first, others) = scheme.split_first()?;
        let scheme_ok = first.is_ascii_alphabetic()
            && others.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'));
        if !scheme_ok || rest.is_empty() || rest.iter().any(|c| *c <= b' ' || matches!(c, b'<' | b'>' | b'"')) {
            return None;
        }
        let empty: &[u8] = b"";
        if !(scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips")) {
            return Some(Self { scheme, user: None, host: empty, port: None, parameters: empty, headers: empty });
        }
        let (user, rest) = match view::cut(rest, b'@') {
            Some((user, rest)) if !user.is_empty() && user.iter().all(user_octet) && escapes_ok(user) => {
                (Some(user), rest)
            }
            Some(_) => return None,
            None => (None, rest),
        };
        let (rest, headers) = view::cut(rest, b'?').unwrap_or((rest, empty));
        let (host_port, parameters) = match view::cut(rest, b';') {
            Some((_, [])) => return None,
            Some(parts) => parts,
            None => (rest, empty),
        };
        if !parameters.is_empty() && !parameters.split(|c| *c == b';').all(parameter_ok) {
            return None;
        }
        let (host, port) = host_port_of(host_port)?;
        Some(Self { scheme, user, host, port, parameters, headers })
    }

    /// Whether it is sip or sips.
    pub fn is_sip(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"sip") || self.scheme.eq_ignore_ascii_case(b"sips")
    }

    /// A parameter's value (empty where it has none); `None` when absent.
    pub fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        if self.parameters.is_empty() { None } else { view::parameter(self.parameters, name) }
    }

    /// The host as an address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }
}

/// An IPv4 address, or an IPv6 one with or without brackets.
pub fn host_ip(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    match text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => ipv6(inner).map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok().or_else(|| text.parse().map(IpAddr::V6).ok()),
    }
}

/// RFC 5118 §4.10: three colons before an embedded IPv4 address are tolerated, as old grammars produced them.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| {
        let (head, tail) = text.split_once(":::")?;
        if tail.contains('.') { format!("{head}::{tail}").parse().ok() } else { None }
    })
}

/// `%` escapes decoded, for comparison (RFC 3261 §19.1.4).
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high).zip(digit(low)).map(|(high, low)| (high * 16 + low, after))
            }
            _ => None,
        };
        let (octet, after) = escaped.unwrap_or((*first, tail));
        octets.push(octet);
        rest = after;
    }
    octets
}

/// `host[:port]` of a URI or a Via.
pub fn host_port_of(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, rest) = if text.first() == Some(&b'[') {
        let end = memchr::memchr(b']', text)? + 1;
        let host = text.get(..end)?;
        host_ip(host)?;
        (host, text.get(end..)?)
    } else {
        let end = memchr::memchr(b':', text).unwrap_or(text.len());
        let host = super::trim(text.get(..end)?);
        let name = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        if host.is_empty() || !host.iter().all(name) {
            return None;
        }
        (host, text.get(end..)?)
    };
    let port = match super::trim(rest) {
        [] => None,
        [b':', digits @ ..] => Some(u16::try_from(view::number(super::trim(digits), 65535)?).ok()?),
        _ => return None,
    };
    Some((host, port))
}

fn user_octet(c: &u8) -> bool {
    c.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%:#[]".contains(c)
}

fn parameter_ok(text: &[u8]) -> bool {
    let octet = |c: &u8| c.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$%@\"".contains(c);
    let (name, value) = view::cut(text, b'=').unwrap_or((text, b"x"));
    !name.is_empty()
        && !value.is_empty()
        && name.iter().all(octet)
        && value.iter().all(octet)
        && escapes_ok(name)
        && escapes_ok(value)
}

fn escapes_ok(text: &[u8]) -> bool {
    text.iter()
        .enumerate()
        .filter(|(_, c)| **c == b'%')
        .all(|(at, _)| text.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// Text made fit for a user part: octets that must be are `%`-escaped (RFC 3261 §25.1 `user`).
pub fn escape_user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_for_comparison_only() {
        assert_eq!(unescape(b"j%6Fe%"), b"joe%");
    }

    #[test]
    fn a_dotted_user_is_a_user() {
        let uri = Uri::parse(b"sip:john.doe@example.com").expect("a URI");
        assert_eq!((uri.user, uri.host, uri.port), (Some(b"john.doe".as_slice()), b"example.com".as_slice(), None));
    }

    #[test]
    fn number_portability_parameters_stay_in_the_user() {
        let uri = Uri::parse(b"sip:+12125551212;npdi;rn=+12129999@gw.example.com:5070;user=phone").expect("a URI");
        assert_eq!(uri.user, Some(b"+12125551212;npdi;rn=+12129999".as_slice()));
        assert_eq!((uri.port, uri.parameter("USER")), (Some(5070), Some(b"phone".as_slice())));
    }

    #[test]
    fn ipv6_references_keep_their_port() {
        let uri = Uri::parse(b"sip:[2001:db8::1]:5070;lr").expect("a URI");
        assert_eq!((uri.ip(), uri.port), ("2001:db8::1".parse().ok(), Some(5070)));
        assert!(uri.parameter("lr").is_some());
        assert!(Uri::parse(b"sip:[2001:db8::192.0.2.1]").is_some());
        assert!(Uri::parse(b"sip:[2001:db8:::192.0.2.1]").is_some());
        assert!(Uri::parse(b"sip:[nonsense]").is_none());
    }

    #[test]
    fn other_schemes_are_opaque_and_broken_ones_refused() {
        assert!(Uri::parse(b"tel:+15551234567").is_some_and(|uri| !uri.is_sip()));
        assert!(Uri::parse(b"sip:a@b:99999").is_none());
        assert!(Uri::parse(b"sip:a%4@b").is_none());
        assert!(Uri::parse(b"sip:").is_none());
        assert!(Uri::parse(b"nothing").is_none());
    }

    #[test]
    fn a_user_part_cannot_carry_a_header() {
        assert_eq!(escape_user("1001\r\nX: y@z"), "1001%0D%0AX%3A%20y%40z");
    }
}
