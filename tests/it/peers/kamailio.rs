//! Kamailio as the carrier: registrar with digest, proxy between the switch's trunk and a PSTN of SIPp.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Process, free_port, until};

/// A running Kamailio. User NAME has the password NAME-pw; numbers that begin with `+` go to `pstn`.
pub struct Kamailio {
    process: Process,
    pub sip: SocketAddr,
}

impl Kamailio {
    pub fn start(folder: &Path, pstn: SocketAddr) -> Self {
        let (process, sip) = run(folder, include_str!("kamailio.cfg"), &[("@PSTN@", &pstn.to_string())]);
        until("Kamailio's answer to OPTIONS", Duration::from_secs(15), || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
            socket.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
            let me = socket.local_addr().ok()?;
            let options = format!(
                "OPTIONS sip:{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKup;rport\r\nFrom: <sip:t@{me}>;tag=1\r\n\
                 To: <sip:{sip}>\r\nCall-ID: up@{me}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\nContent-Length: 0\r\n\r\n"
            );
            socket.send_to(options.as_bytes(), sip).ok()?;
            let mut buffer = [0; 2000];
            socket.recv_from(&mut buffer).ok()
        });
        Self { process, sip }
    }

    /// One that speaks TLS only, with this certificate and key (PEM); it takes no client without a certificate of `authority`.
    #[track_caller]
    pub fn over_tls(folder: &Path, certificate: &str, key: &str, authority: &str) -> Self {
        let tls = folder.join("kamailio");
        std::fs::create_dir_all(&tls).expect("its folder");
        for (name, text) in [("own.crt", certificate), ("own.key", key), ("ca.crt", authority)] {
            std::fs::write(tls.join(name), text).expect("a file");
        }
        let at = tls.display();
        let config = format!(
            "[server:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n\
             private_key = {at}/own.key\ncertificate = {at}/own.crt\nca_list = {at}/ca.crt\n"
        );
        std::fs::write(tls.join("tls.cfg"), config).expect("its configuration");
        let (process, sip) = run(folder, include_str!("kamailio_tls.cfg"), &[]);
        until("Kamailio's TLS port", Duration::from_secs(15), || std::net::TcpStream::connect(sip).ok());
        Self { process, sip }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

fn run(folder: &Path, config: &str, more: &[(&str, &str)]) -> (Process, SocketAddr) {
    let folder = folder.join("kamailio");
    std::fs::create_dir_all(&folder).expect("its folder");
    let port = free_port();
    let modules = ["/usr/lib/x86_64-linux-gnu/kamailio/modules/", "/usr/lib/aarch64-linux-gnu/kamailio/modules/"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("/usr/lib/kamailio/modules/");
    let config = config
        .replace("@MODULES@", modules)
        .replace("@PORT@", &port.to_string())
        .replace("@FOLDER@", &folder.display().to_string());
    let config = more.iter().fold(config, |text, (mark, value)| text.replace(mark, value));
    let file = folder.join("kamailio.cfg");
    std::fs::write(&file, config).expect("its configuration");
    let mut command = Command::new("kamailio");
    command.args(["-DD", "-E", "-m", "32", "-M", "4", "-f"]).arg(&file);
    command.arg("-P").arg(folder.join("pid")).arg("-Y").arg(&folder).arg("-w").arg(&folder).stdin(Stdio::null());
    let process = Process::start("kamailio", &folder, &mut command);
    let sip = SocketAddr::from(([127, 0, 0, 1], port));
    (process, sip)
}
