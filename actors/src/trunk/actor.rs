//! The Trunk actor: a shell around [`Registration`] and [`Health`].

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::health::Health;
use super::registration::{Input, Registration};
use super::{TrunkMsg, lines};
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::model::ids::{Epoch, TrunkId};
use crate::model::settings;
use crate::supervision::Kind;
use crate::timer::Timer;

/// The actor.
pub struct Trunk;

/// Its state: a copy of its part of the ledger's row.
pub struct State {
    ctx: Ctx,
    id: TrunkId,
    epoch: Epoch,
    settings: settings::Trunk,
    registration: Registration,
    health: Health,
    timer: Timer,
}

impl Actor for Trunk {
    type Msg = Envelope<TrunkMsg>;
    type State = State;
    type Arguments = (Ctx, TrunkId);

    async fn pre_start(&self, me: ActorRef<Self::Msg>, (ctx, id): (Ctx, TrunkId)) -> Result<State, ActorProcessingErr> {
        let (epoch, saved) = ctx.ledger.trunks.next_epoch(&id).ok_or("the trunk has no ledger row")?;
        let settings = ctx.settings.trunks.get(&id).cloned().ok_or("the trunk is not configured")?;
        let mut state = State {
            ctx: ctx.clone(),
            id: id.clone(),
            epoch,
            settings,
            registration: saved.registration,
            health: saved.health,
            timer: Timer::default(),
        };
        ctx.directory.trunks.set(id, me.clone());
        state.step(Some(Input::Start), &me);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::Trunk, &state.id);
        match envelope.open(Kind::Trunk) {
            // The core answers an earlier incarnation: its question was asked again by this one.
            TrunkMsg::Registration { epoch, .. } | TrunkMsg::Options { epoch, .. } if epoch < state.epoch => {}
            TrunkMsg::Registration { outcome, .. } => {
                state.registered(&outcome);
                state.step(Some(Input::Outcome(outcome, rand::random())), &me);
            }
            TrunkMsg::Options { outcome, .. } => {
                state.answered(&outcome);
                state.step(None, &me);
            }
            TrunkMsg::Tick => {
                lines::sweep(&state.ctx, &state.id);
                state.step(Some(Input::Tick), &me);
            }
            TrunkMsg::Drain => state.step(Some(Input::Drain), &me),
            TrunkMsg::Poke => {}
        }
        Ok(())
    }
}

impl State {
    /// Steps what is due, commits, then sends.
    fn step(&mut self, input: Option<Input>, me: &ActorRef<Envelope<TrunkMsg>>) {
        let now = self.ctx.wall();
        let mut send = None;
        if let Some(input) = input {
            let registration = std::mem::replace(&mut self.registration, Registration::Static);
            (self.registration, send) = registration.step(input, self.settings.register_expires, now);
        }
        let interval = self.settings.options_interval.unwrap_or(Duration::MAX);
        let (health, ask) = self.health.tick(interval, now);
        self.health = health;
        let (registration, health) = (self.registration.clone(), self.health);
        let committed = self.ctx.ledger.trunks.amend(&self.id, self.epoch, |row| {
            row.registration = registration;
            row.health = health;
        });
        if committed.is_err() {
            return;
        }
        if let Some(expires) = send {
            self.ctx.ports.sip.register(&self.id, self.epoch, expires);
        }
        if ask {
            self.ctx.ports.sip.options(&self.id, self.epoch);
        }
        self.show();
        self.wake(me);
    }

    fn registered(&self, outcome: &Result<Duration, u16>) {
        let label = match outcome {
            Ok(_) => "granted",
            Err(401 | 403 | 407) => "forbidden",
            Err(408) => "timeout",
            Err(_) => "refused",
        };
        metrics::counter!("tandem_trunk_registrations_total", "trunk" => self.id.to_string(), "outcome" => label)
            .increment(1);
        match outcome {
            Ok(granted) => tracing::debug!(trunk = %self.id, ?granted, "registered with the trunk"),
            Err(status) => tracing::warn!(trunk = %self.id, status, "the trunk refused our registration; trying again"),
        }
    }

    fn answered(&mut self, outcome: &Result<Duration, u16>) {
        let before = self.health.alive();
        self.health = self.health.answered(outcome.is_ok());
        match (before, outcome) {
            (Some(false), Ok(_)) => tracing::info!(trunk = %self.id, "the trunk is alive again"),
            (Some(true) | None, Err(status)) => tracing::warn!(trunk = %self.id, status, "the trunk does not answer"),
            (_, Ok(round_trip)) => {
                metrics::histogram!("tandem_trunk_options_seconds", "trunk" => self.id.to_string()).record(*round_trip);
            }
            (Some(false), Err(_)) => {}
        }
    }

    fn show(&self) {
        let registered = self.registration.until().is_some_and(|until| until > self.ctx.wall());
        metrics::gauge!("tandem_trunk_registered", "trunk" => self.id.to_string()).set(f64::from(u8::from(registered)));
        if let Some(alive) = self.health.alive() {
            metrics::gauge!("tandem_trunk_alive", "trunk" => self.id.to_string()).set(f64::from(u8::from(alive)));
        }
    }

    /// One timer, for whichever deadline comes first.
    fn wake(&mut self, me: &ActorRef<Envelope<TrunkMsg>>) {
        let next = [self.registration.wake_at(), self.health.wake_at()].into_iter().flatten().min();
        match next {
            Some(at) => self.timer.set(me, self.ctx.until(at), || TrunkMsg::Tick.into()),
            None => self.timer.clear(),
        }
    }
}
