//! The WebRTC adapter ("compose"): ICE-lite and DTLS of every browser on one OS thread, `rtc-ctl`; RTP never comes here.
//!
//! ```text
//!  actors ---RtcCommand---> Rtc (orders, book) ---> rtc-ctl ---RtcEvent--> Brain
//!                                                   |   ^
//!                    SrtpSink: keys, nominated path |   | link: STUN and DTLS datagrams, both ways
//!                                                   v   |
//!  browser <------------------- UDP -------------> media-k (the shared port; SRTP, RTP, RTCP)
//! ```
//! A browser of ours sends its offer through here as text ([`RtcCommand::Accept`]); what a SIP dialog agreed on comes typed, whoever
//! offered ([`RtcCommand::Connect`]). From there on both are the same.
//!
//! Implements RFC 8445 as a lite agent (§2.5) with restarts (RFC 8839 §4.4), STUN authentication (RFC 8489 §9.1), consent as a lite
//! agent sees it (RFC 7675), demultiplexing (RFC 7983), DTLS-SRTP keys (RFC 5764) by fingerprint (RFC 8122), roles and new
//! associations (RFC 8842). SDP is `crate::sdp`'s, SRTP is the media engine's.
//!
//! Deliberately not: full ICE, TURN, trickled candidates (a lite agent needs none of the peer's), data channels, video.
//!
//! Rules that keep strangers out: nothing changes and nothing is answered before MESSAGE-INTEGRITY is verified, the role conflict
//! included; DTLS is only read from addresses that authenticated checks came from; refused checks are limited a source, good checks and DTLS a peer.
//! The certificate is self-made, one a process run.
//!
//! What survives what: a panic in a peer's step ends that peer. When the thread dies or sticks, [`Rtc::restart`] puts another in its
//! place: connected peers keep SRTP (the keys are the media engine's) and go on being answered, handshakes under way fail.

mod agree;
mod control;
mod dtls;
mod ice;
mod limit;
mod metrics;
mod offer;
mod peer;
mod phase;
mod shared;
mod stun;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};

use dashmap::mapref::entry::Entry;
use tandem_actors::model::ids::{Epoch, PeerId};
use tandem_actors::ports::rtc::{PeerSnapshot, RtcCommand, RtcPort};
use tandem_actors::ports::{Brain, Fenced};

use crate::link::{ControlEnd, SrtpSink, Wake};
use control::Control;
pub use metrics::describe;
use shared::{Shared, lock};

/// Why the adapter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    /// The cryptographic library made no certificate.
    #[error("no DTLS certificate: {0}")]
    Certificate(String),
    /// The system gave no thread.
    #[error("no thread for WebRTC control")]
    Thread(#[source] std::io::Error),
}

/// The adapter's handle. Dropping it ends the thread; peers are then no longer answered.
pub struct Rtc {
    shared: Arc<Shared>,
    /// The last heartbeat that [`RtcPort::keep_running`] saw, and when it was first seen.
    seen: Mutex<(u64, std::time::Instant)>,
}

/// A control thread whose heartbeat stands still for this long is dead or stuck: four of its longest turns.
const STUCK: std::time::Duration = std::time::Duration::from_secs(2);

impl Rtc {
    /// Makes a certificate and starts `rtc-ctl`. `ends` brings the control end of each media worker's rings, one a (re)started worker;
    /// `wake` is what the other ends signal.
    ///
    /// # Errors
    /// [`RtcError`].
    pub fn start(
        brain: Arc<dyn Brain>,
        srtp: Arc<dyn SrtpSink>,
        ends: mpsc::Receiver<ControlEnd>,
        wake: Arc<Wake>,
    ) -> Result<Arc<Self>, RtcError> {
        let shared = Arc::new(Shared::new(brain, srtp, ends, wake).map_err(RtcError::Certificate)?);
        let rtc = Self { shared, seen: Mutex::new((0, tokio::time::Instant::now().into_std())) };
        rtc.spawn()?;
        Ok(Arc::new(rtc))
    }

    /// Turns of the control thread so far. It turns at least every 500 ms: standing still for longer, it is dead or stuck.
    pub fn heartbeat(&self) -> u64 {
        self.shared.beats.load(Ordering::Relaxed)
    }

    /// Puts a new control thread in the place of a dead or stuck one (which ends, should it ever wake). Connected peers go on;
    /// each unfinished handshake fails with an event. Orders not yet executed are executed by the new thread.
    ///
    /// # Errors
    /// [`RtcError::Thread`] when the system gives no thread; the old one has been dismissed all the same.
    pub fn restart(&self) -> Result<(), RtcError> {
        metrics::restarted();
        tracing::warn!("the WebRTC control thread is replaced");
        self.spawn()
    }

    fn spawn(&self) -> Result<(), RtcError> {
        let generation = self.shared.generation.fetch_add(1, Ordering::AcqRel) + 1;
        let shared = self.shared.clone();
        std::thread::Builder::new()
            .name("rtc-ctl".into())
            .spawn(move || Control::new(shared, generation, tokio::time::Instant::now().into_std()).run())
            .map_err(RtcError::Thread)?;
        Ok(())
    }
}

impl Drop for Rtc {
    fn drop(&mut self) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        self.shared.wake.signal();
    }
}

impl RtcPort for Rtc {
    fn order(&self, peer: PeerId, epoch: Epoch, command: RtcCommand) -> Result<(), Fenced> {
        let fenced = || {
            metrics::fenced();
            tracing::warn!(%peer, %epoch, "an order of an older incarnation was refused");
            Fenced
        };
        match (self.shared.epochs.entry(peer), &command) {
            (Entry::Occupied(heard), _) if *heard.get() > epoch => return Err(fenced()),
            (Entry::Occupied(heard), RtcCommand::Close) => {
                heard.remove();
            }
            (Entry::Occupied(mut heard), RtcCommand::Accept { .. } | RtcCommand::Connect { .. }) => {
                heard.insert(epoch);
            }
            (Entry::Vacant(_), RtcCommand::Close) => {}
            (Entry::Vacant(free), RtcCommand::Accept { .. } | RtcCommand::Connect { .. }) => {
                free.insert(epoch);
            }
        }
        // overflow: none; a peer has at most a few orders under way
        lock(&self.shared.orders).push_back((peer, command));
        self.shared.wake.signal();
        Ok(())
    }

    fn snapshot(&self, peer: PeerId) -> Option<PeerSnapshot> {
        self.shared.book.get(&peer).map(|record| record.snapshot())
    }

    fn fingerprint(&self) -> String {
        self.shared.identity.fingerprint().to_owned()
    }

    fn keep_running(&self) -> Result<bool, String> {
        let now = tokio::time::Instant::now().into_std();
        let beats = self.heartbeat();
        {
            let mut seen = lock(&self.seen);
            if seen.0 != beats || now.duration_since(seen.1) < STUCK {
                if seen.0 != beats {
                    *seen = (beats, now);
                }
                return Ok(false);
            }
            // The new thread gets as long before it is judged.
            *seen = (beats, now);
        }
        self.restart().map(|()| true).map_err(|error| error.to_string())
    }
}
