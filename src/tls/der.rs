//! What we read off a certificate ourselves (X.690, RFC 5280): when it expires and for whom it is. Whether it is genuine is
//! rustls's to say.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;

/// What a certificate says it is for (RFC 5280 §4.2.1.6), as far as names go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Host parts of its `sip:` URIs without a user part, lower case.
    pub sip: Vec<String>,
    /// DNS names, lower case; `*.` may begin one.
    pub dns: Vec<String>,
}

/// The SIP domains that a certificate is for (RFC 5922 §7.1): those of its `sip:` URIs, or, where it has none, its DNS names. No
/// common name is read: authorities have not put names only there for years.
pub fn identities(certificate: &CertificateDer<'_>) -> Vec<String> {
    let names = names(certificate);
    if names.sip.is_empty() { names.dns } else { names.sip }
}

/// When a certificate expires: `tbsCertificate.validity.notAfter` (RFC 5280 §4.1). `None` when it cannot be told.
pub(super) fn expiry(certificate: &[u8]) -> Option<SystemTime> {
    // [0] version (absent in v1), serial, signature, issuer, validity: the third SEQUENCE.
    let (_, validity) = elements(to_be_signed(certificate)?).filter(|(tag, _)| *tag == SEQUENCE).nth(2)?;
    let (tag, text) = elements(validity).nth(1)?;
    moment(tag, std::str::from_utf8(text).ok()?)
}

/// Its subject alternative names; empty when there are none, or what is there is no certificate.
pub(super) fn names(certificate: &[u8]) -> Names {
    const EXTENSIONS: u8 = 0xa3;
    const OCTET_STRING: u8 = 0x04;
    /// id-ce-subjectAltName, 2.5.29.17.
    const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
    let mut names = Names::default();
    let found = (|| {
        let (_, wrapped) = elements(to_be_signed(certificate)?).find(|(tag, _)| *tag == EXTENSIONS)?;
        let (_, extensions) = elements(wrapped).next()?;
        let of = |extension| elements(extension).next().is_some_and(|(_, id)| id == ALTERNATIVE_NAMES);
        let (_, extension) = elements(extensions).find(|(_, extension)| of(extension))?;
        let (_, octets) = elements(extension).find(|(tag, _)| *tag == OCTET_STRING)?;
        elements(octets).next()
    })();
    let Some((_, list)) = found else { return names };
    for (tag, value) in elements(list) {
        let Ok(text) = std::str::from_utf8(value) else { continue };
        let text = text.to_ascii_lowercase();
        match tag {
            // dNSName
            0x82 => names.dns.push(text),
            // uniformResourceIdentifier: a user part makes it a person's, and `sips:` is to be ignored (RFC 5922 §7.1).
            0x86 => {
                if let Some(host) = text.strip_prefix("sip:").filter(|rest| !rest.contains('@')) {
                    let end = host.find([';', '?', ':']).unwrap_or(host.len());
                    names.sip.push(host.get(..end).unwrap_or_default().to_owned());
                }
            }
            _ => {}
        }
    }
    names
}

/// The content of `tbsCertificate`.
fn to_be_signed(certificate: &[u8]) -> Option<&[u8]> {
    let (_, whole, _) = element(certificate)?;
    element(whole).map(|(_, content, _)| content)
}

/// The elements that stand in a row: tag and content.
fn elements(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = element(der)?;
        der = rest;
        Some((tag, content))
    })
}

/// The first DER element: tag, content, what follows it (X.690 §8.1).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let bytes = usize::from(first & 0x7f);
        if bytes == 0 || bytes > 4 {
            return None;
        }
        let (length, rest) = rest.split_at_checked(bytes)?;
        (length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// UTCTime (tag 23, years 1950-2049) or GeneralizedTime (tag 24), both in `Z` with seconds (RFC 5280 §4.1.2.5).
fn moment(tag: u8, text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let (year, at) = match tag {
        0x17 => {
            let year = i32::from(number(0, 2)?);
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        0x18 => (text.get(0..4)?.parse().ok()?, 4),
        _ => return None,
    };
    let month = time::Month::try_from(number(at, at + 2)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, number(at + 2, at + 4)?).ok()?;
    let clock =
        time::Time::from_hms(number(at + 4, at + 6)?, number(at + 6, at + 8)?, number(at + 8, at + 10)?).ok()?;
    Some(date.with_time(clock).assume_utc().into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        assert_eq!(moment(0x17, "250101000000Z"), Some(at(1_735_689_600)));
        assert_eq!(moment(0x18, "20500101000000Z"), Some(at(2_524_608_000)));
        assert_eq!(moment(0x17, "2501"), None);
        assert_eq!(moment(0x17, "251301000000Z"), None);
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_expiry_and_no_names() {
        for bytes in [&[][..], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x02, 0x30, 0x00]] {
            assert_eq!(expiry(bytes), None);
            assert_eq!(names(bytes), Names::default());
        }
    }

    #[test]
    fn sip_uris_beat_dns_names_and_those_with_a_user_or_sips_do_not_count() {
        let text = |text: &str| Ia5String::try_from(text).expect("ASCII");
        let mut params = CertificateParams::new(vec!["Edge.Example.com".to_owned()]).expect("params");
        let key = KeyPair::generate().expect("a key");
        let made = |params: &CertificateParams| params.self_signed(&key).expect("a certificate").der().clone();
        assert_eq!(identities(&made(&params)), ["edge.example.com"]);
        for uri in ["sips:secure.example.com", "sip:alice@example.com", "https://example.com"] {
            params.subject_alt_names.push(SanType::URI(text(uri)));
        }
        assert_eq!(identities(&made(&params)), ["edge.example.com"]);
        params.subject_alt_names.push(SanType::URI(text("sip:Example.com;transport=tls")));
        assert_eq!(identities(&made(&params)), ["example.com"]);
    }
}
