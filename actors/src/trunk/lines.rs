//! What a call takes of a trunk: a place among its `max_calls`, its turn by `max_cps`, and a line where it has lines of its own
//! ([`super::board`]). Kept in the ledger by call id: a call that ended without giving back what it had is found out at a later
//! look, so nothing leaks.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::board::{BEING_BORN, Lease, LineOutcome, Wanted};
use crate::ctx::Ctx;
use crate::model::address::{SipOrigin, SipUri};
use crate::model::ids::{CallId, LegId, LineId, TrunkId};
use crate::model::settings::{Line, LineReach};
use crate::ports::sip::{Destination, IncomingInvite};
use crate::registrar::contacts;

/// Why a trunk takes no call more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// There is no such trunk.
    #[error("there is no such trunk")]
    Unknown,
    /// `max_calls`.
    #[error("every place of the trunk is in use (max_calls)")]
    Places,
    /// `max_cps`.
    #[error("the trunk's calls begin faster than it takes them (max_cps)")]
    Rate,
}

/// Takes a place for a call. Asking again for a call that has one is the same place.
///
/// # Errors
/// [`Full`].
pub fn admit(ctx: &Ctx, trunk: &TrunkId, call: CallId) -> Result<(), Full> {
    let settings = ctx.settings.trunks.get(trunk);
    let (limit, rate) = settings.map_or((None, None), |settings| (settings.max_calls, settings.max_cps));
    let now = ctx.wall();
    let admitted = ctx.ledger.trunks.update(trunk, |row| {
        if row.calls.contains_key(&call) {
            return Ok(());
        }
        let full = |calls: usize| limit.is_some_and(|limit| calls >= limit as usize);
        if full(row.calls.len()) {
            drop_dead(ctx, &mut row.calls, now);
            if full(row.calls.len()) {
                return Err(Full::Places);
            }
        }
        if rate.is_some_and(|rate| !row.rate.take(rate, now)) {
            return Err(Full::Rate);
        }
        row.calls.insert(call, now);
        Ok(())
    });
    let admitted = admitted.unwrap_or(Err(Full::Unknown));
    let why = match admitted {
        Ok(()) | Err(Full::Unknown) => None,
        Err(Full::Places) => Some("max_calls"),
        Err(Full::Rate) => Some("max_cps"),
    };
    if let Some(limit) = why {
        refused(trunk, limit);
    }
    show(ctx, trunk);
    admitted
}

/// What a call has of a trunk for this leg goes on as another call's, with the leg.
pub fn hand_over(ctx: &Ctx, trunk: &TrunkId, leg: LegId, from: CallId, to: CallId) {
    ctx.ledger.trunks.update(trunk, |row| {
        if let Some(since) = row.calls.remove(&from) {
            row.calls.insert(to, since);
        }
        row.board.hand_over(leg, to);
    });
}

/// The trunk that has a line leased to this leg.
pub fn leased(ctx: &Ctx, leg: LegId) -> Option<TrunkId> {
    ctx.ledger.trunks.find(|row| row.board.leased(leg).then_some(())).map(|(trunk, ())| trunk)
}

/// Where a call out of a trunk with lines goes, and by which: one that is free, rested and reachable is leased to the call.
/// `None`: there is none. `more`: another trunk is tried next.
pub fn line_out(
    ctx: &Ctx,
    trunk: &TrunkId,
    call: CallId,
    leg: LegId,
    number: &str,
    more: bool,
) -> Option<(LineId, Destination)> {
    let plan = &ctx.settings.trunks.get(trunk)?.lines;
    // Looked up before the row is held: a table is locked by parts.
    let reached: Vec<(&Line, Option<Destination>)> =
        plan.lines.iter().map(|line| (line, destination(ctx, trunk, line, number, more))).collect();
    let to = |id: &LineId| reached.iter().find(|(line, _)| line.id == *id).and_then(|(_, to)| to.clone());
    let now = ctx.wall();
    let claimed = ctx.ledger.trunks.update(trunk, |row| {
        row.board.claim(call, Wanted::Out(leg), plan, |line| to(&line.id).is_some(), |lease| lives(ctx, lease), now)
    });
    let line = claimed.flatten();
    if line.is_none() {
        refused(trunk, "lines");
    }
    show(ctx, trunk);
    let line = line?;
    tracing::info!(%call, %trunk, %line, "a line is taken");
    let to = to(&line)?;
    Some((line, to))
}

