//! Actor twin of one media thread: hands commands to its ring in order, watches its heartbeat, and pushes every plan again
//! when the thread was replaced or this actor is new.
//!
//! ```text
//!   legs, calls --Command--> MediaWorker --MediaPort::push--> ring (1024) --> media-k
//!                            backlog (4096) when the ring is full, tried again every 5 ms
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::model::ids::{MediaId, WorkerId};
use crate::ports::media::{Attachment, MediaCommand, MediaPlan};
use crate::supervision::Kind;

/// Towards the ring. Overflow: retained by the plans in the ledger, which are pushed again instead.
const BACKLOG: usize = 4096;
/// A full ring is tried again after this; the thread drains it every tick (5 ms).
const RETRY: Duration = Duration::from_millis(5);
/// How often the heartbeat is read: a dead thread is replaced at the next look.
const WATCH: Duration = Duration::from_millis(20);
/// A heartbeat that stands still for this long, twenty ticks, is a stuck thread. With [`WATCH`] audio is back within 250 ms, though
/// the new thread may take 100 ms to start on a machine that is busy.
const STUCK: Duration = Duration::from_millis(100);

/// What a MediaWorker hears.
#[derive(Debug)]
pub enum MediaWorkerMsg {
    /// Hand this to the thread, after everything said before.
    Command(MediaCommand),
    /// The ring was full: try again.
    Retry,
    /// Look at the heartbeat.
    Watch,
    /// Nothing.
    Poke,
}

/// The actor.
pub struct MediaWorker;

/// Its state: nothing that the thread would miss.
pub struct State {
    ctx: Ctx,
    worker: WorkerId,
    backlog: VecDeque<MediaCommand>,
    retrying: bool,
    beat: Option<u64>,
    beat_changed: Instant,
}

impl Actor for MediaWorker {
    type Msg = Envelope<MediaWorkerMsg>;
    type State = State;
    type Arguments = (Ctx, WorkerId);

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        (ctx, worker): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let (beat, beat_changed) = (ctx.ports.media.heartbeat(worker), ctx.now());
        let mut state = State { ctx, worker, backlog: VecDeque::new(), retrying: false, beat, beat_changed };
        state.replan();
        // Pushed at the first message, so that nothing is pushed by an actor that did not start.
        me.cast(MediaWorkerMsg::Retry.into())?;
        me.send_interval(WATCH, || MediaWorkerMsg::Watch.into());
        state.ctx.directory.media_workers.set(worker, me);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::MediaWorker, &state.worker);
        match envelope.open(Kind::MediaWorker) {
            MediaWorkerMsg::Command(command) => state.backlog.push_back(command),
            MediaWorkerMsg::Retry => state.retrying = false,
            MediaWorkerMsg::Watch => state.watch()?,
            MediaWorkerMsg::Poke => {}
        }
        state.flush();
        if !state.backlog.is_empty() && !state.retrying {
            state.retrying = true;
            me.send_after(RETRY, || MediaWorkerMsg::Retry.into());
        }
        Ok(())
    }
}

impl State {
    /// Hands over what the ring takes.
    fn flush(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(command) = self.ctx.ports.media.push(self.worker, command) {
                self.backlog.push_front(command); // overflow: awaited
                break;
            }
        }
        if self.backlog.len() > BACKLOG {
            metrics::counter!("tandem_media_backlog_overflows_total").increment(1);
            tracing::warn!(worker = %self.worker, "the media thread does not keep up: its plans will be pushed again");
            self.replan();
        }
    }

    /// Replaces the backlog by what the ledger plans. Digits are in no plan: those not sent yet are kept.
    fn replan(&mut self) {
        self.backlog.retain(|command| matches!(command, MediaCommand::SendDigits { .. }));
        let digits = std::mem::take(&mut self.backlog);
        let worker = self.worker;
        for (media, _, plan) in self.ctx.ledger.media.rows() {
            if plan.opened.worker == worker {
                self.backlog.extend(commands(media, plan));
            }
        }
        let closing = self.ctx.ledger.media_closing.iter().filter(|entry| *entry.value() == worker);
        self.backlog.extend(closing.map(|entry| MediaCommand::Close { media: *entry.key() }));
        self.backlog.extend(digits);
    }

    fn watch(&mut self) -> Result<(), ActorProcessingErr> {
        let now = self.ctx.now();
        let media = &self.ctx.ports.media;
        let worker = self.worker;
        self.ctx.ledger.media_closing.retain(|id, at| *at != worker || media.snapshot(*id).is_some());
        let beat = media.heartbeat(worker);
        // A thread without sessions may sleep.
        let idle = !self.ctx.ledger.media.any(|plan| plan.opened.worker == worker);
        if beat.is_some() && (beat != self.beat || idle) {
            (self.beat, self.beat_changed) = (beat, now);
            return Ok(());
        }
        if beat.is_some() && now.saturating_duration_since(self.beat_changed) < STUCK {
            return Ok(());
        }
        metrics::counter!("tandem_media_thread_replacements_total").increment(1);
        let state = if beat.is_some() { "stands still" } else { "died" };
        tracing::error!(%worker, "a media thread {state} and is replaced");
        media.replace(worker).map_err(|why| format!("no new thread for {worker}: {why}"))?;
        (self.beat, self.beat_changed) = (media.heartbeat(worker), now);
        self.replan();
        Ok(())
    }
}

/// The commands that bring a session to its plan.
fn commands(media: MediaId, plan: MediaPlan) -> Vec<MediaCommand> {
    let mut commands = Vec::with_capacity(4);
    if let Some(negotiated) = plan.negotiated {
        commands.push(MediaCommand::Configure { media, negotiated, silence_after: plan.silence_after });
    }
    if plan.attachment != Attachment::Nothing {
        commands.push(MediaCommand::Attach { media, to: plan.attachment });
    }
    if let Some((clip, token, repeat)) = plan.playing {
        commands.push(MediaCommand::Play { media, clip, token, repeat });
    }
    if let Some(token) = plan.fence {
        commands.push(MediaCommand::Fence { media, token });
    }
    commands
}
