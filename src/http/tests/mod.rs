//! The whole HTTP side on a free port, with doubles behind it. The doubles are here, what is asked of them in a file a side.

mod pages;
mod rest;
mod socket;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tandem_actors::client::protocol::{Body, Event, Frame, VERSION};
use tandem_actors::control::{
    CallView, ClientView, NoSuchCall, PhoneCall, PhoneCallHistory, PhoneCallState, ReplacedBy, Reply, RoomView,
    StartError, TransferError, TransferOrder, TrunkView,
};
use tandem_actors::model::address::SipUri;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::{CallId, ClientId, RoomId, SubscriberId, UserId};
use tandem_actors::ports::client::{ClientInput, ClientPort};
use tandem_actors::ports::media::MediaEvent;
use tandem_actors::ports::rtc::RtcEvent;
use tandem_actors::ports::sip::SipEvent;
use tandem_actors::ports::store::{Cdr, SavedBinding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::deps::{
    AddSubscriberError, ApiKey, ApiKeys, Block, Blocks, Cdrs, LadderStep, Ladders, NewSubscriber, StoreUnavailable,
    Subscribers,
};
use super::*;

const NOW: u64 = 1_700_000_000;
const DEADLINE: Duration = Duration::from_secs(10);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// A control with one call, which is a phone call; remembers orders.
#[derive(Default)]
struct Desk {
    started: Mutex<Vec<PhoneCall>>,
    hung_up: Mutex<Vec<CallId>>,
    transfers: Mutex<Vec<TransferOrder>>,
    closed: Mutex<bool>,
}

const CALL: CallId = CallId(7);

impl Control for Desk {
    fn calls(&self) -> Vec<CallView> {
        vec![CallView {
            call: CALL,
            kind: "connector".into(),
            from: "1001".into(),
            to: "lobby".into(),
            phase: "ringing".into(),
            started_at: now(),
            answered_at: None,
            legs: Vec::new(),
        }]
    }
    fn registrations(&self) -> Vec<SavedBinding> {
        Vec::new()
    }
    fn unregister(&self, subscriber: SubscriberId, contact: Option<SipUri>) -> Reply<Option<usize>> {
        let removed = match (subscriber.as_str(), contact) {
            ("1001", None) => Some(2),
            ("1001", Some(uri)) if uri.0 == "sip:1001@192.0.2.7:5060" => Some(1),
            ("1009", _) => None,
            _ => Some(0),
        };
        Box::pin(std::future::ready(removed))
    }
    fn trunks(&self) -> Vec<TrunkView> {
        Vec::new()
    }
    fn rooms(&self) -> Vec<RoomView> {
        vec![RoomView { room: RoomId::new("lobby").expect("a room"), participants: Vec::new() }]
    }
    fn clients(&self) -> Vec<ClientView> {
        Vec::new()
    }
    fn start_phone_call(&self, order: PhoneCall) -> Reply<Result<CallId, StartError>> {
        let result = match order.phone_number.as_str() {
            "abc" => Err(StartError::Number("not a number".into())),
            "+99" => Err(StartError::NoRoute("no trunk leads there".into())),
            "+00" => Err(StartError::Unavailable("draining".into())),
            _ => Ok(CALL),
        };
        self.started.lock().expect("the list").push(order);
        Box::pin(async move { result })
    }
    fn hang_up(&self, call: CallId) -> Reply<Result<(), NoSuchCall>> {
        self.hung_up.lock().expect("the list").push(call);
        Box::pin(async move { if call == CALL { Ok(()) } else { Err(NoSuchCall) } })
    }
    fn transfer(&self, call: CallId, order: TransferOrder) -> Reply<Result<(), TransferError>> {
        let result = match (call == CALL, &order.by) {
            (false, _) => Err(TransferError::NoSuchCall),
            (true, ReplacedBy::Target(to)) if to == "nobody" => Err(TransferError::Target("nobody".into())),
            (true, ReplacedBy::Call(..)) => Err(TransferError::Impossible("it rings".into())),
            (true, ReplacedBy::Target(_)) => Ok(()),
        };
        self.transfers.lock().expect("the list").push(order);
        Box::pin(async move { result })
    }
    fn phone_call_state(&self, call: CallId) -> Option<PhoneCallHistory> {
        let state = |n: u8, status| PhoneCallState {
            at: now(),
            state: n,
            text: PhoneCallState::word(n).into(),
            status,
            reason: String::new(),
        };
        (call == CALL).then(|| PhoneCallHistory {
            states: vec![state(1, 0), state(3, 180)],
            done: false,
            cause: Some(Cause::busy()),
        })
    }
    fn ready(&self) -> Result<(), String> {
        if *self.closed.lock().expect("the flag") { Err("draining: 1 call left".into()) } else { Ok(()) }
    }
    fn drain(&self) {
        *self.closed.lock().expect("the flag") = true;
    }
}

/// Remembers an INVITE of [`CALL`], and one that became no call.
struct Wire;

impl Ladders for Wire {
    fn of_call(&self, call: CallId) -> Vec<LadderStep> {
        if call == CALL { self.of_call_id("a1").1 } else { Vec::new() }
    }
    fn of_call_id(&self, call_id: &str) -> (Option<CallId>, Vec<LadderStep>) {
        let step = |sent, ago, text: &str| LadderStep {
            ago: Duration::from_millis(ago),
            sent,
            local: "192.0.2.1:5060".parse().expect("an address"),
            remote: "192.0.2.7:5062".parse().expect("an address"),
            transport: "udp",
            call_id: call_id.into(),
            text: text.into(),
        };
        let invite = step(false, 20, "INVITE sip:lobby@h SIP/2.0\r\nCall-ID: a1\r\n\r\nv=0\r\n");
        let refusal = step(true, 10, "SIP/2.0 403 Forbidden\r\nCall-ID: a1\r\n\r\n");
        match call_id {
            "a1" => (Some(CALL), vec![invite, refusal]),
            "a2@h" => (None, vec![invite]),
            _ => (None, Vec::new()),
        }
    }
}

/// A brain that passes on what clients say.
struct Ear(mpsc::UnboundedSender<ClientInput>);

impl Brain for Ear {
    fn sip(&self, _event: SipEvent) {}
    fn rtc(&self, _event: RtcEvent) {}
    fn media(&self, _event: MediaEvent) {}
    fn client(&self, event: ClientInput) {
        // The test may be over.
        let _ = self.0.send(event);
    }
}

/// 192.0.2.7 is blocked until somebody lifts it.
#[derive(Default)]
struct OneBlock(std::sync::atomic::AtomicBool);

impl Blocks for OneBlock {
    fn list(&self) -> Vec<Block> {
        let lifted = self.0.load(std::sync::atomic::Ordering::Relaxed);
        let block = Block { source: "192.0.2.7".into(), reason: "scanner", left: Duration::from_secs(90), times: 2 };
        if lifted { Vec::new() } else { vec![block] }
    }
    fn lift(&self, address: std::net::IpAddr) -> bool {
        address.to_string() == "192.0.2.7" && !self.0.swap(true, std::sync::atomic::Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Book(Mutex<BTreeSet<SubscriberId>>);

impl Subscribers for Book {
    fn list(&self) -> Reply<Result<Vec<SubscriberId>, StoreUnavailable>> {
        let all = self.0.lock().expect("the book").iter().cloned().collect();
        Box::pin(async move { Ok(all) })
    }
    fn add(&self, subscriber: SubscriberId) -> Reply<Result<NewSubscriber, AddSubscriberError>> {
        let new = self.0.lock().expect("the book").insert(subscriber.clone());
        let taken = AddSubscriberError::Taken("there is one of that id".into());
        let added = NewSubscriber { subscriber, password: "made-once".into(), domain: "tandem.test".into() };
        Box::pin(async move { if new { Ok(added) } else { Err(taken) } })
    }
    fn remove(&self, subscriber: SubscriberId) -> Reply<Result<bool, StoreUnavailable>> {
        let removed = self.0.lock().expect("the book").remove(&subscriber);
        Box::pin(async move { Ok(removed) })
    }
}

struct LockedStore;

impl Cdrs for LockedStore {
    fn recent(&self, limit: u32) -> Reply<Result<Vec<Cdr>, StoreUnavailable>> {
        let answer = if limit == 13 { Err(StoreUnavailable("the database is locked".into())) } else { Ok(Vec::new()) };
        Box::pin(async move { answer })
    }
}

struct OneKey;

impl ApiKeys for OneKey {
    fn valid(&self, _now: SystemTime) -> Vec<ApiKey> {
        vec![ApiKey::of("test", "secret")]
    }
}

/// A running HTTP side and what stands behind it.
struct Stand {
    http: Http,
    desk: Arc<Desk>,
    clients: Arc<Clients>,
    heard: mpsc::UnboundedReceiver<ClientInput>,
}

fn token_key() -> TokenKey {
    TokenKey::new(&[7; 32]).expect("a key")
}

async fn stand_with(https: Option<HttpsConfig>) -> Stand {
    let (ear, heard) = mpsc::unbounded_channel();
    let (desk, clients) = (Arc::new(Desk::default()), Clients::new());
    let config = HttpConfig {
        http: Some("127.0.0.1:0".parse().expect("an address")),
        https,
        allowed_origins: vec!["https://app.example.com".into()],
        token_key: token_key(),
    };
    let deps = HttpDeps {
        cdrs: Arc::new(LockedStore),
        subscribers: Arc::new(Book::default()),
        blocks: Arc::new(OneBlock::default()),
        keys: Arc::new(OneKey),
        ladders: Arc::new(Wire),
        metrics: Arc::new(|| "tandem_calls 1\n".into()),
        wall: Arc::new(now),
    };
    let control: Arc<dyn Control> = Arc::clone(&desk) as Arc<dyn Control>;
    let http = Http::start(config, control, Arc::new(Ear(ear)), Arc::clone(&clients), deps).await.expect("started");
    Stand { http, desk, clients, heard }
}

async fn stand() -> Stand {
    stand_with(None).await
}

impl Stand {
    fn address(&self) -> SocketAddr {
        self.http.http_address().expect("plain HTTP")
    }

    /// Sends raw HTTP; status, headers in lower case, body.
    async fn raw(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address()).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("in time").expect("answered");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_lowercase(), body.to_owned())
    }

    /// Asks with the key and a JSON body, if any.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: switch\r\nConnection: close\r\nAuthorization: Bearer secret\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, _, body) = self.raw(&request).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: switch\r\nConnection: close\r\n\r\n")).await
    }

    async fn connect(&self) -> Client {
        let (socket, _) =
            tokio_tungstenite::connect_async(format!("ws://{}/ws", self.address())).await.expect("connected");
        Client(socket)
    }

    /// What the brain heard next, signs of life apart.
    async fn next_input(&mut self) -> ClientInput {
        loop {
            let input = tokio::time::timeout(DEADLINE, self.heard.recv()).await.expect("in time").expect("an input");
            if !matches!(input, ClientInput::Alive(_)) {
                return input;
            }
        }
    }

    /// A client logged in as alice.
    async fn logged_in(&mut self) -> (Client, ClientId) {
        let mut client = self.connect().await;
        client.send(&login(None)).await;
        let ClientInput::Connected { client: id, .. } = self.next_input().await else {
            panic!("expected a connection");
        };
        (client, id)
    }
}

fn login(resume: Option<Value>) -> Value {
    let alice = UserId::new("alice").expect("a user");
    let (token, _) = token_key().issue(&alice, Duration::from_secs(60), now()).expect("a token");
    json!({"v": 1, "id": "1", "type": "login", "token": token, "device": "test", "resume": resume})
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("sent");
    }

    /// The next text frame, or the close code.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match tokio::time::timeout(DEADLINE, self.0.next()).await.expect("in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(close))) => return Err(close.map_or(1005, |close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    async fn error_code(&mut self) -> String {
        let frame = self.next().await.expect("a frame");
        frame["code"].as_str().unwrap_or("none").to_owned()
    }
}

fn event(seq: u64) -> Frame {
    Frame { v: VERSION, body: Body::Event { seq, event: Event::CallEnded { call: CALL, cause: Cause::hangup() } } }
}
