//! Connections: TLS, WebSockets, whose they are, and what becomes of what waits when one ends.

use std::io::ErrorKind;

use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tandem_actors::model::address::Contact;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame};

use super::super::super::config::{ListenerConfig, TlsPeer};
use super::listening::{PATIENCE, request};
use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn roots(authority: &Authority) -> Arc<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(AsRef::<rcgen::Certificate>::as_ref(authority).der().clone()).expect("a root");
    Arc::new(roots)
}

type Identity = (Vec<rustls::pki_types::CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(authority: &Authority, name: &str) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([name.to_owned()]).expect("params");
    let signed = params.signed_by(&key, authority).expect("a certificate");
    (vec![signed.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Of a listener that asks for a certificate of the same authority, without insisting.
fn server(authority: &Authority, name: &str) -> Arc<rustls::ServerConfig> {
    let (chain, key) = identity(authority, name);
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(roots(authority), provider());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients.allow_unauthenticated().build().expect("a verifier"))
        .with_single_cert(chain, key);
    Arc::new(config.expect("a config"))
}

fn client(authority: &Authority, own: Option<&str>) -> Arc<rustls::ClientConfig> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots(authority));
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let (chain, key) = identity(authority, name);
            builder.with_client_auth_cert(chain, key).expect("a config")
        }
    })
}

/// A core on a free port of loopback, over one transport; where.
async fn core(
    brain: &Arc<Scripted>,
    transport: Transport,
    tls: Option<Arc<rustls::ServerConfig>>,
    trunks: Vec<TrunkConfig>,
) -> (SipCore, SocketAddr) {
    let listener = ListenerConfig {
        id: ListenerId::new("one").expect("a name"),
        transports: vec![transport],
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        external_ip: None,
        local_nets: Vec::new(),
        algorithms: Vec::new(),
        tls,
    };
    let config = SipConfig { listeners: vec![listener], trunks, ..open() };
    let core = SipCore::start(config, brain.clone(), Arc::new(Bob)).await.expect("a free port");
    assert!(brain.core.set(core.clone()).is_ok());
    let at = core.local_addrs().remove(0).1;
    (core, at)
}

