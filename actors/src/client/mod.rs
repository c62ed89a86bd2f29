//! An app user's signalling connection: the protocol it speaks, and the actor that speaks it. The WebSocket itself lives in
//! `src/http`; what outlives it for the resume window is here: the events it has not seen, the calls it is in, its presence.
//!
//! A connection's identity is the [`ClientId`] of its first socket, for as long as it is resumed: everything else in the brain
//! (legs, invitations) knows it by that. The socket that carries it now has an id of its own, drawn by the adapter, and only
//! this module tells the two apart: inputs are mapped by the supervisor, frames are delivered to the current socket.

mod actor;
mod app_headers;
pub mod events;
pub mod inputs;
pub mod presence;
pub mod protocol;
mod replies;
mod requests;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use actor::Client;
pub use supervisor::{ClientSupervisor, ClientSupervisorMsg};

use crate::control::ClientView;
use crate::directory::Mail;
use crate::invitation::phase::ApiCode;
use crate::model::ids::{CallId, ClientId, InvitationId, UserId};
use crate::ports::client::ClientInput;
use events::EventLog;
use presence::Presence;
use protocol::{Body, ErrorCode, Event, Frame, Reply, VERSION};
use replies::Replies;

/// WebSocket close code: logged out, nothing wrong.
pub const CLOSE_LOGGED_OUT: u16 = 1000;
/// WebSocket close code: the switch drains.
pub const CLOSE_DRAINING: u16 = 1001;
/// WebSocket close code: the user logged in somewhere else.
pub const CLOSE_REMOTE_LOGIN: u16 = 4001;
/// WebSocket close code: another socket has taken the connection up.
pub const CLOSE_RESUMED: u16 = 4002;
/// WebSocket close code: too many logins.
pub const CLOSE_RATE_LIMITED: u16 = 4029;

/// What a Client hears.
#[derive(Debug)]
pub enum ClientMsg {
    /// The switch says something: numbered, kept for resume, delivered.
    Emit(Event),
    /// An invitation says something: as [`ClientMsg::Emit`], but once a side and kind, however often it is said.
    Callback {
        /// As whose callback.
        side: Side,
        /// What.
        event: Event,
    },
    /// The socket says something; numbered by the supervisor, which says it again to a new incarnation.
    Input {
        /// From 1, without a gap.
        number: u64,
        /// What.
        input: ClientInput,
    },
    /// The socket lives.
    Alive,
    /// An invitation answers a request of ours.
    Answered {
        /// The request's `id`.
        request: String,
        /// The answer.
        reply: Reply,
    },
    /// What the presence of a watched user is now; passed on where it is new.
    Presence {
        /// Who.
        user: UserId,
        /// What.
        presence: Presence,
    },
    /// The user logged in somewhere else.
    Kick,
    /// The switch drains: leave as soon as no call is up.
    Drain,
    /// A deadline may have passed.
    Tick,
    /// Something is posted.
    Posted,
    /// Nothing: makes an armed fault fire.
    Poke,
}

impl Mail for ClientMsg {
    fn posted() -> Self {
        Self::Posted
    }
    fn is_posted(&self) -> bool {
        matches!(self, Self::Posted)
    }
}

/// Which side of an invitation a callback belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The one who invites.
    Caller,
    /// The one who is invited.
    Callee,
}

/// What carries a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// This socket.
    Open(ClientId),
    /// None, since then: resumed within the window, or gone.
    Lost(SystemTime),
}

/// What survives a Client's actor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCheckpoint {
    /// Who.
    pub user: UserId,
    /// What it says it is.
    pub device: String,
    /// When it logged in.
    pub since: SystemTime,
    /// What carries it.
    pub socket: Socket,
    /// The last sign of life.
    pub last_heard: SystemTime,
    /// Calls it is in.
    pub calls: BTreeSet<CallId>,
    /// Users whose presence it wants to hear of, and what it was told last.
    pub watched: BTreeMap<UserId, Presence>,
    log: EventLog,
    replies: Replies,
    /// Calls of invitations that ring here.
    ringing: BTreeMap<InvitationId, CallId>,
    /// Callbacks that were passed on lately.
    heard: VecDeque<(InvitationId, Side, events::CallbackKind)>,
    /// The last numbered input that took effect.
    handled: u64,
}

impl ClientCheckpoint {
    /// A connection that has just logged in.
    pub fn new(user: UserId, device: String, socket: ClientId, now: SystemTime) -> Self {
        Self {
            user,
            device,
            since: now,
            socket: Socket::Open(socket),
            last_heard: now,
            calls: BTreeSet::new(),
            watched: BTreeMap::new(),
            log: EventLog::default(),
            replies: Replies::default(),
            ringing: BTreeMap::new(),
            heard: VecDeque::new(),
            handled: 0,
        }
    }

    /// Its presence, as a subscriber would hear of it.
    pub fn presence(&self, now: SystemTime) -> Presence {
        Presence::after_silence(now.duration_since(self.last_heard).unwrap_or_default())
    }

    /// As the API shows it.
    pub fn view(&self, now: SystemTime) -> ClientView {
        ClientView { user: self.user.clone(), presence: self.presence(now).number(), device: self.device.clone() }
    }
}

/// Names and units of the metrics of clients.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge};
    describe_gauge!("tandem_clients", "App users' connections, those waiting for a resume included");
    describe_counter!("tandem_client_logins_total", "Logins, by outcome (ok, rate_limited)");
    describe_counter!("tandem_client_resumes_total", "Resumes, by outcome (resumed, overflow: too old, unknown)");
    describe_counter!("tandem_client_sockets_lost_total", "Sockets of app users that broke");
    describe_counter!("tandem_client_inputs_dropped_total", "Requests refused because too many waited");
    describe_counter!("tandem_client_inputs_given_up_total", "Inputs over which a Client crashed twice");
}

/// The reply to an API call of the invitation tables.
pub(crate) fn answer_of(code: ApiCode) -> Reply {
    let (error, message) = match code {
        ApiCode::Ok => return Reply::Done {},
        ApiCode::InvalidArgument => (ErrorCode::InvalidArgument, "a value is out of its limits"),
        ApiCode::NotStarted => (ErrorCode::Conflict, "the invitation was not sent yet"),
        ApiCode::AlreadyEnd => (ErrorCode::Conflict, "the invitation is over"),
        ApiCode::AlreadyAccept => (ErrorCode::Conflict, "the invitation is accepted already"),
        ApiCode::AlreadySent => (ErrorCode::Conflict, "the invitation is sent already"),
    };
    Reply::Error { code: error, api: Some(code.number()), message: message.into() }
}

/// The reply to a request about an invitation that is not there, or somebody else's.
pub(crate) fn not_found() -> Reply {
    Reply::Error { code: ErrorCode::NotFound, api: None, message: "no such invitation of yours".into() }
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Reply {
    Reply::Error { code, api: None, message: message.into() }
}

fn reply_frame(request: String, reply: Reply) -> Frame {
    Frame { v: VERSION, body: Body::Reply { re: request, reply } }
}
