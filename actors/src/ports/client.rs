//! The client port: an app user's WebSocket connections. The connection itself lives in `src/http`; the Client actor lives here
//! and outlives a lost socket by the resume window.

use crate::client::protocol::{Frame, Request};
use crate::model::ids::{ClientId, UserId};

/// What the brain asks of a connection.
pub trait ClientPort: Send + Sync + 'static {
    /// Hands a frame to a connection's bounded queue.
    ///
    /// # Errors
    /// [`DeliverError`] when it is gone or does not keep up; the frame stays in the client's resume buffer.
    fn deliver(&self, client: ClientId, frame: Frame) -> Result<(), DeliverError>;
    /// Closes the socket with a WebSocket close code and plain words.
    fn close(&self, client: ClientId, code: u16, reason: &str);
}

/// Why a frame was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// No such connection any more.
    #[error("the connection is gone")]
    Gone,
    /// Its queue is full: it will be closed, and may resume.
    #[error("the connection does not keep up")]
    Full,
}

/// What a connection tells.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientInput {
    /// A socket whose login token was right. `resume`: the client id it had before, and the last `seq` it saw.
    Connected {
        /// Drawn by the adapter for this socket.
        client: ClientId,
        /// Who it is, by the token.
        user: UserId,
        /// Free text for the operator: user agent, device.
        device: String,
        /// Resume of an earlier connection.
        resume: Option<(ClientId, u64)>,
        /// The `id` of the login request, for its reply.
        request: String,
    },
    /// A request that parsed.
    Request {
        /// From where.
        client: ClientId,
        /// Its `id`, for the reply.
        request: String,
        /// What it asks.
        body: Box<Request>,
    },
    /// Any sign of life, at most one a second (presence).
    Alive(ClientId),
    /// The socket closed or broke.
    Lost(ClientId),
}
