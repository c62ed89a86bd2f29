//! A core alone: what it answers to single requests.

use super::super::super::config::BindError;
use super::super::super::digest::{Asked, answers};
use super::pair::empty;
use super::*;

/// A core alone: text in, texts out.
pub(super) struct Bench {
    pub core: SipCore,
    pub brain: Arc<Scripted>,
    sent: Arc<Mutex<Vec<String>>>,
    flows: Arc<Mutex<Vec<Flow>>>,
}

struct Tape(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Flow>>>);
impl Wire for Tape {
    fn keep_listening(&self, _: usize) -> Result<bool, BindError> {
        Ok(false)
    }
    fn send(&self, flow: Flow, octets: Bytes) {
        self.1.lock().expect("the flows").push(flow);
        self.0.lock().expect("the tape").push(String::from_utf8_lossy(&octets).into_owned());
    }
}

impl Bench {
    pub fn new(manner: Manner, config: SipConfig) -> Self {
        let (brain, sent) = (Scripted::new(manner), Arc::new(Mutex::default()));
        let flows = Arc::default();
        let tape = Tape(Arc::clone(&sent), Arc::clone(&flows));
        let core = core_at(1, config, &brain, |_| Box::new(tape));
        Self { core, brain, sent, flows }
    }
    /// Sends a request from 192.0.2.7 and gives what came back, first lines only.
    pub fn ask(&self, method: &str, changes: &[(&str, &str)]) -> Vec<String> {
        let cseq = format!("1 {method}");
        let mut headers = vec![
            ("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1"),
            ("From", "<sip:x@example.com>;tag=f"),
            ("To", "<sip:200@example.com>"),
            ("Call-ID", "c1"),
            ("CSeq", cseq.as_str()),
            ("Contact", "<sip:x@192.0.2.7>"),
        ];
        let mut body = "";
        for (name, value) in changes {
            if *name == "body" {
                body = value;
                continue;
            }
            match headers.iter_mut().find(|header| header.0 == *name) {
                Some(header) => header.1 = value,
                None => headers.push((name, value)),
            }
        }
        let mut text = format!("{method} sip:200@192.0.2.1 SIP/2.0\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        self.raw(text)
    }
    /// What was sent since it was asked last.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.sent.lock().expect("the tape"))
    }
    /// Where everything so far was sent.
    pub fn flows(&self) -> Vec<Flow> {
        self.flows.lock().expect("the flows").clone()
    }
    /// Sends any text from 192.0.2.7.
    pub fn raw(&self, text: String) -> Vec<String> {
        self.raw_from([192, 0, 2, 7].into(), text)
    }
    /// Sends any text from port 5060 of an address.
    pub fn raw_from(&self, source: IpAddr, text: String) -> Vec<String> {
        self.octets_from(source, Bytes::from(text))
    }
    /// Sends any octets from 192.0.2.7.
    pub fn octets(&self, octets: &[u8]) -> Vec<String> {
        self.octets_from([192, 0, 2, 7].into(), Bytes::copy_from_slice(octets))
    }
    fn octets_from(&self, source: IpAddr, octets: Bytes) -> Vec<String> {
        self.sent.lock().expect("the tape").clear();
        self.core.shared().datagram(Flow::udp(0, SocketAddr::new(source, 5060)), octets);
        self.heard()
    }
    pub fn codes(answers: &[String]) -> Vec<u16> {
        answers.iter().filter_map(|text| text.get(8..11)?.parse().ok()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_we_do_not_know_is_refused_by_its_own_status() {
    let bench = Bench::new(Manner::Rings, open());
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);
    let cases: &[Case<'_>] = &[
        ("FROB", &[("CSeq", "1 FROB")], 501),
        ("REFER", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK2")], 403),
        ("SUBSCRIBE", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK9"), ("Event", "message-summary")], 489),
        ("PUBLISH", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bKa"), ("Event", "presence")], 489),
        ("NOTIFY", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bKb"), ("Event", "message-summary")], 481),
        ("BYE", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK3")], 481),
        ("BYE", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK4"), ("To", "<sip:a@b>;tag=none")], 481),
        ("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK5")], 200),
        ("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK6"), ("Require", "x-new, timer")], 420),
        ("CANCEL", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK7")], 481),
        ("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK8"), ("Max-Forwards", "x")], 400),
    ];
    for (method, changes, code) in cases {
        let answers = bench.ask(method, changes);
        assert_eq!(Bench::codes(&answers), [*code], "{method} {changes:?}");
        if *code == 420 {
            assert!(answers.concat().contains("Unsupported: x-new\r\n"));
        }
        if *code == 489 {
            assert!(answers.concat().contains("Allow-Events: refer\r\n"));
        }
        if *code == 405 || *code == 501 {
            assert!(answers.concat().contains("Allow: INVITE"));
        }
    }
    assert!(bench.ask("ACK", &[("To", "<sip:a@b>;tag=none")]).is_empty(), "an ACK is never answered");
}

#[tokio::test(start_paused = true)]
async fn an_invite_is_refused_by_what_is_wrong_with_it() {
    let bench = Bench::new(Manner::Rings, open());
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("Max-Forwards", "0")], 483),
        (&[("Content-Type", "text/plain"), ("body", "hello")], 415),
        (&[("Content-Type", "application/sdp"), ("Content-Encoding", "gzip"), ("body", "x")], 415),
        (&[("Session-Expires", "30"), ("Supported", "timer")], 422),
        (&[("Content-Type", "application/sdp"), ("body", "nonsense")], 400),
    ];
    for (at, (changes, code)) in cases.iter().enumerate() {
        let (via, call_id) = (format!("SIP/2.0/UDP h;branch=z9hG4bKi{at}"), format!("i{at}"));
        let mut changes = changes.to_vec();
        changes.extend([("Via", via.as_str()), ("Call-ID", call_id.as_str())]);
        let codes = Bench::codes(&bench.ask("INVITE", &changes));
        assert_eq!(codes.first().copied(), Some(100));
        assert_eq!(codes.last(), Some(code), "{changes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_came_by_two_paths_gets_482() {
    let bench = Bench::new(Manner::Rings, open());
    assert_eq!(Bench::codes(&bench.ask("INVITE", &[])), [100, 180]);
    assert_eq!(Bench::codes(&bench.ask("INVITE", &[])), [180], "a repeat gets the last provisional again");
    let other = bench.ask("INVITE", &[("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKother")]);
    assert_eq!(Bench::codes(&other), [482]);
}

#[tokio::test(start_paused = true)]
async fn cancel_is_answered_200_and_the_invite_487() {
    let bench = Bench::new(Manner::Rings, open());
    bench.ask("INVITE", &[]);
    let answers = bench.ask("CANCEL", &[("Reason", "Q.850;cause=26")]);
    assert_eq!(Bench::codes(&answers), [200, 487]);
    let tag = |text: &str| text.split("\r\nTo: ").nth(1).map(|rest| rest.split("\r\n").next().map(str::to_owned));
    assert_eq!(answers.first().map(|text| tag(text)), answers.get(1).map(|text| tag(text)), "the To tags agree");
    assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.q850), Some(Some(26)));
    assert_eq!(Bench::codes(&bench.ask("CANCEL", &[])), [200], "a repeat is absorbed");
}

