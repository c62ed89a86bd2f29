//! Keeper of the Calls: admits them, gives each its first row, and cleans up behind one that cannot be kept alive.

use std::collections::HashSet;
use std::time::Duration;

use ractor::ActorProcessingErr;

use super::actor::refuse_client;
use super::origin::{self, NewCall};
use super::{Call, CallMsg, CallSupervisorMsg, metrics, release, transfer};
use crate::control::{PhoneCall, PhoneCallHistory, StartError};
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::invitation::{CallOutcome, InvitationMsg};
use crate::leg::LegSide;
use crate::model::address::SipOrigin;
use crate::model::cause::Cause;
use crate::model::ids::{CallId, DialogId};
use crate::ports::sip::IncomingInvite;
use crate::supervision::{Fate, Heard, Keeper, Kind, Policy, Supervise, cast_after};

/// The history of a phone call is kept this long after its end.
const KEEP_HISTORY: Duration = Duration::from_secs(600);

/// One for one, transient, 2/30 s a call. An INVITE that fell into its own crash is delivered again by the SIP core. Last act:
/// every leg is hung up by its port, media is released, everybody concerned is told, and the CDR blames us.
#[derive(Default)]
pub struct CallSupervisor {
    /// INVITEs that the core delivered again while its event about them was on the way.
    delivered: HashSet<DialogId>,
    /// What the SIP core was told last: `limits.max_calls` live.
    full: bool,
}

impl Supervise for CallSupervisor {
    const KIND: Kind = Kind::CallSupervisor;
    const POLICY: Policy = Policy::transient(2, Duration::from_secs(30));
    type Key = CallId;
    type Msg = CallSupervisorMsg;

    fn kind(_: &CallId) -> Kind {
        Kind::Call
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.call_supervisor)
    }

    fn keys(ctx: &Ctx) -> Vec<CallId> {
        ctx.ledger.calls.keys()
    }

    fn lives(ctx: &Ctx, call: &CallId) -> bool {
        ctx.ledger.calls.contains(call)
    }

    /// The histories whose call ended, and the INVITEs that came, under an earlier incarnation.
    fn prepare(keeper: &mut Keeper<Self>) {
        let _ = keeper.me.cast(CallSupervisorMsg::CatchUp.into());
        // The core may have been told otherwise by an earlier incarnation.
        keeper.own.full = !keeper.is_full();
        keeper.show_load();
        for call in keeper.ctx.ledger.phone_calls.keys() {
            if !keeper.ctx.ledger.calls.contains(&call) {
                keeper.forget_history_later(call);
            }
        }
    }

    async fn spawn(keeper: &mut Keeper<Self>, call: CallId) -> Result<(), Fate<CallId>> {
        keeper.child(call, Call, (keeper.ctx.clone(), call)).await
    }

    async fn hear(keeper: &mut Keeper<Self>, msg: CallSupervisorMsg) -> Result<(), ActorProcessingErr> {
        let ctx = keeper.ctx.clone();
        match msg {
            CallSupervisorMsg::CatchUp => {
                for dialog in ctx.ports.sip.unadopted() {
                    // One at a time: an INVITE that nobody got to is not counted as delivered.
                    if !keeper.has(dialog)
                        && let Some(invite) = ctx.ports.sip.deliver_again(dialog)
                    {
                        keeper.own.delivered.insert(dialog);
                        match invite.replaces {
                            Some(_) => keeper.replacing(invite),
                            None => keeper.incoming(*invite).await?,
                        }
                    }
                }
            }
            CallSupervisorMsg::Incoming(invite) if invite.replaces.is_some() => keeper.replacing(invite),
            CallSupervisorMsg::Incoming(invite) => {
                if !keeper.own.delivered.remove(&invite.dialog) {
                    keeper.incoming(*invite).await?;
                }
            }
            CallSupervisorMsg::FromClient(client) => match keeper.room_for_one() {
                Ok(()) => keeper.add(origin::from_client(&ctx, client)).await?,
                Err(cause) => refuse_client(&ctx, client.client, client.call, cause),
            },
            CallSupervisorMsg::FromInvitation(invited) => match keeper.room_for_one() {
                Ok(()) => {
                    // Said again by an invitation that was restarted; one that is over has nothing to dial.
                    let live = ctx.ledger.invitations.read(&invited.invitation, |row| row.over_at.is_none());
                    if live == Some(true) && !ctx.ledger.calls.contains(&invited.call) {
                        keeper.add(origin::from_invitation(&ctx, invited)).await?;
                    }
                }
                Err(_) => {
                    let _ =
                        ctx.directory.invitations.post(&invited.invitation, InvitationMsg::ByCall(CallOutcome::Failed));
                }
            },
            // Whoever ordered it has been told meanwhile that it was not begun, and may order it again.
            CallSupervisorMsg::StartPhoneCall { reply, .. } if reply.is_closed() => {}
            CallSupervisorMsg::StartPhoneCall { order, reply } => {
                let answer = match keeper.phone_call(order) {
                    Ok(new) => {
                        let call = new.0.call;
                        keeper.add(new).await?;
                        Ok(call)
                    }
                    Err(error) => Err(error),
                };
                // Who asked may have given up this very moment; the call goes on, and is found by its id.
                let _ = reply.send(answer);
            }
            CallSupervisorMsg::Order(call, order) => {
                // Over by now, or refused: an order to nobody.
                let _ = ctx.directory.calls.post(&call, order);
            }
            CallSupervisorMsg::ForgetHistory(call) => {
                ctx.ledger.phone_calls.remove(&call);
            }
        }
        Ok(())
    }

    fn ended(keeper: &mut Keeper<Self>, call: CallId) {
        keeper.show_load();
        if keeper.ctx.ledger.phone_calls.contains(&call) {
            keeper.forget_history_later(call);
        }
    }

    fn last_act(keeper: &mut Keeper<Self>, call: CallId, _: &str) -> Result<(), ActorProcessingErr> {
        release::last_act(&keeper.ctx, call);
        Self::ended(keeper, call);
        Ok(())
    }
}

