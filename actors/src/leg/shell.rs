//! What both kinds of legs do alike: take up and keep the checkpoint, open and watch the media session, report.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ractor::ActorRef;

use crate::call::CallMsg;
use crate::ctx::Ctx;
use crate::leg::{LegCheckpoint, LegEnd, LegMsg, LegOrder, LegReport, LegSide};
use crate::model::cause::Cause;
use crate::model::ids::{Epoch, LegId};
use crate::model::negotiate::Negotiated;
use crate::ports::media::{Carriage, MediaEventKind, MediaSpec, OpenError};

/// While a party holds us, this long without RTP means that it plays no music of its own.
const HELD_SILENCE: Duration = Duration::from_secs(2);

/// The shell's part of a leg's state.
pub(super) struct Shell {
    pub ctx: Ctx,
    pub epoch: Epoch,
    pub checkpoint: LegCheckpoint,
    /// Since when the session is watched for silence, and how long it takes.
    watched: Option<(Instant, Duration)>,
}

impl Shell {
    /// Takes a leg up from its row.
    pub fn take_up(ctx: Ctx, leg: LegId) -> Result<Self, &'static str> {
        let (epoch, checkpoint) = ctx.ledger.legs.next_epoch(&leg).ok_or("the leg is over")?;
        Ok(Self { ctx, epoch, checkpoint, watched: None })
    }

    /// Stops a leg that had ended already, once it has said so again; whether it had.
    pub fn was_over(&self, me: &ActorRef<LegMsg>) -> bool {
        let Some(cause) = self.checkpoint.end.clone() else { return false };
        self.report_end(cause);
        me.stop(None);
        true
    }

    /// Whether this is the leg's first incarnation.
    pub fn is_first(&self) -> bool {
        self.epoch == Epoch(1)
    }

    /// Opens the media session; the address it is bound to.
    pub fn open_media(&self, carriage: Carriage) -> Result<SocketAddr, Cause> {
        let LegCheckpoint { leg, media, near, .. } = self.checkpoint;
        match self.ctx.media_open(media, MediaSpec { leg, carriage, near }) {
            Ok(opened) => Ok(opened.local),
            Err(error) => {
                tracing::error!(%leg, %error, "no media session");
                Err(match error {
                    OpenError::NoPorts { .. } | OpenError::Full { .. } => Cause::unavailable(error.to_string()),
                    OpenError::Bind { .. } => Cause::internal(error.to_string()),
                })
            }
        }
    }

    /// Commits; `false` when a later incarnation has taken over, and this one must stop.
    pub fn commit(&mut self, side: LegSide) -> bool {
        self.checkpoint.side = side;
        self.ctx.ledger.legs.commit(&self.checkpoint.leg, self.epoch, self.checkpoint.clone()).is_ok()
    }

    /// Configures the session. `expected`: whether the party must be heard; a party that holds us need not be.
    pub fn configure(&mut self, negotiated: Negotiated, expected: bool) {
        let held = !negotiated.direction.sends();
        let after = match (negotiated.direction.receives(), held) {
            (false, _) => None,
            (true, true) => Some(HELD_SILENCE),
            (true, false) => self.ctx.settings.limits.no_rtp_timeout.filter(|_| expected),
        };
        self.watched = after.map(|after| (self.ctx.now(), after));
        self.ctx.media_configure(self.checkpoint.media, negotiated, after);
    }

    /// Reports what the session says to the call; what the leg must do about it itself.
    pub fn media(&self, event: MediaEventKind) -> Option<LegOrder> {
        match event {
            MediaEventKind::FirstPacket(_) => {}
            MediaEventKind::Digit { digit, .. } => self.report(LegReport::Digit { digit, by_info: false }),
            MediaEventKind::Played(_) | MediaEventKind::NoClip(_) | MediaEventKind::Fenced(_) => {
                self.report(LegReport::Media(event));
            }
            MediaEventKind::Silent => {
                if self.silence_counts() {
                    self.report(LegReport::Silent);
                }
            }
            MediaEventKind::Failed => return Some(LegOrder::End(Cause::internal("the media session failed"))),
        }
        None
    }

    /// Whether a report of silence is about how the session is watched now, and not from before a change.
    fn silence_counts(&self) -> bool {
        self.watched.is_some_and(|(since, after)| self.ctx.now().saturating_duration_since(since) >= after)
    }

    /// Closes the session and keeps its figures.
    pub fn close_media(&mut self) {
        if let Some(figures) = self.ctx.media_snapshot(self.checkpoint.media) {
            self.checkpoint.figures = Some(figures);
        }
        self.watched = None;
        self.ctx.media_close(self.checkpoint.media);
    }

    pub fn report(&self, report: LegReport) {
        let LegCheckpoint { call, leg, .. } = self.checkpoint;
        let is_digit = matches!(report, LegReport::Digit { .. });
        let report = CallMsg::Leg { leg, report };
        if is_digit {
            // Said once, unlike all others: those a call that is back hears again from its legs.
            let _ = self.ctx.directory.calls.post(&call, report);
        } else {
            self.ctx.directory.calls.cast(&call, report);
        }
    }

    /// Commits the end and reports it. The row stays until the call has heard it.
    pub fn end(&mut self, cause: Cause) {
        tracing::info!(call = %self.checkpoint.call, leg = %self.checkpoint.leg, %cause, "the leg ended");
        self.checkpoint.end = Some(cause.clone());
        let side = self.checkpoint.side.clone();
        if self.commit(side) {
            self.report_end(cause);
        }
    }

    /// Reports an end that was committed.
    fn report_end(&self, cause: Cause) {
        let signalling_id = self.checkpoint.side.signalling_id();
        let session_id = self.checkpoint.side.session_id();
        self.report(LegReport::Ended(LegEnd { cause, signalling_id, session_id, figures: self.checkpoint.figures }));
    }
}
