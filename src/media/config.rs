//! What the engine is made of, and why it may not start.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::codec::opus::{OpusError, OpusSettings};

/// What the engine is made of.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// Media threads; 1 unless a machine has cores to spare.
    pub threads: u16,
    /// Address and first port of the shared WebRTC ports, one a thread on consecutive ports; port 0 takes any.
    pub webrtc_bind: SocketAddr,
    /// The address browsers are told, where it is not the bound one (`external_ip`).
    pub webrtc_candidate_ip: Option<IpAddr>,
    /// Ports of plain RTP.
    pub rtp_ports: RangeInclusive<u16>,
    /// How long a released port pair rests.
    pub port_rest: Duration,
    /// Folder of WAV files; a file's name without its ending is the clip's.
    pub prompts: PathBuf,
    /// Sessions on all threads together.
    pub max_sessions: usize,
    /// SCHED_FIFO, a processor of its own, locked memory. Where refused the engine works all the same, says so and raises
    /// `tandem_media_degraded`.
    pub realtime: bool,
    /// How Opus is encoded.
    pub opus: OpusSettings,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A shared port cannot be bound.
    #[error("cannot bind the WebRTC media port {address}: choose another `rtc.port`")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no thread or descriptor.
    #[error("the system gives no thread or file descriptor for media")]
    System(#[source] std::io::Error),
    /// libopus cannot be had.
    #[error("libopus does not start")]
    Opus(#[from] OpusError),
}
