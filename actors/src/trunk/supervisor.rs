//! Keeper of the Trunks.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::health::Health;
use super::registration::Registration;
use super::{Trunk, TrunkCheckpoint, TrunkMsg};
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::model::ids::TrunkId;
use crate::supervision::{Backoff, Children, Fate, Intensity, Kind, Policy, Restart, Scope, cast_after};

/// What the TrunkSupervisor hears.
#[derive(Debug)]
pub enum TrunkSupervisorMsg {
    /// Spawn a Trunk for every one configured.
    Rebuild,
    /// The wait before a Trunk's restart is over.
    Respawn(TrunkId),
    /// The switch drains: every trunk un-registers.
    Drain,
    /// Nothing: makes an armed fault fire.
    Poke,
}

/// One for one, permanent, never gives up; each trunk backs off 1 to 60 s +-20 % on its own. There is no last act. A trunk's
/// crash touches no call: dialogs are the SIP core's, lines are the ledger's.
pub struct TrunkSupervisor;

/// How long a failure goes on slowing down the next restart.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(600);

/// Its state.
pub struct State {
    ctx: Ctx,
    trunks: Children<TrunkId, Envelope<TrunkMsg>>,
}

impl Actor for TrunkSupervisor {
    type Msg = TrunkSupervisorMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(TrunkSupervisorMsg::Rebuild)?;
        ctx.directory.trunk_supervisor.set(me);
        let policy = Policy {
            restart: Restart::Permanent,
            intensity: Intensity::unlimited(REMEMBERED),
            backoff: Backoff::PATIENT,
            scope: Scope::Each,
        };
        Ok(State { ctx, trunks: Children::new(Kind::Trunk, policy) })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::TrunkSupervisor, &Kind::TrunkSupervisor);
        match msg {
            TrunkSupervisorMsg::Rebuild => {
                let now = state.ctx.wall();
                let configured: Vec<_> = state.ctx.settings.trunks.values().cloned().collect();
                for trunk in configured {
                    let first = TrunkCheckpoint {
                        trunk: trunk.id.clone(),
                        registration: Registration::new(trunk.register),
                        health: Health::new(trunk.options_interval, now),
                        calls: Default::default(),
                    };
                    state.ctx.ledger.trunks.insert(trunk.id.clone(), first);
                    state.spawn(&me, trunk.id).await;
                }
            }
            TrunkSupervisorMsg::Respawn(trunk) => state.spawn(&me, trunk).await,
            TrunkSupervisorMsg::Drain => {
                for trunk in state.ctx.settings.trunks.keys() {
                    state.ctx.directory.trunks.cast(trunk, TrunkMsg::Drain);
                }
            }
            TrunkSupervisorMsg::Poke => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.ctx.now();
        let fate = match event {
            SupervisionEvent::ActorFailed(who, why) => state.trunks.failed(who.get_id(), &why, now),
            SupervisionEvent::ActorTerminated(who, _, why) => state.trunks.ended(who.get_id(), why, now),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        follow(&me, fate);
        Ok(())
    }
}

impl State {
    async fn spawn(&mut self, me: &ActorRef<TrunkSupervisorMsg>, trunk: TrunkId) {
        let (arguments, now) = ((self.ctx.clone(), trunk.clone()), self.ctx.now());
        if let Err(fate) = self.trunks.spawn(trunk, Trunk, arguments, me.get_cell(), now).await {
            follow(me, fate);
        }
    }
}

fn follow(me: &ActorRef<TrunkSupervisorMsg>, fate: Fate<TrunkId>) {
    match fate {
        Fate::Restart { key, after } => cast_after(me, after, TrunkSupervisorMsg::Respawn(key)),
        // An unlimited window never gives up, and a permanent child never ends.
        Fate::GaveUp { key, why } => tracing::error!(trunk = %key, why, "a trunk gave up against its policy"),
        Fate::Stranger | Fate::Ended { .. } => {}
    }
}
