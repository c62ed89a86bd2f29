//! HTTP: the REST API with its OpenAPI document, the client WebSocket, the web phone and the SDK, health and metrics, over
//! plain HTTP (loopback) and HTTPS.
//!
//! What it is not: it decides nothing about calls. REST asks [`Control`], the client WebSocket carries frames between sockets and
//! the Client actors ([`Brain`] up, [`Clients`] down), CDRs and subscribers are asked of the traits in [`deps`].
//!
//! ```text
//!   browser --wss /ws--> ws (one task a socket) --ClientInput--> Brain
//!           <----------- bounded queue <-- Clients (ClientPort) <-- Client actor
//!   operator --/api/v1--> api -> Control | Cdrs | Subscribers
//!   Prometheus --/metrics--> health
//! ```

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use tandem_actors::control::Control;
use tandem_actors::ports::Brain;
use tokio::task::JoinHandle;
use tower_http::set_header::SetResponseHeaderLayer;

pub mod api;
mod auth;
mod clients;
pub mod deps;
mod error;
mod files;
mod health;
mod limit;
mod metrics;
mod openapi;
pub mod tokens;
mod ws;

pub use clients::Clients;
pub use deps::HttpDeps;
pub use metrics::describe;
use tokens::TokenKey;

/// How long a client may take to send its request's headers (slow-loris).
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// How the switch is reached over HTTP.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Plain HTTP, meant for loopback (127.0.0.1:8080) or behind a proxy; `None` switches it off. Port 0: any free one.
    pub http: Option<SocketAddr>,
    /// HTTPS (0.0.0.0:8443); `None` switches it off. Browsers give a microphone to pages of `https:` and `localhost` only.
    pub https: Option<HttpsConfig>,
    /// Origins, as `https://app.example.com`, whose pages may open `/ws` beside our own; `*` allows any.
    pub allowed_origins: Vec<String>,
    /// Signs and checks login tokens.
    pub token_key: TokenKey,
}

/// How HTTPS is served.
#[derive(Debug, Clone)]
pub struct HttpsConfig {
    /// Where.
    pub address: SocketAddr,
    /// With which certificates: see [`crate::tls`], which renews them behind it.
    pub tls: Arc<rustls::ServerConfig>,
}

/// Why HTTP did not start. The message names what to change.
#[derive(Debug, thiserror::Error)]
pub enum HttpStartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} ({key}): {error}; free the port, or set {key} to another address")]
    Bind {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

/// What every handler shares.
pub(crate) struct Switch {
    control: Arc<dyn Control>,
    brain: Arc<dyn Brain>,
    clients: Arc<Clients>,
    deps: HttpDeps,
    token_key: TokenKey,
    allowed_origins: Vec<String>,
}

/// [`Switch`] as axum's state.
pub(crate) type Shared = Arc<Switch>;

/// The running HTTP side. Dropping it does not stop it: call [`Http::stop`].
pub struct Http {
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    handle: Handle<SocketAddr>,
    clients: Arc<Clients>,
    servers: Vec<JoinHandle<()>>,
}

/// Which listener a router is for: what is open to loopback asks for a key on the public side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Plain HTTP, loopback by default.
    Inner,
    /// HTTPS, open to the world.
    Outer,
}

impl Http {
    /// Binds the addresses and serves until [`Http::stop`]. `clients` is the port that the brain was given: the sockets accepted
    /// here appear in it.
    ///
    /// # Errors
    /// [`HttpStartError`]: a taken address, an unusable certificate.
    pub async fn start(
        config: HttpConfig,
        control: Arc<dyn Control>,
        brain: Arc<dyn Brain>,
        clients: Arc<Clients>,
        deps: HttpDeps,
    ) -> Result<Self, HttpStartError> {
        let switch = Arc::new(Switch {
            control,
            brain,
            clients: Arc::clone(&clients),
            deps,
            token_key: config.token_key,
            allowed_origins: config.allowed_origins,
        });
        // Everything that can fail comes before the first task.
        let plain = config.http.map(|address| bind("http.listen", address)).transpose()?;
        let secure = match config.https {
            Some(https) => Some((bind("http.https_listen", https.address)?, https.tls)),
            None => None,
        };
        let handle = Handle::new();
        let mut http = Self { http: None, https: None, handle, clients, servers: Vec::new() };
        if let Some((listener, address)) = plain {
            let bind_error = |error| HttpStartError::Bind { key: "http.listen", address, error };
            let mut server = axum_server::from_tcp(listener).map_err(bind_error)?.handle(http.handle.clone());
            server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
            let service = router(Arc::clone(&switch), Side::Inner).into_make_service();
            http.http = Some(address);
            http.servers.push(tokio::spawn(async move {
                if let Err(error) = server.serve(service).await {
                    tracing::error!(%error, "plain HTTP stopped");
                }
            }));
        }
        if let Some(((listener, address), tls)) = secure {
            let bind_error = |error| HttpStartError::Bind { key: "http.https_listen", address, error };
            let mut server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(tls))
                .map_err(bind_error)?
                .handle(http.handle.clone());
            server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
            let service = router(switch, Side::Outer).into_make_service();
            http.https = Some(address);
            http.servers.push(tokio::spawn(async move {
                if let Err(error) = server.serve(service).await {
                    tracing::error!(%error, "HTTPS stopped");
                }
            }));
        }
        Ok(http)
    }

    /// Where plain HTTP listens, with the real port.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where HTTPS listens, with the real port.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Stops listening, tells clients to come back later (close code 1012), and waits at most `within` for requests under way.
    pub async fn stop(self, within: Duration) {
        self.handle.graceful_shutdown(Some(within));
        self.clients.close_all(1012, "the switch is restarting");
        for server in self.servers {
            // A server ends within the grace period, or was aborted: nothing to do either way.
            let _ = server.await;
        }
    }
}

fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), HttpStartError> {
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    open().map_err(|error| HttpStartError::Bind { key, address, error })
}

/// All routes.
fn router(switch: Shared, side: Side) -> Router {
    let open = Router::new().merge(health::router(Arc::clone(&switch), side)).merge(openapi::router());
    api::router(&switch)
        .merge(ws::router())
        .merge(open)
        .merge(files::router())
        .fallback(error::no_such_route)
        .layer(axum::middleware::from_fn(metrics::count))
        .layer(SetResponseHeaderLayer::if_not_present(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(SetResponseHeaderLayer::if_not_present(REFERRER_POLICY, HeaderValue::from_static("no-referrer")))
        .with_state(switch)
}

#[cfg(test)]
mod tests;
