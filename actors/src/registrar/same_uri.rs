//! RFC 3261 §19.1.4: whether two SIP URIs are the same. Pure.

use crate::model::address::SipUri;

/// Parameters that are compared even where only one of the two has them.
const TELLING: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

/// Whether both name the same. URIs that are none of SIP's are the same where they are written alike.
pub fn same_uri(a: &SipUri, b: &SipUri) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (Parts::of(&a.0), Parts::of(&b.0)) else { return false };
    let shared = a.parameters.iter().all(|(name, value)| b.parameter(name).is_none_or(|other| other == value));
    a.scheme == b.scheme
        && a.user == b.user
        && a.host_port == b.host_port
        && a.headers == b.headers
        && shared
        && TELLING.into_iter().all(|name| a.parameter(name) == b.parameter(name))
}

struct Parts {
    scheme: String,
    /// With the password, both of which have case.
    user: Option<String>,
    host_port: String,
    parameters: Vec<(String, String)>,
    /// In order of their names.
    headers: Vec<(String, String)>,
}

impl Parts {
    fn of(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        // A user part may have parameters of its own, and a `?`; those after the host are the URI's.
        let (user, rest) = rest.split_once('@').map_or((None, rest), |(user, rest)| (Some(plain(user)), rest));
        let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = rest.split(';');
        let host_port = parts.next()?.to_ascii_lowercase();
        let parameters = parts.map(pair).map(|(name, value)| (name, value.to_ascii_lowercase())).collect();
        let mut headers: Vec<_> = headers.split('&').filter(|header| !header.is_empty()).map(pair).collect();
        headers.sort();
        Some(Self { scheme: scheme.to_ascii_lowercase(), user, host_port, parameters, headers })
    }

    fn parameter(&self, name: &str) -> Option<&String> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

fn pair(item: &str) -> (String, String) {
    let (name, value) = item.split_once('=').unwrap_or((item, ""));
    (plain(name).to_ascii_lowercase(), plain(value))
}

/// With every escape decoded that means what it stands for: reserved characters differ from their escapes.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let octet = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match octet {
            Some(octet) => {
                let c = char::from(octet);
                if octet.is_ascii_graphic() && !";/?:@&=+$,%".contains(c) {
                    out.push(c);
                } else {
                    out.push_str(&format!("%{octet:02X}"));
                }
                after.get(2..).unwrap_or_default()
            }
            None => {
                out.push('%');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let (a, b) = (SipUri(a.into()), SipUri(b.into()));
        assert_eq!(same_uri(&a, &b), same_uri(&b, &a), "{a:?} {b:?}");
        same_uri(&a, &b)
    }

    #[test]
    fn the_equal_uris_of_rfc_3261_19_1_4_are_the_same() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn the_unequal_uris_of_rfc_3261_19_1_4_differ() {
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:a%40b@h", "sip:a@b@h"),
            ("sip:a@h", "sips:a@h"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
