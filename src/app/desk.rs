//! The store, as SIP's digest and the REST API ask for it.

use std::sync::Arc;
use std::time::SystemTime;

use tandem_actors::control::Reply;
use tandem_actors::model::ids::SubscriberId;
use tandem_actors::ports::store::Cdr;

use crate::http::deps::{ApiKey, ApiKeys, Cdrs, HttpDeps, Ladders, StoreUnavailable, Subscribers};
use crate::http::tokens::WallClock;
use crate::sip::{Credentials, DigestAlgorithm};
use crate::store::{Ha1Algorithm, Store, StoreError};
use crate::telemetry::Render;

/// The store behind the adapters' own traits.
pub(super) struct Desk {
    store: Arc<Store>,
}

impl Desk {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// All that HTTP asks of others than the brain.
    pub(super) fn deps(
        self: &Arc<Self>,
        subscribers: Arc<dyn Subscribers>,
        ladders: Arc<dyn Ladders>,
        metrics: Render,
        wall: WallClock,
    ) -> HttpDeps {
        HttpDeps { cdrs: self.clone(), subscribers, keys: self.clone(), ladders, metrics, wall }
    }
}

pub(super) fn unavailable(error: StoreError) -> StoreUnavailable {
    tracing::error!(%error, source = std::error::Error::source(&error), "the store did not answer the API");
    StoreUnavailable(error.to_string())
}

impl Credentials for Desk {
    fn ha1(&self, subscriber: &str, realm: &str, algorithm: DigestAlgorithm) -> Option<String> {
        let algorithm = match algorithm {
            DigestAlgorithm::Md5 => Ha1Algorithm::Md5,
            DigestAlgorithm::Sha256 => Ha1Algorithm::Sha256,
            DigestAlgorithm::Sha512t256 => Ha1Algorithm::Sha512t256,
        };
        self.store.ha1(&SubscriberId::new(subscriber).ok()?, realm, algorithm)
    }
}

impl Cdrs for Desk {
    fn recent(&self, limit: u32) -> Reply<Result<Vec<Cdr>, StoreUnavailable>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move { store.recent_cdrs(limit).await.map_err(unavailable) })
    }
}

impl ApiKeys for Desk {
    fn valid(&self, _: SystemTime) -> Vec<ApiKey> {
        self.store.api_keys().into_iter().map(|(name, sha256)| ApiKey { name, sha256 }).collect()
    }
}
