//! Who answers for an id now: the current incarnation of every actor. An actor enters itself in `pre_start`, so that a lookup
//! after a restart gives the new one; whoever ends it for good removes it. Never ractor's name registry: a named subtree
//! cannot be restarted while its names are still held.
//!
//! What is *cast* goes to an incarnation's mailbox and dies with it: right for whatever the next one asks for anyway (law 4). What
//! nobody would say again is *posted*: it waits here, in order, and the incarnation that gets to it takes it.
//! ```text
//!   sender --post(msg)--> [entry: incarnation | posted msgs] --Posted--> mailbox
//!                                          ^-------- hear() -------------- actor      (a new incarnation is nudged again)
//! ```
//! A message is taken once: one whose handler panics is not heard again.

use std::collections::VecDeque;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use ractor::{ActorId, ActorRef, Message};

use crate::call::{CallMsg, CallSupervisor};
use crate::client::{ClientMsg, ClientSupervisor};
use crate::envelope::Envelope;
use crate::flow::FlowMsg;
use crate::invitation::{InvitationMsg, InvitationSupervisor};
use crate::leg::LegMsg;
use crate::media::{MediaSupervisor, MediaWorkerMsg};
use crate::model::ids::{CallId, ClientId, InvitationId, LegId, ListenerId, RoomId, TrunkId, UserId, WorkerId};
use crate::registrar::RegistrarMsg;
use crate::room::{RoomMsg, RoomSupervisor};
use crate::rtc::{RtcControlMsg, RtcSupervisor};
use crate::sip::{SipEndpointMsg, SipSupervisor};
use crate::supervision::{Faults, Heard, Kind, SupervisorMsg};
use crate::trunk::{TrunkMsg, TrunkSupervisor};

/// A message with a variant that says only that something is posted.
pub trait Mail: Message {
    /// That variant: whoever hears it takes what is posted ([`Refs::hear`], [`Single::hear`]).
    fn posted() -> Self;
    /// Whether it is that variant.
    fn is_posted(&self) -> bool;
}

/// The current incarnation of an actor, and what waits for it.
struct Desk<M> {
    actor: Option<ActorRef<M>>,
    /// overflow: retained, as in a mailbox.
    posted: VecDeque<M>,
}

impl<M: Mail> Desk<M> {
    /// Keeps a message; who is to be nudged.
    fn post(&mut self, msg: M) -> Option<ActorRef<M>> {
        self.posted.push_back(msg);
        self.actor.clone()
    }
}

/// Nudges an incarnation, once a message. One that has just died leaves it to the next.
fn nudge<M: Mail>(actor: Option<ActorRef<M>>, times: usize) {
    for _ in 0..times {
        let _ = actor.as_ref().map(|actor| actor.cast(M::posted()));
    }
}

/// The actors of one kind, by id.
pub struct Refs<K, M> {
    kind: Kind,
    desks: DashMap<K, Desk<M>>,
}

impl<K, M> Refs<K, M>
where
    K: Clone + Eq + Hash + Display,
    M: Message,
{
    /// Nobody yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, desks: DashMap::new() }
    }

    /// Enters an incarnation in place of the last one.
    pub fn set(&self, key: K, actor: ActorRef<M>) {
        match self.desks.entry(key) {
            Entry::Occupied(mut desk) => desk.get_mut().actor = Some(actor),
            Entry::Vacant(free) => {
                free.insert(Desk { actor: Some(actor), posted: VecDeque::new() });
            }
        }
    }

    /// The current incarnation; it may have just died.
    pub fn get(&self, key: &K) -> Option<ActorRef<M>> {
        self.desks.get(key)?.actor.clone()
    }

    /// Removes the entry, whoever it is; gives what is posted to it, which nobody will hear.
    pub fn remove(&self, key: &K) -> VecDeque<M> {
        self.desks.remove(key).map(|(_, desk)| desk.posted).unwrap_or_default()
    }

    /// Removes the entry if it is still this incarnation's.
    pub fn remove_if(&self, key: &K, actor: ActorId) {
        self.desks.remove_if(key, |_, desk| desk.actor.as_ref().is_some_and(|at| at.get_id() == actor));
    }

    /// Casts to whoever answers for the id; `false`, counted, where nobody does.
    pub fn cast(&self, key: &K, msg: impl Into<M>) -> bool {
        // The entry's lock is let go before the cast.
        let sent = self.get(key).is_some_and(|actor| actor.cast(msg.into()).is_ok());
        if !sent {
            missing(self.kind, key);
        }
        sent
    }

    /// Every id, in no order.
    pub fn keys(&self) -> Vec<K> {
        self.desks.iter().map(|desk| desk.key().clone()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.desks.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.desks.is_empty()
    }

    fn crash(&self, faults: &Faults, poke: impl Fn() -> M) -> usize {
        let keys = self.keys();
        keys.iter().filter(|key| faults.arm(self.kind, key) && self.cast(key, poke())).count()
    }
}

