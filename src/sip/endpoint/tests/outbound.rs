//! A core alone: what becomes of INVITEs of ours.

use tandem_actors::model::address::Contact;
use tandem_actors::ports::sip::MediaToward;

use super::pair::empty;
use super::requests::Bench;
use super::*;

/// Orders an INVITE to these.
pub(super) fn invite(bench: &Bench, to: Vec<Destination>) -> DialogId {
    bench.brain.invite(plain_invite(to))
}

pub(super) fn uri(uri: &str) -> Vec<Destination> {
    vec![Destination::Uri(SipUri(uri.into()))]
}

/// The first value of a header.
pub(super) fn header(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().to_owned()
}

/// A response to a request of ours, as its peer would send it.
pub(super) fn response(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        text.push_str(&format!("{name}: {}\r\n", header(request, name)));
    }
    text + &format!("To: {};tag=them\r\nContent-Length: 0\r\n\r\n", header(request, "To"))
}

// No test of a lookup awaits before its addresses are given by hand: the resolver's own task never gets to run.
#[tokio::test(start_paused = true)]
async fn a_call_cancelled_while_its_host_is_looked_up_is_never_sent() {
    for forgotten in [true, false] {
        let bench = Bench::new(Manner::Sleeps, open());
        let dialog = invite(&bench, uri("sip:200@slow.example.com"));
        bench.brain.order(dialog, SipCommand::Hangup(Cause::cancelled()));
        if forgotten {
            bench.brain.order(dialog, SipCommand::Forget);
        }
        bench.core.shared().with(|core, now| known(core, "slow.example.com", [192, 0, 2, 7], now));
        assert_eq!(bench.heard(), Vec::<String>::new());
        until("an empty table", || empty(&bench.core)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_callees_bye_before_its_answer_cancels_the_invite_and_nothing_is_left_of_it() {
    let bench = Bench::new(Manner::Rings, open());
    invite(&bench, uri("sip:200@192.0.2.7"));
    let request = bench.heard().concat();
    assert!(bench.raw(response(&request, "180 Ringing")).is_empty());
    let (from, to) = (header(&request, "To") + ";tag=them", header(&request, "From"));
    let answers = bench.ask("BYE", &[("From", &from), ("To", &to), ("Call-ID", &header(&request, "Call-ID"))]);
    assert!(answers.iter().any(|text| text.starts_with("SIP/2.0 200 ")), "{answers:?}");
    assert!(answers.iter().any(|text| text.starts_with("CANCEL sip:200@192.0.2.7 ")), "{answers:?}");
    // It answers neither the CANCEL nor the INVITE (RFC 3261 §9.1: over after 64*T1).
    until("an empty table", || empty(&bench.core)).await;
}

fn contact(source: &str) -> Destination {
    Destination::Contact(Contact {
        path: Vec::new(),
        behind_nat: false,
        heard_at: None,
        uri: SipUri(format!("sip:200@{source}")),
        source: source.parse().expect("an address"),
        transport: Transport::Udp,
        listener: ListenerId::new("udp").expect("a name"),
    })
}

/// A bench behind NAT: 203.0.113.5 outside, 192.0.2.1 inside.
fn behind_nat() -> Bench {
    let bench = Bench::new(Manner::Sleeps, open());
    bench.core.shared().with(|core, _| {
        let listener = core.listeners.first_mut().expect("a listener");
        listener.external_ip = Some([203, 0, 113, 5].into());
        listener.local_nets = vec!["192.0.2.0/24".parse().expect("a network")];
    });
    bench
}

#[tokio::test(start_paused = true)]
async fn every_fork_is_offered_the_media_address_that_its_peer_reaches_and_who_answered_is_told_with() {
    for (winner, advertised) in [(0, [192, 0, 2, 1]), (1, [203, 0, 113, 5])] {
        let bench = behind_nat();
        let dialog = invite(&bench, vec![contact("192.0.2.7:5060"), contact("198.51.100.7:5060")]);
        let forks = bench.heard();
        for (fork, ip) in forks.iter().zip(["192.0.2.1", "203.0.113.5"]) {
            assert!(fork.contains(&format!("c=IN IP4 {ip}\r\n")) && fork.contains("m=audio 4000 "), "{fork}");
        }
        let ok = response(forks.get(winner).expect("a fork"), "200 OK");
        let body = crate::sdp::write(&offer(2).0);
        let with_body = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        bench.raw(ok.replace("Content-Length: 0\r\n\r\n", &with_body));
        let wanted = Some(IpAddr::from(advertised));
        let answered =
            |event: &DialogEvent| matches!(event, DialogEvent::Answered { advertised, .. } if *advertised == wanted);
        assert!(bench.brain.saw(answered));
        assert_eq!(bench.core.snapshot(dialog).and_then(|snapshot| snapshot.advertised), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn media_for_peers_behind_different_listeners_is_bound_to_every_address() {
    let bench = behind_nat();
    let near = || vec![contact("192.0.2.7:5060"), contact("198.51.100.7:5060")];
    let address = bench.core.media_address(MediaToward::Destinations(near()));
    assert_eq!((address.bind, address.advertise), ([192, 0, 2, 1].into(), [192, 0, 2, 1].into()));
    let (name, other) = (ListenerId::new("other").expect("a name"), SocketAddr::from(([10, 0, 0, 1], 5060)));
    bench.core.shared().with(|core, _| {
        let listener = core.listeners.first().expect("a listener").clone();
        core.listeners.push(Listener { id: name.clone(), local: other, ..listener });
    });
    let mut to = near();
    if let Some(Destination::Contact(contact)) = to.last_mut() {
        contact.listener = name;
    }
    let address = bench.core.media_address(MediaToward::Destinations(to));
    assert_eq!((address.bind, address.advertise), ([0, 0, 0, 0].into(), [192, 0, 2, 1].into()));
}
