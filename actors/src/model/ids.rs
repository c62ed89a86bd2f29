//! Identifiers as newtypes, printed as logs show them (`call-9c1e0f…`, `trunk-acme`). No bare integer or `String` crosses a
//! module boundary as an id.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text does not begin with the kind's prefix, or its digits are not hexadecimal.
    #[error("expected `{prefix}-` and up to 16 hexadecimal digits")]
    Malformed {
        /// The prefix of the kind that was asked for.
        prefix: &'static str,
    },
    /// A name is empty, longer than allowed, or a reserved word.
    #[error("a {kind} is 1 to {max} bytes of UTF-8 without control characters, and not \"null\"")]
    Name {
        /// What was being named.
        kind: &'static str,
        /// The longest allowed name, bytes.
        max: usize,
    },
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl $name {
            /// A fresh identifier, drawn at random: unique across restarts, and not guessable from an earlier one.
            pub fn random() -> Self {
                Self(rand::random())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{:016x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .filter(|digits| !digits.is_empty() && digits.len() <= 16)
                    .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                    .map(Self)
                    .ok_or(IdError::Malformed { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the name's length and characters.
            ///
            /// # Errors
            /// [`IdError::Name`] when it is empty, too long, has control characters, or is the word "null".
            pub fn new(name: &str) -> Result<Self, IdError> {
                if name.is_empty() || name.len() > $max || name == "null" || name.chars().any(char::is_control) {
                    return Err(IdError::Name { kind: $kind, max: $max });
                }
                Ok(Self(name.into()))
            }

            /// The bare name, as users write it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, "-{}"), self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

number_id!(
    /// What a person calls a call: two or more legs, a flow, one CDR.
    CallId, "call"
);
number_id!(
    /// One party's half of a call.
    LegId, "leg"
);
number_id!(
    /// SIP's view of a leg: one INVITE usage with its early and confirmed dialogs, UAC or UAS.
    DialogId, "dlg"
);
number_id!(
    /// WebRTC's view of a leg: one ICE and DTLS association.
    PeerId, "peer"
);
number_id!(
    /// One media session: one RTP stream each way, of one leg.
    MediaId, "media"
);
number_id!(
    /// One invitation, caller's and callee's side together.
    InvitationId, "inv"
);
number_id!(
    /// One app user's signalling connection (a WebSocket and what survives its loss).
    ClientId, "client"
);
name_id!(
    /// An app user.
    UserId, "user", 64
);
name_id!(
    /// A room where parties are mixed.
    RoomId, "room", 64
);
name_id!(
    /// A configured trunk.
    TrunkId, "trunk", 64
);
name_id!(
    /// A line of a trunk: a SIM of a gateway.
    LineId, "line", 64
);
name_id!(
    /// A configured SIP listener.
    ListenerId, "listener", 64
);
name_id!(
    /// A configured IVR service (its user id and its number lead to one flow).
    ServiceId, "service", 64
);
name_id!(
    /// The user part of a SIP address of record in our domain: a desk phone, a gateway.
    SubscriberId, "subscriber", 64
);

/// One media thread; its actor twin has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerId(pub u16);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "media-{}", self.0)
    }
}

/// The fencing token: each incarnation of an actor is the last one's plus one. Commands and commits carry it; older ones are
/// refused and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch of the next incarnation.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_id_reads_back_what_it_prints() {
        let id = CallId(0x9c1e);
        assert_eq!(id.to_string(), "call-0000000000009c1e");
        assert_eq!("call-9c1e".parse(), Ok(id));
        assert_eq!("leg-9c1e".parse::<CallId>(), Err(IdError::Malformed { prefix: "call" }));
    }

    #[test]
    fn a_user_id_is_1_to_64_bytes_and_not_null() {
        assert!(UserId::new(&"a".repeat(64)).is_ok());
        assert!(UserId::new(&"a".repeat(65)).is_err());
        assert!(UserId::new("").is_err());
        assert!(UserId::new("null").is_err());
    }
}
