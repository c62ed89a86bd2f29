//! Calls come, ring, talk and end for as long as one likes, while actors panic at random; then nothing is left, and every call
//! has its record. A slice of it is in every run; `tests/run --soak` takes TANDEM_SOAK_MINUTES (60) over it. What it draws
//! follows from TANDEM_SOAK_SEED, which it prints.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tandem_actors::supervision::Kind;

use super::faults::IN_A_CALL;
use crate::peers::until;
use crate::peers::wsclient::{OFFER, WsClient};
use crate::rig::{Footprint, Rig, sound};

const SOON: Duration = Duration::from_secs(30);
/// Kinds beside those that live while two people talk.
const ELSEWHERE: &[Kind] = &[Kind::Flow, Kind::Invitation, Kind::Room, Kind::MediaThread];

/// A kind may panic again after this: just out of every window of restarts. Supervisors share Root's, ten in a minute.
fn rest(kind: Kind) -> Duration {
    Duration::from_secs(if kind.label().ends_with("_supervisor") { 65 } else { 31 })
}

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Every party acts again and again until the time is over, or one of them fails.
pub(super) fn repeat(length: Duration, over: &AtomicBool, parties: Vec<Box<dyn FnMut() + Send + '_>>) {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        for mut party in parties {
            scope.spawn(move || {
                let _over = Over(over);
                while !over.load(Ordering::Relaxed) {
                    party();
                }
            });
        }
        let end = Instant::now() + length;
        while !over.load(Ordering::Relaxed) && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        drop(Over(over));
    });
}

/// What the parties share.
struct Stage {
    rig: Rig,
    over: AtomicBool,
    calls: AtomicI64,
}

impl Stage {
    fn on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn began(&self, calls: i64) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// Three phones at once hear the service.
    fn phones_call_the_service(&self) {
        self.began(3);
        self.rig.pstn("uac", &["-s", "9000", "-m", "3", "-l", "3", "-r", "3", "-d", "1500"]).done(SOON);
    }

    /// A phone is declined, then one is told busy, then one gives up.
    fn an_app_does_not_take_it(&self, app: &mut WsClient) {
        for (scenario, response) in [("uac_603", Some("")), ("uac_486", Some("busy")), ("uac_cancel", None)] {
            self.began(1);
            let mut caller = self.rig.pstn(scenario, &["-s", "bob", "-m", "1"]);
            let invitation = app.event("invitation.received", SOON)["invitation"].clone();
            app.request(json!({ "type": "invite.ack", "invitation": invitation }));
            match response {
                Some(word) => {
                    app.request(json!({ "type": "invite.refuse", "invitation": invitation, "response": word }));
                }
                None => {
                    app.event("invitation.canceled", SOON);
                }
            }
            caller.done(SOON);
        }
    }

    /// An app calls the service and hangs up before its media is there.
    fn an_app_calls_the_service(&self, app: &mut WsClient) {
        self.began(1);
        let call = app.request(json!({ "type": "call", "to": "9000", "sdp": OFFER }))["call"].clone();
        app.event("media.answer", SOON);
        app.request(json!({ "type": "hangup", "call": call }));
        app.event("call.ended", SOON);
    }

    /// A phone is called into a room and stays for a second.
    fn a_phone_is_called_into_a_room(&self) {
        self.began(1);
        let order = json!({ "phone_number": "1001", "room": "soak" });
        let call = self.rig.post("/api/v1/phone-calls", &order);
        let path = format!("/api/v1/phone-calls/{}", call["id"].as_str().expect("an id"));
        let reached = |n: u64| {
            let state = self.rig.get(&path);
            state["states"]
                .as_array()
                .is_some_and(|states| states.iter().any(|state| state["state"] == n))
                .then_some(())
        };
        until("the phone in the room", SOON, || reached(5));
        let since = Instant::now();
        until("a second in it", SOON, || (since.elapsed() > Duration::from_secs(1)).then_some(()));
        self.rig.delete(&path);
        until("its end", SOON, || reached(6));
    }

