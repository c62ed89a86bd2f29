//! The client protocol, version 1: JSON text frames over a WebSocket at `/ws`. This file is its definition; the JavaScript
//! SDK and the document for those who write apps (`/sdk/protocol.md`) follow it.
//!
//! ```text
//! client -> switch   {"v":1,"id":"7","type":"call","to":"9000","sdp":"v=0…"}
//! switch -> client   {"v":1,"re":"7","type":"ok","call":"call-9c1e…"}           one reply a request, in order
//! switch -> client   {"v":1,"seq":12,"type":"call.answered","call":"call-9c1e…","sdp":"v=0…"}   events, numbered
//! ```
//! The first frame must be `login` (within 10 s). Unknown fields are ignored; an unknown `type`, or a field that is missing
//! or of the wrong kind, gets an `error` reply and nothing else happens. After a lost socket a new one may `login` with
//! `resume` within the resume window: events after `seq` are sent again, calls have gone on meanwhile.

use serde::{Deserialize, Serialize};

use crate::model::address::AppHeaders;
use crate::model::cause::Cause;
use crate::model::ids::{CallId, ClientId, InvitationId, RoomId, UserId};
use crate::model::media::Digit;
use crate::ports::rtc::Sdp;

/// The version spoken.
pub const VERSION: u32 = 1;
/// Longest `content` and `response` of an invitation, bytes of UTF-8.
pub const MAX_CONTENT: usize = 8192;
/// Longest `channel`, bytes of UTF-8.
pub const MAX_CHANNEL: usize = 64;

/// What a client asks, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Request {
    /// First frame: who I am. Reply: [`Reply::Welcome`].
    #[serde(rename = "login")]
    Login {
        /// A token of `POST /api/v1/tokens`, or `tandem token`.
        token: String,
        /// Free text for the operator, as "web phone".
        #[serde(default)]
        device: String,
        /// Take up an earlier connection.
        #[serde(default)]
        resume: Option<Resume>,
    },
    /// Says good-bye: presence goes OFFLINE at once, calls end.
    #[serde(rename = "logout")]
    Logout {},
    /// Keeps presence ONLINE; any frame does. Reply: ok.
    #[serde(rename = "ping")]
    Ping {},
    /// Presence of users, now. Reply: [`Reply::Presence`].
    #[serde(rename = "presence.query")]
    PresenceQuery {
        /// At most 512.
        users: Vec<UserId>,
    },
    /// Tell me of changes (`presence.changed`), and the state now. Reply: [`Reply::Presence`].
    #[serde(rename = "presence.subscribe")]
    PresenceSubscribe {
        /// At most 512 in all.
        users: Vec<UserId>,
    },
    /// No longer.
    #[serde(rename = "presence.unsubscribe")]
    PresenceUnsubscribe {
        /// Which.
        users: Vec<UserId>,
    },
    /// Send an invitation (`domain/invitations`): to a user, or to a number when RTC to SIP is on. Reply:
    /// [`Reply::Invitation`].
    #[serde(rename = "invite")]
    Invite {
        /// User id or number.
        callee: UserId,
        /// Opaque to the switch unless the callee is a number or service; at most 8192 bytes.
        #[serde(default)]
        content: String,
        /// Opaque; at most 64 bytes.
        #[serde(default)]
        channel: String,
    },
    /// Take an invitation back. Reply: ok or an `error` with the API code.
    #[serde(rename = "invite.cancel")]
    InviteCancel {
        /// Which.
        invitation: InvitationId,
        /// Free text for the callee.
        #[serde(default)]
        reason: String,
    },
    /// The callee's device has the invitation (the SDK sends it by itself).
    #[serde(rename = "invite.ack")]
    InviteAck {
        /// Which.
        invitation: InvitationId,
    },
    /// Accept an invitation. Where it belongs to a call, `sdp` is the browser's offer; the answer comes as `media.answer`.
    #[serde(rename = "invite.accept")]
    InviteAccept {
        /// Which.
        invitation: InvitationId,
        /// At most 8192 bytes.
        #[serde(default)]
        response: String,
        /// WebRTC offer.
        #[serde(default)]
        sdp: Option<Sdp>,
    },
    /// The ack of the ack: the caller's side has heard the acceptance (the SDK sends it by itself).
    #[serde(rename = "invite.accepted_ack")]
    InviteAcceptedAck {
        /// Which.
        invitation: InvitationId,
    },
    /// Refuse an invitation.
    #[serde(rename = "invite.refuse")]
    InviteRefuse {
        /// Which.
        invitation: InvitationId,
        /// `""` declined, `busy`, … at most 8192 bytes.
        #[serde(default)]
        response: String,
    },
    /// Both machines' states of an invitation. Reply: [`Reply::InvitationState`].
    #[serde(rename = "invite.state")]
    InviteState {
        /// Which.
        invitation: InvitationId,
    },
    /// Call a user, a service, a number or a desk phone with media at once: `progress` may bring early media. Reply:
    /// [`Reply::Call`].
    #[serde(rename = "call")]
    Call {
        /// User id, service id or number.
        to: String,
        /// WebRTC offer.
        sdp: Sdp,
        /// Through the PSTN trunk, as `Pstn: true`.
        #[serde(default)]
        pstn: bool,
        /// Display name shown to the callee.
        #[serde(default)]
        display_name: String,
        /// X-Number, X-CusData, X-ArInfo, X-App to the SIP side.
        #[serde(default, with = "super::app_headers")]
        headers: AppHeaders,
        /// Rings this number directly, past the flow (SipNumber).
        #[serde(default)]
        sip_number: Option<String>,
    },
    /// A (new) WebRTC offer for a call: after an acceptance without one, an ICE restart, hold or resume. The answer comes as
    /// `media.answer`.
    #[serde(rename = "media.offer")]
    MediaOffer {
        /// Which call.
        call: CallId,
        /// The offer.
        sdp: Sdp,
    },
    /// Hang up my leg of a call (leave a room).
    #[serde(rename = "hangup")]
    Hangup {
        /// Which call.
        call: CallId,
    },
    /// Send digits to the far side, as RFC 4733.
    #[serde(rename = "dtmf")]
    Dtmf {
        /// Which call.
        call: CallId,
        /// The digits.
        digits: Vec<Digit>,
    },
    /// Join a room: a call of its own. Reply: [`Reply::Call`]; leaving is `hangup`.
    #[serde(rename = "room.join")]
    RoomJoin {
        /// Which room; made when nobody is in it.
        room: RoomId,
        /// WebRTC offer.
        sdp: Sdp,
    },
}

