//! The workers as the control side holds them: their stations, their threads, the producing ends of their rings.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tandem_actors::model::ids::WorkerId;
use tandem_actors::ports::media::MediaEvent;

use super::config::{EngineError, MediaConfig};
use super::ports::bind_socket;
use super::realtime;
use super::ring::{COMMANDS_BY_ONE, Command, DrainEnds, SlotId, rings};
use super::seat::{Seat, Station};
use super::socket::Epoll;
use super::stats::WorkerStats;
use super::thread::run;
use super::worker::{Core, End, TOKEN_RTCP};
use crate::link::{self, Wake};

/// Stack of a media thread: libopus uses some, nothing here recurses.
const STACK: usize = 1 << 20;

/// One worker.
pub struct Worker {
    /// What outlives its threads.
    pub station: Arc<Station>,
    /// What browsers are told of its shared port.
    pub candidate: SocketAddr,
    epoll: Arc<Epoll>,
    wake: Arc<Wake>,
    commands: rtrb::Producer<Command>,
    /// Commands that found the ring full, in order; while there are any, the brain's are given back.
    waiting: VecDeque<Command>,
    slots: Vec<SlotId>,
    rooms: Vec<SlotId>,
    capacity: usize,
    thread: Option<JoinHandle<End>>,
}

impl Worker {
    /// A free place for a session.
    pub fn take_slot(&mut self) -> Option<SlotId> {
        let slot = self.slots.pop();
        self.count();
        slot
    }
    /// The place is free again.
    pub fn free_slot(&mut self, slot: SlotId) {
        self.slots.push(slot);
        self.count();
    }
    fn count(&self) {
        self.station.stats.sessions.store((self.capacity - self.slots.len()) as u64, Ordering::Relaxed);
    }
    /// A free place for a room.
    pub fn take_room(&mut self) -> Option<SlotId> {
        self.rooms.pop()
    }
    /// The place is free again.
    pub fn free_room(&mut self, slot: SlotId) {
        self.rooms.push(slot);
    }
    /// Has the thread look at a session's own ports.
    ///
    /// # Errors
    /// As the system words it.
    pub fn watch(&self, seat: &Seat, slot: SlotId) -> io::Result<()> {
        let Some((rtp, rtcp)) = &seat.sockets else { return Ok(()) };
        self.epoll.add(rtp.as_raw_fd(), slot.into())?;
        self.epoll.add(rtcp.as_raw_fd(), u64::from(slot) | TOKEN_RTCP)
    }
    /// Whether its thread has not ended: what it owns is dropped when it does.
    pub fn lives(&self) -> bool {
        !self.commands.is_abandoned()
    }
    fn flush(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(command)) = self.commands.push(command) {
                self.waiting.push_front(command);
                break;
            }
        }
    }
}

/// All workers.
pub struct Crew {
    workers: Vec<Worker>,
    control_ends: link::ControlEnds,
    rtc_wake: Arc<Wake>,
    told: Arc<Wake>,
    link_dropped: Arc<AtomicU64>,
    drains: mpsc::Sender<DrainEnds>,
    /// Events of the control side itself, for the events thread.
    own_events: rtrb::Producer<MediaEvent>,
    realtime: bool,
    /// Whether the process asked for locked memory and was refused.
    pub unlocked: bool,
}

