//! The Registrar actor: permanent, one of the SipSupervisor's children. A REGISTER lost in a crash is answered 500 by the SIP
//! core after 2 s, and the phone tries again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::RegistrarMsg;
use super::agenda::Agenda;
use super::bindings::{self, House};
use super::keep_alive::KeepAlives;
use super::same_uri::same_uri;
use crate::call::text;
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::model::address::{Contact, InstanceId, SipUri, Transport};
use crate::model::ids::{Epoch, ListenerId, SubscriberId};
use crate::model::settings::KeepAlive;
use crate::ports::sip::RegisterRequest;
use crate::ports::store::{Record, SavedBinding};
use crate::supervision::Kind;
use crate::timer::Timer;

/// Where a subscriber's phones are now, best `q` first: a call forks to all of them. With an instance: where that one is.
pub fn contacts(ctx: &Ctx, subscriber: &SubscriberId, instance: Option<&InstanceId>) -> Vec<Contact> {
    let now = ctx.wall();
    let mut live = ctx.ledger.bindings.read(subscriber, |all| bindings::live(all, now)).unwrap_or_default();
    if let Some(wanted) = instance {
        live.retain(|binding| binding.instance.as_ref().is_some_and(|instance| instance.is(&wanted.0)));
    }
    bindings::to_ring(live)
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

/// Has bindings of a subscriber removed: those of one contact, or all; how many there were. `None` when the registrar did not
/// say in time.
pub async fn remove(ctx: &Ctx, subscriber: SubscriberId, contact: Option<SipUri>) -> Option<usize> {
    let ask = |reply| RegistrarMsg::Remove { subscriber, contact, reply }.into();
    match ctx.directory.registrar.get()?.call(ask, Some(PATIENCE)).await {
        Ok(CallResult::Success(removed)) => Some(removed),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
    }
}

/// The actor.
pub struct Registrar;

/// Its state; nothing that matters: bindings live in the ledger.
pub struct State {
    ctx: Ctx,
    epoch: Epoch,
    timer: Timer,
    /// When the next binding of a subscriber runs out.
    agenda: Agenda<SubscriberId>,
    /// How many bindings there are.
    count: usize,
    keep_alives: KeepAlives,
    keep_alive_timer: Timer,
}

impl Actor for Registrar {
    type Msg = Envelope<RegistrarMsg>;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        let last = ctx.ledger.bindings.rows().into_iter().map(|(_, epoch, _)| epoch).max().unwrap_or_default();
        let mut state = State {
            ctx,
            epoch: last.next(),
            timer: Timer::default(),
            agenda: Agenda::default(),
            count: 0,
            keep_alives: KeepAlives::default(),
            keep_alive_timer: Timer::default(),
        };
        if !state.ctx.ledger.bindings_loaded.swap(true, Ordering::Relaxed) {
            state.load();
        }
        for (subscriber, _, bindings) in state.ctx.ledger.bindings.rows() {
            state.note(&subscriber, 0, &bindings);
        }
        state.expire(&myself);
        state.wake_keep_alive(&myself);
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
                state.wake_keep_alive(&myself);
            }
            RegistrarMsg::Message(request) => {
                let answer = text::relay(&state.ctx, &request);
                state.ctx.ports.sip.answer_message(request.request, answer);
            }
            RegistrarMsg::Forget { subscribers, reply } => {
                for subscriber in &subscribers {
                    state.drop_where(subscriber, "forgotten", |_| true);
                }
                state.expire(&myself);
                // Who asked may have lost patience.
                let _ = reply.send(());
            }
            RegistrarMsg::Remove { subscriber, contact, reply } => {
                let is =
                    |binding: &SavedBinding| contact.as_ref().is_none_or(|uri| same_uri(uri, &binding.contact.uri));
                let removed = state.drop_where(&subscriber, "operator", is);
                state.expire(&myself);
                let _ = reply.send(removed);
            }
            RegistrarMsg::KeptAlive { id, answered } => {
                if let Some(gone) = state.keep_alives.heard(id, answered) {
                    let is = |b: &SavedBinding| b.contact.uri == gone.uri && b.contact.source == gone.source;
                    state.drop_where(&gone.subscriber, "silent", is);
                    state.expire(&myself);
                }
            }
            RegistrarMsg::ConnectionGone { listener, transport, source } => {
                state.connection_gone(&listener, transport, source);
                state.expire(&myself);
            }
            RegistrarMsg::KeepAlive => {
                state.keep_alive();
                state.wake_keep_alive(&myself);
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
    /// Bindings of an earlier run, those that have not run out meanwhile. A connection does not outlive the process that held it:
    /// who could be reached by nothing else registers again when it notices.
    fn load(&self) {
        let now = self.ctx.wall();
        let mut by_subscriber = std::collections::BTreeMap::<SubscriberId, Vec<SavedBinding>>::new();
        for saved in self.ctx.ports.store.saved_bindings() {
            if saved.expires_at > now && !only_by_its_connection(&saved) {
                by_subscriber.entry(saved.subscriber.clone()).or_default().push(saved);
            }
        }
        for (subscriber, bindings) in by_subscriber {
            self.ctx.ledger.bindings.insert(subscriber, bindings);
        }
    }

    fn register(&mut self, request: &RegisterRequest) {
        let subscriber = &request.subscriber;
        let current = self.ctx.ledger.bindings.get(subscriber).unwrap_or_default();
        let settings = Arc::clone(&self.ctx.settings);
        let house = House { grants: &settings.registrar, domain: &settings.domain };
        let outcome = bindings::register(&current, request, house, rand::random(), self.ctx.wall());
        if outcome.bindings != current {
            self.keep(subscriber, outcome.bindings);
        }
        metrics::counter!("tandem_register_requests_total", "outcome" => outcome.label).increment(1);
        tracing::debug!(%subscriber, outcome = outcome.label, "REGISTER");
        self.ctx.ports.sip.answer_register(request.request, outcome.answer);
    }

    /// Drops those of a subscriber's bindings that are so; how many.
    fn drop_where(
        &mut self,
        subscriber: &SubscriberId,
        reason: &'static str,
        is: impl Fn(&SavedBinding) -> bool,
    ) -> usize {
        let Some(current) = self.ctx.ledger.bindings.get(subscriber) else { return 0 };
        let (gone, left): (Vec<_>, Vec<_>) = current.into_iter().partition(is);
        if !gone.is_empty() {
            tracing::info!(%subscriber, reason, contacts = gone.len(), "bindings of a subscriber are dropped");
            let count = u64::try_from(gone.len()).unwrap_or(u64::MAX);
            metrics::counter!("tandem_bindings_dropped_total", "reason" => reason).increment(count);
            self.keep(subscriber, left);
        }
        gone.len()
    }

    fn connection_gone(&mut self, listener: &ListenerId, transport: Transport, source: SocketAddr) {
        let over_it = |binding: &SavedBinding| {
            let contact = &binding.contact;
            let same = contact.source == source && contact.transport == transport && contact.listener == *listener;
            same && contact.path.is_empty()
        };
        let subscribers: Vec<_> = self.ctx.ledger.bindings.keys_where(|all| all.iter().any(over_it));
        for subscriber in subscribers {
            self.drop_where(&subscriber, "connection_gone", over_it);
        }
    }

    fn keep(&mut self, subscriber: &SubscriberId, bindings: Vec<SavedBinding>) {
        let empty = bindings.is_empty();
        let before = self.ctx.ledger.bindings.read(subscriber, Vec::len).unwrap_or(0);
        if self.ctx.ledger.bindings.put(subscriber.clone(), self.epoch, bindings.clone()).is_err() {
            return;
        }
        if empty {
            self.ctx.ledger.bindings.remove(subscriber);
        }
        self.note(subscriber, before, &bindings);
        self.ctx.ports.store.record(Record::Bindings(subscriber.clone(), bindings));
    }

    /// A subscriber's bindings are these now, and were so many before.
    fn note(&mut self, subscriber: &SubscriberId, before: usize, bindings: &[SavedBinding]) {
        self.count = self.count + bindings.len() - before;
        self.agenda.set(subscriber, bindings.iter().map(|binding| binding.expires_at).min());
        let first = self.ctx.settings.registrar.keep_alive_interval.mul_f64(rand::random_range(0.5..1.0));
        self.keep_alives.set(subscriber, bindings, self.ctx.wall(), first);
    }

    fn keep_alive(&mut self) {
        let registrar = &self.ctx.settings.registrar;
        let asks = match registrar.keep_alive {
            KeepAlive::Off => return,
            KeepAlive::Options => true,
            KeepAlive::Crlf => false,
        };
        for (id, contact) in self.keep_alives.due(registrar.keep_alive_interval, self.ctx.wall()) {
            metrics::counter!("tandem_keep_alives_total").increment(1);
            self.ctx.ports.sip.keep_alive(&contact, asks.then_some(id));
        }
    }

    /// At most once a second: what falls due together goes together.
    fn wake_keep_alive(&mut self, myself: &ActorRef<Envelope<RegistrarMsg>>) {
        let off = self.ctx.settings.registrar.keep_alive == KeepAlive::Off;
        match self.keep_alives.next_at().filter(|_| !off) {
            Some(at) => {
                let after = self.ctx.until(at).max(Duration::from_secs(1));
                self.keep_alive_timer.set(myself, after, || RegistrarMsg::KeepAlive.into());
            }
            None => self.keep_alive_timer.clear(),
        }
    }

    /// Drops what has run out, says how many are left, and wakes again for the next.
    fn expire(&mut self, myself: &ActorRef<Envelope<RegistrarMsg>>) {
        let now = self.ctx.wall();
        while let Some(subscriber) = self.agenda.take_due(now) {
            let live = self.ctx.ledger.bindings.read(&subscriber, |all| bindings::live(all, now));
            self.keep(&subscriber, live.unwrap_or_default());
        }
        metrics::gauge!("tandem_registrations").set(self.count as f64);
        match self.agenda.next_at() {
            Some(at) => self.timer.set(myself, self.ctx.until(at), || RegistrarMsg::Expire.into()),
            None => self.timer.clear(),
        }
    }
}

/// Whether it can be reached by nothing but the connection it registered over (RFC 5626 §5.3).
fn only_by_its_connection(binding: &SavedBinding) -> bool {
    binding.contact.path.is_empty() && binding.contact.transport.is_stream()
}
