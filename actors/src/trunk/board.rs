//! The lines of a SIM gateway: one call a line, in either direction. Pure: it is told who lives, who is reachable, and the time.
//!
//! A line that a call holds is leased to it in the ledger, by the ids of the call and of its leg there: whatever
//! crashes, a lease whose call or leg is gone is given to the next who asks. After a call a line rests, after a failure longer, and twice as long each time, up to an hour: a
//! SIM without credit or without a signal is tried ever less often, and at once again after its first good call.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::ids::{CallId, LegId, LineId};
use crate::model::settings::{Line, Lines, Rotation};

/// The longest that failures make a line rest.
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// A lease this young is its holder's though the ledger does not have the call or the leg yet; so is a place.
pub(super) const BEING_BORN: Duration = Duration::from_secs(10);

/// How the call on a line ended, as far as the line is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineOutcome {
    /// It was answered.
    Answered,
    /// It was not, and that is no fault of the line's: busy, refused, given up by the caller; or it came in.
    Fair,
    /// The line did not work: no answer of the gateway, 480, 503.
    Failed,
}

/// Which line is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// For this leg, which goes out: whichever is its turn.
    Out(LegId),
    /// For this leg, which came in on it.
    In(&'a LineId, LegId),
}

/// What is known of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LineState {
    /// Who holds it.
    pub lease: Option<Lease>,
    /// It takes no call out before then.
    pub rests_until: Option<SystemTime>,
    /// Calls out that failed in a row.
    pub failures: u32,
    /// Calls out so far.
    pub attempts: u64,
    /// Of those, answered.
    pub answered: u64,
    /// Turn of its last call.
    pub last_turn: u64,
}

/// A line is a call's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose.
    pub call: CallId,
    /// Its leg that goes by it.
    pub leg: LegId,
    /// Whether that goes out.
    pub out: bool,
    /// Since when.
    pub since: SystemTime,
}

/// All lines of a trunk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Board {
    lines: BTreeMap<LineId, LineState>,
    turn: u64,
}

impl Board {
    /// What is known of a line.
    pub fn line(&self, id: &LineId) -> LineState {
        self.lines.get(id).cloned().unwrap_or_default()
    }

    /// Leases a line to a call; `None` where there is none for it.
    pub fn claim(
        &mut self,
        call: CallId,
        wanted: Wanted<'_>,
        plan: &Lines,
        reachable: impl Fn(&Line) -> bool,
        lives: impl Fn(&Lease) -> bool,
        now: SystemTime,
    ) -> Option<LineId> {
        for line in self.lines.values_mut() {
            let dead = |lease: &Lease| lease.since + BEING_BORN <= now && !lives(lease);
            if line.lease.as_ref().is_some_and(dead) {
                line.lease = None;
            }
        }
        let free = |id: &LineId| self.lines.get(id).is_none_or(|line| line.lease.is_none());
        let (id, leg, out) = match wanted {
            Wanted::In(id, leg) => {
                (plan.lines.iter().find(|line| line.id == *id && free(&line.id))?.id.clone(), leg, false)
            }
            Wanted::Out(leg) => {
                let rested = |id: &LineId| {
                    let until = self.lines.get(id).and_then(|line| line.rests_until);
                    until.is_none_or(|until| until <= now)
                };
                let ready: Vec<usize> = plan
                    .lines
                    .iter()
                    .enumerate()
                    .filter(|(_, line)| free(&line.id) && rested(&line.id) && reachable(line))
                    .map(|(at, _)| at)
                    .collect();
                let at = self.turn_of(&ready, plan)?;
                (plan.lines.get(at)?.id.clone(), leg, true)
            }
        };
        self.turn += 1;
        let turn = self.turn;
        let line = self.lines.entry(id.clone()).or_default();
        line.lease = Some(Lease { call, leg, out, since: now });
        line.last_turn = turn;
        line.attempts += u64::from(out);
        Some(id)
    }

