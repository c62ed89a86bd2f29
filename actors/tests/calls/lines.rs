//! A SIM gateway: two lines that register as sim1 and sim2, one call each.

use std::sync::atomic::{AtomicBool, Ordering};

use tandem_actors::Kind;
use tandem_actors::control::{Control, LineView};
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::{LegId, LineId};
use tandem_actors::model::settings::{Line, LineReach, Rotation};
use tandem_actors::ports::sip::Destination;
use tandem_actors::trunk;

use super::*;

fn line(name: &str) -> Line {
    Line {
        id: LineId::new(name).expect("a name"),
        number: String::new(),
        reach: LineReach::Subscriber(subscriber(name)),
    }
}

/// Both lines are registered; a call rests a line for 5 s, a failure for 60.
async fn gateway() -> World {
    gateway_and(None).await
}

/// The same, and a trunk without lines that stands by.
async fn gateway_and(other: Option<TrunkId>) -> World {
    let mut settings = settings();
    let plain = settings.trunks.values().next().cloned().expect("a trunk");
    for trunk in settings.trunks.values_mut() {
        trunk.max_calls = None;
        trunk.routes = BTreeMap::from([("*".to_owned(), InboundRoute::Subscriber(subscriber("1001")))]);
        trunk.lines = Lines {
            lines: vec![line("sim1"), line("sim2")],
            rotation: Rotation::LeastRecentlyUsed,
            rest: Duration::from_secs(5),
            failure_rest: Duration::from_secs(60),
        };
    }
    if let Some(other) = other {
        settings.rtc_to_sip.pstn_fallback = vec![other.clone()];
        settings.trunks.insert(other.clone(), Trunk { id: other, ..plain });
    }
    let world = world_with(settings).await;
    register(&world, "sim1", 5081);
    register(&world, "sim2", 5082);
    world
}

fn lines(world: &World) -> Vec<LineView> {
    world.ctx().trunks().remove(0).lines
}

fn states(world: &World) -> Vec<String> {
    lines(world).into_iter().map(|line| line.state).collect()
}

/// An app user calls this number; the dialog by which it goes out, and where to.
async fn out(world: &World, client: ClientId, number: &str) -> (DialogId, String) {
    let before = world.sip.outgoing();
    call(world, client, number).await;
    let new = |world: &World| world.sip.outgoing().into_iter().find(|dialog| !before.contains(dialog));
    let dialog = world.find("the call", new).await;
    let invite = world.sip.dialog(dialog).and_then(|record| record.invite).expect("an INVITE");
    let to = invite.to.into_iter().next().expect("a destination");
    let Destination::Contact(contact) = to else { panic!("not by a line: {to:?}") };
    (dialog, contact.uri.0)
}

