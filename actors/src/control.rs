//! Control: what the REST API asks of the switch and what it is shown. Implemented by the running tree
//! (`root`); a trait so that the HTTP adapter is tested against a double.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::address::SipUri;
use crate::model::cause::Cause;
use crate::model::ids::{CallId, LineId, RoomId, SubscriberId, TrunkId, UserId};
use crate::ports::media::MediaSnapshot;
use crate::ports::sip::TrunkTarget;
use crate::ports::store::SavedBinding;

/// A future that a trait object can return.
pub type Reply<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The switch as the API sees it. Listing reads the ledger and never waits for an actor.
pub trait Control: Send + Sync + 'static {
    /// Live calls.
    fn calls(&self) -> Vec<CallView>;
    /// Current bindings of desk phones and gateways.
    fn registrations(&self) -> Vec<SavedBinding>;
    /// Removes a subscriber's bindings: that of one contact, or all. How many there were; `None` when the registrar did not say
    /// in time.
    fn unregister(&self, subscriber: SubscriberId, contact: Option<SipUri>) -> Reply<Option<usize>>;
    /// Trunks and their state.
    fn trunks(&self) -> Vec<TrunkView>;
    /// Live rooms.
    fn rooms(&self) -> Vec<RoomView>;
    /// App users online.
    fn clients(&self) -> Vec<ClientView>;
    /// Starts a phone call into a room; resolves once the number is judged valid and the call exists, before it rings.
    fn start_phone_call(&self, order: PhoneCall) -> Reply<Result<CallId, StartError>>;
    /// Hangs up a call, whatever its state; both sides are cleaned up.
    fn hang_up(&self, call: CallId) -> Reply<Result<(), NoSuchCall>>;
    /// Puts somebody else in one party's place in a call whose parties talk. Resolves once it is judged possible, before anybody
    /// rings; if the target fails, the party comes back.
    fn transfer(&self, call: CallId, order: TransferOrder) -> Reply<Result<(), TransferError>>;
    /// The ordered history of a call that [`Control::start_phone_call`] began; kept 10 minutes after its end.
    fn phone_call_state(&self, call: CallId) -> Option<PhoneCallHistory>;
    /// Whether new calls are taken: `Err` says why not (draining, a subsystem down).
    fn ready(&self) -> Result<(), String>;
    /// Stops taking calls (SIGTERM, or the API); live calls go on.
    fn drain(&self);
}

/// A live call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    /// Its id.
    pub call: CallId,
    /// As in the CDR.
    pub kind: String,
    /// Caller as shown.
    pub from: String,
    /// What was called.
    pub to: String,
    /// `routing`, `flow`, `ringing`, `talking`, `room`, `ending`.
    pub phase: String,
    /// When it began.
    pub started_at: SystemTime,
    /// When both sides talked.
    pub answered_at: Option<SystemTime>,
    /// Its legs.
    pub legs: Vec<LegView>,
}

/// A leg of a live call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegView {
    /// `sip` or `rtc`.
    pub kind: String,
    /// Number, user id or URI.
    pub party: String,
    /// The leg's phase, in words.
    pub phase: String,
    /// Times its actor was restarted.
    pub restarts: u32,
    /// Its media figures now.
    pub media: Option<MediaSnapshot>,
}

/// A trunk's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrunkView {
    /// Its name.
    pub trunk: TrunkId,
    /// `static`, `registering`, `registered`, `failed`, `unregistered`.
    pub registration: String,
    /// Last final status when it failed.
    pub last_status: Option<u16>,
    /// Whether it answers OPTIONS; `None` while not asked.
    pub alive: Option<bool>,
    /// Seconds until the registration runs out.
    pub expires_in_s: Option<u64>,
    /// Calls up now.
    pub calls: u32,
    /// Its addresses, and how each stands.
    pub targets: Vec<TrunkTarget>,
    /// Its lines, where it is a SIM gateway.
    pub lines: Vec<LineView>,
}

/// A line of a SIM gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineView {
    /// Its name.
    pub line: LineId,
    /// Its own number.
    pub number: String,
    /// `free`, `busy`, `resting`, `unreachable`.
    pub state: String,
    /// Whose it is while it is busy.
    pub call: Option<CallId>,
    /// Calls out that failed in a row.
    pub failures: u32,
    /// Calls out so far.
    pub attempts: u64,
    /// Of those, answered.
    pub answered: u64,
    /// Seconds until it takes a call out again.
    pub rests_for_s: Option<u64>,
}

/// A live room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomView {
    /// Its name.
    pub room: RoomId,
    /// Who is in it, in order of joining.
    pub participants: Vec<Participant>,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    /// By which call.
    pub call: CallId,
    /// Number or user id.
    pub party: String,
}

/// An app user online.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientView {
    /// Who.
    pub user: UserId,
    /// ONLINE 0, UNREACHABLE 1.
    pub presence: u8,
    /// What it says it is.
    pub device: String,
}

/// An order to call a phone into a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhoneCall {
    /// Number, E.164 or a subscriber of ours.
    pub phone_number: String,
    /// The room it joins.
    pub room: RoomId,
    /// Longest life; `None`: the default (1800 s).
    pub ttl: Option<Duration>,
    /// Caller id shown; empty: the trunk's policy.
    #[serde(default)]
    pub caller: String,
}

/// Why a phone call was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Not a number, or outside the allow list (422).
    #[error("{0}")]
    Number(String),
    /// The mode is off or no trunk leads there (409).
    #[error("{0}")]
    NoRoute(String),
    /// Full or draining (503).
    #[error("{0}")]
    Unavailable(String),
}

/// Who is to be replaced, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferOrder {
    /// Whose place is taken.
    pub replace: Replace,
    /// By whom.
    pub by: ReplacedBy,
}

/// A party of a call: after a transfer, the one who stayed counts as its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

/// Who takes a party's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplacedBy {
    /// A user id, service id or number, rung for it.
    Target(String),
    /// The party of another call that is not to be replaced there; that call ends.
    Call(CallId, Replace),
}

/// Why a call was not transferred.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There is no such live call (404).
    #[error("no such call")]
    NoSuchCall,
    /// Nobody of that name, or not allowed (422).
    #[error("{0}")]
    Target(String),
    /// Its parties do not talk, or the two calls cannot be joined (409).
    #[error("{0}")]
    Impossible(String),
}

/// There is no such live call (404).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such call")]
pub struct NoSuchCall;

/// History of a phone call begun by the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhoneCallHistory {
    /// In order of time.
    pub states: Vec<PhoneCallState>,
    /// Whether it is over.
    pub done: bool,
    /// Why it is over.
    pub cause: Option<Cause>,
}

/// One state of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhoneCallState {
    /// When.
    pub at: SystemTime,
    /// 1 CALLING, 2 INCOMING, 3 EARLY, 4 CONNECTING, 5 CONFIRMED, 6 DISCONNECTED.
    pub state: u8,
    /// The word.
    pub text: String,
    /// SIP status, 0 while there is none.
    pub status: u16,
    /// Plain words.
    pub reason: String,
}

impl PhoneCallState {
    /// The word for a state number of the connector API.
    pub fn word(state: u8) -> &'static str {
        match state {
            1 => "CALLING",
            2 => "INCOMING",
            3 => "EARLY",
            4 => "CONNECTING",
            5 => "CONFIRMED",
            _ => "DISCONNECTED",
        }
    }
}
