//! Keeper of the SipEndpoints and the Registrar.

use std::convert::Infallible;
use std::fmt;

use ractor::ActorProcessingErr;

use super::SipEndpoint;
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::model::ids::ListenerId;
use crate::registrar::Registrar;
use crate::supervision::{Fate, Heard, Keeper, Kind, Policy, Supervise};

/// A child of the SipSupervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SipChild {
    /// The twin of this listener.
    Endpoint(ListenerId),
    /// The Registrar.
    Registrar,
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
#[derive(Default)]
pub struct SipSupervisor;

impl Supervise for SipSupervisor {
    const KIND: Kind = Kind::SipSupervisor;
    const POLICY: Policy = Policy::SUBSYSTEM;
    type Key = SipChild;
    type Msg = Infallible;

    fn kind(child: &SipChild) -> Kind {
        match child {
            SipChild::Endpoint(_) => Kind::SipEndpoint,
            SipChild::Registrar => Kind::Registrar,
        }
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.sip_supervisor)
    }

    fn keys(ctx: &Ctx) -> Vec<SipChild> {
        let endpoints = ctx.ports.sip.listeners().into_iter().map(SipChild::Endpoint);
        std::iter::once(SipChild::Registrar).chain(endpoints).collect()
    }

    async fn spawn(keeper: &mut Keeper<Self>, child: SipChild) -> Result<(), Fate<SipChild>> {
        let ctx = keeper.ctx.clone();
        match child.clone() {
            SipChild::Endpoint(listener) => keeper.child(child, SipEndpoint, (ctx, listener)).await,
            SipChild::Registrar => keeper.child(child, Registrar, ctx).await,
        }
    }

    async fn hear(_: &mut Keeper<Self>, msg: Infallible) -> Result<(), ActorProcessingErr> {
        match msg {}
    }
}
