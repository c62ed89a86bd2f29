//! A client of the WebSocket protocol without WebRTC, for what a well-behaved page would not do.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// A connected client.
pub struct WsClient {
    socket: WebSocket<TcpStream>,
    events: VecDeque<Value>,
    replies: VecDeque<Value>,
    next: u64,
    pub welcome: Value,
}

impl WsClient {
    /// Connects and logs in.
    #[track_caller]
    pub fn login(http: SocketAddr, token: &str) -> Self {
        let mut client = Self::connect(http);
        client.welcome = client.request(json!({ "type": "login", "token": token, "device": "test" }));
        assert_eq!(client.welcome["type"], "welcome", "{}", client.welcome);
        client
    }

    /// Connects only.
    #[track_caller]
    pub fn connect(http: SocketAddr) -> Self {
        let stream = TcpStream::connect(http).expect("the switch");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let (socket, _) = client(format!("ws://{http}/ws"), stream).expect("a WebSocket");
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        Self { socket, events: VecDeque::new(), replies: VecDeque::new(), next: 1, welcome: Value::Null }
    }

    /// Sends text as it is.
    pub fn send_raw(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the socket");
    }

    /// Sends a request and returns its reply.
    #[track_caller]
    pub fn request(&mut self, mut body: Value) -> Value {
        let id = self.next.to_string();
        self.next += 1;
        body["v"] = 1.into();
        body["id"] = id.as_str().into();
        self.send_raw(&body.to_string());
        self.reply()
    }

    /// The next reply.
    #[track_caller]
    pub fn reply(&mut self) -> Value {
        self.wait("a reply", Duration::from_secs(10), |client| client.replies.pop_front())
    }

    /// Waits for an event of this type; each is returned once.
    #[track_caller]
    pub fn event(&mut self, kind: &str, limit: Duration) -> Value {
        self.wait(kind, limit, |client| {
            let at = client.events.iter().position(|event| event["type"] == kind)?;
            client.events.remove(at)
        })
    }

    #[track_caller]
    fn wait<T>(&mut self, what: &str, limit: Duration, mut take: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + limit;
        loop {
            if let Some(value) = take(self) {
                return value;
            }
            assert!(Instant::now() < end, "no {what} within {limit:?}; waiting: {:?}", self.events);
            if let Ok(Message::Text(text)) = self.socket.read() {
                let frame: Value = serde_json::from_str(&text).expect("JSON from the switch");
                if frame.get("seq").is_some() { self.events.push_back(frame) } else { self.replies.push_back(frame) }
            }
        }
    }
}
