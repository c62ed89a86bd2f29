//! The store's metrics.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tandem_actors::ports::store::Record;

/// What became of one record's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// In the database.
    Written,
    /// Not now (locked, disk full): it stays in the queue.
    Deferred,
    /// The database will never take it: it was thrown away.
    Refused,
}

/// Describes the store's metrics to the recorder. Called once, after the recorder is installed.
pub fn describe() {
    describe_gauge!("tandem_store_queue", "Records that wait to be written to the database.");
    describe_counter!("tandem_store_writes_total", "Records by kind and what became of the write.");
    describe_counter!("tandem_store_dropped_total", "Records thrown away because the queue was full.");
    describe_gauge!("tandem_store_spooled", "Records kept in a file because the database does not take them.");
    gauge!("tandem_store_queue").set(0.0);
    gauge!("tandem_store_spooled").set(0.0);
    counter!("tandem_store_dropped_total").absolute(0);
}

pub(super) fn queue(depth: usize) {
    // At most `queue::CAPACITY`, far below where f64 loses integers.
    gauge!("tandem_store_queue").set(depth as f64);
}

pub(super) fn spooled(records: usize) {
    gauge!("tandem_store_spooled").set(records as f64);
}

pub(super) fn dropped() {
    counter!("tandem_store_dropped_total").increment(1);
}

pub(super) fn write(record: &Record, outcome: Outcome) {
    let kind = match record {
        Record::Cdr(_) => "cdr",
        Record::Bindings(..) => "bindings",
    };
    let outcome = match outcome {
        Outcome::Written => "written",
        Outcome::Deferred => "deferred",
        Outcome::Refused => "refused",
    };
    counter!("tandem_store_writes_total", "kind" => kind, "outcome" => outcome).increment(1);
}