    /// Makes actors panic until it is over: any kind, none again before its rest is over.
    fn break_things(&self, seed: u64, every: Duration) -> usize {
        let mut random = StdRng::seed_from_u64(seed);
        let kinds: Vec<Kind> = IN_A_CALL.iter().chain(ELSEWHERE).copied().collect();
        let mut last: HashMap<Kind, Instant> = HashMap::new();
        let mut crashes = 0;
        while self.on() {
            std::thread::park_timeout(every.mul_f64(random.random_range(0.5..1.5)));
            let rested: Vec<Kind> = kinds
                .iter()
                .copied()
                .filter(|kind| last.get(kind).is_none_or(|at| at.elapsed() > rest(*kind)))
                .collect();
            if rested.is_empty() {
                continue;
            }
            let kind = rested[random.random_range(0..rested.len())];
            // What a failing run is read by, beside the switch's own log.
            println!("{} {kind} panics", time::OffsetDateTime::now_utc().time());
            self.rig.crash(kind);
            last.insert(kind, Instant::now());
            crashes += 1;
        }
        crashes
    }

    /// Figures once nothing is under way, ports that rest included.
    fn at_rest(&self) -> (Footprint, Vec<String>) {
        self.rig.quiet();
        (self.rig.footprint(), self.rig.rows())
    }
}

#[test]
fn calls_come_and_go_while_actors_panic_and_nothing_is_left() {
    // It keeps both cores busy: no story that listens for gaps runs beside it.
    let _sound = sound();
    soak(Duration::from_secs(40));
}

#[test]
#[ignore = "an hour: tests/run --soak"]
fn calls_come_and_go_for_an_hour_while_actors_panic_and_nothing_is_left() {
    let _sound = sound();
    let stage = soak(Duration::from_secs(60 * number("TANDEM_SOAK_MINUTES").unwrap_or(60)));
    until("invitations are forgotten", Duration::from_secs(90), || {
        (stage.rig.metric_sum("tandem_ledger_rows{table=\"invitations\"}") == 0.0).then_some(())
    });
}

fn soak(length: Duration) -> Stage {
    let seed = number("TANDEM_SOAK_SEED").unwrap_or_else(rand::random);
    println!("TANDEM_SOAK_SEED={seed} for {length:?}");

    let stage = Stage { rig: Rig::apart(), over: AtomicBool::new(false), calls: AtomicI64::new(0) };
    let _phone = stage.rig.phone("1001", 700.0, true);
    let (mut bob, mut carol) = (stage.rig.client("bob"), stage.rig.client("carol"));
    // Everything once, so that what is made once is not counted as left behind.
    stage.rig.crash(Kind::MediaThread);
    stage.phones_call_the_service();
    stage.an_app_does_not_take_it(&mut bob);
    stage.an_app_calls_the_service(&mut carol);
    stage.a_phone_is_called_into_a_room();
    let (before, rows) = stage.at_rest();

    let mut crashes = 0;
    let mut parties: Vec<Box<dyn FnMut() + Send + '_>> =
        vec![Box::new(|| crashes += stage.break_things(seed, Duration::from_millis(2500)))];
    parties.push(Box::new(|| stage.phones_call_the_service()));
    parties.push(Box::new(|| stage.an_app_does_not_take_it(&mut bob)));
    parties.push(Box::new(|| stage.an_app_calls_the_service(&mut carol)));
    parties.push(Box::new(|| stage.a_phone_is_called_into_a_room()));
    repeat(length, &stage.over, parties);
    let calls = stage.calls.load(Ordering::Relaxed);
    println!("{calls} calls, {crashes} crashes");
    assert!(
        stage.rig.metric_sum("tandem_actor_restarts_total") > 0.0 && crashes as u64 >= length.as_secs() / 10,
        "only {crashes} crashes"
    );
    assert_eq!(stage.rig.metric_sum("tandem_actor_give_ups_total"), 0.0);
    let as_before = || {
        let (after, left) = stage.at_rest();
        (after.is_as(&before) && left == rows).then_some(after)
    };
    let end = Instant::now() + SOON;
    let after = loop {
        if let Some(after) = as_before() {
            break after;
        }
        assert!(Instant::now() < end, "left behind: {before:?} {rows:#?} -> {:#?}", stage.at_rest());
        std::thread::park_timeout(Duration::from_millis(500));
    };
    println!("{before:?} -> {after:?}");
    assert!(after.rss_kb < before.rss_kb + 32 * 1024, "memory left behind: {before:?} -> {after:?}");
    until("every call's record", SOON, || (stage.rig.cdr_count() >= calls).then_some(()));
    assert_eq!(stage.rig.cdr_count(), calls, "one record a call");
    stage
}
