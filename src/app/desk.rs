//! The store, as SIP's digest and the REST API ask for it.

use std::sync::Arc;
use std::time::SystemTime;

use tandem_actors::control::Reply;
use tandem_actors::model::ids::SubscriberId;
use tandem_actors::ports::store::Cdr;

use crate::config::Config;
use crate::config::raw::Digest;
use crate::http::deps::{ApiKey, ApiKeys, Blocks, Cdrs, HttpDeps, Ladders, StoreUnavailable, Subscribers};
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

    /// Subscribers that were made before an algorithm's hash was kept cannot use it: better said at start than by a phone.
    pub(super) fn tell_who_lacks_hashes(&self, config: &Config) {
        let sip = &config.sip;
        let lists = sip.listeners.iter().map(|listener| &listener.digest).chain([&sip.digest]);
        let mut offered = lists.chain(sip.digest_by_user.iter().map(|(_, list)| list)).flatten();
        let lacking = self.store.without_sha512t256(&config.brain.domain);
        if lacking > 0 && offered.any(|digest| matches!(digest, Digest::Sha512t256 | Digest::Sha512t256Sess)) {
            tracing::warn!(
                lacking,
                "sip.digest offers sha512-256, and subscribers made before its hash was kept cannot answer it: \
                remove and add them again, or leave another algorithm beside it"
            );
        }
    }

    /// All that HTTP asks of others than the brain.
    pub(super) fn deps(
        self: &Arc<Self>,
        subscribers: Arc<dyn Subscribers>,
        blocks: Arc<dyn Blocks>,
        ladders: Arc<dyn Ladders>,
        metrics: Render,
        wall: WallClock,
    ) -> HttpDeps {
        HttpDeps { cdrs: self.clone(), subscribers, blocks, keys: self.clone(), ladders, metrics, wall }
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
