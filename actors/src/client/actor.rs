//! The Client actor: numbers events, answers requests in order, watches for silence, and ends what must end with its user.

use std::time::SystemTime;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::events::callback_kind;
use super::presence::{OFFLINE_AFTER, Presence, UNREACHABLE_AFTER};
use super::protocol::{Body, Event, Frame, PresenceOf, Reply, VERSION};
use super::replies::{ASK_AGAIN, Question};
use super::requests::{self, Order, ask_now, carry_out};
use super::{
    CLOSE_DRAINING, CLOSE_LOGGED_OUT, CLOSE_REMOTE_LOGIN, CLOSE_RESUMED, ClientCheckpoint, ClientMsg,
    ClientSupervisorMsg, Side, Socket, reply_frame,
};
use crate::call::{self, CallMsg, ClientAction};
use crate::ctx::Ctx;
use crate::invitation::{InvitationAction, InvitationSupervisorMsg};
use crate::model::ids::{CallId, ClientId, Epoch, InvitationId, UserId};
use crate::ports::client::ClientInput;
use crate::supervision::Kind;
use crate::timer::Timer;

/// Callbacks remembered, so that none is passed on twice.
const HEARD: usize = 64;

/// The actor.
pub struct Client;

/// Its state: a copy of the ledger's row.
pub struct State {
    ctx: Ctx,
    id: ClientId,
    epoch: Epoch,
    row: ClientCheckpoint,
    /// The presence that was announced last.
    shown: Presence,
    timer: Timer,
}

/// Why a Client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It said good-bye.
    LoggedOut,
    /// The user logged in somewhere else.
    Kicked,
    /// Its socket was lost and nobody came back for it.
    Lost,
    /// The switch drains.
    Draining,
}

impl Actor for Client {
    type Msg = ClientMsg;
    type State = State;
    type Arguments = (Ctx, ClientId);

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        (ctx, id): (Ctx, ClientId),
    ) -> Result<State, ActorProcessingErr> {
        let (epoch, row) = ctx.ledger.clients.next_epoch(&id).ok_or("the client has no ledger row")?;
        let shown = row.presence(ctx.wall());
        let mut state = State { ctx: ctx.clone(), id, epoch, row, shown, timer: Timer::default() };
        ctx.directory.users.add(state.row.user.clone(), id);
        ctx.directory.clients.enter(id, me.clone());
        let user = state.row.user.clone();
        ctx.directory.invitation_supervisor.post(InvitationSupervisorMsg::ClientUp { client: id, user });
        state.announce();
        state.wake(&me);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        msg: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::Client, &state.id);
        let Some(msg) = state.ctx.directory.clients.hear(&state.id, msg) else { return Ok(()) };
        let end = match msg {
            ClientMsg::Emit(event) => {
                state.emit(event);
                state.leave_when_drained()
            }
            ClientMsg::Callback { side, event } => {
                if state.is_new(side, &event) {
                    state.emit(event);
                }
                state.leave_when_drained()
            }
            ClientMsg::Input { number, input } => state.input(number, input),
            ClientMsg::Alive => {
                state.heard();
                state.commit();
                None
            }
            ClientMsg::Answered { request, reply } => {
                state.answered(&request, reply);
                None
            }
            ClientMsg::Presence { user, presence } => {
                state.presence(user, presence);
                None
            }
            ClientMsg::Kick => Some(End::Kicked),
            ClientMsg::Drain => state.leave_when_drained(),
            ClientMsg::Tick => state.tick(),
            ClientMsg::Posted | ClientMsg::Poke => None,
        };
        match end {
            Some(end) => {
                state.end(end, &me);
                me.stop(Some(format!("{end:?}")));
            }
            None => state.wake(&me),
        }
        Ok(())
    }
}

impl State {
    fn input(&mut self, number: u64, input: ClientInput) -> Option<End> {
        if number <= self.row.handled {
            return None;
        }
        self.row.handled = number;
        match input {
            ClientInput::Connected { client, resume: Some((_, seq)), request, device, user: _ } => {
                self.resume(client, seq, request, device);
                None
            }
            ClientInput::Request { request, body, client: _ } => {
                self.heard();
                let now = self.ctx.wall();
                let order = requests::step(&self.ctx, self.id, &mut self.row, request, *body, now);
                let due = self.row.replies.due();
                self.commit();
                let leaves = matches!(order, Some(Order::LogOut));
                if let Some(order) = order {
                    carry_out(&self.ctx, self.id, &self.row.user, order);
                }
                self.reply(due);
                leaves.then_some(End::LoggedOut)
            }
            ClientInput::Lost(socket) => {
                if self.row.socket == Socket::Open(socket) {
                    self.lost();
                }
                self.commit();
                None
            }
            // A first login makes a Client, it does not come to one; life is told without a number.
            ClientInput::Connected { resume: None, .. } | ClientInput::Alive(_) => {
                self.commit();
                None
            }
        }
    }

