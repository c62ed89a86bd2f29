//! What goes wrong around the switch: the rows of the README's table that are no peer's doing.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sqlx::{Connection, SqliteConnection};

use crate::capture::Capture;
use crate::peers::browser::Browser;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::rig::{Ports, Rig, Wishes, sound};

const SOON: Duration = Duration::from_secs(15);
const DAY_S: i64 = 86_400;

#[test]
fn a_wrong_configuration_is_78_with_file_line_and_remedy() {
    let (code, said) = Rig::refused(|_, text| *text = text.replace("threads = 1", "treads = 1"));
    assert_eq!(code, 78, "{said}");
    let line = "tandem.toml:";
    assert!(said.contains(line) && said.contains("rtp.treads") && said.contains("threads"), "{said}");
}

#[test]
fn a_port_in_use_is_70_with_the_address_the_key_and_the_remedy() {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    type Port = fn(Ports) -> u16;
    let cases: [(&str, Port, bool); 4] = [
        ("sip.listeners", |ports| ports.sip, true),
        ("sip.listeners", |ports| ports.sip, false),
        ("http.listen", |ports| ports.http, false),
        ("rtc.port", |ports| ports.webrtc, true),
    ];
    for (key, port, udp) in cases {
        let mut address = String::new();
        let (code, said) = Rig::refused(|ports, _| {
            let taken = at(port(ports));
            address = taken.to_string();
            match udp {
                true => (Some(UdpSocket::bind(taken).expect("a free port")), None),
                false => (None, Some(TcpListener::bind(taken).expect("a free port"))),
            }
        });
        assert_eq!(code, 70, "{key}: {said}");
        assert!(said.contains(&address) && said.contains(key), "{key}: {said}");
    }
}

#[test]
fn no_rtp_port_left_is_503_with_retry_after_and_calls_work_again_later() {
    // One pair: one call.
    let rig = Rig::with(&Wishes { rtp_ports: Some(2), ..Wishes::default() });
    let mut first = rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "3000"]);
    until("the first call", SOON, || first.messages().contains("SIP/2.0 200 OK").then_some(()));
    let mut second = rig.pstn("uac_503", &["-s", "9000", "-m", "1"]);
    second.done(SOON);
    assert!(second.messages().contains("Retry-After: 5"), "{}", second.messages());
    first.done(SOON);
    rig.quiet();
    let outcomes: Vec<_> = rig.cdrs().iter().map(|cdr| cdr["cause"]["sip_status"].clone()).collect();
    assert!(outcomes.contains(&503.into()), "{outcomes:?}");
    assert_eq!(rig.metric_sum("tandem_calls_total"), 2.0);
    // A pair rests for some seconds before it is used again: a stray packet of the old call is no longer under way.
    let again = || rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "200"]);
    until("a call after the rest", SOON, || {
        let mut caller = again();
        let answered = until("an answer", SOON, || {
            let messages = caller.messages();
            messages.contains("SIP/2.0 200 OK").then_some(true).or(messages.contains("SIP/2.0 503").then_some(false))
        });
        answered.then(|| caller.done(SOON))
    });
}

#[test]
fn a_locked_database_delays_records_and_nothing_else() {
    let rig = Rig::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let path = rig.folder().join("data").join(tandem::store::DATABASE);
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut other = runtime.block_on(SqliteConnection::connect_with(&other)).expect("another process");
    runtime.block_on(sqlx::query("BEGIN IMMEDIATE").execute(&mut other)).expect("the lock");
    for _ in 0..2 {
        rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "500"]).done(SOON);
    }
    rig.quiet();
    until("records that wait", SOON, || {
        let deferred = rig.metric_sum(r#"tandem_store_writes_total{kind="cdr",outcome="deferred"}"#);
        (deferred > 0.0 && rig.metric_sum("tandem_store_queue") >= 2.0).then_some(())
    });
    assert!(rig.cdrs().is_empty());
    runtime.block_on(sqlx::query("COMMIT").execute(&mut other)).expect("the lock is given back");
    until("both records", SOON, || (rig.cdrs().len() == 2).then_some(()));
    assert_eq!(rig.metric_sum("tandem_store_dropped_total"), 0.0);
}

/// A certificate and its key, good until `days` from now.
fn certificate(days: i64) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(30);
    params.not_after = now + time::Duration::days(days);
    let key = rcgen::KeyPair::generate().expect("a key");
    let signed = params.self_signed(&key).expect("a certificate");
    (signed.pem(), key.serialize_pem())
}

#[test]
fn an_expired_certificate_is_said_and_counted_and_a_new_one_is_taken_at_sighup() {
    let rig = Rig::with(&Wishes { certificate: Some(certificate(-2)), ..Wishes::default() });
    let left = || rig.metric_sum("tandem_certificate_expiry_seconds");
    assert!((left() / DAY_S as f64 + 2.0).abs() < 0.1, "{}", left());
    assert!(rig.log().contains("the certificate has expired"), "{}", rig.log());
    // Calls go on all the same.
    rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "500"]).done(SOON);
    // A useless file changes nothing, and is named.
    std::fs::write(rig.folder().join("own.crt"), "no certificate").expect("a file");
    rig.signal(libc::SIGHUP);
    until("the complaint", SOON, || rig.log().contains("the old ones stay").then_some(()));
    assert!(rig.log().contains("own.crt"), "{}", rig.log());
    let (fresh, key) = certificate(60);
    std::fs::write(rig.folder().join("own.crt"), fresh).expect("a file");
    std::fs::write(rig.folder().join("own.key"), key).expect("a file");
    rig.signal(libc::SIGHUP);
    until("the new one", SOON, || (left() > 59.0 * DAY_S as f64).then_some(()));
}

#[test]
fn the_wall_clock_may_jump_a_day_either_way_and_the_call_goes_on() {
    let _sound = sound();
    let ahead_s = Arc::new(AtomicI64::new(0));
    let shown = ahead_s.clone();
    let rig = Rig::inside_by(Arc::new(move || {
        let (now, ahead_s) = (SystemTime::now(), shown.load(Ordering::Relaxed));
        let by = Duration::from_secs(ahead_s.unsigned_abs());
        if ahead_s < 0 { now - by } else { now + by }
    }));
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    alice.dial("1001");
    alice.talks();
    phone.event("CALL_ESTABLISHED", SOON);
    let capture = Capture::start();
    let from = Instant::now();
    let sent = || phone.sent_to(&capture).between(from, Instant::now());
    for jump in [DAY_S, -DAY_S, 0] {
        ahead_s.store(jump, Ordering::Relaxed);
        let before = sent().0.len();
        until("two seconds of packets", SOON, || (sent().0.len() >= before + 100).then_some(()));
        // Others come and go meanwhile, by the new time.
        rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "200"]).done(SOON);
        assert_eq!(rig.client("bob").welcome["user"], "bob");
    }
    sent().g711().assert_tone("RTP to the phone through the jumps", 1100.0, 5.0, rig.gap_ms());
    phone.order("hold", "");
    alice.held(true);
    phone.order("resume", "");
    alice.held(false);
    alice.hang_up();
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
    assert_eq!(rig.cdrs().len(), 4);
    for cdr in rig.cdrs() {
        let when = |key: &str| {
            let text = cdr[key].as_str().unwrap_or_else(|| panic!("{cdr}"));
            time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("a time")
        };
        let took = when("ended_at") - when("started_at");
        assert!(took >= time::Duration::ZERO && took < time::Duration::minutes(2), "{cdr}");
    }
}
