//! Calls: what a person calls a call. A Call actor decides where it goes ([`route`], [`dial`]), steps a pure machine
//! ([`phase`]), keeps two legs (and a flow) as its children, and writes one CDR.
//!
//! ```text
//!   SIP INVITE, client `call`, invitation to a number, REST order
//!        |  CallSupervisorMsg
//!        v
//!   CallSupervisor --spawns--> Call --spawns--> SipLeg | RtcLeg | Flow
//!                               |  orders down, reports up
//!                               +--> Invitation, Room, Client (by the directory), media sessions
//! ```
//! Calls are matched by call id alone: two calls of one user never end each other.

pub mod actor;
pub mod cdr;
pub mod dial;
pub mod metrics;
mod origin;
pub mod phase;
mod presented;
pub(crate) mod release;
pub mod route;
pub mod supervisor;
pub(crate) mod text;
pub mod toll;
pub(crate) mod transfer;

pub use actor::Call;
pub use phase::CallCheckpoint;
pub use supervisor::CallSupervisor;

use std::fmt;

use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};

use crate::control::{PhoneCall, StartError};
use crate::ctx::Ctx;
use crate::directory::Mail;
use crate::envelope::Envelope;
use crate::flow::FlowReport;
use crate::invitation::phase::LocalFailure;
use crate::leg::LegReport;
use crate::model::address::{AppHeaders, Target};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, ClientId, InvitationId, LegId, RoomId, UserId};
use crate::model::media::Digit;
use crate::ports::rtc::Sdp;
use crate::ports::sip::IncomingInvite;
use crate::room::RoomReport;
use crate::supervision::Kind;

/// What only the CallSupervisor hears.
#[derive(Debug)]
pub enum CallSupervisorMsg {
    /// Take the INVITEs that fell into the crash of the last incarnation.
    CatchUp,
    /// A phone or trunk calls.
    Incoming(Box<IncomingInvite>),
    /// An app user calls, or joins a room.
    FromClient(ClientCall),
    /// An app user invited a number or a service.
    FromInvitation(InvitedCall),
    /// The API calls a phone into a room.
    StartPhoneCall {
        /// What it wants.
        order: PhoneCall,
        /// Answered before it rings.
        reply: RpcReplyPort<Result<CallId, StartError>>,
    },
    /// The history of a phone call has been kept long enough.
    ForgetHistory(CallId),
    /// An order to a call that was not there yet when it was given: behind the message that begins it.
    Order(CallId, CallMsg),
}

/// An app user's call. Its id is drawn by the Client, which has replied with it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCall {
    /// The call to be.
    pub call: CallId,
    /// Where its events go.
    pub client: ClientId,
    /// Who calls.
    pub user: UserId,
    /// What it wants.
    pub kind: ClientCallKind,
    /// The browser's offer.
    pub sdp: Sdp,
}

/// What an app user's call wants.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientCallKind {
    /// To ring somebody.
    To {
        /// User id, service id or number.
        to: String,
        /// Through the PSTN trunk.
        pstn: bool,
        /// Shown to the callee.
        display_name: String,
        /// To the SIP side.
        headers: AppHeaders,
        /// Past the flow, to this number.
        sip_number: Option<String>,
    },
    /// To join a room.
    Room(RoomId),
}

/// An app user's invitation to a number or a service: the call is the callee's side of it.
#[derive(Debug, Clone, PartialEq)]
pub struct InvitedCall {
    /// The call to be.
    pub call: CallId,
    /// The invitation, which hears what becomes of it.
    pub invitation: InvitationId,
    /// The inviting connection.
    pub client: ClientId,
    /// Who invites.
    pub user: UserId,
    /// The number or service.
    pub callee: String,
    /// As sent.
    pub content: String,
    /// As sent; opaque.
    pub channel: String,
}

