//! Calls that a trunk sends on (RFC 3261 §8.1.3.4).

use super::super::super::config::{Redirects, TrunkConfig};
use super::outbound::{header, invite, response};
use super::requests::Bench;
use super::*;

fn bench(redirects: Redirects) -> Bench {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), "192.0.2.7");
    trunk.redirects = redirects;
    Bench::new(
        Manner::Sleeps,
        SipConfig { trunks: vec![trunk], allow: vec!["+49".into(), "00".into()], deny: vec!["+4990".into()], ..open() },
    )
}

fn call(bench: &Bench) -> String {
    let trunk = TrunkId::new("acme").expect("a name");
    invite(bench, vec![Destination::Trunk { trunk, number: "+4930".into(), more: false }]);
    bench.heard().concat()
}

/// Answers an INVITE with these contacts; the INVITEs that follow.
fn moved(bench: &Bench, request: &str, contacts: &str) -> Vec<String> {
    let answer = response(request, "302 Moved Temporarily")
        .replace("Content-Length", &format!("Contact: {contacts}\r\nContent-Length"));
    let sent = bench.raw(answer);
    assert!(sent.iter().any(|text| text.starts_with("ACK ")), "{sent:?}");
    sent.into_iter().filter(|text| text.starts_with("INVITE ")).collect()
}

fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn contacts_are_tried_in_the_order_of_q_each_with_the_next_cseq() {
    let bench = bench(Redirects::Trunk);
    let first = call(&bench);
    let contacts = "<sip:+492@192.0.2.7>;q=0.2, <sip:+493@192.0.2.7?Subject=x>;q=0.7, <sip:+494@192.0.2.7>;q=0.7";
    let second = moved(&bench, &first, contacts).pop().expect("an INVITE");
    assert_eq!(line(&second), "INVITE sip:+493@192.0.2.7 SIP/2.0");
    for same in ["Call-ID", "From", "To"] {
        assert_eq!(header(&second, same), header(&first, same));
    }
    let number = |text: &str| header(text, "CSeq").split(' ').next().and_then(|n| n.parse::<u32>().ok());
    assert_eq!(number(&second), number(&first).map(|n| n + 1));
    let next = |request: &str| -> Vec<String> {
        let sent = bench.raw(response(request, "480 Temporarily Unavailable"));
        sent.into_iter().filter(|text| text.starts_with("INVITE ")).collect()
    };
    let third = next(&second).pop().expect("an INVITE");
    assert_eq!(line(&third), "INVITE sip:+494@192.0.2.7 SIP/2.0");
    let fourth = next(&third).pop().expect("an INVITE");
    assert_eq!(line(&fourth), "INVITE sip:+492@192.0.2.7 SIP/2.0");
    assert_eq!(next(&fourth), Vec::<String>::new());
    assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.status), Some(480));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_twice_and_redirections_end_at_the_fifth() {
    let bench = bench(Redirects::Trunk);
    let first = call(&bench);
    let again = moved(&bench, &first, "<sip:+4930@192.0.2.7>");
    assert_eq!((again, bench.brain.ended().len()), (Vec::new(), 1), "a loop");
    let mut request = call(&bench);
    for n in 1..=5 {
        request = moved(&bench, &request, &format!("<sip:+49{n}@192.0.2.7>")).pop().expect("an INVITE");
    }
    assert_eq!(moved(&bench, &request, "<sip:+499@192.0.2.7>"), Vec::<String>::new());
    assert_eq!(bench.brain.ended().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_redirection_goes_no_further_than_the_trunks_policy_and_the_allow_list() {
    for (policy, contact, follows) in [
        (Redirects::Trunk, "<sip:+491@192.0.2.7>", true),
        (Redirects::Trunk, "<sip:+491@192.0.2.8>", false),
        (Redirects::Any, "<sip:+491@192.0.2.8>", true),
        (Redirects::Any, "<sip:+1900@192.0.2.8>", false),
        (Redirects::Trunk, "<sip:+1900@192.0.2.7>", false),
        (Redirects::Off, "<sip:+491@192.0.2.7>", false),
        (Redirects::Any, "<sip:+49901@192.0.2.8>", false),
        (Redirects::Any, "<sip:0049901@192.0.2.8>", false),
        (Redirects::Any, "<tel:+491>", false),
    ] {
        let bench = bench(policy);
        let request = call(&bench);
        assert_eq!(moved(&bench, &request, contact).len(), usize::from(follows), "{policy:?} {contact}");
        assert_eq!(bench.brain.ended().is_empty(), follows);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_on_says_by_whom_the_last_first() {
    let bench = bench(Redirects::Trunk);
    let first = call(&bench);
    assert!(!first.contains("Diversion"), "{first}");
    let second = moved(&bench, &first, "<sip:+49111@192.0.2.7>").pop().expect("an INVITE");
    let by = |number: &str| format!("Diversion: <sip:{number}@example.com>;reason=unconditional;counter=1\r\n");
    assert!(second.contains(&by("+4930")), "{second}");
    let third = moved(&bench, &second, "<sip:+49112@192.0.2.7>").pop().expect("an INVITE");
    assert!(third.contains(&(by("+49111") + &by("+4930"))), "{third}");
}
