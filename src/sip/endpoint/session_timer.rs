//! RFC 4028 as far as answering and refreshing goes.

use tokio::time::Instant;

use super::*;

/// Shortest session interval we accept, seconds (RFC 4028 §5).
pub(super) const MIN_SE: u32 = 90;

/// RFC 4028: who refreshes, and when something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionTimer {
    pub interval: u32,
    /// We refresh, not the peer.
    pub ours: bool,
    pub at: Instant,
}

impl SessionTimer {
    pub fn new(interval: u32, ours: bool, now: Instant) -> Self {
        // §10: refresh at half; the other side ends it a little before it expires.
        let wait = if ours { interval / 2 } else { interval - (interval / 3).min(32) };
        Self { interval, ours, at: now + Duration::from_secs(u64::from(wait)) }
    }

    /// What a request with Session-Expires asks of us as UAS.
    pub fn asked(request: &Message, now: Instant) -> Option<Self> {
        let value = request.get(HeaderName::SessionExpires)?;
        let knows = request.lists(HeaderName::Supported, "timer") || request.lists(HeaderName::Require, "timer");
        let interval = view::seconds(&value).filter(|interval| *interval >= MIN_SE)?;
        let ours = view::parameter(&value, "refresher").is_some_and(|who| who.eq_ignore_ascii_case(b"uas"));
        knows.then(|| Self::new(interval, ours, now))
    }

    /// Whether a request's interval is too small: 422 (RFC 4028 §9).
    pub fn too_small(request: &Message) -> bool {
        let value = request.get(HeaderName::SessionExpires);
        value.and_then(|value| view::seconds(&value)).is_some_and(|interval| interval < MIN_SE)
    }

    /// Into a 2xx.
    pub fn write(&self, writer: &mut Writer) {
        let refresher = if self.ours { "uas" } else { "uac" };
        writer
            .header(HeaderName::SessionExpires, format_args!("{};refresher={refresher}", self.interval))
            .header(HeaderName::Require, "timer");
    }
}
