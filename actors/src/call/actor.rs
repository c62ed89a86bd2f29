//! The Call actor: a shell around [`super::phase`], supervisor of its legs and its flow.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::dial::{browser_codecs, dial, spoken};
use super::origin::codecs_for;
use super::phase::{By, CallCheckpoint, CallEffect, CallInput, Given, Party, Phase, Stage, ToFlow};
use super::{CallMsg, Child, InvitationReport, metrics, release, transfer};
use crate::client::ClientMsg;
use crate::client::protocol::{Event, MAX_CONTENT};
use crate::control::PhoneCallState;
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::flow::{Flow, FlowCheckpoint, FlowMsg, FlowReport};
use crate::invitation::content::Content;
use crate::invitation::phase::{LocalCallback, LocalState};
use crate::invitation::record::{Callee, Outgoing};
use crate::invitation::{
    self, InvitationCaller, InvitationCheckpoint, InvitationMsg, InvitationSupervisorMsg, NewInvitation,
};
use crate::leg::rtc::phase::RtcState;
use crate::leg::{LegCheckpoint, LegEnd, LegMsg, LegReport, LegSide, RtcLeg, SipLeg};
use crate::model::address::Carried;
use crate::model::cause::{Blame, Cause};
use crate::model::ids::{CallId, Epoch, InvitationId, LegId, ServiceId, UserId};
use crate::ports::rtc::Sdp;
use crate::room::{RoomMsg, RoomSupervisorMsg};
use crate::supervision::{Fate, Kind, Policy, Roster, cast_after};
use crate::timer::Timer;

/// Its policy for legs and flow alike.
const CHILD: Policy = Policy::transient(3, Duration::from_secs(10));

/// Child of the CallSupervisor. Supervises its legs (one for one, transient, 3/10 s; last act: the leg is hung up by its port
/// and counts as ended by a failure of ours) and its flow (transient, 3/10 s; last act: once the step's error branch, then the
/// call is hung up).
pub struct Call;

/// Its state.
pub struct State {
    ctx: Ctx,
    epoch: Epoch,
    call: CallCheckpoint,
    children: Roster<Child>,
    flow_gave_up: bool,
    deadline: Timer,
}

type Me = ActorRef<Envelope<CallMsg>>;

impl Actor for Call {
    type Msg = Envelope<CallMsg>;
    type State = State;
    type Arguments = (Ctx, CallId);

    async fn pre_start(&self, me: Me, (ctx, id): Self::Arguments) -> Result<State, ActorProcessingErr> {
        let Some((epoch, call)) = ctx.ledger.calls.next_epoch(&id) else {
            return Err("the call is over".into());
        };
        me.cast(CallMsg::Begin.into())?;
        ctx.directory.calls.enter(id, me);
        Ok(State {
            ctx,
            epoch,
            call,
            children: Roster::new(Child::kind, CHILD),
            flow_gave_up: false,
            deadline: Timer::default(),
        })
    }

    async fn handle(&self, me: Me, msg: Self::Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::Call, &state.call.call);
        let Some(msg) = state.ctx.directory.calls.hear(&state.call.call, msg) else { return Ok(()) };
        let input = match msg.open(Kind::Call) {
            CallMsg::Begin => {
                state.begin(&me).await;
                return Ok(());
            }
            CallMsg::Leg { leg, report } => CallInput::Leg { leg, report },
            CallMsg::Flow(report) => CallInput::Flow(report),
            CallMsg::Room(report) => CallInput::Room(report),
            CallMsg::Invitation { invitation, report } => CallInput::Invitation { invitation, report },
            CallMsg::FromClient { client, action } => CallInput::Client { client, action },
            CallMsg::Transfer { leg, to } => {
                CallInput::Transfer { leg, refer: None, to: Ok(to), carried: Carried::default() }
            }
            CallMsg::Ask { leg, other, replaced } => CallInput::Ask { leg, refer: None, other, replaced },
            CallMsg::Give(give) => CallInput::Give(give),
            // Said again of a party that was taken, and may have left since.
            CallMsg::Take(given) if !transfer::is_ours(&state.ctx, &state.call, given.party.leg) => return Ok(()),
            CallMsg::Take(given) => {
                // The line that the party's leg holds came along.
                state.call.lines.extend(transfer::line_of(&state.ctx, given.party.leg));
                CallInput::Take(given)
            }
            CallMsg::NotGiven { refer, cause } => CallInput::NotGiven(refer, cause),
            CallMsg::Replace { leg, invite } => match transfer::newcomer(&state.ctx, &mut state.call, leg, invite) {
                Some(input) => input,
                None => return Ok(()),
            },
            CallMsg::HangUp { cause } => CallInput::HangUp(cause),
            CallMsg::Tick => CallInput::Tick,
            CallMsg::Respawn(child) => {
                state.spawn(&me, child).await;
                return Ok(());
            }
            CallMsg::Posted | CallMsg::Poke => return Ok(()),
        };
        state.run(&me, input).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: Me,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.ctx.now();
        let fate = state.children.event(event, now);
        if let Fate::Restart { key: Child::SipLeg(leg) | Child::RtcLeg(leg), .. } = &fate {
            state.call.count_restart(*leg);
        }
        match fate {
            Fate::Restart { key, after } if after.is_zero() => state.spawn(&me, key).await,
            fate @ (Fate::Restart { .. } | Fate::GaveUp { .. } | Fate::Ended { .. } | Fate::Stranger) => {
                state.follow(&me, fate);
            }
        }
        Ok(())
    }
}

