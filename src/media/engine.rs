//! The control side of the engine: what actors and the RTC adapter call. It plans, builds what threads need, pushes it to
//! them, and replaces a thread that died or hangs. Nothing here waits for a media thread.
//!
//! ```text
//!   actors --MediaPort--> Engine --Command--> media-k --MediaEvent, boxes--> media-events --> Brain
//!   rtc-ctl --SrtpSink-->   |  one lock, never taken by a media thread
//! ```
//! A bridge or a room joins sessions of one worker only: `near` puts them together. Across workers it is refused and logged;
//! with one thread, the default, that cannot happen.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tandem_actors::model::ids::{MediaId, RoomId, WorkerId};
use tandem_actors::model::media::{Codec, Digit};
use tandem_actors::model::negotiate::Secured;
use tandem_actors::ports::Brain;
use tandem_actors::ports::media::{
    Attachment, Carriage, MediaCommand, MediaEvent, MediaEventKind, MediaPort, MediaSnapshot, MediaSpec, OpenError,
    Opened,
};

use super::agreement::Agreement;
use super::clips::Clips;
use super::codec::opus::OpusSettings;
use super::codec::{Coder, CoderSpec, Rate};
use super::config::{EngineError, MediaConfig};
use super::crew::Crew;
use super::mixer::{MEMBERS, Room};
use super::plan::{Entry, Keys, Plan, RoomEntry};
use super::ports::{Ports, Unavailable};
use super::ring::{Command, DrainEnds, SlotId};
use super::seat::Seat;
use super::session::{Attached, Session};
use super::worker::STEP_TICKS;
use super::{dtmf, metrics, realtime};
use crate::link::{self, SrtpSink, Wake};
use tandem_actors::model::srtp::SrtpKeys;

/// How often the events thread looks without being woken, and publishes at least.
const LOOK: Duration = Duration::from_millis(50);
const PUBLISH: Duration = Duration::from_secs(1);

/// The media engine's handle.
pub struct Engine {
    shared: Arc<Shared>,
    events: Option<JoinHandle<()>>,
}

struct Shared {
    config: MediaConfig,
    clips: Clips,
    inner: Mutex<Inner>,
    told: Arc<Wake>,
    link_dropped: Arc<AtomicU64>,
    stop: AtomicBool,
}

/// What the one lock guards.
pub(super) struct Inner {
    pub(super) crew: Crew,
    pub(super) plan: Plan,
    ports: Ports,
}

impl Engine {
    /// Starts the threads. `brain` hears events on a thread of the engine's; every (re)started media thread sends its end of the
    /// STUN/DTLS rings through `control_ends`, and signals `wake` when datagrams are waiting there.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn start(
        config: MediaConfig,
        brain: Arc<dyn Brain>,
        control_ends: link::ControlEnds,
        wake: Arc<Wake>,
    ) -> Result<Arc<Engine>, EngineError> {
        let told = Arc::new(Wake::new().map_err(EngineError::System)?);
        let link_dropped = Arc::new(AtomicU64::new(0));
        let (drain_in, drains) = mpsc::channel();
        let unlocked = config.realtime.then(realtime::lock_memory).and_then(Result::err);
        if let Some(error) = &unlocked {
            tracing::warn!(
                %error,
                "media runs without locked memory: grant CAP_IPC_LOCK or raise LimitMEMLOCK (a container: --ulimit memlock=-1), \
                 or switch `rtp.realtime` off"
            );
        }
        let clips = Clips::load(config.prompts.clone(), config.opus)?;
        let mut crew = Crew::new(&config, control_ends, wake, told.clone(), link_dropped.clone(), drain_in)?;
        crew.unlocked = unlocked.is_some();
        let plan = Plan::default();
        for worker in 0..crew.len() {
            let worker = WorkerId(worker);
            let core = crew.core(worker).map_err(EngineError::System)?;
            crew.spawn(worker, core).map_err(EngineError::System)?;
        }
        let ports = Ports::new(config.rtp_ports.clone(), config.port_rest);
        let inner = Mutex::new(Inner { crew, plan, ports });
        let shared = Arc::new(Shared { config, clips, inner, told, link_dropped, stop: AtomicBool::new(false) });
        let events = std::thread::Builder::new()
            .name("media-events".into())
            .spawn({
                let shared = shared.clone();
                move || shared.deliver(&drains, &*brain)
            })
            .map_err(EngineError::System)?;
        Ok(Arc::new(Engine { shared, events: Some(events) }))
    }

    /// Fault drill, for in-process stories only: the worker's thread panics at its next tick.
    pub fn crash_thread(&self, worker: WorkerId) {
        self.shared.lock().crew.send(worker, Command::Crash);
    }

    /// Fault drill, for in-process stories only: the session's next step panics, which retires it.
    pub fn crash_session(&self, media: MediaId) {
        let mut inner = self.shared.lock();
        if let Some((worker, slot)) = inner.plan.sessions.get(&media).map(|e| (e.opened.worker, e.slot)) {
            inner.crew.send(worker, Command::Panic(slot));
        }
    }

    /// Fault drill, for in-process stories only: the worker's thread hangs for that long at its next tick.
    pub fn stick_thread(&self, worker: WorkerId, time: Duration) {
        self.shared.lock().crew.send(worker, Command::Stick(time));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.lock().crew.stop();
        self.shared.told.signal();
        if let Some(events) = self.events.take() {
            // It never panics on its own account; a brain that does has said so itself.
            let _ended = events.join();
        }
    }
}

