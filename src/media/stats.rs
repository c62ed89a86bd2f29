//! What a worker counts, as atomics it alone writes, and the metrics they become once a second.

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

/// Publishes the sums of all workers.
pub fn publish<'a>(workers: impl Iterator<Item = &'a WorkerStats> + Clone) {
    let sum = |of: fn(&WorkerStats) -> &AtomicU64| workers.clone().map(|w| of(w).load(Ordering::Relaxed)).sum::<u64>();
    metrics::counter!("tandem_rtp_packets_total", "direction" => "in").absolute(sum(|w| &w.received));
    metrics::counter!("tandem_rtp_packets_total", "direction" => "out").absolute(sum(|w| &w.sent));
    metrics::counter!("tandem_rtp_unsent_total").absolute(sum(|w| &w.unsent));
    metrics::counter!("tandem_rtp_lost_total").absolute(sum(|w| &w.lost));
    for why in Refusal::ALL {
        let total = workers.clone().map(|w| w.refused[why as usize].load(Ordering::Relaxed)).sum();
        metrics::counter!("tandem_rtp_refused_total", "reason" => why.label()).absolute(total);
    }
    metrics::counter!("tandem_media_tick_overruns_total").absolute(sum(|w| &w.overruns));
    metrics::counter!("tandem_media_events_dropped_total").absolute(sum(|w| &w.events_dropped));
    metrics::counter!("tandem_media_sessions_failed_total").absolute(sum(|w| &w.failed));
    metrics::gauge!("tandem_media_sessions").set(sum(|w| &w.sessions) as f64);
    let worst = workers.map(|w| w.lateness_ns.swap(0, Ordering::Relaxed)).max().unwrap_or(0);
    metrics::gauge!("tandem_media_tick_lateness_seconds").set(worst as f64 / 1e9);
}

/// Describes every metric of the media engine; called once, after the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!("tandem_rtp_packets_total", Unit::Count, "RTP packets accepted (in) and sent (out)");
    describe_counter!("tandem_rtp_unsent_total", Unit::Count, "RTP packets the kernel would not take");
    describe_counter!("tandem_rtp_lost_total", Unit::Count, "RTP packets that never came, by sequence numbers");
    describe_counter!("tandem_rtp_refused_total", Unit::Count, "RTP packets not used, by reason");
    describe_counter!("tandem_media_tick_overruns_total", Unit::Count, "media ticks begun more than 10 ms late");
    describe_counter!("tandem_media_events_dropped_total", Unit::Count, "media events dropped for want of room");
    describe_counter!("tandem_media_sessions_failed_total", Unit::Count, "media sessions retired by a panic");
    describe_counter!("tandem_media_thread_replacements_total", Unit::Count, "media threads replaced");
    describe_counter!(
        "tandem_media_link_dropped_total",
        Unit::Count,
        "STUN and DTLS datagrams dropped for want of room"
    );
    describe_gauge!("tandem_media_sessions", Unit::Count, "media sessions open");
    describe_gauge!("tandem_media_tick_lateness_seconds", Unit::Seconds, "worst lateness of a tick in the last second");
    describe_gauge!(
        "tandem_media_degraded",
        Unit::Count,
        "1 while a media thread lacks the real-time scheduling it asked for"
    );
}
