//! The messages of RFC 4475 and RFC 5118, every one, with what becomes of it: `tests/data/torture`. Here they meet the parser and
//! the gate; `endpoint::tests::torture` shows what is answered on the wire.

use bytes::Bytes;

use super::frame::{Framed, Framer};
use super::validate::{Fault, validate};
use super::view::{self, NameAddr, Via};
use super::{Carried, HeaderName, Kind, MAX_URI, Message, Method};

/// One message with its outcomes.
pub(in crate::sip) struct Case {
    /// The RFC's file name.
    pub name: &'static str,
    /// Its section.
    pub section: &'static str,
    /// `accept`, `drop`, or the status that the gate refuses it with.
    pub gate: &'static str,
    /// The statuses a switch that answers every call sends back.
    pub answers: Vec<u16>,
    /// The message.
    pub octets: Vec<u8>,
}

/// Every message of both RFCs.
pub(in crate::sip) fn cases() -> Vec<Case> {
    let files = [
        include_str!("../../../tests/data/torture/rfc4475.txt"),
        include_str!("../../../tests/data/torture/rfc5118.txt"),
    ];
    // The line end before a head belongs to the head, and so does the file's last.
    let ends = |file: &'static str| file.strip_suffix('\n').expect("a last line end");
    files.into_iter().map(ends).flat_map(|file| file.split("\n==== ").skip(1).map(case)).collect()
}

fn case(text: &'static str) -> Case {
    let (head, mut rest) = text.split_once('\n').expect("a head line");
    let fields: Vec<_> = head.split('|').map(str::trim).collect();
    let [name, section, gate, answers] = fields[..] else { panic!("four fields: {head}") };
    while let Some((_, after)) = rest.strip_prefix("# ").and_then(|rest| rest.split_once('\n')) {
        rest = after;
    }
    let answers = answers.split(' ').filter_map(|status| status.parse().ok()).collect();
    Case { name, section, gate, answers, octets: octets_of(&format!("{rest}\n")) }
}

