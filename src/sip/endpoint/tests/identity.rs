//! Who calls, and who we are to a trunk: challenges both ways.

use super::super::super::config::TrunkConfig;
use super::super::super::digest::{Asked, answers};
use super::pair::empty;
use super::requests::Bench;
use super::*;

fn closed() -> SipConfig {
    SipConfig { anonymous: false, ..open() }
}

/// A request from 192.0.2.7 with a branch of its own.
fn ask(bench: &Bench, method: &str, n: usize, more: &[(&str, &str)]) -> String {
    let (via, call_id, cseq) =
        (format!("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKid{n}"), format!("id{n}"), format!("{n} {method}"));
    let mut headers = vec![("Via", via.as_str()), ("Call-ID", call_id.as_str()), ("CSeq", cseq.as_str())];
    headers.extend(more);
    bench.ask(method, &headers).concat()
}

/// What `bob` answers to the challenges in a 401.
fn proof(challenge: &str, password: &str, asked: Asked<'_>) -> String {
    let values: Vec<_> = challenge.lines().filter_map(|line| line.split_once("-Authenticate: ")).collect();
    let account = Account { user: "bob".into(), password: password.into(), realm: None };
    let made = answers(values.iter().map(|(_, value)| value.as_bytes()), &account, asked, &[], "c");
    made.into_iter().next().expect("an answer").value
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

const INVITE: Asked<'static> = Asked { method: b"INVITE", uri: b"sip:200@192.0.2.1", body: b"" };

#[tokio::test(start_paused = true)]
async fn a_challenge_is_sent_once_and_leaves_nothing_behind() {
    // RFC 3261 §26.3.2.4: a flood from made-up addresses fills no table, and their owners get one answer each.
    let bench = Bench::new(Manner::Rings, closed());
    let first = ask(&bench, "INVITE", 1, &[]);
    assert!(first.starts_with("SIP/2.0 401"), "{first}");
    assert!(empty(&bench.core));
    let again = ask(&bench, "INVITE", 1, &[]);
    assert_eq!(line(&first, "To"), line(&again, "To"), "RFC 3261 §8.2.7: the tag of a repeat is the same");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(bench.heard().is_empty(), "it is not repeated by a timer");
}

#[tokio::test(start_paused = true)]
async fn nobody_without_a_password_gets_much_more_than_he_sent() {
    let bench = Bench::new(Manner::Rings, closed());
    for (method, to) in [
        ("INVITE", "<sip:200@example.com>"),
        ("REGISTER", "<sip:a@b>"),
        ("BYE", "<sip:a@b>;tag=x"),
        ("CANCEL", "<sip:a@b>"),
    ] {
        let sent = format!(
            "{method} sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-524287-1---f00dcafe\r\n\
             From: \"caller\" <sip:caller@192.0.2.7>;tag=0123456789abcdef\r\nTo: {to}\r\nCall-ID: 843817637684230@192.0.2.7\r\n\
             CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContact: <sip:caller@192.0.2.7:5060>\r\nContent-Length: 0\r\n\r\n"
        );
        let got = bench.raw(sent.clone()).concat();
        assert!(!got.is_empty());
        assert!(got.len() * 2 < sent.len() * 5, "{method}: {} octets for {}", got.len(), sent.len());
    }
    assert!(empty(&bench.core));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let bench = Bench::new(Manner::Rings, closed());
    // Nonces differ, as they must; so do the names of two users.
    let plain = |text: &str| {
        let (first, rest) = text.split_once("nonce=\"").expect("a nonce");
        let after = rest.split("nonce=\"").filter_map(|part| Some(part.split_once('"')?.1));
        (first.to_owned() + &after.collect::<String>()).replace("carl", "bob").replace("id1", "id0")
    };
    let mut answers = Vec::new();
    for (n, user) in ["bob", "carl"].iter().enumerate() {
        let (from, to) = (format!("<sip:{user}@example.com>;tag=f"), format!("<sip:{user}@example.com>"));
        let who = [("From", from.as_str()), ("To", to.as_str())];
        let challenge = ask(&bench, "REGISTER", n, &who);
        let value = proof(&challenge, "sesame", Asked { method: b"REGISTER", ..INVITE }).replace("bob", user);
        let refused = ask(&bench, "REGISTER", n, &[who[0], who[1], ("Authorization", &value)]);
        let tagless = |text: &str| text.replace(line(text, "To"), "");
        answers.push((plain(&tagless(&challenge)), plain(&tagless(&refused))));
    }
    let lines = |texts: &(String, String)| {
        let words =
            |text: &str| text.lines().filter(|line| !line.starts_with("CSeq")).map(str::to_owned).collect::<Vec<_>>();
        (words(&texts.0), words(&texts.1))
    };
    assert_eq!(answers.first().map(lines), answers.get(1).map(lines));
}

#[tokio::test(start_paused = true)]
async fn a_digest_for_another_number_is_400_and_its_own_number_is_called() {
    // RFC 7616 §3.4.6.
    let bench = Bench::new(Manner::Rings, closed());
    let challenge = ask(&bench, "INVITE", 1, &[]);
    let stolen = proof(&challenge, "zanzibar", Asked { uri: b"sip:201@192.0.2.1", ..INVITE });
    assert!(ask(&bench, "INVITE", 2, &[("Authorization", &stolen)]).starts_with("SIP/2.0 400"));
    let own = proof(&challenge, "zanzibar", INVITE);
    assert!(ask(&bench, "INVITE", 3, &[("Authorization", &own)]).starts_with("SIP/2.0 100"));
}

#[tokio::test(start_paused = true)]
async fn a_registration_is_told_that_we_know_the_password_too() {
    let bench = Bench::new(Manner::Answers, closed());
    let challenge = ask(&bench, "REGISTER", 1, &[]);
    let value = proof(&challenge, "zanzibar", Asked { method: b"REGISTER", ..INVITE });
    let answer = ask(&bench, "REGISTER", 2, &[("Authorization", &value), ("To", "<sip:bob@example.com>")]);
    assert!(answer.starts_with("SIP/2.0 200") && answer.contains("\r\nAuthentication-Info: rspauth=\""), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn users_and_listeners_are_offered_their_own_algorithms() {
    let only = |algorithm: DigestAlgorithm| vec![algorithm.into()];
    let mut config = closed();
    let numbers = tandem_actors::model::settings::NumberRules::parse("20[01-05]").expect("rules");
    config.algorithms_by_user = vec![(numbers, only(DigestAlgorithm::Sha512t256))];
    let bench = Bench::new(Manner::Rings, config);
    let special = ask(&bench, "REGISTER", 1, &[("From", "<sip:2003@example.com>;tag=f")]);
    assert!(special.contains("algorithm=SHA-512-256") && !special.contains("MD5"), "{special}");
    assert!(ask(&bench, "REGISTER", 2, &[]).contains("algorithm=MD5"));
    // RFC 8760 §2.3: what was not offered to a user is not accepted from it.
    let md5 = proof(&ask(&bench, "REGISTER", 3, &[]), "zanzibar", Asked { method: b"REGISTER", ..INVITE });
    let weak = [("From", "<sip:2003@example.com>;tag=f"), ("Authorization", md5.as_str())];
    assert!(ask(&bench, "REGISTER", 4, &weak).starts_with("SIP/2.0 401"));
}

/// Calls out by a trunk at 192.0.2.7, which answers with this Contact.
fn called(contact: &str) -> (Bench, DialogId) {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), "192.0.2.7");
    trunk.username = "bob".into();
    trunk.password = "zanzibar".into();
    let bench = Bench::new(Manner::Answers, SipConfig { trunks: vec![trunk], ..closed() });
    let trunk = TrunkId::new("acme").expect("a name");
    let dialog =
        bench.brain.invite(plain_invite(vec![Destination::Trunk { trunk, number: "200".into(), more: false }]));
    let sent = bench.heard().concat();
    let sdp = crate::sdp::write(&offer(1).0);
    bench.raw(answer_to(&sent, "200 OK", &format!("Contact: <{contact}>\r\nContent-Type: application/sdp\r\n"), &sdp));
    bench.brain.order(dialog, SipCommand::Hangup(Cause::hangup()));
    (bench, dialog)
}

/// The response to a request of ours.
fn answer_to(request: &str, status: &str, more: &str, body: &str) -> String {
    let to = line(request, "To");
    let tag = if to.contains(";tag=") { "" } else { ";tag=theirs" };
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", line(request, name))).concat();
    format!("SIP/2.0 {status}\r\n{copied}To: {to}{tag}\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())
}

const CHALLENGE: &str = "Proxy-Authenticate: Digest realm=\"acme\",nonce=\"n1\"\r\n";

#[tokio::test(start_paused = true)]
async fn a_challenged_bye_gives_our_digest_to_the_trunk_alone() {
    for (contact, address, answered) in
        [("sip:t@192.0.2.7", [192, 0, 2, 7], true), ("sip:t@192.0.2.66", [192, 0, 2, 66], false)]
    {
        let (bench, _) = called(contact);
        let bye = bench.heard().concat();
        let bye = bye.split_once("BYE ").map(|(_, rest)| format!("BYE {rest}")).expect("a BYE");
        assert!(bye.starts_with(&format!("BYE {contact}")), "{bye}");
        let got = bench.raw_from(address.into(), answer_to(&bye, "407 Proxy Authentication Required", CHALLENGE, ""));
        assert_eq!(got.concat().contains("Proxy-Authorization: Digest username=\"bob\""), answered, "{contact}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_proves_itself_to_each_realm_on_its_way_once() {
    // RFC 3261 §22.3: a proxy, a second one behind it, then the callee; the first's credentials go on.
    let (bench, _) = called("sip:t@192.0.2.7");
    let bye = bench.heard().concat();
    let bye = bye.split_once("BYE ").map(|(_, rest)| format!("BYE {rest}")).expect("a BYE");
    let refuse =
        |request: &str, status: &str, challenge: &str| bench.raw(answer_to(request, status, challenge, "")).concat();
    let second = refuse(&bye, "407 Proxy Authentication Required", CHALLENGE);
    let next = CHALLENGE.replace("acme", "far").replace("n1", "n2");
    let third = refuse(&second, "407 Proxy Authentication Required", &next);
    let last = refuse(&third, "401 Unauthorized", "WWW-Authenticate: Digest realm=\"end\",nonce=\"n3\"\r\n");
    for realm in ["realm=\"acme\"", "realm=\"far\"", "realm=\"end\""] {
        assert_eq!(last.matches(realm).count(), 1, "{last}");
    }
    // Said stale, it is answered with the new nonce, once; refused, not at all.
    let stale = |nonce: &str| CHALLENGE.replace("n1", nonce).replace("\r\n", ",stale=true\r\n");
    let fresh = refuse(&last, "407 Proxy Authentication Required", &stale("n4"));
    assert!(fresh.contains("nonce=\"n4\"") && !fresh.contains("nonce=\"n1\""), "{fresh}");
    assert!(refuse(&fresh, "407 Proxy Authentication Required", &stale("n5")).is_empty(), "no loop");
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_not_sent_again() {
    let (bench, _) = called("sip:t@192.0.2.7");
    let bye = bench.heard().concat();
    let bye = bye.split_once("BYE ").map(|(_, rest)| format!("BYE {rest}")).expect("a BYE");
    let again = bench.raw(answer_to(&bye, "407 Proxy Authentication Required", CHALLENGE, "")).concat();
    let other = CHALLENGE.replace("n1", "n2");
    assert!(bench.raw(answer_to(&again, "407 Proxy Authentication Required", &other, "")).is_empty());
}