/// Which connection to take up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// As in `welcome`.
    pub client: ClientId,
    /// The last event seen.
    pub seq: u64,
}

/// A frame to the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// [`VERSION`].
    pub v: u32,
    /// The rest.
    #[serde(flatten)]
    pub body: Body,
}

/// A reply or an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Body {
    /// Answers the request with this id.
    Reply {
        /// The request's `id`.
        re: String,
        /// The reply.
        #[serde(flatten)]
        reply: Reply,
    },
    /// Numbered from 1 without a gap, resumed ones included.
    Event {
        /// Its number.
        seq: u64,
        /// The event.
        #[serde(flatten)]
        event: Event,
    },
}

/// Replies, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Reply {
    /// Done.
    #[serde(rename = "ok")]
    Done {},
    /// Logged in.
    #[serde(rename = "welcome")]
    Welcome {
        /// To resume with.
        client: ClientId,
        /// Who the token says you are.
        user: UserId,
        /// Whether the earlier connection was taken up.
        resumed: bool,
        /// Seconds a lost connection is kept.
        resume_window_s: u64,
    },
    /// Presence of the users asked for.
    #[serde(rename = "presence")]
    Presence {
        /// One a user.
        users: Vec<PresenceOf>,
    },
    /// The invitation was sent.
    #[serde(rename = "ok.invitation")]
    Invitation {
        /// Its id.
        invitation: InvitationId,
    },
    /// States of an invitation, as numbered in the invitation tables.
    #[serde(rename = "invitation.state")]
    InvitationState {
        /// Which.
        invitation: InvitationId,
        /// LocalInvitation state, 0-6.
        local: u8,
        /// RemoteInvitation state, 0-6.
        remote: u8,
    },
    /// The call was begun.
    #[serde(rename = "ok.call")]
    Call {
        /// Its id.
        call: CallId,
    },
    /// Refused; nothing happened.
    #[serde(rename = "error")]
    Error {
        /// What kind.
        code: ErrorCode,
        /// API code of the invitation tables, where it is one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        api: Option<u8>,
        /// Plain words.
        message: String,
    },
}

/// What kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not JSON, or not a request of this version.
    Malformed,
    /// A value is out of its limits.
    InvalidArgument,
    /// Not logged in, or the token is wrong or expired.
    Unauthorized,
    /// Not allowed (mode off, number not in the allow list).
    Forbidden,
    /// No such call, invitation, user or room.
    NotFound,
    /// Not in this state.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// The switch is full or draining.
    Unavailable,
    /// Something of ours failed.
    Internal,
}

impl ErrorCode {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::InvalidArgument,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::RateLimited,
        Self::Unavailable,
        Self::Internal,
    ];
}

/// One user's presence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresenceOf {
    /// Who.
    pub user: UserId,
    /// ONLINE 0, UNREACHABLE 1 (subscription only), OFFLINE 2.
    pub state: u8,
}

