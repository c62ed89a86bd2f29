//! The datagram rings of one media worker's shared port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tandem_actors::model::ids::WorkerId;

use super::Wake;

/// Slots of each ring.
pub const DATAGRAMS: usize = 256;
/// Longest datagram carried, bytes.
pub const MAX_DATAGRAM: usize = 1500;

/// One STUN or DTLS datagram.
#[derive(Clone, Copy)]
pub struct Datagram {
    /// Where it came from, or goes to.
    pub peer: SocketAddr,
    len: u16,
    bytes: [u8; MAX_DATAGRAM],
}

impl Datagram {
    /// Copies a datagram; `None` when it is longer than [`MAX_DATAGRAM`].
    pub fn new(peer: SocketAddr, payload: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_DATAGRAM];
        bytes.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(Self { peer, len: payload.len() as u16, bytes })
    }
    /// Its bytes.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The media thread's end: wait-free.
pub struct WorkerEnd {
    to_control: rtrb::Producer<Datagram>,
    from_control: rtrb::Consumer<Datagram>,
    wake: Arc<Wake>,
    dropped: Arc<AtomicU64>,
}

impl WorkerEnd {
    /// Hands a received datagram to `rtc-ctl`; call [`WorkerEnd::wake`] once after a batch.
    pub fn push(&mut self, datagram: Datagram) {
        // overflow: DROPS, counted; STUN and DTLS retransmit
        if self.to_control.push(datagram).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
    /// Wakes `rtc-ctl`.
    pub fn wake(&self) {
        self.wake.signal();
    }
    /// The next datagram to send on the shared port.
    pub fn pop(&mut self) -> Option<Datagram> {
        self.from_control.pop().ok()
    }
}

/// The control thread's end.
pub struct ControlEnd {
    /// Whose shared port this is.
    pub worker: WorkerId,
    from_worker: rtrb::Consumer<Datagram>,
    to_worker: rtrb::Producer<Datagram>,
    dropped: Arc<AtomicU64>,
}

impl ControlEnd {
    /// The next datagram received on the shared port.
    pub fn pop(&mut self) -> Option<Datagram> {
        self.from_worker.pop().ok()
    }
    /// Sends a datagram from the shared port, within a tick.
    pub fn push(&mut self, datagram: Datagram) {
        // overflow: DROPS, counted; STUN and DTLS retransmit
        if self.to_worker.push(datagram).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
    /// How many datagrams overflow has dropped since this was last asked, and begins the count again.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
    /// Whether the media thread has dropped its end: it is dead, a new end will come.
    pub fn is_abandoned(&self) -> bool {
        self.from_worker.is_abandoned()
    }
}

/// Makes the two ends for a worker. `dropped` counts both directions' overflow until `rtc-ctl` takes the count for the metric; `wake`
/// is the control thread's.
pub fn ring(worker: WorkerId, wake: Arc<Wake>, dropped: Arc<AtomicU64>) -> (WorkerEnd, ControlEnd) {
    let (to_control, from_worker) = rtrb::RingBuffer::new(DATAGRAMS);
    let (to_worker, from_control) = rtrb::RingBuffer::new(DATAGRAMS);
    (
        WorkerEnd { to_control, from_control, wake, dropped: dropped.clone() },
        ControlEnd { worker, from_worker, to_worker, dropped },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflowing_ring_drops_the_newest_and_counts() {
        let dropped = Arc::new(AtomicU64::new(0));
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        let (mut worker, mut control) = ring(WorkerId(0), wake, dropped.clone());
        let peer = "127.0.0.1:9".parse().expect("an address");
        for n in 0..DATAGRAMS + 3 {
            worker.push(Datagram::new(peer, &(n as u32).to_be_bytes()).expect("short"));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        assert_eq!(control.pop().expect("the first").payload(), 0u32.to_be_bytes());
        assert!(Datagram::new(peer, &[0; MAX_DATAGRAM + 1]).is_none());
    }
}
