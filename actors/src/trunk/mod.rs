//! Trunks: lines to carriers and to other telephone systems. Each configured trunk is an actor that keeps its registration
//! ([`registration`]) and watches its health ([`health`]); its calls are counted in the ledger, by call, so that no count leaks.

mod actor;
pub mod board;
pub mod health;
mod lines;
mod rate;
pub mod registration;
mod supervisor;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

pub use actor::Trunk;
pub use lines::{Full, admit, hand_over, leased, leg_over, line_in, line_out, release, take_line};
pub use supervisor::{TrunkSupervisor, TrunkSupervisorMsg};

use serde::{Deserialize, Serialize};

use crate::control::{LineView, TrunkView};
use crate::ctx::Ctx;
use crate::model::ids::{CallId, Epoch, TrunkId};
use crate::model::settings::{Line, LineReach};
use crate::ports::sip::TrunkTarget;
use crate::registrar::contacts;
use board::Board;
use health::Health;
pub use rate::Rate;
use registration::Registration;

/// What a trunk hears.
#[derive(Debug)]
pub enum TrunkMsg {
    /// How a REGISTER of ours went, as in `SipEvent::TrunkRegistration`.
    Registration {
        /// Epoch of the asker.
        epoch: Epoch,
        /// Granted lifetime, or the final status.
        outcome: Result<Duration, u16>,
    },
    /// How an OPTIONS of ours went, as in `SipEvent::TrunkOptions`.
    Options {
        /// Epoch of the asker.
        epoch: Epoch,
        /// Round trip, or the final status.
        outcome: Result<Duration, u16>,
    },
    /// A deadline may have passed.
    Tick,
    /// The switch drains: un-register, so that no new call comes.
    Drain,
    /// Nothing: makes an armed fault fire.
    Poke,
}

/// What survives a trunk's actor. `calls`, `rate` and `board` have other writers: see [`admit`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkCheckpoint {
    /// Which trunk.
    pub trunk: TrunkId,
    /// Where its registration stands.
    pub registration: Registration,
    /// Whether it lives.
    pub health: Health,
    /// Calls up on it, both directions, and since when.
    pub calls: BTreeMap<CallId, SystemTime>,
    /// How fast they begin.
    pub rate: Rate,
    /// Its lines, where it has some.
    pub board: Board,
}

/// The lines of a trunk, as the API shows them.
pub fn views(ctx: &Ctx, trunk: &TrunkId) -> Vec<LineView> {
    let Some(settings) = ctx.settings.trunks.get(trunk) else { return Vec::new() };
    let now = ctx.wall();
    let Some(board) = ctx.ledger.trunks.read(trunk, |row| row.board.clone()) else { return Vec::new() };
    let view = |line: &Line| {
        let known = board.line(&line.id);
        let resting = known.rests_until.filter(|until| *until > now);
        let here = match &line.reach {
            LineReach::Prefix(_) => true,
            LineReach::Subscriber(subscriber) => !contacts(ctx, subscriber, None).is_empty(),
        };
        let state = match (&known.lease, here, resting) {
            (Some(_), _, _) => "busy",
            (None, false, _) => "unreachable",
            (None, true, Some(_)) => "resting",
            (None, true, None) => "free",
        };
        LineView {
            line: line.id.clone(),
            number: line.number.clone(),
            state: state.into(),
            call: known.lease.map(|lease| lease.call),
            failures: known.failures,
            attempts: known.attempts,
            answered: known.answered,
            rests_for_s: resting.map(|until| until.duration_since(now).unwrap_or_default().as_secs()),
        }
    };
    settings.lines.lines.iter().map(view).collect()
}

impl TrunkCheckpoint {
    /// As the API shows it.
    pub fn view(&self, targets: Vec<TrunkTarget>, lines: Vec<LineView>, now: SystemTime) -> TrunkView {
        let left = self.registration.until().map(|until| until.duration_since(now).unwrap_or_default());
        TrunkView {
            trunk: self.trunk.clone(),
            registration: self.registration.word().into(),
            last_status: self.registration.last_status(),
            alive: self.health.alive(),
            expires_in_s: left.map(|left| left.as_secs()),
            calls: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            targets,
            lines,
        }
    }

    /// Whether a call may be sent there with any hope: it is not known to be dead.
    pub fn hopeful(&self) -> bool {
        self.health.alive() != Some(false)
    }
}

/// Names and units of the metrics of trunks.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("tandem_trunk_registered", "Whether our registration with the trunk runs, by trunk");
    describe_counter!("tandem_trunk_registrations_total", "REGISTERs of ours, by trunk and outcome");
    describe_gauge!("tandem_trunk_alive", "Whether the trunk answered the last OPTIONS, by trunk");
    describe_histogram!("tandem_trunk_options_seconds", Unit::Seconds, "Round trip of OPTIONS, by trunk");
    describe_gauge!("tandem_trunk_calls", "Calls up on the trunk, by trunk");
    describe_counter!(
        "tandem_trunk_calls_refused_total",
        "Calls refused by the trunk's max_calls or max_cps, or for want of a free line, by trunk and limit (max_calls, \
         max_cps, lines)"
    );
    describe_gauge!(
        "tandem_trunk_lines",
        "Lines of a SIM gateway, by trunk and state (free, busy, resting, unreachable)"
    );
}
