//! The whole HTTP side on a free port, with doubles behind it. One file, since every test needs all of the doubles.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tandem_actors::client::protocol::{Body, Event, Frame, Reply as ClientReply, VERSION};
use tandem_actors::control::{
    CallView, ClientView, NoSuchCall, PhoneCall, PhoneCallHistory, PhoneCallState, Reply, RoomView, StartError,
    TrunkView,
};
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
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::clients::CLIENT_QUEUE;
use super::deps::{AddSubscriberError, ApiKey, ApiKeys, Cdrs, NewSubscriber, StoreUnavailable, Subscribers};
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
        keys: Arc::new(OneKey),
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

// ---- REST

#[tokio::test]
async fn every_api_route_asks_for_a_key() {
    let stand = stand().await;
    for (method, path) in api::ROUTES {
        let request = format!("{} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", method.to_uppercase());
        let (status, head, body) = stand.raw(&format!("{request}\r\n")).await;
        assert_eq!(status, 401, "{method} {path}");
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        assert!(body.contains("\"code\":\"unauthorized\""), "{body}");
        let (status, _, _) = stand.raw(&format!("{request}Authorization: Bearer wrong\r\n\r\n")).await;
        assert_eq!(status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn what_lives_is_listed() {
    let stand = stand().await;
    let (status, calls) = stand.ask("GET", "/api/v1/calls", None).await;
    assert_eq!(status, 200);
    assert_eq!(calls["calls"][0]["id"], CALL.to_string());
    assert_eq!(calls["calls"][0]["started_at"], "2023-11-14T22:13:20Z");
    assert_eq!(calls["calls"][0]["answered_at"], Value::Null);
    for list in ["registrations", "trunks", "rooms", "clients"] {
        let (status, body) = stand.ask("GET", &format!("/api/v1/{list}"), None).await;
        assert!(status == 200 && body[list].is_array(), "{list}: {body}");
    }
}

#[tokio::test]
async fn a_phone_call_is_started_watched_and_stopped() {
    let stand = stand().await;
    let order = json!({"phone_number": "+8613800138000", "room": "lobby", "ttl_s": 60});
    let (status, started) = stand.ask("POST", "/api/v1/phone-calls", Some(order)).await;
    assert_eq!((status, started["id"].as_str()), (201, Some(CALL.to_string().as_str())));
    assert_eq!(stand.desk.started.lock().expect("the list").first().and_then(|o| o.ttl), Some(Duration::from_secs(60)));
    let path = format!("/api/v1/phone-calls/{CALL}");
    let (status, state) = stand.ask("GET", &path, None).await;
    assert_eq!((status, &state["done"]), (200, &json!(false)));
    assert_eq!(state["states"][1]["state_text"], "EARLY");
    assert_eq!(state["states"][1]["status_code"], 180);
    assert_eq!(stand.ask("DELETE", &path, None).await.0, 204);
    assert_eq!(*stand.desk.hung_up.lock().expect("the list"), [CALL]);
    for gone in ["call-99", "nonsense"] {
        let (status, body) = stand.ask("GET", &format!("/api/v1/phone-calls/{gone}"), None).await;
        assert_eq!((status, body["error"]["code"].as_str()), (404, Some("not_found")));
        assert_eq!(stand.ask("DELETE", &format!("/api/v1/phone-calls/{gone}"), None).await.0, 404);
        assert_eq!(stand.ask("DELETE", &format!("/api/v1/calls/{gone}"), None).await.0, 404);
    }
}

#[tokio::test]
async fn a_bad_order_gets_its_own_status() {
    let stand = stand().await;
    let number = |number: &str| json!({"phone_number": number, "room": "lobby"});
    let long = json!({"phone_number": "1", "room": "x".repeat(65)});
    let cases = [
        (number("abc"), 422),
        (number("+99"), 409),
        (number("+00"), 503),
        (number(""), 422),
        (json!({"phone_number": "1"}), 422),
        (json!({"phone_number": "1", "room": "r", "colour": "red"}), 422),
        (json!({"phone_number": "1", "room": "r", "ttl_s": 0}), 422),
        (json!({"phone_number": "1", "room": "r", "ttl_s": -1}), 422),
        (long, 422),
        (json!({"phone_number": "1", "room": "r", "caller": "x".repeat(70_000)}), 413),
    ];
    for (order, expected) in cases {
        let (status, body) = stand.ask("POST", "/api/v1/phone-calls", Some(order.clone())).await;
        assert_eq!(status, expected, "{order} {body}");
        assert!(body["error"]["message"].is_string());
    }
    let head = "POST /api/v1/phone-calls HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer secret\r\n";
    let (status, _, body) =
        stand.raw(&format!("{head}Content-Type: application/json\r\nContent-Length: 1\r\n\r\n{{")).await;
    assert_eq!(status, 400, "{body}");
    let (status, _, body) =
        stand.raw(&format!("{head}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}")).await;
    assert_eq!(status, 415, "{body}");
    let (status, body) = stand.ask("PUT", "/api/v1/calls", None).await;
    assert_eq!((status, body["error"]["code"].as_str()), (405, Some("method_not_allowed")));
    let (status, body) = stand.ask("GET", "/api/v2/calls", None).await;
    assert_eq!((status, body["error"]["code"].as_str()), (404, Some("not_found")));
}

#[tokio::test]
async fn a_token_of_the_api_is_a_login() {
    let mut stand = stand().await;
    let (status, issued) = stand.ask("POST", "/api/v1/tokens", Some(json!({"user": "bob", "ttl_s": 60}))).await;
    assert_eq!((status, issued["expires_at"].as_str()), (201, Some("2023-11-14T22:14:20Z")));
    let mut client = stand.connect().await;
    client.send(&json!({"id": "1", "type": "login", "token": issued["token"]})).await;
    let input = stand.next_input().await;
    assert!(matches!(&input, ClientInput::Connected { user, .. } if user.as_str() == "bob"), "{input:?}");
    for bad in [json!({"user": ""}), json!({"user": "null"}), json!({"user": "bob", "ttl_s": 0})] {
        assert_eq!(stand.ask("POST", "/api/v1/tokens", Some(bad)).await.0, 422);
    }
}

#[tokio::test]
async fn subscribers_are_added_once_and_removed_once() {
    let stand = stand().await;
    let add = || Some(json!({"id": "1001"}));
    let (status, added) = stand.ask("POST", "/api/v1/subscribers", add()).await;
    assert_eq!((status, added["password"].as_str()), (201, Some("made-once")));
    assert_eq!(stand.ask("POST", "/api/v1/subscribers", add()).await.0, 409);
    let (_, list) = stand.ask("GET", "/api/v1/subscribers", None).await;
    assert_eq!(list, json!({"subscribers": [{"id": "1001"}]}));
    assert_eq!(stand.ask("DELETE", "/api/v1/subscribers/1001", None).await.0, 204);
    assert_eq!(stand.ask("DELETE", "/api/v1/subscribers/1001", None).await.0, 404);
    assert_eq!(stand.ask("POST", "/api/v1/subscribers", Some(json!({"id": "a b"}))).await.0, 422);
}

#[tokio::test]
async fn records_are_read_within_limits_and_a_locked_store_is_said() {
    let stand = stand().await;
    assert_eq!(stand.ask("GET", "/api/v1/cdrs", None).await, (200, json!({"cdrs": []})));
    assert_eq!(stand.ask("GET", "/api/v1/cdrs?limit=0", None).await.0, 422);
    assert_eq!(stand.ask("GET", "/api/v1/cdrs?limit=x", None).await.0, 400);
    let (status, body) = stand.ask("GET", "/api/v1/cdrs?limit=13", None).await;
    assert_eq!((status, body["error"]["message"].as_str()), (503, Some("the database is locked")));
}

// ---- health, documents, pages

#[tokio::test]
async fn readiness_follows_the_switch_and_says_why_not() {
    let stand = stand().await;
    assert_eq!(stand.get("/healthz").await.0, 200);
    assert_eq!(stand.get("/readyz").await.0, 200);
    stand.desk.drain();
    let (status, head, body) = stand.get("/readyz").await;
    assert_eq!((status, body.as_str()), (503, "draining: 1 call left\n"));
    assert!(head.contains("retry-after:"));
    assert_eq!(stand.get("/healthz").await.0, 200);
    assert!(stand.get("/metrics").await.2.contains("tandem_calls 1"));
}

#[tokio::test]
async fn the_document_and_the_pages_are_served_with_a_policy() {
    let stand = stand().await;
    let (_, _, text) = stand.get("/api/openapi.json").await;
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["openapi"], "3.0.3");
    for path in ["/api/docs/", "/api/docs/swagger-initializer.js", "/phone/", "/phone/app.js", "/phone/style.css"] {
        let (status, head, _) = stand.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{path}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}");
    }
    let (status, head, sdk) = stand.get("/sdk/tandem.js").await;
    assert!(status == 200 && sdk.contains("class TandemClient") && head.contains("access-control-allow-origin: *"));
    assert_eq!(stand.get("/phone/../secret").await.0, 404);
    assert_eq!(stand.get("/").await.0, 307);
}

#[tokio::test]
async fn every_file_a_page_names_is_served() {
    let stand = stand().await;
    let (_, _, page) = stand.get("/phone/").await;
    let named = page
        .split(['"', '\''])
        .filter(|word| word.ends_with(".js") || word.ends_with(".css") || word.ends_with(".svg"));
    for file in named {
        assert_eq!(stand.get(&format!("/phone/{file}")).await.0, 200, "{file}");
    }
    let (_, _, script) = stand.get("/phone/app.js").await;
    for file in script.lines().filter_map(|line| line.strip_prefix("import ")?.split('\'').nth(1)?.strip_prefix("./")) {
        assert_eq!(stand.get(&format!("/phone/{file}")).await.0, 200, "{file}");
    }
}

#[tokio::test]
async fn a_taken_address_is_named_with_its_remedy() {
    let stand = stand().await;
    let config =
        HttpConfig { http: Some(stand.address()), https: None, allowed_origins: Vec::new(), token_key: token_key() };
    let deps = HttpDeps {
        cdrs: Arc::new(LockedStore),
        subscribers: Arc::new(Book::default()),
        keys: Arc::new(OneKey),
        metrics: Arc::new(String::new),
        wall: Arc::new(now),
    };
    let (ear, _heard) = mpsc::unbounded_channel();
    let again = Http::start(config, Arc::new(Desk::default()), Arc::new(Ear(ear)), Clients::new(), deps).await;
    let words = again.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(words.contains(&stand.address().to_string()) && words.contains("http.listen"), "{words}");
}

#[tokio::test]
async fn https_serves_what_http_serves_and_guards_its_metrics() {
    use rustls::pki_types::pem::PemObject;
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::SelfMade { folder: folder.path().to_owned(), names: Vec::new() };
    let stand =
        stand_with(Some(HttpsConfig { address: "127.0.0.1:0".parse().expect("an address"), certificate })).await;
    let address = stand.http.https_address().expect("HTTPS");
    let root =
        rustls::pki_types::CertificateDer::from_pem_file(folder.path().join("https.crt")).expect("a certificate");
    let ask = async |path: &str, key: &str| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.clone()).expect("a root");
        let mut tls = rustls::ClientConnection::new(
            Arc::new(
                rustls::ClientConfig::builder_with_details(
                    Arc::new(rustls::crypto::ring::default_provider()),
                    Arc::new(Fixed),
                )
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth(),
            ),
            "localhost".try_into().expect("a name"),
        )
        .expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key}\r\n");
        tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut socket = std::net::TcpStream::connect(address).expect("connected");
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.write_all(request.as_bytes()).expect("sent");
            let mut text = Vec::new();
            // A peer that closes without close_notify has said all it had to say.
            let _ = stream.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
        .await
        .expect("asked")
    };
    assert!(ask("/phone/", "").await.starts_with("HTTP/1.1 200"));
    assert!(ask("/metrics", "").await.starts_with("HTTP/1.1 401"));
    assert!(ask("/metrics", "Authorization: Bearer secret\r\n").await.contains("tandem_calls 1"));
    stand.http.reload_certificate().expect("reloaded");
}

