//! What a SIP leg is made of, what happens to it, and what it asks for.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::protection::Protection;
use crate::leg::{LegOrder, LegReport};
use crate::model::address::{AppHeaders, CallerId, Carried, MaxForwards};
use crate::model::cause::Cause;
use crate::model::ids::DialogId;
use crate::model::media::{Codec, Direction};
use crate::model::negotiate::{AudioOffer, Negotiated};
use crate::ports::rtc::RtcEventKind;
use crate::ports::sip::{Destination, DialogEvent, DialogSnapshot, IncomingInvite, SipCommand};

/// A SIP leg, as checkpointed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SipState {
    /// Its dialog.
    pub dialog: DialogId,
    /// Who called whom.
    pub role: Role,
    /// Codecs allowed, in order.
    pub codecs: Vec<Codec>,
    /// What protects its media.
    pub protection: Protection,
    /// Where we receive RTP, as advertised (to the first destination, until one has answered); `None` until the media session
    /// is open.
    pub rtp: Option<SocketAddr>,
    /// Where it stands.
    pub phase: SipPhase,
    /// What we described last, offer or answer.
    pub local: Option<Box<AudioOffer>>,
    /// What is agreed on.
    pub agreed: Option<Box<Negotiated>>,
    /// The last progress of a callee: status and whether with media.
    pub progress: Option<(u16, bool)>,
    /// Application headers of a callee's answer.
    pub headers: AppHeaders,
    /// The far side's hold, as far as the party is told of it.
    pub hold: Hold,
    /// The number of our last order.
    pub orders: u64,
    /// The orders of the last step with their numbers, given again on resume.
    pub last: Vec<(u64, SipCommand)>,
}

/// A hold of the far side's: the party is told by a re-INVITE, so that it shows it and stops sending.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Hold {
    /// The far side holds the party.
    pub wanted: bool,
    /// What the party was told.
    pub told: bool,
    /// What it is being told: our offer, not answered yet.
    pub proposed: Option<Box<AudioOffer>>,
}

impl Hold {
    /// What we are ready to do.
    pub fn direction(&self) -> Direction {
        // Not inactive: the party hears the holder's music, or our tone.
        if self.wanted { Direction::SendOnly } else { Direction::SendRecv }
    }
}

/// Who called whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The party called us.
    Uas(Box<IncomingInvite>),
    /// We call the party.
    Uac {
        /// Where it is.
        to: Vec<Destination>,
        /// Who calls, as shown.
        caller: CallerId,
        /// Application headers.
        headers: AppHeaders,
        /// How far the INVITE may go.
        max_forwards: MaxForwards,
        /// What else it carries.
        carried: Box<Carried>,
    },
}

/// Where the leg stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SipPhase {
    /// UAS: no final response yet.
    Offered,
    /// UAS: 200 sent, the ACK is awaited.
    Answering,
    /// UAC: no final response yet.
    Calling,
    /// Answered and acknowledged.
    Confirmed,
    /// We ended it; the core says when the wire is done.
    Ending(Cause),
    /// Over.
    Ended,
}

impl SipPhase {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            SipPhase::Offered => "offered",
            SipPhase::Answering => "answering",
            SipPhase::Calling => "calling",
            SipPhase::Confirmed => "confirmed",
            SipPhase::Ending(_) => "ending",
            SipPhase::Ended => "ended",
        }
    }
}

/// What happens to a SIP leg.
#[derive(Debug)]
pub enum SipInput {
    /// Its first incarnation begins; the media session is open.
    Start,
    /// A later one begins; this is what the core knows.
    Resume(Option<Box<DialogSnapshot>>),
    /// Its first incarnation begins without a media session: why not.
    NoMedia(Cause),
    /// The call decides.
    Order(LegOrder),
    /// The core tells.
    Dialog(DialogEvent),
    /// The RTC adapter tells.
    Peer(RtcEventKind),
    /// The core did not say in time that the wire is done.
    Overdue,
}

/// What a step leads to, in order.
#[derive(Debug, PartialEq)]
pub enum SipEffect {
    /// Configure the media session. `watched`: report its silence.
    Configure {
        /// What was agreed.
        negotiated: Box<Negotiated>,
        /// The party is expected to send.
        watched: bool,
    },
    /// Close the media session.
    CloseMedia,
    /// An order to the dialog (numbered in [`SipState::last`]).
    Command,
    /// Tell the call.
    Report(LegReport),
    /// Report the end and stop.
    End(Cause),
}
