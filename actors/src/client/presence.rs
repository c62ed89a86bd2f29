//! Presence of app users: ONLINE, UNREACHABLE when silent for more than 6 s, OFFLINE when silent for more than 30 s or logged
//! out. A query never says UNREACHABLE; only a subscription does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::model::ids::UserId;

/// Longer silence is UNREACHABLE.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(6);
/// Longer silence is OFFLINE.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(30);
/// Users that one query names, and that one connection may watch.
pub const MAX_USERS: usize = 512;

/// A user's presence; the best of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// 0.
    Online,
    /// 1.
    Unreachable,
    /// 2.
    Offline,
}

impl Presence {
    /// By how long nothing was heard.
    pub fn after_silence(silent: Duration) -> Self {
        if silent > OFFLINE_AFTER {
            Self::Offline
        } else if silent > UNREACHABLE_AFTER {
            Self::Unreachable
        } else {
            Self::Online
        }
    }

    /// As a query is answered.
    pub fn queried(self) -> Self {
        match self {
            Self::Online | Self::Unreachable => Self::Online,
            Self::Offline => Self::Offline,
        }
    }

    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Online => 0,
            Self::Unreachable => 1,
            Self::Offline => 2,
        }
    }
}

/// A user's presence now, read from the ledger.
pub fn of(ctx: &Ctx, user: &UserId) -> Presence {
    let now = ctx.wall();
    let connections = ctx.directory.users.clients(user);
    let each = connections.iter().filter_map(|client| ctx.ledger.clients.read(client, |row| row.presence(now)));
    each.min().unwrap_or(Presence::Offline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_seconds_of_silence_are_unreachable_and_thirty_offline() {
        let after = |ms| Presence::after_silence(Duration::from_millis(ms));
        assert_eq!([after(0), after(6_000), after(6_001)], [Presence::Online, Presence::Online, Presence::Unreachable]);
        assert_eq!([after(30_000), after(30_001)], [Presence::Unreachable, Presence::Offline]);
    }

    #[test]
    fn a_query_never_says_unreachable() {
        assert_eq!(Presence::Unreachable.queried(), Presence::Online);
        assert_eq!(Presence::Offline.queried(), Presence::Offline);
    }
}
