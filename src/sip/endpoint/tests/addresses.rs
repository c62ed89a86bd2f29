//! Which of our addresses a peer is told and reached from, where a listener is bound to every one.

use tandem_actors::model::address::Contact;
use tokio::net::UdpSocket;

use super::super::super::config::ListenerConfig;
use super::super::super::digest::{Asked, answers};
use super::listening::{PATIENCE, request};
use super::*;

const SECOND: [u8; 4] = [127, 0, 0, 2];

/// A core that listens at every address; its port.
async fn core(brain: &Arc<Scripted>) -> (SipCore, u16) {
    let listener = ListenerConfig {
        id: ListenerId::new("all").expect("a name"),
        transports: vec![Transport::Udp],
        bind: SocketAddr::from(([0, 0, 0, 0], 0)),
        external_ip: None,
        local_nets: Vec::new(),
        algorithms: Vec::new(),
        tls: None,
    };
    let config = SipConfig { listeners: vec![listener], ..open() };
    let core = SipCore::start(config, brain.clone(), Arc::new(Bob)).await.expect("a free port");
    assert!(brain.core.set(core.clone()).is_ok());
    let port = core.local_addrs().remove(0).1.port();
    (core, port)
}

async fn hear(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) =
        tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("in time").expect("a datagram");
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
}

fn registered(brain: &Scripted) -> Option<Contact> {
    let asked = brain.registering()?;
    Some(Contact {
        uri: SipUri(format!("sip:bob@{}", asked.source)),
        source: asked.source,
        transport: asked.transport,
        listener: asked.listener,
        path: asked.path,
        behind_nat: true,
        heard_at: asked.heard_at,
    })
}

fn call(brain: &Scripted, contact: &Contact) {
    let nobody = CallerId::default();
    brain.invite(OutgoingInvite { caller: nobody, ..plain_invite(vec![Destination::Contact(contact.clone())]) });
}

#[tokio::test]
async fn a_phone_is_called_from_the_address_it_registered_at_and_told_that_one() {
    let brain = Scripted::new(Manner::Sleeps);
    let (core, port) = core(&brain).await;
    let at = SocketAddr::from((SECOND, port));
    let phone = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let here = phone.local_addr().expect("an address");
    phone.send_to(request("REGISTER", here, "UDP", "r1", "Expires: 60\r\n").as_bytes(), at).await.expect("sent");
    let (challenge, from) = hear(&phone).await;
    assert_eq!(from, at);
    let value = challenge.split("WWW-Authenticate: ").nth(1).and_then(|rest| rest.lines().next()).expect("a challenge");
    let account = Account { user: "bob".into(), password: "zanzibar".into(), realm: None };
    let asked = Asked { method: b"REGISTER", uri: b"sip:bob@example.com", body: b"" };
    let proof = answers([value.as_bytes()].into_iter(), &account, asked, &[], "c").remove(0).value;
    let headers = format!("CSeq: 2 REGISTER\r\nExpires: 60\r\nAuthorization: {proof}\r\n");
    phone.send_to(request("REGISTER", here, "UDP", "r2", &headers).as_bytes(), at).await.expect("sent");
    until("the registration", || registered(&brain).is_some()).await;
    let contact = registered(&brain).expect("just seen");
    assert_eq!(contact.heard_at, Some(IpAddr::from(SECOND)));

    let quiet = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let source = quiet.local_addr().expect("an address");
    call(&brain, &Contact { source, ..contact.clone() });
    let (invite, from) = hear(&quiet).await;
    assert_eq!(from, at);
    let told = |invite: &str, ours: SocketAddr| {
        invite.contains(&format!("Via: SIP/2.0/UDP {ours};")) && invite.contains(&format!("Contact: <sip:{ours}>"))
    };
    assert!(told(&invite, at), "{invite}");
    // Media is the kernel's to send, so that its answer finds the way back.
    assert!(invite.contains("c=IN IP4 127.0.0.1\r\n"), "{invite}");
    // The keep-alive of its NAT, too.
    core.keep_alive(&Contact { source, ..contact.clone() }, None);
    while hear(&quiet).await.0 != "\r\n\r\n" {}

    // Nothing leaves from an address that we do not have any more.
    let other = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let source = other.local_addr().expect("an address");
    call(&brain, &Contact { source, heard_at: Some(IpAddr::from([192, 0, 2, 9])), ..contact });
    let (invite, from) = hear(&other).await;
    let first = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(from == first && told(&invite, first), "{from} {invite}");
}

#[tokio::test(start_paused = true)]
async fn the_address_told_is_the_external_one_to_far_peers_and_our_own_to_near_ones() {
    let bound = |ip: [u8; 4], external_ip: Option<[u8; 4]>| Listener {
        id: ListenerId::new("udp").expect("a name"),
        transports: vec![Transport::Udp],
        local: SocketAddr::from((ip, 5060)),
        external_ip: external_ip.map(IpAddr::from),
        local_nets: vec!["10.0.0.0/8".parse().expect("a network")],
    };
    let told = |listener: Listener, peer: [u8; 4], local: Option<[u8; 4]>| {
        let mut core = Core::new(open(), vec![listener], Arc::new(Bob), Instant::now());
        let flow = Flow::udp(0, SocketAddr::from((peer, 5060)));
        core.advertised(Flow { local: local.map(IpAddr::from), ..flow }).ip()
    };
    let (all, own, external) = ([0, 0, 0, 0], [10, 0, 0, 1], [192, 0, 2, 1]);
    let (far, near) = ([198, 51, 100, 7], [10, 0, 0, 7]);
    for (listener, peer, local, expected) in [
        (bound(own, Some(external)), far, None, external),
        (bound(own, Some(external)), near, None, own),
        (bound(own, None), far, None, own),
        (bound(all, Some(external)), far, Some(own), external),
        (bound(all, Some(external)), near, Some(own), own),
        (bound(all, None), far, Some(own), own),
        (bound(all, Some(external)), [127, 0, 0, 1], None, [127, 0, 0, 1]),
    ] {
        assert_eq!(told(listener.clone(), peer, local), IpAddr::from(expected), "{listener:?} {peer:?} {local:?}");
    }
}
