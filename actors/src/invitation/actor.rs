//! The Invitation actor: serialises both sides and owns both clocks. Everything it decides is in [`InvitationCheckpoint`]; here
//! are only the mailbox, the ledger and the timer.

use std::time::{Duration, SystemTime};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::local::LocalState;
use super::phase::{ApiCode, Input};
use super::record::{Callee, InvitationCaller, InvitationCheckpoint, Outgoing};
use super::send::send;
use super::{CallOutcome, InvitationAction, InvitationMsg};
use crate::client::presence::{self, Presence};
use crate::client::protocol::Reply;
use crate::client::{ClientMsg, answer_of, not_found};
use crate::ctx::Ctx;
use crate::model::ids::{ClientId, Epoch, InvitationId, UserId};
use crate::supervision::Kind;
use crate::timer::Timer;

/// After its end it answers queries, and late calls with ALREADY_END, this long.
pub const KEPT: Duration = Duration::from_secs(60);
/// What other actors' ends may have left behind is looked for this often.
const LOOK: Duration = Duration::from_secs(5);
/// A call that was ordered is given this long to exist.
const DIALLED: Duration = Duration::from_secs(2);

/// The actor.
pub struct Invitation;

/// Its state: a copy of the ledger's row.
pub struct State {
    ctx: Ctx,
    id: InvitationId,
    epoch: Epoch,
    record: InvitationCheckpoint,
    timer: Timer,
}

impl Actor for Invitation {
    type Msg = InvitationMsg;
    type State = State;
    type Arguments = (Ctx, InvitationId);

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        (ctx, id): (Ctx, InvitationId),
    ) -> Result<State, ActorProcessingErr> {
        let (epoch, record) = ctx.ledger.invitations.next_epoch(&id).ok_or("the invitation has no ledger row")?;
        let mut state = State { ctx: ctx.clone(), id, epoch, record, timer: Timer::default() };
        ctx.directory.invitations.enter(id, me.clone());
        if state.record.phase.local == LocalState::Idle {
            state.begin();
        } else {
            // An earlier incarnation may have died between its commit and its casts.
            send(&ctx, id, &state.record);
            state.look();
        }
        state.wake(&me);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::Invitation, &state.id);
        let Some(msg) = state.ctx.directory.invitations.hear(&state.id, msg) else { return Ok(()) };
        match msg {
            InvitationMsg::CancelByCaller { reason } => {
                state.step(Input::Cancel(reason));
            }
            InvitationMsg::ByCall(outcome) => {
                let input = match outcome {
                    CallOutcome::Ringing => Input::Ack,
                    CallOutcome::Accepted { response } => Input::Accept(response),
                    CallOutcome::Refused { response } => Input::Refuse(response),
                    CallOutcome::Failed => Input::CalleeFailed,
                };
                state.step(input);
            }
            InvitationMsg::FromClient { client, user, request, action } => {
                let reply = state.act(client, &user, &request, action);
                // One that is gone needs no answer.
                let _ = state.ctx.directory.clients.post(&client, ClientMsg::Answered { request, reply });
            }
            InvitationMsg::ClientUp(_) | InvitationMsg::CallerDown => state.look(),
            InvitationMsg::Tick => {
                let callee_online = state.callee_online();
                state.step(Input::Tick { callee_online });
                state.look();
                if state.is_forgotten() {
                    state.ctx.ledger.invitations.remove(&state.id);
                    state.ctx.directory.invitations.remove_if(&state.id, me.get_id());
                    me.stop(Some("over".into()));
                    return Ok(());
                }
            }
            InvitationMsg::Posted | InvitationMsg::Poke => {}
        }
        state.wake(&me);
        Ok(())
    }
}

impl State {
    /// The first step: sent, and handed to whoever is there.
    fn begin(&mut self) {
        let logged_in = match &self.record.caller {
            InvitationCaller::Client { client, .. } => self.ctx.ledger.clients.contains(client),
            InvitationCaller::Call { .. } => true,
        };
        metrics::counter!("tandem_invitations_total").increment(1);
        self.change(|record, now, ctx| {
            let (record, code) = record.step(Input::Send { logged_in }, None, now);
            let record = match &record.callee {
                Callee::Devices { .. } => {
                    let devices = ctx.directory.users.clients(&record.user);
                    devices.into_iter().fold(record, |record, device| record.deliver(device, now))
                }
                Callee::Number(_) => record.step(Input::Delivered, None, now).0,
            };
            (record, code)
        });
    }

