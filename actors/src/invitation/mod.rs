//! Invitations: ringing an app user before any media exists. The two machines and their clocks are pure ([`phase`]); what is
//! kept and who must hear of a step is pure too ([`record`]); one actor an invitation serialises both sides.
//!
//! ```text
//!   caller's Client --FromClient--> Invitation --Callback--> callee's Clients (every device)
//!   Call (a phone)  --CancelByCaller-->  |   --report------> Call
//!                                        +--FromInvitation-> CallSupervisor   (the callee is a number or a service)
//!                                        <--ByCall---------- Call
//! ```

mod actor;
pub mod content;
pub mod local;
pub mod phase;
pub mod record;
pub mod remote;
mod send;
mod supervisor;

use std::time::Duration;

pub use actor::Invitation;
pub use record::{InvitationCaller, InvitationCheckpoint};
pub use supervisor::{InvitationSupervisor, InvitationSupervisorMsg, begin, destination};

use crate::call::InvitationReport;
use crate::directory::Mail;
use crate::model::cause::{Blame, Cause};
use crate::model::ids::{CallId, ClientId, InvitationId, UserId};
use crate::ports::rtc::Sdp;
use phase::LocalFailure;

/// An invitation to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitation {
    /// Drawn by whoever sends it.
    pub invitation: InvitationId,
    /// On whose behalf.
    pub caller: InvitationCaller,
    /// An app user, a service, or a number.
    pub callee: UserId,
    /// Opaque unless the callee is a number or service; at most 8192 bytes, checked by the sender.
    pub content: String,
    /// Opaque; at most 64 bytes, checked by the sender.
    pub channel: String,
    /// The call it belongs to, where a call sends it.
    pub call: Option<CallId>,
    /// How long it waits for a device of an offline callee; at most 30 s. Zero: PEER_OFFLINE at once.
    pub offline_wait: Duration,
}

/// What an Invitation hears.
#[derive(Debug)]
pub enum InvitationMsg {
    /// The Call that sent it takes it back.
    CancelByCaller {
        /// For the callee.
        reason: String,
    },
    /// What became of the call to a number or service.
    ByCall(CallOutcome),
    /// An app user acts; answered with `ClientMsg::Answered`.
    FromClient {
        /// By which connection.
        client: ClientId,
        /// Whose.
        user: UserId,
        /// The request's `id`: the same one again is answered the same and changes nothing.
        request: String,
        /// What it does.
        action: InvitationAction,
    },
    /// A connection of the callee came up.
    ClientUp(ClientId),
    /// The caller may be offline now.
    CallerDown,
    /// A clock may have run out.
    Tick,
    /// Something is posted.
    Posted,
    /// Nothing: makes an armed fault fire.
    Poke,
}

impl Mail for InvitationMsg {
    fn posted() -> Self {
        Self::Posted
    }
    fn is_posted(&self) -> bool {
        matches!(self, Self::Posted)
    }
}

/// What became of the call to a number or service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// The phone rings, or the service is there.
    Ringing,
    /// Answered.
    Accepted {
        /// For the caller.
        response: String,
    },
    /// Busy, declined, refused.
    Refused {
        /// For the caller.
        response: String,
    },
    /// It cannot be reached.
    Failed,
}

/// What an app user does to an invitation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvitationAction {
    /// Callee: the device has it.
    Ack,
    /// Callee: accept.
    Accept {
        /// For the caller.
        response: String,
        /// WebRTC offer, where it belongs to a call.
        sdp: Option<Sdp>,
    },
    /// Callee: refuse.
    Refuse {
        /// For the caller.
        response: String,
    },
    /// Caller: take it back.
    Cancel {
        /// For the callee.
        reason: String,
    },
    /// Caller: the acceptance was heard.
    AcceptHeard,
    /// Either: where does it stand?
    State,
}

impl InvitationAction {
    /// Its name.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Accept { .. } => "accept",
            Self::Refuse { .. } => "refuse",
            Self::Cancel { .. } => "cancel",
            Self::AcceptHeard => "accept_heard",
            Self::State => "state",
        }
    }
}

/// Names of the metrics of invitations.
pub fn describe() {
    metrics::describe_counter!("tandem_invitations_total", "Invitations sent");
}

/// The cause of a call whose invitation ended so: what the SIP side is told. For a report that ends nothing, a hang-up.
pub fn cause_of(report: &InvitationReport) -> Cause {
    match report {
        InvitationReport::Received | InvitationReport::Accepted { .. } => Cause::hangup(),
        InvitationReport::Refused { response } if content::says_busy(response) => Cause::busy(),
        InvitationReport::Refused { .. } => Cause::declined(),
        InvitationReport::Canceled { .. } => Cause::cancelled(),
        InvitationReport::Failed(LocalFailure::PeerOffline) => Cause::offline(),
        InvitationReport::Failed(LocalFailure::PeerNoResponse) => Cause::no_response(),
        InvitationReport::Failed(LocalFailure::InvitationExpire) => Cause::expired(),
        InvitationReport::Failed(LocalFailure::NotLoggedIn) => {
            Cause::new(480, Some(20), Blame::Client, "the caller is not logged in")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_an_invitation_has_its_sip_status() {
        let refused = |response: &str| InvitationReport::Refused { response: response.into() };
        for (report, status) in [
            (refused("busy"), 486),
            (refused(r#"{"Reason":"calling"}"#), 486),
            (refused(""), 603),
            (refused("no"), 603),
            (InvitationReport::Canceled { reason: String::new() }, 487),
            (InvitationReport::Failed(LocalFailure::PeerOffline), 480),
            (InvitationReport::Failed(LocalFailure::PeerNoResponse), 408),
            (InvitationReport::Failed(LocalFailure::InvitationExpire), 480),
        ] {
            assert_eq!(cause_of(&report).status, status, "{report:?}");
        }
    }
}