#[tokio::test(start_paused = true)]
async fn strangers_are_challenged_md5_first_and_register_only_themselves() {
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: false, ..open() });
    for method in ["INVITE", "REGISTER"] {
        let via = format!("SIP/2.0/UDP h;branch=z9hG4bKs{method}");
        let answer = bench.ask(method, &[("Via", &via)]).concat();
        assert!(answer.starts_with("SIP/2.0 401"), "{answer}");
        let (md5, sha) = (answer.find("algorithm=MD5"), answer.find("algorithm=SHA-256"));
        assert!(md5.is_some() && md5 < sha);
    }
    let challenge =
        bench.ask("REGISTER", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bKs2"), ("CSeq", "2 REGISTER")]).concat();
    let value = challenge.split("WWW-Authenticate: ").nth(1).and_then(|rest| rest.lines().next()).expect("a challenge");
    let account = Account { user: "bob".into(), password: "zanzibar".into(), realm: None };
    let asked = Asked { method: b"REGISTER", uri: b"sip:example.com", body: b"" };
    let proof = answers([value.as_bytes()].into_iter(), &account, asked, &[], "c");
    let proof = proof.into_iter().next().expect("an answer").value;
    let theft = bench.ask(
        "REGISTER",
        &[("Via", "SIP/2.0/UDP h;branch=z9hG4bKs3"), ("CSeq", "3 REGISTER"), ("Authorization", &proof)],
    );
    assert_eq!(Bench::codes(&theft), [403], "bob may not register 200");
    let replay = bench.ask(
        "REGISTER",
        &[
            ("Via", "SIP/2.0/UDP h;branch=z9hG4bKs4"),
            ("CSeq", "4 REGISTER"),
            ("Authorization", &proof),
            ("To", "<sip:bob@example.com>"),
        ],
    );
    assert!(replay.concat().contains("stale=true"), "a nonce count is good once");
}

