//! Keeper of the Invitations.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ractor::ActorProcessingErr;

use super::record::{Callee, InvitationCaller, InvitationCheckpoint};
use super::send::send;
use super::{Invitation, InvitationMsg, NewInvitation};
use crate::call::route;
use crate::client::presence::{self, Presence};
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::model::address::Target;
use crate::model::ids::{CallId, ClientId, InvitationId, UserId};
use crate::supervision::{Fate, Heard, Keeper, Kind, Policy, Supervise};

/// What only the InvitationSupervisor hears.
#[derive(Debug)]
pub enum InvitationSupervisorMsg {
    /// Send a new one, whose row is there. The same id again is nothing.
    Begin(InvitationId),
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
}

/// One for one, transient, 3/10 s each. Last act: both clocks run out at once, so that each side hears its FAILURE by its own
/// table, and the row is gone.
///
/// The index is rebuilt with the children.
#[derive(Default)]
pub struct InvitationSupervisor {
    by_user: HashMap<UserId, HashSet<InvitationId>>,
    users: HashMap<InvitationId, Vec<UserId>>,
}

impl Supervise for InvitationSupervisor {
    const KIND: Kind = Kind::InvitationSupervisor;
    const POLICY: Policy = Policy::transient(3, Duration::from_secs(10));
    type Key = InvitationId;
    type Msg = InvitationSupervisorMsg;

    fn kind(_: &InvitationId) -> Kind {
        Kind::Invitation
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.invitation_supervisor)
    }

    fn keys(ctx: &Ctx) -> Vec<InvitationId> {
        ctx.ledger.invitations.keys()
    }

    fn lives(ctx: &Ctx, id: &InvitationId) -> bool {
        ctx.ledger.invitations.contains(id)
    }

    fn prepare(keeper: &mut Keeper<Self>) {
        for (id, _, record) in keeper.ctx.ledger.invitations.rows() {
            keeper.own.index(id, &record);
        }
    }

    async fn spawn(keeper: &mut Keeper<Self>, id: InvitationId) -> Result<(), Fate<InvitationId>> {
        keeper.child(id, Invitation, (keeper.ctx.clone(), id)).await
    }

    async fn hear(keeper: &mut Keeper<Self>, msg: InvitationSupervisorMsg) -> Result<(), ActorProcessingErr> {
        let ctx = &keeper.ctx;
        match msg {
            InvitationSupervisorMsg::Begin(id) => {
                // A rebuild may have found the row first.
                if !keeper.children.contains(&id)
                    && let Some(record) = ctx.ledger.invitations.get(&id)
                {
                    keeper.own.index(id, &record);
                    keeper.spawn(id).await?;
                }
            }
            InvitationSupervisorMsg::Cancel { invitation, reason } => {
                // One that is over has nothing to take back.
                let _ = ctx.directory.invitations.post(&invitation, InvitationMsg::CancelByCaller { reason });
            }
            InvitationSupervisorMsg::ClientUp { client, user } => {
                keeper.tell(&user, || InvitationMsg::ClientUp(client));
            }
            InvitationSupervisorMsg::UserDown(user) => keeper.tell(&user, || InvitationMsg::CallerDown),
        }
        Ok(())
    }

    fn ended(keeper: &mut Keeper<Self>, id: InvitationId) {
        keeper.own.unindex(id);
    }

    fn last_act(keeper: &mut Keeper<Self>, id: InvitationId, _: &str) -> Result<(), ActorProcessingErr> {
        keeper.own.unindex(id);
        let ctx = &keeper.ctx;
        if let Some(mut record) = ctx.ledger.invitations.remove(&id) {
            ctx.directory.invitations.remove(&id);
            let online = presence::of(ctx, &record.user) != Presence::Offline;
            record.outbox.clear();
            send(ctx, id, &record.abandon(online, ctx.wall()));
        }
        Ok(())
    }
}

impl Keeper<InvitationSupervisor> {
    fn tell(&self, user: &UserId, msg: impl Fn() -> InvitationMsg) {
        for id in self.own.by_user.get(user).into_iter().flatten() {
            self.ctx.directory.invitations.cast(id, msg());
        }
    }
}

impl InvitationSupervisor {
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
}

/// Sends a new invitation: its row is there when this returns, so that whoever knows its id may ask it.
pub fn begin(ctx: &Ctx, new: NewInvitation) {
    let (id, number) = (new.invitation, number(ctx, &new));
    if ctx.ledger.invitations.insert(id, InvitationCheckpoint::new(new, number, ctx.wall())) {
        ctx.directory.invitation_supervisor.post(InvitationSupervisorMsg::Begin(id));
    }
}

/// The call that will dial the callee, where the callee is a number or service. The content is read only where the callee
/// is a phone number (`Pstn`): between app users it is opaque.
fn number(ctx: &Ctx, new: &NewInvitation) -> Option<CallId> {
    let InvitationCaller::Client { .. } = &new.caller else { return None };
    match destination(ctx, &new.callee, &new.content) {
        Ok(Target::User(_)) | Err(_) => None,
        Ok(
            Target::Subscriber(_)
            | Target::Instance { .. }
            | Target::Trunk { .. }
            | Target::Uri(_)
            | Target::Service(_)
            | Target::Room(_),
        ) => Some(CallId::random()),
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
