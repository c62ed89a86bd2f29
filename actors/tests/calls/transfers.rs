//! Transfers: blind, attended, by Replaces; what everybody hears, and what is left.

use tandem_actors::control::Control;
use tandem_actors::model::cause::Cause;
use tandem_actors::ports::media::Attachment;
use tandem_actors::ports::sip::Replaced;
use tandem_actors::supervision::Kind;

use super::*;

/// 1002 talks with the phone 1001: the dialogs of both.
async fn two_phones(world: &World) -> (DialogId, DialogId) {
    let caller = dial(world, "1001");
    let callee = called(world).await;
    world.sip.pick_up(callee);
    answered(world, caller).await;
    world.until("they talk", |world| world.tree.ctx().calls().iter().any(|call| call.phase == "talking")).await;
    (caller, callee)
}

/// A dialog that goes out and is none of these.
async fn another(world: &World, known: &[DialogId]) -> DialogId {
    let other = |world: &World| world.sip.outgoing().into_iter().find(|dialog| !known.contains(dialog));
    world.find("another phone is called", other).await
}

fn leg_of(world: &World, dialog: DialogId) -> tandem_actors::model::ids::LegId {
    world.sip.dialog(dialog).and_then(|dialog| dialog.snapshot.leg).expect("a leg")
}

/// Whether the sessions of two dialogs are joined with each other.
fn joined(world: &World, one: DialogId, other: DialogId) -> bool {
    let (one, other) = (media_of(world, one), media_of(world, other));
    let attached = |of: MediaId, to: MediaId| {
        world.media.sessions().iter().any(|(id, session)| *id == of && session.attachment == Attachment::Bridge(to))
    };
    attached(one, other) && attached(other, one)
}

fn hung_up(world: &World, dialog: DialogId) -> bool {
    world.sip.orders_of(dialog).iter().any(|command| matches!(command, SipCommand::Hangup(_)))
}

