//! Where a peer stands, told the time: connecting, connected, consent missing, over (RFC 7675, seen from a lite agent).
//!
//! ```text
//!               Secured                     7 s without a check, or DTLS closed
//!   Connecting ---------> Connected  -------------------------------------------> Disconnected
//!       |  ^                  |  ^________________ Checked ___________________________|   |
//!       |  |___ Renewed ______|______________________________________________________|   | 30 s without a check
//!       |  15 s without Secured, Broken                                                   v
//!       +------------------------------------------------------------------------------> Failed
//! ```
//! A lite agent sends no checks, so consent is what the peer's own authenticated checks show. RFC 7675 §5.1 lets a peer wait 5 s
//! and a fifth longer between two of them: missing means 7 s, for less would make peers flap that follow it.

use std::time::{Duration, Instant};

use tandem_actors::ports::rtc::{PeerState, RtcEventKind};

/// A peer that has not finished ICE and DTLS this long after its offer fails.
pub const HANDSHAKE: Duration = Duration::from_secs(15);
/// Without a check for this long, consent is missing.
pub const MISSING: Duration = Duration::from_secs(7);
/// Without a check for this long, consent is lost (RFC 7675 §5.1).
pub const LOST: Duration = Duration::from_secs(30);

/// A peer's phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// ICE or DTLS under way.
    Connecting {
        /// When it fails.
        until: Instant,
    },
    /// Media flows.
    Connected {
        /// The last authenticated check.
        checked: Instant,
    },
    /// Consent is missing.
    Disconnected {
        /// The last authenticated check.
        checked: Instant,
    },
    /// Over.
    Failed,
}

/// What a phase hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An authenticated check came.
    Checked,
    /// The DTLS handshake is done, keys are handed over.
    Secured,
    /// The DTLS handshake failed: plain words why.
    Broken(String),
    /// The peer closed DTLS. It may come back with a new offer (a page was loaded again), so this is not the end.
    Closed,
    /// An offer with another certificate: DTLS begins anew.
    Renewed,
    /// Time has passed; `waiting_for` says what a handshake still waits for.
    Tick {
        /// Plain words.
        waiting_for: &'static str,
    },
}

impl Phase {
    /// A new peer's.
    pub fn new(now: Instant) -> Self {
        Phase::Connecting { until: now + HANDSHAKE }
    }

    /// One step: the next phase, and what the peer's leg is told.
    pub fn step(self, input: Input, now: Instant) -> (Self, Option<RtcEventKind>) {
        match (self, input) {
            (Phase::Failed, _) => (Phase::Failed, None),
            (Phase::Connecting { .. } | Phase::Connected { .. } | Phase::Disconnected { .. }, Input::Renewed) => {
                (Phase::new(now), None)
            }
            (Phase::Connecting { .. }, Input::Secured) => {
                (Phase::Connected { checked: now }, Some(RtcEventKind::Connected))
            }
            (Phase::Connecting { .. }, Input::Broken(why)) => (Phase::Failed, Some(RtcEventKind::Failed(why))),
            (Phase::Connecting { .. }, Input::Closed) => {
                (Phase::Failed, Some(RtcEventKind::Failed("the peer closed DTLS during the handshake".into())))
            }
            (Phase::Connecting { until }, Input::Tick { waiting_for }) if now >= until => {
                (Phase::Failed, Some(RtcEventKind::Failed(format!("no connection within 15 s: {waiting_for}"))))
            }
            (Phase::Connecting { until }, Input::Checked | Input::Tick { .. }) => (Phase::Connecting { until }, None),
            (Phase::Connected { .. }, Input::Checked) => (Phase::Connected { checked: now }, None),
            (Phase::Connected { checked }, Input::Closed) => {
                (Phase::Disconnected { checked }, Some(RtcEventKind::Disconnected))
            }
            (Phase::Connected { checked }, Input::Tick { .. }) if now >= checked + MISSING => {
                (Phase::Disconnected { checked }, Some(RtcEventKind::Disconnected))
            }
            (Phase::Disconnected { .. }, Input::Checked) => {
                (Phase::Connected { checked: now }, Some(RtcEventKind::Reconnected))
            }
            (Phase::Disconnected { checked }, Input::Tick { .. }) if now >= checked + LOST => {
                (Phase::Failed, Some(RtcEventKind::Failed("no consent for 30 s".into())))
            }
            // Once secured, an error on the DTLS association takes nothing from SRTP.
            (phase @ (Phase::Connected { .. } | Phase::Disconnected { .. }), Input::Secured | Input::Broken(_)) => {
                (phase, None)
            }
            (phase @ Phase::Connected { .. }, Input::Tick { .. }) => (phase, None),
            (phase @ Phase::Disconnected { .. }, Input::Closed | Input::Tick { .. }) => (phase, None),
        }
    }

