//! The side that challenges. Nonces are stateless (a time and an HMAC); the only state is the replay window of nonces that
//! were used with the right password, so nobody without one fills a table.

use std::collections::HashMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::super::message::uri::{Uri, unescape};
use super::super::message::view::AuthView;
use super::super::message::write::quoted;
use super::super::nuisance::Source;
use super::{Asked, Counted, Credentials, DigestOffer, Qop, hex, response};

/// How long a nonce is good for.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Most nonces whose counters are remembered. // overflow: new nonces are answered `stale` until old ones expire
const MAX_NONCES: usize = 262_144;

/// The side that challenges and judges answers.
#[derive(Debug)]
pub struct Guard {
    realm: String,
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

/// What is asked of who calls.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// In order of preference (RFC 8760 §2.3); no other is accepted.
    pub offers: &'a [DigestOffer],
    /// Whether auth-int is offered beside auth.
    pub integrity: bool,
}

/// What an Authorization header proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The user named knows the password.
    Proved,
    /// The nonce is old, was used, was sent to somebody else, or is not ours: challenge again with `stale=true` (RFC 7616 §3.3).
    Stale,
    /// There is no answer to a challenge of ours.
    Absent,
    /// Wrong user, password, realm or form.
    Wrong,
    /// The digest is right, and is another request's: its `uri` names somebody else than the Request-URI (RFC 7616 §3.4.6).
    Mismatch,
}

/// A verdict, and whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What is proved.
    pub verdict: Verdict,
    /// The user named, where the form is right.
    pub user: Option<String>,
    /// Whether there is such a user.
    pub exists: bool,
    /// The Authentication-Info of a success (RFC 7616 §3.5), where the client's form of digest has one.
    pub info: Option<String>,
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, user: None, exists: false, info: None }
    }
}

impl Guard {
    /// A guard with a fresh nonce key: nonces of an earlier run are stale.
    pub fn new(realm: String, now: Instant) -> Self {
        Self { realm, key: rand::random(), began: now, used: HashMap::new() }
    }

    /// WWW-Authenticate values, one an algorithm, in order of preference (RFC 8760 §2.3).
    pub fn challenges(&self, terms: Terms<'_>, to: Source, stale: bool, now: Instant) -> Vec<String> {
        let nonce = self.nonce(to, now);
        let stale = if stale { ",stale=true" } else { "" };
        let qop = if terms.integrity { "auth,auth-int" } else { "auth" };
        let realm = quoted(&self.realm);
        let challenge = |offer: &DigestOffer| {
            format!("Digest realm={realm},nonce=\"{nonce}\",qop=\"{qop}\",algorithm={}{stale}", offer.name())
        };
        terms.offers.iter().map(challenge).collect()
    }

    fn nonce(&self, to: Source, now: Instant) -> String {
        let stamp = format!("{:012x}{:08x}", now.duration_since(self.began).as_millis(), rand::random::<u32>());
        let seal = self.seal(&stamp, to);
        stamp + &seal
    }