    /// Whose turn it is among those that are ready.
    fn turn_of(&self, ready: &[usize], plan: &Lines) -> Option<usize> {
        let last_turn =
            |at: usize| plan.lines.get(at).and_then(|line| self.lines.get(&line.id)).map_or(0, |s| s.last_turn);
        match plan.rotation {
            Rotation::LeastRecentlyUsed => ready.iter().copied().min_by_key(|at| (last_turn(*at), *at)),
            Rotation::RoundRobin => {
                let last = (0..plan.lines.len()).filter(|at| last_turn(*at) > 0).max_by_key(|at| last_turn(*at));
                let after = ready.iter().copied().find(|at| last.is_some_and(|last| *at > last));
                after.or(ready.first().copied())
            }
        }
    }

    /// Whether a line is leased to this leg.
    pub fn leased(&self, leg: LegId) -> bool {
        self.lines.values().any(|line| line.lease.as_ref().is_some_and(|lease| lease.leg == leg))
    }

    /// The leg is another call's from now on.
    pub fn hand_over(&mut self, leg: LegId, to: CallId) {
        for lease in self.lines.values_mut().filter_map(|line| line.lease.as_mut()).filter(|lease| lease.leg == leg) {
            lease.call = to;
        }
    }

    /// The leg is over. Giving back twice is nothing.
    pub fn release_leg(&mut self, leg: LegId, outcome: LineOutcome, plan: &Lines, now: SystemTime) {
        self.release(|lease| lease.leg == leg, outcome, plan, now);
    }

    /// The call is over: whatever it still holds.
    pub fn release_call(&mut self, call: CallId, plan: &Lines, now: SystemTime) {
        self.release(|lease| lease.call == call, LineOutcome::Fair, plan, now);
    }

