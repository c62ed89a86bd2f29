//! Events on their way to a client: numbered from 1 without a gap, the last of them kept for a resume. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::protocol::Event;
use crate::model::ids::InvitationId;

/// Events kept for a resume, to the client; overflow: DROPS the oldest, and a resume that needs it is refused and counted.
pub const KEPT_EVENTS: usize = 256;

/// The numbered events of one connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EventLog {
    last: u64,
    kept: VecDeque<Numbered>,
}

/// Shared, because a checkpoint is copied at every step and an event may be 8 kB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Numbered {
    seq: u64,
    #[serde(with = "shared")]
    event: Arc<Event>,
}

impl EventLog {
    /// Numbers and keeps an event.
    pub fn push(&mut self, event: Event) -> u64 {
        self.last += 1;
        if self.kept.len() >= KEPT_EVENTS {
            self.kept.pop_front();
        }
        self.kept.push_back(Numbered { seq: self.last, event: Arc::new(event) });
        self.last
    }

    /// Whether everything after `seq` is still there; not so for a number that was never given.
    pub fn can_resume(&self, seq: u64) -> bool {
        let first_kept = self.kept.front().map_or(self.last + 1, |first| first.seq);
        seq <= self.last && seq.saturating_add(1) >= first_kept
    }

    /// What came after `seq`, in order.
    pub fn after(&self, seq: u64) -> Vec<(u64, Event)> {
        self.kept.iter().filter(|kept| kept.seq > seq).map(|kept| (kept.seq, (*kept.event).clone())).collect()
    }
}

mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Event;

    pub fn serialize<S: Serializer>(event: &Arc<Event>, to: S) -> Result<S::Ok, S::Error> {
        event.as_ref().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Event>, D::Error> {
        Event::deserialize(from).map(Arc::new)
    }
}

/// The kinds of an invitation's callbacks: each is passed on once a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackKind {
    /// Callee.
    Received,
    /// Caller.
    ReceivedByPeer,
    /// Both.
    Accepted,
    /// Both.
    Refused,
    /// Both.
    Canceled,
    /// Both.
    Failed,
    /// Callee's other devices.
    Elsewhere,
}

/// What kind of callback an event is; `None` for events that are none.
pub fn callback_kind(event: &Event) -> Option<(InvitationId, CallbackKind)> {
    match event {
        Event::InvitationReceived { invitation, .. } => Some((*invitation, CallbackKind::Received)),
        Event::InvitationReceivedByPeer { invitation } => Some((*invitation, CallbackKind::ReceivedByPeer)),
        Event::InvitationAccepted { invitation, .. } => Some((*invitation, CallbackKind::Accepted)),
        Event::InvitationRefused { invitation, .. } => Some((*invitation, CallbackKind::Refused)),
        Event::InvitationCanceled { invitation, .. } => Some((*invitation, CallbackKind::Canceled)),
        Event::InvitationFailed { invitation, .. } => Some((*invitation, CallbackKind::Failed)),
        Event::InvitationAnsweredElsewhere { invitation } => Some((*invitation, CallbackKind::Elsewhere)),
        Event::MediaAnswer { .. }
        | Event::MediaRefused { .. }
        | Event::CallProgress { .. }
        | Event::CallAnswered { .. }
        | Event::CallHeld { .. }
        | Event::CallDtmf { .. }
        | Event::CallEnded { .. }
        | Event::RoomParticipants { .. }
        | Event::PresenceChanged(_)
        | Event::Kicked { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u64) -> Event {
        Event::InvitationReceivedByPeer { invitation: InvitationId(n) }
    }

    fn log(events: u64) -> EventLog {
        let mut log = EventLog::default();
        for n in 1..=events {
            assert_eq!(log.push(event(n)), n);
        }
        log
    }

    #[test]
    fn events_are_numbered_from_1_without_a_gap() {
        let log = log(5);
        assert_eq!(log.after(3), [(4, event(4)), (5, event(5))]);
        assert!(log.after(5).is_empty());
    }

    #[test]
    fn a_resume_needs_every_event_after_its_number() {
        let kept = KEPT_EVENTS as u64;
        let log = log(kept + 10);
        assert!(!log.can_resume(9) && log.can_resume(10) && log.can_resume(kept + 10));
        assert!(!log.can_resume(kept + 11), "a number that was never given");
        assert!(EventLog::default().can_resume(0) && !EventLog::default().can_resume(1));
        assert!(!EventLog::default().can_resume(u64::MAX));
    }

    #[test]
    fn the_log_is_the_same_after_a_journey_through_json() {
        let log = log(3);
        let json = serde_json::to_string(&log).expect("json");
        assert_eq!(serde_json::from_str::<EventLog>(&json).expect("a log"), log);
    }
}
