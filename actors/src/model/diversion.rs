//! By whom a call was sent on before it came here, and why: what Diversion (RFC 5806) and History-Info (RFC 7044) say alike.

use serde::{Deserialize, Serialize};

/// One who sent the call on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diversion {
    /// Display name; may be empty.
    pub display: String,
    /// Number or user id.
    pub number: String,
    /// Why.
    pub reason: DiversionReason,
    /// How often, where several are told as one.
    pub times: u16,
    /// It is not to be shown to the callee.
    pub private: bool,
}

impl Diversion {
    /// By us.
    pub fn new(number: impl Into<String>, reason: DiversionReason) -> Self {
        Self { display: String::new(), number: number.into(), reason, times: 1, private: false }
    }
}

/// Why a call was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiversionReason {
    /// It does not say.
    Unknown,
    /// Busy.
    UserBusy,
    /// It rang in vain.
    NoAnswer,
    /// Not reached.
    Unavailable,
    /// Always.
    Unconditional,
    /// At this hour.
    TimeOfDay,
    /// Do not disturb.
    DoNotDisturb,
    /// By the callee, while it rang.
    Deflection,
    /// To where the callee is.
    FollowMe,
    /// Out of service.
    OutOfService,
    /// Away.
    Away,
}

impl DiversionReason {
    const ALL: [Self; 11] = [
        Self::Unknown,
        Self::UserBusy,
        Self::NoAnswer,
        Self::Unavailable,
        Self::Unconditional,
        Self::TimeOfDay,
        Self::DoNotDisturb,
        Self::Deflection,
        Self::FollowMe,
        Self::OutOfService,
        Self::Away,
    ];

    /// As Diversion writes it (RFC 5806 §4).
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::UserBusy => "user-busy",
            Self::NoAnswer => "no-answer",
            Self::Unavailable => "unavailable",
            Self::Unconditional => "unconditional",
            Self::TimeOfDay => "time-of-day",
            Self::DoNotDisturb => "do-not-disturb",
            Self::Deflection => "deflection",
            Self::FollowMe => "follow-me",
            Self::OutOfService => "out-of-service",
            Self::Away => "away",
        }
    }

    /// What Diversion writes; anything else is unknown.
    pub fn of_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.word().eq_ignore_ascii_case(word)).unwrap_or(Self::Unknown)
    }

    /// The `cause` of the URI it was sent on to (RFC 4458 §2, RFC 7544 §6).
    pub fn cause(self) -> u16 {
        match self {
            Self::UserBusy => 486,
            Self::NoAnswer => 408,
            Self::Unavailable => 503,
            Self::Unconditional => 302,
            Self::Deflection => 480,
            Self::Unknown | Self::TimeOfDay | Self::DoNotDisturb | Self::FollowMe | Self::OutOfService | Self::Away => {
                404
            }
        }
    }

    /// What a `cause` means (RFC 4458 §2, RFC 7544 §7).
    pub fn of_cause(cause: u16) -> Self {
        match cause {
            302 => Self::Unconditional,
            486 => Self::UserBusy,
            408 => Self::NoAnswer,
            480 | 487 => Self::Deflection,
            503 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_known_by_its_word_whatever_the_case() {
        for reason in DiversionReason::ALL {
            assert_eq!(DiversionReason::of_word(&reason.word().to_uppercase()), reason);
        }
        assert_eq!(DiversionReason::of_word("whim"), DiversionReason::Unknown);
    }

    #[test]
    fn reasons_and_causes_are_mapped_as_rfc_7544_says() {
        for (reason, cause) in [
            (DiversionReason::Unconditional, 302),
            (DiversionReason::UserBusy, 486),
            (DiversionReason::NoAnswer, 408),
            (DiversionReason::Deflection, 480),
            (DiversionReason::Unavailable, 503),
            (DiversionReason::Unknown, 404),
        ] {
            assert_eq!((reason.cause(), DiversionReason::of_cause(cause)), (cause, reason));
        }
        assert_eq!(DiversionReason::of_cause(487), DiversionReason::Deflection, "while it rang");
    }
}
