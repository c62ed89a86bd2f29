//! SIP calls for as long as one likes: held and taken back, transferred, and phones that register, refresh and go. Then nothing
//! is left, every call has its record, and memory is what it was. A slice of it is in every run; `tests/run --soak` takes
//! TANDEM_SIP_SOAK_MINUTES (30) over it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::soak::{number, repeat};
use crate::peers::baresip::Baresip;
use crate::peers::sipp::Sipp;
use crate::peers::until;
use crate::rig::Rig;

const SOON: Duration = Duration::from_secs(30);
/// What memory may grow by once everything was done often: what the allocator keeps in hand.
const KEPT_KB: u64 = 16 * 1024;
/// SIPp repeats nothing: on a machine that is busy it asks twice for what lies unread before it, and takes the second answer, which
/// is right, for a fault. Loopback loses nothing.
const ONCE: &str = "-nr";

struct Stage {
    rig: Rig,
    calls: AtomicI64,
    /// Of the phone that SIPp registers.
    password: String,
}

impl Stage {
    fn began(&self, calls: i64) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// Three callers hold a phone and take it back; two do so with the service.
    fn callers_hold(&self) {
        for (callee, calls) in [("1003", "3"), ("9000", "2")] {
            self.began(calls.parse().expect("a number"));
            self.rig
                .pstn("uac_holds", &["-s", callee, "-m", calls, "-l", calls, "-r", calls, "-d", "500", ONCE])
                .done(SOON);
        }
    }

    /// A caller of the PSTN transfers one phone to the other, who hang up.
    fn a_caller_transfers(&self, stays: &Baresip, target: &Baresip) {
        self.began(1);
        self.rig.pstn("uac_blind", &["-s", "1002", "-m", "1", ONCE]).done(SOON);
        target.event("CALL_ESTABLISHED", SOON);
        stays.order("hangup", "");
        target.event("CALL_CLOSED", SOON);
    }

    /// Phones come, refresh and go; each has a binding of its own for a second.
    fn phones_register(&self) {
        let local = "127.0.0.1:0".parse().expect("an address");
        let extra = ["-s", "1004", "-au", "1004", "-ap", &self.password, "-m", "2", "-l", "1", ONCE];
        Sipp::start(self.rig.folder(), "uac_registers", local, self.rig.sip(), &extra).done(SOON);
    }
}

#[test]
fn sip_calls_are_held_and_transferred_while_phones_register_and_nothing_is_left() {
    soak(Duration::from_secs(25));
}

#[test]
#[ignore = "half an hour: tests/run --soak"]
fn sip_calls_are_held_and_transferred_for_half_an_hour_and_nothing_is_left() {
    let stage = soak(Duration::from_secs(60 * number("TANDEM_SIP_SOAK_MINUTES").unwrap_or(30)));
    until("no transaction left behind", Duration::from_secs(45), || {
        (stage.rig.metric_sum("tandem_sip_transactions") == 0.0).then_some(())
    });
}

fn soak(length: Duration) -> Stage {
    let rig = Rig::start();
    let password = rig.subscriber("1004");
    let stage = Stage { rig, calls: AtomicI64::new(0), password };
    let [stays, target, _held] = ["1001", "1002", "1003"].map(|user| stage.rig.phone(user, 700.0, true));
    // Everything once, so that what is made once is not counted as left behind.
    stage.callers_hold();
    stage.a_caller_transfers(&stays, &target);
    stage.phones_register();
    stage.rig.quiet();
    let (before, rows) = (stage.rig.footprint(), stage.rig.rows());

    let started = Instant::now();
    let mut warm = None;
    let parties: Vec<Box<dyn FnMut() + Send + '_>> = vec![
        Box::new(|| stage.callers_hold()),
        Box::new(|| stage.a_caller_transfers(&stays, &target)),
        Box::new(|| {
            stage.phones_register();
            if warm.is_none() && started.elapsed() > length / 3 {
                warm = Some(stage.rig.footprint());
            }
        }),
    ];
    repeat(length, &AtomicBool::new(false), parties);
    stage.rig.quiet();
    let warm = warm.expect("figures of the first third");
    let after = until("no descriptor, thread or row left behind", SOON, || {
        let now = stage.rig.footprint();
        (now.is_as(&before) && stage.rig.rows() == rows).then_some(now)
    });
    let calls = stage.calls.load(Ordering::Relaxed);
    println!("{calls} calls: {before:?} -> {warm:?} -> {after:?}");
    assert!(after.rss_kb < warm.rss_kb + KEPT_KB, "memory grows: {warm:?} -> {after:?}");
    assert!(calls as u64 > length.as_secs() / 2, "only {calls} calls in {length:?}");
    until("every call's record", SOON, || (stage.rig.cdr_count() >= calls).then_some(()));
    assert_eq!(stage.rig.cdr_count(), calls, "one record a call");
    stage
}
