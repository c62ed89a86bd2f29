//! What is measured: the switch, or Kamailio, as a process whose CPU time and memory are read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

/// The caller's, the called phone's and the server's addresses, one a role, so that ports never clash.
pub const CALLER: &str = "127.0.0.2";
/// The phone that is called.
pub const PHONE: &str = "127.0.0.3";
const SERVER: &str = "127.0.0.1";

/// A process with everything it started; ended with this.
pub struct Subject {
    child: Child,
    /// Where it hears SIP.
    pub sip: SocketAddr,
    http: SocketAddr,
}

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    /// Ours.
    Tandem,
    /// Kamailio, answering calls itself.
    KamailioUas,
    /// Kamailio, relaying them.
    KamailioProxy,
}

impl Subject {
    /// Starts a server, ready to be called: the phone at `phone` is known to it.
    pub fn start(server: Server, folder: &Path, phone: SocketAddr) -> Self {
        let sip = free();
        let http = free();
        let mut command = match server {
            Server::Tandem => tandem(folder, sip, http),
            Server::KamailioUas | Server::KamailioProxy => kamailio(server, folder, sip, phone),
        };
        let log = std::fs::File::create(folder.join("server.log")).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        let subject = Self { child, sip, http };
        match server {
            Server::Tandem => {
                until("the switch to be ready", || {
                    http_get(http, "/readyz")
                        .is_some_and(|answer| answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"))
                });
                let text = std::fs::read_to_string(folder.join("data/credentials.txt")).expect("the first credentials");
                let password = text.split("password").nth(1).and_then(|rest| rest.split_whitespace().next());
                register(sip, phone, password.expect("the phone's password"));
            }
            Server::KamailioUas | Server::KamailioProxy => until("Kamailio to answer", || is_heard(sip)),
        }
        subject
    }

    fn pids(&self) -> Vec<u32> {
        let root = self.child.id();
        let mut pids = vec![root];
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let stat = fields(pid);
            if stat.get(1).and_then(|parent| parent.parse::<u32>().ok()) == Some(root) {
                pids.push(pid);
            }
        }
        pids
    }

    /// CPU time so far, user and system, of the process and its children.
    pub fn cpu(&self) -> Duration {
        // SAFETY: asks for a constant of the system.
        let hertz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        let ticks: f64 = self
            .pids()
            .into_iter()
            .map(|pid| {
                let stat = fields(pid);
                let at = |n: usize| stat.get(n).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
                at(11) + at(12)
            })
            .sum();
        Duration::from_secs_f64(ticks / hertz)
    }

