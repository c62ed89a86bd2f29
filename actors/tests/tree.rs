//! The whole tree without calls: it comes up, comes back, keeps the media threads going, and gives up as it says.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tandem_actors::Kind;
use tandem_actors::control::Control;
use tandem_actors::fakes::World;
use tandem_actors::model::ids::{LegId, MediaId};
use tandem_actors::model::media::Digit;
use tandem_actors::model::settings::Settings;
use tandem_actors::ports::media::{Attachment, Carriage, MediaSpec};
use tandem_actors::root;

/// Every supervisor below Root.
const SUPERVISORS: [Kind; 8] = [
    Kind::MediaSupervisor,
    Kind::RtcSupervisor,
    Kind::SipSupervisor,
    Kind::TrunkSupervisor,
    Kind::ClientSupervisor,
    Kind::InvitationSupervisor,
    Kind::RoomSupervisor,
    Kind::CallSupervisor,
];

fn open(world: &World, near: Option<MediaId>) -> MediaId {
    let media = MediaId::random();
    let carriage = Carriage::Rtp(IpAddr::V4(Ipv4Addr::LOCALHOST));
    world.ctx().media_open(media, MediaSpec { leg: LegId::random(), carriage, near }).expect("there are ports");
    media
}

#[tokio::test(start_paused = true)]
async fn every_supervisor_that_is_killed_is_back_with_its_children() {
    let world = World::start(Settings::default()).await;
    for kind in SUPERVISORS {
        assert_eq!(world.crash(kind).await, 1, "{kind}");
        world.until("it is ready again", |world| world.ctx().ready().is_ok()).await;
        assert_eq!(world.restarts(kind), 1, "{kind}");
    }
    // The children of the subsystems are new and hear.
    for (kind, live) in [(Kind::MediaWorker, 2), (Kind::RtcControl, 1), (Kind::SipEndpoint, 1), (Kind::Registrar, 1)] {
        assert_eq!(world.crash(kind).await, live, "{kind}");
        world.until("it is ready again", |world| world.ctx().ready().is_ok()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_gone_is_opened_again_and_until_then_the_switch_is_not_ready() {
    let world = World::start(Settings::default()).await;
    world.sip.deafen(Some("cannot listen on 192.0.2.1:5060 (udp)"));
    world.until("it says so", |world| world.ctx().ready().is_err_and(|why| why.contains("192.0.2.1:5060"))).await;
    assert_eq!(world.meter.count("tandem_sip_listener_reopens_total", None), 0);
    world.sip.deafen(None);
    world.until("it is ready again", |world| world.ctx().ready().is_ok()).await;
    world.pass(Duration::from_secs(3)).await;
    assert_eq!(world.meter.count("tandem_sip_listener_reopens_total", None), 1);
}

#[tokio::test(start_paused = true)]
async fn a_subsystem_that_keeps_failing_is_restarted_by_root_alone() {
    let world = World::start(Settings::default()).await;
    for _ in 0..6 {
        world.tree.crash(Kind::RtcControl);
        world.pass(Duration::from_secs(3)).await;
    }
    assert_eq!(world.restarts(Kind::RtcControl), 5);
    assert_eq!(world.restarts(Kind::RtcSupervisor), 1);
    assert_eq!(world.meter.count("tandem_actor_restarts_total", None), 6);
    world.until("it is ready again", |world| world.ctx().ready().is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn root_gives_up_after_ten_restarts_in_a_minute_drains_and_ends() {
    let world = World::start(Settings::default()).await;
    for _ in 0..11 {
        world.tree.crash(Kind::RoomSupervisor);
        world.pass(Duration::from_secs(4)).await;
    }
    assert!(world.sip.is_draining());
    assert!(world.ctx().ready().is_err());
    tokio::time::timeout(root::GOOD_BYE * 2, world.tree.ended()).await.expect("Root has ended");
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_every_actor() {
    let world = World::start(Settings::default()).await;
    let World { tree, .. } = world;
    let ctx = tree.ctx().clone();
    tree.stop(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!ctx.directory.call_supervisor.is_up());
    assert!(ctx.ready().is_err());
}

#[tokio::test(start_paused = true)]
async fn media_commands_are_planned_before_they_are_sent() {
    let world = World::start(Settings::default()).await;
    let (a, b) = (open(&world, None), MediaId::random());
    world.ctx().media_attach(a, Attachment::Bridge(b));
    world.ctx().media_play(a, "welcome", 7, false);
    world.ctx().media_digits(a, Digit::new('5').into_iter().collect());
    let plan = world.ctx().ledger.media.get(&a).expect("a plan");
    assert_eq!((plan.attachment, plan.playing), (Attachment::Bridge(b), Some(("welcome".into(), 7, false))));
    world.until("the engine has the digits", |world| world.media.session(a).unwrap().digits == "5").await;
    world.media.finish_clip(a);
    assert_eq!(world.ctx().ledger.media.get(&a).unwrap().playing, None);
    world.ctx().media_close(a);
    world.until("the session is closed", |world| world.media.sessions().is_empty()).await;
    world.until("nothing is left", |world| world.ctx().ledger.media_closing.is_empty()).await;
    assert!(world.ctx().ledger.media.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_ring_keeps_the_order_and_loses_nothing() {
    let world = World::start(Settings::default()).await;
    let media = open(&world, None);
    let worker = world.ctx().ledger.media.get(&media).unwrap().opened.worker;
    world.media.fill(worker, true);
    for token in 0..5000 {
        world.ctx().media_play(media, "clip", token, false);
    }
    world.ctx().media_digits(media, "123".chars().filter_map(Digit::new).collect());
    world.pass(Duration::from_millis(20)).await;
    assert!(world.media.log().is_empty());
    world.media.fill(worker, false);
    world.until("all was said", |world| world.media.session(media).unwrap().digits == "123").await;
    // More than the backlog holds: the plan was pushed instead of its history.
    assert_eq!(world.media.session(media).unwrap().playing, Some(("clip".into(), 4999, false)));
    assert!(world.media.log().len() < 5000);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_media_thread_is_replaced_and_its_plans_pushed_again_within_150_ms_and_a_dead_one_within_50() {
    for (dies, limit_ms) in [(false, 150), (true, 50)] {
        let world = World::start(Settings::default()).await;
        let a = open(&world, None);
        let b = open(&world, Some(a));
        world.ctx().media_attach(a, Attachment::Bridge(b));
        world.ctx().media_attach(b, Attachment::Bridge(a));
        let attached = |world: &World, media| world.media.session(media).map(|session| session.attachment);
        let joined = |world: &World| {
            attached(world, a) == Some(Attachment::Bridge(b)) && attached(world, b) == Some(Attachment::Bridge(a))
        };
        world.until("they are joined", joined).await;
        let worker = world.ctx().ledger.media.get(&a).unwrap().opened.worker;

        let failed_at = tokio::time::Instant::now();
        if dies {
            world.media.kill(worker);
        } else {
            world.media.stick(worker);
        }
        world.until("the thread is replaced", |world| world.media.replaced(worker) == 1).await;
        world.until("they are joined again", joined).await;
        assert!(failed_at.elapsed() <= Duration::from_millis(limit_ms), "{:?}", failed_at.elapsed());
        assert_eq!(world.meter.count("tandem_media_thread_replacements_total", None), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_media_thread_without_sessions_is_left_alone() {
    let world = World::start(Settings::default()).await;
    let media = open(&world, None);
    let worker = world.ctx().ledger.media.get(&media).unwrap().opened.worker;
    world.ctx().media_close(media);
    world.until("the session is closed", |world| world.media.sessions().is_empty()).await;
    world.media.stick(worker);
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(world.media.replaced(worker), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_media_worker_pushes_its_plans_again() {
    let world = World::start(Settings::default()).await;
    let media = open(&world, None);
    world.ctx().media_play(media, "tone:hold", 1, true);
    world.until("it plays", |world| world.media.session(media).unwrap().playing.is_some()).await;
    assert_eq!(world.crash(Kind::MediaWorker).await, 2);
    world.until("it was pushed again", |world| world.media.session(media).unwrap().played.len() == 2).await;
}
