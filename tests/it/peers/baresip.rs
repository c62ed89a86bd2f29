//! baresip without a terminal: an account, a tone as microphone, a file of what it hears, orders by its control port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Lease, Process, favoured, free_port, free_ports, until};
use crate::capture::{Capture, Stream};
use crate::tone::{Pcm, write_tone};

/// A running baresip.
pub struct Baresip {
    _process: Process,
    folder: PathBuf,
    control: TcpStream,
    events: Arc<Mutex<Vec<Value>>>,
    pub rtp_ports: std::ops::RangeInclusive<u16>,
    _ports: Lease,
}

/// How to set one up.
pub struct Account<'a> {
    /// User part of the address of record.
    pub user: &'a str,
    /// `host:port` of the registrar, perhaps with `;transport=tls`, or empty to stay unregistered.
    pub registrar: &'a str,
    pub password: &'a str,
    /// `pcmu`, `pcma`, `opus/48000/1`…, comma separated.
    pub codecs: &'a str,
    /// Its microphone, Hz.
    pub tone: f64,
    /// Answers by itself.
    pub auto_answer: bool,
    /// `none`, `srtp`, `srtp-mand`.
    pub encryption: &'a str,
}

impl Baresip {
    pub fn start(folder: &Path, account: &Account<'_>) -> Self {
        let folder = folder.join(format!("baresip-{}", account.user));
        std::fs::create_dir_all(&folder).expect("its folder");
        let (sip, control, ports) = (free_port(), free_port(), free_ports(22));
        let rtp_ports = ports.first..=ports.first + 20;
        let wav = folder.join("microphone.wav");
        write_tone(&wav, account.tone, 8000, 120);
        // What it hears is on the wire for all to see, but for SRTP: then it keeps what it plays.
        let secure = match account.encryption {
            "none" => String::new(),
            _ => format!("module srtp.so\nmodule sndfile.so\nsnd_path {}\n", folder.display()),
        };
        std::fs::write(
            folder.join("config"),
            format!(
                "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nnet_interface 127.0.0.1\nsip_verify_server no\ncall_local_timeout 120\n\
                 call_max_calls 8\naudio_path /usr/share/baresip\naudio_source aufile,{wav}\naudio_player none\n\
                 audio_alert none\nausrc_channels 1\nauplay_channels 1\nrtp_ports {}-{}\njitter_buffer_delay 5-10\n\
                 module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule opus.so\nmodule aufile.so\n{secure}\
                 module_tmp uuid.so\nmodule_tmp account.so\nmodule_app contact.so\n\
                 module_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{control}\n\
                 opus_stereo no\nopus_sprop_stereo no\n",
                rtp_ports.start(),
                rtp_ports.end(),
                wav = wav.display(),
                secure = secure,
            ),
        )
        .expect("its configuration");
        let host = if account.registrar.is_empty() { format!("127.0.0.1:{sip}") } else { account.registrar.into() };
        let (regint, answer) =
            (if account.registrar.is_empty() { 0 } else { 60 }, if account.auto_answer { "auto" } else { "manual" });
        std::fs::write(
            folder.join("accounts"),
            format!(
                "<sip:{user}@{host}>;auth_user={user};auth_pass={};regint={regint};answermode={answer};audio_codecs={}{}\n",
                account.password,
                account.codecs,
                match account.encryption {
                    "none" => String::new(),
                    encryption => format!(";mediaenc={encryption}"),
                },
                user = account.user,
            ),
        )
        .expect("its account");
        std::fs::write(folder.join("contacts"), "").expect("its contacts");
        let mut command = Command::new("baresip");
        command.arg("-v").arg("-f").arg(&folder).stdin(Stdio::null());
        let process = Process::start("baresip", &folder, favoured(&mut command));
        let stream = until("baresip's control port", Duration::from_secs(15), || {
            TcpStream::connect(("127.0.0.1", control)).ok()
        });
        let events = Arc::new(Mutex::new(Vec::new()));
        let (reader, into) = (stream.try_clone().expect("a reader"), events.clone());
        std::thread::spawn(move || read_netstrings(reader, &into));
        Self { _process: process, folder, control: stream, events, rtp_ports, _ports: ports }
    }

    /// Sends an order: `dial`, `accept`, `hangup`, `hold`, `resume`, `sndcode`.
    pub fn order(&self, command: &str, params: &str) {
        let text = json!({ "command": command, "params": params, "token": command }).to_string();
        (&self.control).write_all(format!("{}:{text},", text.len()).as_bytes()).expect("its control port");
    }

    /// Presses digits, one after the other.
    pub fn digits(&self, digits: &str) {
        for digit in digits.chars() {
            self.order("sndcode", &digit.to_string());
        }
    }

    /// Waits for an event (`CALL_INCOMING`, `CALL_ESTABLISHED`, `CALL_CLOSED`…) and returns it; each is returned once.
    #[track_caller]
    pub fn event(&self, kind: &str, limit: Duration) -> Value {
        until(&format!("{kind} in {}", self.folder.display()), limit, || {
            let mut events = self.events.lock().expect("its events");
            let at = events.iter().position(|event| event["type"] == kind)?;
            Some(events.remove(at))
        })
    }

    /// Whether such an event is waiting.
    pub fn has_event(&self, kind: &str) -> bool {
        self.events.lock().expect("its events").iter().any(|event| event["type"] == kind)
    }

    /// Takes every event of a kind that is waiting: the calls they are of.
    pub fn calls_with_event(&self, kind: &str) -> Vec<String> {
        let mut events = self.events.lock().expect("its events");
        let of_kind = events.extract_if(.., |event| event["type"] == kind);
        of_kind.map(|event| event["id"].as_str().unwrap_or_else(|| panic!("no id: {event}")).to_owned()).collect()
    }

    /// What it played in its last call, which is over; kept where its media is encrypted.
    #[track_caller]
    pub fn played(&self) -> Pcm {
        until("what the phone played", Duration::from_secs(5), || {
            let mut files: Vec<PathBuf> = std::fs::read_dir(&self.folder).ok()?.flatten().map(|f| f.path()).collect();
            files.retain(|file| file.to_str().is_some_and(|name| name.ends_with("-dec.wav")));
            files.sort();
            let mut wav = hound::WavReader::open(files.last()?).ok()?;
            let rate = wav.spec().sample_rate as usize;
            let samples: Vec<i16> = wav.samples().collect::<Result<_, _>>().ok()?;
            (!samples.is_empty()).then_some(Pcm { samples, rate })
        })
    }

    /// RTP that was sent to it, as it passed. (Its own recording is complete only when a call is over.)
    pub fn sent_to(&self, capture: &Capture) -> Stream {
        capture.filter(|packet| self.rtp_ports.contains(&packet.to.port()))
    }

    /// RTP that it sent, as it passed.
    pub fn received_from(&self, capture: &Capture) -> Stream {
        capture.filter(|packet| self.rtp_ports.contains(&packet.from.port()))
    }
}

fn read_netstrings(mut stream: TcpStream, into: &Mutex<Vec<Value>>) {
    let mut buffer: Vec<u8> = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..len]);
        while let Some(colon) = buffer.iter().position(|&b| b == b':') {
            let Some(size) = std::str::from_utf8(&buffer[..colon]).ok().and_then(|n| n.trim().parse::<usize>().ok())
            else {
                return;
            };
            if buffer.len() < colon + size + 2 {
                break;
            }
            if let Ok(value) = serde_json::from_slice(&buffer[colon + 1..colon + 1 + size]) {
                into.lock().expect("its events").push(value);
            }
            buffer.drain(..colon + size + 2);
        }
    }
}
