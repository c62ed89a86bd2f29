//! How targets have fared lately, whoever sent to them: one that did not answer is tried last, one that asked for rest is left
//! alone (RFC 3261 §21.5.4, RFC 3263 §4.3). Pure; it is told the time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tandem_actors::model::address::Transport;
use tokio::time::Instant;

/// A target that failed once is tried again after this, then after twice as long, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// A target that asks for more rest is asked again after this: a mistaken Retry-After must not take a trunk away for an hour.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Most targets in trouble that are remembered.
const MOST: usize = 4096;

/// A target.
pub(super) type Peer = (Transport, SocketAddr);

/// Those in trouble; every other is fine.
#[derive(Debug, Default)]
pub(super) struct Targets {
    failed: HashMap<Peer, Failed>,
    /// Those that said 503 with Retry-After, and until when. By address: it is the server that rests, and a request that goes by TCP for
    /// its size is no way around it. Nothing ends a rest early: requests of calls that are up are answered meanwhile.
    resting: HashMap<SocketAddr, Instant>,
}

/// It failed this often in a row; it is due to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed {
    failures: u32,
    again: Instant,
}

/// What may be sent to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Everything.
    Up,
    /// What no other target takes.
    Down,
    /// Nothing new.
    Resting,
}

impl Targets {
    /// It did not answer, or cannot be connected to; whether that is news.
    pub fn failed(&mut self, peer: Peer, now: Instant) -> bool {
        let failures = self.failed.get(&peer).map_or(1, |failed| failed.failures.saturating_add(1));
        if self.failed.len() >= MOST {
            self.failed.retain(|_, failed| failed.again > now);
            if self.failed.len() >= MOST {
                return false;
            }
        }
        let wait = SHORTEST.saturating_mul(1 << (failures - 1).min(8)).min(LONGEST);
        self.failed.insert(peer, Failed { failures, again: now + wait });
        failures == 1
    }

    /// It answered; whether it had failed before.
    pub fn answered(&mut self, peer: Peer) -> bool {
        self.failed.remove(&peer).is_some()
    }

    /// It wants nothing new for so long.
    pub fn rests(&mut self, server: SocketAddr, rest: Duration, now: Instant) {
        if self.resting.len() >= MOST {
            self.resting.retain(|_, until| *until > now);
        }
        if !rest.is_zero() && self.resting.len() < MOST {
            self.resting.insert(server, now + rest.min(LONGEST_REST));
        }
    }

    /// What may be sent to it.
    pub fn standing(&self, peer: Peer, now: Instant) -> Standing {
        if self.resting.get(&peer.1).is_some_and(|until| *until > now) {
            Standing::Resting
        } else if self.failed.get(&peer).is_some_and(|failed| failed.again > now) {
            Standing::Down
        } else {
            Standing::Up
        }
    }

    /// Whether it failed and is to be asked now whether it is back; it stays down until it has answered, or not within `limit`.
    pub fn due(&mut self, peer: Peer, limit: Duration, now: Instant) -> bool {
        match self.failed.get_mut(&peer) {
            Some(failed) if failed.again <= now => {
                failed.again = now + limit;
                true
            }
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u16) -> Peer {
        (Transport::Udp, SocketAddr::from(([192, 0, 2, 1], n)))
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_fails_is_down_for_5_s_then_twice_as_long_up_to_a_minute() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        for (nth, wait) in [5, 10, 20, 40, 60, 60].into_iter().enumerate() {
            assert_eq!(targets.failed(peer(1), now), nth == 0, "only the first is news");
            assert_eq!(targets.standing(peer(1), now + s(wait) - Duration::from_millis(1)), Standing::Down);
            assert_eq!(targets.standing(peer(1), now + s(wait)), Standing::Up);
        }
        assert_eq!(targets.standing(peer(2), now), Standing::Up);
        assert!(targets.answered(peer(1)));
        assert_eq!((targets.standing(peer(1), now), targets.failed(peer(1), now)), (Standing::Up, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_is_asked_once_whether_it_is_back_and_stays_down_until_it_says_so() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        targets.failed(peer(1), now);
        assert!(!targets.due(peer(1), s(4), now + s(4)) && targets.due(peer(1), s(4), now + s(5)));
        assert!(!targets.due(peer(1), s(4), now + s(6)));
        assert_eq!(targets.standing(peer(1), now + s(6)), Standing::Down);
        assert!(!targets.due(peer(2), s(4), now + s(6)), "one that is fine is not asked");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_up_to_a_minute() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        for (asked, kept) in [(7, 7), (3600, 60)] {
            targets.rests(peer(1).1, s(asked), now);
            assert_eq!(targets.standing(peer(1), now + s(kept) - Duration::from_millis(1)), Standing::Resting);
            assert_eq!(targets.standing(peer(1), now + s(kept)), Standing::Up);
        }
        assert!(!targets.due(peer(1), s(4), now + s(90)));
        targets.rests(peer(2).1, s(0), now);
        assert_eq!(targets.standing(peer(2), now), Standing::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_rests_whatever_it_is_asked_by_and_whatever_it_answers_meanwhile() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        targets.rests(peer(1).1, s(20), now);
        assert!(!targets.answered(peer(1)), "a BYE");
        assert_eq!(targets.standing(peer(1), now), Standing::Resting);
        assert_eq!(targets.standing((Transport::Tcp, peer(1).1), now), Standing::Resting);
    }

    #[tokio::test(start_paused = true)]
    async fn troubles_remembered_are_bounded() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        for n in 0..u16::MAX {
            targets.failed(peer(n), now);
            targets.rests(peer(n).1, s(5), now);
        }
        assert_eq!((targets.failed.len(), targets.resting.len()), (MOST, MOST));
        targets.failed(peer(u16::MAX), now + s(6));
        targets.rests(peer(u16::MAX).1, s(5), now + s(6));
        assert_eq!((targets.failed.len(), targets.resting.len()), (1, 1));
    }
}