/// Octets of the RFCs' notation.
fn octets_of(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut joined = false;
    for line in text.split_inclusive('\n') {
        match line.trim_end_matches('\n') {
            "<allOneLine>" => joined = true,
            "</allOneLine>" => {
                joined = false;
                out.extend_from_slice(b"\r\n");
            }
            line => {
                spell(line, &mut out);
                if !joined {
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
    }
    out
}

/// One line, its `<hex>` and `<repeat>` spelled out.
fn spell(line: &str, out: &mut Vec<u8>) {
    let marked = ["<hex>", "<repeat count="].into_iter().filter_map(|mark| Some((line.find(mark)?, mark))).min();
    let Some((at, mark)) = marked else { return out.extend_from_slice(line.as_bytes()) };
    out.extend_from_slice(&line.as_bytes()[..at]);
    let rest = &line[at + mark.len()..];
    let rest = if mark == "<hex>" {
        let (digits, rest) = rest.split_once("</hex>").expect("an end of hex");
        let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        out.extend((0..digits.len()).step_by(2).map(octet));
        rest
    } else {
        let (count, rest) = rest.split_once('>').expect("a count");
        let (what, rest) = rest.split_once("</repeat>").expect("an end of repeat");
        out.extend_from_slice(what.repeat(count.parse().expect("a number")).as_bytes());
        rest
    };
    spell(rest, out);
}

fn gate(octets: &[u8]) -> String {
    match Message::parse(Bytes::copy_from_slice(octets), Carried::Datagram) {
        Err(_) => "drop".into(),
        Ok((message, _)) => match validate(&message) {
            Ok(()) => "accept".into(),
            Err(Fault::Refuse { status, .. }) => status.to_string(),
            Err(Fault::Drop { .. }) => "drop".into(),
        },
    }
}

#[test]
fn every_torture_message_is_accepted_refused_or_dropped_as_its_rfc_says() {
    let cases = cases();
    assert_eq!(cases.len(), 49 + 12, "the messages of RFC 4475 and RFC 5118");
    let wrong: Vec<_> = cases
        .iter()
        .filter(|case| gate(&case.octets) != case.gate)
        .map(|case| format!("{} ({}): {}, not {}", case.name, case.section, gate(&case.octets), case.gate))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One of them, as it is read.
fn named(name: &str) -> Message {
    let case = cases().into_iter().find(|case| case.name == name).expect("a case of that name");
    Message::parse(Bytes::from(case.octets), Carried::Datagram).expect("a message").0
}

#[test]
fn what_the_tortuous_messages_say_is_read_right() {
    let message = named("wsinv");
    let from = message.get(HeaderName::From).expect("a From");
    let from = NameAddr::parse(&from).expect("readable");
    assert_eq!((from.tag(), from.display().as_str()), (Some(b"98asjd8".as_slice()), "J Rosenberg \\\""));
    let vias: Vec<_> = message.all(HeaderName::Via).map(|header| message.value(header).into_owned()).collect();
    let vias: Vec<_> = vias.iter().flat_map(|via| view::split(via, b',')).filter_map(Via::parse).collect();
    let hosts: Vec<_> = vias.iter().map(|via| (via.transport, via.host)).collect();
    let expected: [(&[u8], &[u8]); 3] =
        [(b"UDP", b"192.0.2.2"), (b"TCP", b"spindle.example.com"), (b"UDP", b"192.168.255.111")];
    assert_eq!(hosts, expected);
    assert_eq!(message.body().len(), 150);

    let message = named("intmeth");
    assert!(matches!(message.kind(), Kind::Request { token: b"!interesting-Method0123456789_*+`.%indeed'~", .. }));
    let to = message.get(HeaderName::To).expect("a To");
    assert_eq!(NameAddr::parse(&to).expect("readable").display(), "BEL:\u{7} NUL:\0 DEL:\u{7f}");

    let message = named("esc01");
    assert!(matches!(message.kind(), Kind::Request { uri: b"sip:sips%3Auser%40example.com@example.net", .. }));
    assert_eq!(named("esc02").all(HeaderName::Contact).count(), 2, "C%6Fntact is another header");
    assert_eq!(named("longreq").all(HeaderName::Via).count(), 34);
    assert_eq!(named("mpart01").body().len(), 553);
    assert_eq!(named("dblreq").body(), b"", "what follows Content-Length is no body");
    assert!(matches!(named("unreason").kind(), Kind::Response { status: 200 }));

    let message = named("port-ambiguous");
    let Kind::Request { uri, .. } = message.kind() else { panic!("a request") };
    let uri = super::uri::Uri::parse(uri).expect("a URI");
    assert_eq!((uri.port, uri.ip()), (None, "2001:db8::10:5070".parse().ok()), "5070 belongs to the address");
}

#[test]
fn two_requests_in_a_stream_are_two_messages() {
    let case = cases().into_iter().find(|case| case.name == "dblreq").expect("the case");
    let mut framer = Framer::default();
    framer.buffer().extend_from_slice(&case.octets);
    let mut methods = Vec::new();
    // The second is an octet longer than it says, so that the stream's framing is lost behind it.
    while let Ok(Some(framed)) = framer.pull() {
        if let Framed::Message(message) = framed
            && let Kind::Request { method, .. } = message.kind()
        {
            methods.push(method.label());
        }
    }
    assert_eq!(methods, ["REGISTER", "INVITE"]);
    assert!(framer.pull().is_err());
}

#[test]
fn a_request_uri_beyond_8_kb_is_answered_414() {
    let uri = format!("sip:{}@b", "x".repeat(MAX_URI));
    assert_eq!(gate(with(&format!("INVITE {uri} SIP/2.0"), &[]).replace('\n', "\r\n").as_bytes()), "414");
}

fn read(text: &str) -> Result<Message, String> {
    let octets = text.replace('\n', "\r\n");
    let (message, _) =
        Message::parse(Bytes::from(octets.into_bytes()), Carried::Datagram).map_err(|error| error.to_string())?;
    Ok(message)
}

fn outcome(text: &str) -> Result<Message, u16> {
    let message = read(text).map_err(|_| 0u16)?;
    match validate(&message) {
        Ok(()) => Ok(message),
        Err(Fault::Refuse { status, .. }) => Err(status),
        Err(Fault::Drop { .. }) => Err(0),
    }
}

fn with(start: &str, changes: &[(&str, &str)]) -> String {
    let mut headers = vec![
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdj"),
        ("To", "<sip:j.user@example.com>"),
        ("From", "<sip:caller@example.net>;tag=134161461246"),
        ("Call-ID", "x.0ha0isndaksdj@192.0.2.1"),
        ("CSeq", "8 INVITE"),
        ("Max-Forwards", "70"),
        ("Contact", "<sip:caller@host5.example.net>"),
        ("Content-Length", "0"),
    ];
    let mut extra = Vec::new();
    for (name, value) in changes {
        match headers.iter_mut().find(|header| header.0 == *name) {
            Some(header) => header.1 = value,
            None => extra.push((*name, *value)),
        }
    }
    headers.extend(extra);
    let mut text = format!("{start}\n");
    for (name, value) in headers {
        if value != "-" {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    text.push('\n');
    text
}

const INVITE: &str = "INVITE sip:user@example.com SIP/2.0";

#[test]
fn what_the_rfcs_have_no_message_for() {
    for text in [
        with(INVITE, &[("Record-Route", "<sip:p1.example.com;lr>, \"x, y\" <sip:p2;lr>")]),
        with("INVITE tel:+15551234567 SIP/2.0", &[]),
    ] {
        assert!(outcome(&text).is_ok(), "{text}: {:?}", outcome(&text).err());
    }
    for (status, text) in [
        (400, with(INVITE, &[("Route", "sip:p1.example.com")])),
        (400, with(INVITE, &[("Subject", "x\nnonsense")])),
        (400, with(INVITE, &[("Contact", "-")])),
        // A malformed ACK is never answered.
        (0, with("ACK sip:a@b SIP/2.0", &[("CSeq", "x ACK")])),
    ] {
        assert_eq!(outcome(&text).map(|_| ()), Err(status), "{text}");
    }
}

#[test]
fn octets_that_are_not_utf_8_lose_nothing() {
    let mut octets = with(INVITE, &[("Subject", "caf\u{e9}")]).replace('\n', "\r\n").into_bytes();
    let at = octets.iter().position(|c| *c == 0xc3).expect("the two octets of an accented letter");
    octets.splice(at..at + 2, [0xe9]);
    let (message, _) = Message::parse(Bytes::from(octets), Carried::Datagram).expect("a message");
    assert_eq!(validate(&message), Ok(()));
    assert!(message.get(HeaderName::Contact).is_some());
}

#[test]
fn methods_are_case_sensitive() {
    let message = read(&with("invite sip:a@b SIP/2.0", &[("CSeq", "1 invite")])).expect("a message");
    assert!(matches!(message.kind(), Kind::Request { method: Method::Other, .. }));
}

#[test]
fn no_cut_or_flipped_octet_panics() {
    let text = with(INVITE, &[("Route", "<sip:a;lr>, <sip:[::1]>"), ("Subject", "a\n folded")]).replace('\n', "\r\n");
    let octets = text.as_bytes();
    for at in 0..octets.len() {
        for flip in [0u8, 0x01, 0x0d, 0x20, 0x22, 0x3c, 0x80, 0xff] {
            let mut bent = octets.to_vec();
            if let Some(octet) = bent.get_mut(at) {
                *octet ^= flip;
            }
            bent.truncate(if flip == 0 { at } else { bent.len() });
            for carried in [Carried::Datagram, Carried::Stream] {
                if let Ok((message, _)) = Message::parse(Bytes::from(bent.clone()), carried) {
                    let _ = validate(&message);
                }
            }
        }
    }
}
