//! REGISTER on the wire: Path, outbound, GRUUs, who may; and what keeps phones behind a NAT reachable.

use tandem_actors::model::address::Contact;

use super::super::super::digest::{Asked, answers};
use super::requests::Bench;
use super::*;

/// A REGISTER of bob's with his password, and what came back.
fn register(bench: &Bench, n: u32, changes: &[(&str, &str)]) -> String {
    let (via, cseq) = (format!("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKr{n}"), format!("{n} REGISTER"));
    let mut all = vec![("Via", via.as_str()), ("CSeq", cseq.as_str()), ("To", "<sip:bob@example.com>")];
    all.extend(changes.iter().filter(|change| change.0 != "Via"));
    let challenge = bench.ask("REGISTER", &all).concat();
    let Some(value) = challenge.split("WWW-Authenticate: ").nth(1).and_then(|rest| rest.lines().next()) else {
        return challenge;
    };
    let account = Account { user: "bob".into(), password: "zanzibar".into(), realm: None };
    let asked = Asked { method: b"REGISTER", uri: b"sip:200@192.0.2.1", body: b"" };
    let proof = answers([value.as_bytes()].into_iter(), &account, asked, &[], "c").remove(0).value;
    let (via, cseq) = (format!("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKp{n}"), format!("{} REGISTER", n + 1));
    let mut all = vec![("Via", via.as_str()), ("CSeq", cseq.as_str()), ("To", "<sip:bob@example.com>")];
    all.push(("Authorization", &proof));
    for change in changes {
        match all.iter_mut().find(|known| known.0 == change.0) {
            Some(known) => known.1 = change.1,
            None => all.push(*change),
        }
    }
    bench.ask("REGISTER", &all).concat()
}

fn asked(bench: &Bench) -> RegisterRequest {
    bench.brain.registering().expect("a REGISTER")
}

#[tokio::test(start_paused = true)]
async fn the_path_of_a_register_is_kept_in_order_and_shown_to_who_supports_it() {
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: false, ..open() });
    let path = "<sip:p2.example.com;lr>, <sip:p1.example.com;lr>";
    let answer = register(&bench, 1, &[("Path", path), ("Require", "path"), ("Supported", "path")]);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!(asked(&bench).path, ["<sip:p2.example.com;lr>", "<sip:p1.example.com;lr>"]);
    assert!(answer.contains("Path: <sip:p2.example.com;lr>\r\nPath: <sip:p1.example.com;lr>\r\n"), "{answer}");
    assert!(!register(&bench, 3, &[("Path", path)]).contains("Path: <"), "not asked for");
    assert!(register(&bench, 5, &[("Path", "<nonsense>")]).starts_with("SIP/2.0 400"));
}

#[tokio::test(start_paused = true)]
async fn a_200_to_a_register_has_every_contact_with_its_expires_and_the_date() {
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: false, ..open() });
    let answer = register(&bench, 1, &[]);
    assert!(answer.contains("Contact: <sip:bob@192.0.2.1:5060>;expires=60\r\n"), "{answer}");
    assert!(answer.contains("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{answer}");
    assert!(answer.contains("Supported: path, outbound, gruu\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn outbound_is_required_and_has_a_flow_timer_where_it_is_used() {
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: false, ..open() });
    let contact = "<sip:bob@192.0.2.7>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"";
    let answer = register(&bench, 1, &[("Contact", contact), ("Supported", "outbound, gruu")]);
    assert!(answer.contains("Require: outbound\r\nFlow-Timer: 120\r\n"), "{answer}");
    let supports = asked(&bench).supports;
    assert!(supports.gruu && supports.outbound == Outbound::Possible);
    assert!(!register(&bench, 3, &[]).contains("Flow-Timer"));
}

#[tokio::test(start_paused = true)]
async fn a_register_requires_what_a_registrar_knows_and_an_invite_does_not() {
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: false, ..open() });
    assert!(register(&bench, 1, &[("Require", "gruu, outbound")]).starts_with("SIP/2.0 200"));
    let unknown = register(&bench, 3, &[("Require", "gruu, telepathy")]);
    assert!(unknown.starts_with("SIP/2.0 420") && unknown.contains("Unsupported: telepathy\r\n"), "{unknown}");
    let bench = Bench::new(Manner::Answers, open());
    let invite = bench.ask("INVITE", &[("Require", "path"), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKq")]);
    assert_eq!(Bench::codes(&invite).last(), Some(&420));
}

#[tokio::test(start_paused = true)]
async fn a_third_party_may_not_register_for_another() {
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: false, ..open() });
    assert!(register(&bench, 1, &[("To", "<sip:alice@example.com>")]).starts_with("SIP/2.0 403"));
    // Somebody else says that bob may be reached there: From is of no matter (RFC 3261 §10.2).
    assert!(register(&bench, 3, &[("From", "<sip:assistant@example.com>;tag=f")]).starts_with("SIP/2.0 200"));
}

fn contact(path: &[&str]) -> Contact {
    Contact {
        uri: SipUri("sip:bob@10.0.0.7:5062".into()),
        source: "192.0.2.7:40000".parse().expect("an address"),
        transport: Transport::Udp,
        listener: ListenerId::new("udp").expect("a name"),
        path: path.iter().map(|proxy| (*proxy).to_owned()).collect(),
        behind_nat: true,
        heard_at: None,
    }
}

fn call(bench: &Bench, contact: Contact) -> String {
    bench.brain.invite(plain_invite(vec![Destination::Contact(contact)]));
    bench.heard().concat()
}

#[tokio::test(start_paused = true)]
async fn a_contact_with_a_path_is_called_through_it() {
    let bench = Bench::new(Manner::Answers, open());
    let sent = call(&bench, contact(&["<sip:192.0.2.30:5070;lr>", "<sip:192.0.2.31;lr>"]));
    assert!(sent.starts_with("INVITE sip:bob@10.0.0.7:5062 SIP/2.0\r\n"), "{sent}");
    assert!(sent.contains("Route: <sip:192.0.2.30:5070;lr>\r\nRoute: <sip:192.0.2.31;lr>\r\n"), "{sent}");
    assert!(bench.flows().iter().any(|flow| flow.remote.to_string() == "192.0.2.30:5070"));
    let direct = call(&bench, contact(&[]));
    assert!(!direct.contains("Route:"));
    assert!(bench.flows().iter().any(|flow| flow.remote.to_string() == "192.0.2.7:40000"));
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_is_answered_by_any_status_and_missed_after_timer_f() {
    let bench = Bench::new(Manner::Answers, open());
    bench.core.keep_alive(&contact(&[]), None);
    assert_eq!(bench.heard(), ["\r\n\r\n"]);
    bench.core.keep_alive(&contact(&[]), Some(1));
    let options = bench.heard().concat();
    assert!(options.starts_with("OPTIONS sip:bob@10.0.0.7:5062 SIP/2.0\r\n"), "{options}");
    let copied = |name: &str| {
        let line = options.lines().find(|line| line.starts_with(name)).expect("a header");
        format!("{line}\r\n")
    };
    let headers: String = ["Via", "From", "To", "Call-ID", "CSeq"].map(copied).concat();
    bench.raw(format!("SIP/2.0 404 Not Found\r\n{headers}Content-Length: 0\r\n\r\n"));
    let told = |wanted: SipEvent| bench.brain.events.lock().expect("the events").contains(&wanted);
    assert!(told(SipEvent::KeptAlive { id: 1, answered: true }));
    bench.core.keep_alive(&contact(&[]), Some(2));
    until("its end", || told(SipEvent::KeptAlive { id: 2, answered: false })).await;
}
