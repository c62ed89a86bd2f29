//! The same calls over every transport: TCP, TLS, WebSockets, IPv6.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::peers::baresip::{Account, Baresip};
use crate::peers::browser::{Browser, Page};
use crate::peers::kamailio::Kamailio;
use crate::peers::sipp::Sipp;
use crate::peers::sippage::SipPage;
use crate::peers::until;
use crate::rig::{Rig, Wishes};

const SOON: Duration = Duration::from_secs(20);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn pem(authority: &Authority) -> String {
    AsRef::<rcgen::Certificate>::as_ref(authority).pem()
}

/// A certificate for a name, and its key.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([name.to_owned()]).expect("params");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let signed = params.signed_by(&key, authority).expect("a certificate");
    (signed.pem(), key.serialize_pem())
}

pub(super) fn with_streams(origin: &str) -> Wishes {
    Wishes {
        certificate: Some(issue(&authority(), "localhost")),
        streams: Some(origin.to_owned()),
        strangers: true,
        ..Wishes::default()
    }
}

fn carried(rig: &Rig, transport: &str) -> bool {
    rig.metric_sum(&format!("tandem_sip_transport_messages_total{{transport=\"{transport}\",direction=\"in\"}}")) > 0.0
}

#[test]
fn a_call_over_tcp_and_one_over_ipv6() {
    let rig = Rig::with(&with_streams("http://nobody.example"));
    rig.pstn("uac", &["-t", "t1", "-s", "9000", "-m", "2", "-d", "500"]).done(SOON);
    let six = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let call = ["-s", "9000", "-m", "1", "-d", "500"];
    let mut caller = Sipp::start(rig.folder(), "uac", six(0), six(rig.sip().port()), &call);
    caller.done(SOON);
    assert!(caller.messages().contains("c=IN IP6 ::1"), "{}", caller.messages());
    rig.quiet();
}

#[test]
fn a_phone_registers_and_calls_over_tls() {
    let rig = Rig::with(&with_streams("http://nobody.example"));
    let password = rig.subscriber("1002");
    let registrar = format!("127.0.0.1:{};transport=tls", rig.ports().tls());
    let account = Account {
        user: "1002",
        registrar: &registrar,
        password: &password,
        codecs: "pcmu",
        tone: 500.0,
        auto_answer: true,
        encryption: "none",
    };
    let phone = Baresip::start(rig.folder(), &account);
    let registered = || rig.list("/api/v1/registrations").iter().any(|one| one["transport"] == "tls");
    until("the registration", SOON, || registered().then_some(()));
    phone.order("dial", &format!("sip:9000@127.0.0.1:{};transport=tls", rig.ports().tls()));
    phone.event("CALL_ESTABLISHED", SOON);
    phone.order("hangup", "");
    // And it is called, by the connection that it opened.
    rig.pstn("uac", &["-s", "1002", "-m", "1", "-d", "500"]).done(SOON);
    rig.quiet();
    // Without it, its binding is gone: the next caller need not wait.
    drop(phone);
    until("the end of the binding", SOON, || (!registered()).then_some(()));
}

#[test]
fn a_trunk_over_mutual_tls_is_alive_and_one_with_another_name_is_not_and_the_log_says_what_to_do() {
    let scratch = tempfile::tempdir().expect("a folder");
    let ca = authority();
    let (certificate, key) = issue(&ca, "trunk.example.com");
    let carrier = Kamailio::over_tls(scratch.path(), &certificate, &key, &pem(&ca));
    let (own, own_key) = issue(&ca, "switch.example.com");
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (ca, own, own_key) = (file("ca.crt", &pem(&ca)), file("us.crt", &own), file("us.key", &own_key));
    let trunk = |id: &str, name: &str, shown: bool| {
        let mut text = format!(
            "[[trunks]]\nname = \"{id}\"\nhost = \"127.0.0.1\"\nport = {}\ntransport = \"tls\"\ntls_ca = \"{ca}\"\n\
             tls_name = \"{name}\"\noptions_interval_s = 1\n",
            carrier.sip.port()
        );
        if shown {
            text += &format!("tls_certificate = \"{own}\"\ntls_private_key = \"{own_key}\"\n");
        }
        text
    };
    let trunks = trunk("mutual", "trunk.example.com", true)
        + &trunk("bare", "trunk.example.com", false)
        + &trunk("wrong", "other.example.com", true);
    let rig = Rig::with(&Wishes { trunks, ..with_streams("http://nobody.example") });
    let state = |id: &str, wanted: &str| {
        let trunks = rig.list("/api/v1/trunks");
        trunks.iter().any(|trunk| trunk["id"] == id && trunk.to_string().contains(wanted)).then_some(())
    };
    until("the trunk that is who it should be", SOON, || state("mutual", "\"alive\":true"));
    for id in ["bare", "wrong"] {
        until("the trunk that is not", SOON, || state(id, "\"alive\":false"));
    }
    let log = rig.log();
    assert!(log.contains("wrong_name") && log.contains("tls_name"), "{log}");
    until("what to do about the missing certificate", SOON, || rig.log().contains("tls_certificate").then_some(()));
}

