//! Keeper of the RtcControl.

use std::convert::Infallible;

use ractor::ActorProcessingErr;

use super::RtcControl;
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::supervision::{Fate, Heard, Keeper, Kind, Policy, Supervise};

/// One for one, permanent, 5/60 s. Last act: fails to Root, which restarts the subsystem. Connected peers keep their SRTP
/// meanwhile, unfinished handshakes fail.
#[derive(Default)]
pub struct RtcSupervisor;

impl Supervise for RtcSupervisor {
    const KIND: Kind = Kind::RtcSupervisor;
    const POLICY: Policy = Policy::SUBSYSTEM;
    type Key = Kind;
    type Msg = Infallible;

    fn kind(&control: &Kind) -> Kind {
        control
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.rtc_supervisor)
    }

    fn keys(_: &Ctx) -> Vec<Kind> {
        vec![Kind::RtcControl]
    }

    async fn spawn(keeper: &mut Keeper<Self>, control: Kind) -> Result<(), Fate<Kind>> {
        keeper.child(control, RtcControl, keeper.ctx.clone()).await
    }

    async fn hear(_: &mut Keeper<Self>, msg: Infallible) -> Result<(), ActorProcessingErr> {
        match msg {}
    }
}
