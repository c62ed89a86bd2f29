//! What hostile and broken peers send: an answer of the protocol or silence, a counter, and the next call works.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::json;

use crate::peers::until;
use crate::peers::wsclient::WsClient;
use crate::rig::Rig;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn garbage_on_the_sip_port_is_counted_and_the_next_call_works() {
    let rig = Rig::start();
    let socket = UdpSocket::bind("127.0.0.3:0").expect("a socket");
    let me = socket.local_addr().expect("its address");
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
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    for (request, version, status) in [("FROBNICATE", "2.0", "501"), ("OPTIONS", "3.0", "505")] {
        let text = format!(
            "{request} sip:{sip} SIP/{version}\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{request};rport\r\n\
             From: <sip:x@{me}>;tag=1\r\nTo: <sip:{sip}>\r\nCall-ID: {request}@{me}\r\nCSeq: 1 {request}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            sip = rig.sip()
        );
        socket.send_to(text.as_bytes(), rig.sip()).expect("sent");
        let mut buffer = [0; 4000];
        let (len, _) = socket.recv_from(&mut buffer).expect("an answer");
        let answer = String::from_utf8_lossy(&buffer[..len]);
        let ok =
            answer.starts_with(&format!("SIP/2.0 {status}")) || (status == "501" && answer.starts_with("SIP/2.0 405"));
        assert!(ok, "{request}: {answer}");
    }
    rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "500"]).done(Duration::from_secs(20));
    rig.quiet();
}

#[test]
fn a_stranger_is_challenged_and_never_let_through() {
    let rig = Rig::start();
    let socket = UdpSocket::bind("127.0.0.3:0").expect("a socket");
    let me = socket.local_addr().expect("its address");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    let invite = format!(
        "INVITE sip:9000@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKs1;rport\r\nFrom: <sip:1001@{me}>;tag=1\r\n\
         To: <sip:9000@{sip}>\r\nCall-ID: s1@{me}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@{me}>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n",
        sip = rig.sip()
    );
    socket.send_to(invite.as_bytes(), rig.sip()).expect("sent");
    let statuses = || {
        let mut buffer = [0; 4000];
        let (len, _) = socket.recv_from(&mut buffer).expect("an answer");
        String::from_utf8_lossy(&buffer[..len]).lines().next().unwrap_or_default().to_owned()
    };
    let mut status = statuses();
    if status.contains(" 100 ") {
        status = statuses();
    }
    assert!(status.contains(" 401 ") || status.contains(" 407 "), "{status}");
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
fn garbage_on_an_rtp_port_does_not_disturb_the_call() {
    let rig = Rig::start();
    let mut caller = rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "3000"]);
    let port = until("the call's RTP port", SOON, || {
        let messages = caller.messages();
        let answer = messages.split("SIP/2.0 200 OK").nth(1)?;
        answer.split("m=audio ").nth(1)?.split(' ').next()?.parse::<u16>().ok()
    });
    let socket = UdpSocket::bind("127.0.0.3:0").expect("a socket");
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
