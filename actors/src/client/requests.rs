//! What each request of the protocol does: limits, the reply, and orders to other actors. Everything about an invitation that
//! exists is the invitation's to answer.

use std::time::SystemTime;

use super::presence::{self, MAX_USERS, Presence};
use super::protocol::{ErrorCode, MAX_CHANNEL, MAX_CONTENT, PresenceOf, Reply, Request};
use super::replies::Question;
use super::{ClientCheckpoint, ClientSupervisorMsg, answer_of, refuse};
use crate::call::{self, CallMsg, CallSupervisorMsg, ClientAction, ClientCall, ClientCallKind};
use crate::ctx::Ctx;
use crate::invitation::phase::{ApiCode, NO_ACK};

use crate::invitation::{self, InvitationAction, InvitationCaller, InvitationMsg, NewInvitation, destination};
use crate::model::ids::{CallId, ClientId, InvitationId, UserId};
use crate::ports::rtc::Sdp;

/// What to do once the checkpoint is committed.
pub(super) enum Order {
    /// Send an invitation.
    Begin(NewInvitation),
    /// Ask an invitation.
    Ask(String, Question),
    /// Begin a call.
    Call(ClientCall),
    /// Order a call.
    Act(CallId, ClientAction),
    /// Hear, or no longer hear, of these users' presence.
    Watch(Vec<UserId>, bool),
    /// Good-bye.
    LogOut,
}

/// Steps one request. The reply goes into the checkpoint's queue; what is to be done is returned.
pub(super) fn step(
    ctx: &Ctx,
    me: ClientId,
    row: &mut ClientCheckpoint,
    request: String,
    body: Request,
    now: SystemTime,
) -> Option<Order> {
    let (reply, order) = match body {
        Request::Login { .. } => (refuse(ErrorCode::Conflict, "logged in already"), None),
        Request::Logout {} => (Reply::Done {}, Some(Order::LogOut)),
        Request::Ping {} => (Reply::Done {}, None),
        Request::PresenceQuery { users } if users.len() > MAX_USERS => (too_many_users(), None),
        Request::PresenceQuery { users } => (presence_of(ctx, &users, Presence::queried), None),
        Request::PresenceSubscribe { users } => {
            let more = users.iter().filter(|user| !row.watched.contains_key(*user)).count();
            if row.watched.len().saturating_add(more) > MAX_USERS {
                (too_many_users(), None)
            } else {
                row.watched.extend(users.iter().map(|user| (user.clone(), presence::of(ctx, user))));
                (presence_of(ctx, &users, |presence| presence), Some(Order::Watch(users, true)))
            }
        }
        Request::PresenceUnsubscribe { users } => {
            row.watched.retain(|user, _| !users.contains(user));
            (Reply::Done {}, Some(Order::Watch(users, false)))
        }
        Request::Invite { callee, content, channel } => invite(ctx, me, row, callee, content, channel),
        Request::InviteCancel { invitation, reason } => {
            return ask(ctx, row, request, invitation, InvitationAction::Cancel { reason }, now);
        }
        Request::InviteAck { invitation } => {
            return ask(ctx, row, request, invitation, InvitationAction::Ack, now);
        }
        Request::InviteAccept { invitation, response, sdp } => {
            return ask(ctx, row, request, invitation, InvitationAction::Accept { response, sdp }, now);
        }
        Request::InviteAcceptedAck { invitation } => {
            return ask(ctx, row, request, invitation, InvitationAction::AcceptHeard, now);
        }
        Request::InviteRefuse { invitation, response } => {
            return ask(ctx, row, request, invitation, InvitationAction::Refuse { response }, now);
        }
        Request::InviteState { invitation } => {
            return ask(ctx, row, request, invitation, InvitationAction::State, now);
        }
        Request::Call { to, sdp, pstn, display_name, headers, sip_number } => {
            begin_call(ctx, me, row, ClientCallKind::To { to, pstn, display_name, headers, sip_number }, sdp)
        }
        Request::RoomJoin { room, sdp } => begin_call(ctx, me, row, ClientCallKind::Room(room), sdp),
        Request::MediaOffer { call, sdp } => act(row, call, ClientAction::Offer(sdp)),
        Request::Hangup { call } => act(row, call, ClientAction::Hangup),
        Request::Dtmf { call, digits } => act(row, call, ClientAction::Digits(digits)),
    };
    row.replies.ready(request, reply);
    order
}

