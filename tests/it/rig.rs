//! A switch to test: in this process, where a story wants to reach into it, or as the real binary.

mod figures;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tandem::app::App;
use tandem::http::tokens::WallClock;
use tandem::store::{FirstCredentials, Store};
use tandem_actors::supervision::{Faults, Kind};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::capture::{Capture, Stream};
use crate::peers::baresip::{Account, Baresip};
use crate::peers::sipp::Sipp;
use crate::peers::wsclient::WsClient;
use crate::peers::{Lease, Process, free_ports, until};
use crate::tone::write_tone;

pub use figures::Footprint;

/// Where SIPp plays the PSTN: an address of its own, so that the switch knows the trunk by it.
pub const PSTN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

static SOUND: Mutex<()> = Mutex::new(());

/// Stories that measure sound run one at a time.
pub fn sound() -> MutexGuard<'static, ()> {
    SOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a story may ask of its switch's configuration.
#[derive(Default)]
pub struct Wishes {
    /// Kamailio as the trunk that calls leave by; otherwise SIPp at [`PSTN`].
    pub carrier: Option<SocketAddr>,
    /// `[sip] media_encryption`.
    pub media_encryption: Option<&'static str>,
    /// Lines put under `[modes.sip_to_rtc]`.
    pub sip_to_rtc: &'static str,
    /// Lines put under `[modes.rtc_to_sip]`.
    pub rtc_to_sip: &'static str,
    /// Choices of the service's menu, instead of the desk at 1, the app at 2 and the lobby at 3.
    pub choices: Option<&'static str>,
    /// Ports for RTP and RTCP, instead of 280.
    pub rtp_ports: Option<u16>,
    /// A HEP collector.
    pub hep: Option<SocketAddr>,
    /// Lines put under the trunk `pstn`.
    pub pstn: &'static str,
    /// The URL of its database, instead of SQLite.
    pub store_url: Option<String>,
    /// Certificate and key, PEM, of an HTTPS listener beside plain HTTP.
    pub certificate: Option<(String, String)>,
    /// SIP over TLS, WS and WSS, and on `[::1]`, too; pages of this origin may open WebSockets. Wants a certificate.
    pub streams: Option<String>,
    /// Further trunks.
    pub trunks: String,
    /// Whether strangers may call.
    pub strangers: bool,
    /// Text of the configuration and what is put in its place, once each.
    pub replace: Vec<(String, String)>,
}

/// A running switch.
pub struct Rig {
    switch: Running,
    folder: TempDir,
    _lease: Lease,
    ports: Ports,
    pstn_port: u16,
    api_key: String,
    desk_password: String,
}

enum Running {
    /// The real binary.
    Binary(Process),
    /// In this process, so that its actors can be made to panic. One at a time: metrics are one a process.
    Inside { app: Option<Box<App>>, runtime: Option<Runtime>, _alone: MutexGuard<'static, ()> },
    /// Such a one in a process of its own, whose figures nothing else is in: see [`a_switch_apart`].
    Apart(Process),
}

/// Names the configuration of the switch that [`a_switch_apart`] is to run.
const APART: &str = "TANDEM_APART";

/// Its ports.
#[derive(Clone, Copy)]
pub struct Ports {
    pub sip: u16,
    pub http: u16,
    pub https: u16,
    pub webrtc: u16,
}

impl Ports {
    pub fn tls(self) -> u16 {
        self.sip + 10
    }
    pub fn ws(self) -> u16 {
        self.sip + 12
    }
    pub fn wss(self) -> u16 {
        self.sip + 14
    }
    /// Where its range for RTP lies.
    fn rtp(self) -> Range<u16> {
        self.sip + 20..self.sip + PORTS
    }
}

/// Ports that a switch under test takes.
const PORTS: u16 = 300;

impl Rig {
    /// The usual one: the real binary.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&Wishes::default())
    }

