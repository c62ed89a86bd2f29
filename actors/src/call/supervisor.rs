//! Keeper of the Calls: admits them, gives each its first row, and cleans up behind one that cannot be kept alive.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::actor::refuse_client;
use super::origin::{self, NewCall};
use super::{Call, CallMsg, CallSupervisorMsg, metrics, release};
use crate::control::{PhoneCall, PhoneCallHistory, StartError};
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::invitation::{CallOutcome, InvitationMsg};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, Epoch};
use crate::ports::sip::SipCommand;
use crate::supervision::{Children, Fate, Kind, Policy, cast_after};

/// The history of a phone call is kept this long after its end.
const KEEP_HISTORY: Duration = Duration::from_secs(600);

/// One for one, transient, 2/30 s a call. Last act: every leg is hung up by its port, media is released, everybody concerned is
/// told, and the CDR blames us.
pub struct CallSupervisor;

/// Its state.
pub struct State {
    ctx: Ctx,
    calls: Children<CallId, Envelope<CallMsg>>,
}

type Me = ActorRef<CallSupervisorMsg>;

impl Actor for CallSupervisor {
    type Msg = CallSupervisorMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: Me, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(CallSupervisorMsg::Rebuild)?;
        ctx.directory.call_supervisor.set(me);
        let policy = Policy::transient(2, Duration::from_secs(30));
        Ok(State { ctx, calls: Children::new(Kind::Call, policy) })
    }

    async fn handle(&self, me: Me, msg: Self::Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::CallSupervisor, &Kind::CallSupervisor);
        let ctx = state.ctx.clone();
        match msg {
            CallSupervisorMsg::Rebuild => {
                for call in ctx.ledger.calls.keys() {
                    state.spawn(&me, call).await;
                }
                for call in ctx.ledger.phone_calls.keys() {
                    if !ctx.ledger.calls.contains(&call) {
                        cast_after(&me, KEEP_HISTORY, CallSupervisorMsg::ForgetHistory(call));
                    }
                }
            }
            CallSupervisorMsg::Incoming(invite) => match state.room_for_one() {
                Ok(()) => state.add(&me, origin::incoming(&ctx, *invite)).await,
                Err(cause) => {
                    // No leg decides for it: two orders of its own end the dialog.
                    let reject = SipCommand::Reject { cause, warning: None };
                    let _ = ctx.ports.sip.order(invite.dialog, Epoch(1), 1, reject);
                    let _ = ctx.ports.sip.order(invite.dialog, Epoch(1), 2, SipCommand::Forget);
                }
            },
            CallSupervisorMsg::FromClient(client) => match state.room_for_one() {
                Ok(()) => state.add(&me, origin::from_client(&ctx, client)).await,
                Err(cause) => refuse_client(&ctx, client.client, client.call, cause),
            },
            CallSupervisorMsg::FromInvitation(invited) => match state.room_for_one() {
                Ok(()) => {
                    // Said again by an invitation that was restarted; one that is over has nothing to dial.
                    let live = ctx.ledger.invitations.read(&invited.invitation, |row| row.over_at.is_none());
                    if live == Some(true) && !ctx.ledger.calls.contains(&invited.call) {
                        state.add(&me, origin::from_invitation(&ctx, invited)).await;
                    }
                }
                Err(_) => {
                    ctx.directory.invitations.cast(&invited.invitation, InvitationMsg::ByCall(CallOutcome::Failed));
                }
            },
            CallSupervisorMsg::StartPhoneCall { order, reply } => {
                let answer = state.start_phone_call(&me, order).await;
                // Who asked may have given up; the call goes on, and is found by its id.
                let _ = reply.send(answer);
            }
            CallSupervisorMsg::Respawn(call) => state.spawn(&me, call).await,
            CallSupervisorMsg::ForgetHistory(call) => {
                ctx.ledger.phone_calls.remove(&call);
            }
            CallSupervisorMsg::Poke => {}
        }
        metrics::active(ctx.ledger.calls.len());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: Me,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.ctx.now();
        let fate = match event {
            SupervisionEvent::ActorFailed(who, why) => state.calls.failed(who.get_id(), &why, now),
            SupervisionEvent::ActorTerminated(who, _, why) => state.calls.ended(who.get_id(), why, now),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        match fate {
            Fate::Restart { key, after } if after.is_zero() => state.spawn(&me, key).await,
            Fate::Restart { .. } | Fate::GaveUp { .. } | Fate::Ended { .. } | Fate::Stranger => {
                state.follow(&me, fate);
            }
        }
        metrics::active(state.ctx.ledger.calls.len());
        Ok(())
    }
}

impl State {
    fn room_for_one(&self) -> Result<(), Cause> {
        if self.ctx.draining() {
            metrics::refused("draining");
            return Err(Cause::unavailable("the switch is about to stop"));
        }
        if self.ctx.ledger.calls.len() >= self.ctx.settings.limits.max_calls as usize {
            metrics::refused("full");
            return Err(Cause::unavailable("limits.max_calls is reached"));
        }
        Ok(())
    }

    async fn start_phone_call(&mut self, me: &Me, order: PhoneCall) -> Result<CallId, StartError> {
        self.room_for_one().map_err(|cause| StartError::Unavailable(cause.reason.into_owned()))?;
        let new = origin::phone_call(&self.ctx, order)?;
        let call = new.0.call;
        let history = PhoneCallHistory { states: Vec::new(), done: false, cause: None };
        self.ctx.ledger.phone_calls.insert(call, history);
        self.add(me, new).await;
        Ok(call)
    }

    async fn add(&mut self, me: &Me, (call, leg): NewCall) {
        let id = call.call;
        tracing::info!(call = %id, kind = call.kind.word(), "a call begins");
        if let Some(leg) = leg {
            self.ctx.ledger.legs.insert(leg.leg, leg);
        }
        if self.ctx.ledger.calls.insert(id, call) {
            self.spawn(me, id).await;
        }
    }

    async fn spawn(&mut self, me: &Me, call: CallId) {
        if !self.ctx.ledger.calls.contains(&call) {
            self.calls.forget(&call);
            return;
        }
        let (arguments, now) = ((self.ctx.clone(), call), self.ctx.now());
        if let Err(fate) = self.calls.spawn(call, Call, arguments, me.get_cell(), now).await {
            self.follow(me, fate);
        }
    }

    fn follow(&mut self, me: &Me, fate: Fate<CallId>) {
        match fate {
            Fate::Restart { key, after } => cast_after(me, after, CallSupervisorMsg::Respawn(key)),
            Fate::GaveUp { key, .. } => {
                release::last_act(&self.ctx, key);
                self.keep_history(me, key);
            }
            Fate::Ended { key, .. } => self.keep_history(me, key),
            Fate::Stranger => {}
        }
    }

    fn keep_history(&self, me: &Me, call: CallId) {
        if self.ctx.ledger.phone_calls.contains(&call) {
            cast_after(me, KEEP_HISTORY, CallSupervisorMsg::ForgetHistory(call));
        }
    }
}