/// Carries out an order.
pub(super) fn carry_out(ctx: &Ctx, me: ClientId, user: &UserId, order: Order) {
    match order {
        Order::Begin(new) => {
            invitation::begin(ctx, new);
        }
        Order::Ask(request, question) => ask_now(ctx, me, user, request, question),
        Order::Call(call) => {
            ctx.directory.call_supervisor.post(CallSupervisorMsg::FromClient(call));
        }
        Order::Act(call, action) => call::order(ctx, call, CallMsg::FromClient { client: me, action }),
        Order::Watch(users, on) => {
            ctx.directory.client_supervisor.post(ClientSupervisorMsg::Watch { client: me, users, on });
        }
        // The actor's own affair: it ends.
        Order::LogOut => {}
    }
}

/// Asks an invitation; one that is being restarted is asked again by the timer.
pub(super) fn ask_now(ctx: &Ctx, me: ClientId, user: &UserId, request: String, question: Question) {
    let msg = InvitationMsg::FromClient { client: me, user: user.clone(), request, action: question.action };
    ctx.directory.invitations.cast(&question.invitation, msg);
}

fn ask(
    ctx: &Ctx,
    row: &mut ClientCheckpoint,
    request: String,
    invitation: InvitationId,
    action: InvitationAction,
    now: SystemTime,
) -> Option<Order> {
    let text = match &action {
        InvitationAction::Accept { response, .. } | InvitationAction::Refuse { response } => response,
        InvitationAction::Cancel { reason } => reason,
        InvitationAction::Ack | InvitationAction::AcceptHeard | InvitationAction::State => "",
    };
    if text.len() > MAX_CONTENT {
        row.replies.ready(request, answer_of(ApiCode::InvalidArgument));
        return None;
    }
    if !ctx.ledger.invitations.contains(&invitation) {
        row.replies.ready(request, super::not_found());
        return None;
    }
    if row.replies.asks(&request) {
        row.replies.ready(request, refuse(ErrorCode::Conflict, "a request with this id waits for its reply"));
        return None;
    }
    let question = Question { invitation, action };
    row.replies.asked(request.clone(), question.clone(), now);
    Some(Order::Ask(request, question))
}

fn invite(
    ctx: &Ctx,
    me: ClientId,
    row: &ClientCheckpoint,
    callee: UserId,
    content: String,
    channel: String,
) -> (Reply, Option<Order>) {
    if content.len() > MAX_CONTENT || channel.len() > MAX_CHANNEL {
        return (answer_of(ApiCode::InvalidArgument), None);
    }
    if ctx.draining() {
        return (draining(), None);
    }
    if let Err(cause) = destination(ctx, &callee, &content) {
        let code = if cause.status == 403 { ErrorCode::Forbidden } else { ErrorCode::NotFound };
        return (refuse(code, cause.reason), None);
    }
    let invitation = InvitationId::random();
    let caller = InvitationCaller::Client { client: me, user: row.user.clone() };
    let new = NewInvitation { invitation, caller, callee, content, channel, call: None, offline_wait: NO_ACK };
    (Reply::Invitation { invitation }, Some(Order::Begin(new)))
}

fn begin_call(
    ctx: &Ctx,
    me: ClientId,
    row: &mut ClientCheckpoint,
    kind: ClientCallKind,
    sdp: Sdp,
) -> (Reply, Option<Order>) {
    if ctx.draining() {
        return (draining(), None);
    }
    let call = CallId::random();
    row.calls.insert(call);
    (Reply::Call { call }, Some(Order::Call(ClientCall { call, client: me, user: row.user.clone(), kind, sdp })))
}

fn act(row: &ClientCheckpoint, call: CallId, action: ClientAction) -> (Reply, Option<Order>) {
    if row.calls.contains(&call) {
        (Reply::Done {}, Some(Order::Act(call, action)))
    } else {
        (refuse(ErrorCode::NotFound, "you are in no such call"), None)
    }
}

fn presence_of(ctx: &Ctx, users: &[UserId], shown: impl Fn(Presence) -> Presence) -> Reply {
    let state = |user: &UserId| shown(presence::of(ctx, user)).number();
    Reply::Presence { users: users.iter().map(|user| PresenceOf { user: user.clone(), state: state(user) }).collect() }
}

fn too_many_users() -> Reply {
    refuse(ErrorCode::InvalidArgument, format!("at most {MAX_USERS} users"))
}

fn draining() -> Reply {
    refuse(ErrorCode::Unavailable, "the switch is about to stop")
}