/// The certificate is as old as the test's clock says.
#[derive(Debug)]
struct Fixed;

impl rustls::time_provider::TimeProvider for Fixed {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

// ---- the client WebSocket

#[tokio::test]
async fn a_login_reaches_the_brain_and_its_frames_reach_the_socket() {
    let mut stand = stand().await;
    let mut client = stand.connect().await;
    client.send(&login(Some(json!({"client": "client-5", "seq": 9})))).await;
    let ClientInput::Connected { client: id, user, device, resume, request } = stand.next_input().await else {
        panic!("expected a connection");
    };
    assert_eq!((user.as_str(), device.as_str(), request.as_str()), ("alice", "test", "1"));
    assert_eq!(resume, Some((ClientId(5), 9)));
    stand.clients.deliver(id, event(10)).expect("delivered");
    assert_eq!(client.next().await.expect("a frame")["seq"], 10);
    client.send(&json!({"id": "2", "type": "hangup", "call": "call-7"})).await;
    let input = stand.next_input().await;
    assert!(
        matches!(&input, ClientInput::Request { client, request, .. } if *client == id && request == "2"),
        "{input:?}"
    );
    drop(client);
    assert_eq!(stand.next_input().await, ClientInput::Lost(id));
    assert_eq!(stand.clients.count(), 0);
}

#[tokio::test]
async fn the_first_frame_is_a_right_login() {
    let stand = stand().await;
    let mut client = stand.connect().await;
    client.send(&json!({"id": "1", "type": "ping"})).await;
    assert_eq!(client.error_code().await, "unauthorized");
    client.send(&json!({"id": "2", "type": "login", "token": "nonsense"})).await;
    assert_eq!(client.error_code().await, "unauthorized");
    assert_eq!(client.next().await, Err(1008));
    assert_eq!(stand.clients.count(), 0);
}

#[tokio::test]
async fn an_expired_token_is_said_to_be_expired() {
    let stand = stand().await;
    let alice = UserId::new("alice").expect("a user");
    let past = now() - Duration::from_secs(120);
    let (token, _) = token_key().issue(&alice, Duration::from_secs(60), past).expect("a token");
    let mut client = stand.connect().await;
    client.send(&json!({"id": "1", "type": "login", "token": token})).await;
    let reply = client.next().await.expect("a frame");
    assert!(reply["message"].as_str().is_some_and(|words| words.contains("expired")), "{reply}");
}

#[tokio::test]
async fn bad_frames_get_an_error_and_the_connection_goes_on() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    client.0.send(Message::text("{\"id\":\"1\",")).await.expect("sent");
    assert_eq!(client.error_code().await, "malformed");
    client.0.send(Message::binary(vec![0u8; 4])).await.expect("sent");
    assert_eq!(client.error_code().await, "malformed");
    client.send(&json!({"id": "2", "type": "no.such"})).await;
    let reply = client.next().await.expect("a frame");
    assert_eq!((reply["re"].as_str(), reply["code"].as_str()), (Some("2"), Some("malformed")));
    client.send(&json!({"id": "3", "type": "ping", "fill": "x".repeat(ws::MAX_FRAME)})).await;
    assert_eq!(client.error_code().await, "invalid_argument");
    client.send(&login(None)).await;
    assert_eq!(client.error_code().await, "conflict");
    client.send(&json!({"id": "4", "type": "ping"})).await;
    let input = stand.next_input().await;
    assert!(matches!(&input, ClientInput::Request { client, .. } if *client == id), "{input:?}");
}

