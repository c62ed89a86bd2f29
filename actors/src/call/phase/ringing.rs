//! Somebody is rung: progress, early media, the answer, the failure.

use std::time::SystemTime;

use super::talking::HOLD;
use super::{ASK_AGAIN, Ask, By, CallCheckpoint, CallEffect, Dialled, Party, Phase, Side, ToFlow};
use crate::call::InvitationReport;
use crate::client::protocol::Event;
use crate::invitation::content::Content;
use crate::invitation::{CallOutcome, cause_of};
use crate::leg::LegOrder;
use crate::model::address::{AppHeaders, Target};
use crate::model::cause::Cause;
use crate::model::ids::{InvitationId, TrunkId};
use crate::model::media::Codec;
use crate::model::settings::AcceptOn;
use crate::ports::media::Attachment;

/// What a caller hears while it rings.
pub(super) const RINGBACK: &str = "tone:ringback";
/// What a callee hears who answered before the caller's browser is there.
const WAIT: &str = "tone:hold";

impl CallCheckpoint {
    pub(super) fn dialled(&mut self, dialled: Dialled, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Phase::Ringing(ringing) = &mut self.phase else { return };
        match dialled {
            Dialled::Leg { party, leg, ring, line } => {
                ringing.until = Some(now + ringing.timeout.unwrap_or(ring));
                self.b = Some(*party);
                self.lines.extend(line);
                out.push(CallEffect::Spawn(leg));
            }
            Dialled::Invite { invitation, user, offline, ring } => {
                ringing.until = ringing.timeout.or(ring).map(|ring| now + ring);
                self.invitation = Some((invitation, user.clone()));
                out.push(CallEffect::Invite { invitation, user });
                if offline {
                    self.tell_ringing(out);
                }
            }
        }
    }

    pub(super) fn callee_progress(
        &mut self,
        status: u16,
        early: Option<Codec>,
        headers: AppHeaders,
        now: SystemTime,
        out: &mut Vec<CallEffect>,
    ) {
        let Phase::Ringing(ringing) = &mut self.phase else { return };
        ringing.rang = true;
        if self.connector {
            self.history(3, status, "ringing", now, out);
            return;
        }
        if early.is_some() {
            ringing.early = early;
        }
        if headers != AppHeaders::default() {
            ringing.headers = headers;
        }
        if let Some(refer) = self.transfer.as_ref().and_then(|transfer| transfer.refer) {
            out.push(CallEffect::TellReferrer(refer, 180));
        }
        match &self.invited {
            Some(invited) if !invited.accepted => match invited.accept_on {
                AcceptOn::Early => self.accept_invitation(out),
                AcceptOn::Answer => out.push(CallEffect::Outcome(invited.invitation, CallOutcome::Ringing)),
            },
            Some(_) | None => {}
        }
        match early {
            Some(_) => self.hear_early(out),
            None => self.tell_ringing(out),
        }
    }

    /// The caller hears ringback: its own phone's, or ours.
    fn tell_ringing(&mut self, out: &mut Vec<CallEffect>) {
        let Phase::Ringing(ringing) = &mut self.phase else { return };
        let Some(a) = self.a.as_ref().filter(|_| ringing.told.is_none()) else { return };
        ringing.told = Some(180);
        let (media, from_flow, headers) = (a.media, ringing.flow.is_some(), ringing.headers.clone());
        if a.unanswered() {
            self.order(Side::A, LegOrder::Progress { status: 180, early: false, headers }, out);
            return;
        }
        if let Some(client) = a.client().filter(|_| !from_flow) {
            out.push(CallEffect::Emit(client, Box::new(Event::CallProgress { call: self.call, status: 180 })));
        }
        out.push(CallEffect::Tone(media, RINGBACK));
    }

