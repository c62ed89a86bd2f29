//! Peers that nobody here wrote, each a process that ends with its wrapper.

pub mod baresip;
pub mod browser;
pub mod dns;
pub mod kamailio;
pub mod sdkapp;
pub mod sipp;
pub mod sippage;
pub mod webphone;
pub mod wsclient;

use std::ffi::OsStr;
use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where tests/run installs what comes from npm.
pub fn peers_folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
    std::env::var_os("TANDEM_PEERS").map_or_else(own, PathBuf::from)
}

/// A child process in a group of its own: killed, group and all, on drop; its output kept in a file.
pub struct Process {
    pub child: Child,
    name: String,
    log: PathBuf,
}

/// What to do about a program that is not there.
pub fn remedy(program: &OsStr) -> String {
    let package = match program.to_str() {
        Some("sipp") => "sip-tester",
        Some("baresip") => "baresip-core",
        Some("kamailio") => "kamailio",
        Some("node") => "nodejs",
        _ => return "see its log".into(),
    };
    format!("install Debian's package {package}, or run tests/run, which does")
}

impl Process {
    /// Starts a command; stdin as the command says.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("a log file");
        let err = out.try_clone().expect("a second handle");
        let child = command
            .process_group(0)
            .stderr(Stdio::from(err))
            .stdout(Stdio::from(out))
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start ({e}): {}", remedy(command.get_program())));
        Self { child, name: name.into(), log }
    }

    /// Whether it still runs.
    pub fn running(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for it to end by itself and returns its exit code.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "{} did not end within {limit:?}:\n{}", self.name, tail(&self.output()));
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: a signal to the group that this wrapper made.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.name, tail(&self.output()));
        }
    }
}

/// The last lines of an output.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// What was handed out of this process's ports.
struct Handed {
    next: u16,
    leased: Vec<Range<u16>>,
}

/// The ports of this process. Below the ephemeral range, whose ports the system gives to anybody;
/// a lock file keeps other test processes off them.
static PORTS: LazyLock<(Range<u16>, Mutex<Handed>)> = LazyLock::new(|| {
    const EACH: u16 = 5_000;
    let ours = (12_000..32_000).step_by(EACH.into()).find(|first| {
        let path = std::env::temp_dir().join(format!("tandem-tests-{first}.lock"));
        let file = File::options().create(true).append(true).open(&path).expect("a lock file");
        let locked = file.try_lock().is_ok();
        if locked {
            // Held until the process ends.
            std::mem::forget(file);
        }
        locked
    });
    let first = ours.expect("no more than four test processes at once");
    (first..first + EACH, Mutex::new(Handed { next: first, leased: Vec::new() }))
});

/// Ports that are nobody else's until this is dropped, though most are not bound: media comes and goes.
pub struct Lease {
    /// The first, even.
    pub first: u16,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = PORTS.1.lock().unwrap_or_else(PoisonError::into_inner);
        state.leased.retain(|range| range.start != self.first);
    }
}

/// `count` UDP and TCP ports on loopback that nobody uses. Handed out in order, and again only after all the others, so that
/// stories may run side by side.
#[track_caller]
pub fn free_ports(count: u16) -> Lease {
    let (ours, state) = &*PORTS;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let Handed { next, leased } = &mut *state;
    let mut rounds = 0;
    loop {
        if *next + count > ours.end {
            *next = ours.start;
            rounds += 1;
            assert!(rounds < 3, "no {count} ports are free in {ours:?}: {leased:?}");
        }
        let range = *next..*next + count.next_multiple_of(2);
        let taken =
            |port: u16| UdpSocket::bind(("0.0.0.0", port)).is_err() || TcpListener::bind(("0.0.0.0", port)).is_err();
        let theirs = leased.iter().find(|lease| lease.start < range.end && range.start < lease.end);
        if let Some(lease) = theirs {
            *next = lease.end;
            continue;
        }
        *next = range.end;
        if !range.clone().any(taken) {
            leased.push(range.clone());
            return Lease { first: range.start };
        }
    }
}

/// One of them, with the next one free too, for who binds it at once.
pub fn free_port() -> u16 {
    free_ports(2).first
}

/// Puts a peer before others in the queue for a core, where the system lets us: a peer that stalls makes gaps that are not the
/// switch's.
fn favoured(command: &mut Command) -> &mut Command {
    // SAFETY: one system call, which is async-signal-safe; a refusal is of no matter.
    unsafe {
        command.pre_exec(|| {
            libc::setpriority(libc::PRIO_PROCESS, 0, -10);
            Ok(())
        })
    }
}

/// Waits until `ready` gives something, at most `limit`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
