//! Session descriptions as text: `parse` makes an [`AudioDescription`] of one, `write` the text of one (RFC 8866).
//!
//! Implemented: offer and answer of one audio stream (RFC 3264), static payload types (RFC 3551), telephone-event
//! (RFC 4733), RTCP address (RFC 3605) and rtcp-mux (RFC 5761), the profiles with feedback (RFC 4585; none is agreed on), SDES
//! (RFC 4568), ICE (RFC 8839), DTLS-SRTP (RFC 5763, RFC 8842), BUNDLE of one section (RFC 9143), the audio level header extension (RFC 6464). Lines are split by the `sdp-types` crate; what they mean is
//! decided here.
//!
//! Deliberately not: negotiation (that is `AudioOffer::answer`), DTLS-SRTP without ICE, video, several audio streams. The first
//! audio section with a port is ours; every other section is kept and written back with port 0 (RFC 3264 §6).

mod crypto;
mod read;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod write;

pub use read::parse;
pub use write::write;

#[cfg(doc)]
use tandem_actors::model::negotiate::AudioDescription;

/// Longest description that is read, bytes. A browser's with video and all its codecs has about 8 kB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most lines that are read.
pub const MAX_LINES: usize = 2000;
/// Most media sections that are read: each is answered.
pub const MAX_SECTIONS: usize = 64;

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`MAX_BYTES`], [`MAX_LINES`] or [`MAX_SECTIONS`].
    #[error(
        "the session description is too long: at most {MAX_BYTES} bytes, {MAX_LINES} lines, {MAX_SECTIONS} sections"
    )]
    TooLong,
    /// Not the syntax of RFC 8866.
    #[error("the session description is malformed: {0}")]
    Malformed(String),
    /// There is no audio section.
    #[error("the session description has no audio section")]
    NoAudio,
    /// The audio section has port 0: refused, or never wanted.
    #[error("the audio section has port 0")]
    AudioRefused,
    /// No `c=` line, or one that is not `IN` and a literal address.
    #[error("the connection address {0:?} is not an IPv4 or IPv6 address")]
    Address(String),
    /// The connection address is a multicast group.
    #[error("the connection address {0} is a multicast group")]
    Multicast(std::net::IpAddr),
    /// DTLS is offered without a usable SHA-256 fingerprint: what was offered instead.
    #[error("the certificate fingerprint {0:?} is not `sha-256` and 32 bytes in hexadecimal")]
    Fingerprint(String),
    /// ICE credentials that are missing or not of RFC 8839 §5.4's length and characters.
    #[error("`a={0}` is missing or malformed")]
    IceCredentials(&'static str),
    /// A browser's description without `a=rtcp-mux`; we have one port for everything.
    #[error("`a=rtcp-mux` is missing: with DTLS, RTCP is only taken on the RTP port")]
    NoRtcpMux,
}

impl SdpError {
    /// The SIP status to refuse it with: 400 for what nobody could read, 488 for what we do not speak.
    pub fn status(&self) -> u16 {
        match self {
            SdpError::TooLong | SdpError::Malformed(_) => 400,
            SdpError::NoAudio
            | SdpError::AudioRefused
            | SdpError::Address(_)
            | SdpError::Multicast(_)
            | SdpError::Fingerprint(_)
            | SdpError::IceCredentials(_)
            | SdpError::NoRtcpMux => 488,
        }
    }

    /// The Warning code of RFC 3261 §20.43.
    pub fn warning(&self) -> u16 {
        match self {
            SdpError::TooLong | SdpError::Malformed(_) => 399,
            SdpError::NoAudio | SdpError::AudioRefused => 304,
            SdpError::Address(_) => 301,
            SdpError::Multicast(_) => 330,
            SdpError::Fingerprint(_) | SdpError::IceCredentials(_) | SdpError::NoRtcpMux => 307,
        }
    }
}