    /// As the port's snapshot says it.
    pub fn state(&self) -> PeerState {
        match self {
            Phase::Connecting { .. } => PeerState::Connecting,
            Phase::Connected { .. } => PeerState::Connected,
            Phase::Disconnected { .. } => PeerState::Disconnected,
            Phase::Failed => PeerState::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Input = Input::Tick { waiting_for: "no ICE check came" };

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn connected(now: Instant) -> Phase {
        Phase::new(now).step(Input::Secured, now).0
    }

    #[test]
    fn a_handshake_that_is_not_done_in_15_s_fails_with_what_it_waited_for() {
        let now = start();
        let (phase, told) = Phase::new(now).step(TICK, now + HANDSHAKE - Duration::from_millis(1));
        assert_eq!((phase.state(), told), (PeerState::Connecting, None));
        let (phase, told) = phase.step(TICK, now + HANDSHAKE);
        assert_eq!(phase, Phase::Failed);
        assert_eq!(told, Some(RtcEventKind::Failed("no connection within 15 s: no ICE check came".into())));
    }

    #[test]
    fn consent_is_missing_after_7_s_and_lost_after_30() {
        let now = start();
        let (phase, told) = connected(now).step(TICK, now + MISSING);
        assert_eq!((phase.state(), told), (PeerState::Disconnected, Some(RtcEventKind::Disconnected)));
        let (phase, told) = phase.step(TICK, now + LOST - Duration::from_millis(1));
        assert_eq!((phase.state(), told), (PeerState::Disconnected, None));
        let (phase, told) = phase.step(TICK, now + LOST);
        assert_eq!((phase, told), (Phase::Failed, Some(RtcEventKind::Failed("no consent for 30 s".into()))));
    }

    #[test]
    fn a_peer_that_checks_as_slowly_as_rfc_7675_allows_never_flaps() {
        let mut now = start();
        let mut phase = connected(now);
        for _ in 0..100 {
            now += Duration::from_millis(6000);
            for input in [TICK, Input::Checked] {
                let (next, told) = phase.step(input, now);
                assert_eq!(told, None);
                phase = next;
            }
        }
    }

    #[test]
    fn a_check_brings_consent_back() {
        let now = start();
        let (phase, _) = connected(now).step(TICK, now + MISSING);
        let (phase, told) = phase.step(Input::Checked, now + MISSING);
        assert_eq!((phase.state(), told), (PeerState::Connected, Some(RtcEventKind::Reconnected)));
    }

    #[test]
    fn a_broken_handshake_fails_and_a_broken_association_does_not() {
        let now = start();
        let (phase, told) = Phase::new(now).step(Input::Broken("alert".into()), now);
        assert_eq!((phase, told), (Phase::Failed, Some(RtcEventKind::Failed("alert".into()))));
        let (phase, told) = connected(now).step(Input::Broken("alert".into()), now);
        assert_eq!((phase.state(), told), (PeerState::Connected, None));
    }

    #[test]
    fn a_closed_association_may_be_renewed() {
        let now = start();
        let (phase, told) = connected(now).step(Input::Closed, now);
        assert_eq!((phase.state(), told), (PeerState::Disconnected, Some(RtcEventKind::Disconnected)));
        assert_eq!(phase.step(Input::Renewed, now).0, Phase::new(now));
    }

    #[test]
    fn nothing_wakes_a_failed_peer() {
        let now = start();
        for input in [Input::Renewed, Input::Checked, Input::Secured, Input::Closed, Input::Broken(String::new()), TICK]
        {
            assert_eq!(Phase::Failed.step(input, now + LOST), (Phase::Failed, None));
        }
    }
}
