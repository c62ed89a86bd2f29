//! Both machines of one invitation and both their clocks. Pure: told what happened and how long after the send.
//!
//! ```text
//!  LOCAL   IDLE -> SENT_TO_REMOTE -> RECEIVED_BY_REMOTE -> ACCEPTED | REFUSED | CANCELED | FAILURE
//!              30 s: PEER_OFFLINE or      60 s after send:
//!              PEER_NO_RESPONSE           INVITATION_EXPIRE
//!  REMOTE  IDLE -> INVITATION_RECEIVED -> ACCEPT_SENT_TO_LOCAL -> ACCEPTED   (or REFUSED, CANCELED, FAILURE)
//!                   60 s after send:       5 s: ACCEPT_FAILURE
//!                   INVITATION_EXPIRE
//! ```
//! One actor steps this value, so of an accept and a cancel that cross the first in its mailbox wins. What the tables leave
//! open is settled here: an invitation that no device has yet and whose caller went offline is not delivered any more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::local::{LocalCallback, LocalFailure, LocalInput, LocalState};
pub use super::remote::{RemoteCallback, RemoteFailure, RemoteInput, RemoteState};

/// Without a device's ack the caller's side fails this long after the send.
pub const NO_ACK: Duration = Duration::from_secs(30);
/// Without an answer both sides fail this long after the send.
pub const NO_ANSWER: Duration = Duration::from_secs(60);
/// Without the caller's confirmation of an acceptance the callee's side fails after this.
pub const NO_CONFIRMATION: Duration = Duration::from_secs(5);

/// What an API call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiCode {
    /// 0: done.
    Ok,
    /// 1: a value is out of its limits.
    InvalidArgument,
    /// 2: it was never sent.
    NotStarted,
    /// 3: it is over.
    AlreadyEnd,
    /// 4: it is accepted already.
    AlreadyAccept,
    /// 5: it is sent already.
    AlreadySent,
}

impl ApiCode {
    /// The code on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::InvalidArgument => 1,
            Self::NotStarted => 2,
            Self::AlreadyEnd => 3,
            Self::AlreadyAccept => 4,
            Self::AlreadySent => 5,
        }
    }
}

/// Both sides of one invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// The caller's machine.
    pub local: LocalState,
    /// The callee's machine.
    pub remote: RemoteState,
    /// How long an undelivered invitation waits for a device before PEER_OFFLINE; at most [`NO_ACK`].
    offline_wait: Duration,
    /// The caller is gone: it is not delivered any more.
    caller_gone: bool,
}

/// What happens to an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The caller sends it.
    Send {
        /// Whether the caller is logged in.
        logged_in: bool,
    },
    /// It was handed to a device of the callee, or to the call that dials the number.
    Delivered,
    /// That device, or the ringing phone, confirms it.
    Ack,
    /// The callee accepts, with a response.
    Accept(String),
    /// The callee refuses, with a response.
    Refuse(String),
    /// The caller takes it back, with a reason.
    Cancel(String),
    /// The caller confirms that it heard of the acceptance.
    AcceptHeard,
    /// The caller went offline.
    CallerOffline,
    /// The number that was called cannot be reached.
    CalleeFailed,
    /// Time passed.
    Tick {
        /// Whether a device of the callee is online (lost sockets within their resume window included).
        callee_online: bool,
    },
}

/// What somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Callback {
    /// The caller.
    Local(LocalCallback),
    /// The callee.
    Remote(RemoteCallback),
}

/// What a step led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// The code for whoever called.
    pub code: ApiCode,
    /// Callbacks in order.
    pub callbacks: Vec<Callback>,
}

impl Effects {
    fn none(code: ApiCode) -> Self {
        Self { code, callbacks: Vec::new() }
    }
}

impl Phase {
    /// An invitation that was not sent yet. Without a device online it waits `offline_wait` for one (at most 30 s).
    pub fn new(offline_wait: Duration) -> Self {
        let offline_wait = offline_wait.min(NO_ACK);
        Self { local: LocalState::Idle, remote: RemoteState::Idle, offline_wait, caller_gone: false }
    }

