//! Real sockets whose tasks are killed or which break under a core that is being used.

use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::super::super::config::ListenerConfig;
use super::super::super::digest::{Asked, answers};
use super::*;

/// What a peer waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

struct Heard {
    core: SipCore,
    listener: ListenerId,
    at: SocketAddr,
}

/// A core on a free port of loopback, UDP and TCP; where.
async fn core(brain: Arc<Scripted>) -> (SipCore, ListenerId, SocketAddr) {
    let listener = ListenerConfig {
        tls: None,
        id: ListenerId::new("both").expect("a name"),
        transports: vec![Transport::Udp, Transport::Tcp],
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        external_ip: None,
        local_nets: Vec::new(),
        algorithms: Vec::new(),
    };
    let config = SipConfig { listeners: vec![listener], ..open() };
    let core = SipCore::start(config, brain, Arc::new(Bob)).await.expect("a free port");
    let (listener, at) = core.local_addrs().remove(0);
    (core, listener, at)
}

impl Heard {
    async fn start() -> Self {
        let brain = Scripted::new(Manner::Answers);
        let (core, listener, at) = core(brain.clone()).await;
        assert!(brain.core.set(core.clone()).is_ok());
        Self { core, listener, at }
    }

    fn deafen(&self, transport: Transport, broken: bool) {
        self.core.shared().wire.deafen(0, transport, broken);
    }

    /// Asks until the loss is noticed.
    async fn keep(&self) -> Result<bool, String> {
        let noticed = async {
            loop {
                let kept = self.core.keep_listening(&self.listener);
                if kept != Ok(false) {
                    return kept;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, noticed).await.expect("it is noticed")
    }
}

/// A request from `from`; the branch makes it its own.
pub(super) fn request(method: &str, from: SocketAddr, transport: &str, branch: &str, headers: &str) -> String {
    let to = if headers.contains("To: ") { "" } else { "To: <sip:bob@example.com>\r\n" };
    let cseq = if headers.contains("CSeq: ") { String::new() } else { format!("CSeq: 1 {method}\r\n") };
    format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/{transport} {from};rport;branch=z9hG4bK{branch}\r\n\
         From: <sip:bob@example.com>;tag=f\r\n{to}{cseq}Call-ID: listening\r\nContact: <sip:bob@{from}>\r\n\
         {headers}Content-Length: 0\r\n\r\n"
    )
}

/// The final response's text.
async fn final_of(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    loop {
        let length =
            tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an answer").expect("a datagram");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !text.starts_with("SIP/2.0 1") {
            return text;
        }
    }
}

