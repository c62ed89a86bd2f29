//! MESSAGE (RFC 3428).

use tandem_actors::model::address::Contact;
use tandem_actors::ports::sip::{MessageRelay, MessageRequest};

use super::super::super::config::TrunkConfig;
use super::outbound::{header, response};
use super::requests::Bench;
use super::*;

const HELLO: &[(&str, &str)] = &[("Content-Type", "text/plain"), ("body", "hello")];

/// A core whose trunk asks.
fn bench() -> Bench {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), "192.0.2.7");
    trunk.port = Some(5060);
    Bench::new(Manner::Sleeps, SipConfig { trunks: vec![trunk], ..open() })
}

fn asked(bench: &Bench) -> MessageRequest {
    let events = bench.brain.events.lock().expect("the events");
    let Some(SipEvent::Message(message)) = events.last() else { panic!("a MESSAGE: {events:?}") };
    (**message).clone()
}

fn phone(last: u8) -> Contact {
    Contact {
        uri: SipUri(format!("sip:1001@192.0.2.{last}")),
        source: address(last),
        transport: Transport::Udp,
        listener: ListenerId::new("udp").expect("a name"),
        path: Vec::new(),
        behind_nat: false,
        heard_at: None,
    }
}

/// The brain sends it on to these phones; what leaves.
fn goes_on(bench: &Bench, phones: &[u8], hidden: bool) -> Vec<String> {
    let caller = CallerId { display: "Pat".into(), number: "+86138".into() };
    let to = phones.iter().map(|last| phone(*last)).collect();
    bench.heard();
    bench.core.answer_message(asked(bench).request, Ok(MessageRelay { to, caller, hidden }));
    bench.heard()
}

#[tokio::test(start_paused = true)]
async fn a_text_goes_on_as_it_came_and_its_answer_goes_back() {
    let bench = bench();
    assert_eq!(bench.ask("MESSAGE", HELLO), Vec::<String>::new(), "it waits for who it is for");
    let sent = goes_on(&bench, &[44], false).concat();
    assert!(sent.starts_with("MESSAGE sip:1001@192.0.2.44 SIP/2.0\r\n"), "{sent}");
    assert!(sent.ends_with("\r\n\r\nhello") && header(&sent, "Content-Type") == "text/plain", "{sent}");
    assert!(header(&sent, "From").starts_with("\"Pat\" <sip:+86138@example.com>;tag="), "{sent}");
    // RFC 3428 §4: it makes no dialog.
    assert!(!sent.contains("\nContact: "), "{sent}");
    let answers = bench.raw_from([192, 0, 2, 44].into(), response(&sent, "200 OK"));
    assert_eq!(Bench::codes(&answers), [200]);
}

#[tokio::test(start_paused = true)]
async fn the_first_phone_that_takes_a_text_answers_for_all() {
    let bench = bench();
    bench.ask("MESSAGE", HELLO);
    let sent = goes_on(&bench, &[44, 45], false);
    assert_eq!(sent.len(), 2);
    let busy = bench.raw_from([192, 0, 2, 44].into(), response(&sent[0], "486 Busy Here"));
    assert_eq!(busy, Vec::<String>::new(), "the other may take it yet");
    assert_eq!(Bench::codes(&bench.raw_from([192, 0, 2, 45].into(), response(&sent[1], "202 Accepted"))), [202]);
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_a_text_and_its_sender_hears_why_in_time() {
    let failed = bench();
    failed.ask("MESSAGE", HELLO);
    let sent = goes_on(&failed, &[44], false);
    assert_eq!(Bench::codes(&failed.raw_from([192, 0, 2, 44].into(), response(&sent[0], "415 No"))), [415]);
    let silent = bench();
    silent.ask("MESSAGE", HELLO);
    goes_on(&silent, &[44], false);
    tokio::time::sleep(Duration::from_secs(17)).await;
    let last = silent.heard().into_iter().filter(|text| text.starts_with("SIP/2.0 ")).collect::<Vec<_>>();
    assert_eq!(Bench::codes(&last), [480], "RFC 4320 §4.2: not 408");
}

#[tokio::test(start_paused = true)]
async fn a_sender_who_hides_is_anonymous() {
    let bench = bench();
    bench.ask("MESSAGE", &[("Privacy", "id"), ("Content-Type", "text/plain"), ("body", "hello")]);
    let sent = goes_on(&bench, &[44], asked(&bench).carried.hides_caller()).concat();
    assert!(header(&sent, "From").contains("anonymous@anonymous.invalid") && !sent.contains("86138"), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_text_is_refused_by_what_is_wrong_with_it() {
    let refused = bench();
    refused.ask("MESSAGE", HELLO);
    refused.heard();
    refused.core.answer_message(asked(&refused).request, Err(405));
    let answer = refused.heard().concat();
    assert!(answer.starts_with("SIP/2.0 405") && !header(&answer, "Allow").contains("MESSAGE"), "{answer}");
    for (headers, status) in [
        (vec![("Max-Forwards", "0")], 483),
        (vec![("body", "hello")], 400),
        (vec![("Content-Type", "text/plain"), ("Content-Encoding", "gzip"), ("body", "x")], 415),
    ] {
        assert_eq!(Bench::codes(&bench().ask("MESSAGE", &headers)), [status], "{headers:?}");
    }
    let stranger = Bench::new(Manner::Sleeps, open());
    assert_eq!(Bench::codes(&stranger.ask("MESSAGE", HELLO)), [403]);
}

#[tokio::test(start_paused = true)]
async fn a_text_that_nobody_decides_on_is_answered_500() {
    let bench = bench();
    bench.ask("MESSAGE", HELLO);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(Bench::codes(&bench.heard()), [500]);
}

#[tokio::test(start_paused = true)]
async fn options_outside_a_call_say_that_texts_are_taken() {
    let answer = bench().ask("OPTIONS", &[]).concat();
    assert!(header(&answer, "Allow").ends_with("MESSAGE"), "{answer}");
}
