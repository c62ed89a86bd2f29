//! The end: everybody is told at once, with the cause as it means something to them; the call is over when the last leg is.

use std::time::SystemTime;

use super::{CallCheckpoint, CallEffect, Party, Phase, Side};
use crate::client::protocol::Event;
use crate::control::PhoneCallState;
use crate::invitation::CallOutcome;
use crate::invitation::content::REFUSED_BUSY;
use crate::leg::{LegEnd, LegOrder};
use crate::model::cause::Cause;
use crate::model::ids::LegId;
use crate::ports::store::CdrLeg;

impl CallCheckpoint {
    /// Ends the call, once.
    pub(super) fn end(&mut self, cause: Cause, now: SystemTime, out: &mut Vec<CallEffect>) {
        match self.phase.clone() {
            Phase::Ending(_) | Phase::Over => return,
            Phase::Room { room, .. } => out.push(CallEffect::LeaveRoom(room)),
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Flow
            | Phase::Ringing(_)
            | Phase::Joining { .. }
            | Phase::Talking => {}
        }
        tracing::info!(call = %self.call, %cause, "the call ends");
        self.phase = Phase::Ending(cause.clone());
        self.cause = Some(cause.clone());
        out.push(CallEffect::StopFlow);
        self.refuse_invitation(&cause, out);
        for party in [&self.a, &self.b].into_iter().flatten() {
            if let Some(client) = party.client() {
                let event = Event::CallEnded { call: self.call, cause: cause.clone() };
                out.push(CallEffect::Emit(client, Box::new(event)));
            }
        }
        self.end_transfer(&cause, out);
        self.let_callee_go(&cause, out);
        if let Some(a) = self.a.take() {
            self.order_end(&a, &cause, out);
            self.leaving.push(a);
        }
        if self.connector {
            self.history(6, cause.status, &cause.reason.clone(), now, out);
        }
        self.check_over(out);
    }

    /// An app user who invited a number hears why nobody answers.
    fn refuse_invitation(&self, cause: &Cause, out: &mut Vec<CallEffect>) {
        let Some(invited) = self.invited.as_ref().filter(|invited| !invited.accepted) else { return };
        let outcome = match (&invited.refusal, cause.status) {
            (Some(refusal), _) => CallOutcome::Refused { response: refusal.clone() },
            (None, 486 | 600) => CallOutcome::Refused { response: REFUSED_BUSY.into() },
            (None, 403 | 603) => CallOutcome::Refused { response: String::new() },
            (None, _) => CallOutcome::Failed,
        };
        out.push(CallEffect::Outcome(invited.invitation, outcome));
    }

    /// Orders a leg's end. A phone that was not answered needs a failure status, and one it can do something with.
    pub(super) fn order_end(&self, party: &Party, cause: &Cause, out: &mut Vec<CallEffect>) {
        let cause = if party.unanswered() { refusal(cause) } else { cause.clone() };
        out.push(CallEffect::Order(party.leg, LegOrder::End(cause)));
    }

    /// A leg has ended: it is recorded, and the call may have lost a party, or be over.
    pub(super) fn leg_ended(&mut self, leg: LegId, end: LegEnd, now: SystemTime, out: &mut Vec<CallEffect>) {
        out.push(CallEffect::ForgetLeg(leg));
        let side = self.side(leg);
        let party = match side {
            Some(Side::A) => self.a.take(),
            Some(Side::B) => self.b.take(),
            None if self.aside().is_some_and(|from| from.leg == leg) => {
                self.aside_mut().and_then(Option::take).map(|from| *from)
            }
            None => {
                let at = self.leaving.iter().position(|party| party.leg == leg);
                at.map(|at| self.leaving.remove(at))
            }
        };
        let Some(party) = party else { return };
        let client = party.client();
        self.past.push(CdrLeg {
            leg,
            kind: party.kind().into(),
            party: party.name,
            signalling_id: end.signalling_id,
            session_id: end.session_id,
            answered_after: party.connected_after,
            cause: Some(end.cause.clone()),
            restarts: party.restarts,
            media: end.figures,
        });
        match (side, &self.phase) {
            (None, Phase::Ending(_)) => self.check_over(out),
            (Some(Side::B), Phase::Ringing(_)) => {
                if let Some(client) = client {
                    let event = Event::CallEnded { call: self.call, cause: end.cause.clone() };
                    out.push(CallEffect::Emit(client, Box::new(event)));
                }
                self.callee_failed(end.cause, now, out);
            }
            (Some(_), _) => {
                if let Some(client) = client {
                    let event = Event::CallEnded { call: self.call, cause: end.cause.clone() };
                    out.push(CallEffect::Emit(client, Box::new(event)));
                }
                self.end(end.cause, now, out);
            }
            (None, _) => {}
        }
    }

    pub(super) fn check_over(&mut self, out: &mut Vec<CallEffect>) {
        if self.a.is_none() && self.b.is_none() && self.leaving.is_empty() {
            self.phase = Phase::Over;
            out.push(CallEffect::Finish);
        }
    }

    /// The API's history: each state once, in order.
    pub(super) fn history(&mut self, state: u8, status: u16, reason: &str, now: SystemTime, out: &mut Vec<CallEffect>) {
        if state <= self.history {
            return;
        }
        self.history = state;
        let text = PhoneCallState::word(state).to_owned();
        let entry = PhoneCallState { at: now, state, text, status, reason: reason.into() };
        out.push(CallEffect::History(entry, self.cause.clone()));
    }
}

/// The final response for a caller: a success is none, a redirection or a challenge is not the caller's affair.
fn refusal(cause: &Cause) -> Cause {
    let status = match cause.status {
        0..=399 => 480,
        // Our credentials at the callee's side were wrong, or its dialog broke: a gateway's failure (RFC 3261 §21.5.3). Not
        // so 483: the hops are those of the caller's INVITE.
        401 | 407 | 481 | 482 | 491 => 502,
        other => other,
    };
    Cause { status, ..cause.clone() }
}
