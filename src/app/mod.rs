//! Wires the adapters to the brain: the one place that knows them all. Nothing is decided here.
//!
//! ```text
//!   inbox (Brain) <-- events -- SipCore, Rtc, Engine, Http        made first: adapters are built with it
//!   Ports ---- commands ------> SipCore, Rtc, Engine, Clients, Store
//!   Tree = inbox + ports + settings; Control = what Http asks of it
//! ```

mod blocks;
mod certificates;
mod desk;
mod enrolment;
mod parts;
mod sight;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tandem_actors::control::{Control, Reply};
use tandem_actors::model::ids::WorkerId;
use tandem_actors::ports::media::MediaPort;
use tandem_actors::ports::{Brain, Ports};
use tandem_actors::supervision::{Faults, Kind};
use tandem_actors::tree::Tree;
use tokio::task::JoinHandle;

use crate::cli::{StartError, Started, Switch};
use crate::config::Config;
use crate::http::tokens::WallClock;
use crate::http::{Clients, Http};
use crate::link::Wake;
use crate::media::Engine;
use crate::rtc::Rtc;
use crate::sip::SipCore;
use crate::store::Store;
use crate::telemetry::Render;
use blocks::SipBlocks;
use certificates::Certificates;
use desk::Desk;
use enrolment::Enrolment;
use sight::{Reports, Sight};

/// What calls that are cut off get to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// A running switch: the brain's tree and the adapters it lives on.
pub struct App {
    tree: Tree,
    control: Arc<dyn Control>,
    engine: Arc<Engine>,
    http: Http,
    clients: Arc<Clients>,
    certificates: Arc<Certificates>,
    certificates_kept: JoinHandle<()>,
    /// Ends with it.
    _reports: Option<Reports>,
}

impl App {
    /// Starts the switch on the current runtime: every port is bound when this returns, and calls are taken. `faults` lets
    /// in-process stories make actors panic; `main` has none.
    ///
    /// # Errors
    /// What could not be bound or made, with the configuration key and the remedy.
    pub async fn start(
        config: Config,
        store: Arc<Store>,
        render: Render,
        wall: WallClock,
        faults: Faults,
    ) -> Result<Self, StartError> {
        crate::rtc::describe();
        crate::media::describe();
        crate::http::describe();
        let (certificates, tls) = Certificates::load(&config, Arc::clone(&wall))?;
        let certificates = Arc::new(certificates);
        let inbox = Tree::inbox();
        let brain: Arc<dyn Brain> = inbox.clone();
        let (ends, control_ends) = mpsc::channel();
        let wake = Arc::new(Wake::new()?);
        let engine = Engine::start(parts::media(&config), Arc::clone(&brain), ends, Arc::clone(&wake))?;
        let rtc = Rtc::start(Arc::clone(&brain), engine.clone(), control_ends, wake)?;
        let desk = Arc::new(Desk::new(Arc::clone(&store)));
        desk.tell_who_lacks_hashes(&config);
        let began = (wall(), tokio::time::Instant::now());
        let sip = SipCore::start(parts::sip(&config, &tls, began), Arc::clone(&brain), desk.clone()).await?;
        let ladders = Arc::new(Sight(sip.clone()));
        let seen = sip.clone();
        let blocks = Arc::new(SipBlocks(sip.blocks()));
        let clients = Clients::new();
        let ports =
            Ports { sip: Arc::new(sip), rtc, media: engine.clone(), client: clients.clone(), store: store.clone() };
        let tree = Tree::start(&inbox, Arc::new(config.brain.clone()), ports, faults, wall()).await?;
        let control = tree.control();
        let reports = Reports::start(Arc::clone(&control), seen);
        let enrolment = Enrolment::start(Arc::clone(&store), config.brain.domain.clone(), tree.ctx().clone());
        let http = Http::start(
            parts::http(&config, &tls, store.token_key().bytes())?,
            Arc::clone(&control),
            brain,
            clients.clone(),
            desk.deps(enrolment, blocks, ladders, render, wall),
        )
        .await?;
        let certificates_kept = certificates.keep();
        Ok(Self { tree, control, engine, http, clients, certificates, certificates_kept, _reports: reports })
    }

    /// The HTTP side, for the addresses it really listens on.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Makes every live actor of a kind panic now, or every media thread die; how many there were. Nothing happens where
    /// `faults` was [`Faults::none`].
    pub fn crash(&self, kind: Kind) -> usize {
        if kind == Kind::MediaThread {
            let threads = self.engine.workers();
            (0..threads).for_each(|n| self.engine.crash_thread(WorkerId(n)));
            return threads.into();
        }
        self.tree.crash(kind)
    }

    /// Hangs up what lives, ends every actor, and stops listening: the adapters' threads and tasks end with their last handle,
    /// which the tree and this have.
    pub async fn stop(self) {
        self.certificates_kept.abort();
        self.control.drain();
        self.tree.stop(GOOD_BYE).await;
        self.clients.close_all(1001, "the switch stops");
        self.http.stop(GOOD_BYE).await;
    }
}

impl Switch for App {
    fn drain(&self) {
        self.control.drain();
    }

    fn live_calls(&self) -> usize {
        self.control.calls().len()
    }

    fn reload_certificates(&self) -> Result<(), String> {
        self.certificates.refresh().map_err(|error| error.to_string())
    }

    fn gave_up(&self) -> Reply<String> {
        let ended = self.tree.ended();
        Box::pin(async move {
            ended.await;
            "a subsystem could not be kept up; the log above says which".into()
        })
    }

    fn stop(self: Box<Self>) -> Reply<()> {
        Box::pin(App::stop(*self))
    }
}

/// Starts the switch for the command line.
pub fn start(config: Config, store: Arc<Store>, render: Render, wall: WallClock) -> Reply<Result<Started, StartError>> {
    Box::pin(async move {
        let app = App::start(config, store, render, wall, Faults::none()).await?;
        let (http, https) = (app.http.http_address(), app.http.https_address());
        Ok(Started { switch: Box::new(app), http, https })
    })
}
