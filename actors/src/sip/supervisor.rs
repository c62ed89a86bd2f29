//! Keeper of the SipEndpoints and the Registrar.

use std::fmt;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::SipEndpoint;
use crate::ctx::Ctx;
use crate::model::ids::ListenerId;
use crate::registrar::Registrar;
use crate::supervision::{Fate, Kind, Policy, Roster, cast_after};

/// What the SipSupervisor hears.
#[derive(Debug)]
pub enum SipSupervisorMsg {
    /// Spawn the Registrar, and an endpoint for every listener.
    Rebuild,
    /// The wait before a restart is over.
    Respawn(SipChild),
    /// Nothing.
    Poke,
}

/// A child of the SipSupervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SipChild {
    /// The twin of this listener.
    Endpoint(ListenerId),
    /// The Registrar.
    Registrar,
}

impl SipChild {
    fn kind(&self) -> Kind {
        match self {
            SipChild::Endpoint(_) => Kind::SipEndpoint,
            SipChild::Registrar => Kind::Registrar,
        }
    }
}

impl fmt::Display for SipChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SipChild::Endpoint(listener) => write!(f, "{listener:?}"),
            SipChild::Registrar => f.write_str("registrar"),
        }
    }
}

/// One for one, permanent, 5/60 s over endpoints and Registrar together. Last act: fails to Root, which restarts the
/// subsystem; the SIP core's sockets, transactions and dialogs are not in it and go on.
pub struct SipSupervisor;

/// Its state.
pub struct State {
    ctx: Ctx,
    children: Roster<SipChild>,
}

impl Actor for SipSupervisor {
    type Msg = SipSupervisorMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(SipSupervisorMsg::Rebuild)?;
        ctx.directory.sip_supervisor.set(me);
        Ok(State { ctx, children: Roster::new(SipChild::kind, Policy::SUBSYSTEM) })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::SipSupervisor, &Kind::SipSupervisor);
        match msg {
            SipSupervisorMsg::Rebuild => {
                state.spawn(&me, SipChild::Registrar).await?;
                for listener in state.ctx.ports.sip.listeners() {
                    state.spawn(&me, SipChild::Endpoint(listener)).await?;
                }
            }
            SipSupervisorMsg::Respawn(child) => state.spawn(&me, child).await?,
            SipSupervisorMsg::Poke => {}
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
        match event {
            SupervisionEvent::ActorFailed(who, why) => follow(&me, state.children.failed(who.get_id(), &why, now)),
            SupervisionEvent::ActorTerminated(who, _, why) => follow(&me, state.children.ended(who.get_id(), why, now)),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }
}

impl State {
    async fn spawn(&mut self, me: &ActorRef<SipSupervisorMsg>, child: SipChild) -> Result<(), ActorProcessingErr> {
        let (ctx, now, cell) = (self.ctx.clone(), self.ctx.now(), me.get_cell());
        let spawned = match child.clone() {
            SipChild::Endpoint(listener) => {
                self.children.spawn(child, SipEndpoint, (ctx, listener), cell, now).await.map(drop)
            }
            SipChild::Registrar => self.children.spawn(child, Registrar, ctx, cell, now).await.map(drop),
        };
        spawned.or_else(|fate| follow(me, fate))
    }
}

fn follow(me: &ActorRef<SipSupervisorMsg>, fate: Fate<SipChild>) -> Result<(), ActorProcessingErr> {
    match fate {
        Fate::Restart { key, after } => {
            cast_after(me, after, SipSupervisorMsg::Respawn(key));
            Ok(())
        }
        Fate::GaveUp { key, why } => Err(format!("{key} failed too often: {why}").into()),
        Fate::Stranger | Fate::Ended { .. } => Ok(()),
    }
}
