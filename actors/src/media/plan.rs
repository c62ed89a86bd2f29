//! What legs and calls say to the media engine. Each method commits to the session's plan in the ledger, then casts the
//! command to the session's MediaWorker, in that order: whatever dies in between, the worker's next incarnation pushes the
//! whole plan again. Nothing here waits.

use std::time::Duration;

use crate::ctx::Ctx;
use crate::model::ids::MediaId;
use crate::model::media::Digit;
use crate::model::negotiate::Negotiated;
use crate::ports::media::{Attachment, MediaCommand, MediaPlan, MediaSnapshot, MediaSpec, OpenError, Opened};

use super::MediaWorkerMsg;

impl Ctx {
    /// Opens a session. Opening one that is open returns what it returned before, whatever the spec.
    ///
    /// # Errors
    /// As [`crate::ports::media::MediaPort::open`].
    pub fn media_open(&self, media: MediaId, spec: MediaSpec) -> Result<Opened, OpenError> {
        if let Some(opened) = self.ledger.media.read(&media, |plan| plan.opened) {
            return Ok(opened);
        }
        let opened = self.ports.media.open(media, &spec)?;
        self.ledger.media.insert(
            media,
            MediaPlan {
                spec,
                opened,
                negotiated: None,
                silence_after: None,
                attachment: Attachment::Nothing,
                playing: None,
                fence: None,
            },
        );
        Ok(opened)
    }

    /// From now on the session sends and receives by this agreement.
    pub fn media_configure(&self, media: MediaId, negotiated: Negotiated, silence_after: Option<Duration>) {
        let negotiated = Box::new(negotiated);
        self.plan(media, MediaCommand::Configure { media, negotiated: negotiated.clone(), silence_after }, |plan| {
            plan.negotiated = Some(negotiated);
            plan.silence_after = silence_after;
        });
    }

    /// Joins the session to something, in place of what it was joined to. A bridge is two calls, one a side.
    pub fn media_attach(&self, media: MediaId, to: Attachment) {
        self.plan(media, MediaCommand::Attach { media, to: to.clone() }, |plan| plan.attachment = to);
    }

    /// Plays a clip in place of what the party hears otherwise; `MediaEventKind::Played(token)` follows unless it repeats.
    pub fn media_play(&self, media: MediaId, clip: &str, token: u64, repeat: bool) {
        self.plan(media, MediaCommand::Play { media, clip: clip.to_owned(), token, repeat }, |plan| {
            plan.playing = Some((clip.to_owned(), token, repeat));
        });
    }

    /// Stops the clip, if one plays.
    pub fn media_stop_play(&self, media: MediaId) {
        self.plan(media, MediaCommand::StopPlay { media }, |plan| plan.playing = None);
    }

    /// Sends digits. They are not planned: a crash of the worker may lose them, and never sends one twice.
    pub fn media_digits(&self, media: MediaId, digits: Vec<Digit>) {
        self.plan(media, MediaCommand::SendDigits { media, digits }, |_| {});
    }

    /// `MediaEventKind::Fenced(token)` follows once everything said before has taken effect. One fence a session: a new one
    /// takes the place of one that has not come back.
    pub fn media_fence(&self, media: MediaId, token: u64) {
        self.plan(media, MediaCommand::Fence { media, token }, |plan| plan.fence = Some(token));
    }

    /// Closes the session: its plan is gone at once, its ports when the engine has done it. Closing twice is nothing.
    pub fn media_close(&self, media: MediaId) {
        if let Some(plan) = self.ledger.media.remove(&media) {
            let worker = plan.opened.worker;
            self.ledger.media_closing.insert(media, worker);
            self.directory.media_workers.cast(&worker, MediaWorkerMsg::Command(MediaCommand::Close { media }));
        }
    }

    /// What the session has done so far.
    pub fn media_snapshot(&self, media: MediaId) -> Option<MediaSnapshot> {
        self.ports.media.snapshot(media)
    }

    /// The engine says that a clip ended: it is not to be played again.
    pub(crate) fn media_played(&self, media: MediaId, ended: u64) {
        self.ledger.media.update(&media, |plan| {
            if matches!(plan.playing, Some((_, token, _)) if token == ended) {
                plan.playing = None;
            }
        });
    }

    /// The engine says that a fence was reached.
    pub(crate) fn media_fenced(&self, media: MediaId, reached: u64) {
        self.ledger.media.update(&media, |plan| {
            if plan.fence == Some(reached) {
                plan.fence = None;
            }
        });
    }

    fn plan(&self, media: MediaId, command: MediaCommand, change: impl FnOnce(&mut MediaPlan)) {
        let worker = self.ledger.media.update(&media, |plan| {
            change(plan);
            plan.opened.worker
        });
        match worker {
            Some(worker) => {
                self.directory.media_workers.cast(&worker, MediaWorkerMsg::Command(command));
            }
            None => {
                metrics::counter!("tandem_media_commands_without_session_total").increment(1);
                tracing::debug!(%media, "a command for a media session that is not open was dropped");
            }
        }
    }
}
