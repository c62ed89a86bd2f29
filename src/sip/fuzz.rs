//! Fuzz targets of everything that reads a stranger's octets: messages, streams, values, credentials, descriptions; and rsip as an
//! oracle where rsip is right. Whole cores are fuzzed in `endpoint::tests::fuzz`.
//!
//! Input is what real peers and the torture RFCs send (`tests/data`), changed: bolero chooses the changes, on stable Rust without
//! coverage. A target runs one second; `BOLERO_RANDOM_TEST_TIME_MS` changes that (`tests/run` makes it 60 s in all), and
//! `BOLERO_RANDOM_SEED`, as a failure prints it, runs that one input again.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;

use super::digest::{Account, Asked, Credentials, DigestAlgorithm, Guard, Terms, Verdict, answers};
use super::message::frame::{Framed, Framer};
use super::message::torture;
use super::message::uri::{self, Uri};
use super::message::validate::validate;
use super::message::view::{self, AuthView, NameAddr, Via};
use super::message::write::{quoted, response_to};
use super::message::{Carried, HeaderName, Kind, Message, Method};

/// How long a target runs unless the environment says otherwise.
const RUN: Duration = Duration::from_secs(1);
/// Longest input, octets.
const LONGEST: usize = 8192;

/// One change: what, where, from where, with which octet.
pub(in crate::sip) type Change = (u8, u16, u16, u8);

/// What a SIP or SDP parser gives meaning to.
const TOKENS: [&str; 32] = [
    "\r\n",
    "\r\n ",
    "\n",
    "\r\n\r\n",
    ":",
    ";",
    ",",
    "\"",
    "\\",
    "<",
    ">",
    "=",
    "@",
    "%",
    "%00",
    "*",
    "?",
    "/",
    "[",
    "]",
    "[::1]",
    "\0",
    " ",
    "\t",
    "z9hG4bK",
    "99999999999999999999",
    "-1",
    ";tag=",
    "Content-Length: 7\r\n",
    "l:",
    "SIP/2.0",
    "\u{e9}",
];

/// A seed, changed.
pub(in crate::sip) fn changed(seed: &[u8], other: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut octets = seed.to_vec();
    for &(what, at, from, octet) in changes {
        let place = |length: usize, n: u16| if length == 0 { 0 } else { usize::from(n) % length };
        let at = place(octets.len() + 1, at);
        let run = usize::from(octet % 48) + 1;
        match what % 9 {
            0 => octets.iter_mut().skip(at).take(1).for_each(|old| *old = octet),
            1 => octets.insert(at, octet),
            2 => drop(octets.drain(at..octets.len().min(at + run))),
            3 => {
                let from = place(octets.len(), from);
                let copy = octets[from..octets.len().min(from + run)].to_vec();
                octets.splice(at..at, copy);
            }
            4 | 5 => {
                let token = TOKENS[usize::from(octet) % TOKENS.len()];
                octets.splice(at..at, token.bytes());
            }
            6 => {
                let from = place(other.len(), from);
                let copy = &other[from..other.len().min(from + 4 * run)];
                octets.splice(at..at, copy.iter().copied());
            }
            7 => {
                // A whole line once more, somewhere else.
                let lines: Vec<_> = octets.split_inclusive(|c| *c == b'\n').map(<[u8]>::to_vec).collect();
                let line = lines.get(place(lines.len(), from)).cloned().unwrap_or_default();
                let at = lines.iter().take(place(lines.len().max(1), octet.into())).map(Vec::len).sum::<usize>();
                octets.splice(at..at, line);
            }
            _ => octets.iter_mut().skip(at).take(1).for_each(|old| *old ^= 0x20),
        }
        octets.truncate(LONGEST);
    }
    octets
}

/// Cases of a file of `tests/data/fuzz`, parted by lines of `====`.
fn parted(text: &'static str) -> Vec<Vec<u8>> {
    text.split("====\n").map(|case| case.replace('\n', "\r\n").into_bytes()).collect()
}

fn messages() -> &'static [Vec<u8>] {
    static ALL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = parted(include_str!("../../tests/data/fuzz/messages.txt"));
        all.extend(torture::cases().into_iter().map(|case| case.octets));
        all
    })
}

