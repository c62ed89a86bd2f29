//! Outcomes of RFC 4475 and RFC 5118 messages, retyped, and rsip as a differential oracle where rsip can read at all.

use bytes::Bytes;

use super::validate::{Fault, validate};
use super::view::{self, NameAddr};
use super::{Carried, HeaderName, Kind, Message, Method};

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

#[test]
fn a_short_tortuous_invite_is_read() {
    // RFC 4475 §3.1.1.1
    let message = outcome(
        "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\n\
         TO :\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\n\
         from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\n  ;\n  tag = 98asjd8\n\
         MaX-fOrWaRdS: 0068\nCall-ID: wsinv.ndaksdj@192.0.2.1\nContent-Length   : 3\n\
         cseq: 0009\n  INVITE\nVia  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\ns :\n\
         NewFangledHeader:   newfangled value\n continued newfangled value\nUnknownHeaderWithUnusualValue: ;;,,;;,;\n\
         Content-Type: application/sdp\nRoute:\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\n\
         v:  SIP  / 2.0  / TCP     spindle.example.com   ;\n  branch  =   z9hG4bK9ikj8  ,\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\n z9hG4bK30239\n\
         m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\n      newvalue ;\n  secondparam ; q = 0.33\n\nv=0",
    )
    .expect("valid");
    let from = message.get(HeaderName::From).expect("a From");
    assert_eq!(NameAddr::parse(&from).and_then(|from| from.tag().map(<[u8]>::to_vec)), Some(b"98asjd8".to_vec()));
    assert_eq!(NameAddr::parse(&from).map(|from| from.display()).as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(message.all(HeaderName::Via).count(), 2);
    assert_eq!(message.body(), b"v=0");
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
fn valid_but_unusual_messages_pass() {
    for (what, text) in [
        (
            "wide range of characters in tokens (3.1.1.2)",
            with(
                "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
                &[
                    ("CSeq", "139122385 !interesting-Method0123456789_*+`.%indeed'~"),
                    (
                        "To",
                        "\"BEL:\\\u{7} NUL: DEL:\\\u{7f}\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>",
                    ),
                ],
            ),
        ),
        ("escaped octets in the URI (3.1.1.3)", with("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0", &[])),
        (
            "escaped nulls (3.1.1.4)",
            with(INVITE, &[("To", "sip:null-%00-null@example.com"), ("Contact", "<sip:%00@host5.example.com>")]),
        ),
        (
            "percent that escapes nothing in a method (3.1.1.5)",
            with("RE%47IST%45R sip:registrar.example.com SIP/2.0", &[("CSeq", "29344 RE%47IST%45R")]),
        ),
        (
            "no white space before the angle (3.1.1.6)",
            with(INVITE, &[("From", "caller<sip:caller@example.com>;tag=323")]),
        ),
        (
            "extra trailing octets are discarded (3.1.1.8)",
            format!("{}INVITE sip:joe@example.com SIP/2.0\n", with(INVITE, &[])),
        ),
        (
            "semicolon parameters in the user part (3.1.1.9)",
            with("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0", &[("CSeq", "8 OPTIONS")]),
        ),
        ("unknown transports (3.1.1.10)", with(INVITE, &[("Via", "SIP/2.0/UNKNOWN t.example.com;branch=z9hG4bKzu")])),
        ("a reason phrase of unusual characters (3.1.1.12)", with("SIP/2.0 200 = 2**3 * 5**2 \u{43d}\u{43e}", &[])),
        ("an empty reason phrase (3.1.1.13)", with("SIP/2.0 100 ", &[])),
        (
            "IPv6 references (RFC 5118 4.1)",
            with(
                "REGISTER sip:[2001:db8::10] SIP/2.0",
                &[("CSeq", "98176 REGISTER"), ("Via", "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111")],
            ),
        ),
        (
            "received without brackets (RFC 5118 4.5)",
            with(
                "BYE sip:[2001:db8::10] SIP/2.0",
                &[
                    ("CSeq", "1 BYE"),
                    ("Via", "SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3-111"),
                ],
            ),
        ),
        (
            "three colons before IPv4 (RFC 5118 4.10)",
            with("OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0", &[("CSeq", "1 OPTIONS")]),
        ),
        (
            "multiple values in a line (3.3.x)",
            with(INVITE, &[("Record-Route", "<sip:p1.example.com;lr>, \"x, y\" <sip:p2;lr>")]),
        ),
        ("a tel Request-URI", with("INVITE tel:+15551234567 SIP/2.0", &[])),
    ] {
        assert!(outcome(&text).is_ok(), "{what}: {:?}", outcome(&text).err());
    }
}

#[test]
fn invalid_messages_get_their_status() {
    for (status, what, text) in [
        (
            0,
            "extraneous separators leave no Via to answer by (3.1.2.1)",
            with(INVITE, &[("Via", "SIP/2.0/UDP 192.0.2.15;;,;,,")]),
        ),
        (400, "Content-Length larger than the body (3.1.2.2)", with(INVITE, &[("Content-Length", "9999")])),
        (400, "negative Content-Length (3.1.2.3)", with(INVITE, &[("Content-Length", "-999")])),
        (400, "overlarge CSeq (3.1.2.4)", with(INVITE, &[("CSeq", "36893488147419103232 INVITE")])),
        (
            400,
            "unterminated quoted display name (3.1.2.6)",
            with(INVITE, &[("To", "\"Mr. J. User <sip:j.user@example.com>")]),
        ),
        (400, "angle brackets around the Request-URI (3.1.2.7)", with("INVITE <sip:user@example.com> SIP/2.0", &[])),
        (400, "white space in the Request-URI (3.1.2.8)", with("INVITE sip:user@example.com; lr SIP/2.0", &[])),
        (
            0,
            "white space after the version (3.1.2.9)",
            with("OPTIONS sip:remote-target@example.com SIP/2.0  ", &[("CSeq", "8 OPTIONS")]),
        ),
        (
            400,
            "escaped headers in a URI outside brackets (3.1.2.11)",
            with(INVITE, &[("Contact", "sip:user@example.com?Route=%3Csip:sip.example.com%3E")]),
        ),
        (505, "unknown version (3.1.2.16)", with("OPTIONS sip:t1234@example.com SIP/7.0", &[("CSeq", "8 OPTIONS")])),
        (
            400,
            "start line and CSeq name different methods (3.1.2.17)",
            with("OPTIONS sip:user@example.com SIP/2.0", &[]),
        ),
        (400, "unknown method, CSeq mismatch (3.1.2.18)", with("NEWMETHOD sip:user@example.com SIP/2.0", &[])),
        (0, "overlarge response code (3.1.2.19)", with("SIP/2.0 4294967301 better not break the receiver", &[])),
        (0, "missing required headers (3.3.1)", with(INVITE, &[("To", "-"), ("From", "-")])),
        (
            416,
            "unknown scheme (3.3.2)",
            with("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", &[("CSeq", "8 OPTIONS")]),
        ),
        (400, "multiple values in single value fields (3.3.9)", with(INVITE, &[("Call-Id", "other")])),
        (400, "bad Max-Forwards (3.3.x)", with(INVITE, &[("Max-Forwards", "300")])),
        (400, "a Route without brackets", with(INVITE, &[("Route", "sip:p1.example.com")])),
        (400, "a line without a colon", with(INVITE, &[("Subject", "x\nnonsense")])),
        (0, "a malformed ACK is never answered", with("ACK sip:a@b SIP/2.0", &[("CSeq", "x ACK")])),
    ] {
        assert_eq!(outcome(&text).map(|_| ()), Err(status), "{what}");
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

#[test]
fn rsip_reads_the_same_where_it_can_read() {
    use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
    let text = with(INVITE, &[("To", "\"Bob\" <sip:bob@example.com>;tag=77")]);
    let ours = outcome(&text).expect("valid");
    let theirs = rsip::SipMessage::try_from(text.replace('\n', "\r\n").as_str()).expect("rsip reads it");
    assert_eq!(ours.text(HeaderName::CallId).as_deref(), Some(theirs.call_id_header().expect("a Call-ID").value()));
    let to = ours.get(HeaderName::To).expect("a To");
    let tag = NameAddr::parse(&to).and_then(|to| to.tag().map(|tag| String::from_utf8_lossy(tag).into_owned()));
    let typed = theirs.to_header().expect("a To").clone().typed().expect("typed");
    assert_eq!(tag.as_deref(), typed.tag().map(|tag| tag.value()));
    let cseq = ours.get(HeaderName::CSeq).expect("a CSeq");
    let typed = theirs.cseq_header().expect("a CSeq").clone().typed().expect("typed");
    assert_eq!(view::cseq(&cseq).map(|cseq| cseq.0), Some(typed.seq));
}
