//! A provider of several targets, found by DNS: one that refuses, is silent or is not there costs no call.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::peers::dns::Dns;
use crate::peers::kamailio::Kamailio;
use crate::peers::sipp::Sipp;
use crate::peers::until;
use crate::rig::{PSTN, Rig, Wishes};

const SOON: Duration = Duration::from_secs(20);
const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A switch whose PSTN trunk is `acme.test`, found by this name server; a silent target is waited for one second.
fn rig(dns: &Dns, more: &str) -> Rig {
    let sip = format!("[sip]\nname_servers = [\"{}\"]\nfailover_after_s = 1\n", dns.address);
    let trunk = format!("[[trunks]]\nname = \"pstn\"\nhost = \"acme.test\"\n{more}\nroutes");
    let replace = vec![
        ("[sip]\n".to_owned(), sip),
        // What the rig would say of it goes into a trunk of its own.
        ("[[trunks]]\nname = \"pstn\"\nhost".to_owned(), format!("{trunk} = {{}}\n[[trunks]]\nname = \"old\"\nhost")),
    ];
    Rig::with(&Wishes { replace, ..Wishes::default() })
}

/// A peer in few words: every INVITE gets this answer (none: silence), everything else nothing. Its requests' branches are kept.
struct Curt {
    port: u16,
    invites: Arc<AtomicUsize>,
    branches: Arc<Mutex<HashSet<String>>>,
    call_ids: Arc<Mutex<HashSet<String>>>,
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

impl Curt {
    fn start(answer: Option<&'static str>) -> Self {
        let socket = UdpSocket::bind((HOME, 0)).expect("a port");
        let port = socket.local_addr().expect("its address").port();
        let this = Self { port, invites: Arc::default(), branches: Arc::default(), call_ids: Arc::default() };
        let (invites, branches, call_ids) = (this.invites.clone(), this.branches.clone(), this.call_ids.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4000];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if !text.starts_with("INVITE ") {
                    continue;
                }
                call_ids.lock().expect("a list").insert(header(&text, "Call-ID").to_owned());
                if branches.lock().expect("a list").insert(header(&text, "Via").to_owned()) {
                    invites.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(answer) = answer {
                    let same =
                        ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", header(&text, name)));
                    let to = header(&text, "To");
                    let response =
                        format!("SIP/2.0 {answer}\r\n{}To: {to};tag=curt\r\nContent-Length: 0\r\n\r\n", same.concat());
                    let _ = socket.send_to(response.as_bytes(), from);
                }
            }
        });
        this
    }
    fn invites(&self) -> usize {
        self.invites.load(Ordering::Relaxed)
    }
}

/// Calls a phone number into a room; its path in the API.
fn call(rig: &Rig) -> String {
    let call = rig.post("/api/v1/phone-calls", &json!({ "phone_number": "+8613800000000", "room": "meeting" }));
    format!("/api/v1/phone-calls/{}", call["id"].as_str().expect("an id"))
}

fn answered(rig: &Rig, path: &str) {
    until("the answer", SOON, || {
        let state = rig.get(path);
        assert_ne!(state["done"], true, "{state}");
        state["states"].as_array()?.iter().any(|state| state["state"] == 5).then_some(())
    });
}

#[test]
fn a_call_goes_on_to_the_next_srv_target_when_the_first_answers_503_or_is_silent() {
    for answer in [Some("503 Service Unavailable"), None] {
        let scratch = tempfile::tempdir().expect("a folder");
        let first = Curt::start(answer);
        let nowhere = SocketAddr::from((HOME, 9));
        let mut second =
            Sipp::start(scratch.path(), "uas", SocketAddr::new(PSTN, 0), nowhere, &["-rtp_echo", "-m", "1"]);
        let dns = Dns::start();
        dns.naptr("acme.test", 10, "SIP+D2U", "_sip._udp.acme.test");
        dns.srv("_sip._udp.acme.test", 1, 0, first.port, "a.acme.test");
        dns.srv("_sip._udp.acme.test", 2, 0, second.sip.port(), "b.acme.test");
        dns.a("a.acme.test", HOME);
        dns.aaaa("a.acme.test", "2001:db8::1");
        let std::net::IpAddr::V4(pstn) = PSTN else { panic!("IPv4") };
        dns.a("b.acme.test", pstn);
        let rig = rig(&dns, "options_interval_s = 0");
        let path = call(&rig);
        answered(&rig, &path);
        assert_eq!(first.invites(), 1, "one transaction");
        let messages = second.messages();
        let invite = messages.split("INVITE sip:").nth(1).expect("an INVITE");
        let branch = invite.lines().find(|line| line.starts_with("Via: ")).expect("a Via");
        assert!(!first.branches.lock().expect("a list").contains(branch.trim_start_matches("Via: ")), "{branch}");
        assert!(first.call_ids.lock().expect("a list").contains(header(invite, "Call-ID")), "the same call");
        rig.delete(&path);
        second.done(SOON);
        rig.quiet();
    }
}

