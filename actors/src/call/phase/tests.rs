//! What holds whatever comes in whatever order.

use proptest::prelude::*;

use super::*;
use crate::call::{ClientAction, InvitationReport};
use crate::flow::FlowReport;
use crate::leg::LegEnd;
use crate::model::address::{CallerId, Carried, MaxForwards, Target};
use crate::model::ids::{CallId, ClientId, InvitationId, RoomId, ServiceId, TrunkId, UserId};
use crate::model::media::Codec;
use crate::ports::media::MediaEventKind;
use crate::room::RoomReport;

fn call(goal: Target) -> CallCheckpoint {
    let now = SystemTime::UNIX_EPOCH;
    CallCheckpoint {
        call: CallId(1),
        kind: CallKind::SipToRtc,
        from: CallerId::default(),
        to: "alice".into(),
        headers: AppHeaders::default(),
        answer_headers: AppHeaders::default(),
        max_forwards: MaxForwards::default(),
        goal: Ok(goal),
        started_at: now,
        answered_at: None,
        carried: Carried::default(),
        transfer: None,
        linger: None,
        given: None,
        expires_at: now + Duration::from_secs(3600),
        a: Some(Party::new(By::SipIn, "1001".into())),
        b: None,
        leaving: Vec::new(),
        invitation: None,
        invited: None,
        into_room: None,
        phase: Phase::Begin,
        fence: 0,
        failed_dial: None,
        past: Vec::new(),
        lines: Vec::new(),
        connector: false,
        history: 0,
        cause: None,
        cdr_written: false,
    }
}

fn goals() -> [Target; 3] {
    [
        Target::User(UserId::new("alice").expect("an id")),
        Target::Service(ServiceId::new("welcome").expect("an id")),
        Target::Room(RoomId::new("lobby").expect("an id")),
    ]
}

fn end(status: u16) -> LegReport {
    let cause = Cause::from_sip(status, "over");
    LegReport::Ended(LegEnd { cause, signalling_id: "x".into(), session_id: None, figures: None })
}

proptest! {
    #[test]
    fn a_call_finishes_once_leaves_no_leg_and_answers_only_after_the_fence(
        goal in 0usize..3, events in prop::collection::vec((0u8..23, any::<bool>()), 0..40),
    ) {
        let mut now = SystemTime::UNIX_EPOCH;
        let mut state = call(goals()[goal].clone());
        let mut legs = vec![state.a.as_ref().expect("the caller").leg];
        let mut ended = std::collections::HashSet::new();
        let (mut finished, mut fenced, mut dials) = (0, false, 0u64);
        let mut inputs = std::collections::VecDeque::from([CallInput::Begin]);
        let mut events = events.into_iter().chain([(6, false), (18, false), (19, false)]);
        loop {
            let input = match inputs.pop_front() {
                Some(input) => input,
                None => {
                    let Some((event, late)) = events.next() else { break };
                    now += Duration::from_millis(if late { 1500 } else { 1 });
                    let headers = AppHeaders::default();
                    let leg = |at: usize| legs[at % legs.len()];
                    let last = legs.len() - 1;
                    let report = |leg: LegId, report| CallInput::Leg { leg, report };
                    let invitation = state.invitation.as_ref().map_or(InvitationId(0), |(id, _)| *id);
                    match event {
                        0 => report(leg(0), LegReport::Ready(Codec::Pcmu)),
                        1 => report(leg(0), LegReport::Connected { codec: Codec::Pcmu, headers }),
                        2 => report(leg(last), LegReport::Connected { codec: Codec::Pcmu, headers }),
                        3 => report(leg(last), LegReport::Progress { status: 183, early: Some(Codec::Pcma), headers: AppHeaders::default() }),
                        4 => {
                            fenced = true;
                            report(leg(0), LegReport::Media(MediaEventKind::Fenced(state.fence)))
                        }
                        5 => report(leg(last), LegReport::Held { held: true, mute: true }),
                        6 => CallInput::HangUp(Cause::hangup()),
                        7 => CallInput::Invitation { invitation, report: InvitationReport::Received },
                        8 => {
                            let (client, response, sdp) = (ClientId(2), String::new(), None);
                            CallInput::Invitation {
                                invitation,
                                report: InvitationReport::Accepted { client, response, sdp },
                            }
                        }
                        9 => {
                            let report = InvitationReport::Refused { response: String::new() };
                            CallInput::Invitation { invitation, report }
                        }
                        10 => CallInput::Client { client: ClientId(2), action: ClientAction::Hangup },
                        11 => {
                            dials += 1;
                            let target = goals()[0].clone();
                            CallInput::Flow(FlowReport::Dial { token: dials, target, timeout: None })
                        }
                        12 => CallInput::Flow(FlowReport::Room(RoomId::new("lobby").expect("an id"))),
                        13 => CallInput::Room(RoomReport::Participants(vec!["1001".into()])),
                        14 => CallInput::Room(RoomReport::Alone),
                        15 => CallInput::Tick,
                        16 => CallInput::Resume,
                        17 => report(leg(last), LegReport::Silent),
                        20 | 21 => {
                            let leg = leg(if event == 20 { 0 } else { last });
                            let to = Ok(goals()[usize::from(late)].clone());
                            CallInput::Transfer { leg, refer: Some(dials), to, carried: Carried::default() }
                        }
                        22 => {
                            let give = Give { leg: leg(last), to: CallId(2), leaver: LegId(9), refer: None };
                            CallInput::Give(give)
                        }
                        // The legs end once they are told to; the last two events make sure.
                        _ => {
                            for leg in &legs {
                                let told = state.leaving.iter().any(|party| party.leg == *leg);
                                if told && ended.insert(*leg) {
                                    inputs.push_back(CallInput::Leg { leg: *leg, report: end(200) });
                                }
                            }
                            CallInput::Tick
                        }
                    }
                }
            };
            let over = state.phase == Phase::Over;
            let (after, effects) = state.step(input, now);
            for effect in effects {
                if let CallEffect::Finish = effect {
                    finished += 1;
                } else if let CallEffect::Dial { .. } = effect {
                    let user = UserId::new("alice").expect("an id");
                    let invitation = InvitationId::random();
                    let dialled = Dialled::Invite { invitation, user, offline: false, ring: None };
                    inputs.push_back(CallInput::Dialled(Box::new(dialled)));
                } else if let CallEffect::SpawnCallee { leg, .. } = effect {
                    prop_assert!(!over);
                    legs.push(leg);
                } else if let CallEffect::Order(_, LegOrder::Answer { .. }) = effect {
                    prop_assert!(fenced && !over);
                } else if let CallEffect::Order(_, LegOrder::End(_)) = effect {
                    prop_assert!(!over);
                }
            }
            state = after;
            prop_assert!(finished <= 1);
        }
        prop_assert_eq!(&state.phase, &Phase::Over);
        prop_assert_eq!(finished, 1);
        prop_assert_eq!(state.past.len() + usize::from(state.given.is_some()), legs.len());
    }
}

