//! What a call is made of, what happens to it, and what it asks for.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::transfer::{Give, Given, Transfer};
use crate::call::{ClientAction, InvitationReport};
use crate::client::protocol::Event;
use crate::control::PhoneCallState;
use crate::flow::FlowReport;
use crate::invitation::CallOutcome;
use crate::leg::{LegCheckpoint, LegOrder, LegReport};
use crate::model::address::{AppHeaders, CallerId, Carried, MaxForwards, Target};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, ClientId, InvitationId, LegId, MediaId, RoomId, ServiceId, TrunkId, UserId};
use crate::model::media::{Codec, Digit};
use crate::model::settings::AcceptOn;
use crate::ports::media::Attachment;
use crate::ports::rtc::Sdp;
use crate::ports::sip::Referral;
use crate::ports::store::CdrLeg;
use crate::room::{RoomMember, RoomReport};

/// What kind of call, as in the CDR and as the metrics' `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// To a service.
    Ivr,
    /// A phone to an app user.
    SipToRtc,
    /// An app user to a phone.
    RtcToSip,
    /// A phone to a phone.
    SipToSip,
    /// An app user to an app user.
    RtcToRtc,
    /// Into a room.
    Room,
    /// The API's phone call into a room.
    Connector,
}

impl CallKind {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            CallKind::Ivr => "ivr",
            CallKind::SipToRtc => "sip_to_rtc",
            CallKind::RtcToSip => "rtc_to_sip",
            CallKind::SipToSip => "sip_to_sip",
            CallKind::RtcToRtc => "rtc_to_rtc",
            CallKind::Room => "room",
            CallKind::Connector => "connector",
        }
    }
}

/// What survives a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallCheckpoint {
    /// Which.
    pub call: CallId,
    /// What kind.
    pub kind: CallKind,
    /// The caller, as the callee is shown.
    pub from: CallerId,
    /// What was called.
    pub to: String,
    /// Application headers of the caller's side.
    pub headers: AppHeaders,
    /// Application headers of the callee's answer.
    pub answer_headers: AppHeaders,
    /// Of the INVITEs it sends.
    pub max_forwards: MaxForwards,
    /// What else the INVITEs it sends carry.
    pub carried: Carried,
    /// Where it goes, or why it is refused.
    pub goal: Result<Target, Cause>,
    /// When it began.
    pub started_at: SystemTime,
    /// When both sides talked (or the flow or room took the caller).
    pub answered_at: Option<SystemTime>,
    /// It may not live longer.
    pub expires_at: SystemTime,
    /// The caller.
    pub a: Option<Party>,
    /// The callee.
    pub b: Option<Party>,
    /// Parties that were let go and whose legs have not ended yet.
    pub leaving: Vec<Party>,
    /// A transfer under way.
    pub transfer: Option<Transfer>,
    /// When those in `leaving` who were transferred away are hung up, if they have not done so by then.
    pub linger: Option<SystemTime>,
    /// The party that goes on in another call.
    pub given: Option<Given>,
    /// The invitation an app user is rung by, until it is accepted or over.
    pub invitation: Option<(InvitationId, UserId)>,
    /// The invitation it was begun by.
    pub invited: Option<Invited>,
    /// The callee goes into this room once it answers: an API call, or an invitation with `Conference`.
    pub into_room: Option<RoomId>,
    /// Where it stands.
    pub phase: Phase,
    /// Numbers the fences.
    pub fence: u64,
    /// The flow's last dial that failed: what a resumed flow is told when it asks for it again.
    pub failed_dial: Option<u64>,
    /// Legs that have ended, for the CDR.
    pub past: Vec<CdrLeg>,
    /// Trunk lines it holds.
    pub lines: Vec<TrunkId>,
    /// Begun by the API: keeps a history.
    pub connector: bool,
    /// The last state of that history.
    pub history: u8,
    /// Why it ended.
    pub cause: Option<Cause>,
    /// The CDR has been handed over, or is about to be.
    pub cdr_written: bool,
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been done.
    Begin,
    /// The caller's own media comes up, for a flow or a room.
    Opening {
        /// The fence before the answer, once asked for.
        ask: Option<Ask>,
    },
    /// The flow runs.
    Flow,
    /// Somebody is rung.
    Ringing(Ringing),
    /// Both sides are up; their media is being joined.
    Joining {
        /// The fence.
        ask: Ask,
        /// The flow still runs.
        flow: bool,
    },
    /// Both sides talk.
    Talking,
    /// One party is in a room.
    Room {
        /// Which.
        room: RoomId,
        /// Which party.
        side: Side,
        /// Who is in it, once the room has said so.
        joined: Option<Vec<String>>,
        /// When to knock again.
        again: SystemTime,
    },
    /// Everybody is being told.
    Ending(Cause),
    /// Nothing is left.
    Over,
}

/// A fence that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// What comes back.
    pub token: u64,
    /// How often it was asked for.
    pub asked: u32,
    /// When to ask again.
    pub again: SystemTime,
}