/// Waits until the page has seen something.
#[track_caller]
pub(super) fn sees(page: &Page<'_>, what: &str) {
    page.wait(&format!("window.seen.{what} || window.seen.failed"));
    assert_eq!(page.eval("String(window.seen.failed)"), "undefined", "{:?}", page.log());
}

#[test]
fn jssip_and_sip_js_register_over_wss_and_ws_are_called_and_are_not_rung_once_their_page_is_gone() {
    let scratch = tempfile::tempdir().expect("a folder");
    let origin = SipPage::serve(scratch.path());
    let rig = Rig::with(&with_streams(&origin.origin()));
    let (first, second) = (rig.subscriber("1002"), rig.subscriber("1003"));
    let browser = Browser::start(rig.folder());
    let jssip = browser.open("jssip", &origin.origin(), 700.0);
    jssip.wait("!!window.JsSIP");
    jssip.eval(&format!(
        "void (() => {{
            const socket = new JsSIP.WebSocketInterface('wss://127.0.0.1:{}');
            const ua = new JsSIP.UA({{ sockets: [socket], uri: 'sip:1002@127.0.0.1', password: '{first}' }});
            ua.on('registered', () => {{ seen.registered = true; }});
            ua.on('registrationFailed', (e) => {{ seen.failed = 'register ' + e.cause; }});
            ua.on('newRTCSession', (e) => {{ seen.called = true; e.session.terminate({{ status_code: 486 }}); }});
            ua.start();
            window.ua = ua;
        }})()",
        rig.ports().wss()
    ));
    sees(&jssip, "registered");
    jssip.eval(
        "void ua.sendOptions('sip:9000@127.0.0.1', null, { eventHandlers: {
            succeeded: () => { seen.alive = true; }, failed: (e) => { seen.failed = 'options ' + e.cause; } } })",
    );
    sees(&jssip, "alive");

    let sipjs = browser.open("sipjs", &origin.origin(), 800.0);
    sipjs.wait("!!window.SIP");
    sipjs.eval(&format!(
        "void (async () => {{
            const agent = new SIP.UserAgent({{
                uri: SIP.UserAgent.makeURI('sip:1003@127.0.0.1'), transportOptions: {{ server: 'ws://127.0.0.1:{}' }},
                authorizationUsername: '1003', authorizationPassword: '{second}',
                delegate: {{ onInvite: (call) => {{ seen.called = true; call.reject({{ statusCode: 486 }}); }} }},
            }});
            await agent.start();
            const registerer = new SIP.Registerer(agent);
            registerer.stateChange.addListener((state) => {{ seen[String(state).toLowerCase()] = true; }});
            await registerer.register();
        }})().catch((e) => {{ seen.failed = String(e); }})",
        rig.ports().ws()
    ));
    sees(&sipjs, "registered");
    for (page, number) in [(&jssip, "1002"), (&sipjs, "1003")] {
        rig.pstn("uac_486", &["-s", number, "-m", "1"]).done(SOON);
        sees(page, "called");
    }
    assert!(carried(&rig, "ws") && carried(&rig, "wss"));
    jssip.eval("void (location.href = 'about:blank')");
    let bound = |user: &str| rig.list("/api/v1/registrations").iter().any(|one| one["subscriber"] == user);
    until("the end of the binding", SOON, || (!bound("1002")).then_some(()));
    assert!(bound("1003"));
    rig.pstn("uac_480", &["-s", "1002", "-m", "1"]).done(SOON);
    rig.quiet();
}
