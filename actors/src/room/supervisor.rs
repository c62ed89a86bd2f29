//! Keeper of the Rooms.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::{Room, RoomCheckpoint, RoomMsg, RoomReport, RoomSupervisorMsg};
use crate::call::CallMsg;
use crate::ctx::Ctx;
use crate::model::cause::Cause;
use crate::model::ids::RoomId;
use crate::supervision::{Children, Fate, Kind, Policy};

/// One for one, transient, 3/30 s a room. Last act: the room is closed with the cause `room-failed`, and each member's call
/// hears so.
pub struct RoomSupervisor;

/// Its state.
pub struct State {
    ctx: Ctx,
    rooms: Children<RoomId, RoomMsg>,
}

impl Actor for RoomSupervisor {
    type Msg = RoomSupervisorMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(RoomSupervisorMsg::Rebuild)?;
        ctx.directory.room_supervisor.set(me);
        let policy = Policy::transient(3, Duration::from_secs(30));
        Ok(State { ctx, rooms: Children::new(Kind::Room, policy) })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::RoomSupervisor, &Kind::RoomSupervisor);
        match msg {
            RoomSupervisorMsg::Rebuild => {
                for room in state.ctx.ledger.rooms.keys() {
                    state.spawn(&me, room).await;
                }
            }
            RoomSupervisorMsg::Join { room, member } => {
                if !state.rooms.contains(&room) {
                    state.ctx.ledger.rooms.insert(room.clone(), RoomCheckpoint::new(room.clone()));
                    state.spawn(&me, room.clone()).await;
                }
                if let Some(actor) = state.rooms.get(&room) {
                    // A room about to end does not hear it; the call says it again.
                    let _ = actor.cast(RoomMsg::Join(member));
                }
            }
            RoomSupervisorMsg::Respawn(room) => state.spawn(&me, room).await,
            RoomSupervisorMsg::Poke => {}
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
            SupervisionEvent::ActorFailed(who, why) => state.rooms.failed(who.get_id(), &why, now),
            SupervisionEvent::ActorTerminated(who, _, why) => state.rooms.ended(who.get_id(), why, now),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        match fate {
            Fate::Restart { key, after } if after.is_zero() => state.spawn(&me, key).await,
            Fate::Restart { .. } | Fate::GaveUp { .. } | Fate::Stranger | Fate::Ended { .. } => {
                state.follow(&me, fate);
            }
        }
        Ok(())
    }
}

impl State {
    async fn spawn(&mut self, me: &ActorRef<RoomSupervisorMsg>, room: RoomId) {
        if !self.ctx.ledger.rooms.contains(&room) {
            self.rooms.forget(&room);
            return;
        }
        let (arguments, now) = ((self.ctx.clone(), room.clone()), self.ctx.now());
        if let Err(fate) = self.rooms.spawn(room, Room, arguments, me.get_cell(), now).await {
            self.follow(me, fate);
        }
        metrics::gauge!("tandem_rooms_active").set(self.rooms.len() as f64);
    }

    fn follow(&mut self, me: &ActorRef<RoomSupervisorMsg>, fate: Fate<RoomId>) {
        match fate {
            Fate::Restart { key, after } => {
                me.send_after(after, move || RoomSupervisorMsg::Respawn(key));
            }
            Fate::GaveUp { key, .. } => self.last_act(&key),
            Fate::Stranger | Fate::Ended { .. } => {}
        }
        metrics::gauge!("tandem_rooms_active").set(self.rooms.len() as f64);
    }

    fn last_act(&self, room: &RoomId) {
        self.ctx.directory.rooms.remove(room);
        let members = self.ctx.ledger.rooms.remove(room).map(|room| room.members).unwrap_or_default();
        for member in members {
            let report = RoomReport::Closed(Cause::internal("room-failed"));
            self.ctx.directory.calls.cast(&member.call, CallMsg::Room(report));
        }
    }
}
