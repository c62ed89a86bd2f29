//! `/healthz` (the process lives), `/readyz` (it takes calls), `/metrics` (Prometheus' text format, 0.0.4).

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Shared, Side, auth};

/// The routes. On the outer side `/metrics` asks for an API key.
pub(super) fn router(switch: Shared, side: Side) -> Router<Shared> {
    let metrics = match side {
        Side::Inner => get(metrics),
        Side::Outer => get(metrics).layer(axum::middleware::from_fn_with_state(switch, auth::require)),
    };
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready)).route("/metrics", metrics)
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(switch): State<Shared>) -> Response {
    match switch.control.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => {
            let mut headers = HeaderMap::new();
            headers.insert(axum::http::header::RETRY_AFTER, axum::http::HeaderValue::from_static("5"));
            (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{why}\n")).into_response()
        }
    }
}

async fn metrics(State(switch): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (switch.deps.metrics)()).into_response()
}