    /// Steps the difference between what the record says and what is so: devices that came up, a caller that is gone, a call
    /// that is gone or ought to be.
    fn look(&mut self) {
        if !self.record.phase.is_over() && self.caller_is_gone() {
            match &self.record.caller {
                InvitationCaller::Client { .. } => self.step(Input::CallerOffline),
                InvitationCaller::Call { .. } => self.step(Input::Cancel("the call that invited is gone".into())),
            };
        }
        match &self.record.callee {
            Callee::Devices { rung, .. } => {
                let mut devices = self.ctx.directory.users.clients(&self.record.user);
                devices.retain(|device| !rung.contains(device));
                self.change(|record, now, _| {
                    (devices.into_iter().fold(record, |record, device| record.deliver(device, now)), ApiCode::Ok)
                });
            }
            Callee::Number(call) => {
                let lives = self.ctx.ledger.calls.contains(call);
                let is_awaited = !self.record.phase.local.is_terminal();
                if !lives && is_awaited && self.record.since_send(self.ctx.wall()) >= DIALLED {
                    self.step(Input::CalleeFailed);
                } else if lives && self.record.outbox.iter().any(|out| matches!(out, Outgoing::HangUp(..))) {
                    // The hang-up came before the call did.
                    send(&self.ctx, self.id, &self.record);
                }
            }
        }
    }

    fn caller_is_gone(&self) -> bool {
        match &self.record.caller {
            InvitationCaller::Client { user, .. } => presence::of(&self.ctx, user) == Presence::Offline,
            InvitationCaller::Call { call, .. } => !self.ctx.ledger.calls.contains(call),
        }
    }

    fn callee_online(&self) -> bool {
        match &self.record.callee {
            Callee::Devices { .. } => presence::of(&self.ctx, &self.record.user) != Presence::Offline,
            Callee::Number(_) => true,
        }
    }

    fn act(&mut self, client: ClientId, user: &UserId, request: &str, action: InvitationAction) -> Reply {
        let is_caller = match &self.record.caller {
            InvitationCaller::Client { user: caller, .. } => caller == user,
            InvitationCaller::Call { .. } => false,
        };
        let is_callee = matches!(self.record.callee, Callee::Devices { .. }) && self.record.user == *user;
        let allowed = match &action {
            InvitationAction::Ack | InvitationAction::Accept { .. } | InvitationAction::Refuse { .. } => is_callee,
            InvitationAction::Cancel { .. } | InvitationAction::AcceptHeard => is_caller,
            InvitationAction::State => is_caller || is_callee,
        };
        if !allowed {
            return not_found();
        }
        let word = action.word();
        if let Some(code) = self.record.answer_given(client, request, word) {
            return answer_of(code);
        }
        let (input, offer) = match action {
            InvitationAction::State => {
                let (local, remote) = (self.record.phase.local.number(), self.record.phase.remote.number());
                return Reply::InvitationState { invitation: self.id, local, remote };
            }
            InvitationAction::Ack => (Input::Ack, None),
            InvitationAction::Accept { response, sdp } => (Input::Accept(response), sdp),
            InvitationAction::Refuse { response } => (Input::Refuse(response), None),
            InvitationAction::Cancel { reason } => (Input::Cancel(reason), None),
            InvitationAction::AcceptHeard => (Input::AcceptHeard, None),
        };
        let by = matches!(input, Input::Accept(_) | Input::Refuse(_)).then_some(client);
        answer_of(self.change(|record, now, _| {
            let (mut record, code) = record.step(input, by, now);
            if code == ApiCode::Ok && offer.is_some() {
                record.sdp = offer;
            }
            record.remember(client, request, word, code);
            (record, code)
        }))
    }

    fn step(&mut self, input: Input) -> ApiCode {
        self.change(|record, now, _| record.step(input, None, now))
    }

    /// Changes the record: commit, then send what the change ordered. Where it ordered nothing, the last orders stand: they are
    /// what a next incarnation sends again.
    fn change(
        &mut self,
        change: impl FnOnce(InvitationCheckpoint, SystemTime, &Ctx) -> (InvitationCheckpoint, ApiCode),
    ) -> ApiCode {
        let mut record = self.record.clone();
        let earlier = std::mem::take(&mut record.outbox);
        let (mut record, code) = change(record, self.ctx.wall(), &self.ctx);
        let ordered = !record.outbox.is_empty();
        if !ordered {
            record.outbox = earlier;
        }
        if record == self.record {
            return code;
        }
        self.record = record;
        // A later incarnation has taken over: it speaks, this one is silent.
        if self.ctx.ledger.invitations.commit(&self.id, self.epoch, self.record.clone()).is_ok() && ordered {
            send(&self.ctx, self.id, &self.record);
        }
        code
    }

    fn is_forgotten(&self) -> bool {
        self.record.over_at.is_some_and(|over| over + KEPT <= self.ctx.wall())
    }

    /// One timer: the machines' next clock, but a look every so often; after the end, the time to be forgotten.
    fn wake(&mut self, me: &ActorRef<InvitationMsg>) {
        let now = self.ctx.wall();
        let since_send = self.record.since_send(now);
        let after = match self.record.over_at {
            Some(over) => (over + KEPT).duration_since(now).unwrap_or_default(),
            None => {
                let clock = self.record.phase.next_deadline().unwrap_or(Duration::MAX);
                clock.saturating_sub(since_send)
            }
        };
        self.timer.set(me, after.min(LOOK), || InvitationMsg::Tick);
    }
}
