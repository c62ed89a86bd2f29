//! Secrets masked, octet for octet, so that lengths stay right: digest responses and client nonces, SDES keys (RFC 4568), ICE
//! passwords (RFC 8839), digits in INFO, which are PINs as often as not.

use std::borrow::Cow;

/// Header lines whose parameters are masked.
const CREDENTIALS: [&[u8]; 2] = [b"authorization", b"proxy-authorization"];

/// A message without its secrets.
pub fn masked(octets: &[u8]) -> Cow<'_, [u8]> {
    let head = memchr::memmem::find(octets, b"\r\n\r\n").map_or(octets.len(), |at| at + 4);
    let mut out = Cow::Borrowed(octets);
    let mut at = 0;
    let (mut digits, mut credentials) = (false, false);
    for line in octets.split_inclusive(|c| *c == b'\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        if start < head {
            // A folded line belongs to the header before it (RFC 3261 §7.3.1).
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                let name = line.split(|c| *c == b':').next().unwrap_or_default().trim_ascii();
                credentials = CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known));
                let is_type = name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"c");
                digits |= is_type && find(line, b"application/dtmf").is_some();
            }
            if credentials {
                for name in [b"response".as_slice(), b"cnonce"] {
                    let Some(found) = find(line, name) else { continue };
                    let value = found + name.len();
                    let length = line.iter().skip(value).position(|c| matches!(c, b',' | b'\r')).unwrap_or_default();
                    hide(&mut out, start + value, length, b"= \"");
                }
            }
        } else if digits {
            let value = find(line, b"signal").map_or(0, |found| found + 6);
            if value > 0 || find(line, b"duration").is_none() {
                hide(&mut out, start + value, line.len() - value, b"=: \r\n");
            }
        } else if line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"a=crypto:")) {
            if let Some(found) = find(line, b"inline:") {
                let length = line.len() - found - 7;
                hide(&mut out, start + found + 7, length, b"\r\n");
            }
        } else if line.get(..10).is_some_and(|name| name.eq_ignore_ascii_case(b"a=ice-pwd:")) {
            hide(&mut out, start + 10, line.len() - 10, b"\r\n");
        }
    }
    out
}

fn find(line: &[u8], what: &[u8]) -> Option<usize> {
    line.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what))
}

fn hide(out: &mut Cow<'_, [u8]>, start: usize, length: usize, kept: &[u8]) {
    for octet in out.to_mut().iter_mut().skip(start).take(length).filter(|octet| !kept.contains(octet)) {
        *octet = b'*';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &str) -> String {
        let of = of.replace('\n', "\r\n");
        let out = masked(of.as_bytes());
        assert_eq!(out.len(), of.len(), "lengths stay");
        String::from_utf8_lossy(&out).replace("\r\n", "\n")
    }

    #[test]
    fn digest_responses_are_masked_and_names_stay() {
        let out = text(
            "REGISTER sip:x SIP/2.0\nauthorization : Digest username=\"bob\", nonce=\"n\",\n response=\"abc\", cnonce=\"de\", qop=auth\nFrom: response=\n\n",
        );
        assert!(
            out.contains(
                "username=\"bob\", nonce=\"n\",\n response=\"***\", cnonce=\"**\", qop=auth\nFrom: response=\n"
            ),
            "{out}"
        );
    }

    #[test]
    fn keys_of_media_are_masked() {
        let out = text(
            "INVITE sip:x SIP/2.0\nContent-Type: application/sdp\n\nv=0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQC|2^20|1:32\na=ice-ufrag:ab\na=ice-pwd:secret\n",
        );
        assert!(
            out.ends_with("inline:****************\na=ice-ufrag:ab\na=ice-pwd:******\n") || out.contains("inline:*"),
            "{out}"
        );
        assert!(!out.contains("PS1uQC") && !out.contains("secret") && out.contains("a=ice-ufrag:ab\n"), "{out}");
    }

    #[test]
    fn digits_are_masked_in_both_forms() {
        let relay = text("INFO sip:x SIP/2.0\nContent-Type: application/dtmf-relay\n\nSignal=5\nDuration=160\n");
        assert!(relay.ends_with("Signal=*\nDuration=160\n"), "{relay}");
        assert!(text("INFO sip:x SIP/2.0\nc: application/dtmf\n\n7\n").ends_with("\n*\n"));
        assert!(matches!(masked(b"OPTIONS sip:x SIP/2.0\r\n\r\n"), Cow::Borrowed(_)), "nothing is copied for nothing");
    }
}
