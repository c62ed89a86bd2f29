use std::time::Duration;

use tandem_actors::Kind;
use tandem_actors::client::protocol::{Event, Reply, Request};
use tandem_actors::fakes::World;
use tandem_actors::model::ids::{ClientId, InvitationId};
use tandem_actors::model::settings::Settings;

use super::{ask, log_in, numbers, pass_awake, types, user};

const MS: fn(u64) -> Duration = Duration::from_millis;

async fn invite(world: &World, caller: ClientId, callee: &str) -> InvitationId {
    let request = Request::Invite { callee: user(callee), content: "hello".into(), channel: "c".into() };
    let reply = ask(world, caller, request).await;
    let Reply::Invitation { invitation } = reply else { panic!("not sent: {reply:?}") };
    invitation
}

async fn states(world: &World, client: ClientId, invitation: InvitationId) -> (u8, u8) {
    let reply = ask(world, client, Request::InviteState { invitation }).await;
    let Reply::InvitationState { local, remote, .. } = reply else { panic!("no state: {reply:?}") };
    (local, remote)
}

fn accept(invitation: InvitationId) -> Request {
    Request::InviteAccept { invitation, response: "yes".into(), sdp: None }
}

fn cancel(invitation: InvitationId) -> Request {
    Request::InviteCancel { invitation, reason: "changed my mind".into() }
}

fn api_code(reply: &Reply) -> u8 {
    if let Reply::Error { api: Some(api), .. } = reply {
        return *api;
    }
    assert_eq!(*reply, Reply::Done {});
    0
}

struct Pair {
    world: World,
    alice: ClientId,
    bob: ClientId,
    invitation: InvitationId,
}

/// Alice has invited Bob, and Bob's device has it.
async fn ringing() -> Pair {
    let world = World::start(Settings::default()).await;
    let (alice, bob) = (log_in(&world, "alice").await, log_in(&world, "bob").await);
    let invitation = invite(&world, alice, "bob").await;
    world.until("bob hears it", |world| !world.client.events(bob).is_empty()).await;
    assert!(matches!(ask(&world, bob, Request::InviteAck { invitation }).await, Reply::Done {}));
    world.until("alice hears so", |world| !world.client.events(alice).is_empty()).await;
    assert_eq!(states(&world, alice, invitation).await, (2, 1));
    Pair { world, alice, bob, invitation }
}

#[tokio::test(start_paused = true)]
async fn an_invitation_is_received_accepted_and_confirmed() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    assert_eq!(
        world.client.events(bob),
        [Event::InvitationReceived {
            invitation,
            caller: "alice".into(),
            content: "hello".into(),
            channel: "c".into(),
            call: None
        }]
    );
    assert_eq!(api_code(&ask(&world, bob, accept(invitation)).await), 0);
    world.until("alice hears the acceptance", |world| types(world, alice).len() == 2).await;
    assert_eq!(states(&world, bob, invitation).await, (3, 2));
    ask(&world, alice, Request::InviteAcceptedAck { invitation }).await;
    world.until("bob hears that it stands", |world| types(world, bob).len() == 2).await;
    assert_eq!(types(&world, alice), ["invitation.received_by_peer", "invitation.accepted"]);
    assert_eq!(types(&world, bob), ["invitation.received", "invitation.accepted"]);
    assert_eq!(states(&world, alice, invitation).await, (3, 4));
    assert_eq!(api_code(&ask(&world, bob, accept(invitation)).await), 4);
    assert_eq!(api_code(&ask(&world, alice, cancel(invitation)).await), 3);
}