impl MediaPort for Engine {
    fn open(&self, media: MediaId, spec: &MediaSpec) -> Result<Opened, OpenError> {
        let mut inner = self.shared.lock();
        inner.open(media, spec, &self.shared.config)
    }
    fn push(&self, worker: WorkerId, command: MediaCommand) -> Result<(), MediaCommand> {
        let mut inner = self.shared.lock();
        if !inner.crew.has_room(worker) {
            return Err(command);
        }
        inner.order(worker, command, &self.shared);
        Ok(())
    }
    fn snapshot(&self, media: MediaId) -> Option<MediaSnapshot> {
        self.shared.lock().plan.sessions.get(&media).map(Entry::snapshot)
    }
    fn workers(&self) -> u16 {
        self.shared.lock().crew.len()
    }
    fn heartbeat(&self, worker: WorkerId) -> Option<u64> {
        let inner = self.shared.lock();
        let worker = inner.crew.get(worker).filter(|worker| worker.lives())?;
        Some(worker.station.heartbeat.load(Ordering::Acquire))
    }
    fn replace(&self, worker: WorkerId) -> Result<(), String> {
        let mut inner = self.shared.lock();
        inner.replace(worker, &self.shared.config).map_err(|e| format!("{worker} is not replaced: {e}"))
    }
    fn has_clip(&self, clip: &str) -> bool {
        self.shared.clips.get(clip).is_some()
    }
}

