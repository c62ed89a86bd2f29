//! The shell around the core: its lock, the order of its effects, its tasks (sockets, timers, name resolution).

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tandem_actors::model::ids::ListenerId;
use tandem_actors::ports::Brain;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::config::{SipConfig, SipStartError};
use super::super::digest::Credentials;
use super::super::message::validate::validate;
use super::super::message::{Carried, Message};
use super::super::nuisance::blocks::Blocks;
use super::super::resolve::Resolver;
use super::super::sight::Tap;
use super::super::sight::hep::Hep;
use super::super::transport::peers::Peers;
use super::super::transport::sockets::Bound;
use super::super::transport::{Flow, Wire};
use super::{Core, Effect, Listener};
use crate::sip::metrics;

/// How often the timer task looks whether the core is still there when nothing is due.
const IDLE_LOOK: std::time::Duration = std::time::Duration::from_secs(5);
/// Between two looks at what is due: thousands of transactions each have a timer within any millisecond, and none of SIP's
/// minds to be late by this (RFC 3261 §17: T1 is 500 ms).
const LOOKS_APART: std::time::Duration = std::time::Duration::from_millis(5);

/// The SIP adapter: a handle that can be cloned. When the last one is gone its tasks end.
#[derive(Clone)]
pub struct SipCore {
    shared: Arc<Shared>,
}

/// What the tasks of the adapter share.
pub struct Shared {
    core: Mutex<Guarded>,
    pub(super) wire: Box<dyn Wire>,
    brain: Arc<dyn Brain>,
    resolver: Resolver,
    wake: Arc<Notify>,
    tap: Tap,
    /// Whose octets are dropped unread.
    pub(in crate::sip) blocks: Arc<Blocks>,
    runtime: tokio::runtime::Handle,
    me: Weak<Shared>,
}

struct Guarded {
    core: Core,
    /// Somebody is carrying effects out: others leave theirs in the queue, so that order is kept.
    carrying: bool,
    /// What the timer task sleeps until.
    armed: Option<Instant>,
}

impl SipCore {
    /// Binds every listener, then runs. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SipStartError`], naming listener, address and remedy; nothing is left bound.
    pub async fn start(
        config: SipConfig,
        brain: Arc<dyn Brain>,
        credentials: Arc<dyn Credentials>,
    ) -> Result<Self, SipStartError> {
        metrics::describe();
        let bound = Bound::bind(&config.listeners)?;
        let listeners = config
            .listeners
            .iter()
            .zip(bound.locals())
            .map(|(listener, local)| Listener {
                id: listener.id.clone(),
                transports: listener.transports.clone(),
                local,
                external_ip: listener.external_ip,
                local_nets: listener.local_nets.clone(),
            })
            .collect();
        let names = Arc::default();
        let resolver = Resolver::new(config.name_servers.clone());
        let (peers, origins) = (Peers::new(&config, Arc::clone(&names)), config.allowed_origins.clone());
        let mut core = Core::new(config, listeners, credentials, Instant::now());
        core.names_of_peers = names;
        let this = Self::assemble(core, brain, resolver, |me| Box::new(bound.serving(peers, origins, me)));
        for (at, (listener, _)) in this.local_addrs().into_iter().enumerate() {
            this.shared.wire.keep_listening(at).map_err(|why| SipStartError::Bind { listener, why })?;
        }
        Ok(this)
    }

