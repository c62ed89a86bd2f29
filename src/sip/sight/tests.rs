//! The tap on a real collector's socket and on a core's own traffic.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::super::message::Carried;
use super::hep::HepConfig;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// The chunks of a HEP3 packet, by number; as a collector reads them.
fn chunks(packet: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len(), "the length is the packet's");
    let mut rest = &packet[6..];
    let mut chunks = BTreeMap::new();
    while !rest.is_empty() {
        assert_eq!(&rest[..2], [0, 0], "the generic vendor");
        let kind = u16::from_be_bytes([rest[2], rest[3]]);
        let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
        chunks.insert(kind, rest[6..length].to_vec());
        rest = &rest[length..];
    }
    chunks
}

const INVITE: &str = "INVITE sip:200@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\
    Authorization: Digest username=\"bob\", response=\"0123\"\r\nContent-Length: 0\r\n\r\n";

fn flow() -> Flow {
    Flow::udp(0, "192.0.2.7:5062".parse().expect("an address"))
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), Carried::Datagram).expect("a message").0
}

#[tokio::test]
async fn a_collector_gets_every_message_with_its_call_and_without_secrets() {
    let collector = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let at = collector.local_addr().expect("its address");
    let began = (UNIX_EPOCH + Duration::from_secs(1_700_000_000), Instant::now());
    let config = HepConfig { collector: at.to_string(), capture_id: 2001, password: "myHep".into(), began };
    let tap = Tap::new(vec!["192.0.2.1:5060".parse().expect("an address")], Some(Hep::start(config)));
    tap.came(flow(), &message(INVITE), Instant::now());
    tap.belong(CallId(7), ["c1".to_owned()]);
    let answer = Bytes::from_static(b"SIP/2.0 200 OK\r\nVia: x\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n");
    tap.goes(flow(), &answer, Instant::now());
    let options = Bytes::from_static(b"OPTIONS sip:x SIP/2.0\r\nVia: x\r\nCall-ID: o1\r\nCSeq: 1 OPTIONS\r\n\r\n");
    tap.goes(flow(), &options, Instant::now());
    tap.report(CallId(7), "192.0.2.7:4000".parse().expect("an address"), "{\"type\":201}".into(), Instant::now());
    let mut buffer = vec![0; 65_536];
    let mut heard = Vec::new();
    for _ in 0..4 {
        let length = timeout(PATIENCE, collector.recv(&mut buffer)).await.expect("in time").expect("a packet");
        heard.push(chunks(&buffer[..length]));
    }
    let [came, sent, asked, report] = &heard[..] else { panic!("four packets") };
    assert_eq!((&came[&1], &came[&2], &came[&11]), (&vec![2], &vec![17], &vec![1]), "IPv4, UDP, SIP");
    assert_eq!((&came[&3], &came[&4]), (&vec![192, 0, 2, 7], &vec![192, 0, 2, 1]));
    assert_eq!((&came[&7], &came[&8]), (&5062u16.to_be_bytes().to_vec(), &5060u16.to_be_bytes().to_vec()));
    assert_eq!((&sent[&3], &sent[&4]), (&vec![192, 0, 2, 1], &vec![192, 0, 2, 7]), "we sent it");
    assert_eq!(came[&12], 2001u32.to_be_bytes());
    assert_eq!(came[&14], b"myHep");
    assert!(came[&9] >= 1_700_000_000u32.to_be_bytes().to_vec());
    assert_eq!(came[&17], b"c1", "nobody knows its call yet");
    assert_eq!(sent[&17], CallId(7).to_string().as_bytes());
    assert_eq!(asked[&17], b"o1");
    assert_eq!((&report[&11][..], &report[&17][..]), (&[5][..], CallId(7).to_string().as_bytes()));
    assert_eq!((&report[&15][..], &report[&8][..]), (&b"{\"type\":201}"[..], &4000u16.to_be_bytes()[..]));
    let text = String::from_utf8_lossy(&came[&15]);
    assert!(text.contains("response=\"****\"") && text.len() == INVITE.len(), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_not_there_costs_nothing_but_its_packets() {
    let began = (UNIX_EPOCH, Instant::now());
    let config =
        HepConfig { collector: "collector.invalid:9060".into(), capture_id: 1, password: String::new(), began };
    let tap = Tap::new(vec!["192.0.2.1:5060".parse().expect("an address")], Some(Hep::start(config)));
    for _ in 0..10_000 {
        tap.came(flow(), &message(INVITE), Instant::now());
    }
    assert!(!tap.of_call_id("c1").1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_invite_is_found_by_its_call_id_and_a_register_is_not_kept() {
    let tap = Tap::new(vec!["0.0.0.0:5060".parse().expect("an address")], None);
    tap.came(flow(), &message(INVITE), Instant::now());
    tap.goes(
        flow(),
        &Bytes::from_static(b"SIP/2.0 403 Forbidden\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n"),
        Instant::now(),
    );
    tap.came(flow(), &message(&INVITE.replace("INVITE", "REGISTER").replace("c1", "r1")), Instant::now());
    let (call, steps) = tap.of_call_id("c1");
    assert_eq!((call, steps.len()), (None, 2));
    assert!(steps[1].sent && steps[1].text.starts_with("SIP/2.0 403"));
    assert!(!steps[0].text.contains("0123"), "{}", steps[0].text);
    assert!(tap.of_call_id("r1").1.is_empty());
    assert!(tap.of_call(CallId(9)).is_empty());
}
