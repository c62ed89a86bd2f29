//! The whole tree over fakes, on virtual time: run it under `#[tokio::test(start_paused = true)]`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{FakeClient, FakeMedia, FakeRtc, FakeSip, FakeStore, Meter};
use crate::Tree;
use crate::ctx::Ctx;
use crate::model::settings::Settings;
use crate::ports::{Brain, Ports};
use crate::supervision::{Faults, Kind};

/// How long a predicate may take, in virtual time: longer than any timer of a call, a day of ringing apart.
const DEADLINE: Duration = Duration::from_secs(300);
/// Between two looks.
const STEP: Duration = Duration::from_millis(5);

/// A switch without a world, and what the world would have heard.
pub struct World {
    /// Phones and trunks.
    pub sip: Arc<FakeSip>,
    /// Browsers' media.
    pub rtc: Arc<FakeRtc>,
    /// Sound.
    pub media: Arc<FakeMedia>,
    /// Browsers' connections.
    pub client: Arc<FakeClient>,
    /// Records.
    pub store: Arc<FakeStore>,
    /// What is counted on this thread.
    pub meter: &'static Meter,
    /// The tree.
    pub tree: Tree,
    _counting: metrics::LocalRecorderGuard<'static>,
}

impl World {
    /// Starts the tree and waits until it is up.
    pub async fn start(settings: Settings) -> Self {
        Self::start_with(settings, |_| {}).await
    }

    /// As [`World::start`], on a store that holds something already.
    pub async fn start_with(settings: Settings, prepare: impl FnOnce(&FakeStore)) -> Self {
        // A test's few bytes are never given back: a recorder must outlive its guard.
        let meter: &'static Meter = Box::leak(Box::default());
        let counting = metrics::set_default_local_recorder(meter);
        let inbox = Tree::inbox();
        let brain: Arc<dyn Brain> = inbox.clone();
        let sip = Arc::new(FakeSip::new(brain.clone()));
        let rtc = Arc::new(FakeRtc::new(brain.clone()));
        let media = Arc::new(FakeMedia::new(brain.clone()));
        let client = Arc::new(FakeClient::new(brain));
        let store = Arc::new(FakeStore::default());
        prepare(&store);
        let ports = Ports {
            sip: sip.clone(),
            rtc: rtc.clone(),
            media: media.clone(),
            client: client.clone(),
            store: store.clone(),
        };
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let tree = Tree::start(&inbox, Arc::new(settings), ports, Faults::armable(), started)
            .await
            .expect("a tree over fakes starts");
        let world = Self { sip, rtc, media, client, store, meter, tree, _counting: counting };
        world.until("the tree is up", |world| world.tree.is_up()).await;
        world
    }

    /// Settings, ledger, directory.
    pub fn ctx(&self) -> &Ctx {
        self.tree.ctx()
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it is not within five minutes of virtual time: the test has failed.
    pub async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let looking = async {
            while !is(self) {
                tokio::time::sleep(STEP).await;
            }
        };
        let come = tokio::time::timeout(DEADLINE, looking).await.is_ok();
        assert!(come, "it did not come: {what}");
    }

    /// As [`World::until`], for something there is to be found.
    ///
    /// # Panics
    /// As there.
    pub async fn find<T>(&self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = find(self) {
                    return found;
                }
                tokio::time::sleep(STEP).await;
            }
        };
        tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("it was not found: {what}"))
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Makes every live actor of a kind panic, and waits until each has been restarted; how many there were.
    pub async fn crash(&self, kind: Kind) -> usize {
        let before = self.restarts(kind);
        let crashed = self.tree.crash(kind);
        let due = before + u64::try_from(crashed).unwrap_or(u64::MAX);
        self.until("the crashed actors are back", |world| world.restarts(kind) >= due && world.tree.is_up()).await;
        crashed
    }

    /// Restarts counted so far.
    pub fn restarts(&self, kind: Kind) -> u64 {
        self.meter.count("tandem_actor_restarts_total", Some(("kind", kind.label())))
    }
}