/// The values of one header or kind, a line each.
fn values(kind: &str) -> Vec<&'static [u8]> {
    let lines = include_str!("../../tests/data/fuzz/values.txt").lines();
    lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(of, _)| *of == kind)
        .map(|(_, value)| value.as_bytes())
        .collect()
}

/// Seeds by number, and changes to one of them.
type Input = (u16, u16, Vec<Change>);

fn chosen<'a, T: AsRef<[u8]>>(seeds: &'a [T], (one, other, changes): &Input) -> (&'a [u8], Vec<u8>) {
    let seed = |n: &u16| seeds[usize::from(*n) % seeds.len()].as_ref();
    (seed(one), changed(seed(one), seed(other), changes))
}

/// Runs a target: every seed as it is, then changed ones.
fn fuzz<T: AsRef<[u8]> + std::panic::RefUnwindSafe>(seeds: &[T], target: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    seeds.iter().for_each(|seed| target(seed.as_ref()));
    bolero::check!().with_test_time(RUN).with_type::<Input>().for_each(|input| target(&chosen(seeds, input).1));
}

/// The first line, the headers as spelled with their values, the body, the fault.
type Facts = (String, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>, Option<&'static str>);

/// What a message says, for comparing two readings.
fn facts(message: &Message) -> Facts {
    let headers = message.headers().iter();
    let headers =
        headers.map(|header| (message.spelled(header).to_vec(), message.value(header).into_owned())).collect();
    (format!("{:?}", message.kind()), headers, message.body().to_vec(), message.fault())
}

#[test]
fn a_message_is_read_checked_and_answered_whatever_it_is() {
    let source: SocketAddr = "192.0.2.7:5060".parse().expect("an address");
    fuzz(messages(), |octets| {
        let octets = Bytes::copy_from_slice(octets);
        let stream = Message::parse(octets.clone(), Carried::Stream);
        let Ok((message, used)) = Message::parse(octets.clone(), Carried::Datagram) else {
            assert!(stream.is_err(), "a stream's message that is no datagram's");
            return;
        };
        assert!(used <= octets.len());
        if let Ok((stream, in_stream)) = stream {
            assert_eq!((facts(&stream), in_stream), (facts(&message), used));
        }
        let checked = validate(&message);
        let Kind::Request { method, .. } = message.kind() else { return };
        if checked.is_err() || method == Method::ACK {
            return;
        }
        // What we answer is a message that says whose it is.
        let answer = response_to(&message, 200, "ours", source).finish("", b"");
        let (answer, _) = Message::parse(answer, Carried::Stream).expect("an answer of ours is readable");
        assert_eq!(validate(&answer), Ok(()));
        assert_eq!(answer.all(HeaderName::Via).count(), message.all(HeaderName::Via).count());
        for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
            assert_eq!(answer.get(name), message.get(name).map(|value| clean(&value).into()), "{name:?}");
        }
        let top = |message: &Message| {
            let via = message.get(HeaderName::Via)?;
            Via::parse(super::message::trim(view::split(&via, b',').next()?))?.branch().map(clean)
        };
        assert_eq!(top(&answer), top(&message));
    });
}

/// Without what is never written into a header.
fn clean(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|c| !matches!(c, b'\r' | b'\n' | 0)).collect()
}

/// Everything that comes out of a stream given in these pieces; the error that ends it.
fn framed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<String>) {
    let mut framer = Framer::default();
    let mut out = Vec::new();
    for piece in pieces {
        framer.buffer().extend_from_slice(piece);
        loop {
            match framer.pull() {
                Ok(Some(Framed::Message(message))) => out.push(format!("{:?}", facts(&message))),
                Ok(Some(Framed::Ping)) => out.push("ping".into()),
                Ok(None) => break,
                Err(error) => return (out, Some(error.to_string())),
            }
        }
    }
    (out, None)
}

