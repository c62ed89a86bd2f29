//! What is kept of an invitation, and who must hear of each step. Pure: the actor and its supervisor execute [`Outgoing`].

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::NewInvitation;
use super::phase::{ApiCode, Callback, Input, LocalCallback, Phase, RemoteCallback, RemoteFailure};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, ClientId, UserId};
use crate::ports::rtc::Sdp;

/// Answers to requests that are kept, so that a request that is delivered again is answered the same.
const KEPT_ANSWERS: usize = 8;

/// Who invites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvitationCaller {
    /// An app user.
    Client {
        /// By which connection.
        client: ClientId,
        /// Who.
        user: UserId,
    },
    /// A call on behalf of a phone.
    Call {
        /// Which call.
        call: CallId,
        /// The caller as the callee is shown.
        shown: String,
    },
}

impl InvitationCaller {
    /// As `invitation.received` names the caller.
    pub fn shown(&self) -> &str {
        match self {
            Self::Client { user, .. } => user.as_str(),
            Self::Call { shown, .. } => shown,
        }
    }
}

/// Who is invited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Callee {
    /// An app user's devices.
    Devices {
        /// Those it was handed to.
        rung: Vec<ClientId>,
        /// The one that accepted or refused.
        answered_by: Option<ClientId>,
    },
    /// A number or service: a call dials it.
    Number(CallId),
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    client: ClientId,
    request: String,
    /// What was asked: an `id` that an app uses twice is no question asked twice.
    action: String,
    code: ApiCode,
}

/// What survives an Invitation's actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationCheckpoint {
    /// Who invites.
    pub caller: InvitationCaller,
    /// Who is invited, by name.
    pub user: UserId,
    /// Who is invited, by what it is.
    pub callee: Callee,
    /// As sent.
    pub content: String,
    /// As sent.
    pub channel: String,
    /// The call it belongs to, as the callee is told.
    pub call: Option<CallId>,
    /// Both machines.
    pub phase: Phase,
    /// When it was sent: both 60 s clocks start here.
    pub sent_at: SystemTime,
    /// When both sides were over; it answers queries a while longer.
    pub over_at: Option<SystemTime>,
    /// The accepting device's WebRTC offer, for the call.
    pub sdp: Option<Sdp>,
    /// What the last step ordered: sent again by a new incarnation, since the old one may have died before it did. Whoever
    /// hears it knows what it has heard.
    pub outbox: Vec<Outgoing>,
    answers: Vec<Answer>,
}

/// Somebody must hear something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outgoing {
    /// The caller.
    Caller(LocalCallback),
    /// One device of the callee.
    Device(ClientId, RemoteCallback),
    /// A device of the callee that another one was quicker than.
    Elsewhere(ClientId),
    /// The call supervisor: dial the number.
    Dial(CallId),
    /// The call that dials the number: end.
    HangUp(CallId, Cause),
}