#[tokio::test(start_paused = true)]
async fn a_reason_in_sips_own_words_is_the_cause_in_q850s() {
    for (reason, q850) in [
        ("SIP;cause=200;text=\"Call completed elsewhere\"", 26),
        ("SIP;cause=486", 17),
        ("SIP;cause=487, Q.850 ; cause=31", 31),
        ("X.int;cause=7", 16),
    ] {
        let bench = Bench::new(Manner::Rings, open());
        bench.ask("INVITE", &[]);
        bench.ask("CANCEL", &[("Reason", reason)]);
        assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.q850), Some(Some(q850)), "{reason}");
    }
    assert_eq!(reason_value(Some(26)).as_deref().map(|value| value.starts_with("SIP;cause=200;")), Some(true));
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_new_calls_with_retry_after() {
    let bench = Bench::new(Manner::Answers, open());
    bench.core.set_draining(true);
    let answers = bench.ask("INVITE", &[]).concat();
    assert!(answers.starts_with("SIP/2.0 503 Service Unavailable\r\n") && answers.contains("Retry-After: "));
    assert_eq!(Bench::codes(&bench.ask("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bKd")])), [503]);
}

#[tokio::test(start_paused = true)]
async fn the_callee_sends_bye_only_after_the_ack() {
    let bench = Bench::new(Manner::Answers, open());
    let answers = bench.ask("INVITE", &[]);
    assert_eq!(Bench::codes(&answers), [100, 180, 200]);
    let ok = answers.last().expect("a 200").clone();
    let to = ok.split("\r\nTo: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a To").to_owned();
    let dialog = *bench.brain.orders.lock().expect("the orders").keys().next().expect("a dialog");
    bench.sent.lock().expect("the tape").clear();
    bench.brain.order(dialog, SipCommand::Hangup(Cause::hangup()));
    assert!(bench.sent.lock().expect("the tape").is_empty());
    let answers = bench.ask("ACK", &[("To", &to), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKack")]);
    assert!(answers.first().is_some_and(|text| text.starts_with("BYE sip:x@192.0.2.7 SIP/2.0")), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_re_invite_that_only_heard_100_does_not_outlive_its_dialog() {
    let bench = Bench::new(Manner::Answers, open());
    let answers = bench.ask("INVITE", &[]);
    let header = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.expect("a header").to_owned()
    };
    let to = header(answers.last().expect("a 200"), "To");
    bench.ask("ACK", &[("To", &to), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKack")]);
    let dialog = *bench.brain.orders.lock().expect("the orders").keys().next().expect("a dialog");
    bench.brain.order(dialog, SipCommand::Reoffer(Box::new(offer(4))));
    let reinvite = bench.heard().concat();
    let mut trying = String::from("SIP/2.0 100 Trying\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        trying.push_str(&format!("{name}: {}\r\n", header(&reinvite, name)));
    }
    assert!(bench.raw(trying + "Content-Length: 0\r\n\r\n").is_empty());
    let bye = bench.ask("BYE", &[("To", &to), ("CSeq", "2 BYE"), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKbye")]);
    assert_eq!(Bench::codes(&bye), [200]);
    until("an empty table", || empty(&bench.core)).await;
}

#[tokio::test(start_paused = true)]
async fn a_200_without_ack_is_repeated_and_then_ended_by_bye() {
    let bench = Bench::new(Manner::Answers, open());
    bench.ask("INVITE", &[]);
    bench.sent.lock().expect("the tape").clear();
    tokio::time::sleep(Duration::from_secs(33)).await;
    let sent = bench.sent.lock().expect("the tape").clone();
    assert_eq!(Bench::codes(&sent).iter().filter(|code| **code == 200).count(), 10);
    assert!(sent.iter().any(|text| text.starts_with("BYE ")));
    assert_eq!(bench.brain.ended().first().map(|(_, cause)| cause.status), Some(408));
}
