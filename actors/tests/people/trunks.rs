use std::collections::BTreeMap;
use std::time::Duration;

use tandem_actors::Kind;
use tandem_actors::control::{Control, TrunkView};
use tandem_actors::fakes::World;
use tandem_actors::model::ids::{CallId, TrunkId};
use tandem_actors::model::plan::{CallerIdPolicy, TrunkNumbers};
use tandem_actors::model::settings::{Lines, Settings, Trunk};
use tandem_actors::model::srtp::MediaEncryption;
use tandem_actors::trunk;

const S: fn(u64) -> Duration = Duration::from_secs;

fn acme() -> TrunkId {
    TrunkId::new("acme").expect("an id")
}

fn settings(register: bool) -> Settings {
    let trunk = Trunk {
        id: acme(),
        register,
        register_expires: S(100),
        options_interval: Some(S(30)),
        codecs: vec![],
        media_encryption: MediaEncryption::None,
        routes: BTreeMap::new(),
        prefix: String::new(),
        caller_id: CallerIdPolicy::Pass,
        numbers: TrunkNumbers::default(),
        max_calls: Some(2),
        calls_per_minute: None,
        max_cps: None,
        ring_timeout: S(60),
        lines: Lines::default(),
    };
    Settings { trunks: BTreeMap::from([(acme(), trunk)]), ..Settings::default() }
}

fn view(world: &World) -> Option<TrunkView> {
    world.ctx().trunks().into_iter().next()
}

async fn becomes(world: &World, word: &str) {
    world.until(word, |world| view(world).is_some_and(|view| view.registration == word)).await;
}

#[tokio::test(start_paused = true)]
async fn a_trunk_registers_at_start_and_refreshes_at_85_percent() {
    let world = World::start(settings(true)).await;
    becomes(&world, "registered").await;
    world.pass(S(84)).await;
    assert_eq!(world.sip.trunk_registers().len(), 1);
    world.pass(S(2)).await;
    assert_eq!(world.sip.trunk_registers(), [(acme(), S(100)), (acme(), S(100))]);
}

#[tokio::test(start_paused = true)]
async fn a_trunk_that_fails_is_tried_again_until_it_is_there() {
    let world = World::start(settings(true)).await;
    becomes(&world, "registered").await;
    world.sip.fail_trunks(true);
    becomes(&world, "failed").await;
    world.until("it is dead", |world| view(world).is_some_and(|view| view.alive == Some(false))).await;
    assert_eq!(view(&world).and_then(|view| view.last_status), Some(503));
    world.pass(S(600)).await;
    world.sip.fail_trunks(false);
    let since = tokio::time::Instant::now();
    becomes(&world, "registered").await;
    assert!(since.elapsed() <= S(72), "the longest wait is 60 s +20 %");
    world.until("it lives", |world| view(world).is_some_and(|view| view.alive == Some(true))).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_the_registration_and_its_refresh() {
    let world = World::start(settings(true)).await;
    becomes(&world, "registered").await;
    world.pass(S(50)).await;
    assert_eq!(world.crash(Kind::Trunk).await, 1);
    assert_eq!(view(&world).map(|view| view.registration).as_deref(), Some("registered"));
    assert_eq!(world.sip.trunk_registers().len(), 1);
    world.pass(S(36)).await;
    assert_eq!(world.sip.trunk_registers().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_static_trunk_is_only_asked_whether_it_lives() {
    let world = World::start(settings(false)).await;
    world.until("it lives", |world| view(world).is_some_and(|view| view.alive == Some(true))).await;
    assert_eq!(view(&world).map(|view| view.registration).as_deref(), Some("static"));
    assert!(world.sip.trunk_registers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn draining_takes_the_registration_back() {
    let world = World::start(settings(true)).await;
    becomes(&world, "registered").await;
    world.tree.drained(S(1)).await;
    becomes(&world, "unregistered").await;
    assert_eq!(world.sip.trunk_registers().last(), Some(&(acme(), Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_line_is_a_calls_own_and_that_of_a_call_that_is_gone_is_found_out() {
    let world = World::start(settings(false)).await;
    world.until("it is there", |world| view(world).is_some()).await;
    assert_eq!(trunk::admit(world.ctx(), &acme(), CallId(1)), Ok(()));
    assert_eq!(trunk::admit(world.ctx(), &acme(), CallId(1)), Ok(()), "the same line");
    assert_eq!(view(&world).map(|view| view.calls), Some(1));
    trunk::release(world.ctx(), &acme(), CallId(1));
    trunk::release(world.ctx(), &acme(), CallId(1));
    assert_eq!(view(&world).map(|view| view.calls), Some(0));
    // Neither call has a row: it may be about to have one, and after a while it never will.
    assert_eq!([2, 3].map(|call| trunk::admit(world.ctx(), &acme(), CallId(call))), [Ok(()); 2]);
    assert_eq!(trunk::admit(world.ctx(), &acme(), CallId(4)), Err(trunk::Full::Places), "one call too many");
    world.pass(S(9)).await;
    assert_eq!(view(&world).map(|view| view.calls), Some(2));
    world.pass(S(1)).await;
    assert_eq!(trunk::admit(world.ctx(), &acme(), CallId(4)), Ok(()));
    assert_eq!(view(&world).map(|view| view.calls), Some(1));
    let other = TrunkId::new("other").expect("an id");
    assert_eq!(trunk::admit(world.ctx(), &other, CallId(5)), Err(trunk::Full::Unknown));
}

#[tokio::test(start_paused = true)]
async fn calls_begin_no_faster_than_max_cps_and_a_call_that_has_a_line_costs_nothing() {
    let mut settings = settings(false);
    settings.trunks.values_mut().for_each(|trunk| (trunk.max_calls, trunk.max_cps) = (None, Some(2)));
    let world = World::start(settings).await;
    let admit = |call| trunk::admit(world.ctx(), &acme(), CallId(call));
    assert_eq!([1, 1, 2, 2, 3].map(admit), [Ok(()), Ok(()), Ok(()), Ok(()), Err(trunk::Full::Rate)]);
    world.pass(S(1)).await;
    assert_eq!([3, 4, 5].map(admit), [Ok(()), Ok(()), Err(trunk::Full::Rate)]);
}
