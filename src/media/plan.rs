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
use super::srtp::{self, Keyed};
use tandem_actors::model::srtp::SrtpKeys;

/// The SRTP keys of a session, and how many there have been in each direction.
#[derive(Default)]
pub struct Keys {
    current: Option<SrtpKeys>,
    sent: u32,
    received: u32,
}

/// The ciphers of a session; a direction whose keys are as before is left out.
type Ciphers = (Option<Keyed<srtp::Sender>>, Option<Keyed<srtp::Receiver>>);

impl Keys {
    /// Takes new ones up. What is as before stays in use: its key stream goes on, its replay list is kept.
    pub fn change(&mut self, to: SrtpKeys) -> Ciphers {
        let before = self.current.as_ref().filter(|before| before.profile == to.profile);
        let send = before.is_none_or(|before| before.send != to.send);
        let receive = before.is_none_or(|b| (&b.receive, &b.receive_mki) != (&to.receive, &to.receive_mki));
        self.sent += u32::from(send);
        self.received += u32::from(receive);
        let (sender, receiver) = (send.then(|| self.sender(&to)), receive.then(|| self.receiver(&to)));
        self.current = Some(to);
        (sender, receiver)
    }
    /// There are none any more; whether there were.
    pub fn forget(&mut self) -> bool {
        self.current.take().is_some()
    }
    /// The ciphers of both directions, for a successor.
    pub fn all(&self) -> Ciphers {
        let current = self.current.as_ref();
        (current.map(|keys| self.sender(keys)), current.map(|keys| self.receiver(keys)))
    }
    fn sender(&self, keys: &SrtpKeys) -> Keyed<srtp::Sender> {
        Keyed { keys: self.sent, cipher: Box::new(srtp::Sender::new(keys.profile, &keys.send)) }
    }
    fn receiver(&self, keys: &SrtpKeys) -> Keyed<srtp::Receiver> {
        let receiver = srtp::Receiver::new(keys.profile, &keys.receive).with_mki(&keys.receive_mki);
        Keyed { keys: self.received, cipher: Box::new(receiver) }
    }
}

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
    pub keys: Keys,
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