#[tokio::test(start_paused = true)]
async fn a_call_out_has_a_line_of_its_own_and_the_third_is_refused() {
    let world = gateway().await;
    let (alice, bob, carol) = (login(&world, "alice").await, login(&world, "bob").await, login(&world, "carol").await);
    let (first, to) = out(&world, alice, "+8613800000001").await;
    assert_eq!(to, "sip:+8613800000001@127.0.0.1:5081");
    let (_, to) = out(&world, bob, "+8613800000002").await;
    assert_eq!(to, "sip:+8613800000002@127.0.0.1:5082");
    assert_eq!(states(&world), ["busy", "busy"]);
    let refused = call(&world, carol, "+8613800000003").await;
    world.until("503", |world| ended(world, carol, refused) == Some(503)).await;
    world.sip.pick_up(first);
    let answered = |event: &Event| matches!(event, Event::CallAnswered { .. });
    world.until("it is answered", |world| world.client.events(alice).iter().any(answered)).await;
    world.sip.end(first, Cause::hangup());
    world.until("it rests", |world| states(world) == ["resting", "busy"]).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(states(&world), ["free", "busy"]);
    let line = lines(&world).remove(0);
    assert_eq!((line.attempts, line.answered, line.failures), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_fails_rests_longer_and_a_busy_callee_is_no_failure() {
    let world = gateway().await;
    let alice = login(&world, "alice").await;
    for (cause, failures) in [(Cause::busy(), 0), (Cause::unavailable("no signal"), 1)] {
        let (dialog, _) = out(&world, alice, "+8613800000001").await;
        world.sip.end(dialog, cause);
        world.until("it is over", |world| world.ctx().ledger.calls.is_empty()).await;
        assert_eq!(lines(&world).iter().map(|line| line.failures).sum::<u32>(), failures);
    }
    let resting: Vec<_> = lines(&world).into_iter().filter_map(|line| line.rests_for_s).collect();
    assert!(matches!(resting.as_slice(), [0..=5, 55..=60]), "{resting:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_line_could_not_carry_goes_on_by_the_next_trunk_and_the_line_rests_as_failed() {
    let other = TrunkId::new("other").expect("an id");
    let world = gateway_and(Some(other.clone())).await;
    let alice = login(&world, "alice").await;
    let (first, _) = out(&world, alice, "+8613800000001").await;
    world.sip.end(first, Cause::unavailable("no signal"));
    let next = |world: &World| world.sip.outgoing().into_iter().find(|dialog| *dialog != first);
    let second = world.find("the next trunk's", next).await;
    let invite = world.sip.dialog(second).and_then(|record| record.invite).expect("an INVITE");
    assert!(matches!(invite.to.as_slice(), [Destination::Trunk { trunk, more: false, .. }] if *trunk == other));
    world.until("it rests", |world| states(world) == ["resting", "free"]).await;
    let line = lines(&world).remove(0);
    assert_eq!((line.failures, line.call), (1, None));
    assert!(line.rests_for_s > Some(50), "{line:?}");
    world.sip.pick_up(second);
    world.until("they talk", bridged).await;
    let calls: Vec<u32> = world.ctx().trunks().into_iter().map(|trunk| trunk.calls).collect();
    assert_eq!(calls, [0, 1], "the place on the first was given back");
}

#[tokio::test(start_paused = true)]
async fn what_comes_by_a_line_is_the_trunks_call_and_a_second_one_is_busy() {
    let world = gateway().await;
    let by_sim = |world: &World, to: &str| {
        world.sip.incoming(FakeSip::invite_from(SipOrigin::Subscriber(subscriber("sim1")), "+8613900000000", to))
    };
    let first = by_sim(&world, "sim1");
    let rings = called(&world).await;
    assert_eq!(states(&world), ["busy", "free"]);
    let second = by_sim(&world, "sim1");
    world.until("486", |world| statuses(world, second).last() == Some(&486)).await;
    assert_eq!(states(&world), ["busy", "free"]);
    world.sip.pick_up(rings);
    answered(&world, first).await;
    world.sip.end(first, Cause::hangup());
    world.until("it rests", |world| states(world) == ["resting", "free"]).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_crashes_a_line_stays_its_calls_and_is_free_after_it() {
    for kind in [Kind::Call, Kind::CallSupervisor, Kind::SipLeg, Kind::Trunk, Kind::TrunkSupervisor] {
        let world = gateway().await;
        let alice = login(&world, "alice").await;
        let (dialog, _) = out(&world, alice, "+8613800000001").await;
        world.sip.pick_up(dialog);
        world.until("they talk", bridged).await;
        world.crash(kind).await;
        world.pass(Duration::from_secs(30)).await;
        assert_eq!(states(&world), ["busy", "free"], "{kind}");
        world.sip.end(dialog, Cause::hangup());
        world.until("it rests", |world| states(world) == ["resting", "free"]).await;
        world.pass(Duration::from_secs(6)).await;
        assert_eq!(states(&world), ["free", "free"], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_registered_takes_no_call() {
    let world = gateway().await;
    world.ctx().ledger.bindings.remove(&subscriber("sim1"));
    assert_eq!(states(&world), ["unreachable", "free"]);
    let alice = login(&world, "alice").await;
    let (_, to) = out(&world, alice, "+8613800000001").await;
    assert_eq!(to, "sip:+8613800000001@127.0.0.1:5082");
}

/// Many calls at once, from as many threads, on two lines.
#[tokio::test]
async fn concurrent_claims_never_meet_on_a_line() {
    let mut settings = settings();
    for trunk in settings.trunks.values_mut() {
        trunk.lines.lines = vec![
            Line { reach: LineReach::Prefix("1".into()), ..line("sim1") },
            Line { reach: LineReach::Prefix("2".into()), ..line("sim2") },
        ];
    }
    let world = World::start(settings).await;
    let (ctx, acme) = (world.ctx().clone(), TrunkId::new("acme").expect("an id"));
    let taken = [AtomicBool::new(false), AtomicBool::new(false)];
    let got: u32 = std::thread::scope(|scope| {
        let claims = (0..8_u64).map(|thread| {
            let (ctx, acme, taken) = (&ctx, &acme, &taken);
            scope.spawn(move || {
                let mut got = 0;
                for n in 0..500 {
                    let (call, leg) = (CallId(thread * 1000 + n), LegId(thread * 1000 + n));
                    let Some((line, _)) = trunk::line_out(ctx, acme, call, leg, "123", false) else { continue };
                    let taken = &taken[usize::from(line.as_str() == "sim2")];
                    assert!(!taken.swap(true, Ordering::SeqCst), "{line} is another call's");
                    std::thread::yield_now();
                    taken.store(false, Ordering::SeqCst);
                    trunk::release(ctx, acme, call);
                    got += 1;
                }
                got
            })
        });
        let claims: Vec<_> = claims.collect();
        claims.into_iter().map(|claim| claim.join().expect("a thread")).sum()
    });
    assert!(got > 0);
}

#[tokio::test(start_paused = true)]
async fn a_line_never_dials_out_by_another() {
    let world = gateway().await;
    let dialled = world.sip.incoming(FakeSip::invite_from(
        SipOrigin::Subscriber(subscriber("sim1")),
        "+8613900000000",
        "+8613800000001",
    ));
    // The trunk's routes lead to the desk phone, whatever was dialled.
    let rings = called(&world).await;
    let invite = world.sip.dialog(rings).and_then(|record| record.invite).expect("an INVITE");
    assert!(matches!(invite.to.as_slice(), [Destination::Contact(contact)] if contact.uri.0.contains("1001")));
    world.sip.end(dialled, Cause::hangup());
    nothing_left(&world).await;
    assert_eq!(lines(&world).iter().map(|line| line.attempts).sum::<u64>(), 0);
}
