//! What hostile and broken peers send: an answer of the protocol or silence, a counter, and the next call works.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::json;

use crate::peers::until;
use crate::peers::wsclient::WsClient;
use crate::rig::{PSTN, Rig};

const SOON: Duration = Duration::from_secs(10);
/// An address that no trunk has.
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 3));

/// A SIP peer without a SIP stack.
struct Peer(UdpSocket);

impl Peer {
    fn at(address: IpAddr) -> Self {
        let socket = UdpSocket::bind((address, 0)).expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        Self(socket)
    }

    /// Sends a request with these lines and this body after the usual headers; the first line of the final answer.
    fn ask(&self, rig: &Rig, method: &str, to: &str, more: &str) -> String {
        let text = request(rig, &self.0.local_addr().expect("its address").to_string(), "UDP", method, to, more);
        self.0.send_to(text.as_bytes(), rig.sip()).expect("sent");
        loop {
            let mut buffer = [0; 4000];
            let (len, _) = self.0.recv_from(&mut buffer).expect("an answer");
            let answer = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if !answer.starts_with("SIP/2.0 1") {
                return answer.lines().next().unwrap_or_default().to_owned();
            }
        }
    }
}

fn request(rig: &Rig, me: &str, transport: &str, method: &str, to: &str, more: &str) -> String {
    let (name, version) = method.split_once(' ').unwrap_or((method, "SIP/2.0"));
    format!(
        "{name} sip:{to}@{sip} {version}\r\nVia: SIP/2.0/{transport} {me};branch=z9hG4bK{tag};rport\r\n\
         From: <sip:x@{me}>;tag=1\r\nTo: <sip:{to}@{sip}>\r\nCall-ID: {tag}@{me}\r\nCSeq: 1 {name}\r\nContact: <sip:x@{me}>\r\n\
         Max-Forwards: 70\r\n{more}",
        sip = rig.sip(),
        tag = uuid(),
    )
}

/// A word that no other request has.
fn uuid() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn garbage_on_the_sip_port_is_counted_and_the_next_call_works() {
    let rig = Rig::start();
    let socket = UdpSocket::bind((STRANGER, 0)).expect("a socket");
    let junk: [&[u8]; 6] = [
        b"",
        b"\r\n\r\n",
        b"\0\xff\xfe garbage",
        b"INVITE\r\n\r\n",
        b"INVITE sip:9000@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nContent-Length: 99999\r\n\r\nshort",
        &[b'A'; 60000],
    ];
    let before = rig.metric_sum("tandem_sip_dropped_total");
    for datagram in junk {
        socket.send_to(datagram, rig.sip()).expect("sent");
    }
    until("the drops counted", SOON, || (rig.metric_sum("tandem_sip_dropped_total") > before).then_some(()));
    // Answerable, but wrong: an unknown method and a bad version.
    let peer = Peer::at(STRANGER);
    for (method, status) in [("FROBNICATE", "501"), ("OPTIONS SIP/3.0", "505")] {
        let answer = peer.ask(&rig, method, "x", "Content-Length: 0\r\n\r\n");
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{method}: {answer}");
    }
    rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "500"]).done(Duration::from_secs(20));
    rig.quiet();
}

#[test]
fn a_stranger_is_challenged_and_never_let_through() {
    let rig = Rig::start();
    let answer = Peer::at(STRANGER).ask(&rig, "INVITE", "9000", "Content-Length: 0\r\n\r\n");
    assert!(answer.contains(" 401 ") || answer.contains(" 407 "), "{answer}");
    assert!(rig.list("/api/v1/calls").is_empty());
}

#[test]
fn bad_json_bad_sdp_and_bad_tokens_get_an_error_and_nothing_else() {
    let rig = Rig::start();
    let mut stranger = WsClient::connect(rig.http());
    let refused = stranger.request(json!({ "type": "login", "token": "nonsense" }));
    assert_eq!(
        (refused["type"].as_str(), refused["code"].as_str()),
        (Some("error"), Some("unauthorized")),
        "{refused}"
    );
    let mut bob = rig.client("bob");
    bob.send_raw("{ not json");
    assert_eq!(bob.reply()["code"], "malformed");
    assert_eq!(bob.request(json!({ "type": "frobnicate" }))["code"], "malformed");
    let long = "x".repeat(8193);
    let refused = bob.request(json!({ "type": "invite", "callee": "alice", "content": long }));
    assert_eq!((refused["code"].as_str(), refused["api"].as_u64()), (Some("invalid_argument"), Some(1)), "{refused}");
    let call = bob.request(json!({ "type": "call", "to": "9000", "sdp": "v=0\r\nthis is no sdp" }));
    assert_eq!(call["type"], "ok.call", "{call}");
    let ended = bob.event("call.ended", SOON);
    assert_eq!(ended["cause"]["status"], 488, "{ended}");
    assert_eq!(bob.request(json!({ "type": "ping" }))["type"], "ok", "the connection is as before");
    rig.quiet();
}

