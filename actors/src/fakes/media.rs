//! A media engine that makes no sound.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use super::{Events, lock};
use crate::model::ids::{MediaId, WorkerId};
use crate::model::media::Digit;
use crate::model::negotiate::Negotiated;
use crate::ports::media::{
    Attachment, Carriage, MediaCommand, MediaEvent, MediaEventKind, MediaPort, MediaSnapshot, MediaSpec, OpenError,
    Opened,
};

/// Two, so that tests see commands go to the right one.
const WORKERS: u16 = 2;
/// First port given out.
const FIRST_PORT: u16 = 20_000;

/// A session as the engine has it.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeSession {
    /// How it was opened.
    pub spec: MediaSpec,
    /// What that gave.
    pub opened: Opened,
    /// What it sends and receives by.
    pub negotiated: Option<Negotiated>,
    /// What it is joined to.
    pub attachment: Attachment,
    /// The clip that plays: name, token, repeat.
    pub playing: Option<(String, u64, bool)>,
    /// Every clip that was ever begun.
    pub played: Vec<String>,
    /// Digits sent.
    pub digits: String,
}

#[derive(Default)]
struct Worker {
    beats: u64,
    stuck: bool,
    dead: bool,
    full: bool,
    replaced: u32,
}

#[derive(Default)]
struct Engine {
    sessions: HashMap<MediaId, FakeSession>,
    workers: [Worker; WORKERS as usize],
    opened: u16,
    log: Vec<(WorkerId, MediaCommand)>,
    without_ports: bool,
}

/// Carries commands out at once. Clips end when the test says so.
pub struct FakeMedia {
    brain: Events,
    engine: Mutex<Engine>,
}

impl FakeMedia {
    pub(super) fn new(brain: Events) -> Self {
        Self { brain, engine: Mutex::default() }
    }

    /// A session, if it is open.
    pub fn session(&self, media: MediaId) -> Option<FakeSession> {
        lock(&self.engine).sessions.get(&media).cloned()
    }

    /// Every open session.
    pub fn sessions(&self) -> Vec<(MediaId, FakeSession)> {
        lock(&self.engine).sessions.iter().map(|(id, session)| (*id, session.clone())).collect()
    }

    /// Every command carried out, in order.
    pub fn log(&self) -> Vec<(WorkerId, MediaCommand)> {
        lock(&self.engine).log.clone()
    }

    /// How often a worker's thread was replaced.
    pub fn replaced(&self, worker: WorkerId) -> u32 {
        self.worker(worker, |worker| worker.replaced)
    }

    /// The thread of a worker hangs, and takes no command, until it is replaced.
    pub fn stick(&self, worker: WorkerId) {
        self.worker(worker, |worker| worker.stuck = true);
    }

    /// The thread of a worker dies, and takes no command, until it is replaced.
    pub fn kill(&self, worker: WorkerId) {
        self.worker(worker, |worker| worker.dead = true);
    }

    /// The ring of a worker is full, or no longer.
    pub fn fill(&self, worker: WorkerId, full: bool) {
        self.worker(worker, |worker| worker.full = full);
    }

    /// Whether opening a session finds no free port.
    pub fn use_up_ports(&self, used_up: bool) {
        lock(&self.engine).without_ports = used_up;
    }

    /// The clip that plays in a session comes to its end.
    pub fn finish_clip(&self, media: MediaId) {
        let ended = lock(&self.engine).sessions.get_mut(&media).and_then(|session| session.playing.take());
        if let Some((_, token, _)) = ended {
            self.tell(media, MediaEventKind::Played(token));
        }
    }

    /// Something happens in a session.
    pub fn tell(&self, media: MediaId, kind: MediaEventKind) {
        let leg = lock(&self.engine).sessions.get(&media).map(|session| session.spec.leg);
        if let Some(leg) = leg {
            self.brain.media(MediaEvent { leg, media, kind });
        }
    }

    /// The party of a session presses a digit.
    pub fn press(&self, media: MediaId, digit: char) {
        let digit = Digit::new(digit).expect("a test presses keys that there are");
        self.tell(media, MediaEventKind::Digit { digit, duration: std::time::Duration::from_millis(100) });
    }