#[tokio::test]
async fn a_flood_of_requests_is_rate_limited() {
    let mut stand = stand().await;
    let (mut client, _) = stand.logged_in().await;
    for n in 0..200 {
        client.send(&json!({"id": n.to_string(), "type": "ping"})).await;
    }
    assert_eq!(client.error_code().await, "rate_limited");
}

#[tokio::test]
async fn a_client_that_does_not_keep_up_is_closed_with_1013() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    // No await between: the writer has no turn to empty its queue.
    let refused = (1..).find(|seq| stand.clients.deliver(id, event(*seq)).is_err());
    assert_eq!(refused, Some(CLIENT_QUEUE as u64 + 1));
    let end = loop {
        match client.next().await {
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert_eq!(end, 1013);
    assert_eq!(stand.next_input().await, ClientInput::Lost(id));
}

#[tokio::test]
async fn the_brain_closes_a_socket_after_what_it_sent() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    let kicked = Event::Kicked { reason: "REMOTE_LOGIN".into() };
    let frame = Frame { v: VERSION, body: Body::Event { seq: 1, event: kicked } };
    stand.clients.deliver(id, frame).expect("delivered");
    stand.clients.close(id, 4001, "logged in elsewhere");
    assert_eq!(client.next().await.expect("a frame")["type"], "kicked");
    assert_eq!(client.next().await, Err(4001));
}