impl State {
    /// Takes the call up: its legs died with the last incarnation, and are back before anything is stepped.
    async fn begin(&mut self, me: &Me) {
        let legs: Vec<Child> = self.call.parties().map(Party::child).collect();
        for leg in legs {
            self.spawn(me, leg).await;
        }
        self.spawn(me, Child::Flow(self.call.call)).await;
        let first = self.epoch == Epoch(1);
        self.run(me, if first { CallInput::Begin } else { CallInput::Resume }).await;
    }

    /// Steps the call, and whatever the effects lead to.
    async fn run(&mut self, me: &Me, input: CallInput) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let before = self.call.phase.word();
            let (call, effects) = self.call.clone().step(input, self.ctx.wall());
            self.call = call;
            if self.call.phase.word() != before {
                tracing::info!(call = %self.call.call, phase = self.call.phase.word(), "the call goes on");
            }
            if !self.commit() {
                me.stop(Some("fenced".into()));
                return;
            }
            for effect in effects {
                if let Some(next) = self.execute(me, effect).await {
                    inputs.push_back(next);
                }
            }
        }
        match self.call.deadline() {
            Some(at) => self.deadline.set(me, self.ctx.until(at), || CallMsg::Tick.into()),
            None => self.deadline.clear(),
        }
    }

    fn commit(&self) -> bool {
        self.ctx.ledger.calls.commit(&self.call.call, self.epoch, self.call.clone()).is_ok()
    }

    async fn execute(&mut self, me: &Me, effect: CallEffect) -> Option<CallInput> {
        let ctx = self.ctx.clone();
        let id = self.call.call;
        match effect {
            CallEffect::Spawn(leg) => self.add_leg(me, *leg).await,
            CallEffect::SpawnWaiting => {
                let codecs = codecs_for(&ctx, &self.call.goal);
                let near = self.call.b.as_ref().map(|b| b.media);
                if let Some(a) = self.call.a.clone() {
                    self.add_browser(me, &a, None, codecs, near).await;
                }
            }
            CallEffect::SpawnCallee { leg, sdp } => {
                let codecs = browser_codecs(&ctx, &spoken(&ctx, self.call.a.as_ref()));
                let near = self.call.a.as_ref().map(|a| a.media);
                if let Some(b) = self.call.b.clone().filter(|b| b.leg == leg) {
                    self.add_browser(me, &b, sdp, codecs, near).await;
                }
            }
            CallEffect::Order(leg, order) => {
                // A leg between two incarnations is reminded once it is back.
                let leg = self.children.get(&Child::SipLeg(leg)).or_else(|| self.children.get(&Child::RtcLeg(leg)));
                if let Some(actor) = leg {
                    let _ = actor.cast(LegMsg::Order(order));
                }
            }
            CallEffect::ForgetLeg(leg) => {
                if let Some(ended) = self.call.past.iter().find(|past| past.leg == leg) {
                    let kind = if ended.kind == "sip" { "sip" } else { "rtc" };
                    metrics::leg_ended(kind, ended.answered_after.is_some());
                    release::line_of(&ctx, ended);
                }
                release::forget_leg(&ctx, leg);
            }
            CallEffect::Dial { target, .. } => {
                return Some(match dial(&ctx, &self.call, &target) {
                    Ok(dialled) => CallInput::Dialled(Box::new(dialled)),
                    Err(cause) => CallInput::DialFailed(cause),
                });
            }
            CallEffect::Invite { invitation, user } => self.invite(invitation, user),
            CallEffect::CancelInvitation { invitation, reason } => {
                // By the supervisor, so that a cancel never overtakes the invitation it takes back.
                ctx.directory.invitation_supervisor.post(InvitationSupervisorMsg::Cancel { invitation, reason });
            }
            CallEffect::AskInvitation(invitation) => {
                let Some(row) = ctx.ledger.invitations.get(&invitation) else {
                    // The order to send it died with the last incarnation; sending it twice is sending it once.
                    let (_, user) = self.call.invitation.clone()?;
                    self.invite(invitation, user);
                    return None;
                };
                return Some(CallInput::Invitation { invitation, report: standing(&row)? });
            }
            CallEffect::Outcome(invitation, outcome) => {
                // One that is over has heard enough.
                let _ = ctx.directory.invitations.post(&invitation, InvitationMsg::ByCall(outcome));
            }
            CallEffect::StartFlow(service) => return self.start_flow(me, &service).await,
            CallEffect::GiveLineBack(trunk) => crate::trunk::release(&ctx, &trunk, id),
            CallEffect::TellFlow(told) => {
                let msg = match told {
                    ToFlow::Played(token) => FlowMsg::Played(token),
                    ToFlow::Digit(digit) => FlowMsg::Digit(digit),
                    ToFlow::DialFailed(token) => FlowMsg::DialFailed(token),
                };
                if let Some(flow) = self.children.get(&Child::Flow(id)) {
                    let _ = flow.cast(msg);
                }
            }
            CallEffect::StopFlow => {
                if ctx.ledger.flows.remove(&id).is_some() {
                    ctx.directory.flows.remove(&id);
                    if let Some(flow) = self.children.forget(&Child::Flow(id)) {
                        flow.stop(None);
                    }
                }
            }
            CallEffect::Attach(media, to) => ctx.media_attach(media, to),
            CallEffect::Fence(media, token) => ctx.media_fence(media, token),
            CallEffect::Tone(media, tone) => ctx.media_play(media, tone, 0, true),
            CallEffect::StopPlay(media) => ctx.media_stop_play(media),
            CallEffect::Digits(media, digits) => ctx.media_digits(media, digits),
            CallEffect::Emit(client, event) => {
                // One that is gone has nothing to hear.
                let _ = ctx.directory.clients.post(&client, ClientMsg::Emit(*event));
            }
            CallEffect::JoinRoom(room, member) => {
                ctx.directory.room_supervisor.post(RoomSupervisorMsg::Join { room, member });
            }
            CallEffect::LeaveRoom(room) => {
                ctx.directory.rooms.cast(&room, RoomMsg::Leave(id));
            }
            CallEffect::History(state, cause) => self.history(state, cause),
            CallEffect::Refer { leg, referral } => {
                return Some(transfer::lead(&ctx, &self.call, leg, *referral));
            }
            CallEffect::TellReferrer(refer, status) => ctx.ports.sip.refer_outcome(refer, status),
            CallEffect::AskCall(other, give) => {
                let refer = give.refer;
                if ctx.directory.calls.post(&other, CallMsg::Give(give)).is_err() {
                    return Some(CallInput::NotGiven(refer, Cause::from_sip(481, "the other call is over")));
                }
            }
            CallEffect::HandOver(given) => self.hand_over(*given),
            CallEffect::NotGiven { to, refer, cause } => {
                // One that is over has told whoever asked.
                let _ = ctx.directory.calls.post(&to, CallMsg::NotGiven { refer, cause });
            }
            CallEffect::Adopt(leg) => self.spawn(me, Child::SipLeg(leg)).await,
            CallEffect::Answered => metrics::answered(&self.call),
            CallEffect::Finish => self.finish(me),
        }
        None
    }

    async fn add_leg(&mut self, me: &Me, leg: LegCheckpoint) {
        let child = match leg.side {
            LegSide::Sip(_) => Child::SipLeg(leg.leg),
            LegSide::Rtc(_) => Child::RtcLeg(leg.leg),
        };
        self.ctx.ledger.legs.insert(leg.leg, leg);
        self.spawn(me, child).await;
    }

    async fn add_browser(
        &mut self,
        me: &Me,
        party: &Party,
        sdp: Option<Sdp>,
        codecs: Vec<crate::model::media::Codec>,
        near: Option<crate::model::ids::MediaId>,
    ) {
        let By::Rtc { client, user } = &party.by else { return };
        let side = LegSide::Rtc(Box::new(RtcState::new(*client, user.clone(), sdp, codecs)));
        self.add_leg(me, LegCheckpoint::new(self.call.call, party.leg, party.media, near, side)).await;
    }

    /// Spawns a child from its row, and reminds a leg of its orders.
    async fn spawn(&mut self, me: &Me, child: Child) {
        let (ctx, cell, now) = (self.ctx.clone(), me.get_cell(), self.ctx.now());
        let spawned = match child {
            Child::SipLeg(leg) | Child::RtcLeg(leg) if !ctx.ledger.legs.contains(&leg) => {
                self.lost(me, leg);
                Ok(())
            }
            Child::SipLeg(leg) => {
                let spawned = self.children.spawn(child, SipLeg, (ctx, leg), cell, now).await;
                spawned.map(|actor| self.remind(leg, &actor))
            }
            Child::RtcLeg(leg) => {
                let spawned = self.children.spawn(child, RtcLeg, (ctx, leg), cell, now).await;
                spawned.map(|actor| self.remind(leg, &actor))
            }
            Child::Flow(call) if !ctx.ledger.flows.contains(&call) => Ok(()),
            Child::Flow(call) => self.children.spawn(child, Flow, (ctx, call), cell, now).await.map(drop),
        };
        if let Err(fate) = spawned {
            self.follow(me, fate);
        }
    }

    /// A leg without a row has ended.
    fn lost(&self, me: &Me, leg: LegId) {
        if self.call.parties().any(|party| party.leg == leg) {
            // Cast, not stepped: this may be within a step.
            let report = LegReport::Ended(LegEnd {
                cause: Cause::internal("a leg was lost in a crash"),
                signalling_id: leg.to_string(),
                session_id: None,
                figures: None,
            });
            let _ = me.cast(CallMsg::Leg { leg, report }.into());
        }
    }

    fn remind(&self, leg: LegId, actor: &ActorRef<LegMsg>) {
        for order in self.call.reminders(leg) {
            let _ = actor.cast(LegMsg::Order(order));
        }
    }

    fn follow(&mut self, me: &Me, fate: Fate<Child>) {
        match fate {
            Fate::Restart { key, after } => cast_after(me, after, CallMsg::Respawn(key)),
            Fate::GaveUp { key: Child::SipLeg(leg) | Child::RtcLeg(leg), .. } => self.leg_gave_up(me, leg),
            Fate::GaveUp { key: Child::Flow(_), .. } => self.flow_gave_up(me),
            // A leg that stops has reported its end.
            Fate::Ended { .. } | Fate::Stranger => {}
        }
    }

    fn leg_gave_up(&self, me: &Me, leg: LegId) {
        let why = "temporary failure: the leg's actor failed too often";
        let cause = Cause::new(500, Some(41), Blame::Server, why);
        if let Some(end) = release::hang_up(&self.ctx, leg, &cause) {
            let _ = me.cast(CallMsg::Leg { leg, report: LegReport::Ended(end) }.into());
        }
    }

    /// Once the step's error branch, then the end.
    fn flow_gave_up(&mut self, me: &Me) {
        let call = self.call.call;
        let branch = self.ctx.ledger.flows.remove(&call).and_then(FlowCheckpoint::error_branch);
        match branch.filter(|_| !self.flow_gave_up) {
            Some(branch) => {
                self.flow_gave_up = true;
                self.ctx.ledger.flows.insert(call, branch);
                cast_after(me, Duration::ZERO, CallMsg::Respawn(Child::Flow(call)));
            }
            None => {
                let cause = Cause::internal("the flow's actor failed too often");
                let _ = me.cast(CallMsg::Flow(FlowReport::HangUp(cause)).into());
            }
        }
    }

    /// Lets a party's leg go, which goes on in another call.
    fn hand_over(&mut self, given: Given) {
        let leg = given.party.leg;
        if let Some(actor) = self.children.forget(&Child::SipLeg(leg)) {
            actor.stop(None);
        }
        transfer::hand_over(&self.ctx, self.call.call, given);
    }

    async fn start_flow(&mut self, me: &Me, service: &ServiceId) -> Option<CallInput> {
        let Some(service) = self.ctx.settings.services.get(service) else {
            return Some(CallInput::HangUp(Cause::not_found("the service is not configured any more")));
        };
        let media = self.call.a.as_ref()?.media;
        let row = FlowCheckpoint::new(service.script.clone(), media);
        self.ctx.ledger.flows.insert(self.call.call, row);
        self.spawn(me, Child::Flow(self.call.call)).await;
        None
    }

    fn invite(&self, invitation: InvitationId, user: UserId) {
        let from = self.call.shown_outside();
        let shown = if from.display.is_empty() { &from.number } else { &from.display };
        let headers = &self.call.headers;
        let sip_data = headers.cus_data.as_deref().unwrap_or_default();
        let content = |sip_data| Content::for_sip_call(&self.call.call.to_string(), shown, sip_data);
        // What the caller's side may say at length must fit into a content: the longest is left out first.
        let contents = [Content::with_headers(content(sip_data), headers), content(sip_data), content("")];
        let fits = contents.into_iter().find(|content| content.len() <= MAX_CONTENT);
        if fits.as_ref().is_none_or(|content| content.len() < sip_data.len()) {
            tracing::warn!(call = %self.call.call, "the caller's headers are too long for an invitation and were left out");
        }
        invitation::begin(
            &self.ctx,
            NewInvitation {
                invitation,
                caller: InvitationCaller::Call { call: self.call.call, shown: from.number.clone() },
                callee: user,
                content: fits.unwrap_or_default(),
                channel: String::new(),
                call: Some(self.call.call),
                offline_wait: self.ctx.settings.sip_to_rtc.offline_wait,
            },
        );
    }

    fn history(&self, state: PhoneCallState, cause: Option<Cause>) {
        tracing::info!(call = %self.call.call, state = %state.text, "the phone call goes on");
        self.ctx.ledger.phone_calls.update(&self.call.call, |history| {
            history.done = cause.is_some();
            history.cause = cause;
            history.states.push(state);
        });
    }

    /// The CDR, once: the row says that it is about to be written before it is.
    fn finish(&mut self, me: &Me) {
        debug_assert_eq!(self.call.phase, Phase::Over);
        if !self.call.cdr_written {
            self.call.cdr_written = true;
            if !self.commit() {
                me.stop(Some("fenced".into()));
                return;
            }
            release::write_cdr(&self.ctx, &self.call);
        }
        release::forget_call(&self.ctx, &self.call);
        me.stop(None);
    }
}

