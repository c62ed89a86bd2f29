//! The metrics of the media engine, and how what the workers count becomes them once a second.

use std::sync::atomic::{AtomicU64, Ordering};

use super::stats::{Refusal, WorkerStats};

/// Publishes the sums of all workers, and how many datagrams the link has dropped.
pub fn publish<'a>(workers: impl Iterator<Item = &'a WorkerStats> + Clone, link_dropped: u64) {
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
    metrics::counter!("tandem_media_link_dropped_total").absolute(link_dropped);
    metrics::gauge!("tandem_media_sessions").set(sum(|w| &w.sessions) as f64);
    let worst = workers.map(|w| w.lateness_ns.swap(0, Ordering::Relaxed)).max().unwrap_or(0);
    metrics::gauge!("tandem_media_tick_lateness_seconds").set(worst as f64 / 1e9);
}

/// Says whether the engine works with less than it asked for: without real-time scheduling, without locked memory.
pub fn degraded(unscheduled: bool, unlocked: bool) {
    metrics::gauge!("tandem_media_degraded").set(f64::from(u8::from(unscheduled || unlocked)));
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
        "1 while media lacks the real-time scheduling or the locked memory it asked for"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_locked_is_degraded_as_scheduling_that_is_refused() {
        for (unscheduled, unlocked, expected) in [(false, false, 0), (false, true, 1), (true, false, 1)] {
            let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
            metrics::with_local_recorder(&recorder, || degraded(unscheduled, unlocked));
            assert!(recorder.handle().render().contains(&format!("tandem_media_degraded {expected}")));
        }
    }
}
