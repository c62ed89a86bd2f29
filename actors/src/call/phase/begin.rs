//! The beginning: where the call goes, and the caller's own media for a flow or a room.

use std::time::SystemTime;

use super::{ASK_AGAIN, Ask, By, CallCheckpoint, CallEffect, Party, Phase, Ringing, Side, ToFlow};
use crate::client::protocol::Event;
use crate::flow::FlowReport;
use crate::invitation::CallOutcome;
use crate::leg::LegOrder;
use crate::model::address::Target;
use crate::model::cause::{Blame, Cause};
use crate::model::ids::RoomId;
use crate::ports::media::{Attachment, MediaEventKind};
use crate::room::{RoomMember, RoomReport};

impl CallCheckpoint {
    pub(super) fn begin(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        if self.connector {
            self.history(1, 0, "calling", now, out);
        }
        match self.goal.clone() {
            Err(cause) => self.end(cause, now, out),
            Ok(Target::Service(_) | Target::Room(_)) if !self.connector => {
                self.phase = Phase::Opening { ask: None };
                // A service is always there: it accepts at once.
                self.accept_invitation(out);
                self.order(Side::A, LegOrder::Prepare { first: Vec::new() }, out);
            }
            Ok(target) => self.ring(target, None, None, out),
        }
    }

    pub(super) fn ring(
        &mut self,
        target: Target,
        flow: Option<u64>,
        timeout: Option<std::time::Duration>,
        out: &mut Vec<CallEffect>,
    ) {
        out.push(CallEffect::Dial { target: target.clone(), timeout });
        let ringing = Ringing {
            target,
            timeout,
            until: None,
            flow,
            told: None,
            early: None,
            preparing: false,
            rang: false,
            headers: Default::default(),
        };
        self.phase = Phase::Ringing(ringing);
    }

    /// Accepts the invitation the call was begun by; the inviter's browser then makes its offer.
    pub(super) fn accept_invitation(&mut self, out: &mut Vec<CallEffect>) {
        let Some(invited) = self.invited.as_mut().filter(|invited| !invited.accepted) else { return };
        invited.accepted = true;
        let (invitation, response) = (invited.invitation, invited.response.clone());
        if self.into_room.is_none() && self.a.is_none() {
            let by = By::Rtc { client: invited.client, user: invited.user.clone() };
            self.a = Some(Party::new(by, invited.user.to_string()));
            out.push(CallEffect::SpawnWaiting);
        }
        out.push(CallEffect::Outcome(invitation, CallOutcome::Ringing));
        out.push(CallEffect::Outcome(invitation, CallOutcome::Accepted { response }));
    }

    /// The caller's media is up: the flow or the room takes it.
    pub(super) fn opened(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        if self.answered_at.is_none() {
            self.answered_at = Some(now);
            out.push(CallEffect::Answered);
            self.tell_answered(out);
        }
        match self.goal.clone() {
            Ok(Target::Service(service)) => {
                self.phase = Phase::Flow;
                out.push(CallEffect::StartFlow(service));
            }
            Ok(Target::Room(room)) => self.take_into_room(room, Side::A, now, out),
            Ok(
                Target::User(_)
                | Target::Subscriber(_)
                | Target::Instance { .. }
                | Target::Trunk { .. }
                | Target::Uri(_),
            )
            | Err(_) => {
                self.end(Cause::internal("a call opened its media for nobody"), now, out);
            }
        }
    }

    pub(super) fn tell_answered(&self, out: &mut Vec<CallEffect>) {
        if let Some(client) = self.a.as_ref().and_then(Party::client) {
            let headers = self.answer_headers.clone();
            out.push(CallEffect::Emit(client, Box::new(Event::CallAnswered { call: self.call, headers })));
        }
    }

