//! Endurance on virtual time: calls between two cores over a link that loses, doubles and reorders, with everything that can cross
//! crossing; and a day in the life of one call and one trunk. Every call ends once a side, and nothing is left in any table.
//!
//! A run draws 1000 seeds; `TANDEM_SEEDS=20000` draws so many (`tests/run --soak` does). A failure names its seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tandem_actors::model::media::Digit;

use super::super::super::config::TrunkConfig;
use super::super::super::transport::memory::Weather;
use super::pair::{FINE, Pair, both_empty, call, confirmed, empty, pair, to_b};
use super::*;

/// Longer than any timer of a transaction: by then each side has given up what it waits for.
const GIVEN_UP: Duration = Duration::from_secs(40);

fn seeds() -> u64 {
    std::env::var("TANDEM_SEEDS").ok().map_or(1000, |text| text.parse().expect("TANDEM_SEEDS is a number"))
}

fn digits(text: &str) -> Vec<Digit> {
    text.chars().filter_map(Digit::new).collect()
}

/// The dialogs a core has that have not ended.
fn live(core: &SipCore) -> Vec<DialogId> {
    core.shared().with(|core, _| {
        let live = core.dialogs.iter().filter(|(_, dialog)| dialog.ended.is_none());
        live.map(|(id, _)| *id).collect()
    })
}

/// One order at random to a side's call.
fn disturb(side: &(SipCore, Arc<Scripted>), random: &mut StdRng) {
    let Some(dialog) = live(&side.0).first().copied() else { return };
    let command = match random.random_range(0..4) {
        0 | 1 => SipCommand::Reoffer(Box::new(offer(random.random_range(4..1000)))),
        2 => SipCommand::Info(digits("12#")),
        _ => SipCommand::Progress { status: 183, answer: None, headers: AppHeaders::default() },
    };
    side.1.order(dialog, command);
}

fn hang_up(side: &(SipCore, Arc<Scripted>), cause: &Cause) {
    // Who sleeps has taken no dialog, and ends none.
    for dialog in live(&side.0).into_iter().filter(|_| side.1.manner != Manner::Sleeps) {
        side.1.order(dialog, SipCommand::Hangup(cause.clone()));
    }
}

/// Every dialog that a side ever had ended exactly once.
fn each_ended_once(seed: u64, side: &(SipCore, Arc<Scripted>)) {
    let mut ends: HashMap<DialogId, usize> = HashMap::new();
    ends.extend(side.1.orders.lock().expect("the orders").keys().map(|dialog| (*dialog, 0)));
    side.1.ended().into_iter().for_each(|(dialog, _)| *ends.entry(dialog).or_default() += 1);
    assert!(ends.values().all(|ends| *ends == 1), "seed {seed}: {ends:?}");
}

