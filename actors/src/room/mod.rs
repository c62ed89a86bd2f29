//! Rooms: who is in one, who is told, who must not stay in one alone. The mixing is the media engine's
//! (`Attachment::Room`), ordered by each call for its own leg: a room's actor may die without anybody hearing it.

pub mod actor;
pub mod supervisor;

pub use actor::Room;
pub use supervisor::RoomSupervisor;

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::control::{Participant, RoomView};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, RoomId};

/// What a Room hears.
#[derive(Debug)]
pub enum RoomMsg {
    /// Take up the checkpoint: first message of every incarnation.
    Begin,
    /// A call's party is in; said again until [`RoomReport::Participants`] has come.
    Join(RoomMember),
    /// A call's party left.
    Leave(CallId),
    /// Look whether a phone has been alone too long.
    Look,
    /// Nothing: makes an armed fault fire.
    Poke,
}

/// What only the RoomSupervisor hears.
#[derive(Debug)]
pub enum RoomSupervisorMsg {
    /// Hand this to the room, which is made when there is none.
    Join {
        /// Which.
        room: RoomId,
        /// Who.
        member: RoomMember,
    },
}

/// What a room tells a call.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomReport {
    /// Who is in it now, in order of joining.
    Participants(Vec<String>),
    /// The call's phone has been alone longer than the grace.
    Alone,
    /// The room is closed.
    Closed(Cause),
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMember {
    /// By which call.
    pub call: CallId,
    /// Number or user id.
    pub party: String,
    /// A phone does not stay alone.
    pub phone: bool,
}

/// What survives a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomCheckpoint {
    /// Which.
    pub room: RoomId,
    /// In order of joining.
    pub members: Vec<RoomMember>,
    /// Since when a phone has been alone.
    pub alone_since: Option<SystemTime>,
}

impl RoomCheckpoint {
    /// An empty room.
    pub fn new(room: RoomId) -> Self {
        Self { room, members: Vec::new(), alone_since: None }
    }

    /// Takes somebody in; `false` when they are in.
    pub fn join(&mut self, member: RoomMember, now: SystemTime) -> bool {
        if self.members.iter().any(|m| m.call == member.call) {
            return false;
        }
        self.members.push(member);
        self.mind_the_lonely(now);
        true
    }

    /// Lets somebody out; `false` when they are not in.
    pub fn leave(&mut self, call: CallId, now: SystemTime) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.call != call);
        self.mind_the_lonely(now);
        before != self.members.len()
    }

    /// The phone that has been alone for `grace`, or how long until one will have been.
    pub fn lonely(&self, grace: Duration, now: SystemTime) -> Option<Result<CallId, Duration>> {
        let (since, [member]) = (self.alone_since?, self.members.as_slice()) else { return None };
        let alone = now.duration_since(since).unwrap_or_default();
        Some(if alone >= grace { Ok(member.call) } else { Err(grace - alone) })
    }

    /// Names in order of joining.
    pub fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.party.clone()).collect()
    }

    /// As the API shows it.
    pub fn view(&self) -> RoomView {
        let participants = self.members.iter().map(|m| Participant { call: m.call, party: m.party.clone() }).collect();
        RoomView { room: self.room.clone(), participants }
    }

    fn mind_the_lonely(&mut self, now: SystemTime) {
        let alone = matches!(self.members.as_slice(), [member] if member.phone);
        self.alone_since = if alone { self.alone_since.or(Some(now)) } else { None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(call: u64, phone: bool) -> RoomMember {
        RoomMember { call: CallId(call), party: format!("p{call}"), phone }
    }

    #[test]
    fn joining_twice_is_joining_once() {
        let mut room = RoomCheckpoint::new(RoomId::new("lobby").expect("an id"));
        assert!(room.join(member(1, false), SystemTime::UNIX_EPOCH));
        assert!(!room.join(member(1, false), SystemTime::UNIX_EPOCH));
        assert_eq!(room.names(), ["p1"]);
    }

    #[test]
    fn a_phone_alone_is_lonely_after_the_grace_and_a_browser_never() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let grace = Duration::from_secs(60);
        let mut room = RoomCheckpoint::new(RoomId::new("lobby").expect("an id"));
        room.join(member(1, true), at(0));
        assert_eq!(room.lonely(grace, at(59)), Some(Err(Duration::from_secs(1))));
        assert_eq!(room.lonely(grace, at(60)), Some(Ok(CallId(1))));
        room.join(member(2, false), at(61));
        assert_eq!(room.lonely(grace, at(200)), None);
        room.leave(CallId(1), at(201));
        assert_eq!(room.lonely(grace, at(900)), None);
        room.join(member(3, true), at(901));
        room.leave(CallId(2), at(910));
        assert_eq!(room.lonely(grace, at(970)), Some(Ok(CallId(3))));
    }
}
