//! Session timers (RFC 4028): what a request asks, what our 2xx answers (§9), what a peer's 2xx means (§7.2), and when we
//! refresh or give the session up (§10).
//!
//! One timer runs on each side of the switch by itself: a B2BUA is a UA on each.

use std::time::Duration;

use tokio::time::Instant;

use super::super::message::view;
use super::super::message::write::Writer;
use super::super::message::{HeaderName, Message};

/// The option tag.
pub const TAG: &str = "timer";
/// No interval may be shorter, seconds (§5).
pub const SHORTEST: u32 = 90;
/// A peer's 2xx that grants less than this is taken for this, seconds: it may refresh as it likes, we do not for its sake.
const FASTEST: u32 = 10;

/// What we want of sessions with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Seconds asked for; 0: a timer is not asked for, but kept where the peer asks.
    pub expires: u32,
    /// Shortest interval we accept, seconds; at least [`SHORTEST`].
    pub min_se: u32,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self { expires: 1800, min_se: SHORTEST }
    }
}

/// Who refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// We do.
    Us,
    /// The peer does.
    Peer,
}

/// What a message says of the timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Session-Expires, seconds.
    pub interval: Option<u32>,
    /// Its refresher parameter: whether it is `uac`.
    by_uac: Option<bool>,
    /// Min-SE.
    min_se: Option<u32>,
    /// Whether its sender knows session timers.
    knows: bool,
}

impl Said {
    /// Reads a message.
    pub fn of(message: &Message) -> Self {
        let value = message.get(HeaderName::SessionExpires);
        let refresher = value.as_deref().and_then(|value| view::parameter(value, "refresher"));
        Self {
            interval: value.as_deref().and_then(view::seconds),
            by_uac: refresher.and_then(|who| {
                let is = |what: &[u8]| who.eq_ignore_ascii_case(what);
                (is(b"uac") || is(b"uas")).then(|| is(b"uac"))
            }),
            min_se: message.get(HeaderName::MinSe).and_then(|value| view::seconds(&value)),
            knows: message.lists(HeaderName::Supported, TAG) || message.lists(HeaderName::Require, TAG),
        }
    }

    /// The Min-SE of a 422.
    pub fn least(&self) -> Option<u32> {
        self.min_se
    }

    /// Whether a request's interval is refused with 422 (§9). A proxy may have put it there for a UAC that knows no timers and
    /// would not understand the refusal.
    pub fn too_small(&self, policy: SessionPolicy) -> bool {
        self.knows && self.interval.is_some_and(|interval| interval < policy.min_se.max(SHORTEST))
    }
}

/// A session that ends unless it is refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    /// Seconds.
    pub interval: u32,
    /// Who refreshes; agreed on once and kept.
    pub refresher: Refresher,
    /// Whether the peer knows timers, so that our 2xx may require it.
    peer_knows: bool,
    /// When we refresh; `None` while a refresh is under way, or the peer's.
    refresh_at: Option<Instant>,
    expires_at: Instant,
}

/// What time asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Refresh.
    Refresh,
    /// Nobody refreshed: BYE.
    Expired,
}

impl SessionTimer {
    fn new(interval: u32, refresher: Refresher, peer_knows: bool, now: Instant) -> Self {
        // §10: refreshed at half; ended a little before it expires.
        let after = |seconds: u32| now + Duration::from_secs(u64::from(seconds));
        Self {
            interval,
            refresher,
            peer_knows,
            refresh_at: (refresher == Refresher::Us).then(|| after(interval / 2)),
            expires_at: after(interval - (interval / 3).min(32)),
        }
    }

    /// What our 2xx to a request says (§9, table 2); `current`: the timer that runs.
    pub fn as_uas(said: Said, policy: SessionPolicy, current: Option<&Self>, now: Instant) -> Option<Self> {
        let kept = current.map(|timer| timer.refresher);
        match said.interval {
            Some(asked) => {
                let wanted = if policy.expires == 0 { asked } else { asked.min(policy.expires) };
                let interval = wanted.max(said.min_se.unwrap_or(0)).max(SHORTEST).min(asked.max(SHORTEST));
                let refresher = match (said.knows, said.by_uac) {
                    (false, _) | (true, Some(false)) => Refresher::Us,
                    (true, Some(true)) => Refresher::Peer,
                    (true, None) => kept.unwrap_or(Refresher::Peer),
                };
                Some(Self::new(interval, refresher, said.knows, now))
            }
            None if said.knows && policy.expires > 0 => {
                let interval = policy.expires.max(said.min_se.unwrap_or(0)).max(SHORTEST);
                Some(Self::new(interval, kept.unwrap_or(Refresher::Us), true, now))
            }
            // A phone that knows no timers is not asked to answer refreshes; its silence is noticed by its media.
            None => None,
        }
    }

    /// What a peer's 2xx to a request of ours means (§7.2); `None`: no timer runs any more.
    pub fn as_uac(said: Said, now: Instant) -> Option<Self> {
        let refresher = if said.by_uac == Some(false) { Refresher::Peer } else { Refresher::Us };
        said.interval.map(|interval| Self::new(interval.max(FASTEST), refresher, true, now))
    }