impl InvitationCheckpoint {
    /// Before it is sent. `number`: the call that will dial the callee, where it is a number or service.
    pub fn new(new: NewInvitation, number: Option<CallId>, now: SystemTime) -> Self {
        let devices = || Callee::Devices { rung: Vec::new(), answered_by: None };
        Self {
            caller: new.caller,
            user: new.callee,
            callee: number.map_or_else(devices, Callee::Number),
            content: new.content,
            channel: new.channel,
            call: new.call,
            phase: Phase::new(new.offline_wait),
            sent_at: now,
            over_at: None,
            sdp: None,
            outbox: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// How long ago it was sent.
    pub fn since_send(&self, now: SystemTime) -> Duration {
        now.duration_since(self.sent_at).unwrap_or_default()
    }

    /// The answer that was given to this very request.
    pub fn answer_given(&self, client: ClientId, request: &str, action: &str) -> Option<ApiCode> {
        let same = |a: &&Answer| a.client == client && a.request == request && a.action == action;
        self.answers.iter().find(same).map(|a| a.code)
    }

    /// Remembers an answer.
    pub fn remember(&mut self, client: ClientId, request: &str, action: &str, code: ApiCode) {
        if self.answers.len() >= KEPT_ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push(Answer { client, request: request.to_owned(), action: action.to_owned(), code });
    }

    /// Steps both machines; `by` is the device that caused it. What must be heard is added to the outbox.
    pub fn step(mut self, input: Input, by: Option<ClientId>, now: SystemTime) -> (Self, ApiCode) {
        let since_send = self.since_send(now);
        let is_answer = matches!(input, Input::Accept(_) | Input::Refuse(_));
        let (phase, effects) = self.phase.step(input, since_send);
        self.phase = phase;
        if is_answer && effects.code == ApiCode::Ok {
            self.answered(by);
        }
        self.tell(effects.callbacks, by);
        // A phone's call hears of the acceptance by being told: there is nothing to confirm.
        if is_answer && matches!(self.caller, InvitationCaller::Call { .. }) {
            let (phase, heard) = self.phase.step(Input::AcceptHeard, since_send);
            self.phase = phase;
            self.tell(heard.callbacks, by);
        }
        self.close(now);
        (self, effects.code)
    }

    /// Hands it to a device of the callee; nothing where that device has it, or it may not be handed out any more.
    pub fn deliver(mut self, device: ClientId, now: SystemTime) -> Self {
        let since_send = self.since_send(now);
        let has_it = match &self.callee {
            Callee::Devices { rung, .. } => rung.contains(&device),
            Callee::Number(_) => true,
        };
        if has_it || !self.phase.deliverable(since_send) {
            return self;
        }
        let (phase, _) = self.phase.step(Input::Delivered, since_send);
        self.phase = phase;
        if let Callee::Devices { rung, .. } = &mut self.callee {
            rung.push(device);
        }
        // The machine says Received once; each device must hear it.
        self.outbox.push(Outgoing::Device(device, RemoteCallback::Received));
        self
    }

    /// Ends both sides by their tables, for want of an actor.
    pub fn abandon(mut self, callee_online: bool, now: SystemTime) -> Self {
        let (phase, effects) = self.phase.abandon(callee_online);
        self.phase = phase;
        self.tell(effects.callbacks, None);
        self.close(now);
        self
    }

    fn close(&mut self, now: SystemTime) {
        if self.phase.is_over() {
            self.over_at.get_or_insert(now);
        }
    }

    fn answered(&mut self, by: Option<ClientId>) {
        if let Callee::Devices { rung, answered_by } = &mut self.callee {
            *answered_by = by;
            self.outbox.extend(rung.iter().filter(|device| Some(**device) != by).copied().map(Outgoing::Elsewhere));
        }
    }

    fn tell(&mut self, callbacks: Vec<Callback>, by: Option<ClientId>) {
        for callback in callbacks {
            match callback {
                Callback::Local(callback) => self.outbox.push(Outgoing::Caller(callback)),
                Callback::Remote(callback) => self.tell_callee(callback, by),
            }
        }
    }

    fn tell_callee(&mut self, callback: RemoteCallback, by: Option<ClientId>) {
        match &self.callee {
            Callee::Devices { rung, answered_by } => match answered_by.or(by) {
                Some(device) => self.outbox.push(Outgoing::Device(device, callback)),
                None => {
                    self.outbox.extend(rung.iter().map(|device| Outgoing::Device(*device, callback.clone())));
                }
            },
            Callee::Number(call) => {
                let cause = match callback {
                    RemoteCallback::Received => {
                        self.outbox.push(Outgoing::Dial(*call));
                        return;
                    }
                    // What the call itself said.
                    RemoteCallback::Accepted(_) | RemoteCallback::Refused(_) => return,
                    // The phone talks: that the caller's SDK forgot to confirm is no reason to hang up.
                    RemoteCallback::Failure(RemoteFailure::AcceptFailure) => return,
                    RemoteCallback::Canceled(_) => Cause::cancelled(),
                    RemoteCallback::Failure(RemoteFailure::PeerOffline) => Cause::client_lost(),
                    RemoteCallback::Failure(RemoteFailure::InvitationExpire) => Cause::expired(),
                };
                self.outbox.push(Outgoing::HangUp(*call, cause));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::InvitationId;

    fn now(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("an id")
    }

    fn sent(caller: InvitationCaller, number: Option<CallId>) -> InvitationCheckpoint {
        let new = NewInvitation {
            invitation: InvitationId(1),
            caller,
            callee: user("bob"),
            content: String::new(),
            channel: String::new(),
            call: None,
            offline_wait: Duration::from_secs(30),
        };
        InvitationCheckpoint::new(new, number, now(0)).step(Input::Send { logged_in: true }, None, now(0)).0
    }

    fn by_alice() -> InvitationCaller {
        InvitationCaller::Client { client: ClientId(9), user: user("alice") }
    }

    fn drained(mut record: InvitationCheckpoint) -> (InvitationCheckpoint, Vec<Outgoing>) {
        let out = std::mem::take(&mut record.outbox);
        (record, out)
    }

    #[test]
    fn every_device_rings_and_the_losers_hear_answered_elsewhere() {
        let record = sent(by_alice(), None).deliver(ClientId(1), now(0)).deliver(ClientId(2), now(0));
        let (record, out) = drained(record.deliver(ClientId(1), now(0)));
        let received = |id| Outgoing::Device(ClientId(id), RemoteCallback::Received);
        assert_eq!(out, [received(1), received(2)]);
        let (record, code) = record.step(Input::Accept("yes".into()), Some(ClientId(2)), now(1));
        let (record, out) = drained(record);
        assert_eq!(code, ApiCode::Ok);
        assert_eq!(
            out,
            [
                Outgoing::Elsewhere(ClientId(1)),
                Outgoing::Caller(LocalCallback::ReceivedByPeer),
                Outgoing::Caller(LocalCallback::Accepted("yes".into())),
            ]
        );
        let (record, code) = record.step(Input::Accept("me too".into()), Some(ClientId(1)), now(1));
        assert_eq!((code, record.outbox.len()), (ApiCode::AlreadyAccept, 0));
        let (_, out) = drained(record.step(Input::AcceptHeard, None, now(2)).0);
        assert_eq!(out, [Outgoing::Device(ClientId(2), RemoteCallback::Accepted("yes".into()))]);
    }

    #[test]
    fn a_phones_call_confirms_the_acceptance_by_itself() {
        let caller = InvitationCaller::Call { call: CallId(7), shown: "1001".into() };
        let (record, _) = drained(sent(caller, None).deliver(ClientId(1), now(0)));
        let (record, _) = record.step(Input::Accept(String::new()), Some(ClientId(1)), now(1));
        assert_eq!((record.phase.local.number(), record.phase.remote.number()), (3, 4));
        assert!(record.over_at.is_some());
        assert!(record.outbox.contains(&Outgoing::Device(ClientId(1), RemoteCallback::Accepted(String::new()))));
    }

    #[test]
    fn a_number_is_dialled_and_a_cancel_ends_its_call() {
        let (record, _) = sent(by_alice(), Some(CallId(5))).step(Input::Delivered, None, now(0));
        let (record, out) = drained(record);
        assert_eq!(out, [Outgoing::Dial(CallId(5))]);
        let (_, out) = drained(record.step(Input::Cancel("never mind".into()), None, now(1)).0);
        assert_eq!(
            out,
            [
                Outgoing::Caller(LocalCallback::Canceled("never mind".into())),
                Outgoing::HangUp(CallId(5), Cause::cancelled()),
            ]
        );
    }

    #[test]
    fn a_request_that_comes_again_is_answered_the_same() {
        let mut record = sent(by_alice(), None);
        record.remember(ClientId(1), "7", "ack", ApiCode::Ok);
        assert_eq!(record.answer_given(ClientId(1), "7", "ack"), Some(ApiCode::Ok));
        assert_eq!(record.answer_given(ClientId(2), "7", "ack"), None);
        assert_eq!(record.answer_given(ClientId(1), "7", "accept"), None, "another question under the same id");
    }

    #[test]
    fn the_checkpoint_is_the_same_after_a_journey_through_json() {
        let record = sent(by_alice(), None).deliver(ClientId(1), now(0));
        let (record, _) = record.step(Input::Accept("yes".into()), Some(ClientId(1)), now(1));
        let json = serde_json::to_string(&record).expect("json");
        assert_eq!(serde_json::from_str::<InvitationCheckpoint>(&json).expect("a checkpoint"), record);
    }
}
