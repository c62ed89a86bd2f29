//! The SIP leg's rules.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::model::address::{NameAddr, SipOrigin, SipUri, Transport};
use crate::model::ids::ListenerId;
use crate::model::media::Direction;
use crate::model::negotiate::{Profile, Qos, Secured, Security};
use crate::ports::rtc::RtcEventKind;

fn description(port: u16, codecs: &[Codec], direction: Direction) -> AudioOffer {
    AudioOffer::from_capabilities(&Capabilities {
        codecs: codecs.to_vec(),
        rtp: SocketAddr::from(([192, 0, 2, 1], port)),
        direction,
        session_id: 7,
        session_version: 1,
        security: Security::Plain,
    })
}

fn phone(direction: Direction) -> AudioOffer {
    description(4000, &[Codec::Pcmu, Codec::Pcma], direction)
}

fn uas(offer: Option<AudioOffer>) -> SipState {
    let uri = SipUri("sip:1@h".into());
    let name = NameAddr { display: String::new(), uri: uri.clone() };
    let invite = IncomingInvite {
        dialog: DialogId(1),
        call_id: "c".into(),
        listener: ListenerId::new("udp").expect("a name"),
        source: SocketAddr::from(([192, 0, 2, 1], 5060)),
        transport: Transport::Udp,
        origin: SipOrigin::Anonymous,
        request_uri: uri,
        from: name.clone(),
        to: name,
        asserted: None,
        headers: AppHeaders::default(),
        max_forwards: MaxForwards::default(),
        carried: Carried::default(),
        replaces: None,
        offer,
        reliable: false,
    };
    open(SipState::uas(Box::new(invite), vec![Codec::Pcmu, Codec::Pcma], MediaEncryption::None))
}

fn uac() -> SipState {
    let to = vec![Destination::Uri(SipUri("sip:2@h".into()))];
    let (headers, hops) = (AppHeaders::default(), MaxForwards::default());
    let (codecs, carried) = (vec![Codec::Pcma, Codec::Pcmu], Carried::default());
    open(SipState::uac(to, CallerId::default(), headers, hops, carried, codecs, MediaEncryption::None))
}

fn open(mut state: SipState) -> SipState {
    state.rtp = Some(SocketAddr::from(([198, 51, 100, 1], 10_000)));
    state
}

fn step(state: SipState, input: SipInput) -> (SipState, Vec<SipEffect>) {
    state.step(LegId(1), input)
}

fn order(state: SipState, order: LegOrder) -> (SipState, Vec<SipEffect>) {
    step(state, SipInput::Order(order))
}

fn event(state: SipState, event: DialogEvent) -> (SipState, Vec<SipEffect>) {
    step(state, SipInput::Dialog(event))
}

fn commands(state: &SipState) -> Vec<&SipCommand> {
    state.last.iter().map(|(_, command)| command).collect()
}

fn talking() -> SipState {
    let (state, _) = step(uas(Some(phone(Direction::SendRecv))), SipInput::Start);
    let (state, _) = order(state, LegOrder::Prepare { first: Vec::new() });
    let (state, _) = order(state, LegOrder::Answer { headers: AppHeaders::default() });
    event(state, DialogEvent::Acked { answer: None }).0
}

fn answer(offer: &AudioOffer, codecs: &[Codec]) -> Box<AudioAnswer> {
    let ours = Capabilities {
        codecs: codecs.to_vec(),
        rtp: SocketAddr::from(([192, 0, 2, 1], 4000)),
        direction: Direction::SendRecv,
        session_id: 8,
        session_version: 1,
        security: Security::Plain,
    };
    Box::new(offer.answer(&ours).expect("an answer").0)
}

fn snapshot(phase: DialogPhase, last_order: u64) -> DialogSnapshot {
    let headers = AppHeaders::default();
    DialogSnapshot {
        leg: None,
        phase,
        pending: None,
        referral: None,
        remote: None,
        advertised: None,
        local: None,
        offering: false,
        headers,
        last_order,
    }
}

fn picked_up(offer: &AudioOffer, advertised: Option<IpAddr>) -> DialogEvent {
    DialogEvent::Answered { answer: answer(offer, &[Codec::Pcmu]), headers: AppHeaders::default(), advertised }
}

