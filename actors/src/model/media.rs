//! Codecs, digits and directions: the vocabulary of one audio stream.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A codec the switch can decode and encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 mu-law, RFC 3551 static payload type 0.
    Pcmu,
    /// G.711 A-law, RFC 3551 static payload type 8.
    Pcma,
    /// RFC 6716 by RFC 7587: always 48000/2 on the wire.
    Opus,
}

impl Codec {
    /// The encoding name of the `a=rtpmap` line.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::Opus => "opus",
        }
    }
    /// RTP clock rate, Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8000,
            Codec::Opus => 48000,
        }
    }
    /// The payload type we offer it with: static where there is one (RFC 3551 §6), else ours by habit.
    pub fn default_payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::Opus => 111,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A DTMF digit: `0`-`9`, `*`, `#`, `A`-`D`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "char", into = "char")]
pub struct Digit(char);

impl Digit {
    /// From the character; lower-case letters are taken.
    pub fn new(c: char) -> Option<Self> {
        let c = c.to_ascii_uppercase();
        matches!(c, '0'..='9' | '*' | '#' | 'A'..='D').then_some(Self(c))
    }
    /// From the event code of RFC 4733 §3.2 (0-15).
    pub fn from_event(event: u8) -> Option<Self> {
        "0123456789*#ABCD".chars().nth(event.into()).map(Self)
    }
    /// The event code of RFC 4733 §3.2.
    pub fn event(self) -> u8 {
        "0123456789*#ABCD".chars().position(|c| c == self.0).unwrap_or_default() as u8
    }
    /// The character.
    pub fn char(self) -> char {
        self.0
    }
}

impl TryFrom<char> for Digit {
    type Error = &'static str;
    fn try_from(c: char) -> Result<Self, Self::Error> {
        Self::new(c).ok_or("a digit is one of 0-9 * # A-D")
    }
}

impl From<Digit> for char {
    fn from(d: Digit) -> char {
        d.0
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// RFC 3264 direction of a stream, from the speaker's own point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The speaker only sends (it holds the other side).
    SendOnly,
    /// The speaker only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether the speaker sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }
    /// Whether the speaker receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
    /// The answer a side gives to an offered direction when it is itself willing to do `ours` (RFC 3264 §6.1).
    #[must_use]
    pub fn answered_by(self, ours: Direction) -> Direction {
        let (send, receive) = (self.receives() && ours.sends(), self.sends() && ours.receives());
        match (send, receive) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }
    /// The `a=` attribute.
    pub fn attribute(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_map_to_rfc_4733_events_and_back() {
        for event in 0..16 {
            assert_eq!(Digit::from_event(event).map(Digit::event), Some(event));
        }
        assert_eq!(Digit::from_event(16), None);
        assert_eq!(Digit::new('#').map(Digit::event), Some(11));
        assert_eq!(Digit::new('x'), None);
    }

    #[test]
    fn a_held_side_answers_recvonly() {
        assert_eq!(Direction::SendOnly.answered_by(Direction::SendRecv), Direction::RecvOnly);
        assert_eq!(Direction::Inactive.answered_by(Direction::SendRecv), Direction::Inactive);
        assert_eq!(Direction::RecvOnly.answered_by(Direction::SendRecv), Direction::SendOnly);
    }
}
