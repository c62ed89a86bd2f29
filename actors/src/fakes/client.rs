//! App users' connections without sockets.

use std::collections::HashMap;
use std::sync::Mutex;

use super::{Events, lock};
use crate::client::protocol::{Body, Event, Frame, Reply, Request};
use crate::model::ids::{ClientId, UserId};
use crate::ports::client::{ClientInput, ClientPort, DeliverError};

#[derive(Default)]
struct Connection {
    frames: Vec<Frame>,
    closed: Option<(u16, String)>,
}

/// Remembers every frame by connection.
pub struct FakeClient {
    brain: Events,
    connections: Mutex<HashMap<ClientId, Connection>>,
    requests: Mutex<u64>,
}

impl FakeClient {
    pub(super) fn new(brain: Events) -> Self {
        Self { brain, connections: Mutex::default(), requests: Mutex::new(0) }
    }

    /// A user logs in on a new socket, or resumes an earlier connection from the last `seq` it saw.
    pub fn connect(&self, user: &UserId, resume: Option<(ClientId, u64)>) -> ClientId {
        let client = ClientId::random();
        lock(&self.connections).insert(client, Connection::default());
        self.brain.client(ClientInput::Connected {
            client,
            user: user.clone(),
            device: "fake".into(),
            resume,
            request: "login".into(),
        });
        client
    }

    /// Sends a request; its `id`.
    pub fn request(&self, client: ClientId, body: Request) -> String {
        let request = {
            let mut requests = lock(&self.requests);
            *requests += 1;
            requests.to_string()
        };
        self.brain.client(ClientInput::Request { client, request: request.clone(), body: Box::new(body) });
        request
    }

    /// The socket breaks.
    pub fn lose(&self, client: ClientId) {
        lock(&self.connections).remove(&client);
        self.brain.client(ClientInput::Lost(client));
    }

    /// Every frame delivered to a connection, in order.
    pub fn frames(&self, client: ClientId) -> Vec<Frame> {
        lock(&self.connections).get(&client).map(|connection| connection.frames.clone()).unwrap_or_default()
    }

    /// Every event delivered to a connection, in order.
    pub fn events(&self, client: ClientId) -> Vec<Event> {
        let event = |frame: Frame| match frame.body {
            Body::Event { event, .. } => Some(event),
            Body::Reply { .. } => None,
        };
        self.frames(client).into_iter().filter_map(event).collect()
    }

    /// The reply to a request.
    pub fn reply(&self, client: ClientId, request: &str) -> Option<Reply> {
        self.frames(client).into_iter().find_map(|frame| match frame.body {
            Body::Reply { re, reply } if re == request => Some(reply),
            Body::Reply { .. } | Body::Event { .. } => None,
        })
    }

    /// Whether the switch closed the connection, with which code and words.
    pub fn closed(&self, client: ClientId) -> Option<(u16, String)> {
        lock(&self.connections).get(&client).and_then(|connection| connection.closed.clone())
    }
}

impl ClientPort for FakeClient {
    fn deliver(&self, client: ClientId, frame: Frame) -> Result<(), DeliverError> {
        match lock(&self.connections).get_mut(&client) {
            Some(connection) if connection.closed.is_none() => {
                connection.frames.push(frame);
                Ok(())
            }
            Some(_) | None => Err(DeliverError::Gone),
        }
    }
    fn close(&self, client: ClientId, code: u16, reason: &str) {
        if let Some(connection) = lock(&self.connections).get_mut(&client) {
            connection.closed = Some((code, reason.to_owned()));
        }
    }
}
