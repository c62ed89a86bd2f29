//! The guard against toll fraud: how many calls by trunks one user may have, and how fast users and trunks may begin them. A
//! stolen password or a hacked phone then costs a few calls, not a weekend's. Which numbers may be dialled at all is
//! [`super::route`]'s.
//!
//! What it keeps is lost with the process and outlives every actor, as it must: a crash is no fresh allowance. A refusal is a
//! metric (`tandem_toll_refused_total`) and one line in the log, which is what an alarm is made of.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::phase::{By, CallCheckpoint};
use super::route::DENIED;
use super::transfer;
use crate::ctx::Ctx;
use crate::model::address::{SipOrigin, Target};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, SubscriberId, TrunkId, UserId};

/// Rates are counted over this.
const MINUTE: Duration = Duration::from_secs(60);
/// Most payers kept, when those who began nothing lately are forgotten.
const MOST_PAYERS: usize = 16_384;

/// Whose calls are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Payer {
    Subscriber(SubscriberId),
    User(UserId),
    Trunk(TrunkId),
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscriber(id) => write!(f, "subscriber {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::Trunk(id) => write!(f, "trunk {id}"),
        }
    }
}

/// What a payer may do; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    at_once: Option<u32>,
    a_minute: Option<u32>,
}

/// A payer's calls.
#[derive(Debug, Default)]
struct Account {
    live: HashSet<CallId>,
    begun: VecDeque<Instant>,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    AtOnce,
    TooFast,
}

impl Account {
    /// Whether one more may begin. Asking again for a call that did is the same call.
    fn begin(
        &mut self,
        call: CallId,
        allowance: Allowance,
        now: Instant,
        lives: impl Fn(&CallId) -> bool,
    ) -> Result<(), Refusal> {
        if self.live.contains(&call) {
            return Ok(());
        }
        self.live.retain(lives);
        while self.begun.front().is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE) {
            self.begun.pop_front();
        }
        let full = |most: Option<u32>, count: usize| most.is_some_and(|most| count >= most as usize);
        if full(allowance.at_once, self.live.len()) {
            return Err(Refusal::AtOnce);
        }
        if full(allowance.a_minute, self.begun.len()) {
            return Err(Refusal::TooFast);
        }
        self.live.insert(call);
        if allowance.a_minute.is_some() {
            self.begun.push_back(now);
        }
        Ok(())
    }
}

/// Everybody's calls by trunks.
#[derive(Debug, Default)]
pub struct Tolls {
    accounts: Mutex<HashMap<Payer, Account>>,
}

/// Takes a call by a trunk from what its caller and the trunk may do.
///
/// # Errors
/// The [`Cause`] to refuse with, which names the key that would have to change.
pub fn spend(ctx: &Ctx, call: &CallCheckpoint, trunk: &TrunkId) -> Result<(), Cause> {
    let limits = &ctx.settings.limits;
    let a_minute = ctx.settings.trunks.get(trunk).and_then(|settings| settings.calls_per_minute);
    let by_trunk =
        (Payer::Trunk(trunk.clone()), Allowance { at_once: None, a_minute }, ["max_calls", "trunks.calls_per_minute"]);
    let by_user = payer(ctx, call).map(|payer| {
        let allowance = Allowance { at_once: limits.user_trunk_calls, a_minute: limits.user_trunk_calls_per_minute };
        (payer, allowance, ["limits.user_trunk_calls", "limits.user_trunk_calls_per_minute"])
    });
    let now = ctx.now();
    let mut accounts = ctx.tolls.accounts.lock().unwrap_or_else(PoisonError::into_inner);
    if accounts.len() >= MOST_PAYERS {
        accounts.retain(|_, account| {
            account.live.retain(|call| ctx.ledger.calls.contains(call));
            let lately = account.begun.back().is_some_and(|at| now.saturating_duration_since(*at) < MINUTE);
            lately || !account.live.is_empty()
        });
    }
    for (payer, allowance, [at_once, a_minute]) in by_user.into_iter().chain([by_trunk]) {
        let shown = payer.to_string();
        let account = accounts.entry(payer).or_default();
        if let Err(refusal) = account.begin(call.call, allowance, now, |call| ctx.ledger.calls.contains(call)) {
            drop(accounts);
            let (word, what) = match refusal {
                Refusal::AtOnce => ("at_once", format!("{shown} has as many calls by trunks as it may ({at_once})")),
                Refusal::TooFast => ("rate", format!("{shown} begins calls by trunks too fast ({a_minute})")),
            };
            alarm(word, &what);
            return Err(Cause::forbidden(what));
        }
    }
    Ok(())
}

/// Counts and tells a call that was refused for where it would have gone.
pub(super) fn watch(goal: &Result<Target, Cause>) {
    if goal.as_ref().is_err_and(|cause| cause.reason == DENIED) {
        alarm("denied", DENIED);
    }
}

/// Says that a call was refused for what it would cost.
fn alarm(reason: &'static str, what: &str) {
    metrics::counter!("tandem_toll_refused_total", "reason" => reason).increment(1);
    tracing::warn!("toll guard: {what}");
}

/// Who a call is for. The operator's own (the REST API) and a trunk's are nobody's.
fn payer(ctx: &Ctx, call: &CallCheckpoint) -> Option<Payer> {
    if let Some(invited) = &call.invited {
        return Some(Payer::User(invited.user.clone()));
    }
    // A transfer is paid by who asked for it, and not by who is transferred.
    let party = call.aside().or(call.a.as_ref())?;
    match &party.by {
        By::Rtc { user, .. } => Some(Payer::User(user.clone())),
        By::SipIn | By::SipOut => match transfer::origin_of(ctx, party.leg, &party.name) {
            SipOrigin::Subscriber(subscriber) => Some(Payer::Subscriber(subscriber)),
            SipOrigin::Trunk(_) | SipOrigin::Anonymous => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Allowance = Allowance { at_once: Some(2), a_minute: Some(3) };

    #[test]
    fn a_user_has_so_many_calls_at_once_and_those_that_ended_count_no_more() {
        let (mut account, now) = (Account::default(), tokio::time::Instant::now().into_std());
        let [first, second, third] = [(); 3].map(|()| CallId::random());
        assert_eq!(account.begin(first, SOME, now, |_| true), Ok(()));
        assert_eq!(account.begin(second, SOME, now, |_| true), Ok(()));
        assert_eq!(account.begin(first, SOME, now, |_| true), Ok(()), "a crash asks again");
        assert_eq!(account.begin(third, SOME, now, |_| true), Err(Refusal::AtOnce));
        assert_eq!(account.begin(third, SOME, now, |call| *call != first), Ok(()));
    }

    #[test]
    fn a_user_begins_so_many_calls_a_minute() {
        let (mut account, now) = (Account::default(), tokio::time::Instant::now().into_std());
        let mut begin = |after: u64| account.begin(CallId::random(), SOME, now + Duration::from_secs(after), |_| false);
        assert_eq!([begin(0), begin(10), begin(20)], [Ok(()); 3]);
        assert_eq!(begin(59), Err(Refusal::TooFast));
        assert_eq!([begin(60), begin(61)], [Ok(()), Err(Refusal::TooFast)]);
    }

    #[test]
    fn without_a_bound_nothing_is_kept_but_what_lives() {
        let (mut account, now) = (Account::default(), tokio::time::Instant::now().into_std());
        let none = Allowance { at_once: None, a_minute: None };
        (0..100).for_each(|_| assert_eq!(account.begin(CallId::random(), none, now, |_| false), Ok(())));
        assert!(account.begun.is_empty() && account.live.len() == 1);
    }
}
