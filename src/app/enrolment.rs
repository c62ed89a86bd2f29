//! Subscribers as the REST API manages them, and what their removal means to the brain: a phone that may not register any more
//! is not rung any more. The command line (`tandem subscriber`) changes them in a process of its own, so the store is watched.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tandem_actors::Ctx;
use tandem_actors::control::Reply;
use tandem_actors::model::ids::SubscriberId;
use tandem_actors::registrar;
use tokio::sync::{Mutex, watch};

use super::desk::unavailable;
use crate::http::deps::{AddSubscriberError, NewSubscriber, StoreUnavailable, Subscribers};
use crate::store::{Store, new_password};

/// How long until a registrar that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Who may register with us.
pub(super) struct Enrolment {
    store: Arc<Store>,
    realm: String,
    ctx: Ctx,
    /// By subscriber the hash of the password that its bindings were made with.
    known: Mutex<BTreeMap<SubscriberId, String>>,
    me: Weak<Enrolment>,
}

impl Enrolment {
    /// Watches the store from now on, until either is dropped.
    pub(super) fn start(store: Arc<Store>, realm: String, ctx: Ctx) -> Arc<Self> {
        let changes = store.credential_changes();
        let known = Mutex::new(store.passwords(&realm));
        let this = Arc::new_cyclic(|me| Self { store, realm, ctx, known, me: me.clone() });
        tokio::spawn(watch(Arc::downgrade(&this), changes));
        this
    }

    /// Has the bindings dropped of whom were removed since it was looked last, also of those added again meanwhile: the
    /// password is another, and whoever knew the old one may be meant to lose it. `false` when that has to be tried again.
    async fn drop_removed(&self) -> bool {
        let mut known = self.known.lock().await;
        let now = self.store.passwords(&self.realm);
        let gone = known.iter().filter(|(subscriber, password)| now.get(*subscriber) != Some(*password));
        let gone: Vec<SubscriberId> = gone.map(|(subscriber, _)| subscriber.clone()).collect();
        let done = gone.is_empty() || registrar::forget(&self.ctx, gone).await;
        if done {
            *known = now;
        }
        done
    }
}

async fn watch(enrolment: Weak<Enrolment>, mut changes: watch::Receiver<i64>) {
    while changes.changed().await.is_ok() {
        loop {
            let Some(enrolment) = enrolment.upgrade() else { return };
            if enrolment.drop_removed().await {
                break;
            }
            drop(enrolment);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Subscribers for Enrolment {
    fn list(&self) -> Reply<Result<Vec<SubscriberId>, StoreUnavailable>> {
        let ours = self.store.passwords(&self.realm).into_keys().collect();
        Box::pin(std::future::ready(Ok(ours)))
    }

    fn add(&self, subscriber: SubscriberId) -> Reply<Result<NewSubscriber, AddSubscriberError>> {
        let (store, realm) = (Arc::clone(&self.store), self.realm.clone());
        Box::pin(async move {
            let password = new_password();
            match store.add_subscriber(&subscriber, &realm, &password).await {
                Ok(true) => Ok(NewSubscriber { subscriber, password, domain: realm }),
                Ok(false) => Err(AddSubscriberError::Taken(format!("there is a subscriber {subscriber}"))),
                Err(error) => Err(unavailable(error).into()),
            }
        })
    }

    fn remove(&self, subscriber: SubscriberId) -> Reply<Result<bool, StoreUnavailable>> {
        let (store, realm, me) = (Arc::clone(&self.store), self.realm.clone(), self.me.clone());
        Box::pin(async move {
            let removed = store.remove_subscriber(&subscriber, &realm).await.map_err(unavailable)?;
            if let Some(enrolment) = me.upgrade() {
                // A registrar that is away just now is asked again by the watch.
                enrolment.drop_removed().await;
            }
            Ok(removed)
        })
    }
}

#[cfg(test)]
mod tests {
    use tandem_actors::fakes::World;
    use tandem_actors::model::address::Transport;
    use tandem_actors::model::ids::ListenerId;
    use tandem_actors::model::settings::Settings;
    use tandem_actors::ports::sip::{AskedContact, RegisterChange, RegisterRequest, RegisterSupport};

    use super::*;

    const REALM: &str = "tandem.test";

    fn desk() -> SubscriberId {
        SubscriberId::new("1001").expect("an id")
    }

    async fn register(world: &World, cseq: u32) {
        world.sip.register_request(|request| RegisterRequest {
            request,
            subscriber: desk(),
            aor_user: "1001".into(),
            call_id: "a".into(),
            cseq,
            source: "192.0.2.7:5060".parse().expect("an address"),
            transport: Transport::Udp,
            listener: ListenerId::new("udp").expect("an id"),
            heard_at: None,
            change: RegisterChange::Update(vec![AskedContact::plain("sip:1001@192.0.2.7", Some(3600))]),
            path: Vec::new(),
            supports: RegisterSupport::default(),
            user_agent: None,
        });
        world.until("the binding", |world| world.ctx().ledger.bindings.contains(&desk())).await;
    }

    #[tokio::test]
    async fn a_subscriber_removed_here_or_by_another_process_has_no_bindings_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), None).await.expect("a store");
        assert!(store.add_subscriber(&desk(), REALM, "old").await.expect("a subscriber"));
        let world = World::start(Settings::default()).await;
        let enrolment = Enrolment::start(Arc::clone(&store), REALM.into(), world.ctx().clone());
        let gone = |world: &World| world.ctx().ledger.bindings.is_empty();

        register(&world, 1).await;
        assert!(enrolment.remove(desk()).await.expect("a removal"));
        assert!(gone(&world), "when it is answered it is done");

        enrolment.add(desk()).await.expect("a subscriber");
        register(&world, 2).await;
        let operator = Store::open(folder.path(), None).await.expect("a store");
        assert!(operator.remove_subscriber(&desk(), REALM).await.expect("a removal"));
        assert!(operator.add_subscriber(&desk(), REALM, "new").await.expect("another password"));
        world.until("it is seen", gone).await;

        register(&world, 3).await;
        assert!(
            operator.add_subscriber(&SubscriberId::new("1002").expect("an id"), REALM, "x").await.expect("another")
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!gone(&world), "who stayed keeps its bindings");
    }
}
