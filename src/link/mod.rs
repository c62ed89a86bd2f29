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
use tandem_actors::model::srtp::SrtpKeys;

/// Where the engine sends the control end of each worker's rings, one a (re)started worker.
pub type ControlEnds = mpsc::Sender<ControlEnd>;

/// What the RTC adapter tells the media engine directly. Implemented by the engine's handle; never blocks.
pub trait SrtpSink: Send + Sync + 'static {
    /// DTLS is done: from now on the session's RTP is protected with these keys and sent to `path`. New keys for a session
    /// that has some start afresh.
    fn secure(&self, media: MediaId, keys: SrtpKeys, path: SocketAddr);
    /// ICE nominated another path; RTP from it is taken, RTP is sent there.
    fn path(&self, media: MediaId, path: SocketAddr);
}