#[test]
fn a_call_goes_on_to_the_next_target_when_the_first_refuses_the_connection() {
    let scratch = tempfile::tempdir().expect("a folder");
    let nowhere = SocketAddr::from((HOME, 9));
    let tcp = ["-t", "t1", "-rtp_echo", "-m", "1"];
    let mut second = Sipp::start(scratch.path(), "uas", SocketAddr::new(PSTN, 0), nowhere, &tcp);
    let dns = Dns::start();
    dns.srv("_sip._tcp.acme.test", 1, 0, 9, "a.acme.test");
    dns.srv("_sip._tcp.acme.test", 2, 0, second.sip.port(), "b.acme.test");
    dns.a("a.acme.test", HOME);
    let std::net::IpAddr::V4(pstn) = PSTN else { panic!("IPv4") };
    dns.a("b.acme.test", pstn);
    let rig = rig(&dns, "transport = \"tcp\"\noptions_interval_s = 0");
    let path = call(&rig);
    answered(&rig, &path);
    rig.delete(&path);
    second.done(SOON);
    rig.quiet();
}

#[test]
fn calls_are_spread_over_the_targets_by_their_weights() {
    let (light, heavy) = (Curt::start(Some("486 Busy Here")), Curt::start(Some("486 Busy Here")));
    let dns = Dns::start();
    dns.srv("_sip._udp.acme.test", 1, 10, light.port, "a.acme.test");
    dns.srv("_sip._udp.acme.test", 1, 90, heavy.port, "a.acme.test");
    dns.a("a.acme.test", HOME);
    let rig = rig(&dns, "options_interval_s = 0");
    const CALLS: usize = 60;
    for _ in 0..CALLS {
        call(&rig);
    }
    until("every call", SOON, || (light.invites() + heavy.invites() == CALLS).then_some(()));
    // 60 throws at 1 in 10: 6 are expected, more than 20 not once in a hundred thousand runs.
    assert!(light.invites() <= 20, "{} of {CALLS} to the lighter", light.invites());
    rig.quiet();
}

#[test]
fn kamailio_takes_the_call_as_the_second_target_and_the_first_is_shown_as_down() {
    let scratch = tempfile::tempdir().expect("a folder");
    let nowhere = SocketAddr::from((HOME, 9));
    let mut pstn = Sipp::start(scratch.path(), "uas", SocketAddr::new(PSTN, 0), nowhere, &["-rtp_echo", "-m", "1"]);
    let carrier = Kamailio::start(scratch.path(), pstn.sip);
    let silent = Curt::start(None);
    let dns = Dns::start();
    dns.srv("_sip._udp.acme.test", 1, 0, silent.port, "a.acme.test");
    dns.srv("_sip._udp.acme.test", 2, 0, carrier.sip.port(), "a.acme.test");
    dns.a("a.acme.test", HOME);
    let rig = rig(
        &dns,
        "username = \"tandem\"\npassword = \"tandem-pw\"\nregister = true\nregister_expires_s = 60\noptions_interval_s = 1",
    );
    // REGISTER and OPTIONS find the way as calls do.
    until("the registration and the targets' health", SOON, || {
        let trunk = rig.list("/api/v1/trunks").into_iter().find(|trunk| trunk["id"] == "pstn")?;
        let up = |at: usize| trunk["targets"][at]["up"].as_bool();
        let shown = up(0) == Some(false) && up(1) == Some(true);
        (trunk["registration"] == "registered" && trunk["alive"] == true && shown).then_some(())
    });
    let path = call(&rig);
    answered(&rig, &path);
    rig.delete(&path);
    pstn.done(SOON);
    rig.quiet();
}