impl SrtpSink for Engine {
    fn secure(&self, media: MediaId, keys: SrtpKeys, path: SocketAddr) {
        let mut inner = self.shared.lock();
        let Some(entry) = inner.plan.sessions.get_mut(&media) else {
            tracing::warn!(%media, "keys came for a media session that is not open");
            return;
        };
        let (sender, receiver) = entry.keys.change(keys);
        entry.path = Some(path);
        let (worker, slot) = (entry.opened.worker, entry.slot);
        inner.crew.send(worker, Command::Secure(slot, media, sender, receiver));
        inner.crew.send(worker, Command::Path(slot, media, path));
    }
    fn path(&self, media: MediaId, path: SocketAddr) {
        let mut inner = self.shared.lock();
        let Some(entry) = inner.plan.sessions.get_mut(&media) else { return };
        entry.path = Some(path);
        let (worker, slot) = (entry.opened.worker, entry.slot);
        inner.crew.send(worker, Command::Path(slot, media, path));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock leaves the plan whole enough: each step of it is applied in one go.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events thread: delivers, frees, publishes.
    fn deliver(&self, drains: &mpsc::Receiver<DrainEnds>, brain: &dyn Brain) {
        let mut ends: Vec<DrainEnds> = Vec::new();
        let mut published = Instant::now();
        loop {
            self.told.wait(LOOK);
            let stopping = self.stop.load(Ordering::Acquire);
            ends.extend(drains.try_iter());
            for end in &mut ends {
                while let Ok(event) = end.events.pop() {
                    brain.media(event);
                }
                while end.retired.pop().is_ok() {}
            }
            ends.retain(|end| !(end.events.is_abandoned() && end.events.is_empty() && end.retired.is_empty()));
            self.lock().crew.flush();
            if published.elapsed() >= PUBLISH {
                published = Instant::now();
                self.publish();
            }
            if stopping {
                return;
            }
        }
    }

    fn publish(&self) {
        let inner = self.lock();
        metrics::publish(inner.crew.stats(), self.link_dropped.load(Ordering::Relaxed));
    }
}

impl Inner {
    fn open(&mut self, media: MediaId, spec: &MediaSpec, config: &MediaConfig) -> Result<Opened, OpenError> {
        if let Some(entry) = self.plan.sessions.get(&media) {
            return Ok(entry.opened);
        }
        let full = OpenError::Full { limit: config.max_sessions };
        if self.plan.sessions.len() >= config.max_sessions {
            return Err(full);
        }
        let near = spec.near.and_then(|near| self.plan.sessions.get(&near)).map(|entry| entry.opened.worker);
        let id = near.unwrap_or_else(|| self.crew.least_loaded());
        let Some(worker) = self.crew.get_mut(id) else { return Err(full) };
        let (local, port, sockets) = match spec.carriage {
            Carriage::Webrtc => (worker.candidate, None, None),
            Carriage::Rtp(address) => {
                let (port, rtp, rtcp) = self.ports.bind(address, Instant::now()).map_err(|why| match why {
                    Unavailable::Exhausted => {
                        OpenError::NoPorts { from: *config.rtp_ports.start(), to: *config.rtp_ports.end() }
                    }
                    Unavailable::Refused(error) => OpenError::Bind { address, error: error.to_string() },
                })?;
                (SocketAddr::new(address, port), Some(port), Some((rtp, rtcp)))
            }
        };
        let slot = worker.take_slot().ok_or(full)?;
        let seat = Arc::new(Seat::new(media, spec.leg, sockets));
        if let Err(error) = worker.watch(&seat, slot) {
            worker.free_slot(slot);
            if let Some(port) = port {
                self.ports.release(port, Instant::now());
            }
            return Err(OpenError::Bind { address: local.ip(), error: error.to_string() });
        }
        let opened = Opened { worker: id, local };
        let entry = Entry {
            spec: spec.clone(),
            opened,
            slot,
            seat: seat.clone(),
            port,
            agreement: None,
            attachment: Attachment::Nothing,
            coder: None,
            keys: Keys::default(),
            path: None,
            playing: None,
        };
        self.plan.sessions.insert(media, entry);
        self.crew.send(id, Command::Open(slot, Box::new(Session::new(seat, false))));
        Ok(opened)
    }

