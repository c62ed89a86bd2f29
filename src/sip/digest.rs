//! Digest authentication, both sides (RFC 7616, RFC 8760, RFC 3261 §22).
//!
//! Passwords are never kept for subscribers: only HA1 = H(user:realm:password), by a [`Credentials`] that answers from memory.
//! Nonces are stateless (a time and an HMAC); the only state is the replay window of nonces in use. auth-int and the `-sess`
//! variants are not offered, and not chosen.

use std::collections::HashMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::message::view::AuthView;
use super::message::write::quoted;

/// Hash functions of digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// RFC 2617; what most phones know.
    Md5,
    /// RFC 7616.
    Sha256,
}

impl DigestAlgorithm {
    /// As `algorithm=` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn of(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => hash_of::<Md5>(parts),
            Self::Sha256 => hash_of::<Sha256>(parts),
        }
    }

    /// HA1 in lower-case hexadecimal: all that has to be kept of a password.
    pub fn ha1(self, user: &str, realm: &str, password: &str) -> String {
        self.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()])
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

/// request-digest (RFC 7616 §3.4.1); without `qop` the form of RFC 2069. `uri` is taken as the octets stood in the header.
fn response(
    algorithm: DigestAlgorithm,
    ha1: &str,
    nonce: &str,
    counted: Option<(&str, &str)>,
    method: &str,
    uri: &[u8],
) -> String {
    let ha2 = algorithm.hash(&[method.as_bytes(), uri]);
    match counted {
        Some((nc, cnonce)) => algorithm.hash(&[
            ha1.as_bytes(),
            nonce.as_bytes(),
            nc.as_bytes(),
            cnonce.as_bytes(),
            b"auth",
            ha2.as_bytes(),
        ]),
        None => algorithm.hash(&[ha1.as_bytes(), nonce.as_bytes(), ha2.as_bytes()]),
    }
}

/// How long a nonce is good for.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Most nonces whose counters are remembered. // overflow: new nonces are answered `stale` until old ones expire
const MAX_NONCES: usize = 65_536;

/// The server side: makes challenges and judges answers.
#[derive(Debug)]
pub struct Guard {
    realm: String,
    algorithms: Vec<DigestAlgorithm>,
    key: [u8; 32],
    began: Instant,
    used: HashMap<u64, Window>,
}

/// Which nonce counts have been seen: the highest, and the 64 below it.
#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u32,
    seen: u64,
    expires: Instant,
}

impl Window {
    /// Whether this count is new; marks it.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = if ahead >= 64 { 0 } else { self.seen << ahead };
            self.seen |= 1;
            self.highest = count;
            return true;
        }
        let bit = 1u64.checked_shl(self.highest - count).unwrap_or(0);
        let fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

/// What an Authorization header proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This subscriber knows the password.
    Proved(String),
    /// The digest is right, but the nonce is too old or was used: challenge again with `stale=true`.
    Stale,
    /// There is no answer to a challenge of ours.
    Absent,
    /// Wrong user, password, realm or form.
    Wrong,
}

impl Guard {
    /// A guard with a fresh nonce key: nonces of an earlier run are stale.
    pub fn new(realm: String, algorithms: Vec<DigestAlgorithm>, now: Instant) -> Self {
        Self { realm, algorithms, key: rand::random(), began: now, used: HashMap::new() }
    }

    /// WWW-Authenticate values, one an algorithm, in order of preference (RFC 8760 §2.3).
    pub fn challenges(&self, stale: bool, now: Instant) -> Vec<String> {
        let nonce = self.nonce(now);
        let stale = if stale { ",stale=true" } else { "" };
        self.algorithms
            .iter()
            .map(|algorithm| {
                format!(
                    "Digest realm={},nonce=\"{nonce}\",qop=\"auth\",algorithm={}{stale}",
                    quoted(&self.realm),
                    algorithm.name()
                )
            })
            .collect()
    }

    fn nonce(&self, now: Instant) -> String {
        let stamp = format!("{:012x}{:08x}", now.duration_since(self.began).as_millis(), rand::random::<u32>());
        let seal = self.seal(&stamp);
        stamp + &seal
    }

    fn seal(&self, stamp: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(stamp.as_bytes());
        mac.update(self.realm.as_bytes());
        hex(mac.finalize().into_bytes().get(..16).unwrap_or_default())
    }

    /// When a nonce of ours expires; `None` when it is not of ours.
    fn expiry(&self, nonce: &str) -> Option<Instant> {
        let (stamp, seal) = nonce.split_at_checked(20)?;
        let ours = self.seal(stamp);
        if !bool::from(ours.as_bytes().ct_eq(seal.as_bytes())) {
            return None;
        }
        let millis = u64::from_str_radix(stamp.get(..12)?, 16).ok()?;
        self.began.checked_add(Duration::from_millis(millis) + NONCE_LIFETIME)
    }