/// What comes, up to and with this.
async fn hear<S: AsyncRead + Unpin>(stream: &mut S, what: &str) -> String {
    let mut text = String::new();
    let all = async {
        while !text.contains(what) {
            let mut buffer = vec![0; 65_536];
            match stream.read(&mut buffer).await.expect("an open stream") {
                0 => break,
                length => text.push_str(&String::from_utf8_lossy(buffer.get(..length).expect("read"))),
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, all).await.is_ok();
    assert!(heard && text.contains(what), "{what} did not come: {text}");
    text
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
}

fn an_invite(to: Destination) -> SipCommand {
    SipCommand::Invite(Box::new(OutgoingInvite {
        leg: LegId(9),
        to: vec![to],
        caller: CallerId::default(),
        headers: AppHeaders::default(),
        max_forwards: MaxForwards::default(),
        carried: Default::default(),
        offer: offer(1),
    }))
}

#[tokio::test]
async fn a_call_over_tls_is_answered_with_its_transport_in_contact_and_sips_where_sips_asked() {
    let ca = authority();
    let brain = Scripted::new(Manner::Answers);
    let (_core, at) = core(&brain, Transport::Tls, Some(server(&ca, "switch.example.com")), Vec::new()).await;
    for (scheme, contact) in [("sip", format!("<sip:bob@{at};transport=tls>")), ("sips", format!("<sips:bob@{at};"))] {
        let stream = TcpStream::connect(at).await.expect("accepted");
        let from = stream.local_addr().expect("an address");
        let name = ServerName::try_from("switch.example.com").expect("a name");
        let mut stream = TlsConnector::from(client(&ca, None)).connect(name, stream).await.expect("a handshake");
        let invite = request("INVITE", from, "TLS", scheme, "").replace("INVITE sip:", &format!("INVITE {scheme}:"));
        say(&mut stream, &invite.replace("Call-ID: listening", &format!("Call-ID: {scheme}"))).await;
        let ok = hear(&mut stream, "SIP/2.0 200 OK").await;
        assert!(ok.contains(&format!("Contact: {contact}")), "{ok}");
    }
}

#[tokio::test]
async fn rfc_5626_3_5_1_a_double_crlf_is_answered_by_one() {
    let brain = Scripted::new(Manner::Sleeps);
    let (_core, at) = core(&brain, Transport::Tcp, None, Vec::new()).await;
    let mut stream = TcpStream::connect(at).await.expect("accepted");
    say(&mut stream, "\r\n\r\n").await;
    assert_eq!(hear(&mut stream, "\r\n").await, "\r\n");
}

#[tokio::test]
async fn rfc_7118_a_message_a_frame_and_only_for_who_offers_the_subprotocol_from_an_allowed_page() {
    let brain = Scripted::new(Manner::Answers);
    let (_core, at) = core(&brain, Transport::Ws, None, Vec::new()).await;
    let open = async |protocol: Option<&'static str>, origin: Option<String>| {
        let mut request = format!("ws://{at}/").into_client_request().expect("a request");
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        }
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", HeaderValue::from_str(&origin).expect("text"));
        }
        let stream = TcpStream::connect(at).await.expect("accepted");
        tokio_tungstenite::client_async(request, stream).await
    };
    let status = |refused: Result<_, WsError>| match refused {
        Err(WsError::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok::<(tokio_tungstenite::WebSocketStream<TcpStream>, _), _>(_) => 101,
    };
    assert_eq!(status(open(None, None).await), 400);
    assert_eq!(status(open(Some("sip"), Some("https://evil.example".into())).await), 403);
    assert_eq!(status(open(Some("sip"), Some(format!("http://{at}"))).await), 101);
    let (mut socket, response) = open(Some("sip"), None).await.expect("upgraded");
    assert_eq!(response.headers().get("sec-websocket-protocol").map(HeaderValue::as_bytes), Some(&b"sip"[..]));
    let mut heard = async |sent: String| {
        socket.send(Frame::text(sent)).await.expect("sent");
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.expect("an answer");
        frame.expect("open").expect("a frame").into_text().expect("text").to_string()
    };
    assert_eq!(heard("\r\n\r\n".into()).await, "\r\n");
    let from = SocketAddr::from(([192, 0, 2, 9], 5060));
    let options = request("OPTIONS", from, "WS", "1", "").replace(&from.to_string(), "df7jal23ls0d.invalid");
    let answer = heard(options).await;
    assert!(answer.starts_with("SIP/2.0 200 OK\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;"), "{answer}");
    assert!(answer.contains(";received=127.0.0.1;rport=") && answer.ends_with("\r\n\r\n"), "{answer}");
    // 100 and 180 come first: each is a frame of its own.
    let invite = request("INVITE", from, "WS", "2", "").replace(&from.to_string(), "df7jal23ls0d.invalid");
    assert!(heard(invite).await.starts_with("SIP/2.0 100 "));
    let mut ok = String::new();
    while !ok.starts_with("SIP/2.0 200") {
        ok = socket.next().await.expect("open").expect("a frame").into_text().expect("text").to_string();
    }
    assert!(ok.contains(&format!("Contact: <sip:bob@{at};transport=ws>")), "{ok}");
}

#[tokio::test]
async fn rfc_5626_5_3_a_contact_whose_connection_is_gone_is_not_reached_by_another() {
    let brain = Scripted::new(Manner::Sleeps);
    let (_core, _) = core(&brain, Transport::Tcp, None, Vec::new()).await;
    // Somebody listens there; it is not who registered.
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let source = other.local_addr().expect("an address");
    let contact = Contact {
        path: Vec::new(),
        behind_nat: false,
        heard_at: None,
        uri: SipUri(format!("sip:200@{source};transport=tcp")),
        source,
        transport: Transport::Tcp,
        listener: ListenerId::new("one").expect("a name"),
    };
    let dialog = DialogId::random();
    brain.order(dialog, an_invite(Destination::Contact(contact)));
    until("the end", || brain.ended().iter().any(|(id, cause)| *id == dialog && cause.status == 503)).await;
    let nobody = tokio::time::timeout(Duration::from_millis(50), other.accept()).await;
    assert!(nobody.is_err(), "a connection was opened");
}

#[tokio::test]
async fn rfc_3261_18_2_2_a_response_whose_connection_is_gone_goes_to_the_port_of_sent_by() {
    let brain = Scripted::new(Manner::Rings);
    let (core, at) = core(&brain, Transport::Tcp, None, Vec::new()).await;
    let home = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let from = home.local_addr().expect("an address");
    let mut stream = TcpStream::connect(at).await.expect("accepted");
    say(&mut stream, &request("INVITE", from, "TCP", "gone", "")).await;
    hear(&mut stream, "SIP/2.0 180").await;
    drop(stream);
    until("the end of the connection", || core.shared().with(|core, _| core.open.is_empty())).await;
    let dialog = core.shared().with(|core, _| *core.dialogs.keys().next().expect("the call goes on"));
    brain.order(dialog, SipCommand::Answer { description: Box::new(offer(2)), headers: AppHeaders::default() });
    let (mut again, _) = tokio::time::timeout(PATIENCE, home.accept()).await.expect("in time").expect("a connection");
    hear(&mut again, "SIP/2.0 200 OK").await;
}

