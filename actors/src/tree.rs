//! The running tree, as the program that embeds it holds it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ractor::{Actor, ActorRef};
use tokio::sync::watch;

use crate::call::{self, CallMsg};
use crate::control::Control;
use crate::ctx::Ctx;
use crate::inbox::Inbox;
use crate::model::cause::Cause;
use crate::model::settings::Settings;
use crate::ports::Ports;
use crate::root::Root;
use crate::supervision::{Faults, Heard, Kind, Supervisor};

/// A running tree. Dropping it does not stop it: [`Tree::stop`] does.
pub struct Tree {
    ctx: Ctx,
    root: ActorRef<Heard<Root>>,
    ended: watch::Receiver<bool>,
}

impl Tree {
    /// Where adapters deliver events; made first, since adapters are built with it.
    pub fn inbox() -> Arc<Inbox> {
        Arc::default()
    }

    /// Starts the tree on the current tokio runtime and opens the inbox. `started` is the wall time now.
    ///
    /// # Errors
    /// Plain words when Root does not start: a bug.
    pub async fn start(
        inbox: &Inbox,
        settings: Arc<Settings>,
        ports: Ports,
        faults: Faults,
        started: SystemTime,
    ) -> Result<Self, String> {
        crate::metrics::describe();
        let ctx = Ctx::new(settings, ports, faults, started);
        let (root, running) =
            Actor::spawn(None, Supervisor::<Root>::default(), ctx.clone()).await.map_err(|error| error.to_string())?;
        inbox.open(ctx.clone());
        let (tell, ended) = watch::channel(false);
        tokio::spawn(async move {
            // However Root ended, it ended.
            let _ = running.await;
            let _ = tell.send(true);
        });
        Ok(Self { ctx, root, ended })
    }

    /// What the REST API asks.
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::new(self.ctx.clone())
    }

    /// What every actor is handed: for telemetry and tests.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Whether every subsystem has entered itself: calls are taken.
    pub fn is_up(&self) -> bool {
        self.ctx.missing_subsystem().is_none()
    }

    /// Resolves when Root has ended, by [`Tree::stop`] or because it gave up: then the process is to exit with 70.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            // A closed channel is an end, too.
            let _ = ended.wait_for(|&ended| ended).await;
        }
    }

    /// Drains ([`Ctx::drain`]). `true` once no call lives, `false` when some still do after `within`.
    pub async fn drained(&self, within: Duration) -> bool {
        self.ctx.drain();
        self.without_calls(within).await
    }

    /// Hangs up what still lives, gives the good-byes `within`, and ends every actor.
    pub async fn stop(self, within: Duration) {
        for call in self.ctx.ledger.calls.keys() {
            let cause = Cause::unavailable("the switch stops");
            call::order(&self.ctx, call, CallMsg::HangUp { cause });
        }
        if !self.without_calls(within).await {
            tracing::warn!(calls = self.ctx.ledger.calls.len(), "stopping with calls that did not end");
        }
        self.root.stop(None);
        self.ended().await;
    }

    /// Makes the actor of this kind and id panic at its next message ([`Faults`] permitting).
    pub fn arm(&self, kind: Kind, id: &dyn Display) -> bool {
        self.ctx.faults.arm(kind, id)
    }

    /// As [`Tree::arm`], at each of its next `times` messages.
    pub fn arm_times(&self, kind: Kind, id: &dyn Display, times: u32) -> bool {
        self.ctx.faults.arm_times(kind, id, times)
    }

    /// Makes every live actor of a kind panic now; how many there were.
    pub fn crash(&self, kind: Kind) -> usize {
        self.ctx.directory.crash(kind, &self.ctx.faults)
    }

    async fn without_calls(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.ctx.ledger.calls.emptied()).await.is_ok()
    }
}