/// Somebody is rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ringing {
    /// Whom.
    pub target: Target,
    /// For how long, where the flow says so.
    pub timeout: Option<Duration>,
    /// Until when; `None`: the invitation's own limit.
    pub until: Option<SystemTime>,
    /// The flow's dial, where the flow rings.
    pub flow: Option<u64>,
    /// What the caller has been told: 180 or 183.
    pub told: Option<u16>,
    /// The callee's early media, which the caller hears or is about to.
    pub early: Option<Codec>,
    /// The caller's leg has been asked to agree on its media.
    pub preparing: bool,
    /// Application headers of the callee's progress, which the caller's has too.
    pub headers: AppHeaders,
    /// The callee has been heard of: it is no longer for another trunk to reach it.
    pub rang: bool,
}

impl Ringing {
    /// The trunk to try next, where the present one could not take the call (RFC 3261 §21.5: the server's failure, not the
    /// callee's) and nobody has been rung by it. 501, 505 and 513 are about the request: another carrier says the same.
    pub(super) fn next_trunk(&self, cause: &Cause) -> Option<Target> {
        if self.rang || !matches!(cause.status, 408 | 500 | 502 | 503 | 504) {
            return None;
        }
        match &self.target {
            Target::Trunk { then, .. } => {
                let ((trunk, number), then) = then.split_first()?;
                Some(Target::Trunk { trunk: trunk.clone(), number: number.clone(), then: then.to_vec() })
            }
            Target::User(_)
            | Target::Subscriber(_)
            | Target::Instance { .. }
            | Target::Uri(_)
            | Target::Service(_)
            | Target::Room(_) => None,
        }
    }
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who called.
    A,
    /// Who is called.
    B,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

/// A party.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Party {
    /// Its leg.
    pub leg: LegId,
    /// Its media session.
    pub media: MediaId,
    /// How it is reached.
    pub by: By,
    /// Number, user id or URI.
    pub name: String,
    /// Its media is agreed on.
    pub ready: bool,
    /// The codec we send it.
    pub codec: Option<Codec>,
    /// A phone that called has been answered.
    pub answered: bool,
    /// When it was up, after the call began.
    pub connected_after: Option<Duration>,
    /// It holds us.
    pub held: bool,
    /// How often its leg was restarted.
    pub restarts: u32,
}

/// How a party is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A phone that called us.
    SipIn,
    /// A phone that we call.
    SipOut,
    /// An app user's browser.
    Rtc {
        /// By which connection.
        client: ClientId,
        /// Who.
        user: UserId,
    },
}

impl Party {
    /// A party whose leg is about to be spawned.
    pub fn new(by: By, name: String) -> Self {
        Self {
            leg: LegId::random(),
            media: MediaId::random(),
            by,
            name,
            ready: false,
            codec: None,
            answered: false,
            connected_after: None,
            held: false,
            restarts: 0,
        }
    }

    /// Signalling and media are up.
    pub fn connected(&self) -> bool {
        self.connected_after.is_some()
    }

    /// The connection of an app user.
    pub fn client(&self) -> Option<ClientId> {
        match &self.by {
            By::Rtc { client, .. } => Some(*client),
            By::SipIn | By::SipOut => None,
        }
    }

    /// `sip` or `rtc`.
    pub fn kind(&self) -> &'static str {
        match self.by {
            By::SipIn | By::SipOut => "sip",
            By::Rtc { .. } => "rtc",
        }
    }

    /// Whether it is a phone that still waits for our final response.
    pub fn unanswered(&self) -> bool {
        self.by == By::SipIn && !self.answered
    }
}

/// The invitation by which an app user began the call: to a number, or to a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invited {
    /// Which.
    pub invitation: InvitationId,
    /// Who invites.
    pub user: UserId,
    /// By which connection.
    pub client: ClientId,
    /// When to accept it.
    pub accept_on: AcceptOn,
    /// What to accept it with.
    pub response: String,
    /// What to refuse it with, where there is a word for it.
    pub refusal: Option<String>,
    /// The room that its content names, and which the call bridges.
    pub chan: String,
    /// It has been accepted.
    pub accepted: bool,
}

/// What happens to a call.
#[derive(Debug)]
pub enum CallInput {
    /// Its first incarnation begins.
    Begin,
    /// A later one begins; legs and flow are back.
    Resume,
    /// What [`CallEffect::Dial`] led to.
    Dialled(Box<Dialled>),
    /// Nobody can be dialled there.
    DialFailed(Cause),
    /// A leg reports.
    Leg {
        /// Which.
        leg: LegId,
        /// What.
        report: LegReport,
    },
    /// An invitation reports.
    Invitation {
        /// Which.
        invitation: InvitationId,
        /// What.
        report: InvitationReport,
    },
    /// An app user asks.
    Client {
        /// By which connection.
        client: ClientId,
        /// What.
        action: ClientAction,
    },
    /// The flow reports.
    Flow(FlowReport),
    /// The room reports.
    Room(RoomReport),
    /// Where a transfer leads in which this leg's place is taken, or why it is refused.
    Transfer {
        /// Who makes place.
        leg: LegId,
        /// The REFER that asked for it.
        refer: Option<u64>,
        /// As routed.
        to: Result<Target, Cause>,
        /// What the INVITE carries.
        carried: Carried,
    },
    /// This leg's place is to be taken by the party that talks with `replaced` in another call.
    Ask {
        /// Who makes place.
        leg: LegId,
        /// The REFER that asked for it.
        refer: Option<u64>,
        /// The other call.
        other: CallId,
        /// Who makes place there.
        replaced: LegId,
    },
    /// Another call asks for a party.
    Give(Give),
    /// Another call gives one.
    Take(Box<Given>),
    /// Another call does not.
    NotGiven(Option<u64>, Cause),
    /// Somebody calls to take this leg's place.
    ReplacedBy {
        /// Whose.
        leg: LegId,
        /// Who.
        party: Box<Party>,
        /// The newcomer's leg.
        row: Box<LegCheckpoint>,
    },
    /// End it.
    HangUp(Cause),
    /// Time passed.
    Tick,
}