#[tokio::test]
async fn a_connection_that_ends_fails_what_waits_for_an_answer_by_it() {
    let brain = Scripted::new(Manner::Sleeps);
    let peer = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let to = peer.local_addr().expect("an address");
    let (_core, _) = core(&brain, Transport::Tcp, None, Vec::new()).await;
    let dialog = DialogId::random();
    brain.order(dialog, an_invite(Destination::Uri(SipUri(format!("sip:200@{to};transport=tcp")))));
    let (mut stream, _) = tokio::time::timeout(PATIENCE, peer.accept()).await.expect("in time").expect("a connection");
    let invite = hear(&mut stream, "\r\n\r\n").await;
    assert!(invite.contains("Via: SIP/2.0/TCP ") && invite.contains(";transport=tcp>"), "{invite}");
    drop(stream);
    until("the end", || brain.ended().iter().any(|(id, cause)| *id == dialog && cause.status == 503)).await;
}

fn tls_trunk(to: SocketAddr, name: &str, config: Arc<rustls::ClientConfig>) -> TrunkConfig {
    let id = TrunkId::new("acme").expect("a name");
    TrunkConfig {
        port: Some(to.port()),
        transport: Some(Transport::Tls),
        tls: Some(TlsPeer { name: name.into(), config }),
        ..TrunkConfig::new(id, to.ip().to_string())
    }
}

#[tokio::test]
async fn rfc_5922_a_trunk_whose_certificate_is_for_another_is_not_called() {
    let ca = authority();
    for (asked, status) in [("other.example.com", 503), ("trunk.example.com", 486)] {
        let peer = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let to = peer.local_addr().expect("an address");
        let acceptor = TlsAcceptor::from(server(&ca, "trunk.example.com"));
        let answering = tokio::spawn(async move {
            let (stream, _) = peer.accept().await.expect("a connection");
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let invite = hear(&mut stream, "\r\n\r\n").await;
            assert!(invite.contains("Via: SIP/2.0/TLS ") && invite.contains(";alias"), "{invite}");
            let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
            let lines = invite.lines().filter(|line| kept.iter().any(|name| line.starts_with(&format!("{name}: "))));
            let lines: Vec<&str> = lines.collect();
            say(&mut stream, &format!("SIP/2.0 486 Busy\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"))).await;
            hear(&mut stream, "ACK ").await;
        });
        let brain = Scripted::new(Manner::Sleeps);
        let trunk = tls_trunk(to, asked, client(&ca, None));
        let (_core, _) = core(&brain, Transport::Tls, Some(server(&ca, "switch.example.com")), vec![trunk]).await;
        let dialog = DialogId::random();
        let trunk = TrunkId::new("acme").expect("a name");
        brain.order(dialog, an_invite(Destination::Trunk { trunk, number: "200".into(), more: false }));
        until("the end", || brain.ended().iter().any(|(id, cause)| *id == dialog && cause.status == status)).await;
        answering.await.expect("the peer");
    }
}

#[tokio::test]
async fn rfc_5923_a_connection_with_alias_is_used_for_who_proved_to_be_the_trunk_and_for_no_other() {
    let ca = authority();
    for (proved, reused) in [("trunk.example.com", true), ("other.example.com", false)] {
        // Nobody accepts there: what comes, comes by the connection that is open.
        let home = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let to = home.local_addr().expect("an address");
        drop(home);
        let brain = Scripted::new(Manner::Sleeps);
        let trunk = tls_trunk(to, "trunk.example.com", client(&ca, None));
        let (_core, at) = core(&brain, Transport::Tls, Some(server(&ca, "switch.example.com")), vec![trunk]).await;
        let stream = TcpStream::connect(at).await.expect("accepted");
        let name = ServerName::try_from("switch.example.com").expect("a name");
        let config = client(&ca, Some(proved));
        let mut stream = TlsConnector::from(config).connect(name, stream).await.expect("a handshake");
        let options = request("OPTIONS", to, "TLS", "1", "").replace(";rport", ";rport;alias");
        say(&mut stream, &options).await;
        hear(&mut stream, "SIP/2.0 200 OK").await;
        let (dialog, trunk) = (DialogId::random(), TrunkId::new("acme").expect("a name"));
        brain.order(dialog, an_invite(Destination::Trunk { trunk, number: "200".into(), more: false }));
        if reused {
            hear(&mut stream, "INVITE sip:200@").await;
        } else {
            until("the end", || brain.ended().iter().any(|(id, cause)| *id == dialog && cause.status == 503)).await;
        }
    }
}

