//! Digest authentication, both sides (RFC 7616, RFC 8760, RFC 3261 §22).
//!
//! Passwords are never kept for subscribers: only HA1 = H(user:realm:password), one a hash function, by a [`Credentials`] that
//! answers from memory. [`guard`] is the side that challenges, [`client`] the one that answers a trunk.
//!
//! Implemented: MD5, SHA-256 and SHA-512-256, their `-sess` variants, `qop` auth and auth-int, the form of RFC 2069 without
//! `qop`, several challenges and realms, `stale`, Authentication-Info with `rspauth` and `nextnonce`; as a client `userhash`.
//! Deliberately not: `userhash` offered as a server (From and To name the user in the clear beside it, and finding a user by
//! a hash would need a second table); `domain` (RFC 3261 §22.4 has no use for it); Basic (RFC 3261 §22); nonces of a trunk used
//! again with a higher count (many carriers count nonces once, so a call would be refused to save a round trip).

pub mod client;
pub mod guard;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

pub use client::{Account, Answer, answers};
pub use guard::{Guard, Judgement, Terms, Verdict};

/// Hash functions of digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// RFC 2617; what most phones know.
    Md5,
    /// RFC 7616.
    Sha256,
    /// SHA-512/256 of FIPS 180-4 (RFC 7616, whose own example is mended by erratum 4897).
    Sha512t256,
}

impl DigestAlgorithm {
    fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => hash_of::<Md5>(parts),
            Self::Sha256 => hash_of::<Sha256>(parts),
            Self::Sha512t256 => hash_of::<Sha512_256>(parts),
        }
    }

    /// HA1 in lower-case hexadecimal: all that has to be kept of a password.
    pub fn ha1(self, user: &str, realm: &str, password: &str) -> String {
        self.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()])
    }
}

/// One way to prove a password, as `algorithm=` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DigestOffer {
    /// The hash function.
    pub algorithm: DigestAlgorithm,
    /// `-sess`: HA1 is hashed once more with the nonces (RFC 7616 §3.4.2).
    pub session: bool,
}

impl From<DigestAlgorithm> for DigestOffer {
    fn from(algorithm: DigestAlgorithm) -> Self {
        Self { algorithm, session: false }
    }
}

impl DigestOffer {
    /// As `algorithm=` spells it.
    pub fn name(self) -> &'static str {
        match (self.algorithm, self.session) {
            (DigestAlgorithm::Md5, false) => "MD5",
            (DigestAlgorithm::Md5, true) => "MD5-sess",
            (DigestAlgorithm::Sha256, false) => "SHA-256",
            (DigestAlgorithm::Sha256, true) => "SHA-256-sess",
            (DigestAlgorithm::Sha512t256, false) => "SHA-512-256",
            (DigestAlgorithm::Sha512t256, true) => "SHA-512-256-sess",
        }
    }

    /// What an `algorithm=` means; none is MD5 (RFC 7616 §3.3). `None` for one we do not know.
    pub fn of(name: Option<&str>) -> Option<Self> {
        let Some(name) = name else { return Some(DigestAlgorithm::Md5.into()) };
        [DigestAlgorithm::Md5, DigestAlgorithm::Sha256, DigestAlgorithm::Sha512t256]
            .into_iter()
            .flat_map(|algorithm| [false, true].map(|session| Self { algorithm, session }))
            .find(|offer| offer.name().eq_ignore_ascii_case(name))
    }
}

fn hash_of<H: Digest>(parts: &[&[u8]]) -> String {
    let mut hash = H::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn hex(octets: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    octets.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 15)]).collect()
}

/// Where HA1s come from. Answers from memory: it is asked on the receive path.
pub trait Credentials: Send + Sync + 'static {
    /// H(subscriber:realm:password) in lower-case hexadecimal; `None` for an unknown subscriber, or one without this
    /// algorithm's hash.
    fn ha1(&self, subscriber: &str, realm: &str, algorithm: DigestAlgorithm) -> Option<String>;
}

/// A request, as far as its digest covers it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method's token.
    pub method: &'a [u8],
    /// The Request-URI.
    pub uri: &'a [u8],
    /// The body, for auth-int.
    pub body: &'a [u8],
}

/// Quality of protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qop {
    /// Method and URI.
    Auth,
    /// The body as well.
    AuthInt,
}