    /// A new socket takes the connection up. The supervisor has looked whether it can.
    fn resume(&mut self, socket: ClientId, seq: u64, request: String, device: String) {
        let old = std::mem::replace(&mut self.row.socket, Socket::Open(socket));
        if !device.is_empty() {
            self.row.device = device;
        }
        self.heard();
        self.commit();
        if let Socket::Open(old) = old
            && old != socket
        {
            self.ctx.ports.client.close(old, CLOSE_RESUMED, "taken up by another socket");
        }
        self.deliver(reply_frame(
            request,
            Reply::Welcome {
                client: self.id,
                user: self.row.user.clone(),
                resumed: true,
                resume_window_s: self.ctx.settings.limits.resume_window.as_secs(),
            },
        ));
        for (seq, event) in self.row.log.after(seq) {
            self.deliver(Frame { v: VERSION, body: Body::Event { seq, event } });
        }
        self.announce();
    }

    fn emit(&mut self, event: Event) {
        self.follow(&event);
        let seq = self.row.log.push(event.clone());
        self.commit();
        self.deliver(Frame { v: VERSION, body: Body::Event { seq, event } });
    }

    /// A watched user's presence, where it is another than was told.
    fn presence(&mut self, user: UserId, presence: Presence) {
        if let Some(told) = self.row.watched.get_mut(&user)
            && *told != presence
        {
            *told = presence;
            self.emit(Event::PresenceChanged(PresenceOf { user, state: presence.number() }));
        }
    }

    /// Which calls this connection is in, by what it is told.
    fn follow(&mut self, event: &Event) {
        match event {
            Event::InvitationReceived { invitation, call: Some(call), .. } => {
                self.row.ringing.insert(*invitation, *call);
            }
            Event::InvitationAccepted { invitation, call, .. } => {
                self.row.ringing.remove(invitation);
                self.row.calls.extend(*call);
            }
            Event::InvitationRefused { invitation, .. }
            | Event::InvitationCanceled { invitation, .. }
            | Event::InvitationFailed { invitation, .. }
            | Event::InvitationAnsweredElsewhere { invitation } => {
                self.row.ringing.remove(invitation);
            }
            Event::CallEnded { call, .. } => {
                self.row.calls.remove(call);
            }
            Event::InvitationReceived { call: None, .. }
            | Event::InvitationReceivedByPeer { .. }
            | Event::MediaAnswer { .. }
            | Event::MediaRefused { .. }
            | Event::CallProgress { .. }
            | Event::CallAnswered { .. }
            | Event::CallHeld { .. }
            | Event::CallDtmf { .. }
            | Event::RoomParticipants { .. }
            | Event::PresenceChanged(_)
            | Event::Kicked { .. } => {}
        }
    }

    /// Whether a callback was not passed on yet; from now on it was.
    fn is_new(&mut self, side: Side, event: &Event) -> bool {
        let Some((invitation, kind)) = callback_kind(event) else { return true };
        let key: (InvitationId, Side, _) = (invitation, side, kind);
        if self.row.heard.contains(&key) {
            return false;
        }
        if self.row.heard.len() >= HEARD {
            self.row.heard.pop_front();
        }
        self.row.heard.push_back(key);
        true
    }

    fn answered(&mut self, request: &str, reply: Reply) {
        let accepted = matches!(reply, Reply::Done {});
        if let Some(Question { invitation, action: InvitationAction::Accept { .. } }) =
            self.row.replies.answer(request, reply)
            && accepted
        {
            // In the call from now on, so that its media.offer need not wait for the callback.
            self.row.calls.extend(self.row.ringing.remove(&invitation));
        }
        let due = self.row.replies.due();
        self.commit();
        self.reply(due);
    }

    fn tick(&mut self) -> Option<End> {
        let now = self.ctx.wall();
        if let Socket::Lost(since) = self.row.socket
            && now >= since + self.ctx.settings.limits.resume_window
        {
            return Some(End::Lost);
        }
        if self.row.replies.is_waiting() {
            let again = self.row.replies.again(now);
            let due = self.row.replies.due();
            self.commit();
            for (request, question) in again {
                ask_now(&self.ctx, self.id, &self.row.user, request, question);
            }
            self.reply(due);
        }
        self.announce();
        None
    }

