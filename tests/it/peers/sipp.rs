//! SIPp with a scenario of ours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Lease, Process, free_ports};
use crate::tone::write_tone_ulaw;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A running SIPp.
pub struct Sipp {
    process: Process,
    folder: PathBuf,
    name: String,
    pub sip: SocketAddr,
    _ports: Lease,
}

impl Sipp {
    /// Runs `tests/it/sipp/NAME.xml` from `local` (port 0: a free one) against `peer`, with these extra arguments. `uac_486` and
    /// its like are `uac_refused.xml` with that status.
    #[track_caller]
    pub fn start(folder: &Path, name: &str, local: SocketAddr, peer: SocketAddr, extra: &[&str]) -> Self {
        let label = format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let status = name.strip_prefix("uac_").filter(|rest| rest.parse::<u16>().is_ok());
        let file = if status.is_some() { "uac_refused" } else { name };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/sipp/{file}.xml"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let scenario = folder.join(format!("{label}.xml"));
        std::fs::write(&scenario, text.replace("@STATUS@", status.unwrap_or_default())).expect("a scenario");
        let tone = folder.join("tone.ulaw");
        if !tone.exists() {
            write_tone_ulaw(&tone, 700.0, 60);
        }
        let ports = free_ports(222);
        let (port, media) = (if local.port() == 0 { ports.first } else { local.port() }, ports.first + 2);
        let ip = local.ip().to_string();
        let mut command = Command::new("sipp");
        command.current_dir(folder).arg("-sf").arg(scenario).arg(peer.to_string());
        command.args(["-i", &ip, "-mi", &ip, "-p", &port.to_string(), "-mp", &media.to_string()]);
        command.args(["-nostdin", "-trace_err", "-error_file", &format!("{label}.err"), "-timeout", "120s"]);
        command.args(["-trace_msg", "-message_file", &format!("{label}.msg")]).args(extra).stdin(Stdio::null());
        let process = Process::start(&label, folder, &mut command);
        Self { process, folder: folder.into(), name: label, sip: SocketAddr::new(local.ip(), port), _ports: ports }
    }

    /// Waits for its end; every call must have gone as the scenario says.
    #[track_caller]
    pub fn done(&mut self, limit: Duration) {
        let code = self.process.wait(limit);
        assert_eq!(code, 0, "SIPp {}: exit {code}\n{}\n{}", self.name, self.errors(), super::tail(&self.messages()));
    }

    /// Its error file, but for what it says of itself: that it had no processor for half a second.
    pub fn errors(&self) -> String {
        let errors = std::fs::read_to_string(self.folder.join(format!("{}.err", self.name))).unwrap_or_default();
        errors.lines().filter(|line| !line.contains("Overload warning: the minor watchdog")).collect()
    }

    /// Every message it sent and received.
    pub fn messages(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("{}.msg", self.name))).unwrap_or_default()
    }
}
