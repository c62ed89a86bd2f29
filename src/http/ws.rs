//! The client WebSocket at `/ws`: JSON text frames of `tandem_actors::client::protocol` (RFC 6455, version 13).
//!
//! One task a socket: it checks the origin and the login token, then carries requests up and frames down. It holds no state of
//! a call: a lost socket is told to the brain as [`ClientInput::Lost`] and the Client actor goes on for the resume window.
//!
//! Close codes: 1001 going away, 1008 not logged in, 1009 over-size, 1012 restarting, 1013 does not keep up, 4000 silent.
//! Errors found here (malformed, too long, too many) are answered at once, so they may overtake replies that the brain still owes.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use metrics::{counter, gauge};
use serde_json::{Map, Value};
use tandem_actors::client::protocol::{Body, ErrorCode, Frame, Reply, Request, Resume, VERSION};
use tandem_actors::model::ids::{ClientId, UserId};
use tandem_actors::ports::client::ClientInput;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::clients::{Connection, Outbound};
use super::limit::Bucket;
use super::metrics::{CONNECTIONS, FRAMES, client_error};
use super::{Shared, Switch};
use crate::origin;

/// The first frame must be a right login within this.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);
/// How often the switch pings (RFC 6455 §5.5.2); the pong keeps presence ONLINE, which ends after 6 s of silence.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A socket silent for this long is given up: presence is OFFLINE by then anyway.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// A socket that takes no byte for this long is given up.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// At most one sign of life a second goes up.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// Longest frame, bytes: an offer and an invitation's content with every character escaped fit.
pub(super) const MAX_FRAME: usize = 64 * 1024;
/// Beyond this a frame is not even read: the socket ends.
pub(super) const MAX_READ: usize = 4 * MAX_FRAME;
/// Requests a second, and at once.
const RATE: u32 = 60;
/// See [`RATE`].
const BURST: u32 = 120;
/// Longest `id` of a request, bytes.
const MAX_ID: usize = 64;
/// Longest `device`, characters.
const MAX_DEVICE: usize = 200;

/// The route.
pub(super) fn router() -> Router<Shared> {
    Router::new().route("/ws", get(upgrade))
}

async fn upgrade(
    State(switch): State<Shared>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let text = |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"));
    if !origin::allowed(text(ORIGIN), text(HOST), &switch.allowed_origins) {
        client_error("origin");
        return (StatusCode::FORBIDDEN, "this origin may not connect: name it in http.allowed_origins").into_response();
    }
    upgrade.max_message_size(MAX_READ).max_frame_size(MAX_READ).on_upgrade(move |socket| serve(switch, socket))
}

/// Counts a socket while it is open.
struct Open;

impl Open {
    fn new() -> Self {
        gauge!(CONNECTIONS).increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(CONNECTIONS).decrement(1.0);
    }
}

/// Why a socket ends, as the close frame says it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The other side closed it or it broke.
    Gone,
    /// We close it.
    Close(u16, String),
}

impl End {
    fn close(code: u16, reason: &str) -> Self {
        Self::Close(code, reason.into())
    }
}

type Sink = SplitSink<WebSocket, Message>;
type Stream = SplitStream<WebSocket>;

async fn serve(switch: Shared, socket: WebSocket) {
    let _open = Open::new();
    let (mut sink, mut stream) = socket.split();
    let mut bucket = Bucket::new(RATE, BURST, Instant::now());
    let end = match timeout(LOGIN_WITHIN, login(&switch, &mut sink, &mut stream, &mut bucket)).await {
        Ok(Ok(login)) => run(&switch, &mut sink, stream, bucket, login).await,
        Ok(Err(end)) => end,
        Err(_) => {
            client_error("login_timeout");
            End::close(1008, "log in within 10 s")
        }
    };
    if let End::Close(code, reason) = end {
        let reason = short(&reason, 120);
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        // It may be gone already.
        let _ = timeout(ALIVE_EVERY, sink.send(close)).await;
        let _ = timeout(ALIVE_EVERY, sink.close()).await;
    }
}

/// How a socket ends that cannot be read further. An over-size frame is told by its words: its type is the WebSocket crate's,
/// which `axum` keeps to itself.
fn broken(error: &axum::Error) -> End {
    if !error.to_string().contains("Message too long") {
        return End::Gone;
    }
    client_error("too_big");
    End::Close(1009, format!("a frame has at most {MAX_FRAME} bytes"))
}

/// A login that was right.
struct Login {
    id: String,
    user: UserId,
    device: String,
    resume: Option<Resume>,
}

