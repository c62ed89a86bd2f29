//! One reply a request, in the order of the requests, although some are answered by other actors. Pure.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::protocol::{ErrorCode, Reply};
use crate::invitation::InvitationAction;
use crate::model::ids::InvitationId;

/// An invitation that has not answered is asked again after this: it may have been restarted, its mailbox lost.
pub const ASK_AGAIN: Duration = Duration::from_millis(300);
/// Without an answer for this long the reply is `internal`.
pub const GIVE_UP: Duration = Duration::from_secs(5);

/// Replies that are owed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Replies(VecDeque<Owed>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Owed {
    request: String,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    /// Waits for those before it.
    Ready(Reply),
    /// An invitation was asked.
    Asked(Question, SystemTime, SystemTime),
}

/// What an invitation was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Which invitation.
    pub invitation: InvitationId,
    /// What.
    pub action: InvitationAction,
}

impl Replies {
    /// A reply that is known at once.
    pub fn ready(&mut self, request: String, reply: Reply) {
        self.0.push_back(Owed { request, state: State::Ready(reply) });
    }

    /// A reply that an invitation will give.
    pub fn asked(&mut self, request: String, question: Question, now: SystemTime) {
        self.0.push_back(Owed { request, state: State::Asked(question, now, now) });
    }

    /// The invitation's answer: what it was asked, where it was still awaited.
    pub fn answer(&mut self, request: &str, reply: Reply) -> Option<Question> {
        let owed = self.0.iter_mut().find(|owed| owed.request == request && matches!(owed.state, State::Asked(..)))?;
        match std::mem::replace(&mut owed.state, State::Ready(reply)) {
            State::Asked(question, ..) => Some(question),
            State::Ready(_) => None,
        }
    }

    /// Replies whose turn it is, in order.
    pub fn due(&mut self) -> Vec<(String, Reply)> {
        let mut due = Vec::new();
        while let Some(Owed { request, state }) = self.0.pop_front() {
            match state {
                State::Ready(reply) => due.push((request, reply)),
                state @ State::Asked(..) => {
                    self.0.push_front(Owed { request, state });
                    break;
                }
            }
        }
        due
    }

    /// Time passed: what to ask again. What has waited too long becomes an error, to be had from [`Replies::due`].
    pub fn again(&mut self, now: SystemTime) -> Vec<(String, Question)> {
        let mut again = Vec::new();
        for owed in &mut self.0 {
            if let State::Asked(question, first, last) = &mut owed.state {
                if now >= *first + GIVE_UP {
                    let message = "the invitation did not answer".to_owned();
                    owed.state = State::Ready(Reply::Error { code: ErrorCode::Internal, api: None, message });
                } else if now >= *last + ASK_AGAIN {
                    *last = now;
                    again.push((owed.request.clone(), question.clone()));
                }
            }
        }
        again
    }

    /// Whether an answer to the request of this id is awaited.
    pub fn asks(&self, request: &str) -> bool {
        self.0.iter().any(|owed| owed.request == request && matches!(owed.state, State::Asked(..)))
    }

    /// Whether an invitation's answer is awaited.
    pub fn is_waiting(&self) -> bool {
        self.0.iter().any(|owed| matches!(owed.state, State::Asked(..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn question() -> Question {
        Question { invitation: InvitationId(1), action: InvitationAction::Ack }
    }

    #[test]
    fn replies_keep_the_order_of_the_requests() {
        let mut replies = Replies::default();
        replies.asked("1".into(), question(), at(0));
        replies.ready("2".into(), Reply::Done {});
        assert!(replies.due().is_empty());
        assert_eq!(replies.answer("1", Reply::Done {}), Some(question()));
        assert_eq!(replies.due(), [("1".to_owned(), Reply::Done {}), ("2".to_owned(), Reply::Done {})]);
        assert_eq!(replies.answer("1", Reply::Done {}), None, "an answer that comes twice is nothing new");
    }

    #[test]
    fn an_invitation_that_is_silent_is_asked_again_and_then_given_up() {
        let mut replies = Replies::default();
        replies.asked("1".into(), question(), at(0));
        assert!(replies.again(at(299)).is_empty());
        assert_eq!(replies.again(at(300)), [("1".to_owned(), question())]);
        assert!(replies.again(at(400)).is_empty());
        assert!(replies.again(at(5000)).is_empty());
        assert!(matches!(replies.due().as_slice(), [(_, Reply::Error { code: ErrorCode::Internal, .. })]));
        assert!(!replies.is_waiting());
    }
}
