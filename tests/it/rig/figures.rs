//! What a switch under test says of itself, and what it takes of the machine: records, metrics, what is left.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Connection;
use tandem_actors::supervision::Kind;

use super::{Rig, Running, http};
use crate::peers::until;

/// Gauges that are 0 when no call lives.
const LEFT_OF_CALLS: &[&str] =
    &["tandem_calls_active", "tandem_media_sessions", "tandem_rtc_peers", "tandem_sip_dialogs"];

/// What a process takes of its machine.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    pub descriptors: usize,
    pub threads: usize,
    pub rss_kb: u64,
}

impl Footprint {
    /// Whether nothing was left behind since `before`. The store opens up to three further connections to SQLite when questions
    /// coincide, and keeps them: a thread and two descriptors each. A leak of the calls would be larger.
    pub fn is_as(&self, before: &Self) -> bool {
        const CONNECTIONS: usize = 3;
        let spare = (before.threads..=before.threads + CONNECTIONS).contains(&self.threads);
        // A descriptor more may have been on its way out when the first figures were taken.
        spare && self.descriptors <= before.descriptors + 2 * CONNECTIONS
    }
}

impl Rig {
    /// What the switch takes of this machine; of one with a process of its own.
    #[track_caller]
    pub fn footprint(&self) -> Footprint {
        let (Running::Binary(process) | Running::Apart(process)) = &self.switch else { panic!("it has no process") };
        let of = |what: &str| format!("/proc/{}/{what}", process.child.id());
        let count = |what: &str| std::fs::read_dir(of(what)).expect("/proc").count();
        let status = std::fs::read_to_string(of("status")).expect("/proc");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        Footprint {
            descriptors: count("fd"),
            threads: count("task"),
            rss_kb: rss.trim().trim_end_matches(" kB").parse().expect("a number"),
        }
    }

    /// CDRs so far.
    #[track_caller]
    pub fn cdrs(&self) -> Vec<Value> {
        self.list("/api/v1/cdrs?limit=200")
    }

    /// CDRs since the first start, which may be more than the API lists at once.
    pub fn cdr_count(&self) -> i64 {
        let path = self.folder().join("data").join(tandem::store::DATABASE);
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut database = sqlx::SqliteConnection::connect_with(&options).await.expect("the database");
            sqlx::query_scalar("SELECT count(*) FROM cdrs").fetch_one(&mut database).await.expect("a count")
        })
    }

    /// The CDR of the only call there was.
    #[track_caller]
    pub fn only_cdr(&self) -> Value {
        let mut cdrs = until("a CDR", Duration::from_secs(5), || Some(self.cdrs()).filter(|cdrs| !cdrs.is_empty()));
        assert_eq!(cdrs.len(), 1, "{cdrs:?}");
        cdrs.remove(0)
    }

    /// The lines of a metric, in order.
    pub fn metric_lines(&self, name: &str) -> Vec<String> {
        let (_, text) = http(self.http(), "GET", "/metrics", None, None);
        let mut lines: Vec<String> = text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// The sum of a metric over its labels, those that are named being as named (a selector, as Prometheus reads it); 0 where
    /// it was never counted.
    pub fn metric_sum(&self, selector: &str) -> f64 {
        let (_, text) = http(self.http(), "GET", "/metrics", None, None);
        let (name, wanted) = selector.split_once('{').unwrap_or((selector, ""));
        let wanted = || wanted.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        text.lines()
            .filter(|line| {
                let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
                rest.is_some_and(|rest| wanted().all(|label| rest.contains(label)))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Restarts of one kind of actor so far.
    pub fn restarts(&self, kind: Kind) -> f64 {
        self.metric_sum(&format!("tandem_actor_restarts_total{{kind=\"{kind}\"}}"))
    }

    /// The ledger's rows by table, one an actor that lives.
    pub fn rows(&self) -> Vec<String> {
        let mut rows = self.metric_lines("tandem_ledger_rows{");
        // The history of phone calls and an invitation that is over are kept for a while, by design.
        rows.retain(|line| !line.contains("phone_calls") && !line.contains("invitations"));
        rows
    }

    /// Waits until nothing of a call is left anywhere.
    #[track_caller]
    pub fn quiet(&self) {
        let end = Instant::now() + Duration::from_secs(45);
        loop {
            let mut left: Vec<String> = Vec::new();
            for name in LEFT_OF_CALLS {
                let value = self.metric_sum(name);
                if value != 0.0 {
                    left.push(format!("{name} {value}"));
                }
            }
            left.extend(self.list("/api/v1/calls").iter().map(Value::to_string));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left behind: {left:#?}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}