/// Reads frames until one is a right login.
async fn login(switch: &Switch, sink: &mut Sink, stream: &mut Stream, bucket: &mut Bucket) -> Result<Login, End> {
    loop {
        let text = match stream.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Binary(_))) => return Err(End::close(1008, "frames are JSON text")),
            Some(Err(error)) => return Err(broken(&error)),
            Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
        };
        counter!(FRAMES, "direction" => "in").increment(1);
        let refusal = match read(&text, bucket, Instant::now()) {
            Ok((id, Request::Login { token, device, resume })) => {
                match switch.token_key.check(&token, (switch.deps.wall)()) {
                    Ok(user) => return Ok(Login { id, user, device: short(&device, MAX_DEVICE).into(), resume }),
                    Err(error) => {
                        let refusal = Refusal::new(id, ErrorCode::Unauthorized, error.to_string());
                        send(sink, &refusal.frame()).await?;
                        return Err(End::Close(1008, error.to_string()));
                    }
                }
            }
            Ok((id, _)) => Refusal::new(id, ErrorCode::Unauthorized, "log in first"),
            Err(refusal) => refusal,
        };
        send(sink, &refusal.frame()).await?;
    }
}

/// A logged-in socket, until it ends.
async fn run(switch: &Switch, sink: &mut Sink, stream: Stream, bucket: Bucket, login: Login) -> End {
    let client = ClientId::random();
    let (connection, out) = Connection::new();
    switch.clients.insert(client, connection.clone());
    let _known = Known { switch, client };
    tracing::debug!(%client, "client connected");
    switch.brain.client(ClientInput::Connected {
        client,
        user: login.user,
        device: login.device,
        resume: login.resume.map(|resume| (resume.client, resume.seq)),
        request: login.id,
    });
    let end = tokio::select! {
        end = reader(switch, client, &connection, stream, bucket) => end,
        end = writer(sink, &connection, out) => end,
    };
    tracing::debug!(%client, ?end, "client disconnected");
    end
}

/// Takes a client off the list and tells the brain, however its task ends.
struct Known<'s> {
    switch: &'s Switch,
    client: ClientId,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.switch.clients.remove(self.client);
        self.switch.brain.client(ClientInput::Lost(self.client));
    }
}

async fn reader(
    switch: &Switch,
    client: ClientId,
    connection: &Connection,
    mut stream: Stream,
    mut bucket: Bucket,
) -> End {
    let mut alive_at = Instant::now();
    loop {
        let message = match timeout_at(Instant::now() + SILENT_FOR, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => {
                tracing::debug!(%client, %error, "the socket broke");
                return broken(&error);
            }
            Ok(None) => return End::Gone,
            Err(_) => {
                client_error("silent");
                return End::close(4000, "silent for 30 s");
            }
        };
        let now = Instant::now();
        if now.saturating_duration_since(alive_at) >= ALIVE_EVERY {
            alive_at = now;
            switch.brain.client(ClientInput::Alive(client));
        }
        let read = match message {
            Message::Text(text) => {
                counter!(FRAMES, "direction" => "in").increment(1);
                read(&text, &mut bucket, now)
            }
            Message::Binary(_) => {
                counter!(FRAMES, "direction" => "in").increment(1);
                Err(Refusal::new(String::new(), ErrorCode::Malformed, "frames are JSON text"))
            }
            // Pings beyond the rate are as bad as requests; the answer is the protocol's own pong.
            Message::Ping(_) | Message::Pong(_) => {
                bucket.take(now);
                continue;
            }
            Message::Close(_) => return End::Gone,
        };
        let refusal = match read {
            Ok((id, Request::Login { .. })) => Refusal::new(id, ErrorCode::Conflict, "you are logged in already"),
            Ok((request, body)) => {
                switch.brain.client(ClientInput::Request { client, request, body: Box::new(body) });
                continue;
            }
            Err(refusal) => refusal,
        };
        // overflow: retained; the writer closes the socket when its queue is full.
        let _ = connection.send(Outbound::Frame(Box::new(refusal.frame())));
    }
}

async fn writer(sink: &mut Sink, connection: &Connection, mut out: mpsc::Receiver<Outbound>) -> End {
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let slow = || {
        client_error("slow");
        End::close(1013, "you do not keep up: connect again and resume")
    };
    loop {
        let step = tokio::select! {
            biased;
            () = connection.slow.notified() => return slow(),
            next = out.recv() => next,
            _ = ping.tick() => {
                if let Err(end) = put(sink, Message::Ping(axum::body::Bytes::new())).await {
                    return end;
                }
                continue;
            }
        };
        match step {
            Some(Outbound::Frame(frame)) => {
                let sent = tokio::select! {
                    sent = send(sink, &frame) => sent,
                    () = connection.slow.notified() => return slow(),
                };
                if let Err(end) = sent {
                    return end;
                }
            }
            Some(Outbound::Close(code, reason)) => return End::Close(code, reason),
            None => return End::Gone,
        }
    }
}

