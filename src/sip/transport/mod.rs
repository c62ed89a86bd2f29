//! Carrying octets: UDP, TCP, TLS and WebSockets, and a seeded lossy link for tests. A transport knows no transactions; it is
//! handed octets with a [`Flow`] and hands up messages with the flow they came by.
//!
//! ```text
//!   udp::run (a task a socket) ------------------------------------------.
//!   accept (a task a socket) -> handshake: TLS, WebSocket -> connection --+--> core
//!   Streams::send -> open connection | dial -> handshake --> connection --'
//! ```
//!
//! Implemented: RFC 3261 §18, RFC 7118 as the server, RFC 5922 (in [`crate::tls`]), RFC 5923 where both sides have shown
//! a certificate, RFC 5626 §3.5.1 and §4.4.1 keep-alives both ways. A stream that closes fails what waits for an answer by it.
//! Deliberately not: WebSockets as a client (a trunk that speaks them was not met), SCTP, multicast.

mod clocks;
mod connection;
mod datagrams;
mod handshake;
#[cfg(test)]
pub mod memory;
pub mod peers;
pub mod sockets;
pub mod streams;
pub mod tcp;
pub mod udp;
mod websocket;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use tandem_actors::model::address::Transport;
use tokio::time::Instant;

use super::config::BindError;

/// A path to a peer: which listener, which transport, which address, and for streams whose connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Index of the listener in the configuration.
    pub listener: usize,
    /// Datagrams or streams.
    pub transport: Transport,
    /// The peer.
    pub remote: SocketAddr,
    /// Whose connection it is; over UDP nothing.
    pub party: Party,
    /// Our address that the peer sent to, where the listener has several: an answer leaves from it.
    pub local: Option<IpAddr>,
}

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The peer opened it. It is used as long as it is there, and never opened by us (RFC 5626 §5.3).
    Caller,
    /// Opened by us when it is not there, whoever answers.
    Anyone,
    /// The same, and over TLS the trunk of this index has to answer.
    Trunk(usize),
    /// The same, and over TLS the host of this index in [`peers::Names`] has to answer.
    Named(usize),
}

impl Flow {
    /// Over UDP.
    pub fn udp(listener: usize, remote: SocketAddr) -> Self {
        Self { listener, transport: Transport::Udp, remote, party: Party::Anyone, local: None }
    }
    /// By a connection that the peer opened.
    pub fn accepted(listener: usize, transport: Transport, remote: SocketAddr) -> Self {
        Self { listener, transport, remote, party: Party::Caller, local: None }
    }
    /// The peer, whichever listener speaks to it.
    pub fn peer(&self) -> (Transport, SocketAddr) {
        (self.transport, self.remote)
    }
    /// Whether the transport itself repeats what is lost.
    pub fn reliable(&self) -> bool {
        self.transport.is_stream()
    }
    /// Whether it is, or was, a connection that only the peer can open.
    pub fn is_callers(&self) -> bool {
        self.transport.is_stream() && self.party == Party::Caller
    }
    /// What names the connection.
    pub fn connection(self) -> Self {
        Self { local: None, ..self }
    }
}

/// What carries. Never blocks; what cannot be sent is dropped and counted, as a network would.
pub trait Wire: Send + Sync + 'static {
    /// Sends one message.
    fn send(&self, flow: Flow, octets: Bytes);
    /// Makes sure that the listener of this index hears; `true` when something of it was gone and is there again.
    ///
    /// # Errors
    /// Why its address cannot be had; asked again, it is tried again.
    fn keep_listening(&self, listener: usize) -> Result<bool, BindError>;
    /// Ends the task that hears a transport, as a panic would, or breaks its socket.
    #[cfg(test)]
    fn deafen(&self, _listener: usize, _transport: Transport, _broken: bool) {}
}

/// Whether an error of a listening socket is the socket's own end, as nothing that a peer or a shortage does: only another
/// socket helps.
fn is_broken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL))
}

/// Our own addresses, asked of the kernel and remembered for a while.
#[derive(Debug, Default)]
pub struct SourceAddresses {
    /// On the way to a peer, by the routing table.
    toward: HashMap<IpAddr, IpAddr>,
    /// Whether an address is ours.
    ours: HashMap<IpAddr, bool>,
    since: Option<Instant>,
}

/// Routes and addresses change seldom, but they do.
const REMEMBERED: Duration = Duration::from_secs(60);

impl SourceAddresses {
    /// Forgets what was asked a while ago.
    pub fn age(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= REMEMBERED) {
            self.toward.clear();
            self.ours.clear();
            self.since = Some(now);
        }
    }
    /// Whether an address is one of ours, which can be sent from.
    pub fn has(&mut self, address: IpAddr) -> bool {
        if let Some(known) = self.ours.get(&address) {
            return *known;
        }
        let found = UdpSocket::bind((address, 0)).is_ok();
        if self.ours.len() > 4096 {
            self.ours.clear();
        }
        self.ours.insert(address, found);
        found
    }
    /// The address packets to this peer leave from; the peer's own unspecified address when there is no route.
    pub fn toward(&mut self, peer: IpAddr) -> IpAddr {
        if let Some(known) = self.toward.get(&peer) {
            return *known;
        }
        let unspecified = match peer {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // Connecting a datagram socket sends nothing.
        let found = UdpSocket::bind((unspecified, 0))
            .and_then(|socket| socket.connect((peer, 9)).and_then(|()| socket.local_addr()))
            .map_or(unspecified, |address| address.ip());
        if self.toward.len() > 4096 {
            // Routes change seldom, strangers come often.
            self.toward.clear();
        }
        self.toward.insert(peer, found);
        found
    }
}
