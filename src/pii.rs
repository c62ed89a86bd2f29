//! Redaction of personal data in logs. At info level a number, a URI or a token is written through [`Masked`]: enough to tell
//! two callers apart in one log, too little to call them or to log in as them. Debug level may write them whole.

use std::fmt;

/// Prints a masked form: `sip:…67@example.com`, `…67`, `a…`, `…(212 characters)`.
///
/// The host of a URI stays, for it says which network a call came from; a URI whose user is a number keeps two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked<'a>(pub &'a str);

/// What is longer than this and no URI is taken for a token.
const LONGEST_NAME: usize = 32;

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self
            .0
            .split_once(':')
            .filter(|(scheme, _)| ["sip", "sips", "tel"].iter().any(|known| scheme.eq_ignore_ascii_case(known)));
        match uri {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((user, host)) => {
                    write!(f, "{scheme}:")?;
                    // A password (`user:password@`) and parameters of the user part are dropped whole.
                    name(user.split([':', ';']).next().unwrap_or_default(), f)?;
                    // As are parameters and headers of the URI, which may name people too.
                    write!(f, "@{}", host.split([';', '?', '>']).next().unwrap_or_default())
                }
                None if scheme.eq_ignore_ascii_case("tel") => {
                    write!(f, "{scheme}:")?;
                    name(rest.split(';').next().unwrap_or_default(), f)
                }
                None => write!(f, "{scheme}:{}", rest.split([';', '?', '>']).next().unwrap_or_default()),
            },
            None => name(self.0, f),
        }
    }
}

/// A number keeps its last two digits, a name its first letter, a token its length.
fn name(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let letters = text.chars().count();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    if letters > LONGEST_NAME {
        return write!(f, "…({letters} characters)");
    }
    // Short numbers are extensions and services: two digits of three would tell all.
    if digits >= 5 && digits * 2 > letters {
        let last: String = text.chars().filter(char::is_ascii_digit).skip(digits - 2).collect();
        return write!(f, "…{last}");
    }
    match text.chars().next() {
        Some(first) => write!(f, "{first}…"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_uris_and_tokens_are_masked() {
        for (whole, masked) in [
            ("+4930123467", "…67"),
            ("1001", "1…"),
            ("alice", "a…"),
            ("sip:+4930123467;npdi@gw.example.com:5060;user=phone", "sip:…67@gw.example.com:5060"),
            ("sip:alice:secret@example.com", "sip:a…@example.com"),
            ("SIP:example.com;x=alice", "SIP:example.com"),
            ("tel:+4930123467;phone-context=x", "tel:…67"),
            ("", ""),
            ("élise", "é…"),
        ] {
            assert_eq!(Masked(whole).to_string(), masked, "{whole}");
        }
        assert_eq!(Masked(&"x".repeat(212)).to_string(), "…(212 characters)");
    }

    #[test]
    fn nothing_longer_than_its_first_letter_or_two_digits_survives() {
        for whole in ["sip:4930123467@h", "4930123467", "bartholomew", "sip:bartholomew@h"] {
            let masked = Masked(whole).to_string();
            assert!(!masked.contains("49301") && !masked.contains("bart"), "{masked}");
        }
    }
}
