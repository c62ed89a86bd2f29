//! Scanners, guessers and floods: who is blocked, who is told of it, and who notices nothing.

use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tandem::sip::digest::{Account, Asked, answers};

use crate::peers::{remedy, until};
use crate::rig::Rig;

const SOON: Duration = Duration::from_secs(10);

/// A stranger on loopback, by its last octet.
fn stranger(octet: u8) -> UdpSocket {
    let socket = UdpSocket::bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, octet)), 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    socket
}

fn request(rig: &Rig, from: &UdpSocket, method: &str, n: usize, more: &str) -> String {
    let (me, sip) = (from.local_addr().expect("its address"), rig.sip());
    format!(
        "{method} sip:1001@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKabuse{n};rport\r\nFrom: <sip:1001@{sip}>;tag=1\r\n\
         To: <sip:1001@{sip}>\r\nCall-ID: abuse{n}@{me}\r\nCSeq: {n} {method}\r\nContact: <sip:1001@{me}>\r\nMax-Forwards: 70\r\n\
         {more}Content-Length: 0\r\n\r\n"
    )
}

/// Sends a request; what comes back, if anything does.
fn ask(rig: &Rig, from: &UdpSocket, method: &str, n: usize, more: &str) -> Option<String> {
    from.send_to(request(rig, from, method, n, more).as_bytes(), rig.sip()).expect("sent");
    let mut buffer = [0; 4000];
    let (length, _) = from.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Registers as 1001 with a password; the final answer.
fn register(rig: &Rig, from: &UdpSocket, n: usize, password: &str) -> Option<String> {
    let challenge = ask(rig, from, "REGISTER", 2 * n + 1, "")?;
    let value = challenge.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: "))?.to_owned();
    let account = Account { user: "1001".into(), password: password.into(), realm: None };
    let uri = format!("sip:1001@{}", rig.sip());
    let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), body: b"" };
    let made = answers([value.as_bytes()].into_iter(), &account, asked, &[], "abuse").into_iter().next()?;
    ask(rig, from, "REGISTER", 2 * n + 2, &format!("Authorization: {}\r\n", made.value))
}

#[test]
fn a_scanner_hears_nothing_a_guesser_is_blocked_and_the_phone_registers_through() {
    let rig = Rig::start();
    let scanner = stranger(6);
    assert_eq!(ask(&rig, &scanner, "OPTIONS", 1, "User-Agent: friendly-scanner\r\n"), None);
    let guesser = stranger(7);
    let mut answered = 0;
    while let Some(answer) = register(&rig, &guesser, answered, &format!("guess-{answered}")) {
        assert!(answer.starts_with("SIP/2.0 401"), "{answer}");
        answered += 1;
        assert!(answered <= 10, "it is never blocked");
    }
    assert_eq!(answered, 10, "sip.abuse.wrong_passwords");
    let blocks = rig.list("/api/v1/blocks");
    let of = |source: &str| blocks.iter().find(|block| block["source"] == source).map(|block| block["reason"].clone());
    assert_eq!((of("127.0.0.6"), of("127.0.0.7")), (Some("scanner".into()), Some("wrong_password".into())));
    // The account that was guessed at is not locked: its own phone comes in.
    let phone = rig.phone("1001", 700.0, false);
    assert_eq!(rig.list("/api/v1/registrations").len(), 1);
    drop(phone);
    let log = rig.log();
    for line in [
        "abuse: source 127.0.0.6 blocked for 300 s: scanner",
        "abuse: source 127.0.0.7 blocked for 300 s: wrong_password",
    ] {
        assert!(log.contains(line), "{log}");
    }
    assert_eq!(fail2ban(&rig, &log), ["127.0.0.6", "127.0.0.7"]);
    rig.delete("/api/v1/blocks/127.0.0.7");
    assert!(ask(&rig, &guesser, "OPTIONS", 99, "").is_some_and(|answer| answer.starts_with("SIP/2.0 200")));
    rig.quiet();
}

/// The addresses that fail2ban finds in a log by the filter that is shipped. Where fail2ban is not installed (its package starts a
/// service, so the tests do not install it) node reads the same expression.
#[track_caller]
fn fail2ban(rig: &Rig, log: &str) -> Vec<String> {
    let file = rig.folder().join("switch.log");
    std::fs::write(&file, log).expect("a log");
    let filter = concat!(env!("CARGO_MANIFEST_DIR"), "/config/fail2ban/filter.d/tandem.conf");
    let output = Command::new("fail2ban-regex").args(["--out", "ip"]).arg(&file).arg(filter).output();
    let output = output.or_else(|_| {
        let program =
            "const fs = require('fs'), [log, filter] = process.argv.slice(1).map(f => fs.readFileSync(f, 'utf8'));
            const expression = filter.match(/^failregex = (.*)$/m)[1].replace('<ADDR>', '([0-9a-fA-F.:]+)');
            for (const found of log.matchAll(new RegExp(expression, 'g'))) console.log(found[1]);";
        Command::new("node").args(["-e", program]).arg(&file).arg(filter).output()
    });
    let output = output.unwrap_or_else(|e| panic!("node ({e}): {}", remedy("node".as_ref())));
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found: Vec<_> = found.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn a_flood_of_invites_leaves_the_established_call_good_and_nothing_behind() {
    let rig = Rig::start();
    let mut caller = rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "4000"]);
    until("the call", SOON, || (rig.list("/api/v1/calls").len() == 1).then_some(()));
    let before = rig.metric_sum("process_resident_memory_bytes");
    let over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let socket = stranger(8);
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) && sent < 100_000 {
                for _ in 0..50 {
                    sent += 1;
                    let _ = socket.send_to(request(&rig, &socket, "INVITE", sent, "").as_bytes(), rig.sip());
                }
                thread::sleep(Duration::from_millis(2));
            }
            sent
        });
        // Streams that say nothing, or never end what they say.
        let streams: Vec<_> = (0..200).map(|_| TcpStream::connect(rig.sip()).expect("a connection")).collect();
        for mut stream in &streams {
            let _ = std::io::Write::write_all(&mut stream, b"INVITE sip:1001@x SIP/2.0\r\nVia: SIP/2.0/TCP ");
        }
        // The call goes on, hears its sound, and hangs up cleanly, or SIPp says why not.
        caller.done(Duration::from_secs(30));
        over.store(true, Ordering::Relaxed);
        drop(streams);
        flood.join().expect("the flood")
    });
    assert!(sent > 1000, "{sent}");
    assert!(rig.metric_sum(r#"tandem_sip_dropped_total{reason="over_budget"}"#) > 0.0);
    until("the tables empty", Duration::from_secs(40), || (rig.metric_sum("tandem_sip_dialogs") == 0.0).then_some(()));
    let grown = rig.metric_sum("process_resident_memory_bytes") - before;
    assert!(grown < 64.0 * 1024.0 * 1024.0, "{grown} octets for {sent} INVITEs");
    rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "500"]).done(Duration::from_secs(20));
    rig.quiet();
}