    fn release(&mut self, its: impl Fn(&Lease) -> bool, outcome: LineOutcome, plan: &Lines, now: SystemTime) {
        for line in self.lines.values_mut() {
            let Some(lease) = line.lease.take_if(|lease| its(lease)) else { continue };
            let mut rest = plan.rest;
            match (outcome, lease.out) {
                (LineOutcome::Answered, true) => {
                    line.answered += 1;
                    line.failures = 0;
                }
                (LineOutcome::Failed, true) => {
                    line.failures = line.failures.saturating_add(1);
                    let doubled = 2_u32.saturating_pow(line.failures - 1);
                    rest = plan.failure_rest.saturating_mul(doubled).min(LONGEST_REST.max(plan.failure_rest));
                }
                // Whoever was reached, a line that carries calls works.
                (LineOutcome::Fair, true) | (_, false) => {}
            }
            line.rests_until = Some(now + rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::settings::LineReach;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn id(n: usize) -> LineId {
        LineId::new(&format!("sim{n}")).expect("a name")
    }

    fn plan(rotation: Rotation) -> Lines {
        let line = |n| Line { id: id(n), number: format!("100{n}"), reach: LineReach::Prefix(n.to_string()) };
        let (rest, failure_rest) = (Duration::from_secs(5), Duration::from_secs(60));
        Lines { lines: (0..3).map(line).collect(), rotation, rest, failure_rest }
    }

    fn out(board: &mut Board, call: u64, plan: &Lines, seconds: u64) -> Option<LineId> {
        board.claim(CallId(call), Wanted::Out(LegId(call)), plan, |_| true, |_| true, at(seconds))
    }

    fn ends(board: &mut Board, call: u64, outcome: LineOutcome, plan: &Lines, seconds: u64) {
        board.release_leg(LegId(call), outcome, plan, at(seconds));
        board.release_call(CallId(call), plan, at(seconds));
    }

    #[test]
    fn the_line_that_was_used_longest_ago_is_next() {
        let (mut board, plan) = (Board::default(), plan(Rotation::LeastRecentlyUsed));
        for (call, line) in [(1, 0), (2, 1), (3, 2)] {
            assert_eq!(out(&mut board, call, &plan, 0), Some(id(line)));
        }
        assert_eq!(out(&mut board, 4, &plan, 0), None, "all are in use");
        ends(&mut board, 2, LineOutcome::Answered, &plan, 10);
        ends(&mut board, 1, LineOutcome::Answered, &plan, 11);
        assert_eq!(out(&mut board, 4, &plan, 20), Some(id(0)), "though the other was given back earlier");
    }

    #[test]
    fn round_robin_goes_on_behind_the_last() {
        let (mut board, plan) = (Board::default(), plan(Rotation::RoundRobin));
        let lines: Vec<_> = (1..=5)
            .map(|call| {
                let line = out(&mut board, call, &plan, call * 10);
                ends(&mut board, call, LineOutcome::Answered, &plan, call * 10);
                line.expect("a line")
            })
            .collect();
        assert_eq!(lines, [0, 1, 2, 0, 1].map(id));
    }

    #[test]
    fn a_line_rests_after_a_call_and_longer_after_each_failure_until_one_is_answered() {
        let mut one = plan(Rotation::LeastRecentlyUsed);
        one.lines.truncate(1);
        let mut board = Board::default();
        let mut now = 0;
        for (outcome, rest) in [
            (LineOutcome::Answered, 5),
            (LineOutcome::Fair, 5),
            (LineOutcome::Failed, 60),
            (LineOutcome::Failed, 120),
            (LineOutcome::Failed, 240),
            (LineOutcome::Answered, 5),
            (LineOutcome::Failed, 60),
        ] {
            assert_eq!(out(&mut board, now, &one, now), Some(id(0)), "{outcome:?}");
            ends(&mut board, now, outcome, &one, now);
            assert_eq!(out(&mut board, now + 1, &one, now + rest - 1), None, "{outcome:?}");
            now += rest;
        }
        for _ in 0..40 {
            out(&mut board, now, &one, now);
            ends(&mut board, now, LineOutcome::Failed, &one, now);
            now += 3600;
        }
        assert!(out(&mut board, now, &one, now).is_some(), "never longer than an hour");
        let line = board.line(&id(0));
        assert_eq!((line.attempts, line.answered, line.failures), (48, 2, 41));
    }

    #[test]
    fn a_call_that_comes_in_takes_its_line_though_it_rests_but_never_beside_another() {
        let (mut board, plan) = (Board::default(), plan(Rotation::LeastRecentlyUsed));
        let came = |board: &mut Board, call: u64, seconds| {
            board.claim(CallId(call), Wanted::In(&id(0), LegId(call)), &plan, |_| true, |_| true, at(seconds))
        };
        out(&mut board, 1, &plan, 0);
        assert_eq!(came(&mut board, 2, 1), None);
        ends(&mut board, 1, LineOutcome::Failed, &plan, 1);
        assert_eq!(came(&mut board, 2, 1), Some(id(0)));
        assert_eq!(out(&mut board, 3, &plan, 100), Some(id(1)));
        ends(&mut board, 2, LineOutcome::Failed, &plan, 101);
        assert_eq!(board.line(&id(0)).failures, 1, "who called in is no failure of the line");
    }

    #[test]
    fn what_cannot_be_reached_is_passed_over() {
        let (mut board, plan) = (Board::default(), plan(Rotation::LeastRecentlyUsed));
        let reached = |line: &Line| line.id == id(2);
        let wanted = |leg| Wanted::Out(LegId(leg));
        let claim = |board: &mut Board, call| board.claim(CallId(call), wanted(call), &plan, reached, |_| true, at(0));
        assert_eq!(claim(&mut board, 1), Some(id(2)));
        assert_eq!(claim(&mut board, 2), None);
    }

    #[test]
    fn a_leg_that_ends_late_does_not_free_the_line_of_the_next() {
        let (mut board, plan) = (Board::default(), plan(Rotation::LeastRecentlyUsed));
        let claim =
            |board: &mut Board, leg| board.claim(CallId(1), Wanted::Out(LegId(leg)), &plan, |_| true, |_| true, at(0));
        assert_eq!((claim(&mut board, 1), claim(&mut board, 2)), (Some(id(0)), Some(id(1))));
        board.release_leg(LegId(1), LineOutcome::Failed, &plan, at(1));
        assert_eq!(board.line(&id(0)).lease, None);
        assert_eq!(board.line(&id(1)).lease.map(|lease| lease.leg), Some(LegId(2)));
    }

    #[test]
    fn a_leg_that_goes_on_in_another_call_keeps_its_line_there() {
        let (mut board, plan) = (Board::default(), plan(Rotation::LeastRecentlyUsed));
        out(&mut board, 1, &plan, 0);
        board.hand_over(LegId(1), CallId(7));
        board.release_call(CallId(1), &plan, at(1));
        assert!(board.leased(LegId(1)));
        board.release_call(CallId(7), &plan, at(2));
        assert!(!board.leased(LegId(1)));
    }

    #[derive(Debug, Clone)]
    enum Deed {
        Out(u64),
        In(u64, usize),
        End(u64, u8),
        /// The call is gone, and nobody gave its line back.
        Crash(u64),
        Pass(u64),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            (0..12_u64).prop_map(Deed::Out),
            (0..12_u64, 0..3_usize).prop_map(|(call, line)| Deed::In(call, line)),
            (0..12_u64, 0..3_u8).prop_map(|(call, outcome)| Deed::End(call, outcome)),
            (0..12_u64).prop_map(Deed::Crash),
            (0..40_u64).prop_map(Deed::Pass),
        ]
    }

    proptest! {
        #[test]
        fn never_two_live_calls_on_one_line(deeds in proptest::collection::vec(deed(), 1..200), robin: bool) {
            let plan = plan(if robin { Rotation::RoundRobin } else { Rotation::LeastRecentlyUsed });
            let (mut board, mut now) = (Board::default(), 1000);
            // What each live call was given, as it believes itself.
            let mut held: BTreeMap<u64, BTreeSet<LineId>> = BTreeMap::new();
            let mut live: BTreeSet<u64> = BTreeSet::new();
            for deed in deeds {
                let mut given = None;
                match deed {
                    Deed::Out(call) => {
                        live.insert(call);
                        let lives = |lease: &Lease| live.contains(&lease.call.0);
                        let line = board.claim(CallId(call), Wanted::Out(LegId(call)), &plan, |_| true, lives, at(now));
                        given = line.map(|line| (call, line));
                    }
                    Deed::In(call, line) => {
                        live.insert(call);
                        let lives = |lease: &Lease| live.contains(&lease.call.0);
                        let line = board.claim(CallId(call), Wanted::In(&id(line), LegId(call)), &plan, |_| true, lives, at(now));
                        given = line.map(|line| (call, line));
                    }
                    Deed::End(call, outcome) => {
                        let outcome = [LineOutcome::Answered, LineOutcome::Fair, LineOutcome::Failed][usize::from(outcome)];
                        ends(&mut board, call, outcome, &plan, now);
                        live.remove(&call);
                        held.remove(&call);
                    }
                    Deed::Crash(call) => {
                        live.remove(&call);
                        held.remove(&call);
                    }
                    Deed::Pass(seconds) => now += seconds,
                }
                if let Some((call, line)) = given {
                    let others = held.iter().filter(|(other, _)| **other != call);
                    prop_assert!(others.into_iter().all(|(_, lines)| !lines.contains(&line)), "{line} is {call}'s and another's");
                    held.entry(call).or_default().insert(line);
                }
            }
            // Nothing leaks: once every call is gone and rested, all lines are there.
            live.clear();
            now += 4000;
            let mut lines = BTreeSet::new();
            for call in 100..103 {
                lines.extend(board.claim(CallId(call), Wanted::Out(LegId(call)), &plan, |_| true, |_| false, at(now)));
            }
            prop_assert_eq!(lines.len(), 3);
        }
    }
}
