//! Keeper of the Rooms.

use std::time::Duration;

use ractor::ActorProcessingErr;

use super::{Room, RoomCheckpoint, RoomMsg, RoomReport, RoomSupervisorMsg};
use crate::call::CallMsg;
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::model::cause::Cause;
use crate::model::ids::RoomId;
use crate::supervision::{Fate, Heard, Keeper, Kind, Policy, Supervise};

/// One for one, transient, 3/30 s a room. Last act: the room is closed with the cause `room-failed`, and each member's call
/// hears so.
#[derive(Default)]
pub struct RoomSupervisor;

impl Supervise for RoomSupervisor {
    const KIND: Kind = Kind::RoomSupervisor;
    const POLICY: Policy = Policy::transient(3, Duration::from_secs(30));
    type Key = RoomId;
    type Msg = RoomSupervisorMsg;

    fn kind(_: &RoomId) -> Kind {
        Kind::Room
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.room_supervisor)
    }

    fn keys(ctx: &Ctx) -> Vec<RoomId> {
        ctx.ledger.rooms.keys()
    }

    fn lives(ctx: &Ctx, room: &RoomId) -> bool {
        ctx.ledger.rooms.contains(room)
    }

    async fn spawn(keeper: &mut Keeper<Self>, room: RoomId) -> Result<(), Fate<RoomId>> {
        show(&keeper.ctx);
        let arguments = (keeper.ctx.clone(), room.clone());
        keeper.child(room, Room, arguments).await
    }

    async fn hear(keeper: &mut Keeper<Self>, msg: RoomSupervisorMsg) -> Result<(), ActorProcessingErr> {
        match msg {
            RoomSupervisorMsg::Join { room, member } => {
                if !keeper.children.contains(&room) {
                    keeper.ctx.ledger.rooms.insert(room.clone(), RoomCheckpoint::new(room.clone()));
                    keeper.spawn(room.clone()).await?;
                }
                if let Some(actor) = keeper.children.get(&room) {
                    // A room about to end does not hear it; the call says it again.
                    let _ = actor.cast(RoomMsg::Join(member));
                }
                Ok(())
            }
        }
    }

    fn ended(keeper: &mut Keeper<Self>, _: RoomId) {
        show(&keeper.ctx);
    }

    fn last_act(keeper: &mut Keeper<Self>, room: RoomId, _: &str) -> Result<(), ActorProcessingErr> {
        let ctx = &keeper.ctx;
        ctx.directory.rooms.remove(&room);
        let members = ctx.ledger.rooms.remove(&room).map(|room| room.members).unwrap_or_default();
        for member in members {
            let report = RoomReport::Closed(Cause::internal("room-failed"));
            ctx.directory.calls.cast(&member.call, CallMsg::Room(report));
        }
        show(ctx);
        Ok(())
    }
}

fn show(ctx: &Ctx) {
    metrics::gauge!("tandem_rooms_active").set(ctx.ledger.rooms.len() as f64);
}
