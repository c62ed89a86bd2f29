//! The rings between a worker's thread and everybody else, and what travels on them. All are single-producer,
//! single-consumer and wait-free on the thread's side.
//!
//! | ring | from -> to | capacity | when full |
//! |---|---|---|---|
//! | commands | control -> thread | [`COMMANDS`] | awaited: the command is given back |
//! | events | thread -> events thread | [`EVENTS`] | retained in [`BACKLOG`] places, then DROPS, counted |
//! | retired | thread -> events thread | [`RETIRED`] | cannot: no command is taken while fewer than [`RETIRED_BY_ONE`] are free |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tandem_actors::model::ids::{LegId, MediaId};
use tandem_actors::model::media::Digit;
use tandem_actors::ports::media::MediaEvent;

use super::agreement::Agreement;
use super::clip::Clip;
use super::codec::Coder;
use super::dtmf;
use super::mixer::{Member, Room};
use super::session::{Attached, Session};
use super::srtp::{self, Keyed};

/// Commands waiting for one thread.
pub const COMMANDS: usize = 1024;
/// Events waiting for the events thread.
pub const EVENTS: usize = 1024;
/// Events kept by the thread while that ring is full.
pub const BACKLOG: usize = 4096;
/// Boxes waiting to be freed.
pub const RETIRED: usize = 4096;
/// Boxes one command may retire at most.
pub const RETIRED_BY_ONE: usize = 6;
/// Ring places one push of the control side may take at most.
pub const COMMANDS_BY_ONE: usize = 6;

/// A place in a worker's table of sessions or rooms.
pub type SlotId = u32;

/// What a thread is told. Boxes arrive built.
pub enum Command {
    /// A new session.
    Open(SlotId, Box<Session>),
    /// See `MediaCommand::Configure`.
    Configure(SlotId, MediaId, Agreement),
    /// New SRTP keys, of either direction or of both.
    Secure(SlotId, MediaId, Option<Keyed<srtp::Sender>>, Option<Keyed<srtp::Receiver>>),
    /// No SRTP any more.
    Expose(SlotId, MediaId),
    /// A new path.
    Path(SlotId, MediaId, SocketAddr),
    /// A coder in place of the one before.
    Coder(SlotId, MediaId, Box<Coder>),
    /// Joined to something else; a member's state comes with a room.
    Attach(SlotId, MediaId, Attached, Option<Box<Member>>),
    /// A room begins.
    OpenRoom(SlotId, Box<Room>),
    /// A room ends.
    CloseRoom(SlotId),
    /// A clip instead of what is heard otherwise.
    Play {
        /// Whose party hears it.
        slot: SlotId,
        /// The same.
        media: MediaId,
        /// What; the engine keeps every clip to its end, so dropping this reference never frees.
        clip: Arc<Clip>,
        /// Comes back.
        token: u64,
        /// Until stopped.
        repeat: bool,
    },
    /// No clip any more.
    StopPlay(SlotId, MediaId),
    /// Digits to send.
    Digits(SlotId, MediaId, [Option<Digit>; dtmf::QUEUE]),
    /// Comes back as an event.
    Fence(MediaId, LegId, u64),
    /// The session ends.
    Close(SlotId, MediaId),
    /// The thread ends.
    Stop,
    /// Fault drill: the session's next step panics.
    Panic(SlotId),
    /// Fault drill: the thread panics.
    Crash,
    /// Fault drill: the thread hangs.
    Stick(Duration),
}

/// Something to be freed elsewhere.
pub type Retired = Box<dyn Send>;

/// The thread's ends.
pub struct ThreadEnds {
    /// What it is told.
    pub commands: rtrb::Consumer<Command>,
    /// What it tells.
    pub events: EventSink,
    /// What it gives back.
    pub retired: rtrb::Producer<Retired>,
}

/// The other ends of the rings that the events thread drains.
pub struct DrainEnds {
    /// What the thread tells.
    pub events: rtrb::Consumer<MediaEvent>,
    /// What it gives back.
    pub retired: rtrb::Consumer<Retired>,
}

/// Makes the rings of one incarnation of a thread.
pub fn rings() -> (rtrb::Producer<Command>, ThreadEnds, DrainEnds) {
    let (command_in, commands) = rtrb::RingBuffer::new(COMMANDS);
    let (event_in, events) = rtrb::RingBuffer::new(EVENTS);
    let (retired_in, retired) = rtrb::RingBuffer::new(RETIRED);
    let sink = EventSink { ring: event_in, backlog: Vec::with_capacity(BACKLOG), dropped: 0, fresh: false };
    (command_in, ThreadEnds { commands, events: sink, retired: retired_in }, DrainEnds { events, retired })
}

/// Where a thread puts its events; order is kept.
pub struct EventSink {
    ring: rtrb::Producer<MediaEvent>,
    backlog: Vec<MediaEvent>,
    dropped: u64,
    fresh: bool,
}

impl EventSink {
    /// Tells one.
    pub fn push(&mut self, event: MediaEvent) {
        self.fresh = true;
        if self.backlog.is_empty()
            && let Err(rtrb::PushError::Full(event)) = self.ring.push(event.clone())
        {
            self.keep(event);
        } else if !self.backlog.is_empty() {
            self.keep(event);
        }
    }
    /// Only the ring, for a producer that is no media thread.
    pub fn into_ring(self) -> rtrb::Producer<MediaEvent> {
        self.ring
    }
    fn keep(&mut self, event: MediaEvent) {
        // overflow: retained up to BACKLOG, then DROPS
        if self.backlog.len() < self.backlog.capacity() {
            self.backlog.push(event);
        } else {
            self.dropped += 1;
        }
    }
    /// Once a tick: moves what was kept into the ring. Returns whether the events thread should be woken, and how many events
    /// were dropped since the last call.
    pub fn settle(&mut self) -> (bool, u64) {
        let fits = self.ring.slots().min(self.backlog.len());
        for event in self.backlog.drain(..fits) {
            if self.ring.push(event).is_err() {
                self.dropped += 1;
            }
        }
        (std::mem::take(&mut self.fresh), std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_actors::ports::media::MediaEventKind;

    #[test]
    fn events_are_retained_in_order_while_nobody_drains() {
        let (_, mut thread, mut drain) = rings();
        for n in 0..(EVENTS + BACKLOG + 3) as u64 {
            thread.events.push(MediaEvent { leg: LegId(1), media: MediaId(1), kind: MediaEventKind::Fenced(n) });
        }
        let mut next = 0;
        loop {
            let dropped = thread.events.settle().1;
            assert_eq!(dropped, if next == 0 { 3 } else { 0 });
            let before = next;
            while let Ok(event) = drain.events.pop() {
                assert_eq!(event.kind, MediaEventKind::Fenced(next));
                next += 1;
            }
            if next == before {
                break;
            }
        }
        assert_eq!(next, (EVENTS + BACKLOG) as u64);
    }
}
