//! The leaf between the media engine and the RTC control thread: datagram rings, the wake-up of that thread, SRTP keys.
//!
//! ```text
//!   media-k (owns the shared UDP port)                     rtc-ctl
//!   STUN, DTLS received  --[ Datagram x256 ]-------------> authenticates, answers
//!   sends them           <-[ Datagram x256 ]-------------- STUN and DTLS replies
//!   command ring         <--------- SrtpSink ------------- keys, nominated path
//! ```
//! Both rings are `DROPS`, counted: STUN and DTLS retransmit. When a media thread is replaced the engine makes a new pair of
//! ends and sends the control end through [`ControlEnds`]; `rtc-ctl` then forgets the old one.

mod ring;
mod wake;

pub use ring::{ControlEnd, DATAGRAMS, Datagram, MAX_DATAGRAM, WorkerEnd, ring};
pub use wake::Wake;

use std::net::SocketAddr;
use std::sync::mpsc;

use tandem_actors::model::ids::MediaId;
use zeroize::ZeroizeOnDrop;

/// Where the engine sends the control end of each worker's rings, one a (re)started worker.
pub type ControlEnds = mpsc::Sender<ControlEnd>;

/// SRTP protection profiles we speak (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpProfile {
    /// AES-CM, HMAC-SHA1 with an 80-bit tag: 16-byte key, 14-byte salt.
    AesCm128HmacSha1_80,
    /// AEAD AES-128-GCM: 16-byte key, 12-byte salt.
    AeadAes128Gcm,
}

impl SrtpProfile {
    /// Length of the master salt, bytes. The master key of both is 16 bytes.
    pub fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AesCm128HmacSha1_80 => 14,
            SrtpProfile::AeadAes128Gcm => 12,
        }
    }
}

/// A master key and salt of one direction. Wiped on drop, never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct MasterKey {
    /// Master key.
    pub key: [u8; 16],
    /// Master salt; the first [`SrtpProfile::salt_len`] bytes count.
    pub salt: [u8; 14],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The keys of one media session.
#[derive(Debug, Clone)]
pub struct SrtpKeys {
    /// Profile of both directions.
    pub profile: SrtpProfile,
    /// What we send with.
    pub send: MasterKey,
    /// What the peer sends with.
    pub receive: MasterKey,
}

/// What the RTC adapter tells the media engine directly. Implemented by the engine's handle; never blocks.
pub trait SrtpSink: Send + Sync + 'static {
    /// DTLS is done: from now on the session's RTP is protected with these keys and sent to `path`. New keys for a session
    /// that has some start afresh.
    fn secure(&self, media: MediaId, keys: SrtpKeys, path: SocketAddr);
    /// ICE nominated another path; RTP from it is taken, RTP is sent there.
    fn path(&self, media: MediaId, path: SocketAddr);
}