#[tokio::test]
async fn a_message_that_lost_its_framing_costs_its_own_connection_and_no_other() {
    let brain = Scripted::new(Manner::Sleeps);
    let (_core, at) = core(&brain, Transport::Tcp, None, Vec::new()).await;
    let mut good = TcpStream::connect(at).await.expect("accepted");
    let mut bad = TcpStream::connect(at).await.expect("accepted");
    let from = bad.local_addr().expect("an address");
    say(&mut bad, &request("OPTIONS", from, "TCP", "1", "").replace("Content-Length: 0\r\n", "")).await;
    let closed = async {
        let mut buffer = [0; 64];
        match bad.read(&mut buffer).await {
            Ok(length) => length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    };
    assert!(tokio::time::timeout(PATIENCE, closed).await.expect("in time"));
    let from = good.local_addr().expect("an address");
    say(&mut good, &request("OPTIONS", from, "TCP", "2", "")).await;
    hear(&mut good, "SIP/2.0 200 OK").await;
}

#[tokio::test]
async fn rfc_3261_18_1_1_a_request_above_1300_octets_goes_by_tcp_and_by_udp_to_who_has_none_or_wants_none() {
    let brain = Scripted::new(Manner::Sleeps);
    let listener = ListenerConfig {
        id: ListenerId::new("both").expect("a name"),
        transports: vec![Transport::Udp, Transport::Tcp],
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        external_ip: None,
        local_nets: Vec::new(),
        algorithms: Vec::new(),
        tls: None,
    };
    let has_tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let by_tcp = has_tcp.local_addr().expect("an address");
    let trunk = TrunkConfig {
        port: Some(by_tcp.port()),
        transport: Some(Transport::Udp),
        ..TrunkConfig::new(TrunkId::new("acme").expect("a name"), by_tcp.ip().to_string())
    };
    let config = SipConfig { listeners: vec![listener], trunks: vec![trunk], ..open() };
    let core = SipCore::start(config, brain.clone(), Arc::new(Bob)).await.expect("a free port");
    assert!(brain.core.set(core.clone()).is_ok());
    let call = |to: Destination, length: usize| {
        let SipCommand::Invite(mut invite) = an_invite(to) else { unreachable!() };
        invite.headers.cus_data = Some("x".repeat(length));
        brain.order(DialogId::random(), SipCommand::Invite(invite));
    };
    let uri = |to: SocketAddr| Destination::Uri(SipUri(format!("sip:200@{to}")));
    call(uri(by_tcp), 1000);
    let (mut stream, _) = tokio::time::timeout(PATIENCE, has_tcp.accept()).await.expect("in time").expect("connected");
    let text = hear(&mut stream, "\r\n\r\n").await;
    assert!(text.contains("Via: SIP/2.0/TCP ") && text.contains(";transport=tcp>"), "{text}");

    let hear_datagram = async |socket: &tokio::net::UdpSocket| {
        let mut buffer = vec![0; 65_536];
        let heard = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("in time");
        String::from_utf8_lossy(buffer.get(..heard.expect("a datagram")).expect("octets")).into_owned()
    };
    let has_none = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    // The large one first: it has to find out; the small one needs not.
    for length in [1000, 10] {
        call(uri(has_none.local_addr().expect("an address")), length);
        let text = hear_datagram(&has_none).await;
        assert!(text.contains("Via: SIP/2.0/UDP ") && (text.len() > 1300) == (length == 1000), "{text}");
    }
    let wants_none = tokio::net::UdpSocket::bind(by_tcp).await.expect("the same port");
    let (trunk, number) = (TrunkId::new("acme").expect("a name"), "200".into());
    call(Destination::Trunk { trunk, number, more: false }, 1000);
    let text = hear_datagram(&wants_none).await;
    assert!(text.contains("Via: SIP/2.0/UDP ") && text.len() > 1300, "{text}");
}