    /// Puts a core on a wire of any kind, with its timer task.
    pub(super) fn assemble(
        core: Core,
        brain: Arc<dyn Brain>,
        resolver: Resolver,
        wire: impl FnOnce(Weak<Shared>) -> Box<dyn Wire>,
    ) -> Self {
        let locals = core.listeners.iter().map(|listener| listener.local).collect();
        let tap = Tap::new(locals, core.config.hep.clone().map(Hep::start));
        let shared = Arc::new_cyclic(|me| Shared {
            tap,
            blocks: core.gate.blocks(),
            core: Mutex::new(Guarded { core, carrying: false, armed: None }),
            wire: wire(me.clone()),
            brain,
            resolver,
            wake: Arc::new(Notify::new()),
            runtime: tokio::runtime::Handle::current(),
            me: me.clone(),
        });
        tokio::spawn(run_timers(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// The addresses that are bound, by listener: with port 0 in the configuration the way to learn the port.
    pub fn local_addrs(&self) -> Vec<(ListenerId, SocketAddr)> {
        self.shared
            .with(|core, _| core.listeners.iter().map(|listener| (listener.id.clone(), listener.local)).collect())
    }

    /// What passed the wire.
    pub fn tap(&self) -> &Tap {
        &self.shared.tap
    }

    /// Who is blocked, to list and to lift.
    pub fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.shared.blocks)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// See [`tandem_actors::ports::sip::SipPort::keep_listening`].
    pub(super) fn listen_again(&self, listener: &ListenerId) -> Result<bool, String> {
        let at = self.shared.with(|core, _| core.listeners.iter().position(|known| known.id == *listener));
        let at = at.ok_or_else(|| "no such listener is configured under `sip.listeners`".to_owned())?;
        self.shared.wire.keep_listening(at).map_err(|why| why.to_string())
    }

    #[cfg(test)]
    pub(super) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    /// A handle again.
    #[cfg(test)]
    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Shared {
    /// Runs a step under the lock, then carries out what it left to do.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let now = Instant::now();
        let mut guarded = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        guarded.core.sources.age(now);
        let result = step(&mut guarded.core, now);
        if !guarded.carrying {
            guarded.carrying = true;
            loop {
                let batch = std::mem::take(&mut guarded.core.effects);
                if batch.is_empty() {
                    break;
                }
                drop(guarded);
                for effect in batch {
                    self.carry_out(effect);
                }
                guarded = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            }
            guarded.carrying = false;
        }
        let (transactions, dialogs) =
            (guarded.core.clients.len() + guarded.core.servers.len(), guarded.core.dialogs.len());
        let next = guarded.core.next_deadline();
        let sooner = match (next, guarded.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        drop(guarded);
        metrics::tables(transactions, dialogs);
        if sooner {
            self.wake.notify_one();
        }
        result
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Send { flow, octets } => {
                self.tap.goes(flow, &octets, Instant::now());
                self.wire.send(flow, octets);
            }
            Effect::Belong { call, call_ids } => self.tap.belong(call, call_ids),
            Effect::Event(event) => {
                // A panic of the brain's inbox must not stop the wire.
                if catch_unwind(AssertUnwindSafe(|| self.brain.sip(*event))).is_err() {
                    tracing::error!("the brain panicked over a SIP event");
                    metrics::dropped("brain_panic");
                }
            }
            Effect::Resolve(question) => {
                let me = self.me.clone();
                self.runtime.spawn(async move {
                    let Some(shared) = me.upgrade() else { return };
                    let heard = shared.resolver.ask(&question).await;
                    shared.with(|core, now| core.resolved(question, heard, now));
                });
            }
        }
    }

    /// Octets of one datagram.
    pub(in crate::sip) fn datagram(&self, flow: Flow, octets: Bytes) {
        if self.is_blocked(flow.remote.ip()) {
            return;
        }
        // RFC 5626 §4.4.1 keep-alives and single NULs of old NAT keep-alives: nothing to answer over UDP.
        if octets.iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0 | b' ')) {
            metrics::dropped("keep_alive");
            return;
        }
        guarded(|| match Message::parse(octets, Carried::Datagram) {
            Ok((message, _)) => self.take(flow, message),
            Err(error) => {
                metrics::dropped("unreadable");
                tracing::debug!(%error, "a datagram is not SIP");
            }
        });
    }

    /// A message that a stream's framer read.
    pub(in crate::sip) fn message(&self, flow: Flow, message: Message) {
        if !self.is_blocked(flow.remote.ip()) {
            guarded(|| self.take(flow, message));
        }
    }

    /// Whether what comes from there is dropped; counted.
    pub(in crate::sip) fn is_blocked(&self, source: IpAddr) -> bool {
        let blocked = self.blocks.holds(source, Instant::now());
        if blocked {
            metrics::dropped("blocked");
        }
        blocked
    }

    fn take(&self, flow: Flow, message: Message) {
        let checked = validate(&message);
        self.tap.came(flow, &message, Instant::now());
        self.with(|core, now| core.receive(flow, message, checked, now));
    }

    /// A stream to this peer failed or closed.
    pub(in crate::sip) fn unreachable(&self, flow: Flow) {
        self.with(|core, now| core.unreachable(flow, now));
    }
}

/// A message that makes us panic is counted, and costs nobody else anything.
fn guarded(step: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(step)).is_err() {
        metrics::dropped("panic");
        tracing::error!("a SIP message made the core panic; it was dropped");
    }
}

/// Sleeps until the core's next deadline, again and again; ends when the core is gone.
async fn run_timers(shared: Weak<Shared>) {
    let mut tidied = Instant::now();
    loop {
        let Some(strong) = shared.upgrade() else { return };
        if tidied.elapsed() >= IDLE_LOOK {
            tidied = Instant::now();
            strong.blocks.tidy(tidied);
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| strong.with(|core, now| core.tick(now))));
        if stepped.is_err() {
            metrics::dropped("panic");
            tracing::error!("a SIP timer made the core panic");
        }
        let next = {
            let mut guarded = strong.core.lock().unwrap_or_else(PoisonError::into_inner);
            guarded.armed = guarded.core.next_deadline();
            guarded.armed
        };
        let wake = strong.wake.clone();
        // Not held while asleep: the last handle's end is the core's.
        drop(strong);
        // With nothing due, it is still looked after now and then whether the core is gone.
        let now = Instant::now();
        let idle = now + IDLE_LOOK;
        let at = next.map_or(idle, |next| next.min(idle)).max(now + LOOKS_APART);
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = wake.notified() => {}
        }
    }
}