async fn send(sink: &mut Sink, frame: &Frame) -> Result<(), End> {
    match serde_json::to_string(frame) {
        Ok(text) => {
            counter!(FRAMES, "direction" => "out").increment(1);
            put(sink, Message::Text(text.into())).await
        }
        Err(error) => {
            tracing::error!(%error, "a frame could not be written as JSON");
            Ok(())
        }
    }
}

async fn put(sink: &mut Sink, message: Message) -> Result<(), End> {
    match timeout(SEND_WITHIN, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => {
            client_error("slow");
            Err(End::close(1013, "you do not keep up: connect again and resume"))
        }
    }
}

/// A request refused before it reached the brain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    re: String,
    code: ErrorCode,
    message: String,
}

impl Refusal {
    fn new(re: String, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { re, code, message: message.into() }
    }

    /// The reply, counted.
    fn frame(self) -> Frame {
        client_error(match self.code {
            ErrorCode::Malformed => "malformed",
            ErrorCode::InvalidArgument => "too_big",
            ErrorCode::Unauthorized => "unauthorized",
            ErrorCode::Forbidden => "forbidden",
            ErrorCode::NotFound => "not_found",
            ErrorCode::Conflict => "conflict",
            ErrorCode::RateLimited => "rate_limited",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::Internal => "internal",
        });
        let reply = Reply::Error { code: self.code, api: None, message: self.message };
        Frame { v: VERSION, body: Body::Reply { re: self.re, reply } }
    }
}

/// Reads one text frame: its `id` and the request.
fn read(text: &str, bucket: &mut Bucket, now: Instant) -> Result<(String, Request), Refusal> {
    let anonymous = |code, message: String| Refusal::new(String::new(), code, message);
    if text.len() > MAX_FRAME {
        return Err(anonymous(ErrorCode::InvalidArgument, format!("a frame has at most {MAX_FRAME} bytes")));
    }
    let frame: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| anonymous(ErrorCode::Malformed, format!("not a JSON object: {error}")))?;
    let id = match frame.get("id") {
        Some(Value::String(id)) if id.len() <= MAX_ID => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => {
            return Err(anonymous(
                ErrorCode::Malformed,
                format!("a request has an id, text of at most {MAX_ID} bytes"),
            ));
        }
    };
    if !bucket.take(now) {
        let message = format!("more than {RATE} requests a second");
        return Err(Refusal::new(id, ErrorCode::RateLimited, message));
    }
    match frame.get("v").map(Value::as_u64) {
        None | Some(Some(1)) => {}
        Some(_) => {
            let message = format!("this switch speaks version {VERSION}");
            return Err(Refusal::new(id, ErrorCode::Malformed, message));
        }
    }
    match serde_json::from_value::<Request>(Value::Object(frame)) {
        Ok(request) => Ok((id, request)),
        Err(error) => Err(Refusal::new(id, ErrorCode::Malformed, error.to_string())),
    }
}

/// The first `max` characters.
fn short(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_read(text: &str) -> Result<(String, Request), Refusal> {
        let now = Instant::now();
        read(text, &mut Bucket::new(RATE, BURST, now), now)
    }

    #[test]
    fn a_refusal_names_the_request_where_it_can() {
        let refused = |text: &str| try_read(text).expect_err("a refusal");
        assert_eq!(refused("{").re, "");
        assert_eq!(refused("[1]").code, ErrorCode::Malformed);
        assert_eq!(refused(r#"{"type":"ping"}"#).re, "");
        assert_eq!(refused(r#"{"id":"7","type":"nonsense"}"#).re, "7");
        assert_eq!(refused(r#"{"v":2,"id":"7","type":"ping"}"#).message, "this switch speaks version 1");
        assert_eq!(refused(r#"{"id":"7","type":"hangup","call":"leg-1"}"#).code, ErrorCode::Malformed);
        assert_eq!(
            refused(&format!(r#"{{"id":"7","x":"{}"}}"#, "a".repeat(MAX_FRAME))).code,
            ErrorCode::InvalidArgument
        );
        assert_eq!(refused(&"[".repeat(MAX_FRAME)).code, ErrorCode::Malformed);
    }

    #[test]
    fn a_request_may_have_a_number_as_id_and_no_version() {
        assert_eq!(try_read(r#"{"id":7,"type":"ping"}"#), Ok(("7".into(), Request::Ping {})));
        assert_eq!(try_read(r#"{"v":1,"id":"a","type":"ping","future":[]}"#), Ok(("a".into(), Request::Ping {})));
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        assert_eq!(short("äöü", 2), "äö");
        assert_eq!(short("äöü", 3), "äöü");
    }
}
