//! The Registrar actor: permanent, one of the SipSupervisor's children. A REGISTER lost in a crash is answered 500 by the SIP
//! core after 2 s, and the phone tries again.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{RegistrarMsg, bindings};
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::model::address::Contact;
use crate::model::ids::{Epoch, SubscriberId};
use crate::ports::sip::RegisterRequest;
use crate::ports::store::{Record, SavedBinding};
use crate::supervision::Kind;
use crate::timer::Timer;

/// Where a subscriber's phones are now, best `q` first: a call forks to all of them.
pub fn contacts(ctx: &Ctx, subscriber: &SubscriberId) -> Vec<Contact> {
    let now = ctx.wall();
    let mut live = ctx.ledger.bindings.read(subscriber, |all| bindings::expire(all, now).0).unwrap_or_default();
    live.sort_by_key(|binding| std::cmp::Reverse(binding.q));
    live.into_iter().map(|binding| binding.contact).collect()
}

/// How long [`forget`] waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has every binding of these subscribers dropped. `false` when the registrar did not say in time that it is done: it may be
/// between two incarnations, and is to be asked again.
pub async fn forget(ctx: &Ctx, subscribers: Vec<SubscriberId>) -> bool {
    let Some(registrar) = ctx.directory.registrar.get() else { return false };
    let ask = |reply| RegistrarMsg::Forget { subscribers, reply }.into();
    matches!(registrar.call(ask, Some(PATIENCE)).await, Ok(CallResult::Success(())))
}

/// The actor.
pub struct Registrar;

/// Its state; nothing that matters: bindings live in the ledger.
pub struct State {
    ctx: Ctx,
    epoch: Epoch,
    timer: Timer,
}

impl Actor for Registrar {
    type Msg = Envelope<RegistrarMsg>;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        let last = ctx.ledger.bindings.rows().into_iter().map(|(_, epoch, _)| epoch).max().unwrap_or_default();
        let mut state = State { ctx, epoch: last.next(), timer: Timer::default() };
        if !state.ctx.ledger.bindings_loaded.swap(true, Ordering::Relaxed) {
            state.load();
        }
        state.expire(&myself);
        state.ctx.directory.registrar.set(myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::Registrar, &Kind::Registrar);
        match envelope.open(Kind::Registrar) {
            RegistrarMsg::Register(request) => {
                state.register(&request);
                state.expire(&myself);
            }
            RegistrarMsg::ConnectionGone { listener, transport, source } => {
                state.unbind(|contact| {
                    contact.source == source && contact.transport == transport && contact.listener == listener
                });
                state.expire(&myself);
            }
            RegistrarMsg::Forget { subscribers, reply } => {
                state.forget(&subscribers);
                state.expire(&myself);
                // Who asked may have lost patience.
                let _ = reply.send(());
            }
            RegistrarMsg::Expire => {
                state.expire(&myself);
            }
            RegistrarMsg::Poke => {}
        }
        Ok(())
    }
}

impl State {
    /// Bindings of an earlier run, those that have not run out meanwhile.
    fn load(&self) {
        let now = self.ctx.wall();
        let mut by_subscriber = std::collections::BTreeMap::<SubscriberId, Vec<SavedBinding>>::new();
        for saved in self.ctx.ports.store.saved_bindings() {
            // A connection does not outlive the process that held it.
            if saved.expires_at > now && !saved.contact.transport.is_stream() {
                by_subscriber.entry(saved.subscriber.clone()).or_default().push(saved);
            }
        }
        for (subscriber, bindings) in by_subscriber {
            self.ctx.ledger.bindings.insert(subscriber, bindings);
        }
    }

    fn register(&self, request: &RegisterRequest) {
        let subscriber = &request.subscriber;
        let current = self.ctx.ledger.bindings.get(subscriber).unwrap_or_default();
        let outcome = bindings::register(&current, request, self.ctx.wall());
        if outcome.bindings != current {
            self.keep(subscriber, outcome.bindings);
        }
        metrics::counter!("tandem_register_requests_total", "outcome" => outcome.label).increment(1);
        tracing::debug!(%subscriber, outcome = outcome.label, "REGISTER");
        self.ctx.ports.sip.answer_register(request.request, outcome.answer);
    }

    /// Drops the bindings of these contacts.
    fn unbind(&self, gone: impl Fn(&Contact) -> bool) {
        for (subscriber, _, current) in self.ctx.ledger.bindings.rows() {
            let left: Vec<SavedBinding> = current.iter().filter(|binding| !gone(&binding.contact)).cloned().collect();
            if left.len() != current.len() {
                tracing::debug!(%subscriber, "a binding went with its connection");
                self.keep(&subscriber, left);
            }
        }
    }

    fn forget(&self, subscribers: &[SubscriberId]) {
        for subscriber in subscribers {
            if self.ctx.ledger.bindings.contains(subscriber) {
                tracing::info!(%subscriber, "the bindings of a subscriber that was removed are dropped");
                self.keep(subscriber, Vec::new());
            }
        }
    }

    fn keep(&self, subscriber: &SubscriberId, bindings: Vec<SavedBinding>) {
        let empty = bindings.is_empty();
        if self.ctx.ledger.bindings.put(subscriber.clone(), self.epoch, bindings.clone()).is_err() {
            return;
        }
        if empty {
            self.ctx.ledger.bindings.remove(subscriber);
        }
        self.ctx.ports.store.record(Record::Bindings(subscriber.clone(), bindings));
    }

    /// Drops what has run out, counts what is left, and wakes again for the next.
    fn expire(&mut self, myself: &ActorRef<Envelope<RegistrarMsg>>) {
        let now = self.ctx.wall();
        let mut count = 0_u32;
        let mut next: Option<SystemTime> = None;
        for (subscriber, _, current) in self.ctx.ledger.bindings.rows() {
            let (live, soonest) = bindings::expire(&current, now);
            count = count.saturating_add(u32::try_from(live.len()).unwrap_or(u32::MAX));
            if live.len() != current.len() {
                self.keep(&subscriber, live);
            }
            next = [next, soonest].into_iter().flatten().min();
        }
        metrics::gauge!("tandem_registrations").set(count);
        match next {
            Some(at) => self.timer.set(myself, self.ctx.until(at), || RegistrarMsg::Expire.into()),
            None => self.timer.clear(),
        }
    }
}