    /// When [`SessionTimer::due`] is to be asked.
    pub fn deadline(&self) -> Instant {
        self.refresh_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    /// What time asks for.
    pub fn due(&self, now: Instant) -> Due {
        if now >= self.expires_at {
            Due::Expired
        } else if self.refresh_at.is_some_and(|at| now >= at) {
            Due::Refresh
        } else {
            Due::Nothing
        }
    }

    /// A refresh is on its way.
    pub fn refreshing(&mut self) {
        self.refresh_at = None;
    }

    /// A refresh was answered by a failure that says nothing of the dialog: once more, after this or half of what is left.
    pub fn again(&mut self, wait: Option<Duration>, now: Instant) {
        let left = self.expires_at.saturating_duration_since(now);
        self.refresh_at = Some(now + wait.unwrap_or(left / 2).min(left));
    }

    /// Into a 2xx of ours.
    pub fn write(&self, writer: &mut Writer) {
        let refresher = match self.refresher {
            Refresher::Us => "uas",
            Refresher::Peer => "uac",
        };
        writer.header(HeaderName::SessionExpires, format_args!("{};refresher={refresher}", self.interval));
        if self.peer_knows {
            writer.header(HeaderName::Require, TAG);
        }
    }

    /// Session-Expires of a request of ours inside the dialog: the roles are kept.
    pub fn asked(&self) -> String {
        let refresher = match self.refresher {
            Refresher::Us => "uac",
            Refresher::Peer => "uas",
        };
        format!("{};refresher={refresher}", self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: Said = Said { interval: Some(1800), by_uac: None, min_se: None, knows: true };

    fn seconds(timer: SessionTimer, now: Instant) -> (u64, u64) {
        ((timer.deadline() - now).as_secs(), (timer.expires_at - now).as_secs())
    }

    fn uas(said: Said, current: Option<&SessionTimer>) -> Option<SessionTimer> {
        SessionTimer::as_uas(said, SessionPolicy::default(), current, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_is_sent_at_half_and_the_end_comes_a_third_or_32_s_before() {
        let now = Instant::now();
        let ours = SessionTimer::new(1800, Refresher::Us, true, now);
        assert_eq!(seconds(ours, now), (900, 1768));
        assert_eq!(seconds(SessionTimer::new(90, Refresher::Peer, true, now), now), (60, 60));
        assert_eq!(ours.due(now + Duration::from_secs(900)), Due::Refresh);
        assert_eq!(ours.due(now + Duration::from_secs(1768)), Due::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn the_refresher_named_in_the_request_is_taken_and_otherwise_the_role_is_kept() {
        let named = |by_uac| uas(Said { by_uac, ..ASKS }, None).map(|timer| timer.refresher);
        assert_eq!(named(Some(true)), Some(Refresher::Peer));
        assert_eq!(named(Some(false)), Some(Refresher::Us));
        assert_eq!(named(None), Some(Refresher::Peer));
        let ours = SessionTimer::new(1800, Refresher::Us, true, Instant::now());
        assert_eq!(uas(ASKS, Some(&ours)).map(|timer| timer.refresher), Some(Refresher::Us));
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_no_timers_is_not_asked_to_refresh_and_is_not_required_to() {
        let by_proxy = uas(Said { knows: false, ..ASKS }, None).expect("a timer");
        let mut writer = Writer::response(200);
        by_proxy.write(&mut writer);
        let text = String::from_utf8_lossy(&writer.finish("", b"")).into_owned();
        assert!(text.contains("Session-Expires: 1800;refresher=uas\r\n") && !text.contains("Require"), "{text}");
        assert_eq!(uas(Said { interval: None, knows: false, ..ASKS }, None), None);
        let small = Said { interval: Some(60), ..ASKS };
        assert!(small.too_small(SessionPolicy::default()));
        assert!(!Said { knows: false, ..small }.too_small(SessionPolicy::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_is_lowered_to_ours_but_never_below_min_se_and_never_raised() {
        let interval = |asked, min_se| uas(Said { interval: Some(asked), min_se, ..ASKS }, None).map(|t| t.interval);
        assert_eq!(interval(7200, None), Some(1800));
        assert_eq!(interval(7200, Some(3600)), Some(3600));
        assert_eq!(interval(600, None), Some(600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_knows_timers_and_asks_for_none_is_given_one() {
        let given = uas(Said { interval: None, ..ASKS }, None).expect("a timer");
        assert_eq!((given.interval, given.refresher), (1800, Refresher::Us));
        let off = SessionPolicy { expires: 0, ..SessionPolicy::default() };
        assert_eq!(SessionTimer::as_uas(Said { interval: None, ..ASKS }, off, None, Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_2xx_without_session_expires_ends_the_timer() {
        let now = Instant::now();
        assert_eq!(SessionTimer::as_uac(Said { interval: None, ..ASKS }, now), None);
        let theirs = SessionTimer::as_uac(Said { by_uac: Some(false), ..ASKS }, now).expect("a timer");
        assert_eq!((theirs.refresher, theirs.asked().as_str()), (Refresher::Peer, "1800;refresher=uas"));
        let ours = SessionTimer::as_uac(ASKS, now).expect("a timer");
        assert_eq!((ours.refresher, ours.asked().as_str()), (Refresher::Us, "1800;refresher=uac"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_failed_is_tried_again_before_the_end() {
        let now = Instant::now();
        let mut timer = SessionTimer::new(1800, Refresher::Us, true, now);
        timer.refreshing();
        assert_eq!(timer.deadline(), timer.expires_at);
        timer.again(None, now);
        assert_eq!(seconds(timer, now).0, 884);
        timer.again(Some(Duration::from_secs(3)), now);
        assert_eq!(seconds(timer, now).0, 3);
    }
}
