//! A browser's double: full control of its checks, its DTLS and its manners.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::rtc::dtls::{Association, Heard, Identity};
use crate::rtc::stun;
use tandem_actors::model::srtp::SrtpKeys;

/// How long silence is listened to before it counts as no answer.
const SILENCE: Duration = Duration::from_millis(300);

pub struct Double {
    socket: UdpSocket,
    switch: SocketAddr,
    identity: Identity,
    ufrag: String,
    pub setup: &'static str,
    remote: Option<Remote>,
    association: Option<Association>,
    keys: Option<SrtpKeys>,
}

struct Remote {
    ufrag: String,
    pwd: String,
    fingerprint: String,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
    socket
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Double {
    pub fn new(switch: SocketAddr) -> Self {
        Self {
            socket: socket(),
            switch,
            identity: Identity::new().expect("an identity"),
            ufrag: "dbl1".into(),
            setup: "actpass",
            remote: None,
            association: None,
            keys: None,
        }
    }

    pub fn fingerprint(&self) -> String {
        self.identity.fingerprint().to_owned()
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    pub fn offer(&self) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
             a=rtpmap:111 opus/48000/2\r\na=ice-ufrag:{}\r\na=ice-pwd:doubledoubledoubledouble\r\na=setup:{}\r\n\
             a=fingerprint:sha-256 {}\r\n",
            self.ufrag,
            self.setup,
            self.fingerprint()
        )
    }

    pub fn answered(&mut self, answer: &str) {
        let value = |name: &str| {
            answer.lines().find_map(|line| line.strip_prefix(name)).expect("in every answer").trim().to_owned()
        };
        assert!(answer.contains("a=ice-lite\r\n") && answer.contains(&format!("m=audio {} ", self.switch.port())));
        self.remote = Some(Remote {
            ufrag: value("a=ice-ufrag:"),
            pwd: value("a=ice-pwd:"),
            fingerprint: value("a=fingerprint:sha-256 "),
        });
    }

    fn remote(&self) -> &Remote {
        self.remote.as_ref().expect("answered")
    }

    pub fn remote_pwd(&self) -> &str {
        &self.remote().pwd
    }

    pub fn username(&self) -> String {
        format!("{}:{}", self.remote().ufrag, self.ufrag)
    }

    /// Sends, and returns what answers it before silence: DTLS to DTLS, STUN of the same transaction to STUN.
    fn exchange(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        self.socket.send_to(datagram, self.switch).expect("sent");
        let mut buffer = [0; 1500];
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
            let reply = &buffer[..length];
            if (datagram[0] >= 20 && reply[0] >= 20) || (datagram[0] < 4 && reply.get(8..20) == datagram.get(8..20)) {
                return Some(reply.to_vec());
            }
        }
    }

    /// Whether nothing answers a datagram.
    pub fn is_ignored(&self, datagram: &[u8]) -> bool {
        self.exchange(datagram).is_none()
    }

    /// What answers a datagram, which is sent again until something does.
    pub fn reply(&self, datagram: &[u8]) -> Vec<u8> {
        let deadline = now() + super::DEADLINE;
        loop {
            if let Some(reply) = self.exchange(datagram) {
                return reply;
            }
            assert!(now() < deadline, "no reply in time");
        }
    }

    /// An authentic check with further attributes.
    pub fn request(&self, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        stun::request(&self.username(), self.remote_pwd(), attributes)
    }

    /// Sends one and waits for the success response.
    pub fn check(&self, attributes: &[(u16, &[u8])]) {
        assert!(self.reply(&self.request(attributes)).starts_with(&[1, 1]));
    }

    /// A ClientHello.
    pub fn hello(&self) -> Vec<u8> {
        let mut association = self.associate(true);
        association.begin(now());
        association.transmit().expect("a ClientHello").to_vec()
    }

    fn associate(&self, active: bool) -> Association {
        Association::new(&self.identity, &self.remote().fingerprint, active).expect("an association")
    }

    /// Nominates and shakes hands until there are keys or the other side breaks off.
    pub fn connect(&mut self) {
        self.check(&[(0x25, &[])]);
        let mut association = self.associate(self.setup != "passive");
        association.begin(now());
        let mut buffer = [0; 1500];
        let deadline = now() + super::DEADLINE;
        while self.keys.is_none() && now() < deadline {
            while let Some(datagram) = association.transmit() {
                self.socket.send_to(&datagram, self.switch).expect("sent");
            }
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else {
                association.tick(now());
                continue;
            };
            match association.read(&buffer[..length], now()) {
                Heard::Secured(keys) => self.keys = Some(*keys),
                Heard::Nothing => {}
                Heard::Closed | Heard::Broken(_) => break,
            }
        }
        while let Some(datagram) = association.transmit() {
            self.socket.send_to(&datagram, self.switch).expect("sent");
        }
        self.association = Some(association);
    }

    pub fn keys(&self) -> &SrtpKeys {
        self.keys.as_ref().expect("connected")
    }

    /// Another local port: a changed network.
    pub fn moves(&mut self) {
        self.socket = socket();
    }

    pub fn restarts_ice(&mut self) {
        self.ufrag = "dbl2".into();
    }

    pub fn closes(&mut self) {
        let association = self.association.as_mut().expect("connected");
        association.close(now());
        while let Some(datagram) = association.transmit() {
            self.socket.send_to(&datagram, self.switch).expect("sent");
        }
    }

    pub fn hears_close(&mut self) -> bool {
        let association = self.association.as_mut().expect("connected");
        let mut buffer = [0; 1500];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            if buffer[0] >= 20 && matches!(association.read(&buffer[..length], now()), Heard::Closed) {
                return true;
            }
        }
        false
    }
}
