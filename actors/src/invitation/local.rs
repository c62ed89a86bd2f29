//! The caller's machine, LocalInvitation: its table, and nothing else. Pure; told what happened, never the time.
//!
//! The states, numbers, callbacks and codes are those of the RTM 1.x family of SDKs: clients written for it must see exactly
//! these.

use serde::{Deserialize, Serialize};

use super::phase::ApiCode;

/// Where the caller's side stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalState {
    /// 0: not sent yet.
    Idle,
    /// 1: on its way, no device has acknowledged it.
    SentToRemote,
    /// 2: a device of the callee has it.
    ReceivedByRemote,
    /// 3: accepted. Terminal.
    AcceptedByRemote,
    /// 4: refused. Terminal.
    RefusedByRemote,
    /// 5: taken back by the caller. Terminal.
    Canceled,
    /// 6: failed. Terminal.
    Failure(LocalFailure),
}

/// Why the caller's side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalFailure {
    /// 1: the callee is offline.
    PeerOffline,
    /// 2: the callee is online, its device never acknowledged.
    PeerNoResponse,
    /// 3: nobody answered in time.
    InvitationExpire,
    /// 4: the caller was not logged in when it was sent.
    NotLoggedIn,
}

impl LocalFailure {
    /// The failure code on the wire; 0 is OK and never a failure.
    pub fn number(self) -> u8 {
        match self {
            Self::PeerOffline => 1,
            Self::PeerNoResponse => 2,
            Self::InvitationExpire => 3,
            Self::NotLoggedIn => 4,
        }
    }
}

/// What happens to the caller's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalInput {
    /// The caller sends it.
    Send {
        /// Whether the caller is logged in.
        logged_in: bool,
    },
    /// The caller takes it back, with a reason.
    Cancel(String),
    /// A device of the callee has it.
    PeerReceived,
    /// The callee accepts, with a response.
    PeerAccepted(String),
    /// The callee refuses, with a response.
    PeerRefused(String),
    /// Its time ran out, or cannot come: why.
    TimeOut(LocalFailure),
}

/// What the caller is told, each at most once an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalCallback {
    /// The callee's device has it.
    ReceivedByPeer,
    /// Accepted, with the callee's response.
    Accepted(String),
    /// Refused, with the callee's response.
    Refused(String),
    /// Taken back, with the caller's own reason.
    Canceled(String),
    /// Failed.
    Failure(LocalFailure),
}

impl LocalState {
    /// The state's number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::SentToRemote => 1,
            Self::ReceivedByRemote => 2,
            Self::AcceptedByRemote => 3,
            Self::RefusedByRemote => 4,
            Self::Canceled => 5,
            Self::Failure(_) => 6,
        }
    }

    /// Whether nothing can happen to it any more.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Idle | Self::SentToRemote | Self::ReceivedByRemote => false,
            Self::AcceptedByRemote | Self::RefusedByRemote | Self::Canceled | Self::Failure(_) => true,
        }
    }

    /// One step: the next state, the callbacks in order, and the code of the API call that caused it (for what comes from the
    /// other side: whether it still counted).
    pub fn step(self, input: LocalInput) -> (Self, Vec<LocalCallback>, ApiCode) {
        use LocalCallback as Say;
        use LocalInput as In;
        match (self, input) {
            (Self::Idle, In::Send { logged_in: true }) => (Self::SentToRemote, vec![], ApiCode::Ok),
            (Self::Idle, In::Send { logged_in: false }) => {
                (Self::Failure(LocalFailure::NotLoggedIn), vec![Say::Failure(LocalFailure::NotLoggedIn)], ApiCode::Ok)
            }
            (
                Self::Idle,
                In::Cancel(_) | In::PeerReceived | In::PeerAccepted(_) | In::PeerRefused(_) | In::TimeOut(_),
            ) => (self, vec![], ApiCode::NotStarted),
            (Self::SentToRemote | Self::ReceivedByRemote, In::Send { .. }) => (self, vec![], ApiCode::AlreadySent),
            (Self::SentToRemote | Self::ReceivedByRemote, In::Cancel(reason)) => {
                (Self::Canceled, vec![Say::Canceled(reason)], ApiCode::Ok)
            }
            (Self::SentToRemote, In::PeerReceived) => (Self::ReceivedByRemote, vec![Say::ReceivedByPeer], ApiCode::Ok),
            // An answer that overtakes the ack proves that the device has it: ReceivedByPeer first.
            (Self::SentToRemote, In::PeerAccepted(response)) => {
                (Self::AcceptedByRemote, vec![Say::ReceivedByPeer, Say::Accepted(response)], ApiCode::Ok)
            }
            (Self::SentToRemote, In::PeerRefused(response)) => {
                (Self::RefusedByRemote, vec![Say::ReceivedByPeer, Say::Refused(response)], ApiCode::Ok)
            }
            (Self::ReceivedByRemote, In::PeerReceived) => (self, vec![], ApiCode::Ok),
            (Self::ReceivedByRemote, In::PeerAccepted(response)) => {
                (Self::AcceptedByRemote, vec![Say::Accepted(response)], ApiCode::Ok)
            }
            (Self::ReceivedByRemote, In::PeerRefused(response)) => {
                (Self::RefusedByRemote, vec![Say::Refused(response)], ApiCode::Ok)
            }
            (Self::SentToRemote | Self::ReceivedByRemote, In::TimeOut(why)) => {
                // From RECEIVED only the expiry is in the table: a device that has it is not offline, whatever its socket does.
                let why = if self == Self::ReceivedByRemote { LocalFailure::InvitationExpire } else { why };
                (Self::Failure(why), vec![Say::Failure(why)], ApiCode::Ok)
            }
            (Self::AcceptedByRemote | Self::RefusedByRemote | Self::Canceled | Self::Failure(_), _) => {
                (self, vec![], ApiCode::AlreadyEnd)
            }
        }
    }
}
