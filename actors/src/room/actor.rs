//! The Room actor.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{RoomCheckpoint, RoomMsg, RoomReport};
use crate::call::CallMsg;
use crate::ctx::Ctx;
use crate::model::ids::{CallId, Epoch, RoomId};
use crate::supervision::Kind;

/// After the grace a lonely phone is looked at this often, until its call has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Child of the RoomSupervisor. Its members are in the ledger; it ends when the last one has left.
pub struct Room;

/// Its state.
pub struct State {
    ctx: Ctx,
    epoch: Epoch,
    room: RoomCheckpoint,
}

impl Actor for Room {
    type Msg = RoomMsg;
    type State = State;
    type Arguments = (Ctx, RoomId);

    async fn pre_start(
        &self,
        me: ActorRef<RoomMsg>,
        (ctx, room): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Some((epoch, checkpoint)) = ctx.ledger.rooms.next_epoch(&room) else {
            return Err("the room is closed".into());
        };
        me.cast(RoomMsg::Begin)?;
        ctx.directory.rooms.set(room, me);
        Ok(State { ctx, epoch, room: checkpoint })
    }

    async fn handle(&self, me: ActorRef<RoomMsg>, msg: RoomMsg, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::Room, &state.room.room);
        let now = state.ctx.wall();
        match msg {
            RoomMsg::Begin if state.epoch > Epoch(1) => {
                // Who left while nobody listened.
                let members = state.room.members.iter().map(|member| member.call);
                let gone: Vec<_> = members.filter(|call| !state.is_up(*call)).collect();
                for call in gone {
                    state.room.leave(call, now);
                }
                state.changed(&me);
            }
            RoomMsg::Begin => {}
            RoomMsg::Join(member) => {
                let call = member.call;
                if !state.is_up(call) {
                    // Its leave has overtaken its join, which came round by the supervisor; an empty room ends.
                    state.changed(&me);
                } else if state.room.join(member, now) {
                    tracing::info!(room = %state.room.room, %call, "joins the room");
                    state.changed(&me);
                } else {
                    let names = state.room.names();
                    state.ctx.directory.calls.cast(&call, CallMsg::Room(RoomReport::Participants(names)));
                }
            }
            RoomMsg::Leave(call) => {
                if state.room.leave(call, now) {
                    tracing::info!(room = %state.room.room, %call, "leaves the room");
                    state.changed(&me);
                }
            }
            RoomMsg::Look => state.look(&me),
            RoomMsg::Poke => {}
        }
        Ok(())
    }
}

impl State {
    /// Whether the call goes on. One that ends says so in its row before it leaves.
    fn is_up(&self, call: CallId) -> bool {
        self.ctx.ledger.calls.read(&call, |row| row.cause.is_none()) == Some(true)
    }

    /// Commits, tells everybody, and ends an empty room. A join that crosses the end is said again by its call.
    fn changed(&mut self, me: &ActorRef<RoomMsg>) {
        let (ledger, directory) = (&self.ctx.ledger, &self.ctx.directory);
        if ledger.rooms.commit(&self.room.room, self.epoch, self.room.clone()).is_err() {
            me.stop(Some("fenced".into()));
            return;
        }
        if self.room.members.is_empty() {
            ledger.rooms.remove(&self.room.room);
            directory.rooms.remove_if(&self.room.room, me.get_id());
            me.stop(None);
            return;
        }
        for member in &self.room.members {
            let report = RoomReport::Participants(self.room.names());
            directory.calls.cast(&member.call, CallMsg::Room(report));
        }
        self.look(me);
    }

    fn look(&self, me: &ActorRef<RoomMsg>) {
        match self.room.lonely(self.ctx.settings.limits.alone_grace, self.ctx.wall()) {
            None => {}
            Some(Err(wait)) => {
                me.send_after(wait, || RoomMsg::Look);
            }
            Some(Ok(call)) => {
                self.ctx.directory.calls.cast(&call, CallMsg::Room(RoomReport::Alone));
                me.send_after(LOOK_EVERY, || RoomMsg::Look);
            }
        }
    }
}
