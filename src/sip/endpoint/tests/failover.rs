//! What becomes of a request whose target fails (RFC 3263 §4.3, RFC 3261 §8.1.3.1, §21.5.4). Names are known beforehand: nothing
//! is asked of a name server.

use super::super::super::config::{BindError, TrunkConfig, TrunkTarget};
use super::super::super::resolve::Srv;
use super::super::health::Standing;
use super::outbound::{header, response, uri};
use super::pair::{confirmed, empty};
use super::*;

/// A core that sends into a list, with what is known of example.com.
struct Carrier {
    core: SipCore,
    brain: Arc<Scripted>,
    sent: Arc<Mutex<Vec<(Flow, String)>>>,
}

struct Tape(Arc<Mutex<Vec<(Flow, String)>>>);
impl Wire for Tape {
    fn keep_listening(&self, _: usize) -> Result<bool, BindError> {
        Ok(false)
    }
    fn send(&self, flow: Flow, octets: Bytes) {
        self.0.lock().expect("the tape").push((flow, String::from_utf8_lossy(&octets).into_owned()));
    }
}

/// Servers of example.com: priority, weight, and the last octet of 192.0.2.x.
fn carrier(transport: Transport, servers: &[(u16, u16, u8)], config: SipConfig) -> Carrier {
    let (brain, sent) = (Scripted::new(Manner::Sleeps), Arc::new(Mutex::default()));
    let tape = Tape(Arc::clone(&sent));
    let core = core_at(1, config, &brain, |_| Box::new(tape));
    let day = Duration::from_secs(86_400);
    core.shared().with(|core, now| {
        core.listeners.first_mut().expect("a listener").transports = vec![Transport::Udp, Transport::Tcp];
        let word = if transport == Transport::Udp { "udp" } else { "tcp" };
        // Put where answers are kept, not told one by one: nothing is left to ask.
        let mut put = |name: &str, kind, heard| core.dns.put(Question::new(name, kind), heard, now);
        let mut records = Vec::new();
        for (priority, weight, n) in servers {
            let host = format!("s{n}.example.com");
            records.push(Srv { priority: *priority, weight: *weight, port: 5060, host: host.clone() });
            put(&host, RecordKind::A, Heard::Found(Answer::Addresses(vec![[192, 0, 2, *n].into()]), day));
            put(&host, RecordKind::Aaaa, Heard::Nothing(Some(day)));
        }
        for other in ["udp", "tcp"] {
            put(&format!("_sip._{other}.example.com"), RecordKind::Srv, Heard::Nothing(Some(day)));
        }
        if !records.is_empty() {
            put(&format!("_sip._{word}.example.com"), RecordKind::Srv, Heard::Found(Answer::Srv(records), day));
        }
        put("example.com", RecordKind::Naptr, Heard::Nothing(Some(day)));
        for at in 0..core.trunks.len() {
            assert_eq!(core.trunk_targets_known(at, now), Ok(()));
        }
    });
    Carrier { core, brain, sent }
}

impl Carrier {
    fn call(&self) -> DialogId {
        self.call_to(uri("sip:200@example.com"))
    }
    fn call_to(&self, to: Vec<Destination>) -> DialogId {
        self.brain.invite(plain_invite(to))
    }
    /// What was sent since it was asked last: method, the last octet of where, text.
    fn sent(&self) -> Vec<(String, u8, String)> {
        let sent = std::mem::take(&mut *self.sent.lock().expect("the tape"));
        let word = |(flow, text): (Flow, String)| {
            let IpAddr::V4(ip) = flow.remote.ip() else { panic!("IPv4") };
            (text.split(' ').next().unwrap_or_default().to_owned(), ip.octets()[3], text)
        };
        sent.into_iter().map(word).collect()
    }
    /// The only request that was sent, and to whom.
    fn one(&self, method: &str) -> (u8, String) {
        let sent = self.sent();
        let [(sent_method, to, text)] = sent.as_slice() else { panic!("one {method}, not {sent:?}") };
        assert_eq!(sent_method, method);
        (*to, text.clone())
    }
    /// A response comes from a server.
    fn hears(&self, from: u8, text: String) {
        self.core.shared().datagram(Flow::udp(0, address(from)), Bytes::from(text));
    }
    fn standing(&self, n: u8) -> Standing {
        self.core.shared().with(|core, now| core.targets.standing((Transport::Udp, address(n)), now))
    }
}