    /// Judges an Authorization value.
    pub fn judge(
        &mut self,
        value: Option<&[u8]>,
        method: &str,
        credentials: &dyn Credentials,
        now: Instant,
    ) -> Verdict {
        let Some(auth) = value.and_then(AuthView::parse) else { return Verdict::Absent };
        let algorithm = DigestAlgorithm::of(auth.text("algorithm").as_deref());
        let algorithm = algorithm.filter(|algorithm| self.algorithms.contains(algorithm));
        let digest = auth.scheme.eq_ignore_ascii_case(b"Digest");
        let (Some(algorithm), true) = (algorithm, digest) else { return Verdict::Wrong };
        let fields = (auth.text("username"), auth.text("realm"), auth.text("nonce"), auth.text("response"));
        let (Some(user), Some(realm), Some(nonce), Some(answer)) = fields else { return Verdict::Wrong };
        let Some(uri) = auth.get("uri") else { return Verdict::Wrong };
        if realm != self.realm {
            // An answer to somebody else's challenge, left in by a client that talks to several servers.
            return Verdict::Absent;
        }
        let qop = auth.text("qop");
        let counted = match qop.as_deref() {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let (Some(nc), Some(cnonce)) = (auth.text("nc"), auth.text("cnonce")) else { return Verdict::Wrong };
                Some((nc, cnonce))
            }
            Some(_) => return Verdict::Wrong,
        };
        // An unknown user costs the same hashing as a known one.
        let known = credentials.ha1(&user, &realm, algorithm);
        let ha1 = known.as_deref().unwrap_or("0123456789abcdef0123456789abcdef");
        let parts = counted.as_ref().map(|(nc, cnonce)| (nc.as_str(), cnonce.as_str()));
        let right = response(algorithm, ha1, &nonce, parts, method, &uri);
        let same = bool::from(right.as_bytes().ct_eq(answer.to_ascii_lowercase().as_bytes()));
        if known.is_none() || !same {
            return Verdict::Wrong;
        }
        // Without qop there is no counter: such a nonce is good once.
        let count = match &counted {
            Some((nc, _)) if nc.len() <= 8 => u32::from_str_radix(nc, 16).ok(),
            Some(_) => None,
            None => Some(1),
        };
        let (Some(count), Some(expires)) = (count, self.expiry(&nonce)) else { return Verdict::Stale };
        if now >= expires {
            return Verdict::Stale;
        }
        if self.used.len() >= MAX_NONCES {
            self.used.retain(|_, window| window.expires > now);
        }
        let id = nonce.get(..20).and_then(|stamp| u64::from_str_radix(stamp.get(4..)?, 16).ok()).unwrap_or(0);
        if self.used.len() >= MAX_NONCES && !self.used.contains_key(&id) {
            return Verdict::Stale;
        }
        let window = self.used.entry(id).or_insert(Window { highest: 0, seen: 0, expires });
        if window.take(count) { Verdict::Proved(user) } else { Verdict::Stale }
    }
}

/// Our side of a challenge by a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Digest user name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Only this realm is answered, where set.
    pub realm: Option<String>,
}