/// Events, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// Callee: an invitation came. Send `invite.ack` when the device has it.
    #[serde(rename = "invitation.received")]
    InvitationReceived {
        /// Which.
        invitation: InvitationId,
        /// Who calls: user id or number.
        caller: String,
        /// As sent, or made by the switch for a call from SIP.
        content: String,
        /// As sent.
        channel: String,
        /// The call it belongs to: accept with an `sdp`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        call: Option<CallId>,
    },
    /// Caller: the callee's device has it (ReceivedByPeer).
    #[serde(rename = "invitation.received_by_peer")]
    InvitationReceivedByPeer {
        /// Which.
        invitation: InvitationId,
    },
    /// Caller and callee: accepted.
    #[serde(rename = "invitation.accepted")]
    InvitationAccepted {
        /// Which.
        invitation: InvitationId,
        /// The callee's response.
        response: String,
        /// Caller's side, where the callee was a number: the call to send a `media.offer` for.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        call: Option<CallId>,
    },
    /// Caller and callee: refused.
    #[serde(rename = "invitation.refused")]
    InvitationRefused {
        /// Which.
        invitation: InvitationId,
        /// The callee's response.
        response: String,
    },
    /// Caller and callee: taken back.
    #[serde(rename = "invitation.canceled")]
    InvitationCanceled {
        /// Which.
        invitation: InvitationId,
        /// The caller's reason.
        reason: String,
    },
    /// Caller or callee: failed.
    #[serde(rename = "invitation.failed")]
    InvitationFailed {
        /// Which.
        invitation: InvitationId,
        /// Failure code of that side's table.
        code: u8,
    },
    /// Another device of yours took it.
    #[serde(rename = "invitation.answered_elsewhere")]
    InvitationAnsweredElsewhere {
        /// Which.
        invitation: InvitationId,
    },
    /// The answer to the WebRTC offer of a call: apply it, media comes.
    #[serde(rename = "media.answer")]
    MediaAnswer {
        /// Which call.
        call: CallId,
        /// The answer.
        sdp: Sdp,
    },
    /// A WebRTC offer for a call whose media is up cannot be answered: what was agreed before stands.
    #[serde(rename = "media.refused")]
    MediaRefused {
        /// Which call.
        call: CallId,
        /// Why.
        reason: String,
    },
    /// It rings (180) or there is early media (183).
    #[serde(rename = "call.progress")]
    CallProgress {
        /// Which call.
        call: CallId,
        /// 180 or 183.
        status: u16,
    },
    /// The far side answered.
    #[serde(rename = "call.answered")]
    CallAnswered {
        /// Which call.
        call: CallId,
        /// X-headers of the SIP side.
        #[serde(default, with = "super::app_headers")]
        headers: AppHeaders,
    },
    /// The far side holds us, or no longer.
    #[serde(rename = "call.held")]
    CallHeld {
        /// Which call.
        call: CallId,
        /// Whether we are held.
        held: bool,
    },
    /// The far side sent a digit.
    #[serde(rename = "call.dtmf")]
    CallDtmf {
        /// Which call.
        call: CallId,
        /// Which digit.
        digit: Digit,
    },
    /// The call is over for you.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// Which call.
        call: CallId,
        /// Why.
        cause: Cause,
    },
    /// Who is in the room now; sent on joining and at every change.
    #[serde(rename = "room.participants")]
    RoomParticipants {
        /// Which room.
        room: RoomId,
        /// Which call of yours.
        call: CallId,
        /// Numbers and user ids, in order of joining.
        participants: Vec<String>,
    },
    /// A subscribed user's presence changed.
    #[serde(rename = "presence.changed")]
    PresenceChanged(PresenceOf),
    /// You are logged out: `REMOTE_LOGIN`, `DRAINING`… the socket closes.
    #[serde(rename = "kicked")]
    Kicked {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_by_its_type() {
        let request: Request =
            serde_json::from_str(r#"{"type":"hangup","call":"call-9c1e","future":1}"#).expect("a request");
        assert_eq!(request, Request::Hangup { call: CallId(0x9c1e) });
        assert!(serde_json::from_str::<Request>(r#"{"type":"nonsense"}"#).is_err());
    }

    #[test]
    fn frames_are_flat() {
        let event = Event::CallEnded { call: CallId(1), cause: Cause::hangup() };
        let frame = Frame { v: VERSION, body: Body::Event { seq: 3, event } };
        let json = serde_json::to_value(&frame).expect("json");
        assert_eq!(json["v"], 1);
        assert_eq!(json["seq"], 3);
        assert_eq!(json["type"], "call.ended");
        assert_eq!(serde_json::from_value::<Frame>(json).expect("a frame"), frame);
        let reply = Frame { v: VERSION, body: Body::Reply { re: "7".into(), reply: Reply::Done {} } };
        assert_eq!(serde_json::to_string(&reply).expect("json"), r#"{"v":1,"re":"7","type":"ok"}"#);
    }
}