/// One call of a seed: its weather, its callee, what crosses, who ends it and when.
async fn one_call(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let weather = Weather {
        loss: random.random_range(0.0..0.35),
        twice: random.random_range(0.0..0.3),
        delay: Duration::from_millis(random.random_range(1..600)),
    };
    let manner = [Manner::Answers, Manner::Answers, Manner::Answers, Manner::Rings, Manner::Rejects, Manner::Sleeps]
        [random.random_range(0..6usize)];
    let pair = pair(seed, weather, manner, open(), open());
    let pause = |random: &mut StdRng| tokio::time::sleep(Duration::from_millis(random.random_range(0..1500)));
    let dialog = call(&pair, to_b("200"));
    if random.random_bool(0.3) {
        // A CANCEL that races whatever the callee does.
        pause(&mut random).await;
        pair.a.1.order(dialog, SipCommand::Hangup(Cause::cancelled()));
    } else {
        tokio::time::sleep(GIVEN_UP).await;
        for _ in 0..random.random_range(0..6) {
            // Both at once as often as not: glare.
            if random.random_bool(0.7) {
                disturb(&pair.a, &mut random);
            }
            if random.random_bool(0.7) {
                disturb(&pair.b, &mut random);
            }
            pause(&mut random).await;
        }
    }
    // One hangs up, or both in the same moment.
    let (a, b) = [(true, false), (false, true), (true, true)][random.random_range(0..3usize)];
    if a {
        hang_up(&pair.a, &Cause::hangup());
    }
    if b {
        hang_up(&pair.b, &Cause::hangup());
    }
    // Whose BYE or CANCEL was lost in every repeat: the other side's leg notices by its media, or its ringing time.
    for _ in 0..3 {
        tokio::time::sleep(GIVEN_UP).await;
        hang_up(&pair.a, &Cause::media_lost("silence"));
        hang_up(&pair.b, &Cause::media_lost("silence"));
    }
    tokio::time::sleep(GIVEN_UP).await;
    assert!(empty(&pair.a.0) && empty(&pair.b.0), "seed {seed}: something stays");
    each_ended_once(seed, &pair.a);
    each_ended_once(seed, &pair.b);
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_once_whatever_the_link_loses_doubles_and_reorders() {
    for seed in 0..seeds() {
        one_call(seed).await;
    }
}

/// How many entries a core's tables and its timer queue have.
fn entries(core: &SipCore) -> usize {
    core.shared().with(|core, _| {
        core.clients.len()
            + core.servers.len()
            + core.dialogs.len()
            + core.names.len()
            + core.asking.len()
            + core.unsent.len()
            + core.timers.len()
    })
}

/// An offer that holds, or takes back.
fn directed(direction: Direction, hour: usize) -> AudioOffer {
    AudioOffer::from_capabilities(&Capabilities {
        codecs: vec![Codec::Pcmu],
        rtp: "192.0.2.9:4000".parse().expect("an address"),
        direction,
        session_id: 1,
        session_version: 10 + u64::try_from(hour).expect("small"),
        security: tandem_actors::model::negotiate::Security::Plain,
    })
}

fn answered(pair: &Pair) -> usize {
    let events = pair.a.1.events.lock().expect("the events");
    let ours = |event: &&SipEvent| matches!(event, SipEvent::Dialog { event: DialogEvent::ReofferAnswered(_), .. });
    events.iter().filter(ours).count()
}

#[tokio::test(start_paused = true)]
async fn a_call_of_24_hours_with_holds_registrations_and_options_leaves_nothing_behind() {
    const HOURS: usize = 24;
    let id = TrunkId::new("acme").expect("a name");
    let mut trunk = TrunkConfig::new(id.clone(), "192.0.2.2");
    trunk.username = "bob".into();
    trunk.password = "zanzibar".into();
    trunk.domain = Some("example.com".into());
    let config = SipConfig { trunks: vec![trunk], ..open() };
    let weather = Weather { loss: 0.02, twice: 0.02, ..FINE };
    let pair = pair(24, weather, Manner::Answers, config, open());
    let dialog = call(&pair, vec![Destination::Trunk { trunk: id.clone(), number: "200".into(), more: false }]);
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let mut most = 0;
    for hour in 0..HOURS {
        for minute in 0..60 {
            // The trunk's actor asks for these: a registration of a minute, a question every half.
            pair.a.0.register(&id, Epoch(1), Duration::from_secs(60));
            for _ in 0..2 {
                pair.a.0.options(&id, Epoch(1));
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            match minute {
                10 => pair.a.1.order(dialog, SipCommand::Reoffer(Box::new(directed(Direction::SendOnly, hour)))),
                11 => pair.a.1.order(dialog, SipCommand::Info(digits("5"))),
                12 => pair.a.1.order(dialog, SipCommand::Reoffer(Box::new(directed(Direction::SendRecv, hour)))),
                _ => {}
            }
            most = most.max(entries(&pair.a.0)).max(entries(&pair.b.0));
        }
        assert!(confirmed(&pair.a.0, dialog), "hour {hour}: the call is up");
    }
    assert_eq!(answered(&pair), 2 * HOURS, "every hold and every return was answered");
    assert!(most < 120, "{most} entries: something grows");
    let alive = |event: &&SipEvent| matches!(event, SipEvent::TrunkOptions { outcome: Ok(_), .. });
    let registered = |event: &&SipEvent| matches!(event, SipEvent::TrunkRegistration { outcome: Ok(_), .. });
    let events = pair.a.1.events.lock().expect("the events").clone();
    assert_eq!(events.iter().filter(alive).count(), HOURS * 120);
    assert_eq!(events.iter().filter(registered).count(), HOURS * 60);
    hang_up(&pair.b, &Cause::hangup());
    both_empty(&pair).await;
    each_ended_once(24, &pair.a);
    each_ended_once(24, &pair.b);
}
