//! A [`Roster`] whose children are of one kind and hear the same messages: what most supervisors keep.

use std::fmt::Display;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Instant;

use ractor::{Actor, ActorCell, ActorId, ActorRef, Message};

use super::Kind;
use super::policy::Policy;
use super::roster::{Fate, Roster};

/// The children of one supervisor, by key, all hearing `M`.
pub struct Children<K, M> {
    roster: Roster<K>,
    messages: PhantomData<fn(M)>,
}

impl<K, M> Children<K, M>
where
    K: Clone + Eq + Hash + Display,
    M: Message,
{
    /// An empty table.
    pub fn new(kind: Kind, policy: Policy) -> Self {
        Self { roster: Roster::new(move |_| kind, policy), messages: PhantomData }
    }

    /// See [`Roster::spawn`].
    ///
    /// # Errors
    /// As there.
    pub async fn spawn<A: Actor<Msg = M>>(
        &mut self,
        key: K,
        actor: A,
        arguments: A::Arguments,
        me: ActorCell,
        now: Instant,
    ) -> Result<ActorRef<M>, Fate<K>> {
        self.roster.spawn(key, actor, arguments, me, now).await
    }

    /// See [`Roster::failed`].
    pub fn failed(&mut self, actor: ActorId, why: &dyn Display, now: Instant) -> Fate<K> {
        self.roster.failed(actor, why, now)
    }

    /// See [`Roster::ended`].
    pub fn ended(&mut self, actor: ActorId, why: Option<String>, now: Instant) -> Fate<K> {
        self.roster.ended(actor, why, now)
    }

    /// The child's current incarnation; `None` between a failure and its restart, or when there is no such child.
    pub fn get(&self, key: &K) -> Option<ActorRef<M>> {
        self.roster.get(key).cloned().map(ActorRef::from)
    }

    /// Whether the child is ours, alive or about to be restarted.
    pub fn contains(&self, key: &K) -> bool {
        self.roster.contains(key)
    }

    /// How often the child was restarted.
    pub fn restarts(&self, key: &K) -> u32 {
        self.roster.restarts(key)
    }

    /// Forgets a child: its end, however it comes, is a stranger's. It is not stopped.
    pub fn forget(&mut self, key: &K) -> Option<ActorRef<M>> {
        self.roster.forget(key).map(ActorRef::from)
    }

    /// Every child that lives now.
    pub fn iter(&self) -> impl Iterator<Item = (&K, ActorRef<M>)> {
        self.roster.iter().map(|(key, actor)| (key, actor.clone().into()))
    }

    /// How many children there are, those about to be restarted included.
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.roster.is_empty()
    }
}
