//! A store that never writes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lock;
use crate::ports::store::{Cdr, Record, SavedBinding, StorePort};

/// Remembers every record.
#[derive(Default)]
pub struct FakeStore {
    records: Mutex<Vec<Record>>,
    saved: Mutex<Vec<SavedBinding>>,
    sick: AtomicBool,
}

impl FakeStore {
    /// Every CDR handed over, repetitions of one call included.
    pub fn cdrs(&self) -> Vec<Cdr> {
        let cdr = |record: &Record| match record {
            Record::Cdr(cdr) => Some((**cdr).clone()),
            Record::Bindings(..) => None,
        };
        lock(&self.records).iter().filter_map(cdr).collect()
    }

    /// Everything handed over, in order.
    pub fn records(&self) -> Vec<Record> {
        lock(&self.records).clone()
    }

    /// What an earlier run saved.
    pub fn save(&self, bindings: Vec<SavedBinding>) {
        *lock(&self.saved) = bindings;
    }

    /// Whether it says that it cannot write.
    pub fn set_sick(&self, sick: bool) {
        self.sick.store(sick, Ordering::Relaxed);
    }
}

impl StorePort for FakeStore {
    fn record(&self, record: Record) {
        lock(&self.records).push(record);
    }
    fn saved_bindings(&self) -> Vec<SavedBinding> {
        lock(&self.saved).clone()
    }
    fn healthy(&self) -> bool {
        !self.sick.load(Ordering::Relaxed)
    }
}
