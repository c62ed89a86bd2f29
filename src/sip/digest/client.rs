//! Our side of a challenge by a trunk (RFC 3261 §22.2, §22.3, RFC 8760 §2.4).

use super::super::message::view::AuthView;
use super::super::message::write::quoted;
use super::{Asked, Counted, DigestOffer, Qop, response};

/// What we prove ourselves with.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Digest user name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Only this realm is answered, where set.
    pub realm: Option<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// Credentials for one realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose challenge is answered.
    pub realm: String,
    /// With which nonce.
    pub nonce: String,
    /// The Authorization or Proxy-Authorization value.
    pub value: String,
}

/// Answers the challenges of one response: of each realm the top-most that we can, with nonce count 1. Empty where there is
/// nothing to answer: no algorithm of ours, a realm that is not the account's, or one in `before` that refuses the password it
/// has seen (it is answered once, and again only where it says `stale=true` with another nonce).
pub fn answers<'a>(
    challenges: impl Iterator<Item = &'a [u8]>,
    account: &Account,
    asked: Asked<'_>,
    before: &[Answer],
    cnonce: &str,
) -> Vec<Answer> {
    let mut made: Vec<Answer> = Vec::new();
    for challenge in challenges.filter_map(AuthView::parse) {
        let Some(answer) = answer(challenge, account, asked, cnonce) else { continue };
        if made.iter().any(|other| other.realm == answer.realm) {
            continue;
        }
        if let Some(earlier) = before.iter().rfind(|earlier| earlier.realm == answer.realm) {
            let stale = challenge.text("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
            if !stale || earlier.nonce == answer.nonce {
                return Vec::new();
            }
        }
        made.push(answer);
    }
    made
}

fn answer(challenge: AuthView<'_>, account: &Account, asked: Asked<'_>, cnonce: &str) -> Option<Answer> {
    let algorithm_name = challenge.text("algorithm");
    let offer = DigestOffer::of(algorithm_name.as_deref())?;
    let (realm, nonce) = (challenge.text("realm")?, challenge.text("nonce")?);
    let ours = account.realm.as_ref().is_none_or(|ours| *ours == realm);
    if !challenge.scheme.eq_ignore_ascii_case(b"Digest") || !ours {
        return None;
    }
    let qop = challenge.text("qop");
    let offered = |name: &str| qop.iter().flat_map(|list| list.split(',')).any(|q| q.trim().eq_ignore_ascii_case(name));
    // auth before auth-int: border controllers on the way rewrite bodies.
    let counted = match &qop {
        None if offer.session => return None,
        None => None,
        Some(_) if offered("auth") => Some(Qop::Auth),
        Some(_) if offered("auth-int") => Some(Qop::AuthInt),
        Some(_) => return None,
    }
    .map(|qop| Counted { nc: "00000001", cnonce, qop });
    let ha1 = offer.algorithm.ha1(&account.user, &realm, &account.password);
    let digest = response(offer, &ha1, &nonce, counted, asked);
    // RFC 7616 §3.4.4.
    let hashed = challenge.text("userhash").is_some_and(|wanted| wanted.eq_ignore_ascii_case("true"));
    let user =
        if hashed { offer.algorithm.hash(&[account.user.as_bytes(), realm.as_bytes()]) } else { account.user.clone() };
    let mut value = format!(
        "Digest username={},realm={},nonce={},uri={},response=\"{digest}\"",
        quoted(&user),
        quoted(&realm),
        quoted(&nonce),
        quoted(&String::from_utf8_lossy(asked.uri)),
    );
    if algorithm_name.is_some() {
        value.push_str(&format!(",algorithm={}", offer.name()));
    }
    if let Some(Counted { nc, cnonce, qop }) = counted {
        value.push_str(&format!(",qop={},nc={nc},cnonce={}", qop.name(), quoted(cnonce)));
    }
    if let Some(opaque) = challenge.text("opaque") {
        value.push_str(&format!(",opaque={}", quoted(&opaque)));
    }
    if hashed {
        value.push_str(",userhash=true");
    }
    Some(Answer { realm, nonce, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: Asked<'static> = Asked { method: b"INVITE", uri: b"sip:a@b", body: b"" };

    fn account(realm: Option<&str>) -> Account {
        Account { user: "bob".into(), password: "zanzibar".into(), realm: realm.map(str::to_owned) }
    }

    fn made(challenges: &[&str], realm: Option<&str>, before: &[Answer]) -> Vec<Answer> {
        answers(challenges.iter().map(|text| text.as_bytes()), &account(realm), INVITE, before, "c")
    }

    #[test]
    fn a_challenge_of_another_realm_or_an_unknown_algorithm_is_not_answered() {
        let theirs = ["Digest realm=\"theirs\",nonce=\"n\"", "Digest realm=\"ours\",nonce=\"n\",algorithm=AKAv1-MD5"];
        assert!(made(&theirs, Some("ours"), &[]).is_empty());
        let list = ["Digest realm=\"ours\",nonce=\"n\",qop=\"auth-int,auth\",opaque=\"o\""];
        let answers = made(&list, Some("ours"), &[]);
        let value = &answers.first().expect("an answer").value;
        assert!(value.contains("qop=auth,nc=00000001") && value.ends_with("opaque=\"o\""));
    }

    #[test]
    fn of_several_challenges_the_top_most_that_we_know_is_answered() {
        // RFC 8760 §2.4.
        let list = [
            "Digest realm=\"r\",nonce=\"1\",algorithm=SHA3-256",
            "Digest realm=\"r\",nonce=\"2\",algorithm=SHA-512-256,qop=\"auth\"",
            "Digest realm=\"r\",nonce=\"3\",algorithm=MD5",
        ];
        let answers = made(&list, None, &[]);
        assert_eq!(answers.iter().map(|answer| answer.nonce.as_str()).collect::<Vec<_>>(), ["2"]);
    }

    #[test]
    fn every_realm_that_challenges_in_one_response_is_answered() {
        // RFC 3261 §22.3: forked proxies gather their challenges into one 407.
        let list = ["Digest realm=\"one\",nonce=\"1\"", "Digest realm=\"two\",nonce=\"2\""];
        let realms: Vec<_> = made(&list, None, &[]).into_iter().map(|answer| answer.realm).collect();
        assert_eq!(realms, ["one", "two"]);
    }

    #[test]
    fn a_realm_is_answered_once_and_again_only_when_it_says_stale_with_another_nonce() {
        // RFC 3261 §22.1: credentials that were rejected are not sent again.
        let first = made(&["Digest realm=\"r\",nonce=\"1\""], None, &[]);
        assert!(made(&["Digest realm=\"r\",nonce=\"2\""], None, &first).is_empty());
        assert!(made(&["Digest realm=\"r\",nonce=\"1\",stale=true"], None, &first).is_empty());
        assert_eq!(made(&["Digest realm=\"r\",nonce=\"2\",stale=TRUE"], None, &first).len(), 1);
        // A second proxy behind the first one.
        assert_eq!(made(&["Digest realm=\"s\",nonce=\"9\""], None, &first).len(), 1);
    }

    #[test]
    fn a_hashed_user_name_is_sent_where_it_is_asked_for() {
        let list = ["Digest realm=\"r\",nonce=\"n\",algorithm=SHA-256,userhash=true"];
        let answers = made(&list, None, &[]);
        let value = &answers.first().expect("an answer").value;
        assert!(value.ends_with("userhash=true") && !value.contains("bob"), "RFC 7616 §3.4.4");
    }

    #[test]
    fn a_password_is_never_printed() {
        assert!(!format!("{:?}", account(None)).contains("zanzibar"));
    }
}