impl<K, M> Refs<K, M>
where
    K: Clone + Eq + Hash + Display,
    M: Mail,
{
    /// As [`Refs::set`], for those who are posted to: the new incarnation is told of what waits.
    pub fn enter(&self, key: K, actor: ActorRef<M>) {
        self.set(key.clone(), actor);
        let waits = self.desks.get(&key).map(|desk| (desk.actor.clone(), desk.posted.len()));
        if let Some((actor, waiting)) = waits {
            nudge(actor, waiting);
        }
    }

    /// Posts to whoever answers for the id, now or as its next incarnation.
    ///
    /// # Errors
    /// The message, where there is no such actor: not yet, or no more.
    pub fn post(&self, key: &K, msg: impl Into<M>) -> Result<(), M> {
        let msg = msg.into();
        // The entry's lock is let go before the cast.
        let actor = match self.desks.get_mut(key) {
            Some(mut desk) => desk.post(msg),
            None => return Err(msg),
        };
        nudge(actor, 1);
        Ok(())
    }

    /// What there is to hear when this message comes: itself, or what was posted first; `None` where an earlier nudge took that.
    pub fn hear(&self, key: &K, msg: M) -> Option<M> {
        if msg.is_posted() { self.desks.get_mut(key)?.posted.pop_front() } else { Some(msg) }
    }
}

/// The one actor of its kind.
pub struct Single<M> {
    kind: Kind,
    desk: Mutex<Desk<M>>,
}

impl<M: Message> Single<M> {
    /// Nobody yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, desk: Mutex::new(Desk { actor: None, posted: VecDeque::new() }) }
    }

    fn desk(&self) -> MutexGuard<'_, Desk<M>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an incarnation in place of the last one.
    pub fn set(&self, actor: ActorRef<M>) {
        self.desk().actor = Some(actor);
    }

    /// The current incarnation; it may have just died.
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.desk().actor.clone()
    }

    /// Whether there is one that takes messages.
    pub fn is_up(&self) -> bool {
        self.get().is_some_and(|actor| ractor::ACTIVE_STATES.contains(&actor.get_status()))
    }

    /// Casts to it; `false`, counted, while there is none.
    pub fn cast(&self, msg: impl Into<M>) -> bool {
        let sent = self.get().is_some_and(|actor| actor.cast(msg.into()).is_ok());
        if !sent {
            missing(self.kind, &"");
        }
        sent
    }

    fn crash(&self, faults: &Faults, poke: impl Fn() -> M) -> usize {
        usize::from(faults.arm(self.kind, &self.kind) && self.cast(poke()))
    }
}

impl<M: Mail> Single<M> {
    /// As [`Single::set`], for those who are posted to: the new incarnation is told of what waits.
    pub fn enter(&self, actor: ActorRef<M>) {
        let waiting = {
            let mut desk = self.desk();
            desk.actor = Some(actor.clone());
            desk.posted.len()
        };
        nudge(Some(actor), waiting);
    }

    /// Posts to it, now or as its next incarnation.
    pub fn post(&self, msg: impl Into<M>) {
        let actor = self.desk().post(msg.into());
        nudge(actor, 1);
    }

