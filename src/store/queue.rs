//! The bounded queue between whoever has a record and the one writer. A lock is held for a push or a pop only, never across
//! a wait.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tandem_actors::model::ids::SubscriberId;
use tandem_actors::ports::store::Record;
use tokio::sync::Notify;

use super::metrics;

/// Records kept while the database takes none: at 10 calls a second, some quarter of an hour.
pub(super) const CAPACITY: usize = 10_000;

/// From the brain to the writer. Overflow: the newest DROPS, counted; the oldest are kept, for they tell how it began. Bindings
/// never overflow: a subscriber's newer ones take the place of those that still wait, so there are no more than subscribers.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    emptied: Notify,
    /// The last attempt to write succeeded.
    writing: AtomicBool,
    /// An overflow was logged and no write succeeded since.
    overflowing: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In order of their numbers, which have gaps.
    records: VecDeque<(u64, Record)>,
    /// Where a subscriber's bindings wait.
    bindings: HashMap<SubscriberId, u64>,
    /// The last number given.
    last: u64,
    /// Numbers up to this are being written: they are not changed any more.
    taken: u64,
    /// Changes with the content.
    revision: u64,
}

impl Waiting {
    /// Puts bindings in the place of those that wait, where some do; otherwise gives them back.
    fn replace(&mut self, subscriber: &SubscriberId, record: Record) -> Option<Record> {
        let number = self.bindings.get(subscriber).copied().filter(|number| *number > self.taken);
        let place = number.and_then(|number| self.records.binary_search_by_key(&number, |(number, _)| *number).ok());
        match place.and_then(|place| self.records.get_mut(place)) {
            Some(waiting) => {
                waiting.1 = record;
                self.revision += 1;
                None
            }
            None => Some(record),
        }
    }

    fn append(&mut self, record: Record) {
        self.last += 1;
        self.revision += 1;
        if let Record::Bindings(subscriber, _) = &record {
            self.bindings.insert(subscriber.clone(), self.last);
        }
        self.records.push_back((self.last, record));
    }

    fn remove(&mut self, from: usize, count: usize) {
        let end = (from + count).min(self.records.len());
        for (number, record) in self.records.drain(from.min(end)..end) {
            if let Record::Bindings(subscriber, _) = record
                && self.bindings.get(&subscriber) == Some(&number)
            {
                self.bindings.remove(&subscriber);
            }
        }
        self.taken = 0;
        self.revision += 1;
    }
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            emptied: Notify::new(),
            writing: AtomicBool::new(true),
            overflowing: AtomicBool::new(false),
        }
    }

    /// Poisoning is ignored: no code that holds this lock can leave the deque half-changed.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends, or counts a drop when full.
    pub(super) fn push(&self, record: Record) {
        let depth = {
            let mut waiting = self.waiting();
            let (record, may_wait) = match &record {
                Record::Cdr(_) => (Some(record), waiting.records.len() - waiting.bindings.len() < self.capacity),
                Record::Bindings(subscriber, _) => {
                    let subscriber = subscriber.clone();
                    (waiting.replace(&subscriber, record), true)
                }
            };
            match record {
                None => Some(waiting.records.len()),
                Some(record) if may_wait => {
                    waiting.append(record);
                    Some(waiting.records.len())
                }
                Some(_) => None, // overflow: DROPS
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
                    tracing::error!(
                        capacity = self.capacity,
                        "the store's queue is full: new CDRs are dropped until the database takes records again; see to it"
                    );
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting().records.len()
    }

    /// Copies of the oldest records, at most `limit`. Only the writer removes, so they stay where they are.
    pub(super) fn front(&self, limit: usize) -> Vec<Record> {
        let mut waiting = self.waiting();
        let front: Vec<_> = waiting.records.iter().take(limit).cloned().collect();
        waiting.taken = front.last().map_or(0, |(number, _)| *number);
        front.into_iter().map(|(_, record)| record).collect()
    }

    /// The number of what waits longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiting().records.front().map(|(number, _)| *number)
    }

    /// A copy of everything that waits, behind its revision, which is never 0, and the number of the last of it.
    pub(super) fn all(&self) -> (u64, u64, Vec<Record>) {
        let waiting = self.waiting();
        (waiting.revision + 1, waiting.last, waiting.records.iter().map(|(_, record)| record.clone()).collect())
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
            let mut waiting = self.waiting();
            waiting.remove(from, count);
            waiting.records.len()
        };
        metrics::queue(depth);
        if depth == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// An attempt failed; whether the one before had succeeded (then it is worth a log line).
    pub(super) fn deferred(&self) -> bool {
        self.waiting().taken = 0;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(subscriber: &str) -> Record {
        Record::Bindings(SubscriberId::new(subscriber).expect("a name"), Vec::new())
    }

    #[test]
    fn newer_bindings_take_the_place_of_those_that_wait_but_not_of_those_being_written() {
        let queue = Queue::new(1);
        ["1", "2", "1", "2"].iter().for_each(|subscriber| queue.push(bindings(subscriber)));
        assert_eq!(queue.len(), 2, "beyond the capacity, which is the CDRs'");
        assert_eq!(queue.front(1), [bindings("1")]);
        queue.push(bindings("1"));
        queue.push(bindings("1"));
        assert_eq!(queue.len(), 3);
        queue.written(1);
        assert_eq!(queue.front(9), [bindings("2"), bindings("1")]);
        queue.deferred();
        queue.push(bindings("1"));
        assert_eq!(queue.len(), 2, "what could not be written is not being written any more");
    }
}
