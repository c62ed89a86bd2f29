//! What every actor is handed: settings, ports, ledger, directory, the clock, the fault switch.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use tokio::time::Instant;

use crate::call::toll::Tolls;
use crate::client::ClientSupervisorMsg;
use crate::client::inputs::Inputs;
use crate::directory::Directory;
use crate::ledger::Ledger;
use crate::model::settings::Settings;
use crate::ports::Ports;
use crate::supervision::{Faults, Kind};
use crate::trunk::TrunkSupervisorMsg;

/// The parts, by field.
pub struct Parts {
    /// As configured.
    pub settings: Arc<Settings>,
    /// The world.
    pub ports: Ports,
    /// What survives an actor.
    pub ledger: Ledger,
    /// Who answers for an id.
    pub directory: Directory,
    /// What sockets said and their Clients have not taken.
    pub inputs: Inputs,
    /// Whose calls by trunks are counted.
    pub tolls: Tolls,
    /// Makes actors panic, in tests.
    pub faults: Faults,
    /// What does not work at the moment, in words for `/readyz`, by whose trouble it is.
    pub troubles: DashMap<(Kind, String), String>,
    clock: Clock,
    draining: AtomicBool,
}

/// A handle on [`Parts`], cheap to clone; its fields are reached through it.
#[derive(Clone)]
pub struct Ctx(Arc<Parts>);

impl Deref for Ctx {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Ctx {
    /// An empty ledger and directory over these ports. `started` is the wall time now.
    pub fn new(settings: Arc<Settings>, ports: Ports, faults: Faults, started: SystemTime) -> Self {
        Self(Arc::new(Parts {
            settings,
            ports,
            ledger: Ledger::default(),
            directory: Directory::default(),
            inputs: Inputs::default(),
            tolls: Tolls::default(),
            faults,
            troubles: DashMap::new(),
            clock: Clock { wall: started, start: Instant::now() },
            draining: AtomicBool::new(false),
        }))
    }

    /// The time, to pass into `step`.
    pub fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    /// Wall time: the start plus what has passed since, so that it never jumps.
    pub fn wall(&self) -> SystemTime {
        self.clock.wall + self.clock.start.elapsed()
    }

    /// The wall time of a moment past or to come.
    pub fn wall_at(&self, at: std::time::Instant) -> SystemTime {
        let start = self.clock.start.into_std();
        match at.checked_duration_since(start) {
            Some(after) => self.clock.wall + after,
            None => self.clock.wall.checked_sub(start - at).unwrap_or(self.clock.wall),
        }
    }

    /// The moment of a wall time: for deadlines kept in checkpoints.
    pub fn at(&self, wall: SystemTime) -> std::time::Instant {
        let start = self.clock.start.into_std();
        match wall.duration_since(self.clock.wall) {
            Ok(after) => start + after,
            Err(before) => start.checked_sub(before.duration()).unwrap_or(start),
        }
    }

    /// What is left until a wall time; zero when it has passed.
    pub fn until(&self, wall: SystemTime) -> Duration {
        self.at(wall).saturating_duration_since(self.now())
    }

    /// Whether new calls are refused because we are about to stop.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on new calls are refused, trunks un-register, app users without a call are sent away; calls that live go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.ports.sip.set_draining(true);
        self.directory.trunk_supervisor.post(TrunkSupervisorMsg::Drain);
        self.directory.client_supervisor.post(ClientSupervisorMsg::Drain);
    }
}

struct Clock {
    wall: SystemTime,
    start: Instant,
}
