//! A web page with JsSIP and SIP.js in it, served on an origin of its own, as an app's page is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use super::peers_folder;

/// The page. It is served until the process ends.
pub struct SipPage {
    address: SocketAddr,
}

impl SipPage {
    /// Bundles both libraries and serves them.
    #[track_caller]
    pub fn serve(folder: &Path) -> Self {
        let peers = peers_folder();
        let entry = folder.join("sippage.mjs");
        std::fs::write(
            &entry,
            "import * as JsSIP from 'jssip'; import * as SIP from 'sip.js';\n\
             window.JsSIP = JsSIP.default ?? JsSIP; window.SIP = SIP; window.seen = {};\n",
        )
        .expect("a file");
        let esbuild = peers.join("node_modules/.bin/esbuild");
        let bundled = Command::new(&esbuild)
            .arg(&entry)
            .args(["--bundle", "--format=iife", "--log-level=error"])
            .env("NODE_PATH", peers.join("node_modules"))
            .output()
            .unwrap_or_else(|e| panic!("{}: {e}: run tests/run, which installs it", esbuild.display()));
        assert!(bundled.status.success(), "{}", String::from_utf8_lossy(&bundled.stderr));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let script = bundled.stdout;
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let script_asked = request[..length].starts_with(b"GET /sip.js ");
                let (kind, body): (_, &[u8]) = match script_asked {
                    true => ("text/javascript", &script),
                    false => ("text/html", b"<!doctype html><title>sip</title><script src=/sip.js></script>"),
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // A browser that has gone needs no page.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            }
        });
        Self { address }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}