fn lines(names: &[&str]) -> Vec<(TrunkId, String)> {
    names.iter().map(|name| (TrunkId::new(name).expect("an id"), format!("{name}-555"))).collect()
}

/// A call that is dialled by the first of three trunks, and the effects of what then comes of each dial.
fn by_trunks(then: &[Result<LegReport, Cause>]) -> (CallCheckpoint, Vec<CallEffect>) {
    let now = SystemTime::UNIX_EPOCH;
    let mut trunks = lines(&["a", "b", "c"]).into_iter();
    let (trunk, number) = trunks.next().expect("a trunk");
    let (mut state, _) = call(Target::Trunk { trunk, number, then: trunks.collect() }).step(CallInput::Begin, now);
    state.lines = lines(&["a"]).into_iter().map(|(trunk, _)| trunk).collect();
    let mut effects = Vec::new();
    for input in then {
        let input = match input {
            Ok(report) => CallInput::Leg { leg: LegId(2), report: report.clone() },
            Err(cause) => CallInput::DialFailed(cause.clone()),
        };
        if matches!(input, CallInput::Leg { .. }) && state.b.is_none() {
            state.b = Some(Party { leg: LegId(2), ..Party::new(By::SipOut, "555".into()) });
        }
        let (after, more) = state.step(input, now);
        state = after;
        effects.extend(more);
    }
    (state, effects)
}

fn dials(effects: &[CallEffect]) -> Vec<String> {
    let dial = |effect: &CallEffect| {
        let CallEffect::Dial { target: Target::Trunk { number, .. }, .. } = effect else { return None };
        Some(number.clone())
    };
    effects.iter().filter_map(dial).collect()
}

#[test]
fn a_trunk_that_cannot_take_the_call_hands_it_to_the_next_and_its_line_back() {
    let full = Cause::from_sip(503, "full");
    let (state, effects) = by_trunks(&[Err(full.clone()), Ok(end(408))]);
    assert_eq!(dials(&effects), ["b-555", "c-555"]);
    let back = CallEffect::GiveLineBack(TrunkId::new("a").expect("an id"));
    assert_eq!(effects.iter().filter(|effect| **effect == back).count(), 1);
    assert!(matches!(&state.phase, Phase::Ringing(_)) && state.lines.is_empty());
    let three = [Err(full.clone()), Ok(end(500)), Err(full)];
    let (state, _) = by_trunks(&three);
    assert_eq!(state.cause.map(|cause| cause.status), Some(503), "no trunk is left");
}

#[test]
fn what_the_callee_says_is_no_reason_to_try_another_trunk() {
    for status in [404, 480, 486, 501, 603] {
        let (state, effects) = by_trunks(&[Ok(end(status))]);
        assert_eq!((dials(&effects), state.cause.map(|cause| cause.status)), (Vec::new(), Some(status)));
    }
    let rings = Ok(LegReport::Progress { status: 180, early: None, headers: AppHeaders::default() });
    let (state, effects) = by_trunks(&[rings, Ok(end(503))]);
    assert_eq!((dials(&effects), state.cause.map(|cause| cause.status)), (Vec::new(), Some(503)), "it rang");
}
