//! The WebRTC port: ICE-lite and DTLS on the `rtc-ctl` thread, keys handed to the media thread behind the brain's back.

use serde::{Deserialize, Serialize};

use super::Fenced;
use crate::model::ids::{Epoch, LegId, MediaId, PeerId};
use crate::model::media::{Codec, Direction};
use crate::model::negotiate::{Dtls, Negotiated};

/// SDP as text, between a client and the RTC adapter; the brain carries it unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sdp(pub String);

/// What the brain asks of the RTC adapter. Every method returns at once.
pub trait RtcPort: Send + Sync + 'static {
    /// Orders one peer. Accepting the same offer again answers the same; [`RtcCommand::Close`] of an unknown peer is nothing.
    ///
    /// # Errors
    /// [`Fenced`] when a later epoch has spoken for this peer.
    fn order(&self, peer: PeerId, epoch: Epoch, command: RtcCommand) -> Result<(), Fenced>;
    /// What is known of a peer; `None` once closed.
    fn snapshot(&self, peer: PeerId) -> Option<PeerSnapshot>;
    /// SHA-256 of the certificate that every peer sees, `AA:BB:…`; the same for the life of the process.
    fn fingerprint(&self) -> String;
    /// Makes sure that the `rtc-ctl` thread runs: `true` when it was dead and a new one was started (connected peers keep
    /// SRTP, unfinished handshakes fail). Asked several times a second by the thread's actor twin.
    ///
    /// # Errors
    /// Plain words when the system gives no thread.
    fn keep_running(&self) -> Result<bool, String> {
        Ok(false)
    }
}

/// An order to one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RtcCommand {
    /// Answer a browser's offer: the first one creates the peer, a later one re-negotiates it (ICE restart, hold). The media
    /// session must be open. Outcome: [`RtcEvent::Accepted`] or [`RtcEvent::Refused`].
    Accept {
        /// Who hears events.
        leg: LegId,
        /// The media session that carries its RTP.
        media: MediaId,
        /// The shared port's address, as advertised in the candidate; bound address where they differ is the engine's affair.
        candidate: std::net::SocketAddr,
        /// The browser's offer.
        offer: Sdp,
        /// Codecs allowed, in order.
        codecs: Vec<Codec>,
        /// What we are willing to do.
        direction: Direction,
    },
    /// Connect with a peer whose descriptions went another way (a SIP dialog): the first one creates it, a later one is an ICE
    /// restart, a new DTLS association, or nothing new. The media session must be open. No outcome but the connection's.
    Connect {
        /// Who hears events.
        leg: LegId,
        /// The media session that carries its RTP.
        media: MediaId,
        /// Both sides, as agreed.
        dtls: Box<Dtls>,
    },
    /// Forget the peer: DTLS close_notify, ICE no longer answered.
    Close,
}

/// What the RTC adapter tells, always to the peer's leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtcEvent {
    /// Who hears it.
    pub leg: LegId,
    /// Which peer.
    pub peer: PeerId,
    /// What happened.
    pub kind: RtcEventKind,
}

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEventKind {
    /// The answer to the browser, and what was agreed.
    Accepted {
        /// To send to the client.
        answer: Sdp,
        /// To configure the media session with.
        negotiated: Box<Negotiated>,
    },
    /// The offer cannot be answered, or no DTLS association be made; plain words why. The peer, if it existed, is as before.
    Refused(String),
    /// ICE nominated, DTLS done, keys are with the media thread.
    Connected,
    /// No consent (RFC 7675) for 5 s; media may stop any moment.
    Disconnected,
    /// Consent is back.
    Reconnected,
    /// DTLS failed, or consent was lost for 30 s, or the handshake did not finish within 15 s: plain words why. The last event.
    Failed(String),
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// Connected, connecting, or failed.
    pub state: PeerState,
}

impl PeerSnapshot {
    /// Whether it is over.
    pub fn is_failed(&self) -> bool {
        self.state == PeerState::Failed
    }
}

/// A peer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// ICE or DTLS under way.
    Connecting,
    /// Media flows.
    Connected,
    /// Consent missing.
    Disconnected,
    /// Over.
    Failed,
}
