//! What the HTTP side asks of others than the brain; `app` wires them to the store and the configuration.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tandem_actors::control::Reply;
use tandem_actors::model::ids::{CallId, SubscriberId};
use tandem_actors::ports::store::Cdr;

use super::tokens::WallClock;

/// Everything beside [`tandem_actors::control::Control`] and [`tandem_actors::ports::Brain`].
#[derive(Clone)]
pub struct HttpDeps {
    /// Ended calls.
    pub cdrs: Arc<dyn Cdrs>,
    /// Desk phones and gateways that may register.
    pub subscribers: Arc<dyn Subscribers>,
    /// Who is blocked by SIP's gate.
    pub blocks: Arc<dyn Blocks>,
    /// Who may use the REST API.
    pub keys: Arc<dyn ApiKeys>,
    /// What passed on the wire for a call.
    pub ladders: Arc<dyn Ladders>,
    /// Renders the metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Wall time, for tokens and certificates.
    pub wall: WallClock,
}

/// The store cannot answer now (503).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreUnavailable(pub String);

/// Reads call detail records.
pub trait Cdrs: Send + Sync + 'static {
    /// The latest `limit` of them, newest first.
    ///
    /// # Errors
    /// [`StoreUnavailable`], in words.
    fn recent(&self, limit: u32) -> Reply<Result<Vec<Cdr>, StoreUnavailable>>;
}

/// What passed on the SIP wire, the latest calls' as far as memory reaches.
pub trait Ladders: Send + Sync + 'static {
    /// Of a call, all legs in the order of time; empty when nothing is known of it.
    fn of_call(&self, call: CallId) -> Vec<LadderStep>;
    /// Of a Call-ID and the other legs of its call, if it belongs to one.
    fn of_call_id(&self, call_id: &str) -> (Option<CallId>, Vec<LadderStep>);
}

/// One SIP message that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LadderStep {
    /// How long ago.
    pub ago: Duration,
    /// Whether we sent it.
    pub sent: bool,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// `udp`, `tcp`…
    pub transport: &'static str,
    /// Its Call-ID.
    pub call_id: String,
    /// The message, secrets masked.
    pub text: String,
}

/// Manages subscribers. Passwords are kept as HA1 only, so a password is shown once, when it is made.
pub trait Subscribers: Send + Sync + 'static {
    /// All of them, by id.
    ///
    /// # Errors
    /// [`StoreUnavailable`].
    fn list(&self) -> Reply<Result<Vec<SubscriberId>, StoreUnavailable>>;
    /// Adds one and makes its password.
    ///
    /// # Errors
    /// [`AddSubscriberError`].
    fn add(&self, subscriber: SubscriberId) -> Reply<Result<NewSubscriber, AddSubscriberError>>;
    /// Removes one with its bindings; `false` when there was none.
    ///
    /// # Errors
    /// [`StoreUnavailable`].
    fn remove(&self, subscriber: SubscriberId) -> Reply<Result<bool, StoreUnavailable>>;
}

/// A subscriber just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSubscriber {
    /// Who.
    pub subscriber: SubscriberId,
    /// To be shown once and kept nowhere.
    pub password: String,
    /// The domain to register with, as in `sip:1001@DOMAIN`.
    pub domain: String,
}

/// Why a subscriber was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddSubscriberError {
    /// There is one of that id, or the id means something else (409).
    #[error("{0}")]
    Taken(String),
    /// See [`StoreUnavailable`].
    #[error(transparent)]
    Unavailable(#[from] StoreUnavailable),
}

/// Sources whose SIP messages are dropped.
pub trait Blocks: Send + Sync + 'static {
    /// All of them, by address.
    fn list(&self) -> Vec<Block>;
    /// Lifts one; `false` when there is none.
    fn lift(&self, address: IpAddr) -> bool;
}

/// One source that is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// An address, or an IPv6 network.
    pub source: String,
    /// One word.
    pub reason: &'static str,
    /// How long it lasts yet.
    pub left: Duration,
    /// How often it was blocked.
    pub times: u32,
}

/// The API keys, as hashes: the keys themselves are nowhere but with their owners.
pub trait ApiKeys: Send + Sync + 'static {
    /// All that are valid at `now`.
    fn valid(&self, now: SystemTime) -> Vec<ApiKey>;
}

/// One API key. Keys are made by us with 128 or more random bits, so a plain SHA-256 of one cannot be guessed back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// For the log.
    pub name: String,
    /// SHA-256 of the key as it is presented.
    pub sha256: [u8; 32],
}

impl ApiKey {
    /// Hashes a key.
    pub fn of(name: &str, key: &str) -> Self {
        use sha2::{Digest, Sha256};
        Self { name: name.into(), sha256: Sha256::digest(key.as_bytes()).into() }
    }
}