impl Party {
    fn child(&self) -> Child {
        match self.by {
            By::SipIn | By::SipOut => Child::SipLeg(self.leg),
            By::Rtc { .. } => Child::RtcLeg(self.leg),
        }
    }
}

impl CallCheckpoint {
    fn count_restart(&mut self, leg: LegId) {
        let aside = match self.transfer.as_mut().map(|transfer| &mut transfer.stage) {
            Some(Stage::Aside(Some(from))) => Some(&mut **from),
            Some(Stage::Aside(None) | Stage::Asked { .. }) | None => None,
        };
        let parties = [&mut self.a, &mut self.b].into_iter().flatten().chain(aside).chain(&mut self.leaving);
        for party in parties.filter(|party| party.leg == leg) {
            party.restarts += 1;
        }
    }
}

/// What an invitation of ours would report now; `None` while there is nothing to report.
fn standing(row: &InvitationCheckpoint) -> Option<InvitationReport> {
    // The response is kept as long as its callback is.
    let response = || {
        let said = row.outbox.iter().find_map(|out| match out {
            Outgoing::Caller(LocalCallback::Accepted(response) | LocalCallback::Refused(response)) => {
                Some(response.clone())
            }
            Outgoing::Caller(_)
            | Outgoing::Device(..)
            | Outgoing::Elsewhere(_)
            | Outgoing::Dial(_)
            | Outgoing::HangUp(..) => None,
        });
        said.unwrap_or_default()
    };
    match row.phase.local {
        LocalState::Idle | LocalState::SentToRemote => None,
        LocalState::ReceivedByRemote => Some(InvitationReport::Received),
        LocalState::AcceptedByRemote => match row.callee {
            Callee::Devices { answered_by: Some(client), .. } => {
                Some(InvitationReport::Accepted { client, response: response(), sdp: row.sdp.clone() })
            }
            Callee::Devices { answered_by: None, .. } | Callee::Number(_) => None,
        },
        LocalState::RefusedByRemote => Some(InvitationReport::Refused { response: response() }),
        LocalState::Canceled => Some(InvitationReport::Canceled { reason: String::new() }),
        LocalState::Failure(why) => Some(InvitationReport::Failed(why)),
    }
}

/// Tells a client that its call did not begin.
pub(super) fn refuse_client(ctx: &Ctx, client: crate::model::ids::ClientId, call: CallId, cause: Cause) {
    let _ = ctx.directory.clients.post(&client, ClientMsg::Emit(Event::CallEnded { call, cause }));
}