    /// Whether it may (still) be handed to a device: within 30 s of the send while the caller waits, later only to further
    /// devices of a callee that has it already.
    pub fn deliverable(&self, since_send: Duration) -> bool {
        let waits = match self.local {
            LocalState::SentToRemote | LocalState::ReceivedByRemote => !self.caller_gone,
            LocalState::Idle
            | LocalState::AcceptedByRemote
            | LocalState::RefusedByRemote
            | LocalState::Canceled
            | LocalState::Failure(_) => false,
        };
        match self.remote {
            RemoteState::Idle => waits && since_send < NO_ACK,
            RemoteState::InvitationReceived => waits,
            RemoteState::AcceptSentToLocal { .. }
            | RemoteState::Refused
            | RemoteState::Accepted
            | RemoteState::Canceled
            | RemoteState::Failure(_) => false,
        }
    }

    /// Whether nothing can happen to either side any more.
    pub fn is_over(&self) -> bool {
        let nobody_has_it = self.remote == RemoteState::Idle;
        self.local.is_terminal() && (self.remote.is_terminal() || nobody_has_it)
    }

    /// When, after the send, the next clock runs out.
    pub fn next_deadline(&self) -> Option<Duration> {
        let local = match self.local {
            LocalState::SentToRemote if self.remote == RemoteState::Idle => Some(self.offline_wait),
            LocalState::SentToRemote => Some(NO_ACK),
            LocalState::ReceivedByRemote => Some(NO_ANSWER),
            LocalState::Idle
            | LocalState::AcceptedByRemote
            | LocalState::RefusedByRemote
            | LocalState::Canceled
            | LocalState::Failure(_) => None,
        };
        let remote = match self.remote {
            RemoteState::InvitationReceived => Some(NO_ANSWER),
            RemoteState::AcceptSentToLocal { at, .. } => Some(at + NO_CONFIRMATION),
            RemoteState::Idle
            | RemoteState::Refused
            | RemoteState::Accepted
            | RemoteState::Canceled
            | RemoteState::Failure(_) => None,
        };
        match (local, remote) {
            (Some(local), Some(remote)) => Some(local.min(remote)),
            (one, None) | (None, one) => one,
        }
    }

    /// One step, `since_send` after the send.
    pub fn step(mut self, input: Input, since_send: Duration) -> (Self, Effects) {
        let effects = match input {
            Input::Send { logged_in } => self.local(LocalInput::Send { logged_in }),
            Input::Delivered if self.deliverable(since_send) => self.remote(RemoteInput::Invite),
            Input::Delivered => Effects::none(ApiCode::AlreadyEnd),
            Input::Ack => match self.remote {
                RemoteState::InvitationReceived => self.local(LocalInput::PeerReceived),
                // The ack that was overtaken by the answer.
                RemoteState::AcceptSentToLocal { .. } | RemoteState::Accepted | RemoteState::Refused => {
                    Effects::none(ApiCode::Ok)
                }
                RemoteState::Idle => Effects::none(ApiCode::NotStarted),
                RemoteState::Canceled | RemoteState::Failure(_) => Effects::none(ApiCode::AlreadyEnd),
            },
            Input::Accept(response) => {
                let accept = RemoteInput::Accept { at: since_send, response: response.clone() };
                self.answered(accept, LocalInput::PeerAccepted(response))
            }
            Input::Refuse(response) => {
                self.answered(RemoteInput::Refuse(response.clone()), LocalInput::PeerRefused(response))
            }
            Input::Cancel(reason) => {
                let mut effects = self.local(LocalInput::Cancel(reason.clone()));
                if effects.code == ApiCode::Ok {
                    effects.callbacks.extend(self.remote(RemoteInput::Cancel(reason)).callbacks);
                }
                effects
            }
            Input::AcceptHeard => self.remote(RemoteInput::AcceptHeard),
            Input::CallerOffline => {
                self.caller_gone = true;
                self.remote(RemoteInput::CallerOffline)
            }
            Input::CalleeFailed => {
                // A phone that rang and then could not be reached has, in the caller's table, only a refusal left.
                let local = match self.local {
                    LocalState::ReceivedByRemote => LocalInput::PeerRefused(String::new()),
                    LocalState::Idle
                    | LocalState::SentToRemote
                    | LocalState::AcceptedByRemote
                    | LocalState::RefusedByRemote
                    | LocalState::Canceled
                    | LocalState::Failure(_) => LocalInput::TimeOut(LocalFailure::PeerOffline),
                };
                let mut effects = self.local(local);
                effects.callbacks.extend(self.remote(RemoteInput::Expire).callbacks);
                effects
            }
            Input::Tick { callee_online } => self.tick(callee_online, since_send),
        };
        (self, effects)
    }

