//! SIP over WebSockets, as the server (RFC 7118): the subprotocol `sip`, a message a WebSocket message, whose end is the message's.
//!
//! The client's Via and Contact name a host in `.invalid` (§5.2): what is sent to it goes by its connection or not at all. It is
//! watched by WebSocket pings, which browsers answer by themselves (§6); the CRLF ping that some libraries send is answered, too.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message as Frame, Utf8Bytes};

use super::super::endpoint::Shared;
use super::super::message::{Carried, MAX_BODY, MAX_HEAD, Message};
use super::super::metrics;
use super::Flow;
use super::connection::{Outlet, WRITE_WITHIN};
use crate::origin;

/// Between pings.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Without a sign of life for this long it is gone: two pings were not answered.
const SILENT_FOR: Duration = Duration::from_secs(70);
/// What every connection holds for reading; thousands are open at once.
const READ_BUFFER: usize = 4096;

/// Why a WebSocket did not come to be, for the metric.
pub(super) type Refusal = &'static str;

/// Answers the upgrade.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    origins: &[String],
) -> Result<WebSocketStream<S>, Refusal> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * (MAX_HEAD + MAX_BODY))
        .max_message_size(Some(MAX_HEAD + MAX_BODY))
        .max_frame_size(Some(MAX_HEAD + MAX_BODY));
    let mut why: Refusal = "protocol";
    // The refusal's type is tungstenite's.
    #[allow(clippy::result_large_err)]
    let judge = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let refused = |status: StatusCode, text: &str| {
            let mut refused = ErrorResponse::new(Some(text.to_owned()));
            *refused.status_mut() = status;
            refused
        };
        let headers = request.headers();
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
        if !origin::allowed(text(header::ORIGIN), text(header::HOST), origins) {
            why = "origin";
            return Err(refused(
                StatusCode::FORBIDDEN,
                "this origin may not connect: name it in http.allowed_origins\n",
            ));
        }
        if !speaks_sip(headers) {
            why = "subprotocol";
            return Err(refused(StatusCode::BAD_REQUEST, "offer the subprotocol \"sip\" (RFC 7118)\n"));
        }
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("sip"));
        Ok(response)
    };
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, judge, Some(config)).await;
    accepted.map_err(|error| if matches!(error, tungstenite::Error::Io(_)) { "closed" } else { why })
}

/// RFC 7118 §4.1: the client offers `sip`, perhaps among others.
fn speaks_sip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("sip"))
}

/// Carries until it ends; why it ended.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    flow: Flow,
    socket: WebSocketStream<S>,
    mut outlet: Outlet,
    core: &Weak<Shared>,
) -> &'static str {
    let (mut sink, mut stream) = socket.split();
    let close = outlet.close.clone();
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let frame = tokio::select! {
            frame = stream.next() => {
                heard = Instant::now();
                match frame {
                    Some(Ok(Frame::Text(text))) => take(flow, text.into(), core),
                    Some(Ok(Frame::Binary(octets))) => take(flow, octets, core),
                    // Pongs are sent by the library.
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => Ok(None),
                    Some(Ok(Frame::Close(_))) | None => Err("closed"),
                    Some(Err(tungstenite::Error::Capacity(_))) => Err("framing"),
                    Some(Err(_)) => Err("broken"),
                }
            }
            octets = outlet.queue.recv() => match octets {
                Some(octets) => {
                    outlet.written(&octets);
                    metrics::carried(flow.transport, "out");
                    Ok(Some(frame_of(octets)))
                }
                None => Err("forgotten"),
            },
            _ = pings.tick() => {
                if heard.elapsed() > SILENT_FOR { Err("no_pong") } else { Ok(Some(Frame::Ping(Bytes::new()))) }
            }
            () = close.notified() => Err("slow_reader"),
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => continue,
            Err(why) => {
                // It may be gone already.
                let _ = timeout(Duration::from_secs(1), sink.close()).await;
                return why;
            }
        };
        match timeout(WRITE_WITHIN, sink.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "broken",
            Err(_) => return "slow_reader",
        }
    }
}

/// A message's octets, in a text frame where they are text (RFC 7118 §5.1).
fn frame_of(octets: Bytes) -> Frame {
    match Utf8Bytes::try_from(octets.clone()) {
        Ok(text) => Frame::Text(text),
        Err(_) => Frame::Binary(octets),
    }
}

/// What came in a frame; what is to be sent back at once.
fn take(flow: Flow, octets: Bytes, core: &Weak<Shared>) -> Result<Option<Frame>, &'static str> {
    if octets.iter().all(|octet| matches!(octet, b'\r' | b'\n')) {
        return Ok((octets.as_ref() == b"\r\n\r\n").then(|| Frame::Text(Utf8Bytes::from_static("\r\n"))));
    }
    metrics::carried(flow.transport, "in");
    // RFC 7118 §5.1: the frame is the message, so Content-Length says no more than it does in a datagram.
    match Message::parse(octets, Carried::Datagram) {
        Ok((message, _)) => {
            let Some(core) = core.upgrade() else { return Err("forgotten") };
            core.message(flow, message);
        }
        Err(error) => {
            metrics::dropped("unreadable");
            tracing::debug!(%error, "a WebSocket message is not SIP");
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7118_4_1_the_subprotocol_is_sip_perhaps_among_others() {
        let offers = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
            speaks_sip(&headers)
        };
        assert!(offers("sip") && offers("xmpp, SIP"));
        assert!(!offers("sips") && !speaks_sip(&HeaderMap::new()));
    }

    #[test]
    fn a_message_that_is_no_text_goes_as_binary() {
        assert!(matches!(frame_of(Bytes::from_static(b"SIP/2.0 200 OK")), Frame::Text(_)));
        assert!(matches!(frame_of(Bytes::from_static(b"\xff")), Frame::Binary(_)));
    }
}