async fn phone(at: SocketAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    socket.connect(at).await.expect("loopback");
    let from = socket.local_addr().expect("an address");
    (socket, from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_udp_reader_that_died_is_begun_again_and_what_came_meanwhile_is_not_lost() {
    let heard = Heard::start().await;
    assert_eq!(heard.core.keep_listening(&heard.listener), Ok(false), "it hears");
    let (socket, from) = phone(heard.at).await;
    heard.deafen(Transport::Udp, false);
    // A registration is begun while nobody listens.
    socket.send(request("REGISTER", from, "UDP", "r1", "Expires: 60\r\n").as_bytes()).await.expect("sent");
    assert_eq!(heard.keep().await, Ok(true));
    let challenge = final_of(&socket).await;
    let value = challenge.split("WWW-Authenticate: ").nth(1).and_then(|rest| rest.lines().next()).expect("a challenge");
    let account = Account { user: "bob".into(), password: "zanzibar".into(), realm: None };
    let asked = Asked { method: b"REGISTER", uri: b"sip:bob@example.com", body: b"" };
    let proof = answers([value.as_bytes()].into_iter(), &account, asked, &[], "c");
    let proof = proof.into_iter().next().expect("one").value;
    let headers = format!("CSeq: 2 REGISTER\r\nExpires: 60\r\nAuthorization: {proof}\r\n");
    socket.send(request("REGISTER", from, "UDP", "r2", &headers).as_bytes()).await.expect("sent");
    assert!(final_of(&socket).await.starts_with("SIP/2.0 200"));
    // A call, whose dialog outlives the next death.
    socket.send(request("INVITE", from, "UDP", "i", "").as_bytes()).await.expect("sent");
    let ok = final_of(&socket).await;
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    let to = ok.lines().find(|line| line.starts_with("To: ")).expect("a To").to_owned() + "\r\n";
    heard.deafen(Transport::Udp, false);
    assert_eq!(heard.keep().await, Ok(true));
    socket.send(request("ACK", from, "UDP", "a", &to).as_bytes()).await.expect("sent");
    socket.send(request("BYE", from, "UDP", "b", &(to + "CSeq: 2 BYE\r\n")).as_bytes()).await.expect("sent");
    let bye = loop {
        // The INVITE's 200 may have been repeated before the ACK was heard.
        let text = final_of(&socket).await;
        if text.contains("CSeq: 2 BYE") {
            break text;
        }
    };
    assert!(bye.starts_with("SIP/2.0 200"), "{bye}");
    assert_eq!(heard.core.keep_listening(&heard.listener), Ok(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_udp_socket_that_broke_is_bound_again_to_its_address() {
    let heard = Heard::start().await;
    let (socket, from) = phone(heard.at).await;
    heard.deafen(Transport::Udp, true);
    assert_eq!(heard.keep().await, Ok(true));
    assert_eq!(heard.core.local_addrs().first().map(|(_, at)| *at), Some(heard.at));
    socket.send(request("OPTIONS", from, "UDP", "o", "").as_bytes()).await.expect("sent");
    assert!(final_of(&socket).await.starts_with("SIP/2.0 200"));
}

/// Asks by a stream; the first line of the answer.
async fn ask(stream: &mut TcpStream, branch: &str) -> String {
    let from = stream.local_addr().expect("an address");
    stream.write_all(request("OPTIONS", from, "TCP", branch, "").as_bytes()).await.expect("sent");
    let mut buffer = vec![0; 65_536];
    let length =
        tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("an answer").expect("an open stream");
    String::from_utf8_lossy(&buffer[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_acceptor_that_died_is_begun_again_and_streams_go_on() {
    let heard = Heard::start().await;
    let mut old = TcpStream::connect(heard.at).await.expect("accepted");
    assert_eq!(ask(&mut old, "1").await, "SIP/2.0 200 OK");
    heard.deafen(Transport::Tcp, false);
    // It waits in the backlog.
    let mut new = TcpStream::connect(heard.at).await.expect("connected");
    assert_eq!(ask(&mut old, "2").await, "SIP/2.0 200 OK");
    assert_eq!(heard.keep().await, Ok(true));
    assert_eq!(ask(&mut new, "3").await, "SIP/2.0 200 OK");
    assert_eq!(ask(&mut old, "4").await, "SIP/2.0 200 OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_whose_address_was_taken_says_so_and_is_opened_once_it_is_free() {
    let heard = Heard::start().await;
    let mut old = TcpStream::connect(heard.at).await.expect("accepted");
    assert_eq!(ask(&mut old, "1").await, "SIP/2.0 200 OK");
    // A listening socket that is shut down accepts no more: accept says EINVAL.
    heard.deafen(Transport::Tcp, true);
    let thief = TcpListener::bind(heard.at).expect("the port is free now");
    let why = heard.keep().await.expect_err("the port is taken");
    assert!(why.contains(&heard.at.to_string()) && why.contains("stop it"), "{why}");
    assert_eq!(heard.core.keep_listening(&heard.listener), Err(why), "still");
    assert_eq!(ask(&mut old, "2").await, "SIP/2.0 200 OK");
    drop(thief);
    assert_eq!(heard.keep().await, Ok(true));
    let mut new = TcpStream::connect(heard.at).await.expect("accepted");
    assert_eq!(ask(&mut new, "3").await, "SIP/2.0 200 OK");
    assert_eq!(ask(&mut old, "4").await, "SIP/2.0 200 OK");
}

#[tokio::test]
async fn the_ports_are_free_once_the_core_is_gone() {
    let (core, _, at) = core(Scripted::new(Manner::Sleeps)).await;
    assert!(std::net::UdpSocket::bind(at).is_err());
    drop(core);
    let both = || std::net::UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok();
    until("the ports", both).await;
}

#[tokio::test]
async fn a_listener_nobody_configured_cannot_be_kept() {
    let heard = Heard::start().await;
    let stranger = ListenerId::new("stranger").expect("a name");
    assert!(heard.core.keep_listening(&stranger).is_err_and(|why| why.contains("sip.listeners")));
}
