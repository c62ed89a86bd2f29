//! Keeper of the MediaWorkers.

use std::convert::Infallible;

use ractor::ActorProcessingErr;

use super::MediaWorker;
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::model::ids::WorkerId;
use crate::supervision::{Fate, Heard, Keeper, Kind, Policy, Supervise};

/// One for one, permanent, 5/60 s over all workers together. Last act: fails to Root, which restarts the subsystem; the threads
/// and their sessions go on by themselves meanwhile.
#[derive(Default)]
pub struct MediaSupervisor;

impl Supervise for MediaSupervisor {
    const KIND: Kind = Kind::MediaSupervisor;
    const POLICY: Policy = Policy::SUBSYSTEM;
    type Key = WorkerId;
    type Msg = Infallible;

    fn kind(_: &WorkerId) -> Kind {
        Kind::MediaWorker
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.media_supervisor)
    }

    fn keys(ctx: &Ctx) -> Vec<WorkerId> {
        (0..ctx.ports.media.workers()).map(WorkerId).collect()
    }

    async fn spawn(keeper: &mut Keeper<Self>, worker: WorkerId) -> Result<(), Fate<WorkerId>> {
        keeper.child(worker, MediaWorker, (keeper.ctx.clone(), worker)).await
    }

    async fn hear(_: &mut Keeper<Self>, msg: Infallible) -> Result<(), ActorProcessingErr> {
        match msg {}
    }
}