#[test]
fn the_far_sides_codec_is_preferred_and_media_is_ready_before_the_answer() {
    let (state, _) = step(uas(Some(phone(Direction::SendRecv))), SipInput::Start);
    let (state, effects) = order(state, LegOrder::Prepare { first: vec![Codec::Pcma] });
    assert!(matches!(effects.first(), Some(SipEffect::Configure { watched: false, .. })));
    assert_eq!(effects.last(), Some(&SipEffect::Report(LegReport::Ready(Codec::Pcma))));
    assert!(commands(&state).is_empty());
    let (state, _) = order(state, LegOrder::Answer { headers: AppHeaders::default() });
    assert_eq!(state.phase, SipPhase::Answering);
    assert!(matches!(commands(&state)[..], [SipCommand::Answer { .. }]));
}

#[test]
fn an_offer_without_common_ground_is_488_with_its_warning() {
    let mut offer = phone(Direction::SendRecv);
    offer.0.profile = Profile::Other("RTP/SAVP".into());
    let (state, effects) = order(uas(Some(offer)), LegOrder::Prepare { first: Vec::new() });
    let [SipCommand::Reject { cause, warning }] = commands(&state)[..] else { panic!("{:?}", state.last) };
    assert_eq!((cause.status, *warning), (488, Some(302)));
    assert!(effects.contains(&SipEffect::CloseMedia));
}

#[test]
fn an_invite_without_offer_gets_ours_in_the_200_and_the_ack_brings_the_answer() {
    let (state, _) = order(uas(None), LegOrder::Prepare { first: Vec::new() });
    let (state, _) = order(state, LegOrder::Answer { headers: AppHeaders::default() });
    let offer = state.local.clone().expect("an offer");
    let (state, effects) = event(state, DialogEvent::Acked { answer: Some(answer(&offer, &[Codec::Pcma])) });
    assert_eq!(state.phase, SipPhase::Confirmed);
    assert!(matches!(effects.first(), Some(SipEffect::Configure { watched: true, .. })));
    let (state, _) = order(uas(None), LegOrder::Answer { headers: AppHeaders::default() });
    let (state, _) = event(state, DialogEvent::Acked { answer: None });
    assert!(matches!(commands(&state)[..], [SipCommand::Hangup(_)]));
}

#[test]
fn hold_is_answered_and_reported_and_the_version_goes_up_only_with_a_change() {
    let reoffer = |direction| DialogEvent::Reoffered { request: 3, offer: Some(Box::new(phone(direction))) };
    let (state, effects) = event(talking(), reoffer(Direction::SendRecv));
    assert_eq!(state.local.as_ref().map(|local| local.0.session_version), Some(1));
    assert!(!effects.iter().any(|e| matches!(e, SipEffect::Report(_))));
    let (state, effects) = event(state, reoffer(Direction::Inactive));
    assert_eq!(state.local.as_ref().map(|local| local.0.session_version), Some(2));
    assert!(effects.contains(&SipEffect::Report(LegReport::Held { held: true, mute: true })));
    let (state, _) = event(state, DialogEvent::Reoffered { request: 4, offer: None });
    assert!(matches!(commands(&state)[..], [SipCommand::AnswerReoffer { request: 4, .. }]));
}

/// What the last step offers to the party.
fn offered(state: &SipState) -> Box<AudioOffer> {
    let [SipCommand::Reoffer(offer)] = commands(state)[..] else { panic!("{:?}", state.last) };
    offer.clone()
}

#[test]
fn the_far_sides_hold_is_told_by_a_re_invite_that_changes_the_direction_alone() {
    let before = talking().local.expect("an answer");
    let (state, _) = order(talking(), LegOrder::Hold(true));
    let offer = offered(&state);
    assert_eq!((offer.0.direction, offer.0.session_version), (Direction::SendOnly, before.0.session_version + 1));
    assert_eq!((&offer.0.codecs, offer.0.rtp), (&before.0.codecs, before.0.rtp));
    let (state, effects) = event(state, DialogEvent::ReofferAnswered(answer(&offer, &[Codec::Pcmu])));
    assert!(state.agreed.as_ref().is_some_and(|agreed| agreed.direction == Direction::SendOnly));
    assert!(!effects.iter().any(|effect| matches!(effect, SipEffect::Report(LegReport::Held { .. }))));
    let (state, _) = order(state, LegOrder::Hold(true));
    assert!(commands(&state).is_empty(), "said once");
    let (state, _) = order(state, LegOrder::Hold(false));
    let offer = offered(&state);
    assert_eq!(offer.0.direction, Direction::SendRecv);
    let (state, _) = event(state, DialogEvent::ReofferAnswered(answer(&offer, &[Codec::Pcmu])));
    assert!(state.agreed.is_some_and(|agreed| agreed.direction == Direction::SendRecv));
}