#[test]
fn a_stream_gives_the_same_in_any_pieces() {
    let seeds = messages();
    let inputs = bolero::check!().with_test_time(RUN).with_type::<(Vec<Input>, Vec<u8>)>();
    inputs.for_each(|(parts, lengths)| {
        let mut stream = Vec::new();
        for part in parts.iter().take(4) {
            stream.extend(chosen(seeds, part).1);
            stream.extend_from_slice([b"".as_slice(), b"\r\n", b"\r\n\r\n"][part.2.len() % 3]);
        }
        let mut rest = stream.as_slice();
        let mut pieces = Vec::new();
        for length in lengths {
            let (piece, after) = rest.split_at(rest.len().min(usize::from(*length) + 1));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        assert_eq!(framed(pieces.into_iter()), framed(std::iter::once(stream.as_slice())));
    });
}

#[test]
fn a_uri_that_is_read_has_a_host_and_no_line_end() {
    fuzz(&values("uri"), |text| {
        let Some(uri) = Uri::parse(text) else { return };
        assert!(text.iter().all(|c| *c > b' '), "{text:?}");
        if uri.is_sip() {
            assert!(!uri.host.is_empty());
            let _ = (uri.ip(), uri.parameter("transport"), uri.parameter("lr"));
            // Any user of ours is one user of a URI.
            let user = String::from_utf8_lossy(text);
            let ours = format!("sip:{}@h", uri::escape_user(&user));
            let read = Uri::parse(ours.as_bytes()).expect("a URI of ours");
            assert_eq!((read.host, read.headers), (b"h".as_slice(), b"".as_slice()));
        }
    });
}

#[test]
fn a_name_addr_is_one_identity() {
    fuzz(&values("name-addr"), |value| {
        let Some(read) = NameAddr::parse(value) else { return };
        let _ = (read.tag(), read.parameter("expires"));
        // What we write of it names the same and nobody else.
        let display: String = read.display().chars().filter(|c| !c.is_control()).collect();
        let ours = format!("{} <{}>;tag=x", quoted(&display), read.uri_string());
        let again = NameAddr::parse(ours.as_bytes());
        if read.uri_text.is_ascii() {
            let again = again.expect("a name-addr of ours");
            assert_eq!((again.display(), again.uri_text), (display, read.uri_text));
            assert_eq!(again.tag(), Some(b"x".as_slice()));
        }
    });
}

#[test]
fn a_via_that_is_read_names_its_sender() {
    fuzz(&values("via"), |value| {
        for item in view::split(value, b',') {
            if let Some(via) = Via::parse(super::message::trim(item)) {
                assert!(!via.host.is_empty() && Via::names_a_sender(item));
                let _ = (via.branch(), via.transaction(), via.parameter("rport"), uri::host_ip(via.host));
            }
        }
        let _ = (view::cseq(value), view::seconds(value), view::parameter(value, "q"));
    });
}

/// Knows a password that is in no corpus.
struct Alice;
impl Credentials for Alice {
    fn ha1(&self, subscriber: &str, realm: &str, algorithm: DigestAlgorithm) -> Option<String> {
        (subscriber == "alice").then(|| algorithm.ha1("alice", realm, "never written down"))
    }
}

#[test]
fn no_credentials_prove_a_password_they_do_not_know() {
    let account = Account { user: "u".into(), password: "p".into(), realm: None };
    fuzz(&values("auth"), |value| {
        let now = tokio::time::Instant::now();
        let _ = AuthView::parse(value).map(|auth| (auth.get("realm"), auth.text("nonce"), auth.get("nc")));
        let mut guard = Guard::new("example.com".into(), now);
        let asked = Asked { method: b"REGISTER", uri: b"sip:example.com", body: b"" };
        let offers = [DigestAlgorithm::Md5, DigestAlgorithm::Sha256, DigestAlgorithm::Sha512t256].map(Into::into);
        let judged = guard.judge(
            value,
            std::net::IpAddr::from([192, 0, 2, 1]).into(),
            asked,
            Terms { offers: &offers, integrity: true },
            &Alice,
            now,
        );
        let proves = match judged.verdict {
            Verdict::Proved | Verdict::Mismatch => true,
            // A nonce that is not ours: the password was not looked at.
            Verdict::Absent | Verdict::Stale | Verdict::Wrong => false,
        };
        assert!(!proves, "{:?}", String::from_utf8_lossy(value));
        // As a challenge to us: an answer is one line.
        for answer in answers(std::iter::once(value), &account, asked, &[], "c") {
            assert!(!answer.value.contains(['\r', '\n']), "{answer:?}");
        }
    });
}

#[test]
fn a_description_that_is_read_is_written_and_read_the_same() {
    let seeds = parted(include_str!("../../tests/data/fuzz/descriptions.txt"));
    fuzz(&seeds, |octets| {
        let text = String::from_utf8_lossy(octets);
        let Ok(description) = crate::sdp::parse(&text) else { return };
        let written = crate::sdp::write(&description);
        let again = crate::sdp::parse(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(crate::sdp::write(&again), written);
    });
}

/// Letters and digits only: rsip ends a user at a dot.
fn word(octets: &[u8], otherwise: &str) -> String {
    let word: String = octets.iter().map(|c| char::from(*c)).filter(char::is_ascii_alphanumeric).take(12).collect();
    // A number would be read as a port.
    if word.is_empty() { otherwise.to_owned() } else { format!("w{word}") }
}

#[test]
fn rsip_reads_the_same_where_it_can_read() {
    use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
    const METHODS: [&str; 8] = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "MESSAGE"];
    type Parts = ((u8, u32, u8, u16, bool), [Vec<u8>; 8]);
    bolero::check!().with_test_time(RUN).with_type::<Parts>().for_each(|((method, cseq, hops, port, tagged), words)| {
        let method = METHODS[usize::from(*method) % METHODS.len()];
        let [user, host, branch, caller, callee, call_id, display, body] = words.each_ref().map(|octets| word(octets, "x"));
        let (cseq, port) = (cseq & 0x7fff_ffff, port.max(&1));
        let to_tag = if *tagged { format!(";tag={caller}") } else { String::new() };
        let text = format!(
            "{method} sip:{user}@{host}.example.com:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {host}.example.net:{port};branch=z9hG4bK{branch}\r\n\
             From: \"{display}\" <sip:{caller}@example.com>;tag={branch}\r\nTo: <sip:{callee}@example.com>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: {hops}\r\nContact: <sip:{caller}@{host}.example.net:{port}>\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let octets = Bytes::from(text.clone().into_bytes());
        let (ours, _) = Message::parse(octets, Carried::Datagram).expect("a message");
        assert_eq!(validate(&ours), Ok(()), "{text}");
        let theirs = rsip::Request::try_from(text.as_str()).expect("rsip reads it");
        let Kind::Request { method: Method::Known(known), uri, .. } = ours.kind() else { panic!("a known method") };
        assert_eq!(known, theirs.method);
        let uri = Uri::parse(uri).expect("a URI");
        let say = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert_eq!(uri.user.map(say).as_deref(), theirs.uri.user());
        assert_eq!(say(uri.host), theirs.uri.host().to_string());
        assert_eq!(uri.port.map(|port| port.to_string()), theirs.uri.port().map(ToString::to_string));
        assert_eq!(ours.text(HeaderName::CallId).as_deref(), theirs.call_id_header().ok().map(|header| header.value()));
        let value = |name| ours.get(name).expect("it is there").into_owned();
        let (from, to, via) = (value(HeaderName::From), value(HeaderName::To), value(HeaderName::Via));
        let (from, to) = (NameAddr::parse(&from).expect("a From"), NameAddr::parse(&to).expect("a To"));
        let via = Via::parse(&via).expect("a Via");
        let their_from = theirs.from_header().expect("a From").clone().typed().expect("typed");
        assert_eq!(from.tag().map(say), their_from.tag().map(|tag| tag.value().to_owned()));
        // rsip leaves a display name its quotes.
        assert_eq!(Some(from.display()), their_from.display_name.map(|name| name.trim_matches('"').to_owned()));
        assert_eq!(from.uri_string(), their_from.uri.to_string());
        let their_to = theirs.to_header().expect("a To").clone().typed().expect("typed");
        assert_eq!(to.tag().map(say), their_to.tag().map(|tag| tag.value().to_owned()));
        let their_via = theirs.via_header().expect("a Via").clone().typed().expect("typed");
        assert_eq!(via.branch().map(say), their_via.branch().map(|branch| branch.value().to_owned()));
        assert_eq!(say(via.host), their_via.uri.host().to_string());
        let their_cseq = theirs.cseq_header().expect("a CSeq").clone().typed().expect("typed");
        assert_eq!(view::cseq(&value(HeaderName::CSeq)).map(|cseq| cseq.0), Some(their_cseq.seq));
        assert_eq!(ours.body(), theirs.body.as_slice());
    });
}
