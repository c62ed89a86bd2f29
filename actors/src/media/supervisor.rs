//! Keeper of the MediaWorkers.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::{MediaWorker, MediaWorkerMsg};
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::model::ids::WorkerId;
use crate::supervision::{Children, Fate, Kind, Policy, cast_after};

/// What the MediaSupervisor hears.
#[derive(Debug)]
pub enum MediaSupervisorMsg {
    /// Spawn a worker for every media thread.
    Rebuild,
    /// The wait before a restart is over.
    Respawn(WorkerId),
    /// Nothing.
    Poke,
}

/// One for one, permanent, 5/60 s over all workers together. Last act: fails to Root, which restarts the subsystem; the threads
/// and their sessions go on by themselves meanwhile.
pub struct MediaSupervisor;

/// Its state.
pub struct State {
    ctx: Ctx,
    workers: Children<WorkerId, Envelope<MediaWorkerMsg>>,
}

impl Actor for MediaSupervisor {
    type Msg = MediaSupervisorMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(MediaSupervisorMsg::Rebuild)?;
        ctx.directory.media_supervisor.set(me);
        Ok(State { ctx, workers: Children::new(Kind::MediaWorker, Policy::SUBSYSTEM) })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::MediaSupervisor, &Kind::MediaSupervisor);
        match msg {
            MediaSupervisorMsg::Rebuild => {
                for worker in (0..state.ctx.ports.media.workers()).map(WorkerId) {
                    state.spawn(&me, worker).await?;
                }
            }
            MediaSupervisorMsg::Respawn(worker) => state.spawn(&me, worker).await?,
            MediaSupervisorMsg::Poke => {}
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
            SupervisionEvent::ActorFailed(who, why) => state.workers.failed(who.get_id(), &why, now),
            SupervisionEvent::ActorTerminated(who, _, why) => state.workers.ended(who.get_id(), why, now),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        state.follow(&me, fate)
    }
}

impl State {
    async fn spawn(&mut self, me: &ActorRef<MediaSupervisorMsg>, worker: WorkerId) -> Result<(), ActorProcessingErr> {
        let (arguments, now) = ((self.ctx.clone(), worker), self.ctx.now());
        match self.workers.spawn(worker, MediaWorker, arguments, me.get_cell(), now).await {
            Ok(_) => Ok(()),
            Err(fate) => self.follow(me, fate),
        }
    }

    fn follow(&self, me: &ActorRef<MediaSupervisorMsg>, fate: Fate<WorkerId>) -> Result<(), ActorProcessingErr> {
        match fate {
            Fate::Restart { key, after } => {
                cast_after(me, after, MediaSupervisorMsg::Respawn(key));
                Ok(())
            }
            Fate::GaveUp { key, why } => Err(format!("{key} failed too often: {why}").into()),
            Fate::Stranger | Fate::Ended { .. } => Ok(()),
        }
    }
}