impl Keeper<CallSupervisor> {
    fn room_for_one(&self) -> Result<(), Cause> {
        if self.ctx.draining() {
            metrics::refused("draining");
            return Err(Cause::unavailable("the switch is about to stop"));
        }
        if self.is_full() {
            metrics::refused("full");
            return Err(Cause::unavailable("limits.max_calls is reached"));
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.ctx.ledger.calls.len() >= self.ctx.settings.limits.max_calls as usize
    }

    /// How many calls live, for the metrics; whether as many as may, for the SIP core.
    fn show_load(&mut self) {
        metrics::active(self.ctx.ledger.calls.len());
        let full = self.is_full();
        if self.own.full != full {
            self.own.full = full;
            self.ctx.ports.sip.set_full(full);
        }
    }

    async fn incoming(&mut self, invite: IncomingInvite) -> Result<(), ActorProcessingErr> {
        match self.room_for_one() {
            Ok(()) => self.add(origin::incoming(&self.ctx, invite)).await,
            Err(cause) => {
                transfer::refuse(&self.ctx, invite.dialog, cause);
                Ok(())
            }
        }
    }

    /// An INVITE that takes a leg's place is its call's affair. Delivered twice, it is taken once.
    fn replacing(&mut self, invite: Box<IncomingInvite>) {
        let dialog = invite.dialog;
        let call = invite.replaces.and_then(|leg| Some((leg, self.ctx.ledger.legs.read(&leg, |row| row.call)?)));
        let posted = match (call, &invite.origin) {
            (_, SipOrigin::Anonymous) => Err(Cause::forbidden("a stranger may not take over a call")),
            (Some((leg, call)), SipOrigin::Trunk(_) | SipOrigin::Subscriber(_)) => {
                let msg = CallMsg::Replace { leg, invite };
                self.ctx.directory.calls.post(&call, msg).map_err(|_| Cause::from_sip(481, "the call is over"))
            }
            (None, SipOrigin::Trunk(_) | SipOrigin::Subscriber(_)) => {
                Err(Cause::from_sip(481, "the leg to be replaced is over"))
            }
        };
        if let Err(cause) = posted {
            transfer::refuse(&self.ctx, dialog, cause);
        }
    }

    /// Whether a live call has a leg for this dialog.
    fn has(&self, dialog: DialogId) -> bool {
        let ledger = &self.ctx.ledger;
        ledger.legs.rows().iter().any(|(_, _, leg)| {
            matches!(&leg.side, LegSide::Sip(sip) if sip.dialog == dialog) && ledger.calls.contains(&leg.call)
        })
    }

    fn phone_call(&self, order: PhoneCall) -> Result<NewCall, StartError> {
        self.room_for_one().map_err(|cause| StartError::Unavailable(cause.reason.into_owned()))?;
        let new = origin::phone_call(&self.ctx, order)?;
        let history = PhoneCallHistory { states: Vec::new(), done: false, cause: None };
        self.ctx.ledger.phone_calls.insert(new.0.call, history);
        Ok(new)
    }

    async fn add(&mut self, (call, leg): NewCall) -> Result<(), ActorProcessingErr> {
        let id = call.call;
        tracing::info!(call = %id, kind = call.kind.word(), "a call begins");
        if let Some(leg) = leg {
            self.ctx.ledger.legs.insert(leg.leg, leg);
        }
        if self.ctx.ledger.calls.insert(id, call) {
            self.show_load();
            self.spawn(id).await?;
        }
        Ok(())
    }

    fn forget_history_later(&self, call: CallId) {
        cast_after(&self.me, KEEP_HISTORY, CallSupervisorMsg::ForgetHistory(call));
    }
}
