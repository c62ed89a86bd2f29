//! The media port: sessions, bridges, rooms, prompts and digits on dedicated threads.
//!
//! A session is *planned* by its leg or call: the plan is committed to the ledger, then pushed as commands. Every command is
//! idempotent, so after the crash of an actor or of a media thread the plan is simply pushed again.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ids::{LegId, MediaId, RoomId, WorkerId};
use crate::model::media::{Codec, Digit, Direction};
use crate::model::negotiate::Negotiated;

/// What the brain asks of the media engine. No method waits for a media thread.
pub trait MediaPort: Send + Sync + 'static {
    /// Opens a session: a port pair of the range (plain RTP) or a place on a worker's shared port (WebRTC). Opening a session
    /// that is open returns what it returned before.
    ///
    /// # Errors
    /// [`OpenError`], each with its remedy.
    fn open(&self, media: MediaId, spec: &MediaSpec) -> Result<Opened, OpenError>;
    /// Pushes a command to a worker's ring.
    ///
    /// # Errors
    /// Gives the command back when the ring is full (`awaited`: the MediaWorker actor tries again on its next turn) or the
    /// worker is being replaced.
    fn push(&self, worker: WorkerId, command: MediaCommand) -> Result<(), MediaCommand>;
    /// What the session has done so far; `None` when it is not open.
    fn snapshot(&self, media: MediaId) -> Option<MediaSnapshot>;
    /// How many workers there are, numbered from 0.
    fn workers(&self) -> u16;
    /// A worker's tick count: stands still while its thread is stuck; `None` once the thread is dead.
    fn heartbeat(&self, worker: WorkerId) -> Option<u64>;
    /// Replaces a dead or stuck thread: a new one takes over the sockets, the SRTP state and the sessions' seats. The plans
    /// are then to be pushed again.
    ///
    /// # Errors
    /// Plain words when the system gives no thread.
    fn replace(&self, worker: WorkerId) -> Result<(), String>;
    /// Whether a prompt or tone of this name can be played.
    fn has_clip(&self, clip: &str) -> bool;
}

/// What kind of session, for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaSpec {
    /// Who hears its events.
    pub leg: LegId,
    /// How it is carried.
    pub carriage: Carriage,
    /// A session it will be bridged with: it is put on the same worker.
    pub near: Option<MediaId>,
}

/// How a session's packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carriage {
    /// A port pair of its own, RTP on the even one, bound to this address.
    Rtp(IpAddr),
    /// A worker's shared port; SRTP keys come from the RTC adapter.
    Webrtc,
}

/// An opened session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Its worker.
    pub worker: WorkerId,
    /// Its bound RTP address; for WebRTC the address to list as candidate.
    pub local: SocketAddr,
}

/// Why a session cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The range is used up (or resting).
    #[error("no free RTP port in {from}-{to}: widen `rtp.ports`")]
    NoPorts {
        /// First port.
        from: u16,
        /// Last port.
        to: u16,
    },
    /// No more sessions fit.
    #[error("the media engine is full ({limit} sessions): lower `limits.max_calls`")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The system refused a socket.
    #[error("cannot bind RTP on {address}: {error}")]
    Bind {
        /// Where.
        address: IpAddr,
        /// What it said.
        error: String,
    },
}

/// A command to one worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MediaCommand {
    /// Codec, payload types, remote address, direction: from now on the session sends and receives by these.
    Configure {
        /// Which session.
        media: MediaId,
        /// What was agreed.
        negotiated: Box<Negotiated>,
        /// Report silence after this long without RTP while receiving is agreed.
        silence_after: Option<Duration>,
    },
    /// What the session is joined to; replaces what it was joined to before.
    Attach {
        /// Which session.
        media: MediaId,
        /// To what.
        to: Attachment,
    },
    /// Play a clip to the session's party, in place of what it hears otherwise. Replaces a clip already playing.
    Play {
        /// Which session.
        media: MediaId,
        /// Prompt file name without its ending, or `tone:ringback`, `tone:busy`, `tone:congestion`, `tone:hold`.
        clip: String,
        /// Comes back in [`MediaEventKind::Played`].
        token: u64,
        /// Until stopped; otherwise once.
        repeat: bool,
    },
    /// Stop the clip, if one plays.
    StopPlay {
        /// Which session.
        media: MediaId,
    },
    /// Send digits as RFC 4733 events, 100 ms each with 60 ms between; in-band tones where the peer has no telephone-event.
    SendDigits {
        /// Which session.
        media: MediaId,
        /// The digits.
        digits: Vec<Digit>,
    },
    /// Comes back as [`MediaEventKind::Fenced`] once every earlier command to this worker has taken effect.
    Fence {
        /// A session of the asker.
        media: MediaId,
        /// Comes back.
        token: u64,
    },
    /// Close the session; its ports rest before they are used again.
    Close {
        /// Which session.
        media: MediaId,
    },
}

/// What a session's sound is joined to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// Nothing: the party hears clips, or silence.
    #[default]
    Nothing,
    /// Another session, both ways; both sides name each other.
    Bridge(MediaId),
    /// A room: hears everybody else in it. The room exists while somebody is attached.
    Room(RoomId),
}

/// Everything that is planned for a session: what a restarted MediaWorker pushes again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaPlan {
    /// How it was opened.
    pub spec: MediaSpec,
    /// What opening it returned.
    pub opened: Opened,
    /// The agreement, once there is one.
    pub negotiated: Option<Box<Negotiated>>,
    /// See [`MediaCommand::Configure`].
    pub silence_after: Option<Duration>,
    /// The attachment.
    pub attachment: Attachment,
    /// The clip that should be playing: name, token, repeat.
    pub playing: Option<(String, u64, bool)>,
    /// The fence that has not come back yet.
    #[serde(default)]
    pub fence: Option<u64>,
}

/// What the engine tells, to the session's leg.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaEvent {
    /// Who hears it.
    pub leg: LegId,
    /// Which session.
    pub media: MediaId,
    /// What happened.
    pub kind: MediaEventKind,
}

/// What happens in a session.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEventKind {
    /// The first valid RTP packet came, from here.
    FirstPacket(SocketAddr),
    /// A digit ended, once each, whatever was repeated or lost on the wire.
    Digit {
        /// Which.
        digit: Digit,
        /// How long.
        duration: Duration,
    },
    /// A clip ended by itself.
    Played(u64),
    /// There is no clip of that name.
    NoClip(u64),
    /// No RTP for `silence_after`.
    Silent,
    /// See [`MediaCommand::Fence`].
    Fenced(u64),
    /// The session's step panicked and it was retired: its leg ends.
    Failed,
}

/// What a session has done.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MediaSnapshot {
    /// RTP packets received and accepted.
    pub packets_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Packets never received, by sequence numbers.
    pub packets_lost: u64,
    /// Packets refused: wrong source, failed authentication, unknown payload type, malformed.
    pub packets_refused: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1), microseconds.
    pub jitter_us: u32,
    /// Round trip by RTCP, microseconds; 0 while unknown.
    pub round_trip_us: u32,
    /// Where RTP comes from now.
    pub remote: Option<SocketAddr>,
    /// The codec that is sent.
    pub codec: Option<Codec>,
    /// From our point of view.
    pub direction: Option<Direction>,
}
