//! Legs: one party's half of a call. A leg owns the decisions of its dialog or peer and the plan of its media session; it knows
//! nothing of the other leg, which is the call's affair.
//!
//! ```text
//!            LegOrder (Prepare, Progress, Answer, Offer, End)
//!   Call ------------------------------------------------------> SipLeg | RtcLeg --SipCommand | RtcCommand--> ports
//!        <------------------------------------------------------                 <-DialogEvent | RtcEventKind-
//!            LegReport (Ready, Progress, Connected, Held, …, Ended)              <-MediaEventKind-
//! ```
//! Reports are level-triggered: a resumed leg says again what is so, and the call takes a report it has heard before as
//! nothing new.

pub mod rtc;
mod shell;
pub mod sip;

pub use rtc::RtcLeg;
pub use sip::SipLeg;

use serde::{Deserialize, Serialize};

use crate::directory::Mail;
use crate::model::address::AppHeaders;
use crate::model::cause::Cause;
use crate::model::ids::{CallId, LegId, MediaId};
use crate::model::media::{Codec, Digit};
use crate::ports::media::{MediaEventKind, MediaSnapshot};
use crate::ports::rtc::{RtcEventKind, Sdp};
use crate::ports::sip::{DialogEvent, Referral};

/// What a leg of either kind hears.
#[derive(Debug)]
pub enum LegMsg {
    /// Take up the checkpoint: first message of every incarnation.
    Begin,
    /// The call decides.
    Order(LegOrder),
    /// Something happened in its dialog (SIP legs).
    Sip(DialogEvent),
    /// Something happened to its peer (RTC legs).
    Rtc(RtcEventKind),
    /// Something happened in its media session.
    Media(MediaEventKind),
    /// Something took too long.
    Overdue(Overdue),
    /// Something is posted: a digit, which no snapshot tells of.
    Posted,
    /// Nothing: makes an armed fault fire.
    Poke,
}

impl Mail for LegMsg {
    fn posted() -> Self {
        Self::Posted
    }
    fn is_posted(&self) -> bool {
        matches!(self, Self::Posted)
    }
}

/// What may take too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The SIP core did not say that the wire is done.
    Wire,
    /// A browser's offer, or its connection.
    Browser(rtc::phase::Wait),
}

/// What a call orders.
#[derive(Debug, Clone, PartialEq)]
pub enum LegOrder {
    /// Agree on the media and make it ready, without telling the peer yet. `first`: codecs to prefer. Comes back as
    /// [`LegReport::Ready`]. RTC legs are prepared by their offer.
    Prepare {
        /// Codecs to put first.
        first: Vec<Codec>,
    },
    /// Tell the caller that it rings, or (`early`) hand it the answer as early media. SIP callers only.
    Progress {
        /// 180 or 183.
        status: u16,
        /// With our answer.
        early: bool,
        /// Application headers of the far side.
        headers: AppHeaders,
    },
    /// Answer the caller. SIP callers only: a browser's media is answered by its offer.
    Answer {
        /// Application headers of the far side.
        headers: AppHeaders,
    },
    /// A browser's (new) offer. RTC legs only.
    Offer(Sdp),
    /// The far side holds the party, or no longer. SIP legs only: a browser's user is told by an event.
    Hold(bool),
    /// End it, whatever its state.
    End(Cause),
}

/// What a leg reports.
#[derive(Debug, Clone, PartialEq)]
pub enum LegReport {
    /// Its media is agreed on and configured; this is the codec we send.
    Ready(Codec),
    /// The callee's side rings, or has early media.
    Progress {
        /// 180, 183…
        status: u16,
        /// The codec we send, where there is early media.
        early: Option<Codec>,
        /// Application headers that came with it.
        headers: AppHeaders,
    },
    /// Signalling and media are up: a callee answered, or our answer was acknowledged; a browser's DTLS is done.
    Connected {
        /// The codec we send.
        codec: Codec,
        /// Application headers that came with the answer.
        headers: AppHeaders,
    },
    /// The party holds us (`held`), or no longer. `mute`: it does not send either.
    Held {
        /// We must not send.
        held: bool,
        /// Nothing will come.
        mute: bool,
    },
    /// The party pressed a digit.
    Digit {
        /// Which.
        digit: Digit,
        /// It came by INFO: the media plane has not passed it on.
        by_info: bool,
    },
    /// The party asks to be replaced: a transfer.
    Referred(Box<Referral>),
    /// Its media session says something that concerns the call: clips and fences.
    Media(MediaEventKind),
    /// No RTP for as long as the settings allow, or (held) for two seconds.
    Silent,
    /// It is over; the last report.
    Ended(LegEnd),
}

/// How a leg ended.
#[derive(Debug, Clone, PartialEq)]
pub struct LegEnd {
    /// Why.
    pub cause: Cause,
    /// SIP Call-ID or dialog, or the peer id.
    pub signalling_id: String,
    /// The party's Session-ID.
    pub session_id: Option<String>,
    /// What its media session had done.
    pub figures: Option<MediaSnapshot>,
}

/// What survives a leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegCheckpoint {
    /// Its call, which hears its reports.
    pub call: CallId,
    /// Which leg.
    pub leg: LegId,
    /// Its media session.
    pub media: MediaId,
    /// A session of the call to be near to.
    pub near: Option<MediaId>,
    /// Its signalling.
    pub side: LegSide,
    /// The media figures, kept when the session was closed.
    pub figures: Option<MediaSnapshot>,
    /// Why it ended; the row stays until the call has heard it.
    pub end: Option<Cause>,
}

impl LegCheckpoint {
    /// A leg to be.
    pub fn new(call: CallId, leg: LegId, media: MediaId, near: Option<MediaId>, side: LegSide) -> Self {
        Self { call, leg, media, near, side, figures: None, end: None }
    }
}

/// A leg's signalling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegSide {
    /// A SIP dialog.
    Sip(Box<sip::phase::SipState>),
    /// An app user's WebRTC peer.
    Rtc(Box<rtc::phase::RtcState>),
}

impl LegSide {
    /// What the CDR calls its signalling.
    pub fn signalling_id(&self) -> String {
        match self {
            LegSide::Sip(sip) => sip.signalling_id(),
            LegSide::Rtc(rtc) => rtc.peer.to_string(),
        }
    }
    /// What the CDR calls its session (RFC 7989).
    pub fn session_id(&self) -> Option<String> {
        match self {
            LegSide::Sip(sip) => sip.session_id(),
            LegSide::Rtc(_) => None,
        }
    }
    /// Its phase in a word.
    pub fn phase(&self) -> &'static str {
        match self {
            LegSide::Sip(sip) => sip.phase.word(),
            LegSide::Rtc(rtc) => rtc.phase.word(),
        }
    }
}
