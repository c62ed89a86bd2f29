//! Tables that forget by themselves, in constant time: two generations, of which the older is dropped whole when the younger has
//! lasted long enough that its entries mean nothing any more.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::{MOST, Source};

/// Entries that mean nothing after a while without a change.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    turned: Instant,
    lasts: Duration,
}

impl<K: Hash + Eq, V> Generations<K, V> {
    /// `lasts`: how long an entry means something.
    pub fn new(lasts: Duration, now: Instant) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), turned: now, lasts }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Keeps an entry; `false` when there is no room.
    pub fn put(&mut self, key: K, value: V, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.turned);
        if age >= self.lasts {
            self.old = std::mem::take(&mut self.young);
            if age >= self.lasts * 2 {
                self.old.clear();
            }
            self.turned = now;
        }
        if self.young.len() >= MOST && !self.young.contains_key(&key) {
            return false;
        }
        self.young.insert(key, value);
        true
    }

    pub fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// A token bucket a source.
#[derive(Debug)]
pub(super) struct Buckets {
    per_second: f64,
    burst: f64,
    table: Generations<Source, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
    /// Requests refused since it was empty.
    refused: u32,
}

impl Buckets {
    pub fn new(per_second: f64, burst: f64, now: Instant) -> Self {
        // A bucket that nobody took from for so long is full, as a new one is.
        let full = Duration::from_secs_f64((burst / per_second.max(0.001)).clamp(1.0, 3600.0));
        Self { per_second, burst, table: Generations::new(full, now) }
    }

    /// Takes one token; `false` when there is none, or no room for a stranger.
    pub fn spend(&mut self, source: Source, known: bool, now: Instant) -> bool {
        let bucket = self.table.get(&source).copied();
        let tokens = bucket.map_or(self.burst, |Bucket { tokens, at, .. }| {
            (tokens + now.saturating_duration_since(at).as_secs_f64() * self.per_second).min(self.burst)
        });
        let admitted = tokens >= 1.0;
        let refused = if admitted { 0 } else { bucket.map_or(0, |bucket| bucket.refused).saturating_add(1) };
        let left = if admitted { tokens - 1.0 } else { tokens };
        let kept = self.table.put(source, Bucket { tokens: left, at: now, refused }, now);
        admitted && (kept || known)
    }

    /// Whether the request just refused is the first of many: it is said once.
    pub fn just_emptied(&self, source: Source) -> bool {
        self.table.get(&source).is_some_and(|bucket| bucket.refused == 1)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.table.len()
    }
}
