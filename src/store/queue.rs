//! The bounded queue between whoever has a record and the one writer. A lock is held for a push or a pop only, never across
//! a wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tandem_actors::ports::store::Record;
use tokio::sync::Notify;

use super::metrics;

/// Records kept while the database takes none: at 10 calls a second, some quarter of an hour.
pub(super) const CAPACITY: usize = 10_000;

/// From the brain to the writer. Overflow: the newest DROPS, counted; the oldest are kept, for they tell how it began.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    records: Mutex<VecDeque<Record>>,
    arrived: Notify,
    emptied: Notify,
    /// The last attempt to write succeeded.
    writing: AtomicBool,
    /// An overflow was logged and no write succeeded since.
    overflowing: AtomicBool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            records: Mutex::new(VecDeque::new()),
            arrived: Notify::new(),
            emptied: Notify::new(),
            writing: AtomicBool::new(true),
            overflowing: AtomicBool::new(false),
        }
    }

    /// Poisoning is ignored: no code that holds this lock can leave the deque half-changed.
    fn records(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends, or counts a drop when full.
    pub(super) fn push(&self, record: Record) {
        let depth = {
            let mut records = self.records();
            if records.len() < self.capacity {
                records.push_back(record);
                Some(records.len())
            } else {
                None // overflow: DROPS
            }
        };
        match depth {
            Some(depth) => {
                metrics::queue(depth);
                self.arrived.notify_one();
            }
            None => {
                metrics::dropped();
                if !self.overflowing.swap(true, Ordering::Relaxed) {
                    tracing::error!(capacity = self.capacity, "the store's queue is full: new records are dropped");
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records().len()
    }

    /// Copies of the oldest records, at most `limit`. Only the writer removes, so they stay where they are.
    pub(super) fn front(&self, limit: usize) -> Vec<Record> {
        self.records().iter().take(limit).cloned().collect()
    }

    /// The oldest `count` are in the database.
    pub(super) fn written(&self, count: usize) {
        self.writing.store(true, Ordering::Relaxed);
        self.overflowing.store(false, Ordering::Relaxed);
        self.remove(0, count);
    }

    /// The record at this place is one that the database will never take.
    pub(super) fn refused(&self, index: usize) {
        self.remove(index, 1);
    }

    fn remove(&self, from: usize, count: usize) {
        let depth = {
            let mut records = self.records();
            let end = (from + count).min(records.len());
            records.drain(from.min(end)..end);
            records.len()
        };
        metrics::queue(depth);
        if depth == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// An attempt failed; whether the one before had succeeded (then it is worth a log line).
    pub(super) fn deferred(&self) -> bool {
        self.writing.swap(false, Ordering::Relaxed)
    }

    pub(super) fn healthy(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// Resolves when something may have been pushed since the last call.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Resolves when the queue is empty.
    pub(super) async fn drained(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable(); // before looking, so that no emptying between is missed
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }
}