#[test]
fn a_re_invite_of_ours_that_fails_leaves_the_session_as_it_was() {
    let before = talking();
    let (state, _) = order(talking(), LegOrder::Hold(true));
    let (state, effects) = event(state, DialogEvent::ReofferFailed(488));
    assert_eq!((&state.local, &state.agreed), (&before.local, &before.agreed));
    assert!(effects.is_empty() && state.last.is_empty(), "it is not tried again");
}

#[test]
fn a_wish_that_changed_while_it_was_told_is_told_next() {
    let (state, _) = order(talking(), LegOrder::Hold(true));
    let first = offered(&state);
    let (state, _) = order(state, LegOrder::Hold(false));
    assert!(commands(&state).is_empty(), "one at a time");
    let (state, _) = event(state, DialogEvent::ReofferAnswered(answer(&first, &[Codec::Pcmu])));
    let second = offered(&state);
    assert_eq!(second.0.direction, Direction::SendRecv);
    assert_eq!(second.0.session_version, first.0.session_version + 1);
}

#[test]
fn a_hold_that_meets_the_partys_own_offer_follows_what_was_answered() {
    let (state, _) = order(talking(), LegOrder::Hold(true));
    let reoffer = DialogEvent::Reoffered { request: 3, offer: Some(Box::new(phone(Direction::SendRecv))) };
    let (state, _) = event(state, reoffer);
    let [SipCommand::AnswerReoffer { description, .. }, SipCommand::Reoffer(offer)] = commands(&state)[..] else {
        panic!("{:?}", state.last)
    };
    assert_eq!(description.0.direction, Direction::SendOnly, "the wish holds for the answer too");
    assert!(offer.0.session_version > description.0.session_version);
}

#[test]
fn a_resumed_leg_learns_what_became_of_its_offer() {
    let (state, _) = order(talking(), LegOrder::Hold(true));
    let offer = offered(&state);
    let mut state = state;
    state.last.clear();
    let mut known = snapshot(DialogPhase::Confirmed, 9);
    known.remote = Some(Box::new(AudioOffer(answer(&offer, &[Codec::Pcmu]).0)));
    let (failed, _) = step(state.clone(), SipInput::Resume(Some(Box::new(known.clone()))));
    assert!(failed.hold.proposed.is_none() && failed.local != Some(offer.clone()), "it failed meanwhile");
    known.local = Some(offer.clone());
    let (answered, _) = step(state.clone(), SipInput::Resume(Some(Box::new(known.clone()))));
    assert!(answered.hold.told && answered.local == Some(offer));
    known.offering = true;
    let (waiting, _) = step(state, SipInput::Resume(Some(Box::new(known))));
    assert!(waiting.hold.proposed.is_some());
}

#[test]
fn an_invite_without_offer_gets_ours_in_a_reliable_response_and_the_prack_brings_the_answer() {
    let mut state = uas(None);
    if let Role::Uas(invite) = &mut state.role {
        invite.reliable = true;
    }
    let (state, _) = order(state, LegOrder::Progress { status: 180, early: false, headers: AppHeaders::default() });
    let [SipCommand::Progress { answer: Some(offer), .. }] = commands(&state)[..] else { panic!("{:?}", state.last) };
    let offer = AudioOffer(offer.0.clone());
    let mut known = snapshot(DialogPhase::Early { progress: Some(180) }, 9);
    known.remote = Some(Box::new(AudioOffer(answer(&offer, &[Codec::Pcma]).0)));
    let (resumed, _) = step(state.clone(), SipInput::Resume(Some(Box::new(known))));
    assert!(resumed.agreed.is_some(), "it came while the leg was away");
    let (state, effects) = event(state, DialogEvent::Pracked(answer(&offer, &[Codec::Pcma])));
    assert!(matches!(effects[..], [SipEffect::Configure { watched: false, .. }]));
    let (state, _) = order(state, LegOrder::Answer { headers: AppHeaders::default() });
    let (state, _) = event(state, DialogEvent::Acked { answer: None });
    assert_eq!(state.phase, SipPhase::Confirmed);
}

