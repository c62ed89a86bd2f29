//! What the control side remembers of every session, so that a thread can be built anew from it, and so that codecs are
//! built before they are needed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tandem_actors::model::ids::{MediaId, RoomId, WorkerId};
use tandem_actors::model::media::Codec;
use tandem_actors::ports::media::{Attachment, MediaSnapshot, MediaSpec, Opened};

use super::agreement::Agreement;
use super::clip::Clip;
use super::codec::{CoderSpec, Rate};
use super::ring::SlotId;
use super::seat::Seat;
use crate::link::SrtpKeys;

/// One session as planned.
pub struct Entry {
    /// How it was opened.
    pub spec: MediaSpec,
    /// What opening it returned.
    pub opened: Opened,
    /// Its place on its worker.
    pub slot: SlotId,
    /// What outlives threads.
    pub seat: Arc<Seat>,
    /// First port of its pair.
    pub port: Option<u16>,
    /// What was agreed.
    pub agreement: Option<Agreement>,
    /// What it is joined to.
    pub attachment: Attachment,
    /// The coder its thread has.
    pub coder: Option<CoderSpec>,
    /// Its SRTP keys.
    pub keys: Option<SrtpKeys>,
    /// Its nominated path.
    pub path: Option<SocketAddr>,
    /// The clip that was last ordered, until it is stopped.
    pub playing: Option<(Arc<Clip>, u64, bool)>,
}

impl Entry {
    /// What telemetry and the brain are shown.
    pub fn snapshot(&self) -> MediaSnapshot {
        let seat = &self.seat;
        MediaSnapshot {
            packets_received: seat.received.load(Ordering::Relaxed),
            packets_sent: seat.sent.load(Ordering::Relaxed),
            packets_lost: seat.lost.load(Ordering::Relaxed),
            packets_refused: seat.refused.load(Ordering::Relaxed),
            jitter_us: seat.jitter_us.load(Ordering::Relaxed),
            round_trip_us: seat.round_trip_us.load(Ordering::Relaxed),
            remote: seat.remote.load(),
            codec: self.agreement.map(|a| a.send.0),
            direction: self.agreement.map(|a| a.direction),
        }
    }
}

/// A room as planned.
pub struct RoomEntry {
    /// Whose thread mixes it.
    pub worker: WorkerId,
    /// Its place there.
    pub slot: SlotId,
    /// How many are in it.
    pub members: usize,
}

/// Everything that is open.
#[derive(Default)]
pub struct Plan {
    /// Sessions.
    pub sessions: HashMap<MediaId, Entry>,
    /// Rooms.
    pub rooms: HashMap<RoomId, RoomEntry>,
}

impl Plan {
    /// The coder a session needs for what it is joined to; `None` when it needs none.
    pub fn coder_wanted(&self, entry: &Entry) -> Option<CoderSpec> {
        let own = entry.agreement?;
        let opus_out = own.send.0 == Codec::Opus;
        match &entry.attachment {
            Attachment::Nothing => None,
            Attachment::Room(_) => Some(CoderSpec { rate: Rate::Wide, opus_in: own.takes(Codec::Opus), opus_out }),
            Attachment::Bridge(other) => {
                let other = self.sessions.get(other)?.agreement?;
                Some(CoderSpec {
                    rate: Rate::Narrow,
                    opus_in: own.takes(Codec::Opus) && other.send.0 != Codec::Opus,
                    opus_out: opus_out && other.takes_other_than(Codec::Opus),
                })
            }
        }
    }

    /// The session this one is bridged with, where both name each other.
    pub fn partner(&self, media: MediaId) -> Option<MediaId> {
        let Attachment::Bridge(other) = self.sessions.get(&media)?.attachment else { return None };
        (self.sessions.get(&other)?.attachment == Attachment::Bridge(media)).then_some(other)
    }
}
