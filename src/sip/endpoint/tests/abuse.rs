//! Scanners, floods, half-open calls, and more calls than can be served.

use super::super::super::nuisance::Budget;
use super::pair::empty;
use super::requests::Bench;
use super::*;

/// Takes any number of requests, and knows a scanner.
fn patient() -> Budget {
    Budget { per_second: 1e6, burst: 1e6, scanners: vec!["friendly-scanner".into()], ..Budget::default() }
}

fn closed() -> SipConfig {
    SipConfig { anonymous: false, budget: patient(), ..open() }
}

fn request(method: &str, n: usize, more: &str) -> String {
    format!(
        "{method} sip:200@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKab{n}\r\n\
         From: <sip:x@example.com>;tag=f\r\nTo: <sip:200@example.com>\r\nCall-ID: ab{n}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:x@192.0.2.7>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

fn stranger(n: usize) -> IpAddr {
    let n = u32::try_from(n).expect("a small number");
    IpAddr::V4((0x0a00_0000 + n).into())
}

#[tokio::test(start_paused = true)]
async fn a_scanner_is_answered_with_silence_and_then_not_even_read() {
    let bench = Bench::new(Manner::Rings, closed());
    let scan = request("OPTIONS", 1, "User-Agent: Friendly-Scanner\r\n");
    assert!(bench.raw_from(stranger(1), scan).is_empty());
    assert_eq!(bench.core.blocks().list(Instant::now()).len(), 1);
    assert!(bench.raw_from(stranger(1), request("OPTIONS", 2, "")).is_empty(), "blocked");
    assert_eq!(Bench::codes(&bench.raw_from(stranger(2), request("OPTIONS", 3, ""))), [200]);
    assert!(bench.core.blocks().lift(stranger(1)));
    assert_eq!(Bench::codes(&bench.raw_from(stranger(1), request("OPTIONS", 4, ""))), [200]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_made_up_addresses_leaves_nothing_behind() {
    let bench = Bench::new(Manner::Rings, closed());
    for n in 0..20_000 {
        let method = ["INVITE", "REGISTER", "BYE", "CANCEL"][n % 4];
        let text = request(method, n, "")
            .replace("<sip:200@example.com>", if n % 4 == 2 { "<sip:a@b>;tag=x" } else { "<sip:a@b>" });
        let answer = bench.raw_from(stranger(n), text);
        assert_eq!(answer.len(), 1, "one answer, never repeated");
    }
    assert!(empty(&bench.core));
    assert!(bench.core.shared().with(|core, _| core.timers.is_empty()));
    tokio::time::sleep(Duration::from_secs(64)).await;
    assert!(bench.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn questions_that_nobody_has_to_prove_fill_no_table() {
    let bench = Bench::new(Manner::Rings, closed());
    for n in 0..30_000 {
        bench.raw_from(stranger(n), request("OPTIONS", n, ""));
    }
    assert!(bench.core.shared().with(|core, _| core.servers.len()) <= 20_000);
    tokio::time::sleep(Duration::from_secs(64)).await;
    assert!(empty(&bench.core));
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_never_acknowledged_end_and_leave_nothing() {
    // RFC 3261 §13.3.1.4: 64*T1 without an ACK, then BYE.
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: true, ..closed() });
    for n in 0..2_000 {
        let answers = bench.raw_from(stranger(n), request("INVITE", n, ""));
        assert_eq!(Bench::codes(&answers), [100, 180, 200]);
    }
    assert_eq!(bench.core.shared().with(|core, _| core.dialogs.len()), 2_000);
    tokio::time::sleep(Duration::from_secs(33)).await;
    let byes = bench.heard().iter().filter(|text| text.starts_with("BYE ")).count();
    assert!(byes >= 2_000, "{byes}");
    assert_eq!(bench.brain.ended().len(), 2_000);
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert!(empty(&bench.core));
}

#[tokio::test(start_paused = true)]
async fn no_more_dialogs_are_begun_than_there_is_room_for() {
    let bench = Bench::new(Manner::Rings, SipConfig { anonymous: true, max_dialogs: 100, ..closed() });
    let codes: Vec<_> =
        (0..200).map(|n| Bench::codes(&bench.raw_from(stranger(n), request("INVITE", n, "")))).collect();
    assert!(codes[..100].iter().all(|codes| *codes == [100, 180]));
    assert!(codes[100..].iter().all(|codes| *codes == [503]));
    assert_eq!(bench.core.shared().with(|core, _| (core.dialogs.len(), core.servers.len())), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_is_served_while_newcomers_are_refused() {
    // RFC 7200 §3, RFC 6357: load is shed where it begins.
    let bench = Bench::new(Manner::Answers, SipConfig { anonymous: true, ..closed() });
    let ok = bench.raw(request("INVITE", 1, "")).pop().expect("a 200");
    let tag = ok.split(";tag=").nth(2).and_then(|rest| rest.split("\r\n").next()).expect("our tag").to_owned();
    let inside = |method: &str, n: usize| {
        let text = request(method, 1, "").replace("<sip:200@example.com>", &format!("<sip:200@example.com>;tag={tag}"));
        text.replace("CSeq: 1", &format!("CSeq: {n}")).replace("z9hG4bKab1", &format!("z9hG4bKin{n}"))
    };
    bench.core.set_full(true);
    let refused = bench.raw(request("INVITE", 2, "")).concat();
    assert!(
        refused.starts_with("SIP/2.0 503 Service Unavailable") && refused.contains("\r\nRetry-After: "),
        "{refused}"
    );
    assert_eq!(Bench::codes(&bench.raw(request("OPTIONS", 3, ""))), [503]);
    assert!(bench.raw(inside("ACK", 1)).is_empty());
    assert!(bench.brain.saw(|event| matches!(event, DialogEvent::Acked { .. })));
    assert_eq!(Bench::codes(&bench.raw(inside("OPTIONS", 2))), [200]);
    assert_eq!(Bench::codes(&bench.raw(inside("BYE", 3))), [200]);
    bench.core.set_full(false);
    assert_eq!(Bench::codes(&bench.raw(request("INVITE", 4, ""))), [100, 180, 200]);
}

#[tokio::test(start_paused = true)]
async fn calls_are_refused_at_once_when_the_brain_is_behind_and_a_cancel_is_not() {
    let bench = Bench::new(Manner::Sleeps, SipConfig { anonymous: true, ..closed() });
    assert_eq!(Bench::codes(&bench.raw(request("INVITE", 1, ""))), [100]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(Bench::codes(&bench.raw(request("INVITE", 2, ""))), [100], "a moment is no overload");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Bench::codes(&bench.raw(request("INVITE", 3, ""))), [503]);
    assert_eq!(Bench::codes(&bench.raw(request("CANCEL", 1, ""))), [200, 487]);
    // The core gives the second up by itself; then nothing waits any more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(Bench::codes(&bench.raw(request("INVITE", 4, ""))), [100]);
}

#[tokio::test(start_paused = true)]
async fn a_trunks_call_of_priority_passes_a_brain_that_is_behind() {
    // RFC 4412 §4.5, RFC 7200 §3.2; a stranger's priority is a stranger's word.
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), "192.0.2.7");
    trunk.port = Some(5060);
    let config = SipConfig { anonymous: true, trunks: vec![trunk], ..closed() };
    let bench = Bench::new(Manner::Sleeps, config);
    bench.raw(request("INVITE", 1, ""));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let urgent = "Resource-Priority: ets.0\r\n";
    assert_eq!(Bench::codes(&bench.raw(request("INVITE", 2, urgent))), [100]);
    assert_eq!(Bench::codes(&bench.raw_from(stranger(1), request("INVITE", 3, urgent))), [503]);
}
