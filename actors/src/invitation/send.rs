//! Carries out what a step ordered: casts, all of them, in order. Shared by the actor and, for its last act, the supervisor.

use super::local::LocalCallback;
use super::record::{InvitationCaller, InvitationCheckpoint, Outgoing};
use super::remote::RemoteCallback;
use crate::call::{self, CallMsg, CallSupervisorMsg, InvitationReport, InvitedCall};
use crate::client::protocol::Event;
use crate::client::{ClientMsg, Side};
use crate::ctx::Ctx;
use crate::model::ids::{ClientId, InvitationId};

use super::record::Callee;

/// Sends what is in the outbox.
pub fn send(ctx: &Ctx, id: InvitationId, record: &InvitationCheckpoint) {
    for outgoing in &record.outbox {
        match outgoing {
            Outgoing::Caller(callback) => tell_caller(ctx, id, record, callback),
            Outgoing::Device(device, callback) => {
                emit(ctx, *device, Side::Callee, callee_event(id, record, callback));
            }
            Outgoing::Elsewhere(device) => {
                emit(ctx, *device, Side::Callee, Event::InvitationAnsweredElsewhere { invitation: id });
            }
            Outgoing::Dial(call) => {
                if let InvitationCaller::Client { client, user } = &record.caller {
                    ctx.directory.call_supervisor.post(CallSupervisorMsg::FromInvitation(InvitedCall {
                        call: *call,
                        invitation: id,
                        client: *client,
                        user: user.clone(),
                        callee: record.user.as_str().to_owned(),
                        content: record.content.clone(),
                        channel: record.channel.clone(),
                    }));
                }
            }
            Outgoing::HangUp(call, cause) => {
                call::order(ctx, *call, CallMsg::HangUp { cause: cause.clone() });
            }
        }
    }
}

/// The connections that answer for the caller: the one that sent it, or, when that is gone, whatever the user has.
fn callers(ctx: &Ctx, record: &InvitationCheckpoint) -> Vec<ClientId> {
    match &record.caller {
        InvitationCaller::Client { client, .. } if ctx.ledger.clients.contains(client) => vec![*client],
        InvitationCaller::Client { user, .. } => ctx.directory.users.clients(user),
        InvitationCaller::Call { .. } => Vec::new(),
    }
}

fn tell_caller(ctx: &Ctx, id: InvitationId, record: &InvitationCheckpoint, callback: &LocalCallback) {
    if let InvitationCaller::Call { call, .. } = &record.caller {
        if let Some(report) = report_of(record, callback) {
            ctx.directory.calls.cast(call, CallMsg::Invitation { invitation: id, report });
        }
        return;
    }
    for client in callers(ctx, record) {
        emit(ctx, client, Side::Caller, caller_event(id, record, callback));
    }
}

fn emit(ctx: &Ctx, client: ClientId, side: Side, event: Event) {
    // A device that is gone hears nothing.
    let _ = ctx.directory.clients.post(&client, ClientMsg::Callback { side, event });
}

/// What a Call is told; `None` for an acceptance of which no device is known, which cannot be.
fn report_of(record: &InvitationCheckpoint, callback: &LocalCallback) -> Option<InvitationReport> {
    Some(match callback {
        LocalCallback::ReceivedByPeer => InvitationReport::Received,
        LocalCallback::Accepted(response) => {
            let Callee::Devices { answered_by: Some(client), .. } = &record.callee else { return None };
            InvitationReport::Accepted { client: *client, response: response.clone(), sdp: record.sdp.clone() }
        }
        LocalCallback::Refused(response) => InvitationReport::Refused { response: response.clone() },
        LocalCallback::Canceled(reason) => InvitationReport::Canceled { reason: reason.clone() },
        LocalCallback::Failure(why) => InvitationReport::Failed(*why),
    })
}

fn caller_event(invitation: InvitationId, record: &InvitationCheckpoint, callback: &LocalCallback) -> Event {
    match callback {
        LocalCallback::ReceivedByPeer => Event::InvitationReceivedByPeer { invitation },
        LocalCallback::Accepted(response) => {
            let call = match &record.callee {
                Callee::Number(call) => Some(*call),
                Callee::Devices { .. } => None,
            };
            Event::InvitationAccepted { invitation, response: response.clone(), call }
        }
        LocalCallback::Refused(response) => Event::InvitationRefused { invitation, response: response.clone() },
        LocalCallback::Canceled(reason) => Event::InvitationCanceled { invitation, reason: reason.clone() },
        LocalCallback::Failure(why) => Event::InvitationFailed { invitation, code: why.number() },
    }
}

fn callee_event(invitation: InvitationId, record: &InvitationCheckpoint, callback: &RemoteCallback) -> Event {
    match callback {
        RemoteCallback::Received => Event::InvitationReceived {
            invitation,
            caller: record.caller.shown().to_owned(),
            content: record.content.clone(),
            channel: record.channel.clone(),
            call: record.call,
        },
        RemoteCallback::Accepted(response) => {
            Event::InvitationAccepted { invitation, response: response.clone(), call: record.call }
        }
        RemoteCallback::Refused(response) => Event::InvitationRefused { invitation, response: response.clone() },
        RemoteCallback::Canceled(reason) => Event::InvitationCanceled { invitation, reason: reason.clone() },
        RemoteCallback::Failure(why) => Event::InvitationFailed { invitation, code: why.number() },
    }
}
