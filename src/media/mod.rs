//! The media engine: RTP, SRTP, codecs, bridges, rooms, clips and digits on dedicated threads that never lock, allocate,
//! free or log (RFC 3550, 3551, 3711, 4733, 4961, 5761, 7587, 7714, 7983).
//!
//! It is not signalling: it knows neither SIP nor SDP, and ICE and DTLS run elsewhere (`rtc`), reached over the rings of
//! `crate::link`. No tokio in here.
//!
//! ```text
//!            control side (any thread)                         media-k (OS thread, 5 ms tick)
//!   Engine ---- plan, crew ----- commands, built boxes ------> Core: sessions, bridges, rooms
//!      ^                                                          |
//!   media-events <---------- events, boxes to be freed -----------+      Seat, Station: outlive the thread
//! ```
//!
//! Files: `engine` (what others call), `plan` and `crew` (what is open, who works), `reseat` (a thread is replaced), `ring` (what
//! travels), `thread`, `worker` and `orders` (the thread's life, its tick, what commands do), `session` with `agreement`,
//! `receive`, `paths`, `transmit` and `playout`, `bridge`, `mixer`, `jitter`, `conceal`, `codec`, `resample`, `clip` and `clips`, `dtmf`, `rtp`,
//! `rtcp`, `srtp`, `socket`, `ports`, `seat`, `stats` and `metrics`, `realtime`.

// The media plane reads clocks of its own: its threads and its control side know no tokio.
#![allow(clippy::disallowed_methods)]

mod agreement;
mod bridge;
mod clip;
mod clips;
pub mod codec;
mod conceal;
mod config;
mod crew;
mod dtmf;
mod engine;
mod jitter;
mod metrics;
mod mixer;
mod orders;
mod paths;
mod plan;
mod playout;
mod ports;
mod realtime;
mod receive;
mod resample;
mod reseat;
#[doc(hidden)]
pub mod rig;
mod ring;
mod rtcp;
pub mod rtp;
mod seat;
mod session;
mod socket;
pub mod srtp;
mod stats;
mod thread;
mod transmit;
mod worker;

#[cfg(test)]
mod drills;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod testing;

pub use codec::opus::OpusSettings;
pub use config::{EngineError, MediaConfig};
pub use engine::Engine;
pub use metrics::describe;