#[tokio::test(start_paused = true)]
async fn a_blind_transfer_dials_by_our_routing_and_the_one_who_stays_keeps_its_leg() {
    let world = world().await;
    let (caller, callee) = two_phones(&world).await;
    let media = media_of(&world, callee);
    // The caller transfers: +86 is in its allow list.
    let request = world.sip.refer(caller, "+8613800000000", Replaced::Nobody);
    let target = another(&world, &[callee]).await;
    world
        .until("ringback", |world| {
            world.media.sessions().iter().any(|(id, session)| {
                *id == media && session.playing.as_ref().is_some_and(|(clip, ..)| clip == "tone:ringback")
            })
        })
        .await;
    world.sip.ring(target);
    world.until("180", |world| world.sip.outcomes(request) == [180]).await;
    world.sip.pick_up(target);
    world.until("the outcome", |world| world.sip.outcomes(request) == [180, 200]).await;
    assert_eq!(media_of(&world, callee), media);
    assert!(joined(&world, callee, target));
    assert!(!hung_up(&world, caller), "it may hang up itself");
    world.until("it is hung up", |world| world.sip.dialog(caller).is_none()).await;
    assert!(joined(&world, callee, target));
    world.sip.end(target, Cause::hangup());
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].legs.len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_gives_the_transferor_back() {
    let world = world().await;
    let (caller, callee) = two_phones(&world).await;
    let request = world.sip.refer(callee, "+8613800000000", Replaced::Nobody);
    let target = another(&world, &[callee]).await;
    world.sip.end(target, Cause::busy());
    world.until("the outcome", |world| world.sip.outcomes(request) == [486]).await;
    world.until("they talk again", |world| joined(world, caller, callee)).await;
    // And it may try once more.
    let again = world.sip.refer(callee, "9999", Replaced::Nobody);
    world.until("an app user of that name is rung, and is offline", |world| world.sip.outcomes(again) == [480]).await;
    world.until("they talk again", |world| joined(world, caller, callee)).await;
    world.sip.end(caller, Cause::hangup());
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_transferor_that_has_hung_up_cannot_come_back_and_the_call_ends() {
    let world = world().await;
    let (caller, callee) = two_phones(&world).await;
    let request = world.sip.refer(caller, "+8613800000000", Replaced::Nobody);
    let target = another(&world, &[callee]).await;
    world.sip.end(caller, Cause::hangup());
    world.sip.ring(target);
    world.until("180", |world| world.sip.outcomes(request) == [180]).await;
    assert!(world.sip.dialog(callee).is_some());
    world.sip.end(target, Cause::busy());
    world.until("the outcome", |world| world.sip.outcomes(request) == [180, 486]).await;
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_transfer_outside_the_referrers_rights_is_refused_and_they_talk_on() {
    let mut strict = settings();
    strict.sip_to_rtc.by_request_uri = false;
    let world = world_with(strict).await;
    let (caller, callee) = two_phones(&world).await;
    let request = world.sip.refer(caller, "+19005550000", Replaced::Nobody);
    world.until("403", |world| world.sip.outcomes(request) == [403]).await;
    assert!(joined(&world, caller, callee));
    world.sip.end(caller, Cause::hangup());
    nothing_left(&world).await;
}

/// A trunk may not use a transfer to dial out through us.
#[tokio::test(start_paused = true)]
async fn a_trunk_cannot_transfer_to_a_number_that_only_subscribers_may_dial() {
    let mut more = settings();
    for trunk in more.trunks.values_mut() {
        trunk.max_calls = None;
    }
    let acme = TrunkId::new("acme").expect("an id");
    let world = world_with(more).await;
    let caller = world.sip.incoming(FakeSip::invite_from(SipOrigin::Trunk(acme), "+8621", "1001"));
    let callee = called(&world).await;
    world.sip.pick_up(callee);
    answered(&world, caller).await;
    let request = world.sip.refer(caller, "+8613800000000", Replaced::Nobody);
    world.until("403", |world| world.sip.outcomes(request) == [403]).await;
    assert!(joined(&world, caller, callee));
    world.sip.end(caller, Cause::hangup());
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_transfer_to_a_service_takes_the_one_who_stays_into_its_flow() {
    let world = world().await;
    let (caller, callee) = two_phones(&world).await;
    let request = world.sip.refer(callee, "9000", Replaced::Nobody);
    world.until("the outcome", |world| world.sip.outcomes(request) == [200]).await;
    let media = crate::ivr::plays(&world, "menu").await;
    assert_eq!(media, media_of(&world, caller));
    world.sip.end(caller, Cause::hangup());
    nothing_left(&world).await;
}

/// 1002 talks with 1001, and with the PSTN in a second call: the four dialogs, 1002's own first.
async fn consulting(world: &World) -> [DialogId; 4] {
    let (caller, callee) = two_phones(world).await;
    let second = dial(world, "+8613800000000");
    let consulted = another(world, &[callee]).await;
    world.sip.pick_up(consulted);
    answered(world, second).await;
    world
        .until("both talk", |world| world.tree.ctx().calls().iter().filter(|call| call.phase == "talking").count() == 2)
        .await;
    [caller, callee, second, consulted]
}

#[tokio::test(start_paused = true)]
async fn an_attended_transfer_joins_the_remaining_two_without_a_new_invite() {
    let world = world().await;
    let [caller, callee, second, consulted] = consulting(&world).await;
    let (one, other) = (media_of(&world, callee), media_of(&world, consulted));
    let request = world.sip.refer(caller, "+8613800000000", Replaced::Leg(leg_of(&world, second)));
    world.until("the outcome", |world| world.sip.outcomes(request) == [200]).await;
    assert!(joined(&world, callee, consulted));
    assert_eq!((media_of(&world, callee), media_of(&world, consulted)), (one, other));
    assert_eq!(world.sip.outgoing().len(), 2, "no new INVITE");
    world
        .until("the transferor is let go", |world| {
            world.sip.dialog(caller).is_none() && world.sip.dialog(second).is_none()
        })
        .await;
    assert!(joined(&world, callee, consulted));
    assert_eq!(world.tree.ctx().calls().len(), 1);
    // Its line is held by the call it is in now.
    let lines = world.ctx().ledger.trunks.rows();
    assert!(lines.iter().all(|(_, _, trunk)| trunk.calls.keys().all(|call| world.ctx().ledger.calls.contains(call))));
    assert_eq!(lines.iter().map(|(_, _, trunk)| trunk.calls.len()).sum::<usize>(), 1);
    world.sip.end(consulted, Cause::hangup());
    assert_eq!(nothing_left(&world).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_attended_transfer_survives_the_crash_of_every_actor_of_its_calls() {
    for kind in [Kind::Call, Kind::SipLeg] {
        let world = world().await;
        let [caller, callee, second, consulted] = consulting(&world).await;
        let request = world.sip.refer(caller, "+8613800000000", Replaced::Leg(leg_of(&world, second)));
        world.until("the outcome", |world| world.sip.outcomes(request) == [200]).await;
        world.crash(kind).await;
        world
            .until("the transferor is let go", |world| {
                world.sip.dialog(caller).is_none() && world.sip.dialog(second).is_none()
            })
            .await;
        assert!(joined(&world, callee, consulted), "{kind}");
        world.sip.end(callee, Cause::hangup());
        assert_eq!(nothing_left(&world).await.len(), 2, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_midst_of_a_blind_transfer_leaves_it_going_on() {
    for kind in [Kind::Call, Kind::SipLeg] {
        let world = world().await;
        let (caller, callee) = two_phones(&world).await;
        let request = world.sip.refer(caller, "+8613800000000", Replaced::Nobody);
        let target = another(&world, &[callee]).await;
        world.crash(kind).await;
        world.sip.pick_up(target);
        world.until("the outcome", |world| world.sip.outcomes(request).last() == Some(&200)).await;
        world.until("they talk", |world| joined(world, callee, target)).await;
        world.sip.end(callee, Cause::hangup());
        nothing_left(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_into_a_call_that_is_over_is_481_and_they_talk_on() {
    let world = world().await;
    let [caller, callee, second, consulted] = consulting(&world).await;
    let leg = leg_of(&world, second);
    world.sip.end(consulted, Cause::hangup());
    world.until("the second call is over", |world| world.tree.ctx().calls().len() == 1).await;
    let request = world.sip.refer(caller, "+8613800000000", Replaced::Leg(leg));
    world.until("481", |world| world.sip.outcomes(request) == [481]).await;
    assert!(joined(&world, caller, callee));
    world.sip.end(caller, Cause::hangup());
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_with_replaces_takes_the_place_of_an_answered_phone() {
    let world = world().await;
    let (caller, callee) = two_phones(&world).await;
    let mut invite = FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1003")), "1003", "1001");
    invite.replaces = Some(leg_of(&world, callee));
    let newcomer = world.sip.incoming(invite);
    answered(&world, newcomer).await;
    world.until("they talk", |world| joined(world, caller, newcomer)).await;
    world.until("who was replaced is hung up", |world| world.sip.dialog(callee).is_none()).await;
    world.sip.end(newcomer, Cause::hangup());
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_with_replaces_picks_up_a_phone_that_rings() {
    let world = world().await;
    let caller = dial(&world, "1001");
    let callee = called(&world).await;
    world.sip.ring(callee);
    let mut invite = FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1003")), "1003", "1001");
    invite.replaces = Some(leg_of(&world, callee));
    let newcomer = world.sip.incoming(invite);
    answered(&world, newcomer).await;
    answered(&world, caller).await;
    world.until("they talk", |world| joined(world, caller, newcomer)).await;
    assert!(world.sip.dialog(callee).is_none(), "the phone that rang is cancelled");
    world.sip.end(caller, Cause::hangup());
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_take_over_a_call() {
    let world = world().await;
    let (caller, callee) = two_phones(&world).await;
    let mut invite = FakeSip::invite_from(SipOrigin::Anonymous, "evil", "1001");
    invite.replaces = Some(leg_of(&world, callee));
    let stranger = world.sip.incoming(invite);
    world.until("it is refused", |world| world.sip.dialog(stranger).is_none()).await;
    assert!(joined(&world, caller, callee));
    world.sip.end(caller, Cause::hangup());
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_transfers_an_app_user_and_another_one_to_it() {
    let world = world().await;
    let alice = login(&world, "alice").await;
    let caller = dial(&world, "0alice");
    let invitation = rung(&world, alice).await;
    world.client.request(alice, Request::InviteAccept { invitation, response: String::new(), sdp: Some(sdp()) });
    answered(&world, caller).await;
    world.until("they talk", |world| world.tree.ctx().calls().iter().any(|call| call.phase == "talking")).await;
    let request = world.sip.refer(caller, "1001", Replaced::Nobody);
    let target = called(&world).await;
    world.sip.pick_up(target);
    world.until("the outcome", |world| world.sip.outcomes(request).last() == Some(&200)).await;
    world
        .until("bridged", |world| {
            let media = media_of(world, target);
            world.media.sessions().iter().any(|(_, session)| session.attachment == Attachment::Bridge(media))
        })
        .await;
    world.sip.end(target, Cause::hangup());
    nothing_left(&world).await;
}
