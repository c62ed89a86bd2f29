//! What a connection has to do, and by when. Pure, told the time.
//!
//! | clock | why |
//! |---|---|
//! | a whole message soon after it was accepted | who only holds connections open is no phone |
//! | a message that began is whole soon | one octet a minute is an attack |
//! | an octet an hour | phones ping every 120 s at the longest, or register again |
//! | ping, on what we opened | RFC 5626 §4.4.1: a firewall forgets what is silent |
//! | pong within 10 s | a dead flow, where the peer ever answered one: not every peer speaks RFC 5626, and TCP watches the others |

use std::time::Duration;

use tokio::time::Instant;

/// From accepted to the first whole message.
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// From a message's first octet to its last.
const MESSAGE_WITHIN: Duration = Duration::from_secs(20);
/// Silence.
const IDLE: Duration = Duration::from_secs(3600);
/// Between pings; RFC 5626 §4.4.1 allows up to 120 s, and most firewalls forget later than this.
const PING_EVERY: Duration = Duration::from_secs(90);
/// RFC 5626 §4.4.1.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping is to be sent.
    Ping,
    /// The connection ends, for this reason.
    End(&'static str),
}

/// The clocks of one connection.
#[derive(Debug)]
pub(super) struct Clocks {
    opened: bool,
    began: Instant,
    heard: Instant,
    spoke: bool,
    partial: Option<Instant>,
    ping_at: Instant,
    pinged: Option<Instant>,
    answers: bool,
}

impl Clocks {
    /// `opened`: by us.
    pub(super) fn new(opened: bool, now: Instant) -> Self {
        let ping_at = now + PING_EVERY;
        Self { opened, began: now, heard: now, spoke: false, partial: None, ping_at, pinged: None, answers: false }
    }

    /// Octets came; whether they answer a ping.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        let answered = self.pinged.take().is_some();
        self.answers |= answered;
        answered
    }

    /// A whole message came.
    pub(super) fn message(&mut self) {
        self.spoke = true;
        self.partial = None;
    }

    /// Whether a part of a message waits for its rest.
    pub(super) fn waits(&mut self, partial: bool, now: Instant) {
        self.partial = if partial { self.partial.or(Some(now)) } else { None };
    }

    /// The next that is due, and when.
    pub(super) fn next(&self) -> (Instant, Due) {
        let mut next = (self.heard + IDLE, Due::End("idle"));
        let mut sooner = |at: Option<Instant>, due: Due| {
            if let Some(at) = at.filter(|at| *at < next.0) {
                next = (at, due);
            }
        };
        sooner((!self.opened && !self.spoke).then_some(self.began + FIRST_WITHIN), Due::End("silent"));
        sooner(self.partial.map(|since| since + MESSAGE_WITHIN), Due::End("slow_sender"));
        sooner(self.opened.then_some(self.ping_at), Due::Ping);
        sooner(self.pinged.filter(|_| self.answers).map(|at| at + PONG_WITHIN), Due::End("no_pong"));
        next
    }

    /// What is due now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        let (at, due) = self.next();
        if at > now {
            return None;
        }
        if due == Due::Ping {
            self.ping_at = now + PING_EVERY;
            self.pinged = self.pinged.or(Some(now));
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_brings_no_message_is_ended_and_one_that_does_may_be_silent_for_an_hour() {
        let start = Instant::now();
        let mut clocks = Clocks::new(false, start);
        // Keep-alives alone are no message.
        clocks.heard(after(start, 29));
        assert_eq!((clocks.due(after(start, 29)), clocks.due(after(start, 30))), (None, Some(Due::End("silent"))));
        clocks.message();
        assert_eq!(clocks.due(after(start, 3628)), None);
        assert_eq!(clocks.due(after(start, 3629)), Some(Due::End("idle")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_comes_octet_by_octet_has_no_longer_than_another() {
        let start = Instant::now();
        let mut clocks = Clocks::new(false, start);
        clocks.message();
        for second in 100..120 {
            clocks.heard(after(start, second));
            clocks.waits(true, after(start, second));
            assert_eq!(clocks.due(after(start, second)), None);
        }
        assert_eq!(clocks.due(after(start, 120)), Some(Due::End("slow_sender")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_pong_is_a_dead_flow_once_the_peer_has_answered_one() {
        let start = Instant::now();
        let mut clocks = Clocks::new(true, start);
        assert_eq!(clocks.due(after(start, 90)), Some(Due::Ping));
        // It may not know RFC 5626.
        assert_eq!(clocks.due(after(start, 110)), None);
        assert_eq!(clocks.due(after(start, 180)), Some(Due::Ping));
        assert!(clocks.heard(after(start, 181)));
        assert_eq!(clocks.due(after(start, 270)), Some(Due::Ping));
        assert_eq!((clocks.due(after(start, 279)), clocks.due(after(start, 280))), (None, Some(Due::End("no_pong"))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_called_us_is_not_pinged() {
        let start = Instant::now();
        let mut clocks = Clocks::new(false, start);
        clocks.message();
        assert_eq!(clocks.due(after(start, 3599)), None);
    }
}
