//! A client of the WebSocket protocol without WebRTC, for what a well-behaved page would not do. A thread of its own reads the
//! socket, and so answers the switch's pings: the client stays online while its story waits for somebody else.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

/// How long the thread reads before it looks whether there is something to send.
const TURN: Duration = Duration::from_millis(5);

/// An offer as a browser makes it, with video too; no media ever flows.
pub const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\na=fingerprint:sha-256 \
AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99\r\na=setup:actpass\r\n\
a=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=fingerprint:sha-256 \
AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99\r\na=setup:actpass\r\n\
a=mid:1\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";

/// A connected client.
pub struct WsClient {
    orders: Option<mpsc::Sender<Vec<Message>>>,
    frames: mpsc::Receiver<Value>,
    thread: Option<JoinHandle<()>>,
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
        socket.get_ref().set_read_timeout(Some(TURN)).expect("a timeout");
        let (orders, to_send) = mpsc::channel();
        let (received, frames) = mpsc::channel();
        let thread = Some(std::thread::spawn(move || carry(socket, &to_send, &received)));
        let (events, replies) = Default::default();
        Self { orders: Some(orders), frames, thread, events, replies, next: 1, welcome: Value::Null }
    }

    /// Sends text as it is.
    pub fn send_raw(&mut self, text: &str) {
        self.send_together([text.to_owned()]);
    }

    /// Sends several frames with one write: the switch has the last before it has read the first.
    pub fn send_together(&mut self, frames: impl IntoIterator<Item = String>) {
        let frames = frames.into_iter().map(Message::text).collect();
        self.orders.as_ref().and_then(|orders| orders.send(frames).ok()).expect("the socket");
    }

    /// Waits until the switch has closed the connection.
    #[track_caller]
    pub fn closed(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            match self.frames.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(frame) => self.sort(frame),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the connection is open after {limit:?}"),
            }
        }
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
            let Ok(frame) = self.frames.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                panic!("no {what} within {limit:?}; waiting: {:?}", self.events)
            };
            self.sort(frame);
        }
    }

    fn sort(&mut self, frame: Value) {
        if frame.get("seq").is_some() { self.events.push_back(frame) } else { self.replies.push_back(frame) }
    }
}

impl Drop for WsClient {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries frames until the socket or the client is gone.
fn carry(mut socket: WebSocket<TcpStream>, orders: &mpsc::Receiver<Vec<Message>>, frames: &mpsc::Sender<Value>) {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let frame = serde_json::from_str(&text).expect("JSON from the switch");
                if frames.send(frame).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        loop {
            match orders.try_recv().map(|frames| send(&mut socket, frames)) {
                Ok(Ok(())) => {}
                Err(mpsc::TryRecvError::Empty) => break,
                Ok(Err(_)) | Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    }
}

/// Queues all, then writes.
fn send(socket: &mut WebSocket<TcpStream>, frames: Vec<Message>) -> Result<(), Error> {
    for frame in frames {
        socket.write(frame)?;
    }
    socket.flush()
}
