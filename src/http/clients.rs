//! The client port: which socket belongs to which client id, and the bounded queue of each.

use std::sync::Arc;

use dashmap::DashMap;
use tandem_actors::client::protocol::Frame;
use tandem_actors::model::ids::ClientId;
use tandem_actors::ports::client::{ClientPort, DeliverError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

/// Frames that wait for one socket, switch to client. Full: the socket is closed with 1013 and may resume; nothing is lost,
/// since the Client actor keeps events for resume (`overflow: retained`).
pub(super) const CLIENT_QUEUE: usize = 256;

/// What a socket's writer is handed.
#[derive(Debug)]
pub(super) enum Outbound {
    /// Send it.
    Frame(Box<Frame>),
    /// Send what came before, then close with a code and plain words.
    Close(u16, String),
}

/// One open socket, seen from outside.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    queue: mpsc::Sender<Outbound>,
    /// Told once when the queue overflowed.
    pub(super) slow: Arc<Notify>,
}

impl Connection {
    /// A connection and the end its writer reads.
    pub(super) fn new() -> (Self, mpsc::Receiver<Outbound>) {
        let (queue, out) = mpsc::channel(CLIENT_QUEUE);
        (Self { queue, slow: Arc::new(Notify::new()) }, out)
    }

    /// Queues without waiting.
    pub(super) fn send(&self, outbound: Outbound) -> Result<(), DeliverError> {
        match self.queue.try_send(outbound) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.slow.notify_one();
                Err(DeliverError::Full)
            }
            Err(TrySendError::Closed(_)) => Err(DeliverError::Gone),
        }
    }
}

/// All open client sockets: the [`ClientPort`] that the brain is given before [`super::Http::start`] opens the door.
#[derive(Debug, Default)]
pub struct Clients {
    open: DashMap<ClientId, Connection>,
}

impl Clients {
    /// None yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// How many sockets are open and logged in.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Closes every socket with a WebSocket close code and plain words.
    pub fn close_all(&self, code: u16, reason: &str) {
        for connection in &self.open {
            // A full queue closes by itself.
            let _ = connection.send(Outbound::Close(code, reason.into()));
        }
    }

    pub(super) fn insert(&self, client: ClientId, connection: Connection) {
        self.open.insert(client, connection);
    }

    pub(super) fn remove(&self, client: ClientId) {
        self.open.remove(&client);
    }
}

impl ClientPort for Clients {
    fn deliver(&self, client: ClientId, frame: Frame) -> Result<(), DeliverError> {
        let connection = self.open.get(&client).map(|entry| entry.clone()).ok_or(DeliverError::Gone)?;
        let sent = connection.send(Outbound::Frame(Box::new(frame)));
        if sent == Err(DeliverError::Full) {
            // Nothing more is to be queued behind the gap.
            self.open.remove(&client);
        }
        sent
    }

    fn close(&self, client: ClientId, code: u16, reason: &str) {
        if let Some((_, connection)) = self.open.remove(&client) {
            let _ = connection.send(Outbound::Close(code, reason.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_actors::client::protocol::{Body, Reply, VERSION};

    use super::*;

    fn frame() -> Frame {
        Frame { v: VERSION, body: Body::Reply { re: "1".into(), reply: Reply::Done {} } }
    }

    #[test]
    fn a_queue_that_is_full_loses_its_connection() {
        let clients = Clients::new();
        let client = ClientId(1);
        let (connection, _out) = Connection::new();
        clients.insert(client, connection);
        for _ in 0..CLIENT_QUEUE {
            assert_eq!(clients.deliver(client, frame()), Ok(()));
        }
        assert_eq!(clients.deliver(client, frame()), Err(DeliverError::Full));
        assert_eq!(clients.deliver(client, frame()), Err(DeliverError::Gone));
    }

    #[test]
    fn a_frame_to_nobody_is_gone() {
        assert_eq!(Clients::new().deliver(ClientId(1), frame()), Err(DeliverError::Gone));
    }
}
