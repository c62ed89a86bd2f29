//! Giving back what a call or a leg holds in the world without the help of its actor: the last acts, and a call's own end.

use super::phase::{CallCheckpoint, Phase};
use crate::client::ClientMsg;
use crate::client::protocol::Event;
use crate::control::PhoneCallState;
use crate::ctx::Ctx;
use crate::invitation::{CallOutcome, InvitationMsg};
use crate::leg::{LegCheckpoint, LegEnd, LegSide};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, LegId};
use crate::ports::rtc::RtcCommand;
use crate::ports::sip::SipCommand;
use crate::ports::store::{CdrLeg, Record};
use crate::room::RoomMsg;
use crate::trunk;
use crate::trunk::board::LineOutcome;

/// Hangs a leg up by its port and closes its media session; how it ended. `None` when its row is gone.
pub fn hang_up(ctx: &Ctx, leg: LegId, cause: &Cause) -> Option<LegEnd> {
    let (epoch, LegCheckpoint { media, side, figures, .. }) = ctx.ledger.legs.next_epoch(&leg)?;
    let figures = ctx.media_snapshot(media).or(figures);
    let (signalling_id, session_id) = (side.signalling_id(), side.session_id());
    // Nobody can have a later epoch than the one just taken: neither order is refused.
    match side {
        LegSide::Sip(sip) => {
            let _ = ctx.ports.sip.order(sip.dialog, epoch, sip.orders + 1, SipCommand::Hangup(cause.clone()));
            let _ = ctx.ports.sip.order(sip.dialog, epoch, sip.orders + 2, SipCommand::Forget);
            if let Some(webrtc) = &sip.protection.webrtc {
                let _ = ctx.ports.rtc.order(webrtc.peer, epoch, RtcCommand::Close);
            }
        }
        LegSide::Rtc(rtc) => {
            let _ = ctx.ports.rtc.order(rtc.peer, epoch, RtcCommand::Close);
        }
    }
    ctx.media_close(media);
    Some(LegEnd { cause: cause.clone(), signalling_id, session_id, figures })
}

/// The call has no use for the leg's row any more.
pub fn forget_leg(ctx: &Ctx, leg: LegId) {
    ctx.ledger.legs.remove(&leg);
    ctx.directory.sip_legs.remove(&leg);
    ctx.directory.rtc_legs.remove(&leg);
}

/// A leg ended: the line that it went out by is free, though the call may go on without it.
pub fn line_of(ctx: &Ctx, ended: &CdrLeg) {
    let outcome = match (ended.answered_after, ended.cause.as_ref().map(|cause| cause.status)) {
        (Some(_), _) => LineOutcome::Answered,
        (None, Some(408 | 480 | 500..=599)) => LineOutcome::Failed,
        (None, _) => LineOutcome::Fair,
    };
    // By who has it leased, not by the call's trunks: one that was left for the next is none of them any more.
    if let Some(trunk) = trunk::leased(ctx, ended.leg) {
        trunk::leg_over(ctx, &trunk, ended.leg, outcome);
    }
}

/// Gives back everything but the legs, and the rows. The CDR has been written.
pub fn forget_call(ctx: &Ctx, call: &CallCheckpoint) {
    for line in &call.lines {
        trunk::release(ctx, line, call.call);
    }
    if ctx.ledger.flows.remove(&call.call).is_some() {
        ctx.directory.flows.remove(&call.call);
    }
    if call.connector {
        ctx.ledger.phone_calls.update(&call.call, |history| {
            history.done = true;
            history.cause = call.cause.clone();
        });
    }
    super::metrics::ended(call);
    // The row first: whoever hears of the other sees both.
    ctx.ledger.calls.remove(&call.call);
    let mail = ctx.directory.calls.remove(&call.call);
    super::transfer::undelivered(ctx, call.call, mail);
}

/// Hands the CDR over.
pub fn write_cdr(ctx: &Ctx, call: &CallCheckpoint) {
    ctx.ports.store.record(Record::Cdr(Box::new(call.cdr(ctx.wall()))));
}

/// The CallSupervisor's last act for a call that keeps failing: everybody hears the end, nothing is left, and the CDR blames us.
pub fn last_act(ctx: &Ctx, id: CallId) {
    let Some((epoch, mut call)) = ctx.ledger.calls.next_epoch(&id) else { return };
    let cause = Cause::internal("the call's actor failed too often");
    let parties: Vec<_> = call.parties().cloned().collect();
    (call.a, call.b, call.leaving) = (None, None, Vec::new());
    if let Some(refer) = call.transfer.take().and_then(|transfer| transfer.refer) {
        ctx.ports.sip.refer_outcome(refer, cause.status);
    }
    call.cause = Some(cause.clone());
    for party in parties {
        let end = hang_up(ctx, party.leg, &cause);
        forget_leg(ctx, party.leg);
        if let Some(client) = party.client() {
            let event = Event::CallEnded { call: id, cause: cause.clone() };
            let _ = ctx.directory.clients.post(&client, ClientMsg::Emit(event));
        }
        call.past.push(CdrLeg {
            leg: party.leg,
            kind: party.kind().into(),
            party: party.name.clone(),
            signalling_id: end.as_ref().map_or_else(String::new, |end| end.signalling_id.clone()),
            session_id: end.as_ref().and_then(|end| end.session_id.clone()),
            answered_after: party.connected_after,
            cause: Some(cause.clone()),
            restarts: party.restarts,
            media: end.and_then(|end| end.figures),
        });
    }
    if let Some((invitation, _)) = call.invitation.take() {
        let reason = cause.reason.to_string();
        let _ = ctx.directory.invitations.post(&invitation, InvitationMsg::CancelByCaller { reason });
    }
    if let Some(invited) = call.invited.as_ref().filter(|invited| !invited.accepted) {
        let _ = ctx.directory.invitations.post(&invited.invitation, InvitationMsg::ByCall(CallOutcome::Failed));
    }
    let room = if let Phase::Room { room, .. } = &call.phase { Some(room.clone()) } else { None };
    if call.connector && call.history < 6 {
        let text = PhoneCallState::word(6).to_owned();
        let state = PhoneCallState { at: ctx.wall(), state: 6, text, status: 500, reason: cause.reason.to_string() };
        ctx.ledger.phone_calls.update(&id, |history| history.states.push(state));
    }
    let write = !call.cdr_written;
    call.cdr_written = true;
    call.phase = Phase::Over;
    if ctx.ledger.calls.commit(&id, epoch, call.clone()).is_ok() && write {
        write_cdr(ctx, &call);
    }
    // After the row says that it is over: a room that is being restarted reads it there.
    if let Some(room) = room {
        ctx.directory.rooms.cast(&room, RoomMsg::Leave(id));
    }
    forget_call(ctx, &call);
}