#[test]
fn a_caller_with_unmet_preconditions_is_answered_in_a_183_at_once() {
    let mut offer = phone(Direction::SendRecv);
    offer.0.qos = Some(Qos { local: false, remote: false });
    let mut state = uas(Some(offer.clone()));
    if let Role::Uas(invite) = &mut state.role {
        invite.reliable = true;
    }
    let (state, _) = step(state, SipInput::Start);
    let [SipCommand::Adopt(_), SipCommand::Progress { status: 183, answer: Some(answer), .. }] = commands(&state)[..]
    else {
        panic!("{:?}", state.last)
    };
    assert_eq!(answer.0.qos, Some(Qos { local: true, remote: false }));
    offer.0.qos = Some(Qos { local: true, remote: true });
    let (state, _) = event(state, DialogEvent::Reoffered { request: 2, offer: Some(Box::new(offer)) });
    let [SipCommand::AnswerReoffer { description, .. }] = commands(&state)[..] else { panic!("{:?}", state.last) };
    assert_eq!(description.0.qos, Some(Qos { local: true, remote: true }));
}

#[test]
fn an_offer_before_the_answer_is_answered_by_itself() {
    let (state, _) = step(uac(), SipInput::Start);
    let (state, _) =
        event(state, DialogEvent::Reoffered { request: 2, offer: Some(Box::new(phone(Direction::SendRecv))) });
    assert!(matches!(commands(&state)[..], [SipCommand::AnswerReoffer { request: 2, .. }]));
    let strange = description(4000, &[], Direction::SendRecv);
    let (state, _) = event(state, DialogEvent::Reoffered { request: 3, offer: Some(Box::new(strange)) });
    let refused = SipCommand::RejectReoffer { request: 3, status: 488, warning: Some(305) };
    assert_eq!(commands(&state), [&refused]);
}

#[test]
fn a_resumed_leg_hears_the_answer_that_came_while_it_was_away() {
    let (state, _) = step(uac(), SipInput::Start);
    let offer = state.local.clone().expect("an offer");
    let mut known = snapshot(DialogPhase::Confirmed, 1);
    known.remote = Some(Box::new(AudioOffer(answer(&offer, &[Codec::Pcmu]).0)));
    let (state, effects) = step(state, SipInput::Resume(Some(Box::new(known))));
    assert_eq!(state.phase, SipPhase::Confirmed);
    let headers = AppHeaders::default();
    assert!(effects.contains(&SipEffect::Report(LegReport::Connected { codec: Codec::Pcmu, headers })));
}

#[test]
fn a_resumed_leg_gives_its_last_order_again_under_the_same_number() {
    let (state, _) = step(uac(), SipInput::Start);
    let before = state.last.clone();
    let (state, effects) = step(state, SipInput::Resume(None));
    assert_eq!(state.last, before);
    assert_eq!(effects, [SipEffect::Command]);
    let (gone, effects) = step(talking(), SipInput::Resume(None));
    assert_eq!(gone.phase, SipPhase::Ended);
    assert!(effects.iter().any(|e| matches!(e, SipEffect::End(cause) if cause.status == 500)));
}

#[test]
fn a_pending_reinvite_is_stepped_on_resume() {
    let mut known = snapshot(DialogPhase::Confirmed, 9);
    known.pending = Some((5, Some(Box::new(phone(Direction::SendOnly)))));
    let (state, _) = step(talking(), SipInput::Resume(Some(Box::new(known))));
    assert!(state.last.iter().any(|(_, c)| matches!(c, SipCommand::AnswerReoffer { request: 5, .. })));
}

