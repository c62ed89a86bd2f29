//! TCP: a reader and a writer task a connection. Responses and requests to an address with an open connection use it; for
//! others one is opened (RFC 3261 §18). A connection is closed when its framing is lost or nothing came for long.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tandem_actors::model::address::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::endpoint::Shared;
use super::super::message::frame::{Framed, Framer};
use super::super::metrics;
use super::{Flow, is_broken};

/// Messages that wait for a slow peer. // overflow: DROPS, counted; the connection is then closed
const OUTBOUND_QUEUE: usize = 256;
/// How long to try to open a connection: less than timer F, so that the failure is told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without an octet for this long a connection is closed. Phones ping every 120 s at the longest (RFC 5626 §4.4.1).
const IDLE: Duration = Duration::from_secs(3600);
/// Most connections a listener holds.
const MAX_CONNECTIONS: usize = 10_000;

type Key = (usize, SocketAddr);

/// Every connection, by listener and peer.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<HashMap<Key, (u64, mpsc::Sender<Bytes>)>>,
}

impl Connections {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (u64, mpsc::Sender<Bytes>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends on the open connection, or opens one.
    pub fn send(&self, flow: Flow, octets: Bytes, core: &Weak<Shared>) {
        let key = (flow.listener, flow.remote);
        let mut table = self.table();
        if let Some((_, queue)) = table.get(&key) {
            match queue.try_send(octets) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    metrics::dropped("connection_full");
                    table.remove(&key);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    metrics::dropped("connection_closed");
                    table.remove(&key);
                }
            }
            return;
        }
        let (queue, outbound) = mpsc::channel(OUTBOUND_QUEUE);
        // A fresh queue has room.
        let _ = queue.try_send(octets);
        let serial = rand::random();
        table.insert(key, (serial, queue));
        drop(table);
        let core = core.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(flow.remote)).await {
                Ok(Ok(stream)) => serve(flow, serial, stream, outbound, core).await,
                Ok(Err(_)) | Err(_) => {
                    if let Some(core) = core.upgrade() {
                        core.connections.forget(key, serial);
                        core.unreachable(flow);
                    }
                }
            }
        });
    }

    fn forget(&self, key: Key, serial: u64) {
        let mut table = self.table();
        if table.get(&key).is_some_and(|(known, _)| *known == serial) {
            table.remove(&key);
        }
    }
}

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
pub async fn run(listener: usize, socket: TcpListener, core: Weak<Shared>) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                let Some(shared) = core.upgrade() else { return };
                let (queue, outbound) = mpsc::channel(OUTBOUND_QUEUE);
                let serial = rand::random();
                {
                    let mut table = shared.connections.table();
                    if table.len() >= MAX_CONNECTIONS {
                        metrics::dropped("too_many_connections");
                        continue;
                    }
                    table.insert((listener, remote), (serial, queue));
                }
                let flow = Flow { listener, transport: Transport::Tcp, remote };
                tokio::spawn(serve(flow, serial, stream, outbound, core.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "SIP accept failed");
                if is_broken(&error) {
                    return;
                }
                // Out of descriptors, most likely: give others time to close theirs.
                tokio::time::sleep(Duration::from_millis(100)).await;
                if core.upgrade().is_none() {
                    return;
                }
            }
        }
    }
}

async fn serve(flow: Flow, serial: u64, stream: TcpStream, mut outbound: mpsc::Receiver<Bytes>, core: Weak<Shared>) {
    metrics::connections(1.0);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let (mut reader, mut writer) = stream.into_split();
    let (pong, mut pongs) = mpsc::channel::<()>(1);
    let write = async move {
        loop {
            let octets = tokio::select! {
                octets = outbound.recv() => match octets { Some(octets) => octets, None => return },
                Some(()) = pongs.recv() => Bytes::from_static(b"\r\n"),
            };
            if writer.write_all(&octets).await.is_err() {
                return;
            }
        }
    };
    let read = {
        let core = core.clone();
        async move {
            let mut framer = Framer::default();
            loop {
                match tokio::time::timeout(IDLE, reader.read_buf(framer.buffer())).await {
                    Ok(Ok(0)) | Ok(Err(_)) | Err(_) => return,
                    Ok(Ok(_)) => {}
                }
                loop {
                    match framer.pull() {
                        Ok(Some(Framed::Message(message))) => {
                            let Some(core) = core.upgrade() else { return };
                            core.message(flow, *message);
                        }
                        // A pong that waits already is as good as two.
                        Ok(Some(Framed::Ping)) => {
                            let _ = pong.try_send(());
                        }
                        Ok(None) => break,
                        Err(error) => {
                            metrics::dropped("framing");
                            tracing::debug!(%error, "SIP connection closed");
                            return;
                        }
                    }
                }
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    metrics::connections(-1.0);
    if let Some(core) = core.upgrade() {
        core.connections.forget((flow.listener, flow.remote), serial);
        core.unreachable(flow);
    }
}
