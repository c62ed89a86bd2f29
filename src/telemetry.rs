//! Logs and metrics: one subscriber and one recorder a process.
//!
//! What it is not: it serves nothing. `/metrics` calls the closure that [`metrics`] returns.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::meant::Log;
use crate::config::raw::LogFormat;

/// Renders all metrics in Prometheus' text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Bounds of every histogram named `…_seconds`: from a fast tick to a patient ring.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// How often histograms are folded up when nobody asks for metrics, so that they do not grow.
const UPKEEP: Duration = Duration::from_secs(5);
/// Clock ticks a second in `/proc/self/stat`: USER_HZ, 100 on every Linux architecture we run on.
const TICKS: f64 = 100.0;

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Another subscriber is installed.
    #[error("a log subscriber is installed already")]
    Log(#[from] tracing_subscriber::util::TryInitError),
    /// Another recorder is installed, or its bounds are wrong.
    #[error("the metrics recorder could not be installed")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Installs the log subscriber. Once a process.
///
/// # Errors
/// [`TelemetryError::Log`] on the second call.
pub fn log(log: &Log) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt as _;
    // The filter was parsed when the configuration was checked.
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&log.filter)).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// Installs the metrics recorder, at the first call; later calls return the same closure, so that several switches of one
/// test process share it.
///
/// # Errors
/// [`TelemetryError::Metrics`] when somebody else installed one.
pub fn metrics() -> Result<Render, TelemetryError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    static FIRST: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _first = FIRST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let handle = match HANDLE.get() {
        Some(handle) => handle.clone(),
        None => {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
                .install_recorder()?;
            describe();
            HANDLE.get_or_init(|| handle).clone()
        }
    };
    Ok(Arc::new(move || {
        process();
        handle.render()
    }))
}

/// Keeps histograms small while nobody scrapes; to be spawned beside the switch.
pub async fn upkeep(render: Render) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        // Rendering folds; the text is thrown away. Some hundred microseconds every five seconds.
        drop(render());
    }
}

fn describe() {
    describe_gauge!("tandem_build_info", "1, with the version as a label.");
    describe_counter!("process_cpu_seconds_total", "User and system CPU time of this process.");
    describe_gauge!("process_resident_memory_bytes", "Resident memory.");
    describe_gauge!("process_open_fds", "Open file descriptors.");
    describe_gauge!("process_threads", "Operating-system threads.");
    gauge!("tandem_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Reads the process's own figures from `/proc`; what cannot be read keeps its last value.
fn process() {
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
        && let Some(ticks) = cpu_ticks(&stat)
    {
        // The counter is whole seconds: precise enough for a rate over a minute.
        counter!("process_cpu_seconds_total").absolute((ticks as f64 / TICKS) as u64);
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        if let Some(kilobytes) = field(&status, "VmRSS:") {
            gauge!("process_resident_memory_bytes").set(kilobytes as f64 * 1024.0);
        }
        if let Some(threads) = field(&status, "Threads:") {
            gauge!("process_threads").set(threads as f64);
        }
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(entries.count() as f64);
    }
}

/// utime + stime of proc(5) `stat`, after the command name, which may have blanks and parentheses in it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ').skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_name_with_parentheses() {
        let stat = "42 (tan) dem) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("42 (tandem"), None);
    }

    #[test]
    fn metrics_render_with_buckets_and_the_process() {
        let render = metrics().expect("a recorder");
        metrics::histogram!("telemetry_test_seconds").record(0.003);
        let text = render();
        assert!(text.contains("telemetry_test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("tandem_build_info{version=\""), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        // A second switch in the process gets the same recorder.
        assert!(metrics().expect("the same").as_ref()().contains("telemetry_test_seconds"));
    }
}
