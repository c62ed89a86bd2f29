//! What an operator sees of SIP: the ladder of a call in the API, and every message at a HEP collector.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;

use crate::peers::until;
use crate::rig::{Rig, Wishes, http};

const SOON: Duration = Duration::from_secs(20);

/// A HEP3 collector: (correlation id, SIP message) of every packet.
struct Collector {
    socket: UdpSocket,
    heard: Vec<(String, String)>,
}

impl Collector {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
        Self { socket, heard: Vec::new() }
    }

    /// What has come so far.
    fn heard(&mut self) -> &[(String, String)] {
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let packet = &buffer[..length];
            assert_eq!(
                (&packet[..4], usize::from(u16::from_be_bytes([packet[4], packet[5]]))),
                (b"HEP3".as_slice(), length)
            );
            let (mut rest, mut correlation, mut payload) = (&packet[6..], String::new(), String::new());
            while !rest.is_empty() {
                let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
                let value = String::from_utf8_lossy(&rest[6..length]).into_owned();
                match u16::from_be_bytes([rest[2], rest[3]]) {
                    15 => payload = value,
                    17 => correlation = value,
                    _ => {}
                }
                rest = &rest[length..];
            }
            self.heard.push((correlation, payload));
        }
        &self.heard
    }
}

fn lines(ladder: &Value) -> Vec<&str> {
    let messages = ladder["messages"].as_array().expect("messages");
    messages.iter().filter_map(|message| message["line"].as_str()).collect()
}

#[test]
fn a_calls_ladder_is_in_the_api_and_every_message_at_the_collector() {
    let mut collector = Collector::start();
    let hep = collector.socket.local_addr().expect("its address");
    let rig = Rig::with(&Wishes { hep: Some(hep), ..Wishes::default() });
    let mut caller = rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "1500"]);
    let id = until("a call", SOON, || {
        let calls = rig.list("/api/v1/calls");
        calls.first().filter(|call| call["phase"] == "flow").and_then(|call| call["id"].as_str()).map(str::to_owned)
    });
    let path = format!("/api/v1/calls/{id}/ladder");
    let live = until("the ACK in the ladder", SOON, || {
        let ladder = rig.get(&path);
        lines(&ladder).iter().any(|line| line.starts_with("ACK ")).then_some(ladder)
    });
    assert!(lines(&live)[0].starts_with("INVITE sip:9000@"), "{live}");
    assert!(lines(&live).contains(&"SIP/2.0 200 OK"), "{live}");
    caller.done(SOON);
    rig.quiet();
    // It is remembered when the call is over, and drawn for who asks.
    let text = until("the BYE in the ladder", SOON, || {
        let (status, text) =
            http(rig.http(), "GET", &format!("{path}?format=text&bodies=true"), Some(&rig.api_key()), None);
        (status == 200 && text.contains(" BYE sip:")).then_some(text)
    });
    assert!(text.contains("tandem") && text.contains("INVITE sip:9000@") && text.contains("m=audio"), "{text}");
    until("the call at the collector", SOON, || {
        let heard = collector.heard();
        let ours = |start: &str| heard.iter().any(|(call, message)| *call == id && message.starts_with(start));
        (ours("ACK ") && ours("BYE ") && ours("SIP/2.0 200")).then_some(())
    });

    // Who is refused has no call, and is found by the Call-ID.
    let (_, invite) = collector.heard().iter().find(|(_, message)| message.starts_with("INVITE ")).expect("it").clone();
    let request = invite.replace("Call-ID: ", "Call-ID: refused-").replace("branch=z9hG4bK", "branch=z9hG4bKr");
    let request = request.split("\r\n\r\n").next().expect("a head");
    let head: Vec<_> = request.split("\r\n").filter(|line| !line.to_lowercase().starts_with("content-")).collect();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    stranger
        .send_to(format!("{}\r\nContent-Length: 0\r\n\r\n", head.join("\r\n")).as_bytes(), rig.sip())
        .expect("sent");
    let call_id = head.iter().find_map(|line| line.strip_prefix("Call-ID: ")).expect("a Call-ID");
    let refused = until("the refusal in a ladder", SOON, || {
        let path = format!("/api/v1/ladder?call_id={}", call_id.replace('@', "%40"));
        let (status, text) = http(rig.http(), "GET", &path, Some(&rig.api_key()), None);
        (status == 200 && text.contains("SIP/2.0 401")).then(|| serde_json::from_str::<Value>(&text).expect("JSON"))
    });
    assert_eq!(refused["call"], Value::Null);
}
