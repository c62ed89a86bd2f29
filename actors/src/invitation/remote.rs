//! The callee's machine, RemoteInvitation: its table, and nothing else. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::ApiCode;

/// Where the callee's side stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteState {
    /// 0: the callee knows nothing of it.
    Idle,
    /// 1: handed to at least one device.
    InvitationReceived,
    /// 2: accepted here, the caller has not confirmed that it heard so.
    AcceptSentToLocal {
        /// When, after the send.
        at: Duration,
        /// The callee's response.
        response: String,
    },
    /// 3: refused. Terminal.
    Refused,
    /// 4: accepted, and the caller knows. Terminal.
    Accepted,
    /// 5: taken back by the caller. Terminal.
    Canceled,
    /// 6: failed. Terminal.
    Failure(RemoteFailure),
}

/// Why the callee's side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteFailure {
    /// 1: the caller went offline.
    PeerOffline,
    /// 2: the caller never confirmed the acceptance.
    AcceptFailure,
    /// 3: it was not answered in time.
    InvitationExpire,
}

impl RemoteFailure {
    /// The failure code on the wire; 0 is OK and never a failure.
    pub fn number(self) -> u8 {
        match self {
            Self::PeerOffline => 1,
            Self::AcceptFailure => 2,
            Self::InvitationExpire => 3,
        }
    }
}

/// What happens to the callee's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteInput {
    /// It is handed to a device.
    Invite,
    /// The callee accepts.
    Accept {
        /// After the send.
        at: Duration,
        /// What it says.
        response: String,
    },
    /// The caller heard the acceptance.
    AcceptHeard,
    /// The caller did not confirm the acceptance in time.
    AcceptUnheard,
    /// The callee refuses, with a response.
    Refuse(String),
    /// The caller took it back, with a reason.
    Cancel(String),
    /// The caller is gone.
    CallerOffline,
    /// Its time ran out.
    Expire,
}

/// What the callee is told, each at most once an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteCallback {
    /// An invitation came.
    Received,
    /// The acceptance stands; its response.
    Accepted(String),
    /// The refusal stands; its response.
    Refused(String),
    /// The caller took it back; the caller's reason.
    Canceled(String),
    /// Failed.
    Failure(RemoteFailure),
}

impl RemoteState {
    /// The state's number on the wire.
    pub fn number(&self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::InvitationReceived => 1,
            Self::AcceptSentToLocal { .. } => 2,
            Self::Refused => 3,
            Self::Accepted => 4,
            Self::Canceled => 5,
            Self::Failure(_) => 6,
        }
    }

    /// Whether nothing can happen to it any more.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Idle | Self::InvitationReceived | Self::AcceptSentToLocal { .. } => false,
            Self::Refused | Self::Accepted | Self::Canceled | Self::Failure(_) => true,
        }
    }

    /// One step: the next state, the callback if there is one, and the code of the API call that caused it.
    pub fn step(self, input: RemoteInput) -> (Self, Option<RemoteCallback>, ApiCode) {
        use RemoteCallback as Say;
        use RemoteInput as In;
        match (self, input) {
            (Self::Idle, In::Invite) => (Self::InvitationReceived, Some(Say::Received), ApiCode::Ok),
            (Self::Idle, _) => (Self::Idle, None, ApiCode::NotStarted),

            (Self::InvitationReceived, In::Accept { at, response }) => {
                (Self::AcceptSentToLocal { at, response }, None, ApiCode::Ok)
            }
            (Self::InvitationReceived, In::Refuse(response)) => {
                (Self::Refused, Some(Say::Refused(response)), ApiCode::Ok)
            }
            (Self::InvitationReceived, In::Expire) => Self::fail(RemoteFailure::InvitationExpire),
            // A further device of the callee gets it: the machine has heard already.
            (Self::InvitationReceived, In::Invite | In::AcceptHeard | In::AcceptUnheard) => {
                (Self::InvitationReceived, None, ApiCode::Ok)
            }
            (Self::AcceptSentToLocal { response, .. }, In::AcceptHeard) => {
                (Self::Accepted, Some(Say::Accepted(response)), ApiCode::Ok)
            }
            (Self::AcceptSentToLocal { .. }, In::AcceptUnheard) => Self::fail(RemoteFailure::AcceptFailure),
            (state @ Self::AcceptSentToLocal { .. }, In::Accept { .. }) => (state, None, ApiCode::AlreadyAccept),
            (state @ Self::AcceptSentToLocal { .. }, In::Refuse(_)) => (state, None, ApiCode::AlreadyEnd),
            (state @ Self::AcceptSentToLocal { .. }, In::Invite | In::Expire) => (state, None, ApiCode::Ok),

            (Self::InvitationReceived | Self::AcceptSentToLocal { .. }, In::Cancel(reason)) => {
                (Self::Canceled, Some(Say::Canceled(reason)), ApiCode::Ok)
            }
            (Self::InvitationReceived | Self::AcceptSentToLocal { .. }, In::CallerOffline) => {
                Self::fail(RemoteFailure::PeerOffline)
            }
            (Self::Accepted, In::Accept { .. }) => (Self::Accepted, None, ApiCode::AlreadyAccept),
            (state @ (Self::Refused | Self::Accepted | Self::Canceled | Self::Failure(_)), _) => {
                (state, None, ApiCode::AlreadyEnd)
            }
        }
    }

    fn fail(why: RemoteFailure) -> (Self, Option<RemoteCallback>, ApiCode) {
        (Self::Failure(why), Some(RemoteCallback::Failure(why)), ApiCode::Ok)
    }
}