    /// Resident memory, kB.
    pub fn rss_kb(&self) -> u64 {
        let of = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:").map(str::to_owned));
            line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0)
        };
        self.pids().into_iter().map(of).sum()
    }

    /// The sum of one of the switch's metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let text = http_get(self.http, "/metrics").unwrap_or_default();
        let of = |line: &str| line.rsplit(' ').next()?.trim().parse::<f64>().ok();
        text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name)).filter_map(of).sum()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        for pid in self.pids().into_iter().rev() {
            // SAFETY: a signal to a process that this bench started.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

/// `/proc/PID/stat` after the name.
fn fields(pid: u32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    rest.split_whitespace().map(str::to_owned).collect()
}

fn free() -> SocketAddr {
    let socket = UdpSocket::bind((SERVER, 0)).expect("a free port");
    socket.local_addr().expect("its address")
}

fn tandem(folder: &Path, sip: SocketAddr, http: SocketAddr) -> Command {
    let toml = format!(
        r#"
domain = "127.0.0.1"
data_dir = "data"
prompts_dir = "{prompts}"
[log]
filter = "warn"
[sip]
listeners = [{{ name = "bench", transports = ["udp"], listen = "{sip}" }}]
[rtp]
ports = "10000-30000"
[rtc]
listen_ip = "127.0.0.1"
port = {rtc}
[http]
listen = "{http}"
https_listen = ""
[limits]
max_calls = 8000
[[services]]
id = "welcome"
numbers = ["9000"]
start = "greet"
[services.steps.greet]
do = "play"
prompt = "welcome"
[[trunks]]
name = "caller"
host = "{CALLER}"
port = 5060
options_interval_s = 0
allowed_addresses = ["{CALLER}/32"]
"#,
        prompts = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prompts"),
        rtc = free().port(),
    );
    let config = folder.join("tandem.toml");
    std::fs::write(&config, toml).expect("a configuration");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.arg("--config").arg(config).current_dir(folder);
    command
}

fn kamailio(server: Server, folder: &Path, sip: SocketAddr, phone: SocketAddr) -> Command {
    let text =
        include_str!("kamailio.cfg").replace("@ADDRESS@", &sip.to_string()).replace("@PHONE@", &phone.to_string());
    let config = folder.join("kamailio.cfg");
    std::fs::write(&config, text).expect("a configuration");
    let mut command = Command::new("kamailio");
    command.args(["-DD", "-E", "-m", "256", "-f"]).arg(config).arg("-Y").arg(folder).current_dir(folder);
    if server == Server::KamailioProxy {
        command.args(["-A", "PROXY"]);
    }
    command
}

/// Waits for something that comes within two minutes, in which a call whose caller is gone is ended, too.
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !there() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn http_get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: bench\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn ask(socket: &UdpSocket, server: SocketAddr, request: &str) -> Option<String> {
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    socket.send_to(request.as_bytes(), server).ok()?;
    let mut octets = [0; 4096];
    let length = socket.recv(&mut octets).ok()?;
    Some(String::from_utf8_lossy(octets.get(..length)?).into_owned())
}

/// Whether anything at all answers.
fn is_heard(server: SocketAddr) -> bool {
    let socket = UdpSocket::bind((CALLER, 0)).expect("a socket");
    let local = socket.local_addr().expect("its address");
    let request = format!(
        "FOO sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKheard{}\r\nMax-Forwards: 0\r\n\
         From: <sip:bench@{local}>;tag=1\r\nTo: <sip:{server}>\r\nCall-ID: heard@{local}\r\nCSeq: 1 FOO\r\n\
         Content-Length: 0\r\n\r\n",
        local.port()
    );
    ask(&socket, server, &request).is_some()
}

/// Registers the phone 1001, as the phone itself would.
fn register(server: SocketAddr, phone: SocketAddr, password: &str) {
    let socket = UdpSocket::bind(phone).expect("the phone's port");
    let request = |cseq: u32, authorization: &str| {
        format!(
            "REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {phone};branch=z9hG4bKreg{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:1001@127.0.0.1>;tag=1\r\nTo: <sip:1001@127.0.0.1>\r\nCall-ID: bench@{phone}\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:1001@{phone}>\r\nExpires: 3600\r\n{authorization}Content-Length: 0\r\n\r\n"
        )
    };
    let challenge = ask(&socket, server, &request(1, "")).expect("a challenge");
    let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce");
    let hash = |text: String| {
        let mut hash = Md5::new();
        hash.update(text);
        hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect::<String>()
    };
    let (ha1, ha2) = (hash(format!("1001:127.0.0.1:{password}")), hash("REGISTER:sip:127.0.0.1".into()));
    let response = hash(format!("{ha1}:{nonce}:00000001:c0ffee:auth:{ha2}"));
    let authorization = format!(
        "Authorization: Digest username=\"1001\", realm=\"127.0.0.1\", nonce=\"{nonce}\", uri=\"sip:127.0.0.1\", \
         response=\"{response}\", algorithm=MD5, cnonce=\"c0ffee\", qop=auth, nc=00000001\r\n"
    );
    let answer = ask(&socket, server, &request(2, &authorization)).expect("an answer");
    assert!(answer.starts_with("SIP/2.0 200"), "the phone is not registered: {answer}");
}
