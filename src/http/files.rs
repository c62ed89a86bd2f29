//! The web phone at `/phone/` and the SDK at `/sdk/`, built into the binary. Nothing in them is fetched from elsewhere, and the
//! Content-Security-Policy says so.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use tower_http::cors::{Any, CorsLayer};

use super::Shared;
use super::error::ApiError;

/// What the page may do: its own scripts and styles, our WebSocket, sound from memory; never framed by others.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    media-src 'self' blob: mediastream:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
// Shown by a browser, which markdown is not.
const TEXT: &str = "text/plain; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const PHONE: &[File] = &[
    File { path: "index.html", kind: HTML, text: include_str!("phone/index.html") },
    File { path: "style.css", kind: STYLE, text: include_str!("phone/style.css") },
    File { path: "app.js", kind: SCRIPT, text: include_str!("phone/app.js") },
    File { path: "view.js", kind: SCRIPT, text: include_str!("phone/view.js") },
    File { path: "sounds.js", kind: SCRIPT, text: include_str!("phone/sounds.js") },
    File { path: "meter.js", kind: SCRIPT, text: include_str!("phone/meter.js") },
    File { path: "history.js", kind: SCRIPT, text: include_str!("phone/history.js") },
    File { path: "keyboard.js", kind: SCRIPT, text: include_str!("phone/keyboard.js") },
    File { path: "lists.js", kind: SCRIPT, text: include_str!("phone/lists.js") },
    File { path: "icon.svg", kind: PICTURE, text: include_str!("phone/icon.svg") },
];

const SDK: &[File] = &[
    File { path: "tandem.js", kind: SCRIPT, text: include_str!("sdk/tandem-sdk.js") },
    File { path: "tandem.d.ts", kind: TEXT, text: include_str!("sdk/tandem-sdk.d.ts") },
    File { path: "protocol.md", kind: TEXT, text: include_str!("sdk/protocol.md") },
];

/// The routes.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/phone/") }))
        .route("/phone", get(|| async { Redirect::permanent("/phone/") }))
        .route("/phone/", get(|headers: HeaderMap| async move { serve(PHONE, "index.html", &headers) }))
        .route(
            "/phone/{file}",
            get(|Path(file): Path<String>, headers: HeaderMap| async move { serve(PHONE, &file, &headers) }),
        )
        .merge(
            Router::new()
                .route(
                    "/sdk/{file}",
                    get(|Path(file): Path<String>, headers: HeaderMap| async move { serve(SDK, &file, &headers) }),
                )
                // Pages of other origins may import it.
                .layer(CorsLayer::new().allow_origin(Any)),
        )
}

fn serve(files: &[File], path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return ApiError::not_found("there is no such file").into_response();
    };
    let tag = tag(file.text);
    let mut response = if headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()) == Some(tag.as_str()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.text.into_response()
    };
    let mut set = |name: HeaderName, value: &'static str| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    set(CONTENT_TYPE, file.kind);
    set(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    // Asked again each time, answered 304: an upgraded switch is never met by last week's script.
    set(CACHE_CONTROL, "no-cache");
    set(HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()");
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// A strong entity tag (RFC 9110 §8.8.3): the first 64 bits of the text's SHA-256.
fn tag(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}