    fn seal(&self, stamp: &str, to: Source) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(stamp.as_bytes());
        mac.update(self.realm.as_bytes());
        mac.update(to.to_string().as_bytes());
        hex(mac.finalize().into_bytes().get(..16).unwrap_or_default())
    }

    /// When a nonce of ours expires; `None` when it is not of ours, or was sent to another source.
    fn expiry(&self, nonce: &str, from: Source) -> Option<Instant> {
        let (stamp, seal) = nonce.split_at_checked(20)?;
        let ours = self.seal(stamp, from);
        if !bool::from(ours.as_bytes().ct_eq(seal.as_bytes())) {
            return None;
        }
        let millis = u64::from_str_radix(stamp.get(..12)?, 16).ok()?;
        self.began.checked_add(Duration::from_millis(millis) + NONCE_LIFETIME)
    }

    /// Judges an Authorization value. The nonce is looked at first: a password is not even tried with one that is not ours, is
    /// old, or was sent elsewhere, so each guess takes a round trip to where its source really is.
    pub fn judge(
        &mut self,
        value: &[u8],
        from: Source,
        asked: Asked<'_>,
        terms: Terms<'_>,
        credentials: &dyn Credentials,
        now: Instant,
    ) -> Judgement {
        let Some(auth) = AuthView::parse(value) else { return Verdict::Absent.into() };
        let user = auth.text("username");
        let of = |verdict| Judgement { verdict, user: user.clone(), exists: false, info: None };
        if auth.text("realm").is_some_and(|realm| realm != self.realm) {
            // An answer to somebody else's challenge, left in by a client that talks to several servers.
            return Verdict::Absent.into();
        }
        let offer = DigestOffer::of(auth.text("algorithm").as_deref()).filter(|offer| terms.offers.contains(offer));
        let digest = auth.scheme.eq_ignore_ascii_case(b"Digest");
        let (Some(offer), true) = (offer, digest) else { return Verdict::Wrong.into() };
        let fields = (&user, auth.text("realm"), auth.text("nonce"), auth.text("response"), auth.get("uri"));
        let (Some(name), Some(_), Some(nonce), Some(answer), Some(uri)) = fields else {
            return Verdict::Wrong.into();
        };
        let (qop, nc, cnonce) = (auth.text("qop"), auth.text("nc"), auth.text("cnonce"));
        let counted = match (qop.as_deref(), &nc, &cnonce) {
            (None, _, _) if !offer.session => None,
            (Some(qop), Some(nc), Some(cnonce)) if qop.eq_ignore_ascii_case("auth") => {
                Some(Counted { nc, cnonce, qop: Qop::Auth })
            }
            (Some(qop), Some(nc), Some(cnonce)) if terms.integrity && qop.eq_ignore_ascii_case("auth-int") => {
                Some(Counted { nc, cnonce, qop: Qop::AuthInt })
            }
            _ => return Verdict::Wrong.into(),
        };
        let Some(expires) = self.expiry(&nonce, from).filter(|expires| now < *expires) else {
            return of(Verdict::Stale);
        };
        // An unknown user costs the same hashing as a known one.
        let known = credentials.ha1(name, &self.realm, offer.algorithm);
        let nobody = offer.algorithm.hash(&[&self.key]);
        let ha1 = known.as_deref().unwrap_or(&nobody);
        let right = response(offer, ha1, &nonce, counted, Asked { uri: &uri, ..asked });
        let same = bool::from(right.as_bytes().ct_eq(answer.to_ascii_lowercase().as_bytes()));
        if known.is_none() || !same {
            return Judgement { exists: known.is_some(), ..of(Verdict::Wrong) };
        }
        if !same_target(&uri, asked.uri) {
            return of(Verdict::Mismatch);
        }
        // Without qop there is no counter: such a nonce is good once.
        let count = match counted {
            Some(Counted { nc, .. }) if nc.len() <= 8 => u32::from_str_radix(nc, 16).ok(),
            Some(_) => None,
            None => Some(1),
        };
        if !count.is_some_and(|count| self.take(&nonce, count, expires, now)) {
            return of(Verdict::Stale);
        }
        let info = counted.map(|counted| {
            let rspauth = response(offer, ha1, &nonce, Some(counted), Asked { method: b"", uri: &uri, body: b"" });
            let next = if expires - now < NONCE_LIFETIME / 2 {
                format!(",nextnonce=\"{}\"", self.nonce(from, now))
            } else {
                String::new()
            };
            format!(
                "rspauth=\"{rspauth}\",cnonce={},nc={},qop={}{next}",
                quoted(counted.cnonce),
                counted.nc,
                counted.qop.name()
            )
        });
        Judgement { exists: true, info, ..of(Verdict::Proved) }
    }

    /// Whether this count of a nonce is new.
    fn take(&mut self, nonce: &str, count: u32, expires: Instant, now: Instant) -> bool {
        if self.used.len() >= MAX_NONCES {
            self.used.retain(|_, window| window.expires > now);
        }
        let id = nonce.get(4..20).and_then(|stamp| u64::from_str_radix(stamp, 16).ok()).unwrap_or(0);
        if self.used.len() >= MAX_NONCES && !self.used.contains_key(&id) {
            return false;
        }
        self.used.entry(id).or_insert(Window { highest: 0, seen: 0, expires }).take(count)
    }
}