    fn worker<R>(&self, id: WorkerId, look: impl FnOnce(&mut Worker) -> R) -> R {
        look(lock(&self.engine).workers.get_mut(usize::from(id.0)).expect("a test names workers that there are"))
    }
}

impl MediaPort for FakeMedia {
    fn open(&self, media: MediaId, spec: &MediaSpec) -> Result<Opened, OpenError> {
        let mut engine = lock(&self.engine);
        if let Some(session) = engine.sessions.get(&media) {
            return Ok(session.opened);
        }
        if engine.without_ports {
            return Err(OpenError::NoPorts { from: FIRST_PORT, to: FIRST_PORT });
        }
        let near = spec.near.and_then(|near| engine.sessions.get(&near)).map(|session| session.opened.worker);
        let worker = near.unwrap_or(WorkerId(engine.opened % WORKERS));
        let ip = match spec.carriage {
            Carriage::Rtp(ip) => ip,
            Carriage::Webrtc => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let opened = Opened { worker, local: SocketAddr::new(ip, FIRST_PORT + 2 * engine.opened) };
        engine.opened += 1;
        let session = FakeSession {
            spec: spec.clone(),
            opened,
            negotiated: None,
            attachment: Attachment::Nothing,
            playing: None,
            played: Vec::new(),
            digits: String::new(),
        };
        engine.sessions.insert(media, session);
        Ok(opened)
    }

    fn push(&self, worker: WorkerId, command: MediaCommand) -> Result<(), MediaCommand> {
        let mut engine = lock(&self.engine);
        if engine.workers.get(usize::from(worker.0)).is_none_or(|worker| worker.full || worker.stuck || worker.dead) {
            return Err(command);
        }
        engine.log.push((worker, command.clone()));
        match command {
            MediaCommand::Configure { media, negotiated, silence_after: _ } => {
                engine.session(media, |session| session.negotiated = Some(*negotiated));
            }
            MediaCommand::Attach { media, to } => engine.session(media, |session| session.attachment = to),
            MediaCommand::Play { media, clip, token, repeat } => engine.session(media, |session| {
                session.played.push(clip.clone());
                session.playing = Some((clip, token, repeat));
            }),
            MediaCommand::StopPlay { media } => engine.session(media, |session| session.playing = None),
            MediaCommand::SendDigits { media, digits } => engine.session(media, |session| {
                session.digits.extend(digits.iter().map(|digit| digit.char()));
            }),
            MediaCommand::Fence { media, token } => {
                drop(engine);
                self.tell(media, MediaEventKind::Fenced(token));
            }
            MediaCommand::Close { media } => {
                engine.sessions.remove(&media);
            }
        }
        Ok(())
    }

    fn snapshot(&self, media: MediaId) -> Option<MediaSnapshot> {
        let engine = lock(&self.engine);
        let session = engine.sessions.get(&media)?;
        let negotiated = session.negotiated.as_ref();
        Some(MediaSnapshot {
            codec: negotiated.map(|negotiated| negotiated.send.codec),
            direction: negotiated.map(|negotiated| negotiated.direction),
            ..MediaSnapshot::default()
        })
    }

    fn workers(&self) -> u16 {
        WORKERS
    }

    fn heartbeat(&self, worker: WorkerId) -> Option<u64> {
        self.worker(worker, |worker| {
            worker.beats += u64::from(!worker.stuck);
            (!worker.dead).then_some(worker.beats)
        })
    }

    fn replace(&self, id: WorkerId) -> Result<(), String> {
        let mut engine = lock(&self.engine);
        // What the old thread had been told is lost, to see that the plans are pushed again.
        for session in engine.sessions.values_mut().filter(|session| session.opened.worker == id) {
            session.negotiated = None;
            session.attachment = Attachment::Nothing;
            session.playing = None;
        }
        drop(engine);
        self.worker(id, |worker| {
            (worker.stuck, worker.dead) = (false, false);
            worker.replaced += 1;
        });
        Ok(())
    }

    fn has_clip(&self, clip: &str) -> bool {
        clip != "missing"
    }
}

impl Engine {
    fn session(&mut self, media: MediaId, change: impl FnOnce(&mut FakeSession)) {
        if let Some(session) = self.sessions.get_mut(&media) {
            change(session);
        }
    }
}
