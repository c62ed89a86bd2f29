//! Keeper of the Invitations.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::record::{Callee, InvitationCaller, InvitationCheckpoint};
use super::send::send;
use super::{Invitation, InvitationMsg, NewInvitation};
use crate::call::route;
use crate::client::presence::{self, Presence};
use crate::ctx::Ctx;
use crate::model::address::Target;
use crate::model::ids::{CallId, ClientId, InvitationId, UserId};
use crate::supervision::{Children, Fate, Kind, Policy, cast_after};

/// What the InvitationSupervisor hears.
#[derive(Debug)]
pub enum InvitationSupervisorMsg {
    /// Spawn an actor for every live invitation.
    Rebuild,
    /// Send a new one. The same id again is nothing.
    Begin(NewInvitation),
    /// The call that sent it takes it back: by this way a cancel never overtakes its invitation.
    Cancel {
        /// Which.
        invitation: InvitationId,
        /// For the callee.
        reason: String,
    },
    /// A connection came up: invitations to its user are handed to it.
    ClientUp {
        /// Which.
        client: ClientId,
        /// Whose.
        user: UserId,
    },
    /// A user may have gone offline: invitations of that user fail on the callee's side.
    UserDown(UserId),
    /// The wait before an Invitation's restart is over.
    Respawn(InvitationId),
    /// Nothing: makes an armed fault fire.
    Poke,
}

/// One for one, transient, 3/10 s each. Last act: both clocks run out at once, so that each side hears its FAILURE by its own
/// table, and the row is gone.
pub struct InvitationSupervisor;

/// How long a cancel waits for an actor that is being restarted.
const BETWEEN: Duration = Duration::from_millis(20);

/// Its state. The index is rebuilt with the children.
pub struct State {
    ctx: Ctx,
    children: Children<InvitationId, InvitationMsg>,
    by_user: HashMap<UserId, HashSet<InvitationId>>,
    users: HashMap<InvitationId, Vec<UserId>>,
}

