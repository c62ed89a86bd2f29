//! Who is blocked, and until when. Asked with every datagram before it is read, by many tasks: an atomic says that nobody is,
//! which is the usual case, else a read lock is held for one look.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::super::metrics;
use super::Source;

/// Most sources remembered. // overflow: further ones are not blocked; their budget still holds them
const MOST_BLOCKS: usize = 65_536;
/// How long after its end a block is remembered: the next one is longer.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// Why a source is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It calls itself what scanners do.
    Scanner,
    /// Too many wrong passwords.
    WrongPassword,
}

impl Reason {
    /// As log, metrics and API spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scanner => "scanner",
            Self::WrongPassword => "wrong_password",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    reason: Reason,
    until: Instant,
    times: u32,
}

/// One source that is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// An address, or an IPv6 network as `2001:db8::/64`.
    pub source: Source,
    /// Why.
    pub reason: Reason,
    /// How long it lasts yet.
    pub left: Duration,
    /// How often it was blocked, this time included.
    pub times: u32,
}

/// See the module's doc.
#[derive(Debug, Default)]
pub struct Blocks {
    table: RwLock<HashMap<Source, Entry>>,
    /// Entries of the table.
    count: AtomicUsize,
}

impl Blocks {
    /// Whether what this address sends is dropped unread.
    pub fn holds(&self, address: IpAddr, now: Instant) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&address.into()).is_some_and(|entry| entry.until > now)
    }

    /// Blocks a source: `first` long, twice as long each further time, at most `most`.
    pub(super) fn add(&self, address: IpAddr, reason: Reason, first: Duration, most: Duration, now: Instant) {
        let source = Source::from(address);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MOST_BLOCKS && !table.contains_key(&source) {
            metrics::dropped("block_table_full");
            return;
        }
        let times = table.get(&source).map_or(0, |entry| entry.times);
        let lasts = first.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX)).min(most);
        table.insert(source, Entry { reason, until: now + lasts, times: times.saturating_add(1) });
        self.count.store(table.len(), Ordering::Relaxed);
        drop(table);
        metrics::blocked(reason.word());
        // The line that config/fail2ban reads.
        tracing::warn!("abuse: source {address} blocked for {} s: {}", lasts.as_secs(), reason.word());
    }

    /// Forgets what has long ended; called now and then.
    pub fn tidy(&self, now: Instant) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, entry| entry.until + REMEMBERED > now);
        self.count.store(table.len(), Ordering::Relaxed);
        let held = table.values().filter(|entry| entry.until > now).count();
        drop(table);
        metrics::blocks(held);
    }

    /// Everybody who is blocked now, by address.
    pub fn list(&self, now: Instant) -> Vec<Block> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let held = table.iter().filter(|(_, entry)| entry.until > now);
        let block = |(source, entry): (&Source, &Entry)| Block {
            source: *source,
            reason: entry.reason,
            left: entry.until - now,
            times: entry.times,
        };
        let mut list: Vec<_> = held.map(block).collect();
        drop(table);
        list.sort_by_key(|block| block.source);
        list
    }

    /// Lifts a source's block, and forgets that there was one; `false` when there is none.
    pub fn lift(&self, address: IpAddr) -> bool {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let found = table.remove(&address.into()).is_some();
        self.count.store(table.len(), Ordering::Relaxed);
        found
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