/// What a Call hears.
#[derive(Debug)]
pub enum CallMsg {
    /// Take up the checkpoint: first message of every incarnation.
    Begin,
    /// A leg reports.
    Leg {
        /// Which.
        leg: LegId,
        /// What.
        report: LegReport,
    },
    /// The flow reports.
    Flow(FlowReport),
    /// The room reports.
    Room(RoomReport),
    /// An invitation of this call, sent or received, reports.
    Invitation {
        /// Which.
        invitation: InvitationId,
        /// What.
        report: InvitationReport,
    },
    /// An app user of this call asks.
    FromClient {
        /// From which connection; one that is no party is not heard.
        client: ClientId,
        /// What.
        action: ClientAction,
    },
    /// This leg's place is to be taken by a target, as the operator wishes.
    Transfer {
        /// Whose.
        leg: LegId,
        /// By whom.
        to: Target,
    },
    /// This leg's place is to be taken by the party that talks with `replaced` in another call, as the operator wishes.
    Ask {
        /// Whose.
        leg: LegId,
        /// The other call.
        other: CallId,
        /// Who makes place there.
        replaced: LegId,
    },
    /// Another call asks for the party that talks with one of this call's legs.
    Give(phase::Give),
    /// Another call gives a party, whose leg's row says already that it is of this call.
    Take(Box<phase::Given>),
    /// Another call does not give its party.
    NotGiven {
        /// The REFER that asked for it.
        refer: Option<u64>,
        /// Why.
        cause: Cause,
    },
    /// Somebody calls to take a leg's place (RFC 3891).
    Replace {
        /// Which.
        leg: LegId,
        /// The INVITE.
        invite: Box<IncomingInvite>,
    },
    /// End it.
    HangUp {
        /// Why.
        cause: Cause,
    },
    /// A deadline may have passed.
    Tick,
    /// Something is posted.
    Posted,
    /// The wait before a child's restart is over.
    Respawn(Child),
    /// Nothing: makes an armed fault fire.
    Poke,
}

impl Mail for Envelope<CallMsg> {
    fn posted() -> Self {
        CallMsg::Posted.into()
    }
    fn is_posted(&self) -> bool {
        matches!(self.peek(), CallMsg::Posted)
    }
}

/// Gives a call an order that nobody gives again. A call that is over has no use for it.
pub fn order(ctx: &Ctx, call: CallId, order: CallMsg) {
    if let Err(order) = ctx.directory.calls.post(&call, order) {
        ctx.directory.call_supervisor.post(CallSupervisorMsg::Order(call, order.unopened()));
    }
}

/// A child of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Child {
    /// A leg whose signalling is SIP.
    SipLeg(LegId),
    /// A leg of an app user.
    RtcLeg(LegId),
    /// The flow of this call.
    Flow(CallId),
}

impl Child {
    fn kind(&self) -> Kind {
        match self {
            Child::SipLeg(_) => Kind::SipLeg,
            Child::RtcLeg(_) => Kind::RtcLeg,
            Child::Flow(_) => Kind::Flow,
        }
    }
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Child::SipLeg(leg) | Child::RtcLeg(leg) => leg.fmt(f),
            Child::Flow(call) => call.fmt(f),
        }
    }
}

/// What an app user asks of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientAction {
    /// A (new) WebRTC offer.
    Offer(Sdp),
    /// Hang up.
    Hangup,
    /// Its connection is gone for good.
    Lost,
    /// Send digits to the far side.
    Digits(Vec<Digit>),
}

/// What an invitation reports to its call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InvitationReport {
    /// A device of the callee has it.
    Received,
    /// Accepted.
    Accepted {
        /// By which connection.
        client: ClientId,
        /// The response.
        response: String,
        /// The browser's offer; without one it comes as `media.offer`.
        sdp: Option<Sdp>,
    },
    /// Refused.
    Refused {
        /// The response.
        response: String,
    },
    /// Taken back.
    Canceled {
        /// The reason given.
        reason: String,
    },
    /// Failed.
    Failed(LocalFailure),
}
