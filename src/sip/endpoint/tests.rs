//! Whole cores: two of them over a lossy link on paused time, and single messages in, octets out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tandem_actors::model::address::SipOrigin;
use tandem_actors::model::address::{AppHeaders, CallerId, SipUri};
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::LegId;
use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{AudioOffer, Capabilities};
use tandem_actors::ports::Brain;
use tandem_actors::ports::client::ClientInput;
use tandem_actors::ports::media::MediaEvent;
use tandem_actors::ports::rtc::RtcEvent;
use tandem_actors::ports::sip::{
    Destination, DialogEvent, DialogPhase, OutgoingInvite, RegisterAnswer, SipCommand, SipPort,
};

use super::super::config::TrunkConfig;
use super::super::digest::DigestAlgorithm;
use super::super::transport::Wire;
use super::super::transport::memory::{MemoryWire, Weather};
use super::*;

/// Knows bob, password zanzibar.
struct Bob;
impl Credentials for Bob {
    fn ha1(&self, subscriber: &str, realm: &str, algorithm: DigestAlgorithm) -> Option<String> {
        (subscriber == "bob").then(|| algorithm.ha1("bob", realm, "zanzibar"))
    }
}

/// What a scripted brain does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// 180, then 200.
    Answers,
    /// Busy.
    Rejects,
    /// 180 and nothing more.
    Rings,
    /// Leaves everything undecided.
    Sleeps,
}

struct Scripted {
    manner: Manner,
    core: OnceLock<SipCore>,
    events: Mutex<Vec<SipEvent>>,
    orders: Mutex<HashMap<DialogId, u64>>,
}

impl Scripted {
    fn new(manner: Manner) -> Arc<Self> {
        Arc::new(Self { manner, core: OnceLock::new(), events: Mutex::default(), orders: Mutex::default() })
    }
    fn order(&self, dialog: DialogId, command: SipCommand) {
        let order = {
            let mut orders = self.orders.lock().expect("the orders");
            let order = orders.entry(dialog).or_default();
            *order += 1;
            *order
        };
        let core = self.core.get().expect("a core");
        core.order(dialog, Epoch(1), order, command).expect("not fenced");
    }
    fn ended(&self) -> Vec<(DialogId, Cause)> {
        let events = self.events.lock().expect("the events");
        events
            .iter()
            .filter_map(|event| match event {
                SipEvent::Dialog { dialog, event: DialogEvent::Ended(cause), .. } => Some((*dialog, cause.clone())),
                SipEvent::Dialog { .. }
                | SipEvent::Incoming(_)
                | SipEvent::Register(_)
                | SipEvent::TrunkRegistration { .. }
                | SipEvent::TrunkOptions { .. } => None,
            })
            .collect()
    }
    fn saw(&self, wanted: impl Fn(&DialogEvent) -> bool) -> bool {
        let events = self.events.lock().expect("the events");
        events.iter().any(|event| matches!(event, SipEvent::Dialog { event, .. } if wanted(event)))
    }
}

impl Brain for Scripted {
    fn sip(&self, event: SipEvent) {
        self.events.lock().expect("the events").push(event.clone());
        if self.manner == Manner::Sleeps {
            return;
        }
        if let SipEvent::Incoming(invite) = &event {
            let (dialog, headers) = (invite.dialog, AppHeaders::default());
            self.order(dialog, SipCommand::Adopt(LegId(1)));
            match self.manner {
                Manner::Rejects => self.order(dialog, SipCommand::Reject { cause: Cause::busy(), warning: None }),
                Manner::Answers | Manner::Rings => {
                    self.order(dialog, SipCommand::Progress { status: 180, answer: None, headers: headers.clone() });
                    if self.manner == Manner::Answers {
                        self.order(dialog, SipCommand::Answer { description: Box::new(offer(2)), headers });
                    }
                }
                Manner::Sleeps => {}
            }
        }
        if let SipEvent::Dialog { dialog, event: DialogEvent::Reoffered { request, .. }, .. } = &event {
            let command = SipCommand::AnswerReoffer { request: *request, description: Box::new(offer(3)) };
            self.order(*dialog, command);
        }
        if let SipEvent::Dialog { dialog, event: DialogEvent::Ended(_), .. } = &event {
            self.order(*dialog, SipCommand::Forget);
        }
        if let SipEvent::Register(register) = &event {
            let answer = RegisterAnswer::Bindings(vec![(SipUri("sip:bob@192.0.2.1:5060".into()), 60)]);
            self.core.get().expect("a core").answer_register(register.request, answer);
        }
    }
    fn rtc(&self, _: RtcEvent) {}
    fn media(&self, _: MediaEvent) {}
    fn client(&self, _: ClientInput) {}
}

