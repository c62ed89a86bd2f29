//! `a=crypto` as text (RFC 4568 §9; GCM suites: RFC 7714 §14.3).
//!
//! ```text
//! crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY-AND-SALT|2^20|1:4 WSH=64
//!        tag suite                        base64       lifetime mki:its length, session parameters
//! ```
//! A line that cannot be used is left out, as RFC 4568 §5.1.2 has it: an unknown suite, several master keys, and every session
//! parameter that would take protection away or change the derivation of keys (`UNENCRYPTED_SRTP`, `UNAUTHENTICATED_SRTP`, `KDR`…). A
//! lifetime is the sender's own affair: whoever uses up its key must send a new one.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tandem_actors::model::negotiate::Crypto;
use tandem_actors::model::srtp::{MasterKey, SrtpProfile};
use zeroize::Zeroizing;

/// Some peers leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// RFC 4568 §9.2: a master key identifier has at most 128 octets.
const LONGEST_MKI: usize = 128;

/// Reads the values of all `a=crypto` of a section; of two with one tag, the first (RFC 4568 §5.1.1: tags are unique).
pub(super) fn read<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Crypto> {
    let mut lines: Vec<Crypto> = Vec::new();
    for line in values.filter_map(line) {
        if lines.iter().all(|known| known.tag != line.tag) {
            lines.push(line);
        }
    }
    lines
}

fn line(value: &str) -> Option<Crypto> {
    let mut words = value.split_ascii_whitespace();
    let tag = words.next().filter(|tag| tag.len() <= 9 && is_number(tag))?.parse().ok()?;
    let suite = words.next()?;
    let profile = SrtpProfile::ALL.into_iter().find(|profile| profile.name().eq_ignore_ascii_case(suite))?;
    let (key, mki) = inline(words.next()?, profile)?;
    words.all(is_harmless).then_some(Crypto { tag, profile, key, mki })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 4568 §6.3: a window size hint changes nothing, and what begins with a dash may be left out of account (§6.3.7); anything else
/// must be done as it says, or the line not be taken.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with('-')
        || parameter.split_once('=').is_some_and(|(name, size)| name.eq_ignore_ascii_case("WSH") && is_number(size))
}

fn inline(text: &str, profile: SrtpProfile) -> Option<(MasterKey, Vec<u8>)> {
    let (method, info) = text.split_at_checked("inline:".len())?;
    if !method.eq_ignore_ascii_case("inline:") || info.contains(';') {
        return None;
    }
    let mut parts = info.split('|');
    let octets = Zeroizing::new(BASE64.decode(parts.next()?).ok()?);
    let (key, salt) = octets.split_at_checked(profile.key_len())?;
    let key = MasterKey::from_parts(profile, key, salt)?;
    let mut mki = Vec::new();
    for (n, part) in parts.enumerate() {
        match part.split_once(':') {
            Some((value, length)) if mki.is_empty() => mki = identifier(value, length)?,
            None if n == 0 && is_lifetime(part) => {}
            Some(_) | None => return None,
        }
    }
    Some((key, mki))
}

/// A number of packets, or a power of two.
fn is_lifetime(text: &str) -> bool {
    match text.strip_prefix("2^") {
        Some(power) => power.parse::<u8>().is_ok_and(|power| power <= 48),
        None => is_number(text),
    }
}

/// RFC 4568 §6.1: a decimal number, written in so many octets, big end first.
fn identifier(value: &str, length: &str) -> Option<Vec<u8>> {
    let length = length.parse().ok().filter(|length| (1..=LONGEST_MKI).contains(length))?;
    // Longer ones than a u64 are legal and seen nowhere.
    let value: u64 = value.parse().ok()?;
    let octets = value.to_be_bytes();
    let mut mki = vec![0; length];
    let kept = length.min(octets.len());
    let (cut, rest) = octets.split_at(octets.len() - kept);
    mki.get_mut(length - kept..)?.copy_from_slice(rest);
    cut.iter().all(|octet| *octet == 0).then_some(mki)
}

/// The value of one `a=crypto`.
pub(super) fn write(line: &Crypto) -> String {
    let mut octets = Zeroizing::new(Vec::with_capacity(48));
    octets.extend(line.key.key.iter().take(line.profile.key_len()));
    octets.extend(line.key.salt.iter().take(line.profile.salt_len()));
    let key = Zeroizing::new(BASE64.encode(&octets));
    let mut text = format!("{} {} inline:{}", line.tag, line.profile.name(), *key);
    if !line.mki.is_empty() {
        // As it was read; ours have none.
        let value = line.mki.iter().fold(0u64, |value, octet| value << 8 | u64::from(*octet));
        let _ = write!(text, "|{value}:{}", line.mki.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 16 + 14 octets.
    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn one(text: &str) -> Option<Crypto> {
        read([text].into_iter()).pop()
    }

    #[test]
    fn the_examples_of_rfc_4568_are_read() {
        let line = one(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:32")).expect("usable");
        assert_eq!((line.tag, line.profile), (1, SrtpProfile::AesCm128HmacSha1_80));
        assert_eq!((line.mki.len(), line.mki.last()), (32, Some(&1)));
        assert_eq!((&line.key.key[..16], &line.key.salt), (&b"wDfvg&T+)xG7@fb5"[..], b"jU,RaA}\\|p0%*#"));
        for rest in ["", "|2^20", "|1048576", "|1:4", "|2^48|18446744073709551615:8", " WSH=64", " -X=1"] {
            assert!(one(&format!("999999999 aes_cm_128_hmac_sha1_32 INLINE:{KEY}{rest}")).is_some(), "{rest}");
        }
        let gcm = BASE64.encode([7; 28]);
        for gcm in [gcm.as_str(), gcm.trim_end_matches('=')] {
            let line = one(&format!("2 AEAD_AES_128_GCM inline:{gcm}")).expect("padded or not");
            assert_eq!((line.key.key[15], line.key.salt[11], line.key.salt[12]), (7, 7, 0));
        }
    }

    #[test]
    fn lines_that_would_weaken_or_change_the_protection_are_left_out() {
        for bad in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTCP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} FEC_ORDER=FEC_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} NEW_AND_MANDATORY"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}|2^20|2:4"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 clear:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", &KEY[..38]),
            format!("1 AEAD_AES_256_GCM inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|256:1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:129"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4|x"),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            "1 AES_CM_128_HMAC_SHA1_80".to_owned(),
            String::new(),
        ] {
            assert_eq!(one(&bad), None, "{bad}");
        }
    }

    #[test]
    fn of_two_lines_with_one_tag_the_first_counts() {
        let first = format!("1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}");
        let second = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let lines = read([first.as_str(), second.as_str()].into_iter());
        assert_eq!(lines.iter().map(|line| line.profile).collect::<Vec<_>>(), [SrtpProfile::AesCm128HmacSha1_32]);
    }

    proptest! {
        #[test]
        fn what_we_write_we_read_back(tag in 0u32..1_000_000_000, which in 0usize..4, mki in 0u64.., long in 0usize..20) {
            let profile = SrtpProfile::ALL[which];
            let key = MasterKey::random(profile);
            let mki = if long < 8 { Vec::new() } else { [vec![0; long - 8], mki.to_be_bytes().to_vec()].concat() };
            let line = Crypto { tag, profile, key, mki };
            prop_assert_eq!(one(&write(&line)), Some(line));
        }

        #[test]
        fn any_value_is_read_or_left_out(text in "[ -~]{0,80}") {
            let _ = one(&text);
        }
    }
}
