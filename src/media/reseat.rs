//! A thread is replaced: a new one from the plan and from what the seats kept, with the same sockets, SSRCs and keys.

use std::sync::atomic::Ordering;

use tandem_actors::model::ids::WorkerId;
use tandem_actors::ports::media::Attachment;

use super::codec::Coder;
use super::codec::opus::OpusSettings;
use super::config::MediaConfig;
use super::engine::Inner;
use super::mixer::Room;
use super::plan::{Entry, Plan};
use super::realtime;
use super::ring::{Command, SlotId};
use super::session::{Attached, Session};
use super::worker::{Core, STEP_TICKS};

impl Inner {
    /// A new thread from the plan and the seats.
    pub(super) fn replace(&mut self, worker: WorkerId, config: &MediaConfig) -> std::io::Result<()> {
        let mut core = self.crew.core(worker)?;
        let now_ns = realtime::now_ns();
        core.set_now(now_ns);
        for room in self.plan.rooms.values().filter(|room| room.worker == worker) {
            match Room::new(u64::from(room.slot) % STEP_TICKS, config.opus) {
                Ok(opened) => core.apply(Command::OpenRoom(room.slot, Box::new(opened))),
                Err(error) => tracing::error!(%worker, %error, "a room is lost"),
            }
        }
        let (plan, crew) = (&self.plan, &self.crew);
        for entry in plan.sessions.values().filter(|entry| entry.opened.worker == worker) {
            if let Some(worker) = crew.get(worker) {
                worker.watch(&entry.seat, entry.slot)?;
            }
            reseat(&mut core, plan, entry, config.opus, now_ns);
        }
        self.crew.spawn(worker, core)?;
        tracing::warn!(%worker, "a media thread was replaced");
        Ok(())
    }
}

/// Puts one session on a new thread as the plan has it and its seat left it.
fn reseat(core: &mut Core, plan: &Plan, entry: &Entry, settings: OpusSettings, now_ns: u64) {
    let (slot, media) = (entry.slot, entry.seat.media);
    let mut session = Box::new(Session::new(entry.seat.clone(), true));
    if let Some(agreement) = entry.agreement {
        session.configure(agreement, now_ns);
    }
    let (sender, receiver) = entry.keys.all();
    // What the seat counted under earlier keys says nothing of these.
    let mut counted = true;
    if let Some(sender) = sender {
        session.transmit.rekey(sender);
    }
    if let Some(receiver) = receiver {
        counted = entry.seat.receive_keys.load(Ordering::Relaxed) == receiver.keys;
        session.receive.rekey(receiver);
    }
    let top = entry.seat.peer_top.load(Ordering::Acquire);
    if top != u64::MAX && counted {
        let latched = entry.seat.remote.load().filter(|_| entry.path.is_none());
        session.receive.resume(entry.seat.peer_ssrc.load(Ordering::Relaxed), top, latched);
    }
    if let Some(spec) = plan.coder_wanted(entry).or(entry.coder) {
        match Coder::new(spec, settings) {
            Ok(coder) => session.coder = Some(Box::new(coder)),
            Err(error) => tracing::error!(%media, %error, "no coder could be made: the party hears nothing"),
        }
    }
    core.apply(Command::Open(slot, session));
    if let Some(path) = entry.path {
        core.apply(Command::Path(slot, media, path));
    }
    let attached = match &entry.attachment {
        Attachment::Nothing => Attached::Nothing,
        Attachment::Bridge(other) => Attached::Bridge(plan.sessions.get(other).map_or(SlotId::MAX, |o| o.slot), *other),
        Attachment::Room(room) => plan.rooms.get(room).map_or(Attached::Nothing, |r| Attached::Room(r.slot)),
    };
    let member = matches!(attached, Attached::Room(_)).then(Box::default);
    core.apply(Command::Attach(slot, media, attached, member));
    if let Some((clip, token, repeat)) = entry.playing.clone() {
        core.apply(Command::Play { slot, media, clip, token, repeat });
    }
}