    /// One to a story's wishes.
    #[track_caller]
    pub fn with(wishes: &Wishes) -> Self {
        let (folder, lease, ports, pstn_port, config) = prepare(wishes);
        let process = serve(folder.path(), &config);
        ready(&process, ports);
        let text = std::fs::read_to_string(folder.path().join("data/credentials.txt")).expect("its credentials");
        let word_after = |mark: &str| {
            let rest = text.split(mark).nth(1).unwrap_or_else(|| panic!("{mark} is not in:\n{text}"));
            rest.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let (api_key, desk_password) = (word_after("Bearer"), word_after("password"));
        Self { switch: Running::Binary(process), folder, _lease: lease, ports, pstn_port, api_key, desk_password }
    }

    /// Starts the real binary on a configuration that was spoiled, or with something of its own taken; the exit code and what it
    /// said.
    #[track_caller]
    pub fn refused<T>(spoil: impl FnOnce(Ports, &mut String) -> T) -> (i32, String) {
        let (folder, _lease, ports, _, config) = prepare(&Wishes::default());
        let mut text = std::fs::read_to_string(&config).expect("its configuration");
        let _taken = spoil(ports, &mut text);
        std::fs::write(&config, text).expect("a configuration");
        let mut process = serve(folder.path(), &config);
        let code = process.wait(Duration::from_secs(20));
        (code, process.output())
    }

    /// One in this process, whose actors can be made to panic.
    #[track_caller]
    pub fn inside() -> Self {
        Self::inside_by(Arc::new(SystemTime::now))
    }

    /// The same, by this wall clock.
    #[track_caller]
    pub fn inside_by(wall: WallClock) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (folder, lease, ports, pstn_port, config) = prepare(&Wishes::default());
        let (runtime, app, first) = start_here(&config, wall);
        let switch = Running::Inside { app: Some(Box::new(app)), runtime: Some(runtime), _alone: alone };
        let (api_key, desk_password) = (first.api_key.clone(), first.password.clone());
        let rig = Self { switch, folder, _lease: lease, ports, pstn_port, api_key, desk_password };
        until("the switch to be ready", Duration::from_secs(10), || {
            (rig.status("GET", "/readyz", None, None) == 200).then_some(())
        });
        rig
    }

