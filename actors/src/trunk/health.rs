//! Whether a trunk is alive, by OPTIONS (RFC 3261 §11). Pure.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::registration::NO_OUTCOME;

/// What is known of a trunk's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// OPTIONS are switched off.
    NotAsked,
    /// Asked at intervals.
    Asked {
        /// The last answer; `None` before the first.
        alive: Option<bool>,
        /// An OPTIONS is out since then.
        pending: Option<SystemTime>,
        /// The next one is due then.
        next_at: SystemTime,
    },
}

impl Health {
    /// Before the first question, which is due at once.
    pub fn new(interval: Option<Duration>, now: SystemTime) -> Self {
        match interval {
            Some(_) => Self::Asked { alive: None, pending: None, next_at: now },
            None => Self::NotAsked,
        }
    }

    /// Time passed: whether to send an OPTIONS now.
    pub fn tick(self, interval: Duration, now: SystemTime) -> (Self, bool) {
        match self {
            Self::NotAsked => (self, false),
            Self::Asked { alive, pending: Some(since), next_at } if now >= since + NO_OUTCOME => {
                // The answer was lost on its way to us: that says nothing about the trunk.
                Self::Asked { alive, pending: None, next_at }.tick(interval, now)
            }
            Self::Asked { alive, pending: None, next_at } if now >= next_at => {
                (Self::Asked { alive, pending: Some(now), next_at: now + interval }, true)
            }
            Self::Asked { .. } => (self, false),
        }
    }

    /// The answer came, or did not.
    #[must_use]
    pub fn answered(self, lives: bool) -> Self {
        match self {
            Self::NotAsked => self,
            Self::Asked { next_at, .. } => Self::Asked { alive: Some(lives), pending: None, next_at },
        }
    }

    /// When the next tick is due.
    pub fn wake_at(self) -> Option<SystemTime> {
        match self {
            Self::NotAsked => None,
            Self::Asked { pending: Some(since), .. } => Some(since + NO_OUTCOME),
            Self::Asked { pending: None, next_at, .. } => Some(next_at),
        }
    }

    /// Whether it answered last time; `None` while not known.
    pub fn alive(self) -> Option<bool> {
        match self {
            Self::NotAsked => None,
            Self::Asked { alive, .. } => alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_asked_at_once_and_then_every_interval() {
        let (health, ask) = Health::new(Some(EVERY), at(0)).tick(EVERY, at(0));
        assert!(ask && health.alive().is_none());
        let health = health.answered(true);
        assert_eq!((health.alive(), health.wake_at()), (Some(true), Some(at(30))));
        assert!(!health.tick(EVERY, at(29)).1);
        assert!(health.tick(EVERY, at(30)).1);
    }

    #[test]
    fn one_question_at_a_time_and_a_lost_answer_is_asked_again() {
        let (health, _) = Health::new(Some(EVERY), at(0)).tick(EVERY, at(0));
        assert!(!health.tick(EVERY, at(35)).1);
        assert!(health.tick(EVERY, at(40)).1);
    }

    #[test]
    fn switched_off_it_is_never_asked() {
        assert_eq!(Health::new(None, at(0)).tick(EVERY, at(99)), (Health::NotAsked, false));
    }
}
