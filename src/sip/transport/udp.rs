//! UDP: one socket and one task a listener. The task awaits nothing but the socket; sending never waits. Both sides work in
//! batches: what a batch of datagrams has us send leaves together once the batch is through.
//!
//! One task is enough for now, so there is no sharding: it parses and steps at about a tenth of a millisecond a call, and the core's
//! lock is taken by one task at a time anyway. Errors that ICMP brings are not asked for: a socket without a peer does not have
//! them, and the transactions' timers deal with what they mean.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tandem_actors::model::address::Transport;
use tokio::io::Interest;

use super::super::endpoint::Shared;
use super::super::metrics;
use super::datagrams::{self, Inbox, Outgoing};
use super::{Flow, is_broken};

/// Asked of the kernel, so that a burst of calls is not lost while one is being handled; it gives what it allows.
const BUFFER: usize = 4 << 20;
/// Between two errors in a row: one that stays must not keep the processor.
const PAUSE: Duration = Duration::from_millis(10);
/// Datagrams that wait for the end of a batch, out. // overflow: all that waits is sent at once
const HELD: usize = 256;

/// Binds, with large buffers, and told which of our addresses each datagram came to where there are several.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if let Err(error) = socket.set_recv_buffer_size(BUFFER).and_then(|()| socket.set_send_buffer_size(BUFFER)) {
        tracing::debug!(%error, "the SIP buffers stay at the system's size");
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    if address.ip().is_unspecified() {
        datagrams::tell_destinations(&socket, address.is_ipv6())?;
    }
    Ok(socket)
}

/// What leaves by a listener.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// A batch is being handled.
    holding: bool,
    waiting: Vec<Outgoing>,
}

impl Outbox {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one datagram without waiting, or keeps it for the end of the batch that is being handled.
    pub fn send(&self, socket: &UdpSocket, flow: Flow, octets: Bytes) {
        metrics::carried(Transport::Udp, "out");
        let mut held = self.held();
        held.waiting.push(Outgoing { to: flow.remote, from: flow.local, octets });
        if !held.holding || held.waiting.len() > HELD {
            held.leave(socket);
        }
    }
}

impl Held {
    /// Under the lock: what another thread sends now must not overtake it. A 200 that comes before its 100 takes peers aback.
    fn leave(&mut self, socket: &UdpSocket) {
        send(socket, &self.waiting);
        self.waiting.clear();
    }
}

/// While it lives, what is sent waits for its end.
struct Batch<'a> {
    outbox: &'a Outbox,
    socket: &'a UdpSocket,
}

impl<'a> Batch<'a> {
    fn begin(outbox: &'a Outbox, socket: &'a UdpSocket) -> Self {
        outbox.held().holding = true;
        Self { outbox, socket }
    }
}

impl Drop for Batch<'_> {
    /// In a panic, too: nothing waits for ever.
    fn drop(&mut self) {
        let mut held = self.outbox.held();
        held.holding = false;
        held.leave(self.socket);
    }
}

fn send(socket: &UdpSocket, batch: &[Outgoing]) {
    if batch.is_empty() {
        return;
    }
    let (failed, why) = datagrams::send(socket, batch);
    if let Some(error) = why {
        // overflow: DROPS, as the network may; the sender's timers send again.
        for _ in 0..failed {
            metrics::dropped("send_failed");
        }
        tracing::debug!(%error, failed, "SIP send failed");
    }
}

/// Reads datagrams for ever; ends when the core is gone or the socket is broken. `out` is the same socket.
pub async fn run(
    listener: usize,
    socket: tokio::net::UdpSocket,
    out: Arc<UdpSocket>,
    outbox: Arc<Outbox>,
    core: Weak<Shared>,
) {
    let mut inbox = Inbox::new();
    loop {
        let received = match socket.readable().await {
            Ok(()) => socket.try_io(Interest::READABLE, || inbox.receive(socket.as_raw_fd())),
            Err(error) => Err(error),
        };
        match received {
            Ok(received) => {
                let Some(core) = core.upgrade() else { return };
                let _batch = Batch::begin(&outbox, &out);
                for (octets, source, local) in (0..received).filter_map(|at| inbox.datagram(at)) {
                    metrics::carried(Transport::Udp, "in");
                    // A copy of the message's own size: a transaction that keeps the request must not keep 64 kB.
                    let octets = Bytes::copy_from_slice(octets);
                    core.datagram(Flow { local, ..Flow::udp(listener, source) }, octets);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(%error, "SIP receive failed");
                if is_broken(&error) || core.strong_count() == 0 {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UdpSocket, UdpSocket, Flow) {
        let [ours, theirs] = [0, 1].map(|_| bind("127.0.0.1:0".parse().expect("an address")).expect("a socket"));
        theirs.set_nonblocking(false).expect("a socket");
        theirs.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        let flow = Flow::udp(0, theirs.local_addr().expect("its address"));
        (ours, theirs, flow)
    }

    fn next(socket: &UdpSocket) -> String {
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn what_is_sent_as_a_batch_ends_does_not_overtake_what_waited_in_it() {
        let (ours, theirs, flow) = pair();
        let outbox = Outbox::default();
        for round in 0..500 {
            let batch = Batch::begin(&outbox, &ours);
            outbox.send(&ours, flow, Bytes::from_static(b"100"));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while outbox.held().holding {
                        std::hint::spin_loop();
                    }
                    outbox.send(&ours, flow, Bytes::from_static(b"200"));
                });
                drop(batch);
            });
            assert_eq!([next(&theirs), next(&theirs)], ["100", "200"], "round {round}");
        }
    }

    #[test]
    fn a_batch_with_more_than_is_held_leaves_in_order() {
        let (ours, theirs, flow) = pair();
        let outbox = Outbox::default();
        let batch = Batch::begin(&outbox, &ours);
        let sent: Vec<String> = (0..HELD + 2).map(|n| n.to_string()).collect();
        sent.iter().for_each(|text| outbox.send(&ours, flow, Bytes::from(text.clone())));
        drop(batch);
        let came: Vec<String> = sent.iter().map(|_| next(&theirs)).collect();
        assert_eq!(came, sent);
    }
}
