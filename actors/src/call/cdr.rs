//! The call detail record, and the live call as the API shows it.

use std::time::SystemTime;

use super::phase::{CallCheckpoint, Party, Phase};
use crate::control::{CallView, LegView};
use crate::ctx::Ctx;
use crate::model::cause::Cause;
use crate::ports::store::{Cdr, CdrLeg};

impl CallCheckpoint {
    /// The record of a call that ended now. Legs that have not ended by themselves are taken as they are.
    pub fn cdr(&self, ended_at: SystemTime) -> Cdr {
        let open = self.parties().map(|party| CdrLeg {
            leg: party.leg,
            kind: party.kind().into(),
            party: party.name.clone(),
            signalling_id: party.leg.to_string(),
            session_id: None,
            answered_after: party.connected_after,
            cause: self.cause.clone(),
            restarts: party.restarts,
            media: None,
        });
        Cdr {
            call: self.call,
            kind: self.kind.word().into(),
            from: self.from.number.clone(),
            to: self.to.clone(),
            started_at: self.started_at,
            answered_at: self.answered_at,
            ended_at,
            cause: self.cause.clone().unwrap_or_else(|| Cause::internal("the call ended without a cause")),
            legs: self.past.iter().cloned().chain(open).collect(),
        }
    }

    /// As the API shows it.
    pub fn view(&self, ctx: &Ctx) -> CallView {
        CallView {
            call: self.call,
            kind: self.kind.word().into(),
            from: self.from.number.clone(),
            to: self.to.clone(),
            phase: self.phase.word().into(),
            started_at: self.started_at,
            answered_at: self.answered_at,
            legs: self.parties().map(|party| leg_view(ctx, party)).collect(),
        }
    }
}

fn leg_view(ctx: &Ctx, party: &Party) -> LegView {
    LegView {
        kind: party.kind().into(),
        party: party.name.clone(),
        phase: ctx.ledger.legs.read(&party.leg, |row| row.side.phase()).unwrap_or("new").into(),
        restarts: party.restarts,
        media: ctx.media_snapshot(party.media),
    }
}

impl Phase {
    /// In a word, as `CallView` has it.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Begin | Phase::Opening { .. } => "routing",
            Phase::Flow => "flow",
            Phase::Ringing(_) | Phase::Joining { .. } => "ringing",
            Phase::Talking => "talking",
            Phase::Room { .. } => "room",
            Phase::Ending(_) | Phase::Over => "ending",
        }
    }
}