#[tokio::test]
async fn signs_of_life_go_up_at_most_once_a_second() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    let began = tokio::time::Instant::now();
    let mut alive = 0;
    while alive < 2 {
        client.0.send(Message::Ping(Vec::new().into())).await.expect("sent");
        // The pause is the client's pace, not a wait for something: the loop ends by what the brain heard.
        if let Ok(Some(input)) = tokio::time::timeout(Duration::from_millis(50), stand.heard.recv()).await {
            assert_eq!(input, ClientInput::Alive(id));
            alive += 1;
        }
        assert!(began.elapsed() < DEADLINE, "no sign of life");
    }
    assert!(began.elapsed() >= Duration::from_millis(1900), "more than one a second");
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_connect() {
    let stand = stand().await;
    let url = format!("ws://{}/ws", stand.address());
    let with_origin = |origin: &'static str| {
        let mut request = url.as_str().into_client_request().expect("a request");
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        tokio_tungstenite::connect_async(request)
    };
    assert!(with_origin("https://evil.example").await.is_err());
    assert!(with_origin("https://app.example.com").await.is_ok());
}

#[tokio::test]
async fn stopping_tells_clients_to_come_back() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    let reply = Frame { v: VERSION, body: Body::Reply { re: "1".into(), reply: ClientReply::Done {} } };
    stand.clients.deliver(id, reply).expect("delivered");
    stand.http.stop(Duration::from_secs(1)).await;
    assert_eq!(client.next().await.expect("a frame")["type"], "ok");
    assert_eq!(client.next().await, Err(1012));
}