fn offer(version: u64) -> AudioOffer {
    AudioOffer::from_capabilities(&Capabilities {
        codecs: vec![Codec::Pcmu],
        rtp: "192.0.2.9:4000".parse().expect("an address"),
        direction: Direction::SendRecv,
        session_id: 1,
        session_version: version,
        dtls: None,
    })
}

const FINE: Weather = Weather { loss: 0.0, twice: 0.0, delay: Duration::from_millis(5) };

struct Pair {
    a: (SipCore, Arc<Scripted>),
    b: (SipCore, Arc<Scripted>),
}

fn address(which: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, which], 5060))
}

fn core_at(
    which: u8,
    config: SipConfig,
    brain: &Arc<Scripted>,
    wire: impl FnOnce(Weak<Shared>) -> Box<dyn Wire>,
) -> SipCore {
    let listener = Listener {
        id: ListenerId::new("udp").expect("a name"),
        transports: vec![Transport::Udp],
        local: address(which),
        external_ip: None,
        local_nets: Vec::new(),
    };
    let core = Core::new(config, vec![listener], Arc::new(Bob), Instant::now());
    let core = SipCore::assemble(core, brain.clone(), wire);
    assert!(brain.core.set(core.clone()).is_ok());
    core
}

fn pair(seed: u64, weather: Weather, manner: Manner, config_a: SipConfig, config_b: SipConfig) -> Pair {
    let peers = Arc::new(OnceLock::new());
    let (brain_a, brain_b) = (Scripted::new(Manner::Answers), Scripted::new(manner));
    let wire = |seed, which| {
        let peers = peers.clone();
        move |_: Weak<Shared>| Box::new(MemoryWire::new(seed, weather, address(which), peers)) as Box<dyn Wire>
    };
    let a = core_at(1, config_a, &brain_a, wire(seed, 1));
    let b = core_at(2, config_b, &brain_b, wire(seed ^ 0x5555, 2));
    let known = vec![(address(1), a.downgrade()), (address(2), b.downgrade())];
    assert!(peers.set(known).is_ok());
    Pair { a: (a, brain_a), b: (b, brain_b) }
}

fn open() -> SipConfig {
    SipConfig { anonymous: true, domain: "example.com".into(), ..SipConfig::default() }
}

fn call(pair: &Pair, to: Vec<Destination>) -> DialogId {
    let dialog = DialogId::random();
    let invite = OutgoingInvite {
        leg: LegId(9),
        to,
        caller: CallerId { display: "Al \"x\"\r\nEvil: 1".into(), number: "100".into() },
        headers: AppHeaders { number: Some("<sip:u@example.com>".into()), ..AppHeaders::default() },
        offer: offer(1),
    };
    pair.a.1.order(dialog, SipCommand::Invite(Box::new(invite)));
    dialog
}