    /// One in a process of its own, whose actors can be made to panic all the same.
    #[track_caller]
    pub fn apart() -> Self {
        let (folder, lease, ports, pstn_port, config) = prepare(&Wishes::default());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "rig::a_switch_apart", "--nocapture"]).env(APART, &config).stdin(Stdio::piped());
        let process = Process::start("apart", folder.path(), &mut command);
        let first = until("the switch to be ready", Duration::from_secs(30), || {
            assert!(process.running(), "the switch ended:\n{}", process.output());
            (try_http(at(ports.http), "GET", "/readyz", None, None)?.0 == 200).then_some(())?;
            serde_json::from_slice::<Value>(&std::fs::read(folder.path().join("first.json")).ok()?).ok()
        });
        let word = |key: &str| first[key].as_str().expect("a word").to_owned();
        let (api_key, desk_password) = (word("api_key"), word("password"));
        Self { switch: Running::Apart(process), folder, _lease: lease, ports, pstn_port, api_key, desk_password }
    }

    /// Kills it, and starts it again on the same folder; of the real binary only.
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.signal(libc::SIGKILL);
        let Running::Binary(process) = &mut self.switch else { panic!("a process of its own is the binary's") };
        process.wait(Duration::from_secs(10));
        *process = serve(self.folder.path(), &self.folder.path().join("tandem.toml"));
        ready(process, self.ports);
    }

    /// What it logged, and a signal to it; of the real binary only.
    #[track_caller]
    pub fn log(&self) -> String {
        let Running::Binary(process) = &self.switch else { panic!("a log of its own is the binary's") };
        process.output()
    }
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        let Running::Binary(process) = &self.switch else { panic!("a process of its own is the binary's") };
        // SAFETY: a signal to the child that this rig started and still holds.
        unsafe { libc::kill(process.child.id() as i32, signal) };
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub fn sip(&self) -> SocketAddr {
        at(self.ports.sip)
    }
    pub fn ports(&self) -> Ports {
        self.ports
    }
    pub fn http(&self) -> SocketAddr {
        at(self.ports.http)
    }
    /// The shared port of browsers' media.
    pub fn webrtc(&self) -> SocketAddr {
        at(self.ports.webrtc)
    }
    /// RTP of this switch, and of no other that runs beside it, to the PSTN.
    pub fn sent_to_pstn(&self, capture: &Capture) -> Stream {
        capture.filter(|p| p.to.ip() == PSTN && self.ports.rtp().contains(&p.from.port()))
    }
    pub fn api_key(&self) -> String {
        self.api_key.clone()
    }
    /// Longest gap allowed in RTP as sent, milliseconds: 60, and 120 where the system refuses real-time scheduling.
    pub fn gap_ms(&self) -> u64 {
        if self.metric_sum("tandem_media_degraded") > 0.0 { 120 } else { 60 }
    }
    /// A URI of this switch.
    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.sip())
    }

    /// A baresip registered as a subscriber of ours; one beside the first, 1001, is added.
    #[track_caller]
    pub fn phone(&self, user: &str, tone: f64, auto_answer: bool) -> Baresip {
        self.phone_with(user, tone, auto_answer, "none")
    }

    /// The same with `mediaenc`, as baresip names it.
    #[track_caller]
    pub fn phone_with(&self, user: &str, tone: f64, auto_answer: bool, encryption: &str) -> Baresip {
        let known = self.list("/api/v1/registrations").len();
        let password = match user {
            "1001" => self.desk_password.clone(),
            _ => self.subscriber(user),
        };
        let account = Account {
            user,
            registrar: &self.sip().to_string(),
            password: &password,
            codecs: "pcmu,pcma",
            tone,
            auto_answer,
            encryption,
        };
        let phone = Baresip::start(self.folder(), &account);
        until("the registration", Duration::from_secs(15), || {
            (self.list("/api/v1/registrations").len() > known).then_some(())
        });
        phone
    }

    /// Adds a subscriber; the password.
    #[track_caller]
    pub fn subscriber(&self, user: &str) -> String {
        let added = self.post("/api/v1/subscribers", &json!({ "id": user }));
        added["password"].as_str().expect("a password").to_owned()
    }

    /// SIPp as a caller from the PSTN trunk.
    #[track_caller]
    pub fn pstn(&self, scenario: &str, extra: &[&str]) -> Sipp {
        Sipp::start(self.folder(), scenario, SocketAddr::new(PSTN, 0), self.sip(), extra)
    }

    /// SIPp as the PSTN that is called, and echoes what it hears.
    #[track_caller]
    pub fn pstn_answers(&self, scenario: &str) -> Sipp {
        self.pstn_called(scenario, &["-rtp_echo", "-m", "1"])
    }

    /// SIPp as the PSTN that plays an announcement of 700 Hz before it answers.
    #[track_caller]
    pub fn pstn_announces(&self) -> Sipp {
        self.pstn_called("uas_early", &["-m", "1"])
    }

    /// SIPp as the PSTN that is called, as this scenario says.
    #[track_caller]
    pub fn pstn_called(&self, scenario: &str, extra: &[&str]) -> Sipp {
        let local = SocketAddr::new(PSTN, self.pstn_port);
        Sipp::start(self.folder(), scenario, local, self.sip(), extra)
    }

    /// A client of the WebSocket protocol.
    #[track_caller]
    pub fn client(&self, user: &str) -> WsClient {
        WsClient::login(self.http(), &self.token(user))
    }

    /// A login token.
    #[track_caller]
    pub fn token(&self, user: &str) -> String {
        self.post("/api/v1/tokens", &json!({ "user": user }))["token"].as_str().expect("a token").to_owned()
    }

    /// The web phone with a login link.
    #[track_caller]
    pub fn phone_url(&self, user: &str) -> String {
        format!("http://{}/phone/#user={user}&token={}", self.http(), self.token(user))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.api("GET", path, None)
    }
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.api("POST", path, Some(&body.to_string()))
    }
    #[track_caller]
    pub fn delete(&self, path: &str) {
        self.api("DELETE", path, None);
    }

    #[track_caller]
    fn api(&self, method: &str, path: &str, body: Option<&str>) -> Value {
        let (status, text) = http(self.http(), method, path, Some(&self.api_key), body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
    }

    /// The status of a request.
    pub fn status(&self, method: &str, path: &str, key: Option<&str>, body: Option<&str>) -> u16 {
        http(self.http(), method, path, key, body).0
    }

    /// A list of the API: the array inside the answer, whatever it is called there.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path);
        let list =
            answer.as_object().and_then(|object| object.values().find_map(Value::as_array)).or(answer.as_array());
        list.cloned().unwrap_or_default()
    }

    /// Makes every live actor of a kind panic. Inside there must be one; apart there need not.
    #[track_caller]
    pub fn crash(&self, kind: Kind) {
        match &self.switch {
            Running::Inside { app: Some(app), .. } => assert!(app.crash(kind) > 0, "there is no {kind} to crash"),
            Running::Apart(process) => {
                let mut orders = process.child.stdin.as_ref().expect("its stdin");
                writeln!(orders, "{kind}").expect("the switch");
            }
            Running::Inside { app: None, .. } | Running::Binary(_) => {
                panic!("actors of the binary do not crash to order")
            }
        }
    }
}

