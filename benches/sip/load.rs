//! SIPp as callers and as the phone that is called.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::subject::{CALLER, Subject};

/// Calls to be made.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    /// Who is called.
    pub number: &'a str,
    /// How many in all.
    pub calls: u32,
    /// Begun a second.
    pub rate: u32,
    /// How long each is held, milliseconds.
    pub held_ms: u32,
}

/// What became of them.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Answered and ended as they should.
    pub answered: u32,
    /// Told 503.
    pub later: u32,
    /// Requests that had to be sent again.
    pub repeated: u32,
    /// INVITE to 100, milliseconds, in order.
    pub trying_ms: Vec<f64>,
}

impl Outcome {
    /// The time that this share of the calls was told 100 within.
    pub fn trying(&self, share: f64) -> f64 {
        let at = ((self.trying_ms.len() as f64 * share) as usize).min(self.trying_ms.len().saturating_sub(1));
        self.trying_ms.get(at).copied().unwrap_or(f64::NAN)
    }
}

fn sipp(folder: &Path, scenario: &str, local: SocketAddr) -> Command {
    let mut command = Command::new("sipp");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sip").join(scenario);
    command.current_dir(folder).arg("-sf").arg(file);
    let (ip, port) = (local.ip().to_string(), local.port().to_string());
    command.args(["-i", &ip, "-mi", &ip, "-p", &port, "-nostdin", "-l", "20000"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The phone; ended with this.
pub struct Phone(Child);

impl Phone {
    /// Answers whatever comes to `local`.
    pub fn start(folder: &Path, local: SocketAddr) -> Self {
        Self(sipp(folder, "uas.xml", local).spawn().expect("sipp: install sip-tester"))
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Load<'_> {
    /// Makes the calls.
    pub fn run(&self, folder: &Path, subject: &Subject) -> Outcome {
        let (counts, times) = (folder.join("counts.csv"), folder.to_owned());
        for old in rtt_files(&times) {
            let _ = std::fs::remove_file(old);
        }
        let _ = std::fs::remove_file(&counts);
        let mut command =
            sipp(folder, "uac.xml", (CALLER.parse::<std::net::IpAddr>().expect("an address"), 5060).into());
        command.arg(subject.sip.to_string()).args(["-s", self.number]);
        let numbers = [("-m", self.calls), ("-r", self.rate), ("-d", self.held_ms)];
        numbers.iter().for_each(|(flag, number)| {
            command.arg(flag).arg(number.to_string());
        });
        command.args(["-trace_stat", "-fd", "1", "-stf"]).arg(&counts).args(["-trace_rtt", "-rtt_freq", "100"]);
        let limit = Duration::from_secs(u64::from(self.calls / self.rate.max(1) + self.held_ms / 1000 + 45));
        let start = Instant::now();
        let mut child = command.spawn().expect("sipp: install sip-tester");
        while child.try_wait().expect("SIPp").is_none() {
            if start.elapsed() > limit {
                let _ = child.kill();
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let csv = std::fs::read_to_string(&counts).unwrap_or_default();
        let mut lines = csv.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
        let last: Vec<&str> = lines.next_back().unwrap_or_default().split(';').collect();
        let of = |name: &str| {
            let at = names.iter().position(|known| *known == name);
            at.and_then(|at| last.get(at)).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0)
        };
        let later = of("GenericCounter2(C)");
        let mut trying_ms: Vec<f64> = rtt_files(&times)
            .iter()
            .flat_map(|file| {
                std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .filter_map(|line| line.split(';').nth(1)?.trim().parse::<f64>().ok())
            .collect();
        trying_ms.sort_by(f64::total_cmp);
        Outcome {
            answered: of("SuccessfulCall(C)").saturating_sub(later),
            later,
            repeated: of("Retransmissions(C)"),
            trying_ms,
        }
    }
}

fn rtt_files(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    files.filter(|path| path.to_string_lossy().ends_with("_rtt.csv")).collect()
}
