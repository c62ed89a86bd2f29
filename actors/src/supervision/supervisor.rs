//! What every supervisor does alike: brings its children back, at its start and when they fail. What is its own it says by
//! [`Supervise`]: who its children are, what it hears besides, what it does when a child cannot be kept up.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::marker::PhantomData;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::{Fate, Kind, Policy, Roster, cast_after};
use crate::ctx::Ctx;
use crate::directory::{Directory, Mail, Single};

/// What a supervisor hears.
#[derive(Debug)]
pub enum SupervisorMsg<K, M> {
    /// Spawn every child there has to be.
    Rebuild,
    /// The wait before a child's restart is over.
    Respawn(K),
    /// What only this supervisor hears.
    Own(M),
    /// Such a thing is posted.
    Posted,
    /// Nothing: makes an armed fault fire.
    Poke,
}

impl<K, M> From<M> for SupervisorMsg<K, M> {
    fn from(msg: M) -> Self {
        Self::Own(msg)
    }
}

impl<K, M> Mail for SupervisorMsg<K, M>
where
    K: Debug + Send + 'static,
    M: Debug + Send + 'static,
{
    fn posted() -> Self {
        Self::Posted
    }
    fn is_posted(&self) -> bool {
        matches!(self, Self::Posted)
    }
}

/// What the supervisor `S` hears.
pub type Heard<S> = SupervisorMsg<<S as Supervise>::Key, <S as Supervise>::Msg>;

/// One kind of supervisor. The value is what it knows besides its children: gone when it crashes, [`Supervise::prepare`]d
/// again from the ledger.
pub trait Supervise: Default + Send + Sync + 'static {
    /// What it is.
    const KIND: Kind;
    /// How it restarts its children.
    const POLICY: Policy;
    /// Names a child.
    type Key: Clone + Eq + Hash + Debug + Display + Send + Sync + 'static;
    /// What it hears besides what all do.
    type Msg: Debug + Send + 'static;

    /// Labels a child in metrics and logs.
    fn kind(key: &Self::Key) -> Kind;

    /// Where others find it; nobody looks for Root.
    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>>;

    /// The children there have to be.
    fn keys(ctx: &Ctx) -> Vec<Self::Key>;

    /// Whether a child still has to be: the row it lived from may be gone by the time of its restart.
    fn lives(_ctx: &Ctx, _key: &Self::Key) -> bool {
        true
    }

    /// Before the first child of an incarnation is spawned.
    fn prepare(_keeper: &mut Keeper<Self>) {}

    /// Spawns a child, by [`Keeper::child`].
    fn spawn(keeper: &mut Keeper<Self>, key: Self::Key) -> impl Future<Output = Result<(), Fate<Self::Key>>> + Send;

    /// Hears what is its own. An error is its failure.
    fn hear(keeper: &mut Keeper<Self>, msg: Self::Msg) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send;

    /// A child is over, and does not come back.
    fn ended(_keeper: &mut Keeper<Self>, _key: Self::Key) {}

    /// A child failed too often.
    ///
    /// # Errors
    /// Its own failure, which is what follows where nothing else is said.
    fn last_act(_keeper: &mut Keeper<Self>, key: Self::Key, why: &str) -> Result<(), ActorProcessingErr> {
        Err(format!("{key} failed too often: {why}").into())
    }
}

/// The actor. [`Rebuild`](SupervisorMsg::Rebuild) is the first message of every incarnation: whatever else comes waits until every
/// live child is back. What others have for it is posted, so that its crash costs none of them what they asked.
#[derive(Default)]
pub struct Supervisor<S>(PhantomData<S>);

/// A supervisor's state.
pub struct Keeper<S: Supervise> {
    pub(crate) ctx: Ctx,
    pub(crate) me: ActorRef<Heard<S>>,
    pub(crate) children: Roster<S::Key>,
    pub(crate) own: S,
}

impl<S: Supervise> Actor for Supervisor<S> {
    type Msg = Heard<S>;
    type State = Keeper<S>;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<Self::State, ActorProcessingErr> {
        // Before anybody can know of it.
        me.cast(SupervisorMsg::Rebuild)?;
        if let Some(desk) = S::desk(&ctx.directory) {
            desk.enter(me.clone());
        }
        Ok(Keeper { ctx, me, children: Roster::new(S::kind, S::POLICY), own: S::default() })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        msg: Self::Msg,
        keeper: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        keeper.ctx.faults.check(S::KIND, &S::KIND);
        let heard = match S::desk(&keeper.ctx.directory) {
            Some(desk) => desk.hear(msg),
            None => Some(msg),
        };
        let Some(msg) = heard else { return Ok(()) };
        match msg {
            SupervisorMsg::Rebuild => {
                S::prepare(keeper);
                for key in S::keys(&keeper.ctx) {
                    keeper.spawn(key).await?;
                }
                Ok(())
            }
            SupervisorMsg::Respawn(key) => keeper.spawn(key).await,
            SupervisorMsg::Own(msg) => S::hear(keeper, msg).await,
            SupervisorMsg::Posted | SupervisorMsg::Poke => Ok(()),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        keeper: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let now = keeper.ctx.now();
        match keeper.children.event(event, now) {
            Fate::Restart { key, after } if after.is_zero() => keeper.spawn(key).await,
            fate @ (Fate::Restart { .. } | Fate::GaveUp { .. } | Fate::Ended { .. } | Fate::Stranger) => {
                keeper.follow(fate)
            }
        }
    }
}

impl<S: Supervise> Keeper<S> {
    /// Spawns a child that has to be, in place of its last incarnation.
    pub(crate) async fn spawn(&mut self, key: S::Key) -> Result<(), ActorProcessingErr> {
        if !S::lives(&self.ctx, &key) {
            self.children.forget(&key);
            S::ended(self, key);
            return Ok(());
        }
        match S::spawn(self, key).await {
            Ok(()) => Ok(()),
            Err(fate) => self.follow(fate),
        }
    }

    /// See [`Roster::spawn`].
    pub(crate) async fn child<A: Actor>(
        &mut self,
        key: S::Key,
        actor: A,
        arguments: A::Arguments,
    ) -> Result<(), Fate<S::Key>> {
        let (me, now) = (self.me.get_cell(), self.ctx.now());
        self.children.spawn(key, actor, arguments, me, now).await.map(drop)
    }

    fn follow(&mut self, fate: Fate<S::Key>) -> Result<(), ActorProcessingErr> {
        match fate {
            Fate::Restart { key, after } => cast_after(&self.me, after, SupervisorMsg::Respawn(key)),
            Fate::GaveUp { key, why } => return S::last_act(self, key, &why),
            Fate::Ended { key, .. } => S::ended(self, key),
            Fate::Stranger => {}
        }
        Ok(())
    }
}
