//! Telephone numbers in URIs: `tel:` (RFC 3966), and `sip:` URIs whose user part is a number (RFC 3261 §19.1.1 `user=phone`).
//!
//! The brain sees a number without visual separators (RFC 3966 §5.1.1), and a local number whose context is the beginning of a
//! global one as that global number (§5.1.5). What else a URI says of a number (`isub`, `ext`, `postd`) is of no use here.

use std::borrow::Cow;

use tandem_actors::model::address::Portability;

use super::uri::{Uri, unescape};

/// The opaque part of a `tel:` URI.
fn tel_part(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    scheme.eq_ignore_ascii_case("tel").then_some(rest)
}

/// A URI that names a number, with the number as the brain knows it; any other as it is.
pub fn canonical(uri: &str) -> String {
    if let Some(rest) = tel_part(uri) {
        return format!("tel:{}", subscriber(rest));
    }
    let parts = || {
        let parsed = Uri::parse(uri.as_bytes()).filter(Uri::is_sip)?;
        let user = String::from_utf8(unescape(parsed.user?)).ok()?;
        let said = parsed.parameter("user").is_some_and(|user| user.eq_ignore_ascii_case(b"phone"));
        (said || user.starts_with('+')).then(|| subscriber(&user).into_owned())
    };
    match (parts(), uri.split_once(':'), uri.split_once('@')) {
        (Some(number), Some((scheme, _)), Some((_, host))) => format!("{scheme}:{number}@{host}"),
        _ => uri.to_owned(),
    }
}

/// The number of a telephone-subscriber.
fn subscriber(text: &str) -> Cow<'_, str> {
    let (number, parameters) = text.split_once(';').unwrap_or((text, ""));
    let Some(number) = bare(number) else { return Cow::Borrowed(number) };
    let context = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("phone-context").then_some(value)
    });
    match context.filter(|context| context.starts_with('+') && !number.starts_with('+')).and_then(bare) {
        Some(context) => Cow::Owned(format!("{context}{number}")),
        None => Cow::Owned(number),
    }
}

/// Digits, and what local numbers have beside them; `None` for anything that is no number.
fn bare(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect();
    let local = kept.strip_prefix('+').unwrap_or(&kept);
    let ok = local.bytes().any(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#'))
        && local.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#'));
    ok.then_some(kept)
}

/// Where a ported number is (RFC 4694), as a Request-URI says.
pub fn portability(uri: &str) -> Option<Portability> {
    let user = match tel_part(uri) {
        Some(rest) => rest,
        None => uri.split_once(':')?.1.split_once('@')?.0,
    };
    let parameters: String = user
        .split(';')
        .skip(1)
        .filter(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            ["npdi", "rn", "rn-context", "cic", "cic-context"].iter().any(|known| known.eq_ignore_ascii_case(name))
        })
        .map(|parameter| format!(";{parameter}"))
        .collect();
    (!parameters.is_empty()).then(|| Portability { number: subscriber(user).into_owned(), parameters })
}

/// The `tel:` URI of a number; of a local one with the context it is valid in (RFC 3966 §5.1.5: it must have one). `None` where it
/// is no number.
pub fn tel(number: &str, context: &str) -> Option<String> {
    let number = bare(number)?;
    Some(if number.starts_with('+') {
        format!("tel:{number}")
    } else {
        format!("tel:{number};phone-context={context}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visual_separators_are_ignored() {
        assert_eq!(canonical("tel:+1-201-555-0123"), "tel:+12015550123");
        assert_eq!(canonical("TEL:(030).1234;phone-context=example.com"), "tel:0301234");
        assert_eq!(canonical("sip:+1-201-555-0123@gw;user=phone"), "sip:+12015550123@gw;user=phone");
        assert_eq!(canonical("sip:%2B4930123@gw"), "sip:+4930123@gw");
    }

    #[test]
    fn a_local_number_in_a_global_context_is_a_global_number() {
        assert_eq!(canonical("tel:7042;phone-context=+1-914-555"), "tel:+19145557042");
        assert_eq!(canonical("sip:7042;phone-context=+1914555@gw;user=phone"), "sip:+19145557042@gw;user=phone");
        assert_eq!(canonical("tel:+86138;phone-context=+1"), "tel:+86138", "a global one has none");
    }

    #[test]
    fn what_is_no_number_is_left_alone() {
        for uri in ["sip:john-doe@example.com", "sip:1-2@example.com", "sip:example.com", "tel:alice", "urn:x:y"] {
            assert_eq!(canonical(uri), uri);
        }
    }

    #[test]
    fn portability_is_said_behind_the_number() {
        let ported = portability("sip:+1-212;npdi;rn=+1-999;foo=1@gw;user=phone").expect("portability");
        assert_eq!((ported.number.as_str(), ported.parameters.as_str()), ("+1212", ";npdi;rn=+1-999"));
        let ported = portability("tel:+1212;cic=+1-6789").expect("portability");
        assert_eq!(ported.parameters, ";cic=+1-6789");
        assert_eq!(portability("sip:+1212@gw;rn=1"), None, "a parameter of the URI is another thing");
    }

    #[test]
    fn a_local_number_is_written_with_its_context() {
        assert_eq!(tel("+4930123", "+49").as_deref(), Some("tel:+4930123"));
        assert_eq!(tel("1001", "example.com").as_deref(), Some("tel:1001;phone-context=example.com"));
        assert_eq!(tel("alice", "example.com"), None);
    }
}
