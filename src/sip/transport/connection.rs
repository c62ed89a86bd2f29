//! One open connection over TCP or TLS: messages cut out of its octets, a bounded queue of what is to be written, keep-alives.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::endpoint::Shared;
use super::super::message::Message;
use super::super::message::frame::{Framed, Framer};
use super::super::metrics;
use super::clocks::{Clocks, Due};
use super::{Flow, handshake};

/// Messages that wait for a slow peer, out. // overflow: the connection is closed, counted
const QUEUE: usize = 256;
/// Their octets. // overflow: the connection is closed, counted
const QUEUE_OCTETS: usize = 1 << 20;
/// A peer that takes no octet for this long is gone, or wants us to wait for ever.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// The core's end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    queue: mpsc::Sender<Bytes>,
    octets: Arc<AtomicUsize>,
    close: Arc<Notify>,
}

/// The connection's end.
#[derive(Debug)]
pub(super) struct Outlet {
    pub queue: mpsc::Receiver<Bytes>,
    octets: Arc<AtomicUsize>,
    pub close: Arc<Notify>,
}

/// Both ends of a new connection.
pub(super) fn link() -> (Link, Outlet) {
    let (send, receive) = mpsc::channel(QUEUE);
    let (octets, close) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let link = Link { queue: send, octets: octets.clone(), close: close.clone() };
    (link, Outlet { queue: receive, octets, close })
}

impl Link {
    /// Queues a message; `false` when the connection is to be forgotten: it ended, or it takes too little and is closed now.
    pub(super) fn push(&self, octets: Bytes) -> bool {
        let waiting = self.octets.fetch_add(octets.len(), Ordering::Relaxed);
        if waiting <= QUEUE_OCTETS && self.queue.try_send(octets).is_ok() {
            return true;
        }
        metrics::dropped("connection_full");
        self.close.notify_one();
        false
    }
}

impl Outlet {
    /// A message has left the queue.
    pub(super) fn written(&self, octets: &Bytes) {
        self.octets.fetch_sub(octets.len(), Ordering::Relaxed);
    }
}

/// Carries until it ends; why it ended. `first` sees the first message before the core does.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(
    flow: Flow,
    opened: bool,
    stream: S,
    mut outlet: Outlet,
    core: &Weak<Shared>,
    first: impl FnOnce(&Message),
) -> &'static str {
    let (mut reader, mut writer) = tokio::io::split(stream);
    // A keep-alive that waits already is as good as two.
    let (keep_alive, mut keep_alives) = mpsc::channel::<&'static [u8]>(2);
    let close = outlet.close.clone();
    let write = async {
        loop {
            let sent = tokio::select! {
                octets = outlet.queue.recv() => match octets {
                    Some(octets) => {
                        outlet.written(&octets);
                        metrics::carried(flow.transport, "out");
                        timeout(WRITE_WITHIN, writer.write_all(&octets)).await
                    }
                    None => return "forgotten",
                },
                Some(octets) = keep_alives.recv() => timeout(WRITE_WITHIN, writer.write_all(octets)).await,
            };
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "broken",
                Err(_) => return "slow_reader",
            }
            if writer.flush().await.is_err() {
                return "broken";
            }
        }
    };
    let read = async {
        let mut first = Some(first);
        let mut framer = Framer::default();
        let mut clocks = Clocks::new(opened, Instant::now());
        loop {
            let heard = tokio::select! {
                heard = reader.read_buf(framer.buffer()) => heard,
                () = sleep_until(clocks.next().0) => {
                    match clocks.due(Instant::now()) {
                        Some(Due::End(why)) => return why,
                        Some(Due::Ping) => {
                            let _ = keep_alive.try_send(b"\r\n\r\n");
                        }
                        None => {}
                    }
                    continue;
                }
            };
            match heard {
                Ok(0) => return "closed",
                Err(error) => return handshake::broken(flow, opened, &error),
                Ok(_) => {}
            }
            let now = Instant::now();
            // RFC 5626 §3.5.1: the pong. It is taken out, or the next would make a ping of it.
            if clocks.heard(now) && framer.buffer().as_ref() == b"\r\n" {
                framer.buffer().clear();
            }
            loop {
                match framer.pull() {
                    Ok(Some(Framed::Message(message))) => {
                        clocks.message();
                        metrics::carried(flow.transport, "in");
                        if let Some(first) = first.take() {
                            first(&message);
                        }
                        let Some(core) = core.upgrade() else { return "forgotten" };
                        core.message(flow, *message);
                    }
                    Ok(Some(Framed::Ping)) => {
                        let _ = keep_alive.try_send(b"\r\n");
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "a SIP connection lost its framing");
                        return "framing";
                    }
                }
            }
            let partial = framer.buffer().iter().any(|octet| !matches!(octet, b'\r' | b'\n'));
            clocks.waits(partial, now);
        }
    };
    tokio::select! {
        why = write => why,
        why = read => why,
        () = close.notified() => "slow_reader",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_too_little_is_closed_by_number_and_by_octets() {
        for size in [1, QUEUE_OCTETS / 8] {
            let (link, outlet) = link();
            let octets = Bytes::from(vec![0; size]);
            let taken = (0..=QUEUE).take_while(|_| link.push(octets.clone())).count();
            assert!((1..=QUEUE).contains(&taken) && (taken == QUEUE) == (size == 1), "{taken}");
            // It is told.
            outlet.close.notified().await;
        }
    }
}
