//! The IVR, from a phone and from a browser.

use tandem_actors::Kind;
use tandem_actors::client::protocol::{Event, Request};
use tandem_actors::control::Control;
use tandem_actors::model::cause::Cause;
use tandem_actors::ports::media::MediaCommand;

use super::*;

pub async fn plays(world: &World, clip: &str) -> MediaId {
    world
        .find("the prompt", |world| {
            let playing = |s: &tandem_actors::fakes::FakeSession| s.playing.as_ref().is_some_and(|p| p.0 == clip);
            world.media.sessions().into_iter().find(|(_, s)| playing(s)).map(|(id, _)| id)
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_phone_presses_1_and_reaches_the_desk() {
    let world = world().await;
    let dialog = dial(&world, "9000");
    answered(&world, dialog).await;
    let media = plays(&world, "menu").await;
    world.media.press(media, '1');
    let desk = called(&world).await;
    world.sip.ring(desk);
    plays(&world, "tone:ringback").await;
    world.sip.pick_up(desk);
    world.until("they talk", |world| bridged(world) && world.ctx().calls()[0].phase == "talking").await;
    assert!(world.ctx().ledger.flows.is_empty());
    world.sip.end(desk, Cause::hangup());
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].kind.as_str(), cdrs[0].legs.len()), (1, "ivr", 2));
}

#[tokio::test(start_paused = true)]
async fn pressing_nothing_or_wrong_twice_hangs_up() {
    let world = world().await;
    let silent = dial(&world, "9000");
    let media = plays(&world, "menu").await;
    world.media.finish_clip(media);
    world.pass(Duration::from_secs(5)).await;
    plays(&world, "menu").await;
    world.media.finish_clip(media);
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), statuses(&world, silent)), (1, vec![200, 200]));
    dial(&world, "9000");
    let media = plays(&world, "menu").await;
    world.media.press(media, '9');
    plays(&world, "invalid").await;
    world.media.press(media, '8');
    assert_eq!(nothing_left(&world).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_digit_stops_the_menus_prompt() {
    let world = world().await;
    dial(&world, "9000");
    let media = plays(&world, "menu").await;
    world.media.press(media, '2');
    world.until("the prompt is stopped", |world| world.media.session(media).is_some_and(|s| s.playing.is_none())).await;
    let said = world.media.log().into_iter().map(|(_, command)| command);
    assert!(said.into_iter().any(|command| command == MediaCommand::StopPlay { media }));
}

/// 9000 greets, then asks twice: for a floor, where 7 is the only one, and for a person, as the menu of [`settings`].
async fn with_greeting() -> World {
    let mut settings = settings();
    let service = settings.services.values_mut().next().expect("the service");
    let floor = Step::Menu {
        prompt: "floor".into(),
        timeout_s: 5,
        retries: 1,
        choices: BTreeMap::from([(Digit::new('7').expect("a digit"), "menu".to_owned())]),
        invalid_prompt: None,
        on_timeout: None,
        on_invalid: None,
    };
    let greet = Step::Play { prompt: "greeting".into(), next: Some("floor".into()) };
    service.script.steps.extend([("greet".to_owned(), greet), ("floor".to_owned(), floor)]);
    service.script.start = "greet".into();
    world_with(settings).await
}

#[tokio::test(start_paused = true)]
async fn digits_typed_during_a_greeting_choose_at_the_menus_behind_it_over_a_crash() {
    let world = with_greeting().await;
    dial(&world, "9000");
    let media = plays(&world, "greeting").await;
    world.media.press(media, '7');
    world.media.press(media, '1');
    let call = world.ctx().calls()[0].call;
    let kept = |world: &World| world.ctx().ledger.flows.read(&call, |flow| flow.ahead.len());
    world.until("both are kept", |world| kept(world) == Some(2)).await;
    world.crash(Kind::Flow).await;
    world
        .until("the greeting plays again", |world| {
            world.media.session(media).is_some_and(|s| s.played == ["greeting", "greeting"])
        })
        .await;
    world.media.finish_clip(media);
    called(&world).await;
    let played = world.media.session(media).map(|session| session.played).unwrap_or_default();
    assert!(!played.iter().any(|clip| clip == "floor" || clip == "menu"), "{played:?}");
    assert_eq!(kept(&world), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_desk_that_refuses_brings_the_flow_on() {
    let world = world().await;
    dial(&world, "9000");
    let media = plays(&world, "menu").await;
    world.media.press(media, '1');
    let desk = called(&world).await;
    world.sip.end(desk, Cause::busy());
    plays(&world, "sorry").await;
    world.media.finish_clip(media);
    let cdrs = nothing_left(&world).await;
    assert_eq!((cdrs.len(), cdrs[0].legs.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_browser_calls_the_ivr_and_reaches_an_app_user() {
    let world = world().await;
    let (bob, alice) = (login(&world, "bob").await, login(&world, "alice").await);
    let call = call(&world, bob, "9000").await;
    plays(&world, "menu").await;
    let digits = vec![Digit::new('3').expect("a digit")];
    world.client.request(bob, Request::Dtmf { call, digits });
    crate::sip_to_rtc::accept(&world, alice).await;
    world.until("they talk", |world| bridged(world) && world.ctx().calls()[0].phase == "talking").await;
    let answers = world.client.events(bob).iter().filter(|e| matches!(e, Event::CallAnswered { .. })).count();
    assert_eq!(answers, 1);
    world.client.request(alice, Request::Hangup { call });
    world.until("bob hears it", |world| ended(world, bob, call) == Some(200)).await;
    assert_eq!(nothing_left(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sip_number_goes_past_the_flow() {
    let world = world().await;
    let bob = login(&world, "bob").await;
    let request = Request::Call {
        to: "9000".into(),
        sdp: sdp(),
        pstn: false,
        display_name: String::new(),
        headers: Default::default(),
        sip_number: Some("1001".into()),
    };
    let call = begun(&world, bob, request).await;
    called(&world).await;
    assert!(world.ctx().ledger.flows.is_empty());
    world.client.request(bob, Request::Hangup { call });
    nothing_left(&world).await;
}

#[tokio::test(start_paused = true)]
async fn an_invitation_to_the_service_is_accepted_at_once_and_runs_the_flow() {
    let world = world().await;
    let bob = login(&world, "bob").await;
    let invite = Request::Invite { callee: user("welcome"), content: "{}".into(), channel: String::new() };
    world.client.request(bob, invite);
    let call = world
        .find("the acceptance", |world| {
            let accepted = |event| if let Event::InvitationAccepted { call, .. } = event { call } else { None };
            world.client.events(bob).into_iter().find_map(accepted)
        })
        .await;
    world.client.request(bob, Request::MediaOffer { call, sdp: sdp() });
    plays(&world, "menu").await;
    world.client.request(bob, Request::Hangup { call });
    assert_eq!(nothing_left(&world).await.len(), 1);
}