    /// The caller hears the callee's early media, once its own leg is ready for it.
    fn hear_early(&mut self, out: &mut Vec<CallEffect>) {
        let Phase::Ringing(ringing) = &mut self.phase else { return };
        let (Some(a), Some(b), Some(codec)) = (&self.a, &self.b, ringing.early) else { return };
        if ringing.told == Some(183) {
            return;
        }
        if !a.ready {
            if a.unanswered() && !ringing.preparing {
                ringing.preparing = true;
                self.order(Side::A, LegOrder::Prepare { first: vec![codec] }, out);
            }
            return;
        }
        ringing.told = Some(183);
        // Who is being transferred was answered long ago, as a flow's caller was.
        let answered = ringing.flow.is_some() || self.transfer.is_some();
        let (client, unanswered) = (a.client(), a.unanswered());
        let headers = ringing.headers.clone();
        out.push(CallEffect::StopPlay(a.media));
        out.push(CallEffect::Attach(a.media, Attachment::Bridge(b.media)));
        out.push(CallEffect::Attach(b.media, Attachment::Bridge(a.media)));
        if unanswered {
            self.order(Side::A, LegOrder::Progress { status: 183, early: true, headers }, out);
        } else if let Some(client) = client.filter(|_| !answered) {
            out.push(CallEffect::Emit(client, Box::new(Event::CallProgress { call: self.call, status: 183 })));
        }
    }

    /// A leg got further while somebody is rung: what waited for it goes on.
    pub(super) fn ringing_ready(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        if self.b.as_ref().is_some_and(Party::connected) {
            self.callee_up(now, out);
        } else {
            self.hear_early(out);
        }
    }

    /// The callee answered and its media is up: the caller's side follows, then both are joined.
    fn callee_up(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Phase::Ringing(ringing) = &mut self.phase else { return };
        // From here on the callee is not rung any more; each leg has limits of its own.
        ringing.until = None;
        let flow = ringing.flow.is_some();
        if let Some(room) = self.into_room.clone() {
            self.accept_invitation(out);
            self.answered_at = Some(now);
            out.push(CallEffect::Answered);
            self.take_into_room(room, Side::B, now, out);
            return;
        }
        self.accept_invitation(out);
        let (Phase::Ringing(ringing), Some(a), Some(b)) = (&mut self.phase, &self.a, &self.b) else { return };
        if a.unanswered() && !a.ready {
            if !ringing.preparing {
                ringing.preparing = true;
                let first = b.codec.into_iter().collect();
                self.order(Side::A, LegOrder::Prepare { first }, out);
            }
            return;
        }
        if a.client().is_some() && !a.connected() {
            out.push(CallEffect::Tone(b.media, WAIT));
            return;
        }
        self.phase = Phase::Joining { ask: Ask { token: 0, asked: 0, again: now + ASK_AGAIN }, flow };
        self.join(now, out);
    }

    /// The media threads have joined them: now the caller is answered.
    pub(super) fn joined(&mut self, flow: bool, now: SystemTime, out: &mut Vec<CallEffect>) {
        self.answer_caller(out);
        if flow {
            out.push(CallEffect::StopFlow);
        }
        self.phase = Phase::Talking;
        self.transferred(now, out);
        for (holder, other) in [(&self.a, &self.b), (&self.b, &self.a)] {
            if let (Some(Party { held: true, .. }), Some(other)) = (holder, other) {
                self.tell_held(other, true, out);
                out.push(CallEffect::Tone(other.media, HOLD));
            }
        }
        if self.answered_at.is_none() {
            self.answered_at = Some(now);
            out.push(CallEffect::Answered);
            self.tell_answered(out);
        }
    }