fn ok(request: &str) -> String {
    let body = crate::sdp::write(&offer(2).0);
    let length = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    response(request, "200 OK").replace("Content-Length: 0\r\n\r\n", &length)
}

const TWO: &[(u16, u16, u8)] = &[(1, 0, 11), (2, 0, 12)];

#[tokio::test(start_paused = true)]
async fn after_a_503_the_request_goes_to_the_next_target_with_a_new_branch() {
    let carrier = carrier(Transport::Udp, TWO, open());
    let dialog = carrier.call();
    let (to, first) = carrier.one("INVITE");
    assert_eq!(to, 11);
    carrier.hears(11, response(&first, "503 Service Unavailable"));
    let sent = carrier.sent();
    let [(ack, 11, ack_text), (invite, 12, second)] = sent.as_slice() else { panic!("ACK and INVITE, not {sent:?}") };
    assert_eq!((ack.as_str(), invite.as_str()), ("ACK", "INVITE"));
    assert_eq!(header(ack_text, "Via"), header(&first, "Via"), "the ACK of a failure has the INVITE's branch");
    for same in ["Call-ID", "From", "To", "CSeq"] {
        assert_eq!(header(second, same), header(&first, same));
    }
    assert_ne!(header(second, "Via"), header(&first, "Via"));
    carrier.hears(12, ok(second));
    assert!(confirmed(&carrier.core, dialog));
    assert_eq!(carrier.one("ACK").0, 12);
}