impl Actor for InvitationSupervisor {
    type Msg = InvitationSupervisorMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(InvitationSupervisorMsg::Rebuild)?;
        ctx.directory.invitation_supervisor.set(me);
        let policy = Policy::transient(3, Duration::from_secs(10));
        Ok(State {
            ctx,
            children: Children::new(Kind::Invitation, policy),
            by_user: HashMap::new(),
            users: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::InvitationSupervisor, &Kind::InvitationSupervisor);
        match msg {
            InvitationSupervisorMsg::Rebuild => {
                for (id, _, record) in state.ctx.ledger.invitations.rows() {
                    state.index(id, &record);
                    state.spawn(&me, id).await;
                }
            }
            InvitationSupervisorMsg::Begin(new) => {
                let id = new.invitation;
                let number = state.number(&new);
                let record = InvitationCheckpoint::new(new, number, state.ctx.wall());
                if state.ctx.ledger.invitations.insert(id, record.clone()) {
                    state.index(id, &record);
                    state.spawn(&me, id).await;
                }
            }
            InvitationSupervisorMsg::Cancel { invitation, reason } => {
                let cancel = InvitationMsg::CancelByCaller { reason: reason.clone() };
                let heard = state.children.get(&invitation).is_some_and(|actor| actor.cast(cancel).is_ok());
                // Between two incarnations it waits for the next one.
                if !heard && state.ctx.ledger.invitations.contains(&invitation) {
                    cast_after(&me, BETWEEN, InvitationSupervisorMsg::Cancel { invitation, reason });
                }
            }
            InvitationSupervisorMsg::ClientUp { client, user } => {
                state.tell(&user, || InvitationMsg::ClientUp(client));
            }
            InvitationSupervisorMsg::UserDown(user) => state.tell(&user, || InvitationMsg::CallerDown),
            InvitationSupervisorMsg::Respawn(id) => state.spawn(&me, id).await,
            InvitationSupervisorMsg::Poke => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.ctx.now();
        let fate = match event {
            SupervisionEvent::ActorFailed(who, why) => state.children.failed(who.get_id(), &why, now),
            SupervisionEvent::ActorTerminated(who, _, why) => state.children.ended(who.get_id(), why, now),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        state.follow(&me, fate);
        Ok(())
    }
}

impl State {
    async fn spawn(&mut self, me: &ActorRef<InvitationSupervisorMsg>, id: InvitationId) {
        if !self.ctx.ledger.invitations.contains(&id) {
            self.children.forget(&id);
            return;
        }
        let (arguments, now) = ((self.ctx.clone(), id), self.ctx.now());
        if let Err(fate) = self.children.spawn(id, Invitation, arguments, me.get_cell(), now).await {
            self.follow(me, fate);
        }
    }

    fn follow(&mut self, me: &ActorRef<InvitationSupervisorMsg>, fate: Fate<InvitationId>) {
        match fate {
            Fate::Restart { key, after } => cast_after(me, after, InvitationSupervisorMsg::Respawn(key)),
            Fate::GaveUp { key, .. } => {
                self.last_act(key);
                self.unindex(key);
            }
            Fate::Ended { key, .. } => self.unindex(key),
            Fate::Stranger => {}
        }
    }

    fn last_act(&self, id: InvitationId) {
        let Some(mut record) = self.ctx.ledger.invitations.remove(&id) else { return };
        self.ctx.directory.invitations.remove(&id);
        let online = presence::of(&self.ctx, &record.user) != Presence::Offline;
        record.outbox.clear();
        send(&self.ctx, id, &record.abandon(online, self.ctx.wall()));
    }

    /// The call that will dial the callee, where the callee is a number or service. The content is read only where the callee
    /// is a phone number (`Pstn`): between app users it is opaque.
    fn number(&self, new: &NewInvitation) -> Option<CallId> {
        let InvitationCaller::Client { .. } = &new.caller else { return None };
        match destination(&self.ctx, &new.callee, &new.content) {
            Ok(Target::User(_)) | Err(_) => None,
            Ok(
                Target::Subscriber(_) | Target::Trunk { .. } | Target::Uri(_) | Target::Service(_) | Target::Room(_),
            ) => Some(CallId::random()),
        }
    }

    fn index(&mut self, id: InvitationId, record: &InvitationCheckpoint) {
        let caller = match &record.caller {
            InvitationCaller::Client { user, .. } => Some(user.clone()),
            InvitationCaller::Call { .. } => None,
        };
        let callee = match &record.callee {
            Callee::Devices { .. } => Some(record.user.clone()),
            Callee::Number(_) => None,
        };
        let users: Vec<UserId> = [caller, callee].into_iter().flatten().collect();
        for user in &users {
            self.by_user.entry(user.clone()).or_default().insert(id);
        }
        self.users.insert(id, users);
    }

    fn unindex(&mut self, id: InvitationId) {
        for user in self.users.remove(&id).unwrap_or_default() {
            if let Some(ids) = self.by_user.get_mut(&user) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_user.remove(&user);
                }
            }
        }
    }

    fn tell(&self, user: &UserId, msg: impl Fn() -> InvitationMsg) {
        for id in self.by_user.get(user).into_iter().flatten() {
            self.ctx.directory.invitations.cast(id, msg());
        }
    }
}

/// Where an app user's invitation leads.
///
/// # Errors
/// The cause to refuse it with: a mode that is off, a number outside the allow list.
pub fn destination(ctx: &Ctx, callee: &UserId, content: &str) -> Result<Target, crate::model::cause::Cause> {
    let pstn = route::is_phone_number(callee.as_str())
        && super::content::Content::parse(content).is_ok_and(|content| content.pstn);
    let dialled = route::AppDialled { to: callee.as_str(), pstn, sip_number: None };
    route::from_app(&ctx.settings, dialled, |subscriber| ctx.ledger.bindings.contains(subscriber))
}
