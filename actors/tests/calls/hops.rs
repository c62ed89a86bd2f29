//! A call that goes on by SIP is a hop (RFC 7332): a loop of switches ends.

use tandem_actors::model::address::MaxForwards;
use tandem_actors::model::cause::Cause;

use super::*;

async fn hops_out(world: &World) -> MaxForwards {
    let phone = called(world).await;
    world.sip.dialog(phone).and_then(|dialog| dialog.invite).expect("an INVITE").max_forwards
}

#[tokio::test(start_paused = true)]
async fn an_invite_that_goes_on_has_one_hop_less() {
    let world = world().await;
    let mut invite = FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1002")), "1002", "1001");
    invite.max_forwards = MaxForwards(7);
    let caller = world.sip.incoming(invite);
    assert_eq!(hops_out(&world).await, MaxForwards(6));
    // What the next switch says of a loop is what the caller hears.
    world.sip.end(called(&world).await, Cause::from_sip(483, "Too Many Hops"));
    world.until("the caller hears it", |world| statuses(world, caller).contains(&483)).await;
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_dials_on_is_a_hop_too() {
    let world = world().await;
    let mut invite = FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1002")), "1002", "9000");
    invite.max_forwards = MaxForwards(2);
    world.sip.incoming(invite);
    let media = crate::ivr::plays(&world, "menu").await;
    world.media.press(media, '1');
    assert_eq!(hops_out(&world).await, MaxForwards(1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_begins_here_may_take_70() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    call(&world, alice, "1001").await;
    assert_eq!(hops_out(&world).await, MaxForwards(70));
}