    /// The caller's leg agreed on its media.
    pub(super) fn party_ready(&mut self, side: Side, now: SystemTime, out: &mut Vec<CallEffect>) {
        let sip_in = self.party(side).is_some_and(Party::unanswered);
        match &self.phase {
            Phase::Opening { ask: None } if sip_in => {
                self.phase = Phase::Opening { ask: Some(Ask { token: 0, asked: 0, again: now + ASK_AGAIN }) };
                self.ask_fence(now, out);
            }
            Phase::Ringing(_) if side == Side::B && sip_in => self.answer_newcomer(out),
            Phase::Ringing(_) => self.ringing_ready(now, out),
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Flow
            | Phase::Joining { .. }
            | Phase::Talking
            | Phase::Room { .. }
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    /// A party's signalling and media are up.
    pub(super) fn party_connected(&mut self, side: Side, now: SystemTime, out: &mut Vec<CallEffect>) {
        match &self.phase {
            Phase::Opening { .. } if side == Side::A => self.opened(now, out),
            Phase::Ringing(_) => {
                if self.connector && side == Side::B {
                    self.history(4, 200, "answered", now, out);
                    self.history(5, 200, "up", now, out);
                }
                self.ringing_ready(now, out);
            }
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Flow
            | Phase::Joining { .. }
            | Phase::Talking
            | Phase::Room { .. }
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    pub(super) fn media(&mut self, side: Side, event: MediaEventKind, now: SystemTime, out: &mut Vec<CallEffect>) {
        match event {
            MediaEventKind::Fenced(token) => self.fenced(side, token, now, out),
            MediaEventKind::Played(token) | MediaEventKind::NoClip(token) => {
                if side == Side::A && self.phase == Phase::Flow {
                    out.push(CallEffect::TellFlow(ToFlow::Played(token)));
                }
            }
            // These end or concern the leg, which has dealt with them.
            MediaEventKind::FirstPacket(_)
            | MediaEventKind::Digit { .. }
            | MediaEventKind::Silent
            | MediaEventKind::Failed => {}
        }
    }

    fn fenced(&mut self, side: Side, token: u64, now: SystemTime, out: &mut Vec<CallEffect>) {
        if side != Side::A {
            return;
        }
        match self.phase.clone() {
            Phase::Opening { ask: Some(ask) } if ask.token == token => {
                self.phase = Phase::Opening { ask: None };
                self.answer_caller(out);
            }
            Phase::Joining { ask, flow } if ask.token == token => self.joined(flow, now, out),
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Flow
            | Phase::Ringing(_)
            | Phase::Joining { .. }
            | Phase::Talking
            | Phase::Room { .. }
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    /// 200 to a phone that called.
    pub(super) fn answer_caller(&mut self, out: &mut Vec<CallEffect>) {
        if self.a.as_ref().is_some_and(Party::unanswered) {
            self.with(Side::A, |a| a.answered = true);
            let headers = self.answer_headers.clone();
            self.order(Side::A, LegOrder::Answer { headers }, out);
        }
    }

    pub(super) fn flow(&mut self, report: FlowReport, now: SystemTime, out: &mut Vec<CallEffect>) {
        if self.phase != Phase::Flow {
            return;
        }
        match report {
            FlowReport::Dial { token, .. } if self.failed_dial == Some(token) => {
                out.push(CallEffect::TellFlow(ToFlow::DialFailed(token)));
            }
            FlowReport::Dial { token, target, timeout } => self.ring(target, Some(token), timeout, out),
            FlowReport::Room(room) => {
                out.push(CallEffect::StopFlow);
                self.take_into_room(room, Side::A, now, out);
            }
            FlowReport::HangUp(cause) => self.end(cause, now, out),
        }
    }

    pub(super) fn take_into_room(&mut self, room: RoomId, side: Side, now: SystemTime, out: &mut Vec<CallEffect>) {
        self.phase = Phase::Room { room, side, joined: None, again: now };
        self.enter_room(now, out);
    }

    /// Knocks; said again until the room answers.
    pub(super) fn enter_room(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Phase::Room { room, side, joined, again } = &mut self.phase else { return };
        if joined.is_none() {
            *again = now + ASK_AGAIN;
        }
        let (room, side) = (room.clone(), *side);
        let Some(party) = self.party(side) else { return };
        out.push(CallEffect::StopPlay(party.media));
        out.push(CallEffect::Attach(party.media, Attachment::Room(room.clone())));
        let member = RoomMember { call: self.call, party: party.name.clone(), phone: party.client().is_none() };
        out.push(CallEffect::JoinRoom(room, member));
    }

    pub(super) fn room(&mut self, report: RoomReport, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Phase::Room { room, side, joined, .. } = &mut self.phase else { return };
        match report {
            RoomReport::Participants(participants) => {
                *joined = Some(participants.clone());
                let (room, side) = (room.clone(), *side);
                if let Some(client) = self.party(side).and_then(Party::client) {
                    let event = Event::RoomParticipants { room, call: self.call, participants };
                    out.push(CallEffect::Emit(client, Box::new(event)));
                }
            }
            RoomReport::Alone => {
                self.end(Cause::new(200, Some(16), Blame::Success, "left alone in the room"), now, out);
            }
            RoomReport::Closed(cause) => self.end(cause, now, out),
        }
    }
}