    /// As [`Refs::hear`].
    pub fn hear(&self, msg: M) -> Option<M> {
        if msg.is_posted() { self.desk().posted.pop_front() } else { Some(msg) }
    }
}

fn missing(kind: Kind, id: &dyn Display) {
    metrics::counter!("tandem_messages_undeliverable_total", "kind" => kind.label()).increment(1);
    tracing::debug!(kind = kind.label(), %id, "a message for an actor that is not there was dropped");
}

/// All of them. A singleton's id for [`Faults::check`] is its kind.
pub struct Directory {
    /// Calls.
    pub calls: Refs<CallId, Envelope<CallMsg>>,
    /// Legs whose signalling is SIP.
    pub sip_legs: Refs<LegId, LegMsg>,
    /// Legs of app users.
    pub rtc_legs: Refs<LegId, LegMsg>,
    /// IVR runners, by their call.
    pub flows: Refs<CallId, FlowMsg>,
    /// Invitations.
    pub invitations: Refs<InvitationId, InvitationMsg>,
    /// Rooms.
    pub rooms: Refs<RoomId, RoomMsg>,
    /// Trunks.
    pub trunks: Refs<TrunkId, Envelope<TrunkMsg>>,
    /// App users' connections.
    pub clients: Refs<ClientId, ClientMsg>,
    /// The connections of each user that has some.
    pub users: Users,
    /// Actor twins of the media threads.
    pub media_workers: Refs<WorkerId, Envelope<MediaWorkerMsg>>,
    /// Actor twins of the SIP listeners.
    pub sip_endpoints: Refs<ListenerId, SipEndpointMsg>,
    /// Bindings.
    pub registrar: Single<Envelope<RegistrarMsg>>,
    /// Actor twin of the `rtc-ctl` thread.
    pub rtc_control: Single<RtcControlMsg>,
    /// Supervisor.
    pub call_supervisor: Single<Heard<CallSupervisor>>,
    /// Supervisor.
    pub room_supervisor: Single<Heard<RoomSupervisor>>,
    /// Supervisor.
    pub invitation_supervisor: Single<Heard<InvitationSupervisor>>,
    /// Supervisor.
    pub client_supervisor: Single<Heard<ClientSupervisor>>,
    /// Supervisor.
    pub trunk_supervisor: Single<Heard<TrunkSupervisor>>,
    /// Supervisor.
    pub sip_supervisor: Single<Heard<SipSupervisor>>,
    /// Supervisor.
    pub rtc_supervisor: Single<Heard<RtcSupervisor>>,
    /// Supervisor.
    pub media_supervisor: Single<Heard<MediaSupervisor>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            calls: Refs::new(Kind::Call),
            sip_legs: Refs::new(Kind::SipLeg),
            rtc_legs: Refs::new(Kind::RtcLeg),
            flows: Refs::new(Kind::Flow),
            invitations: Refs::new(Kind::Invitation),
            rooms: Refs::new(Kind::Room),
            trunks: Refs::new(Kind::Trunk),
            clients: Refs::new(Kind::Client),
            users: Users::default(),
            media_workers: Refs::new(Kind::MediaWorker),
            sip_endpoints: Refs::new(Kind::SipEndpoint),
            registrar: Single::new(Kind::Registrar),
            rtc_control: Single::new(Kind::RtcControl),
            call_supervisor: Single::new(Kind::CallSupervisor),
            room_supervisor: Single::new(Kind::RoomSupervisor),
            invitation_supervisor: Single::new(Kind::InvitationSupervisor),
            client_supervisor: Single::new(Kind::ClientSupervisor),
            trunk_supervisor: Single::new(Kind::TrunkSupervisor),
            sip_supervisor: Single::new(Kind::SipSupervisor),
            rtc_supervisor: Single::new(Kind::RtcSupervisor),
            media_supervisor: Single::new(Kind::MediaSupervisor),
        }
    }
}

impl Directory {
    /// The current incarnation of a leg of either kind.
    pub fn leg(&self, leg: &LegId) -> Option<ActorRef<LegMsg>> {
        self.sip_legs.get(leg).or_else(|| self.rtc_legs.get(leg))
    }

