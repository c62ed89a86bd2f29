//! What a call costs in signalling, beside Kamailio doing the like in the same run, both driven by SIPp over loopback UDP; no
//! RTP but what the switch itself plays. CPU time is the server's process, user and system. Absolute figures depend on the
//! machine of the day: medians of interleaved rounds are compared.
//!
//! `cargo bench --bench sip` prints, in this order: CPU a call (server alone; two legs), memory an idle dialog, INVITE to 100 at
//! 70 % of the rate it carries, goodput at twice that rate. SIPp (`sip-tester`) and `kamailio` must be installed.

// Real servers are waited for by the real clock.
#![allow(clippy::disallowed_methods)]

mod load;
mod subject;

use std::net::SocketAddr;
use std::time::Duration;

use load::{Load, Outcome, Phone};
use subject::{PHONE, Server, Subject, until};
use tempfile::TempDir;

/// Calls a round and begun a second: far below what any of them carries.
const COST: Load<'static> = Load { number: "", calls: 3000, rate: 300, held_ms: 0 };
const ROUNDS: usize = 3;
/// Two-leg calls that are held while memory is read.
const HELD: u32 = 1000;

struct Stage {
    folder: TempDir,
    subject: Subject,
    _phone: Phone,
}

impl Stage {
    fn new(server: Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let phone: SocketAddr = (PHONE.parse::<std::net::IpAddr>().expect("an address"), 5062).into();
        let subject = Subject::start(server, folder.path(), phone);
        let phone = Phone::start(folder.path(), phone);
        Self { folder, subject, _phone: phone }
    }

    fn run(&self, load: Load<'_>) -> Outcome {
        load.run(self.folder.path(), &self.subject)
    }

    /// CPU seconds for 1000 calls.
    fn cost(&self, number: &str) -> f64 {
        let load = Load { number, ..COST };
        let before = self.subject.cpu();
        let outcome = self.run(load);
        // Where others use the machine, too, some may be told to come later.
        assert!(
            outcome.answered > load.calls * 95 / 100,
            "{number}: {} answered, {} told 503",
            outcome.answered,
            outcome.later
        );
        (self.subject.cpu() - before).as_secs_f64() / f64::from(outcome.answered) * 1000.0
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn costs() {
    let pairs = [
        ("answered by the server itself", "9000", Server::KamailioUas),
        ("two legs, to a registered phone", "1001", Server::KamailioProxy),
    ];
    for (what, number, peer) in pairs {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mine = Stage::new(Server::Tandem).cost(number);
            let its = Stage::new(peer).cost(number);
            ratios.push(mine / its);
            ours.push(mine);
            theirs.push(its);
        }
        println!(
            "{what}: {:.3} CPU-s for 1000 calls, {peer:?} {:.3}, ratio {:.2}",
            median(ours),
            median(theirs),
            median(ratios)
        );
    }
}

fn memory() {
    let stage = Stage::new(Server::Tandem);
    let held = |calls: u32| Load { number: "1001", calls, rate: 200, held_ms: 12_000 };
    // Once before, so that what is made once is there.
    stage.run(Load { held_ms: 0, ..held(HELD) });
    let before = stage.subject.rss_kb();
    let most = std::thread::scope(|scope| {
        let calls = scope.spawn(|| stage.run(held(HELD)));
        let mut most = None;
        while !calls.is_finished() {
            if stage.subject.metric("tandem_calls_active") >= f64::from(HELD) {
                most = most.max(Some(stage.subject.rss_kb()));
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
        most.expect("all calls to be up at once: a machine that is less busy")
    });
    println!(
        "idle: {:.1} kB a leg, its actors, sockets and media session included",
        most.saturating_sub(before) as f64 / f64::from(HELD * 2)
    );
}

/// Calls a second that are answered, with the rate they were begun at.
fn goodput(stage: &Stage, rate: u32, seconds: u32) -> (f64, Outcome) {
    let outcome = stage.run(Load { number: "1001", calls: rate * seconds, rate, held_ms: 0 });
    (f64::from(outcome.answered) / f64::from(seconds), outcome)
}

fn capacity() {
    let (mut peak, mut rate) = (0.0_f64, 200);
    loop {
        let (good, outcome) = goodput(&Stage::new(Server::Tandem), rate, 5);
        println!(
            "  begun {rate} a second: answered {good:.0}, told 503 {}, repeated {}",
            outcome.later, outcome.repeated
        );
        if good < f64::from(rate) * 0.98 || rate >= 3000 {
            peak = peak.max(good);
            break;
        }
        (peak, rate) = (peak.max(good), rate * 5 / 4);
    }
    let (_, outcome) = goodput(&Stage::new(Server::Tandem), (peak * 0.7) as u32, 10);
    println!("INVITE to 100 at 70 %: p50 {:.1} ms, p99 {:.1} ms", outcome.trying(0.5), outcome.trying(0.99));
    let stage = Stage::new(Server::Tandem);
    let (good, outcome) = goodput(&stage, (peak * 2.0) as u32, 10);
    println!(
        "at twice {peak:.0} a second: answered {good:.0} ({:.2} of the peak), told 503 {}",
        good / peak,
        outcome.later
    );
    until("every call to be over", || stage.subject.metric("tandem_calls_active") == 0.0);
}

fn main() {
    let only: Option<String> = std::env::args().nth(1).filter(|argument| !argument.starts_with("--"));
    let wants = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wants("cost") {
        costs();
    }
    if wants("memory") {
        memory();
    }
    if wants("capacity") {
        capacity();
    }
}