/// Answers the top-most challenge we can (RFC 8760 §2.4), with nonce count 1 and a fresh cnonce. `None` when there is none,
/// or its realm is not the account's.
pub fn answer<'a>(
    challenges: impl Iterator<Item = &'a [u8]>,
    account: &Account,
    method: &str,
    uri: &str,
    cnonce: &str,
) -> Option<String> {
    for challenge in challenges.filter_map(AuthView::parse) {
        let algorithm_name = challenge.text("algorithm");
        let Some(algorithm) = DigestAlgorithm::of(algorithm_name.as_deref()) else { continue };
        let (Some(realm), Some(nonce)) = (challenge.text("realm"), challenge.text("nonce")) else { continue };
        let realm_ok = account.realm.as_ref().is_none_or(|ours| *ours == realm);
        if !challenge.scheme.eq_ignore_ascii_case(b"Digest") || !realm_ok {
            continue;
        }
        let qop = challenge.text("qop");
        let auth = qop.as_ref().map(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case("auth")));
        let counted = match auth {
            None => None,
            Some(true) => Some(("00000001", cnonce)),
            Some(false) => continue,
        };
        let ha1 = algorithm.ha1(&account.user, &realm, &account.password);
        let digest = response(algorithm, &ha1, &nonce, counted, method, uri.as_bytes());
        let mut value = format!(
            "Digest username={},realm={},nonce={},uri={},response=\"{digest}\"",
            quoted(&account.user),
            quoted(&realm),
            quoted(&nonce),
            quoted(uri),
        );
        if algorithm_name.is_some() {
            value.push_str(&format!(",algorithm={}", algorithm.name()));
        }
        if let Some((nc, cnonce)) = counted {
            value.push_str(&format!(",qop=auth,nc={nc},cnonce={}", quoted(cnonce)));
        }
        if let Some(opaque) = challenge.text("opaque") {
            value.push_str(&format!(",opaque={}", quoted(&opaque)));
        }
        return Some(value);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bob;
    impl Credentials for Bob {
        fn ha1(&self, subscriber: &str, realm: &str, algorithm: DigestAlgorithm) -> Option<String> {
            (subscriber == "bob").then(|| algorithm.ha1("bob", realm, "zanzibar"))
        }
    }

    #[test]
    fn the_vectors_of_rfc_7616_come_out() {
        // RFC 7616 §3.9.1
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let counted = Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"));
        for (algorithm, expected) in [
            (DigestAlgorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (DigestAlgorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = algorithm.ha1("Mufasa", "http-auth@example.org", "Circle of Life");
            assert_eq!(response(algorithm, &ha1, nonce, counted, "GET", b"/dir/index.html"), expected);
        }
    }

    #[test]
    fn the_vector_of_rfc_2617_comes_out() {
        let ha1 = DigestAlgorithm::Md5.ha1("Mufasa", "testrealm@host.com", "Circle Of Life");
        let counted = Some(("00000001", "0a4f113b"));
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        assert_eq!(
            response(DigestAlgorithm::Md5, &ha1, nonce, counted, "GET", b"/dir/index.html"),
            "6629fae49393a05397450978507c4ef1"
        );
    }

    fn guard(now: Instant) -> Guard {
        Guard::new("example.com".into(), vec![DigestAlgorithm::Md5, DigestAlgorithm::Sha256], now)
    }

    fn account(password: &str) -> Account {
        Account { user: "bob".into(), password: password.into(), realm: None }
    }

    fn answered(guard: &Guard, now: Instant, password: &str) -> String {
        let challenges = guard.challenges(false, now);
        answer(challenges.iter().map(String::as_bytes), &account(password), "REGISTER", "sip:example.com", "c")
            .expect("an answer")
    }

    #[tokio::test(start_paused = true)]
    async fn our_answer_satisfies_our_challenge_once() {
        let now = Instant::now();
        let mut guard = guard(now);
        let value = answered(&guard, now, "zanzibar");
        assert!(value.contains("algorithm=MD5"), "the top-most challenge is taken");
        let judge = |guard: &mut Guard, now| guard.judge(Some(value.as_bytes()), "REGISTER", &Bob, now);
        assert_eq!(judge(&mut guard, now), Verdict::Proved("bob".into()));
        assert_eq!(judge(&mut guard, now), Verdict::Stale, "the same nonce count is a replay");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_nonce_is_stale_and_a_wrong_password_is_wrong() {
        let now = Instant::now();
        let mut guard = guard(now);
        let value = answered(&guard, now, "zanzibar");
        let late = now + NONCE_LIFETIME;
        assert_eq!(guard.judge(Some(value.as_bytes()), "REGISTER", &Bob, late), Verdict::Stale);
        assert_eq!(guard.judge(Some(value.as_bytes()), "INVITE", &Bob, now), Verdict::Wrong);
        let wrong = answered(&guard, now, "sesame");
        assert_eq!(guard.judge(Some(wrong.as_bytes()), "REGISTER", &Bob, now), Verdict::Wrong);
        assert_eq!(guard.judge(None, "REGISTER", &Bob, now), Verdict::Absent);
    }

    #[test]
    fn nonce_counts_may_come_out_of_order_but_not_twice() {
        let mut window = Window { highest: 0, seen: 0, expires: Instant::now() };
        for (count, fresh) in [(1, true), (3, true), (2, true), (3, false), (2, false), (0x100, true), (4, false)] {
            assert_eq!(window.take(count), fresh, "count {count}");
        }
    }

    #[test]
    fn a_challenge_of_another_realm_or_algorithm_is_not_answered() {
        let mut account = account("zanzibar");
        account.realm = Some("ours".into());
        let challenges: [&[u8]; 2] =
            [b"Digest realm=\"theirs\",nonce=\"n\"", b"Digest realm=\"ours\",nonce=\"n\",algorithm=SHA-512-256"];
        assert_eq!(answer(challenges.into_iter(), &account, "INVITE", "sip:a@b", "c"), None);
        let list: [&[u8]; 1] = [b"Digest realm=\"ours\",nonce=\"n\",qop=\"auth-int,auth\",opaque=\"o\""];
        let value = answer(list.into_iter(), &account, "INVITE", "sip:a@b", "c").expect("an answer");
        assert!(value.contains("qop=auth,nc=00000001") && value.ends_with("opaque=\"o\""));
    }
}