#[test]
fn later_answers_name_the_address_that_who_answered_was_offered() {
    let inside = IpAddr::from([192, 168, 1, 1]);
    for resumed in [false, true] {
        let (state, _) = step(uac(), SipInput::Start);
        let offer = state.local.clone().expect("an offer");
        let (state, _) = if resumed {
            let mut known = snapshot(DialogPhase::Confirmed, 1);
            known.remote = Some(Box::new(AudioOffer(answer(&offer, &[Codec::Pcmu]).0)));
            known.advertised = Some(inside);
            step(state, SipInput::Resume(Some(Box::new(known))))
        } else {
            event(state, picked_up(&offer, Some(inside)))
        };
        let (state, _) =
            event(state, DialogEvent::Reoffered { request: 2, offer: Some(Box::new(phone(Direction::SendRecv))) });
        let [SipCommand::AnswerReoffer { description, .. }] = commands(&state)[..] else { panic!("an answer") };
        assert_eq!(description.0.rtp, SocketAddr::new(inside, 10_000));
    }
}

#[test]
fn an_answer_that_crosses_our_hang_up_changes_nothing() {
    let (state, _) = step(uac(), SipInput::Start);
    let offer = state.local.clone().expect("an offer");
    let (state, _) = order(state, LegOrder::End(Cause::cancelled()));
    let answered = picked_up(&offer, None);
    let (state, effects) = event(state, answered);
    assert_eq!(effects, []);
    let (state, effects) = event(state, DialogEvent::Ended(Cause::hangup()));
    assert_eq!(state.phase, SipPhase::Ended);
    assert_eq!(effects.last(), Some(&SipEffect::End(Cause::cancelled())));
}

proptest! {
    #[test]
    fn whatever_comes_orders_are_numbered_on_and_it_ends_once(
        caller in any::<bool>(), inputs in prop::collection::vec(0u8..19, 0..25),
    ) {
        let mut state = if caller { uas(Some(phone(Direction::SendRecv))) } else { uac() };
        let (mut numbers, mut ends, mut closes) = (0, 0, 0);
        for input in std::iter::once(0).chain(inputs) {
            let local = state.local.clone().unwrap_or_else(|| Box::new(phone(Direction::SendRecv)));
            let headers = AppHeaders::default();
            let input = match input {
                0 if state.orders == 0 => SipInput::Start,
                0 | 1 => SipInput::Resume(Some(Box::new(snapshot(DialogPhase::Early { progress: None }, 0)))),
                2 => SipInput::Resume(Some(Box::new(snapshot(DialogPhase::Ended(Cause::hangup()), 0)))),
                3 => SipInput::Order(LegOrder::Prepare { first: vec![Codec::Pcma] }),
                4 => SipInput::Order(LegOrder::Progress { status: 183, early: true, headers }),
                5 => SipInput::Order(LegOrder::Answer { headers }),
                6 => SipInput::Order(LegOrder::End(Cause::hangup())),
                7 => SipInput::Dialog(DialogEvent::Progress { status: 180, answer: None, headers }),
                8 => SipInput::Dialog(picked_up(&local, None)),
                9 => SipInput::Dialog(DialogEvent::Acked { answer: None }),
                10 => SipInput::Dialog(DialogEvent::Reoffered { request: 1, offer: Some(Box::new(phone(Direction::SendOnly))) }),
                11 => SipInput::Dialog(DialogEvent::Reoffered { request: 2, offer: None }),
                12 => SipInput::Dialog(DialogEvent::Ended(Cause::hangup())),
                13 => SipInput::Order(LegOrder::Hold(true)),
                14 => SipInput::Order(LegOrder::Hold(false)),
                15 => SipInput::Dialog(DialogEvent::ReofferAnswered(answer(&local, &[Codec::Pcmu]))),
                16 => SipInput::Dialog(DialogEvent::ReofferFailed(491)),
                17 => SipInput::Dialog(DialogEvent::Pracked(answer(&local, &[Codec::Pcmu]))),
                _ => SipInput::Overdue,
            };
            let resumed = matches!(input, SipInput::Resume(_));
            let (after, effects) = step(state, input);
            let ordered = effects.iter().filter(|e| matches!(e, SipEffect::Command)).count();
            prop_assert_eq!(ordered, after.last.len());
            for (number, _) in &after.last {
                prop_assert!(resumed || *number > numbers);
                numbers = numbers.max(*number);
            }
            ends += effects.iter().filter(|e| matches!(e, SipEffect::End(_))).count();
            closes += effects.iter().filter(|e| matches!(e, SipEffect::CloseMedia)).count();
            prop_assert_eq!(ends, usize::from(after.phase == SipPhase::Ended));
            prop_assert!(closes <= 1);
            state = after;
        }
    }
}

