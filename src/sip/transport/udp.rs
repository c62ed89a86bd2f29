//! UDP: one socket and one task a listener. The task awaits nothing but the socket; sending never waits.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};

use super::super::endpoint::Shared;
use super::{Flow, is_broken};

/// Asked of the kernel, so that a burst of calls is not lost while one is being handled; it gives what it allows.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Binds, with a large receive buffer.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "the SIP receive buffer stays at the system's size");
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Between two errors in a row: one that stays must not keep the processor.
const PAUSE: Duration = Duration::from_millis(10);

/// Reads datagrams for ever; ends when the core is gone or the socket is broken.
pub async fn run(listener: usize, socket: tokio::net::UdpSocket, core: std::sync::Weak<Shared>) {
    let mut buffer = vec![0u8; 65_536];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, source)) => {
                let Some(core) = core.upgrade() else { return };
                // A copy of the message's own size: a transaction that keeps the request must not keep 64 kB.
                let octets = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
                core.datagram(Flow::udp(listener, source), octets);
            }
            // ICMP errors of earlier sends come up here; the transactions' timers deal with what they mean.
            Err(error) => {
                tracing::debug!(%error, "SIP receive failed");
                if is_broken(&error) || core.upgrade().is_none() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Sends one datagram without waiting.
pub fn send(socket: &UdpSocket, remote: SocketAddr, octets: &[u8]) {
    if let Err(error) = socket.send_to(octets, remote) {
        // overflow: DROPS, as the network may; the sender's timers send again.
        super::super::metrics::dropped("send_failed");
        tracing::debug!(%error, "SIP send failed");
    }
}