fn to_b(user: &str) -> Vec<Destination> {
    vec![Destination::Uri(SipUri(format!("sip:{user}@192.0.2.2")))]
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn confirmed(core: &SipCore, dialog: DialogId) -> bool {
    core.snapshot(dialog).is_some_and(|snapshot| snapshot.phase == DialogPhase::Confirmed)
}

fn empty(core: &SipCore) -> bool {
    core.shared().with(|core, _| {
        core.clients.is_empty()
            && core.servers.is_empty()
            && core.dialogs.is_empty()
            && core.names.is_empty()
            && core.merged.is_empty()
            && core.unsent.is_empty()
            && core.registers.is_empty()
    })
}

async fn both_empty(pair: &Pair) {
    until("an empty table", || empty(&pair.a.0) && empty(&pair.b.0)).await;
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_clean_whatever_the_link_loses_doubles_and_reorders() {
    for seed in 0..200 {
        let weather = Weather { loss: 0.25, twice: 0.2, delay: Duration::from_millis(400) };
        let manner = [Manner::Answers, Manner::Rejects, Manner::Rings][usize::try_from(seed % 3).expect("small")];
        let pair = pair(seed, weather, manner, open(), open());
        let dialog = call(&pair, to_b("200"));
        match manner {
            Manner::Answers => {
                // Either it is confirmed, or it ended because the link ate every repeat.
                until("an outcome", || confirmed(&pair.a.0, dialog) || !pair.a.1.ended().is_empty()).await;
                if seed % 2 == 0 {
                    pair.a.1.order(dialog, SipCommand::Reoffer(Box::new(offer(4))));
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
                pair.a.1.order(dialog, SipCommand::Hangup(Cause::hangup()));
            }
            Manner::Rings => {
                tokio::time::sleep(Duration::from_millis(50 * seed)).await;
                pair.a.1.order(dialog, SipCommand::Hangup(Cause::cancelled()));
                // A callee that lost every CANCEL would ring for ever: its own leg hangs up.
                tokio::time::sleep(Duration::from_secs(40)).await;
                let ringing: Vec<_> = pair.b.0.shared().with(|core, _| core.dialogs.keys().copied().collect());
                for dialog in ringing {
                    pair.b.1.order(dialog, SipCommand::Hangup(Cause::expired()));
                }
            }
            Manner::Rejects | Manner::Sleeps => {}
        }
        until("the end", || !pair.a.1.ended().is_empty()).await;
        if manner == Manner::Answers {
            // A BYE whose every repeat was lost: the other side's leg would notice by its media.
            tokio::time::sleep(Duration::from_secs(40)).await;
            let left: Vec<_> = pair.b.0.shared().with(|core, _| core.dialogs.keys().copied().collect());
            for dialog in left {
                pair.b.1.order(dialog, SipCommand::Hangup(Cause::media_lost("silence")));
            }
        }
        both_empty(&pair).await;
        assert_eq!(pair.a.1.ended().len(), 1, "seed {seed}: one end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_acknowledged_reoffered_and_hung_up() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the ACK", || pair.b.1.saw(|event| matches!(event, DialogEvent::Acked { answer: None }))).await;
    assert!(pair.a.1.saw(|event| matches!(event, DialogEvent::Progress { status: 180, .. })));
    let incoming = {
        let events = pair.b.1.events.lock().expect("the events");
        match events.first() {
            Some(SipEvent::Incoming(invite)) => invite.clone(),
            other => panic!("expected an INVITE, found {other:?}"),
        }
    };
    assert_eq!(incoming.origin, SipOrigin::Anonymous);
    assert_eq!(incoming.from.display, "Al \"x\"Evil: 1");
    assert_eq!(incoming.from.uri.0, "sip:100@example.com");
    assert_eq!(incoming.headers.number.as_deref(), Some("<sip:u@example.com>"));
    pair.a.1.order(dialog, SipCommand::Reoffer(Box::new(offer(5))));
    until("the answer", || pair.a.1.saw(|event| matches!(event, DialogEvent::ReofferAnswered(_)))).await;
    pair.a.1.order(dialog, SipCommand::Info(vec![]));
    pair.b.1.order(incoming.dialog, SipCommand::Hangup(Cause::hangup()));
    until("the BYE", || !pair.a.1.ended().is_empty()).await;
    assert_eq!(pair.a.1.ended().first().map(|(_, cause)| cause.q850), Some(Some(16)));
    both_empty(&pair).await;
}

#[tokio::test(start_paused = true)]
async fn digits_arrive_in_order_by_info() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let digits: Vec<_> = "12*#".chars().filter_map(tandem_actors::model::media::Digit::new).collect();
    pair.a.1.order(dialog, SipCommand::Info(digits.clone()));
    let heard = || -> Vec<_> {
        let events = pair.b.1.events.lock().expect("the events");
        events
            .iter()
            .filter_map(|event| match event {
                SipEvent::Dialog { event: DialogEvent::Info(digit), .. } => Some(*digit),
                SipEvent::Dialog { .. }
                | SipEvent::Incoming(_)
                | SipEvent::Register(_)
                | SipEvent::TrunkRegistration { .. }
                | SipEvent::TrunkOptions { .. } => None,
            })
            .collect()
    };
    until("four digits", || heard().len() == 4).await;
    assert_eq!(heard(), digits);
}

#[tokio::test(start_paused = true)]
async fn crossing_reoffers_meet_491_and_both_get_through() {
    let pair = pair(7, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the ACK", || pair.b.1.saw(|event| matches!(event, DialogEvent::Acked { .. }))).await;
    let theirs = *pair.b.1.orders.lock().expect("the orders").keys().next().expect("a dialog");
    pair.a.1.order(dialog, SipCommand::Reoffer(Box::new(offer(5))));
    pair.b.1.order(theirs, SipCommand::Reoffer(Box::new(offer(6))));
    let answered = |brain: &Scripted| brain.saw(|event| matches!(event, DialogEvent::ReofferAnswered(_)));
    until("both answers", || answered(&pair.a.1) && answered(&pair.b.1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_undecided_invite_gets_500_after_2_s() {
    let pair = pair(1, FINE, Manner::Sleeps, open(), open());
    let began = Instant::now();
    call(&pair, to_b("200"));
    until("the end", || !pair.a.1.ended().is_empty()).await;
    assert_eq!(pair.a.1.ended().first().map(|(_, cause)| cause.status), Some(500));
    assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn the_first_of_several_contacts_wins_and_the_others_are_cancelled() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let mut to = to_b("200");
    to.extend(to_b("201"));
    // Nobody is there: this fork hears nothing, so no CANCEL may be sent for it.
    to.push(Destination::Uri(SipUri("sip:x@192.0.2.3".into())));
    let dialog = call(&pair, to);
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    until("the loser's end", || pair.b.1.ended().len() == 1).await;
    pair.a.1.order(dialog, SipCommand::Hangup(Cause::hangup()));
    until("the winner's end", || pair.b.1.ended().len() == 2).await;
    both_empty(&pair).await;
}

#[tokio::test(start_paused = true)]
async fn orders_of_an_older_epoch_are_fenced_and_repeats_dropped() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let core = &pair.a.0;
    assert_eq!(core.order(dialog, Epoch(2), 1, SipCommand::Hangup(Cause::hangup())), Ok(()), "order 1 was carried out");
    assert!(confirmed(core, dialog));
    let fenced = core.order(dialog, Epoch(1), 9, SipCommand::Hangup(Cause::hangup()));
    assert_eq!(fenced, Err(tandem_actors::ports::Fenced));
    assert_eq!(core.order(dialog, Epoch(2), 2, SipCommand::Hangup(Cause::hangup())), Ok(()));
    assert!(!confirmed(core, dialog));
}

fn trunk(which: u8, password: &str) -> TrunkConfig {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), format!("192.0.2.{which}"));
    trunk.username = "bob".into();
    trunk.password = password.into();
    trunk
}

#[tokio::test(start_paused = true)]
async fn a_trunk_registers_with_digest_and_is_told_a_wrong_password() {
    for (password, outcome) in [("zanzibar", Ok(Duration::from_secs(60))), ("sesame", Err(401))] {
        let mut config = open();
        let mut ours = trunk(2, password);
        ours.domain = Some("example.com".into());
        config.trunks = vec![ours];
        let pair = pair(3, FINE, Manner::Answers, config, open());
        let id = TrunkId::new("acme").expect("a name");
        pair.a.0.register(&id, Epoch(1), Duration::from_secs(300));
        let wanted = SipEvent::TrunkRegistration { trunk: id, epoch: Epoch(1), outcome };
        until("the outcome", || pair.a.1.events.lock().expect("the events").contains(&wanted)).await;
        both_empty(&pair).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_challenged_invite_is_sent_again_with_credentials() {
    let mut config = open();
    config.trunks = vec![trunk(2, "zanzibar")];
    let closed = SipConfig { anonymous: false, ..open() };
    let pair = pair(3, FINE, Manner::Answers, config, closed);
    let destination = Destination::Trunk { trunk: TrunkId::new("acme").expect("a name"), number: "13800#1".into() };
    let dialog = call(&pair, vec![destination]);
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let events = pair.b.1.events.lock().expect("the events").clone();
    let Some(SipEvent::Incoming(invite)) = events.first() else { panic!("an INVITE") };
    assert_eq!(invite.origin, SipOrigin::Subscriber("bob".parse().expect("a name")));
    assert_eq!(invite.request_uri.0, "sip:13800%231@192.0.2.2");
}

#[tokio::test(start_paused = true)]
async fn a_trunks_address_needs_no_password_and_its_asserted_identity_is_believed() {
    let mut config_a = open();
    config_a.trunks = vec![trunk(2, "")];
    let mut config_b = SipConfig { anonymous: false, ..open() };
    config_b.trunks = vec![trunk(1, "")];
    let pair = pair(3, FINE, Manner::Answers, config_a, config_b);
    let id = TrunkId::new("acme").expect("a name");
    let dialog = call(&pair, vec![Destination::Trunk { trunk: id.clone(), number: "555".into() }]);
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let events = pair.b.1.events.lock().expect("the events").clone();
    let Some(SipEvent::Incoming(invite)) = events.first() else { panic!("an INVITE") };
    assert_eq!(invite.origin, SipOrigin::Trunk(id.clone()));
    assert_eq!(invite.asserted.as_ref().map(|who| who.uri.0.as_str()), Some("sip:100@example.com"));
    pair.a.0.options(&id, Epoch(1));
    let alive = |event: &SipEvent| matches!(event, SipEvent::TrunkOptions { outcome: Ok(_), .. });
    until("the OPTIONS", || pair.a.1.events.lock().expect("the events").iter().any(alive)).await;
}

/// A core alone: text in, texts out.
struct Bench {
    core: SipCore,
    brain: Arc<Scripted>,
    sent: Arc<Mutex<Vec<String>>>,
}

struct Tape(Arc<Mutex<Vec<String>>>);
impl Wire for Tape {
    fn send(&self, _: Flow, octets: Bytes) {
        self.0.lock().expect("the tape").push(String::from_utf8_lossy(&octets).into_owned());
    }
}

impl Bench {
    fn new(manner: Manner, config: SipConfig) -> Self {
        let (brain, sent) = (Scripted::new(manner), Arc::new(Mutex::default()));
        let tape = Tape(Arc::clone(&sent));
        let core = core_at(1, config, &brain, |_| Box::new(tape));
        Self { core, brain, sent }
    }
    /// Sends a request from 192.0.2.7 and gives what came back, first lines only.
    fn ask(&self, method: &str, changes: &[(&str, &str)]) -> Vec<String> {
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
    fn raw(&self, text: String) -> Vec<String> {
        self.sent.lock().expect("the tape").clear();
        self.core.shared().datagram(Flow::udp(0, SocketAddr::from(([192, 0, 2, 7], 5060))), Bytes::from(text));
        self.sent.lock().expect("the tape").clone()
    }
    fn codes(answers: &[String]) -> Vec<u16> {
        answers.iter().filter_map(|text| text.get(8..11)?.parse().ok()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_we_do_not_know_is_refused_by_its_own_status() {
    let bench = Bench::new(Manner::Rings, open());
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);
    let cases: &[Case<'_>] = &[
        ("FROB", &[("CSeq", "1 FROB")], 501),
        ("REFER", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK2")], 405),
        ("BYE", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK3")], 481),
        ("BYE", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK4"), ("To", "<sip:a@b>;tag=none")], 481),
        ("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK5")], 200),
        ("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK6"), ("Require", "100rel, timer")], 420),
        ("CANCEL", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK7")], 481),
        ("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK8"), ("Max-Forwards", "x")], 400),
    ];
    for (method, changes, code) in cases {
        let answers = bench.ask(method, changes);
        assert_eq!(Bench::codes(&answers), [*code], "{method} {changes:?}");
        if *code == 420 {
            assert!(answers.concat().contains("Unsupported: 100rel\r\n"));
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
        (&[("Session-Expires", "30")], 422),
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
        let answers = bench.ask(method, &[("Via", &via)]).concat();
        assert!(answers.starts_with("SIP/2.0 401"), "{answers}");
        let (md5, sha) = (answers.find("algorithm=MD5"), answers.find("algorithm=SHA-256"));
        assert!(md5.is_some() && md5 < sha);
    }
    let challenge =
        bench.ask("REGISTER", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bKs2"), ("CSeq", "2 REGISTER")]).concat();
    let value = challenge.split("WWW-Authenticate: ").nth(1).and_then(|rest| rest.lines().next()).expect("a challenge");
    let account = Account { user: "bob".into(), password: "zanzibar".into(), realm: None };
    let proof =
        super::super::digest::answer([value.as_bytes()].into_iter(), &account, "REGISTER", "sip:example.com", "c");
    let proof = proof.expect("an answer");
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
async fn draining_refuses_new_calls_with_retry_after() {
    let bench = Bench::new(Manner::Answers, open());
    bench.core.set_draining(true);
    let answers = bench.ask("INVITE", &[]).concat();
    assert!(answers.starts_with("SIP/2.0 503 Service Unavailable\r\n") && answers.contains("Retry-After: 5\r\n"));
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
