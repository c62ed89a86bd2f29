//! Listening for streams: a socket and a task that accepts, each. What comes is [`Streams`]' at once.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tandem_actors::model::address::Transport;
use tokio::net::TcpListener;

use super::super::endpoint::Shared;
use super::is_broken;
use super::streams::Streams;

/// Listens.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last run's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Accepts for ever; ends when the core is gone or the socket is broken.
pub async fn run(
    listener: usize,
    transport: Transport,
    socket: TcpListener,
    streams: Arc<Streams>,
    core: Weak<Shared>,
) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                let Some(shared) = core.upgrade() else { return };
                // Whoever is blocked is not even shaken hands with.
                if !shared.is_blocked(remote.ip()) {
                    streams.accept(listener, transport, stream, remote);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "SIP accept failed");
                if is_broken(&error) {
                    return;
                }
                // Out of descriptors, most likely: give others time to close theirs.
                tokio::time::sleep(Duration::from_millis(100)).await;
                if core.strong_count() == 0 {
                    return;
                }
            }
        }
    }
}