fn destination(ctx: &Ctx, trunk: &TrunkId, line: &Line, number: &str, more: bool) -> Option<Destination> {
    match &line.reach {
        LineReach::Prefix(prefix) => {
            Some(Destination::Trunk { trunk: trunk.clone(), number: format!("{prefix}{number}"), more })
        }
        LineReach::Subscriber(subscriber) => {
            let mut contact = contacts(ctx, subscriber, None).into_iter().next()?;
            contact.uri = contact.uri.with_user(number);
            Some(Destination::Contact(contact))
        }
    }
}

/// The trunk, and its line, that a call comes in on: a line that registers is known by its subscriber, others by the number
/// that was called.
pub fn line_in(ctx: &Ctx, invite: &IncomingInvite) -> Option<(TrunkId, LineId)> {
    match &invite.origin {
        SipOrigin::Anonymous => None,
        SipOrigin::Subscriber(caller) => ctx.settings.trunks.values().find_map(|trunk| {
            let its = |line: &&Line| matches!(&line.reach, LineReach::Subscriber(subscriber) if subscriber == caller);
            let line = trunk.lines.lines.iter().find(its)?;
            Some((trunk.id.clone(), line.id.clone()))
        }),
        SipOrigin::Trunk(trunk) => {
            let lines = &ctx.settings.trunks.get(trunk)?.lines.lines;
            let called = |uri: &SipUri| uri.user().and_then(|user| lines.iter().find(|line| line.number == user));
            let line = called(&invite.request_uri).or_else(|| called(&invite.to.uri))?;
            Some((trunk.clone(), line.id.clone()))
        }
    }
}

/// Leases the line that a call came in on; `false` when another call has it.
pub fn take_line(ctx: &Ctx, trunk: &TrunkId, line: &LineId, call: CallId, leg: LegId) -> bool {
    let Some(plan) = ctx.settings.trunks.get(trunk).map(|trunk| &trunk.lines) else { return false };
    let now = ctx.wall();
    let claimed = ctx.ledger.trunks.update(trunk, |row| {
        row.board.claim(call, Wanted::In(line, leg), plan, |_| true, |lease| lives(ctx, lease), now).is_some()
    });
    show(ctx, trunk);
    claimed.unwrap_or(false)
}

/// Whether the call and the leg that a line is leased to are there. They are other tables than the one that is held.
fn lives(ctx: &Ctx, lease: &Lease) -> bool {
    ctx.ledger.calls.contains(&lease.call) && ctx.ledger.legs.contains(&lease.leg)
}

/// A leg that went by a trunk is over, though the call may go on: its line is free.
pub fn leg_over(ctx: &Ctx, trunk: &TrunkId, leg: LegId, outcome: LineOutcome) {
    let Some(plan) = ctx.settings.trunks.get(trunk).map(|trunk| &trunk.lines) else { return };
    let now = ctx.wall();
    ctx.ledger.trunks.update(trunk, |row| row.board.release_leg(leg, outcome, plan, now));
    show(ctx, trunk);
}

/// Gives back what a call has of a trunk. Giving it back twice is nothing.
pub fn release(ctx: &Ctx, trunk: &TrunkId, call: CallId) {
    let plan = ctx.settings.trunks.get(trunk).map(|trunk| &trunk.lines);
    let now = ctx.wall();
    ctx.ledger.trunks.update(trunk, |row| {
        row.calls.remove(&call);
        if let Some(plan) = plan {
            row.board.release_call(call, plan, now);
        }
    });
    show(ctx, trunk);
}

/// Drops places whose calls are gone.
pub(super) fn sweep(ctx: &Ctx, trunk: &TrunkId) {
    let now = ctx.wall();
    ctx.ledger.trunks.update(trunk, |row| drop_dead(ctx, &mut row.calls, now));
    show(ctx, trunk);
}

/// An incoming call has its place before it has its row: without it, it is gone only after a while.
fn drop_dead(ctx: &Ctx, calls: &mut BTreeMap<CallId, SystemTime>, now: SystemTime) {
    calls.retain(|call, since| *since + BEING_BORN > now || ctx.ledger.calls.contains(call));
}

fn refused(trunk: &TrunkId, limit: &'static str) {
    metrics::counter!("tandem_trunk_calls_refused_total", "trunk" => trunk.to_string(), "limit" => limit).increment(1);
}

fn show(ctx: &Ctx, trunk: &TrunkId) {
    let calls = ctx.ledger.trunks.read(trunk, |row| row.calls.len()).unwrap_or_default();
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    metrics::gauge!("tandem_trunk_calls", "trunk" => trunk.to_string()).set(calls);
    let lines = super::views(ctx, trunk);
    if lines.is_empty() {
        return;
    }
    for state in ["free", "busy", "resting", "unreachable"] {
        let count = lines.iter().filter(|line| line.state == state).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        metrics::gauge!("tandem_trunk_lines", "trunk" => trunk.to_string(), "state" => state).set(count);
    }
}
