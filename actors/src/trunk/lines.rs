//! A trunk's lines: which calls are up on it, against `max_calls`. Kept in the ledger by call id: a call that ended without
//! giving its line back is found out at the next look, so nothing leaks.

use crate::ctx::Ctx;
use crate::model::ids::{CallId, TrunkId};

/// Takes a line for a call; `false` when all are in use, or there is no such trunk. Asking again for a call that has one is
/// the same line.
pub fn admit(ctx: &Ctx, trunk: &TrunkId, call: CallId) -> bool {
    let limit = ctx.settings.trunks.get(trunk).and_then(|settings| settings.max_calls);
    let admitted = ctx.ledger.trunks.update(trunk, |row| {
        let full = |calls: usize| limit.is_some_and(|limit| calls >= limit as usize);
        if !row.calls.contains(&call) && full(row.calls.len()) {
            row.calls.retain(|other| ctx.ledger.calls.contains(other));
            if full(row.calls.len()) {
                return false;
            }
        }
        row.calls.insert(call);
        true
    });
    let admitted = admitted.unwrap_or(false);
    if !admitted {
        metrics::counter!("tandem_trunk_calls_refused_total", "trunk" => trunk.to_string()).increment(1);
    }
    show(ctx, trunk);
    admitted
}

/// A call's line goes on as another call's.
pub fn hand_over(ctx: &Ctx, trunk: &TrunkId, from: CallId, to: CallId) {
    ctx.ledger.trunks.update(trunk, |row| {
        if row.calls.remove(&from) {
            row.calls.insert(to);
        }
    });
}

/// Gives a call's line back. Giving it back twice is nothing.
pub fn release(ctx: &Ctx, trunk: &TrunkId, call: CallId) {
    ctx.ledger.trunks.update(trunk, |row| row.calls.remove(&call));
    show(ctx, trunk);
}

/// Drops lines whose calls are gone.
pub(super) fn sweep(ctx: &Ctx, trunk: &TrunkId) {
    ctx.ledger.trunks.update(trunk, |row| row.calls.retain(|call| ctx.ledger.calls.contains(call)));
    show(ctx, trunk);
}

fn show(ctx: &Ctx, trunk: &TrunkId) {
    let calls = ctx.ledger.trunks.read(trunk, |row| row.calls.len()).unwrap_or_default();
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    metrics::gauge!("tandem_trunk_calls", "trunk" => trunk.to_string()).set(calls);
}
