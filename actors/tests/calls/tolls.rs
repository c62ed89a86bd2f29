//! What a stolen password may cost, and what the SIP core is told of the load.

use tandem_actors::model::cause::Cause;

use super::*;

/// A trunk with lines enough.
fn wide() -> Settings {
    let mut settings = settings();
    settings.trunks.values_mut().for_each(|trunk| trunk.max_calls = None);
    settings
}

/// A call of subscriber 1002's goes out by the trunk: the dialog that came, and the one that left.
async fn out(world: &World, number: &str) -> (DialogId, DialogId) {
    let before = world.sip.outgoing();
    let came = dial(world, number);
    let left =
        world.find("a call by the trunk", |world| world.sip.outgoing().into_iter().find(|id| !before.contains(id)));
    (came, left.await)
}

async fn refused(world: &World, number: &str) {
    let came = dial(world, number);
    world.until("403", |world| statuses(world, came).last() == Some(&403)).await;
}

async fn hung_up(world: &World, (came, _): (DialogId, DialogId)) {
    world.sip.end(came, Cause::hangup());
    nothing_left(world).await;
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_calls_by_trunks_at_once() {
    let mut settings = wide();
    settings.limits.user_trunk_calls = Some(1);
    let world = world_with(settings).await;
    let first = out(&world, "+8613800000001").await;
    refused(&world, "+8613800000002").await;
    hung_up(&world, first).await;
    let second = out(&world, "+8613800000003").await;
    hung_up(&world, second).await;
}

#[tokio::test(start_paused = true)]
async fn a_user_and_a_trunk_begin_so_many_calls_a_minute() {
    for by_trunk in [false, true] {
        let mut settings = wide();
        if by_trunk {
            settings.trunks.values_mut().for_each(|trunk| trunk.calls_per_minute = Some(1));
        } else {
            settings.limits.user_trunk_calls_per_minute = Some(1);
        }
        let world = world_with(settings).await;
        let first = out(&world, "+8613800000001").await;
        hung_up(&world, first).await;
        refused(&world, "+8613800000002").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = out(&world, "+8613800000003").await;
        hung_up(&world, later).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_core_is_told_when_as_many_calls_live_as_may_and_when_not() {
    let mut settings = wide();
    settings.limits.max_calls = 1;
    let world = world_with(settings).await;
    assert!(!world.sip.is_full());
    let call = out(&world, "+8613800000001").await;
    world.until("the core is told", |world| world.sip.is_full()).await;
    hung_up(&world, call).await;
    world.until("the core is told", |world| !world.sip.is_full()).await;
}