    pub(super) fn invitation(
        &mut self,
        invitation: InvitationId,
        report: InvitationReport,
        now: SystemTime,
        out: &mut Vec<CallEffect>,
    ) {
        if self.invited.as_ref().is_some_and(|invited| invited.invitation == invitation && !invited.accepted) {
            match report {
                InvitationReport::Canceled { .. } | InvitationReport::Failed(_) => {
                    self.end(cause_of(&report), now, out);
                }
                InvitationReport::Received | InvitationReport::Accepted { .. } | InvitationReport::Refused { .. } => {}
            }
            return;
        }
        let ours = self.invitation.clone().filter(|(ours, _)| *ours == invitation);
        match (report, ours) {
            (InvitationReport::Received, Some(_)) => self.tell_ringing(out),
            (InvitationReport::Accepted { client, sdp, response }, Some((_, user))) => {
                self.invitation = None;
                // What the app says in its acceptance travels in our 200.
                if let Ok(said) = Content::parse(&response) {
                    let cus_data = Some(said.sip_data.clone()).filter(|data| !data.is_empty());
                    self.answer_headers = AppHeaders { cus_data, ..said.headers() };
                }
                let Phase::Ringing(ringing) = &mut self.phase else { return };
                ringing.until = None;
                let name = user.to_string();
                let party = Party::new(By::Rtc { client, user }, name);
                let leg = party.leg;
                self.b = Some(party);
                out.push(CallEffect::SpawnCallee { leg, sdp });
            }
            (InvitationReport::Accepted { client, .. }, None) if self.b.is_none() => {
                // It crossed the end: that device must know.
                let cause = self.cause.clone().unwrap_or_else(Cause::cancelled);
                out.push(CallEffect::Emit(client, Box::new(Event::CallEnded { call: self.call, cause })));
            }
            (
                report @ (InvitationReport::Refused { .. }
                | InvitationReport::Canceled { .. }
                | InvitationReport::Failed(_)),
                Some(_),
            ) => {
                self.invitation = None;
                self.callee_failed(cause_of(&report), now, out);
            }
            (
                InvitationReport::Received
                | InvitationReport::Accepted { .. }
                | InvitationReport::Refused { .. }
                | InvitationReport::Canceled { .. }
                | InvitationReport::Failed(_),
                _,
            ) => {}
        }
    }

    /// Nobody was reached: another trunk is tried, the flow goes on, or the call ends with the callee's cause.
    pub(super) fn callee_failed(&mut self, cause: Cause, now: SystemTime, out: &mut Vec<CallEffect>) {
        if !matches!(self.phase, Phase::Ringing(_)) {
            return;
        }
        if self.transfer.is_some() {
            self.transfer_failed(cause, now, out);
            return;
        }
        let Phase::Ringing(ringing) = &mut self.phase else { return };
        if let Some(next) = ringing.next_trunk(&cause) {
            let before = std::mem::replace(&mut ringing.target, next.clone());
            (ringing.until, ringing.early) = (None, None);
            let timeout = ringing.timeout;
            tracing::info!(call = %self.call, %cause, "the trunk did not take the call; the next one is tried");
            self.let_callee_go(&cause, out);
            if let Target::Trunk { trunk, .. } = before {
                self.give_line_back(trunk, out);
            }
            out.push(CallEffect::Dial { target: next, timeout });
            return;
        }
        let Some(token) = ringing.flow else {
            self.end(cause, now, out);
            return;
        };
        tracing::info!(call = %self.call, %cause, "the flow's dial failed");
        self.let_callee_go(&cause, out);
        self.failed_dial = Some(token);
        self.phase = Phase::Flow;
        if let Some(a) = &self.a {
            out.push(CallEffect::StopPlay(a.media));
            out.push(CallEffect::Attach(a.media, Attachment::Nothing));
        }
        out.push(CallEffect::TellFlow(ToFlow::DialFailed(token)));
    }

    /// Gives a line back that the call holds, unless the caller came by the same trunk.
    fn give_line_back(&mut self, trunk: TrunkId, out: &mut Vec<CallEffect>) {
        if let Some(at) = self.lines.iter().rposition(|line| *line == trunk) {
            self.lines.remove(at);
            if !self.lines.contains(&trunk) {
                out.push(CallEffect::GiveLineBack(trunk));
            }
        }
    }

    /// Takes the invitation back and lets the callee's leg go, if there are any.
    pub(super) fn let_callee_go(&mut self, cause: &Cause, out: &mut Vec<CallEffect>) {
        if let Some((invitation, _)) = self.invitation.take() {
            let reason = cause.reason.to_string();
            out.push(CallEffect::CancelInvitation { invitation, reason });
        }
        if let Some(b) = self.b.take() {
            self.order_end(&b, cause, out);
            self.leaving.push(b);
        }
    }
}