/// Whether a digest's `uri` and the Request-URI mean one request. Only the user parts are compared, and a `uri` without one
/// will do: phones leave out ports and parameters, and write their registrar's name where a proxy before us writes our
/// address. The nonce ties it to us anyway; what a thief of a digest could gain is another number.
fn same_target(uri: &[u8], request_uri: &[u8]) -> bool {
    if uri == request_uri {
        return true;
    }
    match (Uri::parse(uri), Uri::parse(request_uri)) {
        (Some(ours), Some(theirs)) if ours.is_sip() && theirs.is_sip() => match (ours.user, theirs.user) {
            (None, _) => true,
            (Some(ours), Some(theirs)) => unescape(ours) == unescape(theirs),
            (Some(_), None) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Account, DigestAlgorithm, answers};
    use super::*;

    struct Bob;
    impl Credentials for Bob {
        fn ha1(&self, subscriber: &str, realm: &str, algorithm: DigestAlgorithm) -> Option<String> {
            (subscriber == "bob").then(|| algorithm.ha1("bob", realm, "zanzibar"))
        }
    }

    const ALL: [DigestOffer; 6] = {
        const fn of(algorithm: DigestAlgorithm, session: bool) -> DigestOffer {
            DigestOffer { algorithm, session }
        }
        use DigestAlgorithm::{Md5, Sha256, Sha512t256};
        [
            of(Md5, false),
            of(Sha256, false),
            of(Sha512t256, false),
            of(Md5, true),
            of(Sha256, true),
            of(Sha512t256, true),
        ]
    };
    const TERMS: Terms<'static> = Terms { offers: &ALL, integrity: false };
    const REGISTER: Asked<'static> = Asked { method: b"REGISTER", uri: b"sip:example.com", body: b"" };

    fn from(host: u8) -> Source {
        std::net::IpAddr::from([192, 0, 2, host]).into()
    }

    fn guard(now: Instant) -> Guard {
        Guard::new("example.com".into(), now)
    }

    /// The answer of a client with this password to the challenges of these terms.
    fn answered(guard: &Guard, terms: Terms<'_>, asked: Asked<'_>, password: &str, now: Instant) -> String {
        let challenges = guard.challenges(terms, from(1), false, now);
        let account = Account { user: "bob".into(), password: password.into(), realm: None };
        let values = challenges.iter().map(String::as_bytes);
        let answer = answers(values, &account, asked, &[], "c").into_iter().next().expect("an answer");
        answer.value
    }

    fn verdict(guard: &mut Guard, value: &str, asked: Asked<'_>, now: Instant) -> Verdict {
        guard.judge(value.as_bytes(), from(1), asked, TERMS, &Bob, now).verdict
    }

    #[tokio::test(start_paused = true)]
    async fn our_answer_satisfies_our_challenge_once() {
        let now = Instant::now();
        let mut guard = guard(now);
        let value = answered(&guard, TERMS, REGISTER, "zanzibar", now);
        assert!(value.contains("algorithm=MD5,"), "RFC 8760 §2.4: the top-most challenge is taken");
        assert_eq!(verdict(&mut guard, &value, REGISTER, now), Verdict::Proved);
        assert_eq!(verdict(&mut guard, &value, REGISTER, now), Verdict::Stale, "the same nonce count is a replay");
    }

    #[tokio::test(start_paused = true)]
    async fn every_algorithm_and_every_qop_proves_the_password_and_nothing_else_does() {
        let now = Instant::now();
        let mut guard = guard(now);
        let asked = Asked { method: b"INVITE", uri: b"sip:200@example.com", body: b"v=0" };
        for offer in ALL {
            let terms = Terms { offers: &[offer], integrity: false };
            let value = answered(&guard, terms, asked, "zanzibar", now);
            assert!(value.contains(&format!("algorithm={},", offer.name())), "{value}");
            let mut judge = |value: &str| guard.judge(value.as_bytes(), from(1), asked, terms, &Bob, now).verdict;
            assert_eq!(judge(&value), Verdict::Proved, "{}", offer.name());
            // RFC 8760 §2.3: what was not offered is not accepted, a weaker one least of all.
            assert_eq!(judge(&value.replace(offer.name(), "MD4")), Verdict::Wrong);
            let wrong = answered(&guard, terms, asked, "sesame", now);
            assert_eq!(guard.judge(wrong.as_bytes(), from(1), asked, terms, &Bob, now).verdict, Verdict::Wrong);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn auth_int_covers_the_body_and_is_taken_only_where_it_was_offered() {
        let now = Instant::now();
        let mut guard = guard(now);
        let asked = Asked { method: b"INVITE", uri: b"sip:200@example.com", body: b"v=0" };
        let terms = Terms { offers: &ALL[1..2], integrity: true };
        let challenge = guard.challenges(terms, from(1), false, now).concat().replace("auth,auth-int", "auth-int");
        let account = Account { user: "bob".into(), password: "zanzibar".into(), realm: None };
        let made = answers([challenge.as_bytes()].into_iter(), &account, asked, &[], "c");
        let value = made.first().expect("an answer").value.as_bytes();
        let changed = Asked { body: b"v=1", ..asked };
        assert_eq!(guard.judge(value, from(1), changed, terms, &Bob, now).verdict, Verdict::Wrong);
        let plain = Terms { integrity: false, ..terms };
        assert_eq!(guard.judge(value, from(1), asked, plain, &Bob, now).verdict, Verdict::Wrong);
        assert_eq!(guard.judge(value, from(1), asked, terms, &Bob, now).verdict, Verdict::Proved);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_nonce_is_stale_and_a_wrong_password_is_wrong() {
        let now = Instant::now();
        let mut guard = guard(now);
        let value = answered(&guard, TERMS, REGISTER, "zanzibar", now);
        assert_eq!(verdict(&mut guard, &value, REGISTER, now + NONCE_LIFETIME), Verdict::Stale);
        let invite = Asked { method: b"INVITE", ..REGISTER };
        assert_eq!(verdict(&mut guard, &value, invite, now), Verdict::Wrong);
        let wrong = answered(&guard, TERMS, REGISTER, "sesame", now);
        assert_eq!(verdict(&mut guard, &wrong, REGISTER, now), Verdict::Wrong);
        let other = value.replace("realm=\"example.com\"", "realm=\"elsewhere\"");
        assert_eq!(verdict(&mut guard, &other, REGISTER, now), Verdict::Absent, "another server's");
        assert_eq!(verdict(&mut guard, "Basic Ym9iOnphbnppYmFy", REGISTER, now), Verdict::Wrong, "RFC 3261 §22");
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_is_tried_only_with_a_fresh_nonce_that_was_sent_to_who_tries() {
        let now = Instant::now();
        let mut guard = guard(now);
        let wrong = answered(&guard, TERMS, REGISTER, "sesame", now);
        let right = answered(&guard, TERMS, REGISTER, "zanzibar", now);
        for value in [&wrong, &right] {
            let judged = guard.judge(value.as_bytes(), from(2), REGISTER, TERMS, &Bob, now);
            assert_eq!(judged.verdict, Verdict::Stale, "nothing is told to who was not asked");
            let made_up = value.replace("nonce=\"0", "nonce=\"1");
            assert_eq!(verdict(&mut guard, &made_up, REGISTER, now), Verdict::Stale);
        }
        let judged = guard.judge(wrong.as_bytes(), from(1), REGISTER, TERMS, &Bob, now);
        assert_eq!((judged.verdict, judged.exists), (Verdict::Wrong, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_nonce_of_an_earlier_run_is_stale() {
        let now = Instant::now();
        let (earlier, mut guard) = (guard(now), guard(now));
        let value = answered(&earlier, TERMS, REGISTER, "zanzibar", now);
        assert_eq!(verdict(&mut guard, &value, REGISTER, now), Verdict::Stale);
        assert!(guard.challenges(TERMS, from(1), true, now).iter().all(|challenge| challenge.ends_with(",stale=true")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_digest_is_good_for_its_own_request_uri_with_the_tolerance_phones_need() {
        let now = Instant::now();
        for (uri, request_uri, same) in [
            ("sip:200@example.com", "sip:200@192.0.2.1:5060;transport=tcp", true),
            ("sip:%32%30%30@example.com", "sip:200@example.com", true),
            ("sip:example.com", "sip:200@example.com", true),
            ("sip:200@example.com", "sip:0190@example.com", false),
            ("sip:200@example.com", "sip:example.com", false),
            ("tel:200", "tel:201", false),
        ] {
            let mut guard = guard(now);
            let asked = Asked { method: b"INVITE", uri: uri.as_bytes(), body: b"" };
            let value = answered(&guard, TERMS, asked, "zanzibar", now);
            let expected = if same { Verdict::Proved } else { Verdict::Mismatch };
            let came = Asked { uri: request_uri.as_bytes(), ..asked };
            assert_eq!(verdict(&mut guard, &value, came, now), expected, "{uri} for {request_uri}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn authentication_info_proves_that_we_know_the_password_too() {
        let now = Instant::now();
        let mut guard = guard(now);
        let value = answered(&guard, TERMS, REGISTER, "zanzibar", now);
        let late = now + NONCE_LIFETIME * 2 / 3;
        let judged = guard.judge(value.as_bytes(), from(1), REGISTER, TERMS, &Bob, late);
        let info = judged.info.expect("an Authentication-Info");
        let nonce = AuthView::parse(value.as_bytes()).and_then(|auth| auth.text("nonce")).expect("a nonce");
        let ha1 = DigestAlgorithm::Md5.ha1("bob", "example.com", "zanzibar");
        let counted = Some(Counted { nc: "00000001", cnonce: "c", qop: Qop::Auth });
        let asked = Asked { method: b"", ..REGISTER };
        let right = response(DigestAlgorithm::Md5.into(), &ha1, &nonce, counted, asked);
        assert!(info.starts_with(&format!("rspauth=\"{right}\",cnonce=\"c\",nc=00000001,qop=auth,nextnonce=\"")));
    }

    #[test]
    fn nonce_counts_may_come_out_of_order_but_not_twice() {
        let mut window = Window { highest: 0, seen: 0, expires: Instant::now() };
        for (count, fresh) in [(1, true), (3, true), (2, true), (3, false), (2, false), (0x100, true), (4, false)] {
            assert_eq!(window.take(count), fresh, "count {count}");
        }
    }
}
