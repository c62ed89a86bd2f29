//! Keeper of the RtcControl.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::{RtcControl, RtcControlMsg};
use crate::ctx::Ctx;
use crate::supervision::{Children, Fate, Kind, Policy, cast_after};

/// What the RtcSupervisor hears.
#[derive(Debug)]
pub enum RtcSupervisorMsg {
    /// Spawn the control, at the start and when the wait before a restart is over.
    Rebuild,
    /// Nothing.
    Poke,
}

/// One for one, permanent, 5/60 s. Last act: fails to Root, which restarts the subsystem. Connected peers keep their SRTP
/// meanwhile, unfinished handshakes fail.
pub struct RtcSupervisor;

/// Its state.
pub struct State {
    ctx: Ctx,
    control: Children<Kind, RtcControlMsg>,
}

impl Actor for RtcSupervisor {
    type Msg = RtcSupervisorMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(RtcSupervisorMsg::Rebuild)?;
        ctx.directory.rtc_supervisor.set(me);
        Ok(State { ctx, control: Children::new(Kind::RtcControl, Policy::SUBSYSTEM) })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::RtcSupervisor, &Kind::RtcSupervisor);
        match msg {
            RtcSupervisorMsg::Rebuild => {
                let (ctx, now) = (state.ctx.clone(), state.ctx.now());
                match state.control.spawn(Kind::RtcControl, RtcControl, ctx, me.get_cell(), now).await {
                    Ok(_) => Ok(()),
                    Err(fate) => follow(&me, fate),
                }
            }
            RtcSupervisorMsg::Poke => Ok(()),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.ctx.now();
        match event {
            SupervisionEvent::ActorFailed(who, why) => follow(&me, state.control.failed(who.get_id(), &why, now)),
            SupervisionEvent::ActorTerminated(who, _, why) => follow(&me, state.control.ended(who.get_id(), why, now)),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }
}

fn follow(me: &ActorRef<RtcSupervisorMsg>, fate: Fate<Kind>) -> Result<(), ActorProcessingErr> {
    match fate {
        Fate::Restart { after, .. } => {
            cast_after(me, after, RtcSupervisorMsg::Rebuild);
            Ok(())
        }
        Fate::GaveUp { key, why } => Err(format!("{key} failed too often: {why}").into()),
        Fate::Stranger | Fate::Ended { .. } => Ok(()),
    }
}