impl Crew {
    /// Binds the shared ports; no thread runs yet.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(
        config: &MediaConfig,
        control_ends: link::ControlEnds,
        rtc_wake: Arc<Wake>,
        told: Arc<Wake>,
        link_dropped: Arc<AtomicU64>,
        drains: mpsc::Sender<DrainEnds>,
    ) -> Result<Self, EngineError> {
        let threads = config.threads.max(1);
        let capacity = config.max_sessions.div_ceil(threads.into()).max(1);
        let mut workers = Vec::new();
        for n in 0..threads {
            let mut address = config.webrtc_bind;
            if address.port() != 0 {
                address.set_port(address.port().saturating_add(n));
            }
            let shared = bind_socket(address).map_err(|source| EngineError::Bind { address, source })?;
            let bound = shared.local_addr().map_err(EngineError::System)?;
            let candidate = SocketAddr::new(config.webrtc_candidate_ip.unwrap_or(bound.ip()), bound.port());
            let station = Station {
                shared,
                epoch: AtomicU64::new(0),
                heartbeat: AtomicU64::new(0),
                idle: false.into(),
                stats: WorkerStats::default(),
            };
            workers.push(Worker {
                station: Arc::new(station),
                candidate,
                epoll: Arc::new(Epoll::new().map_err(EngineError::System)?),
                wake: Arc::new(Wake::new().map_err(EngineError::System)?),
                commands: rtrb::RingBuffer::new(1).0,
                waiting: VecDeque::new(),
                slots: (0..capacity as SlotId).rev().collect(),
                rooms: (0..capacity as SlotId).rev().collect(),
                capacity,
                thread: None,
            });
        }
        // The control side's own events travel like a thread's, so that one thread delivers all.
        let (_, own, drain) = rings();
        let _told = drains.send(drain);
        let own_events = own.events.into_ring();
        let realtime = config.realtime;
        Ok(Self { workers, control_ends, rtc_wake, told, link_dropped, drains, own_events, realtime, unlocked: false })
    }

    /// How many there are.
    pub fn len(&self) -> u16 {
        self.workers.len() as u16 // made from a u16
    }
    /// One of them.
    pub fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(usize::from(worker.0))
    }
    /// One of them.
    pub fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(usize::from(worker.0))
    }
    /// The one with the most free places.
    pub fn least_loaded(&self) -> WorkerId {
        let free = |n: &u16| self.workers.get(usize::from(*n)).map_or(0, |w| w.slots.len());
        WorkerId((0..self.len()).rev().max_by_key(free).unwrap_or(0))
    }
    /// What they count.
    pub fn stats(&self) -> impl Iterator<Item = &WorkerStats> + Clone {
        self.workers.iter().map(|w| &w.station.stats)
    }

    /// Whether a worker can be told something: it lives, and its ring has room for all that one order may become.
    pub fn has_room(&mut self, worker: WorkerId) -> bool {
        self.get_mut(worker).is_some_and(|worker| {
            worker.flush();
            worker.waiting.is_empty() && worker.lives() && worker.commands.slots() >= COMMANDS_BY_ONE
        })
    }

    /// Tells a worker. overflow: retained, in order.
    pub fn send(&mut self, worker: WorkerId, command: Command) {
        let Some(worker) = self.get_mut(worker) else { return };
        worker.waiting.push_back(command);
        worker.flush();
        if worker.station.idle.load(Ordering::SeqCst) {
            worker.wake.signal();
        }
    }

    /// Tells the brain something on the control side's own account.
    pub fn tell(&mut self, event: MediaEvent) {
        // overflow: DROPS; a thousand unknown clips in one look of the events thread
        let _full = self.own_events.push(event);
        self.told.signal();
    }

    /// Tries again what found a ring full.
    pub fn flush(&mut self) {
        self.workers.iter_mut().for_each(Worker::flush);
    }

    /// Everything for a new incarnation of a worker's thread; from here on the present one may no longer send.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn core(&mut self, id: WorkerId) -> io::Result<Core> {
        let (rtc_wake, link_dropped) = (self.rtc_wake.clone(), self.link_dropped.clone());
        let epoll = Arc::new(Epoll::new()?);
        let (commands, thread_ends, drain_ends) = rings();
        let Some(worker) = self.get_mut(id) else { return Err(io::ErrorKind::NotFound.into()) };
        let epoch = worker.station.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        worker.commands = commands;
        worker.waiting.clear();
        worker.epoll = epoll.clone();
        let (worker_end, control_end) = link::ring(id, rtc_wake, link_dropped);
        let core = Core::new(id, epoch, worker.capacity, worker.station.clone(), epoll, thread_ends, worker_end);
        // Nobody listens when the RTC adapter is off, or gone at the end of the process.
        let _unheard = self.control_ends.send(control_end);
        let _unheard = self.drains.send(drain_ends);
        self.rtc_wake.signal();
        Ok(core)
    }

    /// Runs it on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(&mut self, id: WorkerId, core: Core) -> io::Result<()> {
        let (told, realtime) = (self.told.clone(), self.realtime);
        let Some(worker) = self.get_mut(id) else { return Err(io::ErrorKind::NotFound.into()) };
        let wake = worker.wake.clone();
        let (ready_in, ready) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(id.to_string()).stack_size(STACK).spawn(move || {
            let ready = ready_in;
            let granted = if realtime { realtime::become_realtime(id.0) } else { Ok(()) };
            // Told before the first tick: from then on the thread neither logs nor allocates.
            let _gone = ready.send(granted);
            drop(ready);
            run(core, &wake, &told)
        })?;
        // A predecessor that hangs ends itself once it sees its epoch; one that died is joined here by being dropped.
        worker.thread = Some(thread);
        let granted = ready.recv().map_err(|_| io::Error::other("the thread died at once"))?;
        if let Err(error) = &granted {
            tracing::warn!(worker = %id, %error, "media runs without real-time scheduling: grant CAP_SYS_NICE or LimitRTPRIO");
        }
        if realtime {
            super::metrics::degraded(granted.is_err(), self.unlocked);
        }
        Ok(())
    }

    /// Ends all threads and waits for them.
    pub fn stop(&mut self) {
        for n in 0..self.len() {
            self.send(WorkerId(n), Command::Stop);
        }
        for worker in &mut self.workers {
            // Even where the ring was full: a fenced thread ends too.
            worker.station.epoch.fetch_add(1, Ordering::AcqRel);
            worker.wake.signal();
            if let Some(thread) = worker.thread.take() {
                let _panicked = thread.join();
            }
        }
    }
}