/// Starts a switch in this process.
#[track_caller]
fn start_here(config: &Path, wall: WallClock) -> (Runtime, App, FirstCredentials) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let config = tandem::config::load(config, []).unwrap_or_else(|e| panic!("{e}"));
    let (app, first) = runtime.block_on(async {
        let store = Store::open(&config.data_dir, None).await.expect("a store");
        let first = store.bootstrap(&config.brain.domain, |_| String::new()).await.expect("credentials");
        let render = tandem::telemetry::metrics().expect("metrics");
        let app = App::start(config, store, render, wall, Faults::armable()).await;
        (app.unwrap_or_else(|e| panic!("the switch does not start: {e}")), first.expect("a first start"))
    });
    (runtime, app, first)
}

/// No story: what [`Rig::apart`] runs in another process. Each line of its stdin names a kind of actor that is to panic; it ends
/// with its stdin.
#[test]
fn a_switch_apart() {
    let Some(config) = std::env::var_os(APART).map(PathBuf::from) else { return };
    tandem::telemetry::log(&tandem::config::load(&config, []).unwrap_or_else(|e| panic!("{e}")).log).expect("a log");
    let (runtime, app, first) = start_here(&config, Arc::new(SystemTime::now));
    let folder = config.parent().expect("its folder");
    let text = json!({ "api_key": first.api_key, "password": first.password }).to_string();
    std::fs::write(folder.join("part"), text).expect("a file");
    std::fs::rename(folder.join("part"), folder.join("first.json")).expect("a file");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let kind = Kind::ALL.iter().find(|kind| kind.label() == line).expect("a kind of actor");
        app.crash(*kind);
    }
    runtime.block_on(app.stop());
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Running::Inside { app, runtime, .. } = &mut self.switch
            && let (Some(app), Some(runtime)) = (app.take(), runtime.take())
        {
            runtime.block_on((*app).stop());
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

fn prepare(wishes: &Wishes) -> (TempDir, Lease, Ports, u16, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let prompts = folder.path().join("prompts");
    std::fs::create_dir(&prompts).expect("a folder");
    // Tones as prompts: what is heard can be told apart and measured.
    for (name, hz) in [("welcome", 440.0), ("menu", 550.0), ("invalid", 880.0), ("goodbye", 330.0)] {
        write_tone(&prompts.join(format!("{name}.wav")), hz, 22_050, 1);
    }
    let lease = free_ports(PORTS);
    let block = lease.first;
    let ports = Ports { sip: block, http: block + 2, webrtc: block + 4, https: block + 8 };
    let pstn_port = block + 6;
    if let Some((certificate, key)) = &wishes.certificate {
        std::fs::write(folder.path().join("own.crt"), certificate).expect("a certificate");
        std::fs::write(folder.path().join("own.key"), key).expect("a key");
    }
    let config = folder.path().join("tandem.toml");
    let all = ports.rtp();
    let rtp = (all.start, wishes.rtp_ports.map_or(all.end, |few| all.start + few) - 1);
    let mut text = toml(ports, rtp, pstn_port, wishes);
    for (old, new) in &wishes.replace {
        assert!(text.contains(old), "{old} is not in:\n{text}");
        text = text.replacen(old, new, 1);
    }
    std::fs::write(&config, text).expect("a configuration");
    (folder, lease, ports, pstn_port, config)
}

/// Waits until the real binary takes calls.
#[track_caller]
fn ready(process: &Process, ports: Ports) {
    until("the switch to be ready", Duration::from_secs(30), || {
        assert!(process.running(), "the switch ended:\n{}", process.output());
        (try_http(at(ports.http), "GET", "/readyz", None, None)?.0 == 200).then_some(())
    });
}

/// The real binary.
fn serve(folder: &Path, config: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.arg("--config").arg(config).stdin(Stdio::null());
    Process::start("tandem", folder, &mut command)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One HTTP request on a connection of its own: status and body.
#[track_caller]
pub fn http(address: SocketAddr, method: &str, path: &str, key: Option<&str>, body: Option<&str>) -> (u16, String) {
    try_http(address, method, path, key, body).expect("an answer from the switch's HTTP port")
}

/// The same of a switch that may not be up yet.
fn try_http(
    address: SocketAddr,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&str>,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(15))).ok()?;
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let body =
        body.map(|body| format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let body = body.unwrap_or_else(|| "\r\n".into());
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n{key}{body}").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The configuration of a switch under test.
pub fn toml(ports: Ports, rtp: (u16, u16), pstn_port: u16, wishes: &Wishes) -> String {
    let Ports { sip, http, https, webrtc } = ports;
    let https = match &wishes.certificate {
        Some(_) => format!("\"127.0.0.1:{https}\"\ncertificate = \"own.crt\"\nprivate_key = \"own.key\""),
        None => "\"\"".into(),
    };
    let carrier = wishes.carrier.map_or_else(String::new, |address| {
        format!(
            "[[trunks]]\nname = \"carrier\"\nprofile = \"kamailio\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"tandem\"\n\
             password = \"tandem-pw\"\nregister = true\nregister_expires_s = 60\noptions_interval_s = 0\n\
             allowed_addresses = [\"127.0.0.1/32\"]\nroutes = {{ \"*\" = \"user:alice\" }}\n",
            address.port()
        )
    });
    let hep = wishes.hep.map_or_else(String::new, |collector| format!("[hep]\ncollector = \"{collector}\"\n"));
    let store = wishes.store_url.as_ref().map_or_else(String::new, |url| format!("[store]\nurl = \"{url}\""));
    let choices = wishes.choices.unwrap_or(r#""1" = "desk", "2" = "app", "3" = "lobby""#);
    let out = if wishes.carrier.is_some() { "carrier" } else { "pstn" };
    let streams = wishes.streams.as_ref().map_or_else(String::new, |_| {
        let listener = |name: &str, ip: &str, port: u16| {
            format!("[[sip.listeners]]\nname = \"{name}\"\ntransports = [\"{name}\"]\nlisten = \"{ip}:{port}\"\n")
        };
        let udp6 = listener("udp", "[::1]", sip);
        [listener("tls", "127.0.0.1", ports.tls()), listener("ws", "127.0.0.1", ports.ws())].concat()
            + &listener("wss", "127.0.0.1", ports.wss())
            + &udp6
    });
    let origins =
        wishes.streams.as_ref().map_or_else(String::new, |origin| format!("allowed_origins = [\"{origin}\"]\n"));
    let strangers = if wishes.strangers { "allow_strangers = true\n" } else { "" };
    format!(
        r#"
domain = "127.0.0.1"
data_dir = "data"
prompts_dir = "prompts"
{store}
[sip]
media_encryption = "{}"
{strangers}[[sip.listeners]]
name = "loopback"
transports = ["udp", "tcp"]
listen = "127.0.0.1:{sip}"
{streams}[rtp]
ports = "{}-{}"
threads = 1
[rtc]
listen_ip = "127.0.0.1"
port = {webrtc}
address = "127.0.0.1"
[http]
listen = "127.0.0.1:{http}"
https_listen = {https}
{origins}[modes.sip_to_rtc]
enabled = true
{}
[modes.rtc_to_sip]
enabled = true
numbers = "10[01-09]"
pstn_trunk = "{out}"
allow = ["+86"]
{}
{hep}[[services]]
id = "welcome"
numbers = ["9000"]
start = "greet"
[services.steps.greet]
do = "play"
prompt = "welcome"
next = "menu"
[services.steps.menu]
do = "menu"
prompt = "menu"
timeout_s = 4
retries = 1
choices = {{ {choices} }}
invalid_prompt = "invalid"
on_timeout = "bye"
on_invalid = "bye"
[services.steps.desk]
do = "dial"
to = "subscriber:1001"
on_fail = "bye"
[services.steps.app]
do = "dial"
to = "user:alice"
on_fail = "bye"
[services.steps.lobby]
do = "room"
room = "lobby"
[services.steps.bye]
do = "play"
prompt = "goodbye"
[[trunks]]
name = "pstn"
host = "{PSTN}"
port = {pstn_port}
options_interval_s = 0
allowed_addresses = ["{PSTN}/32"]
{}
{carrier}{}"#,
        wishes.media_encryption.unwrap_or("none"),
        rtp.0,
        rtp.1,
        wishes.sip_to_rtc,
        wishes.rtc_to_sip,
        wishes.pstn,
        wishes.trunks
    )
}