    /// Notes an order in the plan and sends the thread what follows from it.
    fn order(&mut self, worker: WorkerId, command: MediaCommand, shared: &Shared) {
        let media = match &command {
            MediaCommand::Configure { media, .. }
            | MediaCommand::Attach { media, .. }
            | MediaCommand::Play { media, .. }
            | MediaCommand::StopPlay { media }
            | MediaCommand::SendDigits { media, .. }
            | MediaCommand::Fence { media, .. }
            | MediaCommand::Close { media } => *media,
        };
        let Some(entry) = self.plan.sessions.get_mut(&media).filter(|entry| entry.opened.worker == worker) else {
            // Closed already, or never opened: idempotent commands of a late actor.
            tracing::debug!(%media, %worker, "a command for a media session that is not open there");
            return;
        };
        let (slot, leg) = (entry.slot, entry.spec.leg);
        match command {
            MediaCommand::Configure { negotiated, silence_after, .. } => {
                let agreement = Agreement::new(&negotiated, silence_after);
                entry.agreement = Some(agreement);
                // The keys first: what comes under the agreement is judged by them.
                match negotiated.secured {
                    Secured::Sdes(keys) if entry.port.is_some() => {
                        let (sender, receiver) = entry.keys.change(*keys);
                        if sender.is_some() || receiver.is_some() {
                            self.crew.send(worker, Command::Secure(slot, media, sender, receiver));
                        }
                    }
                    Secured::Plain if entry.port.is_some() && entry.keys.forget() => {
                        self.crew.send(worker, Command::Expose(slot, media));
                    }
                    // A WebRTC peer's come from its handshake.
                    Secured::Plain | Secured::Sdes(_) | Secured::Dtls(_) => {}
                }
                self.crew.send(worker, Command::Configure(slot, media, agreement));
                self.provide_coders(media, shared.config.opus);
            }
            MediaCommand::Attach { to, .. } => self.attach(media, to, shared.config.opus),
            MediaCommand::Play { clip, token, repeat, .. } => match shared.clips.get(&clip) {
                Some(clip) => {
                    entry.playing = Some((clip.clone(), token, repeat));
                    self.crew.send(worker, Command::Play { slot, media, clip, token, repeat });
                }
                None => {
                    tracing::error!(%media, clip, "there is no such clip");
                    let event = MediaEvent { leg, media, kind: MediaEventKind::NoClip(token) };
                    self.crew.tell(event);
                }
            },
            MediaCommand::StopPlay { .. } => {
                entry.playing = None;
                self.crew.send(worker, Command::StopPlay(slot, media));
            }
            MediaCommand::SendDigits { digits, .. } => self.send_digits(media, &digits, shared.config.opus),
            MediaCommand::Fence { token, .. } => self.crew.send(worker, Command::Fence(media, leg, token)),
            MediaCommand::Close { .. } => self.close(media),
        }
    }

    /// Sends a coder to the session and to its partner, where what they have does not do.
    fn provide_coders(&mut self, media: MediaId, settings: OpusSettings) {
        let wanted = [Some(media), self.plan.partner(media)];
        for media in wanted.into_iter().flatten() {
            let Some(spec) = self.plan.sessions.get(&media).and_then(|e| self.plan.coder_wanted(e)) else { continue };
            self.provide_coder(media, spec, settings);
        }
    }

    fn provide_coder(&mut self, media: MediaId, spec: CoderSpec, settings: OpusSettings) {
        let Some(entry) = self.plan.sessions.get_mut(&media) else { return };
        if entry.coder.is_some_and(|has| has.covers(spec)) {
            return;
        }
        match Coder::new(spec, settings) {
            Ok(coder) => {
                entry.coder = Some(spec);
                self.crew.send(entry.opened.worker, Command::Coder(entry.slot, media, Box::new(coder)));
            }
            Err(error) => tracing::error!(%media, %error, "no coder could be made: the party hears nothing"),
        }
    }

    fn send_digits(&mut self, media: MediaId, digits: &[Digit], settings: OpusSettings) {
        let Some(entry) = self.plan.sessions.get(&media) else { return };
        let (worker, slot) = (entry.opened.worker, entry.slot);
        // Tones for an Opus peer without telephone-event need an encoder; in a room there is a wide one, which is not used.
        let in_band = entry.agreement.is_some_and(|a| a.send_event.is_none() && a.send.0 == Codec::Opus);
        if in_band && !matches!(entry.attachment, Attachment::Room(_)) {
            let has = entry.coder.filter(|has| has.rate == Rate::Narrow);
            let opus_in = has.is_some_and(|has| has.opus_in);
            self.provide_coder(media, CoderSpec { rate: Rate::Narrow, opus_in, opus_out: true }, settings);
        }
        for chunk in digits.chunks(dtmf::QUEUE) {
            let mut queue = [None; dtmf::QUEUE];
            queue.iter_mut().zip(chunk).for_each(|(place, digit)| *place = Some(*digit));
            self.crew.send(worker, Command::Digits(slot, media, queue));
        }
    }