#[tokio::test(start_paused = true)]
async fn of_an_accept_and_a_cancel_that_cross_the_first_in_the_mailbox_wins() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    let accepted = world.client.request(bob, accept(invitation));
    let cancelled = world.client.request(alice, cancel(invitation));
    let accepted = world.find("bob's reply", |world| world.client.reply(bob, &accepted)).await;
    let cancelled = world.find("alice's reply", |world| world.client.reply(alice, &cancelled)).await;
    let states = states(&world, alice, invitation).await;
    match (api_code(&accepted), api_code(&cancelled)) {
        (0, 3) => assert_eq!(states, (3, 2)),
        (3, 0) => assert_eq!(states, (5, 5)),
        other => panic!("both won, or none: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_first_wins_and_both_hear_it() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    assert_eq!(api_code(&ask(&world, alice, cancel(invitation)).await), 0);
    assert_eq!(api_code(&ask(&world, bob, accept(invitation)).await), 3);
    let canceled = Event::InvitationCanceled { invitation, reason: "changed my mind".into() };
    assert_eq!(world.client.events(alice).last(), Some(&canceled));
    assert_eq!(world.client.events(bob).last(), Some(&canceled));
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_it_rings_changes_nothing_seen_from_outside() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    let before = (world.client.events(alice), world.client.events(bob));
    assert_eq!(world.crash(Kind::Invitation).await, 1);
    assert_eq!(states(&world, bob, invitation).await, (2, 1));
    assert_eq!((world.client.events(alice), world.client.events(bob)), before);
    // A request that was in the mailbox when the actor died is carried out all the same.
    world.tree.arm(Kind::Invitation, &invitation);
    assert_eq!(api_code(&ask(&world, bob, accept(invitation)).await), 0);
    world.until("alice hears the acceptance", |world| types(world, alice).len() == 2).await;
    ask(&world, alice, Request::InviteAcceptedAck { invitation }).await;
    world.until("bob hears that it stands", |world| types(world, bob).len() == 2).await;
    assert_eq!(states(&world, alice, invitation).await, (3, 4));
    assert_eq!((numbers(&world, alice), numbers(&world, bob)), (vec![1, 2], vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_accept_sent_keeps_its_5_s() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    ask(&world, bob, accept(invitation)).await;
    world.pass(MS(3000)).await;
    world.crash(Kind::Invitation).await;
    world.pass(MS(1900)).await;
    assert_eq!(states(&world, bob, invitation).await, (3, 2));
    world.pass(MS(200)).await;
    assert_eq!(states(&world, bob, invitation).await, (3, 6));
    assert_eq!(world.client.events(bob).last(), Some(&Event::InvitationFailed { invitation, code: 2 }));
    assert_eq!(types(&world, alice), ["invitation.received_by_peer", "invitation.accepted"]);
}

#[tokio::test(start_paused = true)]
async fn both_60_s_clocks_start_at_the_send_and_outlive_a_crash() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    let sent = tokio::time::Instant::now();
    pass_awake(&world, &[alice, bob], MS(40_000)).await;
    world.crash(Kind::Invitation).await;
    pass_awake(&world, &[alice, bob], MS(59_800).saturating_sub(sent.elapsed())).await;
    assert_eq!(states(&world, alice, invitation).await, (2, 1));
    pass_awake(&world, &[alice, bob], MS(300)).await;
    assert_eq!(states(&world, alice, invitation).await, (6, 6));
    let failed = Event::InvitationFailed { invitation, code: 3 };
    assert_eq!(world.client.events(alice).last(), Some(&failed));
    assert_eq!(world.client.events(bob).last(), Some(&failed));
}

#[tokio::test(start_paused = true)]
async fn a_callee_who_logs_in_within_30_s_gets_it_then() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    let invitation = invite(&world, alice, "bob").await;
    pass_awake(&world, &[alice], MS(29_000)).await;
    let bob = log_in(&world, "bob").await;
    world.until("bob hears it", |world| types(world, bob) == ["invitation.received"]).await;
    ask(&world, bob, Request::InviteAck { invitation }).await;
    assert_eq!(states(&world, alice, invitation).await, (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_callee_who_stays_away_is_offline_after_30_s() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    let invitation = invite(&world, alice, "bob").await;
    pass_awake(&world, &[alice], MS(29_900)).await;
    assert_eq!(states(&world, alice, invitation).await, (1, 0));
    pass_awake(&world, &[alice], MS(200)).await;
    assert_eq!(states(&world, alice, invitation).await, (6, 0));
    assert_eq!(world.client.events(alice), [Event::InvitationFailed { invitation, code: 1 }]);
    let bob = log_in(&world, "bob").await;
    pass_awake(&world, &[alice, bob], MS(1000)).await;
    assert!(world.client.events(bob).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_never_acknowledges_is_no_response() {
    let world = World::start(Settings::default()).await;
    let (alice, bob) = (log_in(&world, "alice").await, log_in(&world, "bob").await);
    let invitation = invite(&world, alice, "bob").await;
    pass_awake(&world, &[alice, bob], MS(30_100)).await;
    assert_eq!(world.client.events(alice), [Event::InvitationFailed { invitation, code: 2 }]);
    assert_eq!(world.client.events(bob).last(), Some(&Event::InvitationFailed { invitation, code: 3 }));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_logs_out_fails_the_callees_side() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    ask(&world, alice, Request::Logout {}).await;
    world.until("bob hears so", |world| types(world, bob).len() == 2).await;
    assert_eq!(world.client.events(bob).last(), Some(&Event::InvitationFailed { invitation, code: 1 }));
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_cannot_be_kept_alive_fails_both_sides() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    for _ in 0..4 {
        world.tree.crash(Kind::Invitation);
        world.pass(MS(500)).await;
    }
    let failed = Event::InvitationFailed { invitation, code: 3 };
    assert_eq!(world.client.events(alice).last(), Some(&failed));
    assert_eq!(world.client.events(bob).last(), Some(&failed));
    assert!(world.ctx().ledger.invitations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_device_rings_and_the_first_accept_wins() {
    let mut settings = Settings::default();
    settings.limits.devices_per_user = 2;
    let world = World::start(settings).await;
    let alice = log_in(&world, "alice").await;
    let (phone, tablet) = (log_in(&world, "bob").await, log_in(&world, "bob").await);
    let invitation = invite(&world, alice, "bob").await;
    world.until("both ring", |world| types(world, phone).len() == 1 && types(world, tablet).len() == 1).await;
    assert_eq!(api_code(&ask(&world, tablet, accept(invitation)).await), 0);
    assert_eq!(api_code(&ask(&world, phone, accept(invitation)).await), 4);
    assert_eq!(types(&world, phone), ["invitation.received", "invitation.answered_elsewhere"]);
}

#[tokio::test(start_paused = true)]
async fn limits_are_bytes_and_one_more_is_an_invalid_argument() {
    let world = World::start(Settings::default()).await;
    let alice = log_in(&world, "alice").await;
    let of = |content: usize, channel: usize| Request::Invite {
        callee: user("bob"),
        content: "x".repeat(content),
        channel: "y".repeat(channel),
    };
    assert!(matches!(ask(&world, alice, of(8192, 64)).await, Reply::Invitation { .. }));
    assert_eq!(api_code(&ask(&world, alice, of(8193, 64)).await), 1);
    assert_eq!(api_code(&ask(&world, alice, of(8192, 65)).await), 1);
    let invitation = InvitationId::random();
    let response = "x".repeat(8193);
    assert_eq!(api_code(&ask(&world, alice, Request::InviteRefuse { invitation, response }).await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_to_an_invitation_hears_nothing_of_it() {
    let Pair { world, bob, invitation, .. } = ringing().await;
    let eve = log_in(&world, "eve").await;
    for body in [accept(invitation), cancel(invitation), Request::InviteState { invitation }] {
        assert!(matches!(ask(&world, eve, body).await, Reply::Error { api: None, .. }));
    }
    assert_eq!(types(&world, bob).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invitation_that_is_over_is_forgotten_after_a_while() {
    let Pair { world, alice, bob, invitation } = ringing().await;
    ask(&world, alice, cancel(invitation)).await;
    pass_awake(&world, &[alice, bob], MS(66_000)).await;
    assert!(world.ctx().ledger.invitations.is_empty() && world.ctx().directory.invitations.is_empty());
    let late = ask(&world, bob, accept(invitation)).await;
    assert!(matches!(late, Reply::Error { api: None, .. }));
}
