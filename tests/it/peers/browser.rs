//! Chromium, headless, driven through Playwright by `browser/driver.mjs`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{favoured, peers_folder, remedy};
use crate::tone::Pcm;

type Waiting = Arc<Mutex<HashMap<u64, mpsc::Sender<Value>>>>;

/// A running Chromium with any number of pages, told apart by name.
pub struct Browser {
    child: Child,
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    log: PathBuf,
}

impl Browser {
    pub fn start(folder: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let peers = peers_folder();
        assert!(
            peers.join("node_modules/playwright-core").exists(),
            "playwright-core is not in {}: run tests/run, which installs it",
            peers.display()
        );
        let log = folder.join("chromium.log");
        let mut child = favoured(&mut Command::new("node"))
            .arg(root.join("tests/it/browser/driver.mjs"))
            .env("PEERS", &peers)
            .env("TMPDIR", folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .spawn()
            .unwrap_or_else(|e| panic!("node does not start ({e}): {}", remedy(OsStr::new("node"))));
        let stdin = Mutex::new(child.stdin.take().expect("its stdin"));
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let waiting: Waiting = Arc::default();
        let (ready, is_ready) = mpsc::channel();
        let answers = waiting.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
                if value.get("ready").is_some() {
                    let _ = ready.send(());
                } else if let Some(id) = value["id"].as_u64()
                    && let Some(answer) = answers.lock().expect("the answers").remove(&id)
                {
                    let _ = answer.send(value);
                }
            }
        });
        let browser = Self { child, stdin, waiting, next: AtomicU64::new(1), log };
        if is_ready.recv_timeout(Duration::from_secs(60)).is_err() {
            panic!("Chromium did not start:\n{}", std::fs::read_to_string(&browser.log).unwrap_or_default());
        }
        browser
    }

    /// Opens a page whose microphone is a sine of `hz`.
    #[track_caller]
    pub fn open(&self, name: &str, url: &str, hz: f64) -> Page<'_> {
        self.order(json!({ "do": "open", "page": name, "url": url, "hz": hz }));
        Page { browser: self, name: name.into() }
    }

    #[track_caller]
    fn order(&self, mut order: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        order["id"] = id.into();
        let (answer, answered) = mpsc::channel();
        self.waiting.lock().expect("the answers").insert(id, answer);
        writeln!(self.stdin.lock().expect("its stdin"), "{order}").expect("the driver");
        let Ok(value) = answered.recv_timeout(Duration::from_secs(90)) else {
            panic!("no answer to {order}:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default())
        };
        if value["ok"] != true {
            let log = match order["page"].as_str() {
                Some(page) if order["do"] != "log" => self.order(json!({ "do": "log", "page": page })).to_string(),
                _ => String::new(),
            };
            panic!("{order}: {}\n{log}", value["error"]);
        }
        value["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // SAFETY: a signal to the group that this wrapper made.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

/// One page.
pub struct Page<'a> {
    browser: &'a Browser,
    name: String,
}

impl Page<'_> {
    #[track_caller]
    fn order(&self, mut order: Value) -> Value {
        order["page"] = self.name.as_str().into();
        self.browser.order(order)
    }
    /// Presses the button with this `data-testid`.
    #[track_caller]
    pub fn click(&self, test: &str) {
        self.order(json!({ "do": "click", "test": test }));
    }
    /// Types into the field with this `data-testid`.
    #[track_caller]
    pub fn fill(&self, test: &str, text: &str) {
        self.order(json!({ "do": "fill", "test": test, "text": text }));
    }
    /// Presses a key, as Playwright names it, wherever the focus is.
    #[track_caller]
    pub fn press(&self, key: &str) {
        self.order(json!({ "do": "press", "key": key }));
    }
    /// What the page said on its console and which errors nobody caught.
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        let log = self.order(json!({ "do": "log" }));
        log.as_array().into_iter().flatten().map(|line| line.as_str().unwrap_or_default().to_owned()).collect()
    }
    /// Waits until it is shown.
    #[track_caller]
    pub fn visible(&self, test: &str) {
        self.order(json!({ "do": "visible", "test": test }));
    }
    /// Waits until it is shown no more.
    #[track_caller]
    pub fn hidden(&self, test: &str) {
        self.order(json!({ "do": "hidden", "test": test }));
    }
    /// Its text.
    #[track_caller]
    pub fn text(&self, test: &str) -> String {
        self.order(json!({ "do": "text", "test": test })).as_str().unwrap_or_default().to_owned()
    }
    /// The value of an expression in the page.
    #[track_caller]
    pub fn eval(&self, code: &str) -> Value {
        self.order(json!({ "do": "eval", "code": code }))
    }
    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&self, code: &str) -> Value {
        self.order(json!({ "do": "wait", "code": code }))
    }
    /// Begins to record what the latest remote track brings.
    #[track_caller]
    pub fn record(&self) {
        self.wait("window.__tracks.some((t) => t.readyState === 'live')");
        self.order(json!({ "do": "record" }));
    }
    /// What was recorded since.
    #[track_caller]
    pub fn heard(&self) -> Pcm {
        let value = self.order(json!({ "do": "heard" }));
        let bytes = BASE64.decode(value["pcm"].as_str().unwrap_or_default()).expect("base64");
        let samples = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
        Pcm { samples, rate: value["rate"].as_u64().unwrap_or(16000) as usize }
    }
}