    /// Both clocks run out at once: how a supervisor ends an invitation whose actor cannot be kept alive. Every transition is
    /// one of the tables', only early.
    pub fn abandon(self, callee_online: bool) -> (Self, Effects) {
        self.step(Input::Tick { callee_online }, Duration::MAX)
    }

    fn tick(&mut self, callee_online: bool, now: Duration) -> Effects {
        let mut effects = Effects::none(ApiCode::Ok);
        let late = match self.local {
            LocalState::SentToRemote if now >= NO_ACK && callee_online => Some(LocalFailure::PeerNoResponse),
            LocalState::SentToRemote if now >= NO_ACK => Some(LocalFailure::PeerOffline),
            LocalState::SentToRemote if self.remote == RemoteState::Idle && now >= self.offline_wait => {
                Some(LocalFailure::PeerOffline)
            }
            LocalState::ReceivedByRemote if now >= NO_ANSWER => Some(LocalFailure::InvitationExpire),
            LocalState::Idle
            | LocalState::SentToRemote
            | LocalState::ReceivedByRemote
            | LocalState::AcceptedByRemote
            | LocalState::RefusedByRemote
            | LocalState::Canceled
            | LocalState::Failure(_) => None,
        };
        if let Some(why) = late {
            effects.callbacks.extend(self.local(LocalInput::TimeOut(why)).callbacks);
        }
        let remote = match self.remote {
            // The caller's side gave up for want of an ack: the callee's must not ring on.
            RemoteState::InvitationReceived if late.is_some() || now >= NO_ANSWER => Some(RemoteInput::Expire),
            RemoteState::AcceptSentToLocal { at, .. } if now >= at + NO_CONFIRMATION => {
                Some(RemoteInput::AcceptUnheard)
            }
            RemoteState::Idle
            | RemoteState::InvitationReceived
            | RemoteState::AcceptSentToLocal { .. }
            | RemoteState::Refused
            | RemoteState::Accepted
            | RemoteState::Canceled
            | RemoteState::Failure(_) => None,
        };
        if let Some(input) = remote {
            effects.callbacks.extend(self.remote(input).callbacks);
        }
        effects
    }

    /// The callee's answer: its own machine decides whether it counts, then the caller's hears it.
    fn answered(&mut self, callee: RemoteInput, caller: LocalInput) -> Effects {
        let mut effects = self.remote(callee);
        if effects.code == ApiCode::Ok {
            let told = std::mem::take(&mut effects.callbacks);
            effects.callbacks = self.local(caller).callbacks;
            effects.callbacks.extend(told);
        }
        effects
    }

    fn local(&mut self, input: LocalInput) -> Effects {
        let (local, callbacks, code) = self.local.step(input);
        self.local = local;
        Effects { code, callbacks: callbacks.into_iter().map(Callback::Local).collect() }
    }

    fn remote(&mut self, input: RemoteInput) -> Effects {
        let remote = std::mem::replace(&mut self.remote, RemoteState::Idle);
        let (remote, callback, code) = remote.step(input);
        self.remote = remote;
        Effects { code, callbacks: callback.into_iter().map(Callback::Remote).collect() }
    }
}

#[cfg(test)]
#[path = "phase_tests.rs"]
mod tests;
