//! Metrics of the HTTP side, and the layer that counts requests by route (the pattern, never the path) and class of status.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, describe_counter, describe_gauge};

/// Requests answered, by `route` and `status_class`.
pub(super) const REQUESTS: &str = "tandem_http_requests_total";
/// Client sockets open.
pub(super) const CONNECTIONS: &str = "tandem_client_connections";
/// Frames with clients, by `direction` (`in`, `out`).
pub(super) const FRAMES: &str = "tandem_client_frames_total";
/// What clients did wrong or we refused, by `code`.
pub(super) const ERRORS: &str = "tandem_client_errors_total";

/// Describes this part's metrics to the recorder.
pub fn describe() {
    describe_counter!(REQUESTS, "HTTP requests answered, by route pattern and class of status");
    describe_gauge!(CONNECTIONS, "client WebSocket connections open");
    describe_counter!(FRAMES, "frames of the client protocol, by direction");
    describe_counter!(
        ERRORS,
        "client sockets and frames refused: malformed, too_big, rate_limited, unauthorized, conflict, origin, \
         login_timeout, slow, silent"
    );
}

/// Counts a request.
pub(super) async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let class = match response.status().as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    counter!(REQUESTS, "route" => route, "status_class" => class).increment(1);
    response
}

/// Counts something refused on the client side.
pub(super) fn client_error(code: &'static str) {
    counter!(ERRORS, "code" => code).increment(1);
}