    /// Casts to a leg of either kind; `false`, counted, where there is none.
    pub fn cast_leg(&self, leg: &LegId, msg: LegMsg) -> bool {
        let sent = self.leg(leg).is_some_and(|actor| actor.cast(msg).is_ok());
        if !sent {
            missing(Kind::SipLeg, leg);
        }
        sent
    }

    /// Posts to a leg of either kind. One that is over has no use for it.
    pub fn post_leg(&self, leg: &LegId, msg: LegMsg) {
        if let Err(msg) = self.sip_legs.post(leg, msg) {
            let _ = self.rtc_legs.post(leg, msg);
        }
    }

    /// Arms every live actor of a kind and pokes it; how many were hit. For [`Kind::Root`] and [`Kind::MediaThread`], which
    /// are no entries here, nothing.
    pub fn crash(&self, kind: Kind, faults: &Faults) -> usize {
        match kind {
            Kind::Root | Kind::MediaThread => 0,
            Kind::Call => self.calls.crash(faults, || CallMsg::Poke.into()),
            Kind::SipLeg => self.sip_legs.crash(faults, || LegMsg::Poke),
            Kind::RtcLeg => self.rtc_legs.crash(faults, || LegMsg::Poke),
            Kind::Flow => self.flows.crash(faults, || FlowMsg::Poke),
            Kind::Invitation => self.invitations.crash(faults, || InvitationMsg::Poke),
            Kind::Room => self.rooms.crash(faults, || RoomMsg::Poke),
            Kind::Trunk => self.trunks.crash(faults, || TrunkMsg::Poke.into()),
            Kind::Client => self.clients.crash(faults, || ClientMsg::Poke),
            Kind::MediaWorker => self.media_workers.crash(faults, || MediaWorkerMsg::Poke.into()),
            Kind::SipEndpoint => self.sip_endpoints.crash(faults, || SipEndpointMsg::Poke),
            Kind::Registrar => self.registrar.crash(faults, || RegistrarMsg::Poke.into()),
            Kind::RtcControl => self.rtc_control.crash(faults, || RtcControlMsg::Poke),
            Kind::CallSupervisor => self.call_supervisor.crash(faults, || SupervisorMsg::Poke),
            Kind::RoomSupervisor => self.room_supervisor.crash(faults, || SupervisorMsg::Poke),
            Kind::InvitationSupervisor => self.invitation_supervisor.crash(faults, || SupervisorMsg::Poke),
            Kind::ClientSupervisor => self.client_supervisor.crash(faults, || SupervisorMsg::Poke),
            Kind::TrunkSupervisor => self.trunk_supervisor.crash(faults, || SupervisorMsg::Poke),
            Kind::SipSupervisor => self.sip_supervisor.crash(faults, || SupervisorMsg::Poke),
            Kind::RtcSupervisor => self.rtc_supervisor.crash(faults, || SupervisorMsg::Poke),
            Kind::MediaSupervisor => self.media_supervisor.crash(faults, || SupervisorMsg::Poke),
        }
    }
}

/// Which connections an app user has.
#[derive(Default)]
pub struct Users(DashMap<UserId, DashSet<ClientId>>);

impl Users {
    /// Enters a connection.
    pub fn add(&self, user: UserId, client: ClientId) {
        self.0.entry(user).or_default().insert(client);
    }

    /// Removes a connection; a user without any is offline.
    pub fn remove(&self, user: &UserId, client: ClientId) {
        if let Some(clients) = self.0.get(user) {
            clients.remove(&client);
        }
        self.0.remove_if(user, |_, clients| clients.is_empty());
    }

    /// The connections of a user, in no order; empty when offline.
    pub fn clients(&self, user: &UserId) -> Vec<ClientId> {
        self.0.get(user).map(|clients| clients.iter().map(|client| *client).collect()).unwrap_or_default()
    }

    /// Users with a connection, in no order.
    pub fn online(&self) -> Vec<UserId> {
        self.0.iter().map(|entry| entry.key().clone()).collect()
    }
}
