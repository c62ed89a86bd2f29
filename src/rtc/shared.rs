//! What outlives a control thread: rings, orders, the book of peers. No lock of these is held while a peer's step runs.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use dashmap::DashMap;
use tandem_actors::model::ids::{Epoch, PeerId};
use tandem_actors::ports::Brain;
use tandem_actors::ports::rtc::RtcCommand;

use super::dtls::Identity;
use super::ice::Path;
use super::metrics;
use super::peer::Record;
use crate::link::{ControlEnd, DATAGRAMS, Datagram, SrtpSink, Wake};

/// Shared by the handle and whichever thread is the control thread now.
pub struct Shared {
    /// Hears events.
    pub brain: Arc<dyn Brain>,
    /// Hears of keys and paths.
    pub srtp: Arc<dyn SrtpSink>,
    /// Ends the thread's sleep.
    pub wake: Arc<Wake>,
    /// Our certificate.
    pub identity: Identity,
    /// In the order given.
    pub orders: Mutex<VecDeque<(PeerId, RtcCommand)>>,
    /// Both ways to every worker.
    pub rings: Mutex<Rings>,
    /// What is known of every peer; written by the thread alone.
    pub book: DashMap<PeerId, Record>,
    /// The latest epoch heard for a peer.
    pub epochs: DashMap<PeerId, Epoch>,
    /// The thread of this number is the one that acts; an older one ends when it notices.
    pub generation: AtomicU64,
    /// Turns so far.
    pub beats: AtomicU64,
}

impl Shared {
    /// With a fresh certificate.
    ///
    /// # Errors
    /// Plain words when there is none.
    pub fn new(
        brain: Arc<dyn Brain>,
        srtp: Arc<dyn SrtpSink>,
        ends: mpsc::Receiver<ControlEnd>,
        wake: Arc<Wake>,
    ) -> Result<Self, String> {
        Ok(Self {
            brain,
            srtp,
            wake,
            identity: Identity::new()?,
            orders: Mutex::new(VecDeque::new()),
            rings: Mutex::new(Rings { incoming: ends, ends: Vec::new() }),
            book: DashMap::new(),
            epochs: DashMap::new(),
            generation: AtomicU64::new(0),
            beats: AtomicU64::new(0),
        })
    }
}

/// The media workers' rings.
pub struct Rings {
    incoming: mpsc::Receiver<ControlEnd>,
    ends: Vec<ControlEnd>,
}

impl Rings {
    /// Takes new ends and drains all; a dead worker's end goes once it is empty.
    pub fn drain(&mut self, into: &mut Vec<(Path, Datagram)>) {
        while let Ok(end) = self.incoming.try_recv() {
            self.ends.retain(|old| old.worker != end.worker);
            self.ends.push(end);
        }
        for end in &mut self.ends {
            metrics::link_dropped(end.take_dropped());
            for _ in 0..DATAGRAMS {
                let Some(datagram) = end.pop() else { break };
                into.push((Path { worker: end.worker, address: datagram.peer }, datagram));
            }
        }
        self.ends.retain(|end| !end.is_abandoned());
    }

    /// Sends from the shared port the path names.
    pub fn send(&mut self, path: Path, payload: &[u8]) {
        let Some(end) = self.ends.iter_mut().find(|end| end.worker == path.worker) else {
            return metrics::dropped("no_worker");
        };
        match Datagram::new(path.address, payload) {
            Some(datagram) => end.push(datagram),
            None => metrics::dropped("too_long"),
        }
    }
}

/// A panic while it was held left nothing half-done: every holder only moves whole values.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