    fn attach(&mut self, media: MediaId, to: Attachment, settings: OpusSettings) {
        let Some(entry) = self.plan.sessions.get(&media) else { return };
        let (worker, slot, before) = (entry.opened.worker, entry.slot, entry.attachment.clone());
        let Some(attached) = self.resolve(media, worker, &to, settings) else { return };
        if let Some(entry) = self.plan.sessions.get_mut(&media) {
            entry.attachment = to.clone();
        }
        self.provide_coders(media, settings);
        let member = (matches!(to, Attachment::Room(_)) && before != to).then(Box::default);
        self.crew.send(worker, Command::Attach(slot, media, attached, member));
        // The partner may have named this session before it was open, or under an earlier place.
        if let Some(partner) = self.plan.partner(media).and_then(|p| self.plan.sessions.get(&p)) {
            let command = Command::Attach(partner.slot, partner.seat.media, Attached::Bridge(slot, media), None);
            self.crew.send(worker, command);
        }
        if before != to {
            self.leave(&before);
        }
    }

    /// An attachment in the thread's terms; opens the room. `None` when it is refused, which is logged.
    fn resolve(
        &mut self,
        media: MediaId,
        worker: WorkerId,
        to: &Attachment,
        settings: OpusSettings,
    ) -> Option<Attached> {
        match to {
            Attachment::Nothing => Some(Attached::Nothing),
            Attachment::Bridge(other) => match self.plan.sessions.get(other) {
                Some(entry) if entry.opened.worker == worker => Some(Attached::Bridge(entry.slot, *other)),
                Some(entry) => {
                    tracing::error!(%media, %worker, other = %entry.opened.worker, "a bridge across media threads is refused");
                    None
                }
                // Not open yet: joined when the other names this one.
                None => Some(Attached::Bridge(SlotId::MAX, *other)),
            },
            Attachment::Room(room) => self.enter(media, worker, room, settings).map(Attached::Room),
        }
    }

    fn enter(&mut self, media: MediaId, worker: WorkerId, room: &RoomId, settings: OpusSettings) -> Option<SlotId> {
        let inside = self.plan.sessions.get(&media).is_some_and(|e| e.attachment == Attachment::Room(room.clone()));
        if let Some(entry) = self.plan.rooms.get_mut(room) {
            if entry.worker != worker {
                tracing::error!(%media, %room, "a room across media threads is refused");
                return None;
            }
            if !inside && entry.members >= MEMBERS {
                tracing::error!(%media, %room, limit = MEMBERS, "the room is full");
                return None;
            }
            entry.members += usize::from(!inside);
            return Some(entry.slot);
        }
        let slot = self.crew.get_mut(worker)?.take_room()?;
        match Room::new(u64::from(slot) % STEP_TICKS, settings) {
            Ok(opened) => {
                self.plan.rooms.insert(room.clone(), RoomEntry { worker, slot, members: 1 });
                self.crew.send(worker, Command::OpenRoom(slot, Box::new(opened)));
                Some(slot)
            }
            Err(error) => {
                tracing::error!(%media, %room, %error, "the room cannot be opened");
                self.crew.get_mut(worker)?.free_room(slot);
                None
            }
        }
    }

    /// The last one out closes the room.
    fn leave(&mut self, attachment: &Attachment) {
        let Attachment::Room(room) = attachment else { return };
        let Some(entry) = self.plan.rooms.get_mut(room) else { return };
        entry.members = entry.members.saturating_sub(1);
        if entry.members == 0 {
            let (worker, slot) = (entry.worker, entry.slot);
            self.plan.rooms.remove(room);
            self.crew.send(worker, Command::CloseRoom(slot));
            if let Some(worker) = self.crew.get_mut(worker) {
                worker.free_room(slot);
            }
        }
    }

    fn close(&mut self, media: MediaId) {
        let Some(entry) = self.plan.sessions.remove(&media) else { return };
        let worker = entry.opened.worker;
        self.crew.send(worker, Command::Close(entry.slot, media));
        self.leave(&entry.attachment);
        if let Some(port) = entry.port {
            self.ports.release(port, Instant::now());
        }
        if let Some(worker) = self.crew.get_mut(worker) {
            // Commands keep their order: whoever gets the place is opened after this one was closed.
            worker.free_slot(entry.slot);
        }
    }
}
