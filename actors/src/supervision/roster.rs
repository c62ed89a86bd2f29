//! Who a supervisor's children are and how often each has failed: spawns them linked and unnamed, knows whom a supervision
//! event is about, and says what is to be done. It holds no recipe: the supervisor builds the child again, from the ledger.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorId, ActorRef, Message, SupervisionEvent};

use super::Kind;
use super::policy::{Policy, Restart, Scope, Verdict, Window};

/// What a supervisor must do after a child's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate<K> {
    /// Not one of ours, or one that was replaced: nothing.
    Stranger,
    /// Build and spawn it again after this long ([`cast_after`]).
    Restart {
        /// Which child.
        key: K,
        /// The wait.
        after: Duration,
    },
    /// It failed too often: the last act.
    GaveUp {
        /// Which child.
        key: K,
        /// The last failure in words, panic text included.
        why: String,
    },
    /// It ended, and is not to come back.
    Ended {
        /// Which child.
        key: K,
        /// The reason it gave, where it gave one.
        why: Option<String>,
    },
}

/// Casts to oneself after a wait; at once when it is zero.
pub fn cast_after<M: Message>(me: &ActorRef<M>, after: Duration, msg: impl Into<M>) {
    let msg = msg.into();
    if after.is_zero() {
        // One's own mailbox is closed only when one is ending.
        let _ = me.cast(msg);
    } else {
        me.send_after(after, move || msg);
    }
}

struct Entry {
    actor: Option<ActorCell>,
    window: Window,
    restarts: u32,
}

/// The children of one supervisor, of whatever types.
pub struct Roster<K> {
    kind: Box<dyn Fn(&K) -> Kind + Send + Sync>,
    policy: Policy,
    shared: Window,
    by_actor: HashMap<ActorId, K>,
    entries: HashMap<K, Entry>,
}

impl<K: Clone + Eq + Hash + Display> Roster<K> {
    /// An empty roster. `kind` labels a child in metrics and logs.
    pub fn new(kind: impl Fn(&K) -> Kind + Send + Sync + 'static, policy: Policy) -> Self {
        Self {
            kind: Box::new(kind),
            policy,
            shared: Window::new(&policy),
            by_actor: HashMap::new(),
            entries: HashMap::new(),
        }
    }

    /// Spawns a child, linked to `me` and unnamed. A child of that key that still lives is told to stop and no longer
    /// counted as ours.
    ///
    /// # Errors
    /// Its `pre_start` failed: that is a failure like any other, and the answer says what follows (never `Stranger`).
    pub async fn spawn<A: Actor>(
        &mut self,
        key: K,
        actor: A,
        arguments: A::Arguments,
        me: ActorCell,
        now: Instant,
    ) -> Result<ActorRef<A::Msg>, Fate<K>> {
        let fresh = || Entry { actor: None, window: Window::new(&self.policy), restarts: 0 };
        let entry = self.entries.entry(key.clone()).or_insert_with(fresh);
        if let Some(old) = entry.actor.take() {
            self.by_actor.remove(&old.get_id());
            old.stop(Some("replaced".into()));
        }
        match Actor::spawn_linked(None, actor, arguments, me).await {
            Ok((actor, _)) => {
                self.by_actor.insert(actor.get_id(), key);
                entry.actor = Some(actor.get_cell());
                Ok(actor)
            }
            Err(error) => Err(self.judge(key, error.to_string(), now)),
        }
    }

    /// What a supervision event means: a child's failure, its end, or nothing.
    pub fn event(&mut self, event: SupervisionEvent, now: Instant) -> Fate<K> {
        match event {
            SupervisionEvent::ActorFailed(who, why) => self.failed(who.get_id(), &why, now),
            SupervisionEvent::ActorTerminated(who, _, why) => self.ended(who.get_id(), why, now),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Fate::Stranger,
        }
    }

    /// It panicked, or its handler returned an error.
    fn failed(&mut self, actor: ActorId, why: &dyn Display, now: Instant) -> Fate<K> {
        match self.by_actor.remove(&actor) {
            Some(key) => self.judge(key, why.to_string(), now),
            None => Fate::Stranger,
        }
    }

    /// It stopped, or was killed (which is a failure).
    fn ended(&mut self, actor: ActorId, why: Option<String>, now: Instant) -> Fate<K> {
        let killed = why.as_deref() == Some("killed");
        let Some(key) = self.by_actor.remove(&actor) else { return Fate::Stranger };
        match self.policy.restart {
            Restart::Transient if killed => self.judge(key, "killed".into(), now),
            Restart::Permanent => self.judge(key, why.unwrap_or_else(|| "stopped".into()), now),
            Restart::Transient | Restart::Temporary => {
                self.entries.remove(&key);
                Fate::Ended { key, why }
            }
        }
    }

    fn judge(&mut self, key: K, why: String, now: Instant) -> Fate<K> {
        let kind = (self.kind)(&key).label();
        let Some(entry) = self.entries.get_mut(&key) else { return Fate::Stranger };
        entry.actor = None;
        if self.policy.restart == Restart::Temporary {
            tracing::error!(kind, id = %key, why, "an actor failed and is not restarted");
            self.entries.remove(&key);
            return Fate::Ended { key, why: Some(why) };
        }
        let window = match self.policy.scope {
            Scope::Each => &mut entry.window,
            Scope::All => &mut self.shared,
        };
        match window.record(now, rand::random()) {
            Verdict::Restart { after } => {
                entry.restarts += 1;
                let restarts = entry.restarts;
                metrics::counter!("tandem_actor_restarts_total", "kind" => kind).increment(1);
                tracing::error!(kind, id = %key, restarts, ?after, why, "an actor failed and is restarted");
                Fate::Restart { key, after }
            }
            Verdict::GiveUp => {
                let restarts = entry.restarts;
                metrics::counter!("tandem_actor_give_ups_total", "kind" => kind).increment(1);
                tracing::error!(kind, id = %key, restarts, why, "an actor failed too often: last act");
                self.entries.remove(&key);
                Fate::GaveUp { key, why }
            }
        }
    }

    /// The child's current incarnation; `None` between a failure and its restart, or when there is no such child.
    /// `M` is what it hears: a message of another type does not reach it.
    pub fn get<M: Message>(&self, key: &K) -> Option<ActorRef<M>> {
        self.entries.get(key)?.actor.clone().map(ActorRef::from)
    }

    /// Whether the child is ours, alive or about to be restarted.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Forgets a child: its end, however it comes, is a stranger's. It is not stopped.
    pub fn forget(&mut self, key: &K) -> Option<ActorCell> {
        let actor = self.entries.remove(key)?.actor?;
        self.by_actor.remove(&actor.get_id());
        Some(actor)
    }
}
