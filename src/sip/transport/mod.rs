//! Carrying octets: UDP and TCP sockets, and a seeded lossy link for tests. A transport knows no transactions; it is handed
//! octets with a [`Flow`] and hands up messages with the flow they came by.

#[cfg(test)]
pub mod memory;
pub mod sockets;
pub mod tcp;
pub mod udp;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use bytes::Bytes;
use tandem_actors::model::address::Transport;

use super::config::BindError;

/// A path to a peer: which listener, which transport, which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Index of the listener in the configuration.
    pub listener: usize,
    /// Datagrams or streams.
    pub transport: Transport,
    /// The peer. For a stream: an open connection to this address is used, else one is opened.
    pub remote: SocketAddr,
}

impl Flow {
    /// Over UDP.
    pub fn udp(listener: usize, remote: SocketAddr) -> Self {
        Self { listener, transport: Transport::Udp, remote }
    }
    /// Whether the transport itself repeats what is lost.
    pub fn reliable(&self) -> bool {
        match self.transport {
            Transport::Udp => false,
            Transport::Tcp => true,
        }
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

/// Our own address on the way to a peer, asked of the kernel's routing table and remembered.
#[derive(Debug, Default)]
pub struct SourceAddresses(HashMap<IpAddr, IpAddr>);

impl SourceAddresses {
    /// The address packets to this peer leave from; the peer's own unspecified address when there is no route.
    pub fn toward(&mut self, peer: IpAddr) -> IpAddr {
        if let Some(known) = self.0.get(&peer) {
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
        if self.0.len() > 4096 {
            // Routes change seldom, strangers come often.
            self.0.clear();
        }
        self.0.insert(peer, found);
        found
    }
}
