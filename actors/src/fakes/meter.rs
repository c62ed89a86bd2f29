//! A recorder that only counts: what a test reads metrics from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

#[derive(Debug, Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Counters by name and labels; gauges and histograms are not kept.
#[derive(Debug, Default)]
pub struct Meter(DashMap<Key, Arc<Count>>);

impl Meter {
    /// The sum of a counter over every label set in which `label` has this value; over all where `label` is `None`.
    pub fn count(&self, name: &str, label: Option<(&str, &str)>) -> u64 {
        let fits = |key: &Key| {
            key.name() == name
                && label.is_none_or(|(k, v)| key.labels().any(|label| label.key() == k && label.value() == v))
        };
        self.0.iter().filter(|entry| fits(entry.key())).map(|entry| entry.value().0.load(Ordering::Relaxed)).sum()
    }
}

impl Recorder for Meter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.entry(key.clone()).or_default().value().clone())
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