/// An offer as a browser makes it, and a leg that is carried by a WebRTC peer.
fn webrtc() -> SipState {
    let mut browser = Protection::new(MediaEncryption::Dtls);
    browser.by_webrtc("THEIRS".into());
    let Security::Dtls(mut ice) = browser.offer(None, SocketAddr::from(([192, 0, 2, 1], 9))) else { panic!("no DTLS") };
    ice.lite = false;
    let mut offer = phone(Direction::SendRecv);
    offer.0.profile = Profile::Dtls(*ice);
    let mut state = uas(Some(offer));
    assert!(state.protection.wants_webrtc(state.offered().map(|offer| &offer.0)));
    state.protection.by_webrtc("OURS".into());
    state
}

#[test]
fn a_browsers_offer_over_sip_is_answered_with_dtls_and_its_peer_connects_before_the_answer_is_sent() {
    let (state, effects) = order(webrtc(), LegOrder::Prepare { first: Vec::new() });
    let Some(SipEffect::Configure { negotiated, .. }) = effects.first() else { panic!("{effects:?}") };
    let Secured::Dtls(dtls) = &negotiated.secured else { panic!("{negotiated:?}") };
    assert_eq!((dtls.ours.fingerprint.as_str(), dtls.theirs.fingerprint.as_str()), ("OURS", "THEIRS"));
    assert_eq!(dtls.ours.candidates, [state.rtp.expect("open")]);
    let (state, _) = order(state, LegOrder::Answer { headers: AppHeaders::default() });
    let [SipCommand::Answer { description, .. }] = commands(&state)[..] else { panic!("{:?}", state.last) };
    assert!(matches!(&description.0.profile, Profile::Dtls(ours) if *ours == dtls.ours));
}

#[test]
fn a_webrtc_peer_that_is_lost_for_good_ends_its_call() {
    let (state, _) = order(webrtc(), LegOrder::Prepare { first: Vec::new() });
    let (state, _) = order(state, LegOrder::Answer { headers: AppHeaders::default() });
    let (state, _) = event(state, DialogEvent::Acked { answer: None });
    let (state, _) = step(state, SipInput::Peer(RtcEventKind::Disconnected));
    assert_eq!(state.phase, SipPhase::Confirmed);
    let (state, effects) = step(state, SipInput::Peer(RtcEventKind::Failed("no consent for 30 s".into())));
    assert!(matches!(commands(&state)[..], [SipCommand::Hangup(_)]));
    assert!(effects.contains(&SipEffect::CloseMedia));
}

#[test]
fn a_leg_that_demands_srtp_refuses_a_re_invite_in_the_clear_and_stays_as_it_was() {
    let mut state = uac();
    state.protection = Protection::new(MediaEncryption::Sdes);
    let (state, _) = step(state, SipInput::Start);
    let offer = state.local.clone().expect("an offer");
    let ours = Security::by_policy(MediaEncryption::Sdes, &crate::model::negotiate::SdesKeys::random());
    let them = Capabilities {
        codecs: vec![Codec::Pcmu],
        rtp: SocketAddr::from(([192, 0, 2, 1], 4000)),
        direction: Direction::SendRecv,
        session_id: 8,
        session_version: 1,
        security: ours,
    };
    let answer = Box::new(offer.answer(&them).expect("an answer").0);
    let answered = DialogEvent::Answered { answer, headers: AppHeaders::default(), advertised: None };
    let (state, _) = event(state, answered);
    assert!(matches!(state.agreed.as_ref().expect("agreed").secured, Secured::Sdes(_)));
    let before = state.agreed.clone();
    let offer = Some(Box::new(phone(Direction::SendOnly)));
    let (state, _) = event(state, DialogEvent::Reoffered { request: 1, offer });
    assert!(matches!(commands(&state)[..], [SipCommand::RejectReoffer { status: 488, .. }]));
    assert_eq!(state.agreed, before);
}
