//! Keeper of the Trunks.

use std::time::Duration;

use ractor::ActorProcessingErr;

use super::health::Health;
use super::registration::Registration;
use super::{Trunk, TrunkCheckpoint, TrunkMsg};
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::model::ids::TrunkId;
use crate::supervision::{Backoff, Fate, Heard, Intensity, Keeper, Kind, Policy, Restart, Scope, Supervise};

/// What only the TrunkSupervisor hears.
#[derive(Debug)]
pub enum TrunkSupervisorMsg {
    /// The switch drains: every trunk un-registers.
    Drain,
}

/// One for one, permanent, never gives up; each trunk backs off 1 to 60 s +-20 % on its own. There is no last act. A trunk's
/// crash touches no call: dialogs are the SIP core's, lines are the ledger's.
#[derive(Default)]
pub struct TrunkSupervisor;

/// How long a failure goes on slowing down the next restart.
const REMEMBERED: Duration = Duration::from_secs(600);

impl Supervise for TrunkSupervisor {
    const KIND: Kind = Kind::TrunkSupervisor;
    const POLICY: Policy = Policy {
        restart: Restart::Permanent,
        intensity: Intensity::unlimited(REMEMBERED),
        backoff: Backoff::PATIENT,
        scope: Scope::Each,
    };
    type Key = TrunkId;
    type Msg = TrunkSupervisorMsg;

    fn kind(_: &TrunkId) -> Kind {
        Kind::Trunk
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.trunk_supervisor)
    }

    fn keys(ctx: &Ctx) -> Vec<TrunkId> {
        ctx.settings.trunks.keys().cloned().collect()
    }

    /// Each trunk's first row.
    fn prepare(keeper: &mut Keeper<Self>) {
        let now = keeper.ctx.wall();
        for trunk in keeper.ctx.settings.trunks.values() {
            let first = TrunkCheckpoint {
                trunk: trunk.id.clone(),
                registration: Registration::new(trunk.register),
                health: Health::new(trunk.options_interval, now),
                calls: Default::default(),
                board: Default::default(),
                rate: Default::default(),
            };
            keeper.ctx.ledger.trunks.insert(trunk.id.clone(), first);
        }
    }

    async fn spawn(keeper: &mut Keeper<Self>, trunk: TrunkId) -> Result<(), Fate<TrunkId>> {
        let arguments = (keeper.ctx.clone(), trunk.clone());
        keeper.child(trunk, Trunk, arguments).await
    }

    async fn hear(keeper: &mut Keeper<Self>, msg: TrunkSupervisorMsg) -> Result<(), ActorProcessingErr> {
        match msg {
            TrunkSupervisorMsg::Drain => {
                for trunk in keeper.ctx.settings.trunks.keys() {
                    keeper.ctx.directory.trunks.cast(trunk, TrunkMsg::Drain);
                }
                Ok(())
            }
        }
    }
}