#[tokio::test(start_paused = true)]
async fn a_silent_target_is_given_up_for_the_next_and_what_it_says_late_is_taken_back() {
    let carrier = carrier(Transport::Udp, TWO, open());
    let dialog = carrier.call();
    let (_, first) = carrier.one("INVITE");
    tokio::time::sleep(Duration::from_millis(3999)).await;
    assert!(carrier.sent().iter().all(|(method, to, _)| method == "INVITE" && *to == 11));
    tokio::time::sleep(Duration::from_millis(2)).await;
    let (to, second) = carrier.one("INVITE");
    assert_eq!((to, carrier.standing(11)), (12, Standing::Down));
    carrier.hears(12, response(&second, "180 Ringing"));
    // It was merely slow.
    carrier.hears(11, response(&first, "180 Ringing"));
    let (to, cancel) = carrier.one("CANCEL");
    assert_eq!((to, header(&cancel, "Via")), (11, header(&first, "Via")));
    carrier.hears(11, response(&first, "180 Ringing"));
    assert_eq!(carrier.sent(), Vec::new(), "one CANCEL is enough");
    // It answered before the CANCEL came.
    carrier.hears(11, ok(&first));
    let sent = carrier.sent();
    let methods: Vec<_> = sent.iter().map(|(method, to, _)| (method.as_str(), *to)).collect();
    assert_eq!(methods, [("ACK", 11), ("BYE", 11)]);
    carrier.hears(11, ok(&first));
    assert_eq!(carrier.one("ACK").0, 11, "a repeat is acknowledged again");
    assert!(!confirmed(&carrier.core, dialog) && carrier.brain.ended().is_empty());
    carrier.hears(12, ok(&second));
    assert!(confirmed(&carrier.core, dialog));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_rings_is_not_left_for_another() {
    let carrier = carrier(Transport::Udp, TWO, open());
    carrier.call();
    let (_, first) = carrier.one("INVITE");
    carrier.hears(11, response(&first, "100 Trying"));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!((carrier.sent(), carrier.standing(11)), (Vec::new(), Standing::Up));
}

#[tokio::test(start_paused = true)]
async fn after_a_transport_error_the_request_goes_to_the_next_target() {
    let carrier = carrier(Transport::Tcp, TWO, open());
    carrier.call();
    assert_eq!(carrier.one("INVITE").0, 11);
    let flow = Flow { transport: Transport::Tcp, ..Flow::udp(0, address(11)) };
    carrier.core.shared().unreachable(flow);
    assert_eq!(carrier.one("INVITE").0, 12);
    let flow = Flow { remote: address(12), ..flow };
    carrier.core.shared().unreachable(flow);
    let ended = carrier.brain.ended();
    assert_eq!(ended.first().map(|(_, cause)| cause.status), Some(503), "none is left");
}

#[tokio::test(start_paused = true)]
async fn timer_b_ends_an_invite_to_a_lone_target_after_64_t1_and_is_a_408() {
    let carrier = carrier(Transport::Udp, &[(1, 0, 11)], open());
    carrier.call();
    tokio::time::sleep(Duration::from_millis(31_999)).await;
    assert!(carrier.brain.ended().is_empty());
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(carrier.brain.ended().first().map(|(_, cause)| cause.status), Some(408));
}

#[tokio::test(start_paused = true)]
async fn the_cancel_goes_to_the_target_of_its_invite() {
    let carrier = carrier(Transport::Udp, TWO, open());
    let dialog = carrier.call();
    let (_, first) = carrier.one("INVITE");
    carrier.hears(11, response(&first, "503 Service Unavailable"));
    let second = carrier.sent().pop().expect("an INVITE").2;
    carrier.hears(12, response(&second, "180 Ringing"));
    carrier.brain.order(dialog, SipCommand::Hangup(Cause::cancelled()));
    let (to, cancel) = carrier.one("CANCEL");
    assert_eq!((to, header(&cancel, "Via")), (12, header(&second, "Via")));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_wants_any_more_goes_to_no_other_target() {
    let carrier = carrier(Transport::Udp, TWO, open());
    let dialog = carrier.call();
    let (_, first) = carrier.one("INVITE");
    carrier.brain.order(dialog, SipCommand::Hangup(Cause::cancelled()));
    carrier.hears(11, response(&first, "503 Service Unavailable"));
    assert_eq!(carrier.one("ACK").0, 11);
    until("an empty table", || empty(&carrier.core)).await;
    assert_eq!(carrier.sent(), Vec::new());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_failed_is_tried_last_by_every_call_until_it_answers() {
    let carrier = carrier(Transport::Udp, TWO, open());
    carrier.call();
    tokio::time::sleep(Duration::from_millis(4001)).await;
    carrier.sent();
    carrier.call();
    let (to, request) = carrier.one("INVITE");
    assert_eq!(to, 12, "another call does not wait for it");
    carrier.hears(12, response(&request, "503 Service Unavailable"));
    let tried = carrier.sent().pop().expect("an INVITE");
    assert_eq!(tried.1, 11, "better than none");
    carrier.hears(11, response(&tried.2, "486 Busy Here"));
    carrier.sent();
    carrier.call();
    assert_eq!(carrier.one("INVITE").0, 11);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_for_its_target_and_for_no_other() {
    let carrier = carrier(Transport::Udp, TWO, open());
    let refused = |request: &str| {
        response(request, "503 Service Unavailable")
            .replace("Content-Length", "Retry-After: 20 (busy)\r\nContent-Length")
    };
    carrier.call();
    carrier.hears(11, refused(&carrier.one("INVITE").1));
    let second = carrier.sent().pop().expect("an INVITE");
    assert_eq!(second.1, 12);
    carrier.call();
    assert_eq!(carrier.one("INVITE").0, 12);
    carrier.hears(12, refused(&second.2));
    carrier.sent();
    let ended = carrier.brain.ended().len();
    carrier.call();
    assert_eq!(carrier.sent(), Vec::new(), "both asked for rest");
    assert_eq!(carrier.brain.ended().len(), ended + 1);
    tokio::time::sleep(Duration::from_secs(20)).await;
    carrier.sent();
    carrier.call();
    assert_eq!(carrier.one("INVITE").0, 11);
}

#[tokio::test(start_paused = true)]
async fn calls_are_spread_by_the_weights_of_srv() {
    let carrier = carrier(Transport::Udp, &[(1, 10, 11), (1, 30, 12), (2, 1000, 13)], open());
    for _ in 0..400 {
        carrier.call();
    }
    let sent = carrier.sent();
    let count = |n: u8| sent.iter().filter(|(_, to, _)| *to == n).count();
    assert_eq!(count(13), 0, "a higher priority number is for failure only");
    // 400 throws at 1 in 4: five standard deviations are 43.
    assert!((57..=143).contains(&count(11)) && count(11) + count(12) == 400, "{} to the lighter", count(11));
}

#[tokio::test(start_paused = true)]
async fn a_request_in_a_dialog_whose_peer_fails_goes_to_where_its_next_hop_leads() {
    let carrier = carrier(Transport::Udp, TWO, open());
    let dialog = carrier.call();
    let (_, first) = carrier.one("INVITE");
    let ok = ok(&first).replace(
        "Content-Type",
        "Record-Route: <sip:example.com;lr>\r\nContact: <sip:200@s9.example.com>\r\nContent-Type",
    );
    carrier.hears(11, ok);
    carrier.sent();
    carrier.brain.order(dialog, SipCommand::Reoffer(Box::new(offer(3))));
    let (to, reinvite) = carrier.one("INVITE");
    assert_eq!(to, 11, "where the peer was heard");
    carrier.hears(11, response(&reinvite, "503 Service Unavailable"));
    let (_, to, again) = carrier.sent().pop().expect("an INVITE");
    assert_eq!((to, header(&again, "CSeq")), (12, header(&reinvite, "CSeq")));
    assert_ne!(header(&again, "Via"), header(&reinvite, "Via"));
    carrier.hears(12, self::ok(&again));
    carrier.sent();
    carrier.brain.order(dialog, SipCommand::Hangup(Cause::hangup()));
    assert_eq!(carrier.one("BYE").0, 12, "the way that worked is the dialog's from then on");
}

fn acme(asks: bool) -> SipConfig {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), "example.com");
    trunk.asks = asks;
    SipConfig { trunks: vec![trunk], anonymous: false, ..open() }
}

fn options(carrier: &Carrier) -> Vec<(u8, String)> {
    let sent = carrier.sent();
    assert!(sent.iter().all(|(method, _, _)| method == "OPTIONS"), "{sent:?}");
    sent.into_iter().map(|(_, to, text)| (to, text)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_trunk_lives_while_one_of_its_targets_does() {
    let carrier = carrier(Transport::Udp, TWO, acme(true));
    let id = TrunkId::new("acme").expect("a name");
    let outcomes = || -> Vec<Result<Duration, u16>> {
        let events = carrier.brain.events.lock().expect("the events");
        let outcome = |event: &SipEvent| {
            let SipEvent::TrunkOptions { outcome, .. } = event else { return None };
            Some(*outcome)
        };
        events.iter().filter_map(outcome).collect()
    };
    carrier.core.options(&id, Epoch(1));
    let asked = options(&carrier);
    assert_eq!(asked.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [11, 12], "every target is asked");
    carrier.hears(12, response(&asked[1].1, "200 OK"));
    assert_eq!(outcomes(), [], "the other may be quicker");
    tokio::time::sleep(Duration::from_millis(4001)).await;
    assert_eq!(outcomes(), [Ok(Duration::ZERO)]);
    assert_eq!((carrier.standing(11), carrier.standing(12)), (Standing::Down, Standing::Up));
    carrier.sent();
    carrier.core.options(&id, Epoch(1));
    tokio::time::sleep(Duration::from_millis(4001)).await;
    assert_eq!(outcomes().last(), Some(&Err(408)), "none answers");
}

#[tokio::test(start_paused = true)]
async fn a_trunks_target_that_failed_is_asked_whether_it_is_back() {
    for asks in [true, false] {
        let carrier = carrier(Transport::Udp, TWO, acme(asks));
        carrier.call();
        tokio::time::sleep(Duration::from_millis(4001)).await;
        let second = carrier.sent().pop().expect("an INVITE");
        carrier.hears(12, response(&second.2, "486 Busy Here"));
        carrier.sent();
        tokio::time::sleep(Duration::from_secs(7)).await;
        let asked = options(&carrier);
        assert_eq!(asked.first().map(|(to, _)| *to), asks.then_some(11));
        assert_eq!(carrier.standing(11), if asks { Standing::Down } else { Standing::Up });
        if let Some((_, request)) = asked.first() {
            carrier.hears(11, response(request, "200 OK"));
            assert_eq!(carrier.standing(11), Standing::Up);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_target_of_a_trunk_is_a_source_of_its_calls() {
    let carrier = carrier(Transport::Udp, TWO, acme(true));
    for (n, code) in [(11, "100"), (12, "100"), (13, "401")] {
        let request = format!(
            "INVITE sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.{n};branch=z9hG4bK{n}\r\nFrom: <sip:x@y>;tag=f\r\n\
             To: <sip:200@y>\r\nCall-ID: c{n}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@192.0.2.{n}>\r\nMax-Forwards: 9\r\n\
             Content-Length: 0\r\n\r\n"
        );
        carrier.hears(n, request);
        let answers = carrier.sent();
        let first = answers.iter().map(|(_, _, text)| text.get(8..11)).find(|code| *code != Some("100"));
        assert!(if code == "100" { first.is_none() } else { first == Some(Some(code)) }, "{n}: {answers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_target_is_not_waited_for_where_another_trunk_is_next() {
    let carrier = carrier(Transport::Udp, &[(1, 0, 11)], acme(true));
    let to =
        vec![Destination::Trunk { trunk: TrunkId::new("acme").expect("a name"), number: "200".into(), more: true }];
    let dialog = carrier.call_to(to);
    let (_, request) = carrier.one("INVITE");
    tokio::time::sleep(Duration::from_millis(4001)).await;
    assert_eq!(carrier.brain.ended().first().map(|(ended, cause)| (*ended, cause.status)), Some((dialog, 408)));
    carrier.sent();
    carrier.hears(11, response(&request, "180 Ringing"));
    assert_eq!(carrier.one("CANCEL").0, 11, "it was merely slow");
}

#[tokio::test(start_paused = true)]
async fn an_outbound_proxy_is_a_preloaded_route_and_the_next_hop() {
    let id = TrunkId::new("acme").expect("a name");
    for (proxy, request_line, route) in [
        ("sip:192.0.2.50;lr", "INVITE sip:200@example.com SIP/2.0", "<sip:192.0.2.50;lr>"),
        // A strict router (RFC 3261 §12.2.1.1).
        ("sip:192.0.2.50", "INVITE sip:192.0.2.50 SIP/2.0", "<sip:200@example.com>"),
    ] {
        let mut config = acme(false);
        config.trunks.first_mut().expect("a trunk").outbound_proxy = Some(proxy.into());
        let carrier = carrier(Transport::Udp, TWO, config);
        carrier.call_to(vec![Destination::Trunk { trunk: id.clone(), number: "200".into(), more: false }]);
        let (to, invite) = carrier.one("INVITE");
        assert_eq!((to, invite.lines().next(), header(&invite, "Route").as_str()), (50, Some(request_line), route));
        carrier.core.register(&id, Epoch(1), Duration::from_secs(60));
        assert_eq!(carrier.one("REGISTER").0, 50);
    }
}

#[tokio::test(start_paused = true)]
async fn further_hosts_of_a_trunk_are_tried_by_priority_and_every_one_is_shown() {
    let id = TrunkId::new("acme").expect("a name");
    let mut config = acme(true);
    let trunk = config.trunks.first_mut().expect("a trunk");
    trunk.host = "192.0.2.21".into();
    let host = |n: u8, priority| TrunkTarget { host: format!("192.0.2.{n}"), port: Some(5060), priority, weight: 100 };
    trunk.others = vec![host(23, 9), host(22, 1)];
    let carrier = carrier(Transport::Udp, &[], config);
    carrier.call_to(vec![Destination::Trunk { trunk: id.clone(), number: "200".into(), more: false }]);
    for n in [21, 22, 23] {
        let (_, to, invite) = carrier.sent().pop().expect("an INVITE");
        assert_eq!(to, n);
        carrier.hears(n, response(&invite, "503 Service Unavailable"));
    }
    carrier.core.shared().with(|core, now| core.targets.failed((Transport::Udp, address(22)), now));
    let shown = carrier.core.trunk_targets(&id);
    let shown: Vec<_> = shown.iter().map(|target| (target.address, target.up)).collect();
    assert_eq!(shown, [(address(21), true), (address(22), false), (address(23), true)]);
}
