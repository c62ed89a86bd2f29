//! `tandem serve`: sets up logs, metrics and the store, starts the switch, and stays until it is told to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tandem_actors::control::Reply;

use super::signals::{self, Ending};
use super::{Failure, credentials, token};
use crate::config::Config;
use crate::http::tokens::WallClock;
use crate::store::{self, Store};
use crate::telemetry::{self, Render};

/// How long the last records may take to be written at the end.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// How long a database that is away is waited for at start; then we end with 70, and the init system starts us again.
const DATABASE_WAIT: Duration = Duration::from_secs(60);

/// Why the switch did not start. Its words name what to change.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Starts the switch. `app` is one; tests of this command have others.
pub type Start = fn(Config, Arc<Store>, Render, WallClock) -> Reply<Result<Started, StartError>>;

/// A switch that was started.
pub struct Started {
    /// The switch.
    pub switch: Box<dyn Switch>,
    /// Where plain HTTP listens, with the real port.
    pub http: Option<SocketAddr>,
    /// Where HTTPS listens, with the real port.
    pub https: Option<SocketAddr>,
}

/// The running switch, as this command sees it.
pub trait Switch: Send + Sync + 'static {
    /// Takes no new calls from now on: `/readyz`, OPTIONS and INVITE say 503, trunks are un-registered, clients told to move.
    fn drain(&self);
    /// Calls that are up.
    fn live_calls(&self) -> usize;
    /// Reads certificates again (SIGHUP).
    ///
    /// # Errors
    /// In words, with the file and the remedy; the old ones stay in use.
    fn reload_certificates(&self) -> Result<(), String>;
    /// Resolves when the supervision root gives up, with its reason; the process then ends with 70. Asked once.
    fn gave_up(&self) -> Reply<String>;
    /// Ends what is left and stops listening.
    fn stop(self: Box<Self>) -> Reply<()>;
}

pub(super) fn serve(config: Config, wall: WallClock, start: Start, show: bool) -> Result<(), Failure> {
    telemetry::log(&config.log)?;
    if let Some(warnings) = &config.warnings {
        tracing::warn!("{warnings}");
    }
    let render = telemetry::metrics()?;
    store::describe();
    runtime(config.media.threads)?.block_on(run(config, wall, render, start, show))
}

/// The processors that media threads leave, one at least. Not one more: a thread that finds no work steals the half-done call of
/// another and sleeps again, and each such wake-up costs more than the step that it stole.
fn runtime(media_threads: u16) -> Result<tokio::runtime::Runtime, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.saturating_sub(media_threads.into()).max(1);
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().map_err(Failure::Runtime)
}

async fn run(config: Config, wall: WallClock, render: Render, start: Start, show: bool) -> Result<(), Failure> {
    let asks = signals::listen().map_err(Failure::Runtime)?;
    let store = Store::open_within(DATABASE_WAIT, &config.data_dir, config.store_url()).await?;
    let tokens = credentials::first_tokens(&token::key(store.token_key())?, wall())?;
    let text = |first: &store::FirstCredentials| credentials::render(&config, first, &tokens);
    let first = store.bootstrap(&config.brain.domain, text).await?;
    let upkeep = tokio::spawn(telemetry::upkeep(Arc::clone(&render)));
    let started = start(config.clone(), Arc::clone(&store), render, wall).await.map_err(Failure::Start)?;
    println!("{}", credentials::welcome(&config, started.http, started.https));
    if let Some(first) = first.filter(|_| show) {
        println!("{}", credentials::render(&config, &first, &tokens));
    }
    let ending = signals::wait(&*started.switch, asks, config.drain).await;
    tracing::info!(?ending, "stopping");
    started.switch.stop().await;
    upkeep.abort();
    store.close(LAST_WRITES).await;
    match ending {
        Ending::Asked { .. } => Ok(()),
        Ending::GaveUp(why) => Err(Failure::GaveUp(why)),
    }
}
