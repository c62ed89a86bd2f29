//! What a worker counts, as atomics it alone writes; `metrics` publishes them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an arriving packet was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No RTP, or cut short.
    Malformed,
    /// From an address that is not the peer's.
    Source,
    /// SRTP tag wrong, or no keys yet.
    Authentication,
    /// Seen already, or far too old.
    Replayed,
    /// A payload type that was not agreed.
    PayloadType,
    /// It does not decode, or there is no way to convert it.
    Codec,
}

impl Refusal {
    /// All of them, in the order of [`WorkerStats::refused`].
    pub const ALL: [Refusal; 6] = [
        Refusal::Malformed,
        Refusal::Source,
        Refusal::Authentication,
        Refusal::Replayed,
        Refusal::PayloadType,
        Refusal::Codec,
    ];
    /// The `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Source => "source",
            Refusal::Authentication => "authentication",
            Refusal::Replayed => "replayed",
            Refusal::PayloadType => "payload_type",
            Refusal::Codec => "codec",
        }
    }
}

/// Counters of one worker, all incarnations.
#[derive(Default)]
pub struct WorkerStats {
    /// Packets accepted.
    pub received: AtomicU64,
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets the kernel would not take.
    pub unsent: AtomicU64,
    /// Packets missing.
    pub lost: AtomicU64,
    /// Packets refused, by [`Refusal::ALL`].
    pub refused: [AtomicU64; Refusal::ALL.len()],
    /// Ticks that began more than two periods late.
    pub overruns: AtomicU64,
    /// Worst lateness since it was last read, nanoseconds.
    pub lateness_ns: AtomicU64,
    /// Sessions on it.
    pub sessions: AtomicU64,
    /// Events dropped because nobody drained them.
    pub events_dropped: AtomicU64,
    /// Sessions retired by a panic.
    pub failed: AtomicU64,
}

impl WorkerStats {
    /// Counts a refusal.
    pub fn refuse(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }
}