    fn heard(&mut self) {
        self.row.last_heard = self.ctx.wall();
        if self.shown != Presence::Online {
            // Committed by the caller; announced by what the ledger says then.
            self.commit();
            self.announce();
        }
    }

    fn lost(&mut self) {
        self.row.socket = Socket::Lost(self.ctx.wall());
        metrics::counter!("tandem_client_sockets_lost_total").increment(1);
    }

    /// Tells whoever watches, and, when the user is gone, those who were invited.
    fn announce(&mut self) {
        let presence = self.row.presence(self.ctx.wall());
        if presence != self.shown {
            self.shown = presence;
            if presence == Presence::Offline {
                let user = self.row.user.clone();
                self.ctx.directory.invitation_supervisor.post(InvitationSupervisorMsg::UserDown(user));
            }
        }
        let user = self.row.user.clone();
        self.ctx.directory.client_supervisor.post(ClientSupervisorMsg::Presence(user));
    }

    fn reply(&mut self, due: Vec<(String, Reply)>) {
        for (request, reply) in due {
            self.deliver(reply_frame(request, reply));
        }
    }

    /// To the socket, where there is one. A socket that takes no more is lost: its events are kept.
    fn deliver(&mut self, frame: Frame) {
        if let Socket::Open(socket) = self.row.socket
            && let Err(error) = self.ctx.ports.client.deliver(socket, frame)
        {
            tracing::debug!(client = %self.id, %error, "a frame was not delivered");
            self.lost();
            self.commit();
        }
    }

    fn leave_when_drained(&self) -> Option<End> {
        (self.ctx.draining() && self.row.calls.is_empty() && self.row.ringing.is_empty()).then_some(End::Draining)
    }

    /// Everything of its user's that hangs on this connection ends.
    fn end(&mut self, end: End, me: &ActorRef<ClientMsg>) {
        let (kicked, close, action) = match end {
            End::LoggedOut => (None, Some((CLOSE_LOGGED_OUT, "logged out")), ClientAction::Hangup),
            End::Kicked => {
                (Some("REMOTE_LOGIN"), Some((CLOSE_REMOTE_LOGIN, "logged in somewhere else")), ClientAction::Hangup)
            }
            End::Draining => (Some("DRAINING"), Some((CLOSE_DRAINING, "the switch stops")), ClientAction::Hangup),
            End::Lost => (None, None, ClientAction::Lost),
        };
        if let Some(reason) = kicked {
            self.emit(Event::Kicked { reason: reason.into() });
        }
        if let (Some((code, reason)), Socket::Open(socket)) = (close, self.row.socket) {
            self.ctx.ports.client.close(socket, code, reason);
        }
        let calls: Vec<CallId> = self.row.calls.iter().copied().collect();
        // The row first: a crash from here on leaves a client that is gone, whose calls look for it.
        let user = self.row.user.clone();
        self.ctx.ledger.clients.remove(&self.id);
        self.ctx.directory.users.remove(&user, self.id);
        self.ctx.directory.clients.remove_if(&self.id, me.get_id());
        for call in calls {
            call::order(&self.ctx, call, CallMsg::FromClient { client: self.id, action: action.clone() });
        }
        self.ctx.directory.invitation_supervisor.post(InvitationSupervisorMsg::UserDown(user.clone()));
        self.ctx.directory.client_supervisor.post(ClientSupervisorMsg::Presence(user));
        tracing::info!(client = %self.id, why = ?end, "a client is gone");
    }

    fn commit(&self) {
        // Refused only where a later incarnation speaks; what this one says then changes nothing that counts.
        let _ = self.ctx.ledger.clients.commit(&self.id, self.epoch, self.row.clone());
    }

    /// One timer, for whichever deadline comes first.
    fn wake(&mut self, me: &ActorRef<ClientMsg>) {
        let now: SystemTime = self.ctx.wall();
        let silence = match self.row.presence(now) {
            Presence::Online => Some(self.row.last_heard + UNREACHABLE_AFTER),
            Presence::Unreachable => Some(self.row.last_heard + OFFLINE_AFTER),
            Presence::Offline => None,
        };
        let lost = match self.row.socket {
            Socket::Lost(since) => Some(since + self.ctx.settings.limits.resume_window),
            Socket::Open(_) => None,
        };
        let asked = self.row.replies.is_waiting().then(|| now + ASK_AGAIN);
        // Silence counts when it is *longer*: a millisecond past the mark.
        let silence = silence.map(|at| at + std::time::Duration::from_millis(1));
        match [silence, lost, asked].into_iter().flatten().min() {
            Some(at) => self.timer.set(me, self.ctx.until(at), || ClientMsg::Tick),
            None => self.timer.clear(),
        }
    }
}