impl Qop {
    fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

/// What `qop` adds to the hash.
#[derive(Debug, Clone, Copy)]
struct Counted<'a> {
    nc: &'a str,
    cnonce: &'a str,
    qop: Qop,
}

/// request-digest (RFC 7616 §3.4.1); without `qop` the form of RFC 2069. `asked.uri` is taken as the octets stood in the
/// header; an empty method gives `rspauth` (§3.5).
fn response(
    offer: DigestOffer,
    ha1: &str,
    nonce: &str,
    counted: Option<Counted<'_>>,
    Asked { method, uri, body }: Asked<'_>,
) -> String {
    let algorithm = offer.algorithm;
    let session;
    let ha1 = match counted {
        Some(counted) if offer.session => {
            session = algorithm.hash(&[ha1.as_bytes(), nonce.as_bytes(), counted.cnonce.as_bytes()]);
            &session
        }
        Some(_) | None => ha1,
    };
    let ha2 = match counted.map(|counted| counted.qop) {
        Some(Qop::AuthInt) => algorithm.hash(&[method, uri, algorithm.hash(&[body]).as_bytes()]),
        Some(Qop::Auth) | None => algorithm.hash(&[method, uri]),
    };
    match counted {
        Some(Counted { nc, cnonce, qop }) => algorithm.hash(&[
            ha1.as_bytes(),
            nonce.as_bytes(),
            nc.as_bytes(),
            cnonce.as_bytes(),
            qop.name().as_bytes(),
            ha2.as_bytes(),
        ]),
        None => algorithm.hash(&[ha1.as_bytes(), nonce.as_bytes(), ha2.as_bytes()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTH: Qop = Qop::Auth;

    #[test]
    fn the_vectors_of_rfc_7616_come_out() {
        // RFC 7616 §3.9.1
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let counted =
            Some(Counted { nc: "00000001", cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop: AUTH });
        let asked = Asked { method: b"GET", uri: b"/dir/index.html", body: b"" };
        for (algorithm, expected) in [
            (DigestAlgorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (DigestAlgorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = algorithm.ha1("Mufasa", "http-auth@example.org", "Circle of Life");
            assert_eq!(response(algorithm.into(), &ha1, nonce, counted, asked), expected);
        }
    }

    #[test]
    fn the_vector_of_rfc_7616_for_sha_512_256_comes_out_as_its_erratum_has_it() {
        // RFC 7616 §3.9.2 with erratum 4897: the example was made with a truncated SHA-512, which is another function.
        let algorithm = DigestAlgorithm::Sha512t256;
        let (user, realm) = ("J\u{e4}s\u{f8}n Doe", "api@example.org");
        let hashed = algorithm.hash(&[user.as_bytes(), realm.as_bytes()]);
        assert_eq!(hashed, "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b");
        let counted =
            Some(Counted { nc: "00000001", cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v", qop: AUTH });
        let ha1 = algorithm.ha1(user, realm, "Secret, or not?");
        let asked = Asked { method: b"GET", uri: b"/doe.json", body: b"" };
        assert_eq!(
            response(algorithm.into(), &ha1, "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", counted, asked),
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
        );
    }

    #[test]
    fn the_vector_of_rfc_2617_comes_out() {
        let ha1 = DigestAlgorithm::Md5.ha1("Mufasa", "testrealm@host.com", "Circle Of Life");
        let counted = Some(Counted { nc: "00000001", cnonce: "0a4f113b", qop: AUTH });
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let asked = Asked { method: b"GET", uri: b"/dir/index.html", body: b"" };
        assert_eq!(
            response(DigestAlgorithm::Md5.into(), &ha1, nonce, counted, asked),
            "6629fae49393a05397450978507c4ef1"
        );
    }

    #[test]
    fn algorithms_are_named_as_rfc_7616_and_8760_do_in_any_case() {
        for name in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
            assert_eq!(DigestOffer::of(Some(name)).map(DigestOffer::name), Some(name));
            assert_eq!(DigestOffer::of(Some(&name.to_lowercase())).map(DigestOffer::name), Some(name));
        }
        assert_eq!(DigestOffer::of(None), Some(DigestAlgorithm::Md5.into()), "RFC 7616 §3.3: none is MD5");
        assert_eq!(DigestOffer::of(Some("AKAv1-MD5")), None);
    }
}