/// Whom a dial found.
#[derive(Debug)]
pub enum Dialled {
    /// A phone: a leg to be spawned.
    Leg {
        /// The party.
        party: Box<Party>,
        /// Its leg.
        leg: Box<LegCheckpoint>,
        /// How long it may ring.
        ring: Duration,
        /// The line it takes.
        line: Option<TrunkId>,
    },
    /// An app user: an invitation to be sent.
    Invite {
        /// Drawn for it.
        invitation: InvitationId,
        /// Whom.
        user: UserId,
        /// The user is offline; the caller hears ringback meanwhile.
        offline: bool,
        /// A limit shorter than the invitation's.
        ring: Option<Duration>,
    },
}

/// What a step asks for, in order. The actor has committed before it executes any.
#[derive(Debug, Clone, PartialEq)]
pub enum CallEffect {
    /// Spawn a leg from this row.
    Spawn(Box<LegCheckpoint>),
    /// Make the caller's RTC leg, which waits for an offer.
    SpawnWaiting,
    /// Make the callee's RTC leg.
    SpawnCallee {
        /// Which party it is.
        leg: LegId,
        /// The browser's offer, if it came along.
        sdp: Option<Sdp>,
    },
    /// Order a leg.
    Order(LegId, LegOrder),
    /// The call has heard a leg's end: its row may go.
    ForgetLeg(LegId),
    /// Find out how a target is reached; comes back as [`CallInput::Dialled`] or [`CallInput::DialFailed`].
    Dial {
        /// Whom.
        target: Target,
        /// How long to ring, where the flow says so.
        timeout: Option<Duration>,
    },
    /// Send an invitation.
    Invite {
        /// Which.
        invitation: InvitationId,
        /// Whom.
        user: UserId,
    },
    /// Take an invitation of ours back.
    CancelInvitation {
        /// Which.
        invitation: InvitationId,
        /// For the callee.
        reason: String,
    },
    /// Say again where an invitation of ours stands.
    AskInvitation(InvitationId),
    /// Tell an invitation to a number what became of it.
    Outcome(InvitationId, CallOutcome),
    /// Run a service's flow.
    StartFlow(ServiceId),
    /// A trunk did not take the call: its line is free.
    GiveLineBack(TrunkId),
    /// Tell the flow.
    TellFlow(ToFlow),
    /// The flow is over.
    StopFlow,
    /// Join a session to something.
    Attach(MediaId, Attachment),
    /// Come back when that has taken effect.
    Fence(MediaId, u64),
    /// Play a tone until stopped.
    Tone(MediaId, &'static str),
    /// Stop whatever plays.
    StopPlay(MediaId),
    /// Send digits.
    Digits(MediaId, Vec<Digit>),
    /// Tell an app user.
    Emit(ClientId, Box<Event>),
    /// Be in a room.
    JoinRoom(RoomId, RoomMember),
    /// Be out of it.
    LeaveRoom(RoomId),
    /// Add to the history of an API call.
    History(PhoneCallState, Option<Cause>),
    /// Find out where a transfer leads; comes back as [`CallInput::Transfer`], [`CallInput::Ask`] or [`CallInput::Give`].
    Refer {
        /// Who asks.
        leg: LegId,
        /// For what.
        referral: Box<Referral>,
    },
    /// Tell the sender of a REFER how it goes.
    TellReferrer(u64, u16),
    /// Ask another call for its party.
    AskCall(CallId, Give),
    /// Hand a party over to another call.
    HandOver(Box<Given>),
    /// Tell the other call that it gets none.
    NotGiven {
        /// Which.
        to: CallId,
        /// The REFER that asked for it.
        refer: Option<u64>,
        /// Why.
        cause: Cause,
    },
    /// Take up a leg that another call has let go.
    Adopt(LegId),
    /// It was answered: for the metrics.
    Answered,
    /// Write the CDR, give everything back, stop.
    Finish,
}

/// What a flow is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToFlow {
    /// A clip ended.
    Played(u64),
    /// The caller pressed a digit.
    Digit(Digit),
    /// Its dial failed.
    DialFailed(u64),
}