#[test]
fn malformed_sdp_of_a_trunk_is_refused_and_the_next_call_works() {
    let rig = Rig::start();
    let peer = Peer::at(PSTN);
    for sdp in
        ["this is no sdp", "v=0\r\nm=audio x RTP/AVP 0\r\n", "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nt=0 0\r\n"]
    {
        let more = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        let answer = peer.ask(&rig, "INVITE", "9000", &more);
        assert!(answer.contains(" 400 ") || answer.contains(" 488 "), "{sdp}: {answer}");
    }
    assert!(rig.metric_sum(r#"tandem_sip_messages_total{direction="out",kind="4xx"}"#) >= 3.0);
    rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "500"]).done(Duration::from_secs(20));
    rig.quiet();
}

#[test]
fn what_is_too_large_is_refused_in_each_protocols_own_words() {
    let rig = Rig::start();
    // SIP: 513, over TCP with the body really sent, and the connection goes on.
    let said = "Content-Length: 300000\r\n\r\n";
    assert!(Peer::at(STRANGER).ask(&rig, "INVITE", "9000", &format!("{said}v=0")).contains(" 513 "));
    let mut many = "X-Filler: x\r\n".repeat(300);
    many.push_str("Content-Length: 0\r\n\r\n");
    assert!(Peer::at(STRANGER).ask(&rig, "OPTIONS", "x", &many).contains(" 513 "));
    let mut stream = TcpStream::connect(rig.sip()).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let me = stream.local_addr().expect("its address").to_string();
    let mut answered = |more: &str| {
        stream.write_all(request(&rig, &me, "TCP", "OPTIONS", "x", more).as_bytes()).expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).expect("an answer");
            answer.push(octet[0]);
        }
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    assert!(answered(&format!("{said}{}", "x".repeat(300_000))).contains(" 513 "));
    assert!(answered("Content-Length: 0\r\n\r\n").contains(" 200 "));
    assert_eq!(rig.metric_sum(r#"tandem_sip_messages_total{direction="out",kind="5xx"}"#), 3.0);
    // The WebSocket: an error over 64 kB, the end over 256 kB.
    let mut bob = rig.client("bob");
    bob.send_raw(&"x".repeat(70_000));
    assert_eq!(bob.reply()["code"], "invalid_argument");
    assert_eq!(rig.metric_sum(r#"tandem_client_errors_total{code="too_big"}"#), 1.0);
    assert_eq!(bob.request(json!({ "type": "ping" }))["type"], "ok", "the connection is as before");
    bob.send_raw(&"x".repeat(300_000));
    bob.closed(SOON);
    // HTTP: 413.
    let order = json!({ "phone_number": "1001", "room": "r", "caller": "x".repeat(70_000) }).to_string();
    assert_eq!(rig.status("POST", "/api/v1/phone-calls", Some(&rig.api_key()), Some(&order)), 413);
    assert_eq!(rig.client("bob").request(json!({ "type": "ping" }))["type"], "ok");
}

#[test]
fn garbage_on_an_rtp_port_does_not_disturb_the_call() {
    let rig = Rig::start();
    let mut caller = rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "3000"]);
    let port = until("the call's RTP port", SOON, || {
        let messages = caller.messages();
        let answer = messages.split("SIP/2.0 200 OK").nth(1)?;
        answer.split("m=audio ").nth(1)?.split(' ').next()?.parse::<u16>().ok()
    });
    let socket = UdpSocket::bind((STRANGER, 0)).expect("a socket");
    let before = rig.metric_sum("tandem_rtp_refused_total");
    for datagram in [&b"\x80"[..], b"\x80\x00", &[0x80; 11], &[0xff; 1400], b"\x80\x7f\0\x01\0\0\0\x01\0\0\0\x01xx"] {
        socket.send_to(datagram, (rig.sip().ip(), port)).expect("sent");
    }
    until("the refusals counted", SOON, || (rig.metric_sum("tandem_rtp_refused_total") > before).then_some(()));
    caller.done(Duration::from_secs(20));
    rig.quiet();
}

#[test]
fn the_api_refuses_strangers_and_nonsense_in_words() {
    let rig = Rig::start();
    assert_eq!(rig.status("GET", "/api/v1/calls", None, None), 401);
    assert_eq!(rig.status("GET", "/api/v1/calls", Some("wrong"), None), 401);
    let key = rig.api_key();
    assert_eq!(rig.status("GET", "/api/v1/phone-calls/call-0", Some(&key), None), 404);
    assert_eq!(rig.status("POST", "/api/v1/phone-calls", Some(&key), Some("{ not json")), 400);
    let outside = r#"{"phone_number":"+1900555","room":"support"}"#;
    assert_eq!(rig.status("POST", "/api/v1/phone-calls", Some(&key), Some(outside)), 422);
    for page in ["/healthz", "/readyz", "/metrics", "/phone/", "/api/openapi.json", "/api/docs/"] {
        assert_eq!(rig.status("GET", page, None, None), 200, "{page}");
    }
}
