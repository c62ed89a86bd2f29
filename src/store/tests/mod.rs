//! The store on real databases: what must hold on SQLite and on PostgreSQL alike, each test on both; what only one of them has
//! is beside.

mod postgres;
mod server;
mod sqlite;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, UNIX_EPOCH};

use tandem_actors::model::address::{Contact, SipUri, Transport};
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::{CallId, LegId, ListenerId};
use tandem_actors::ports::store::CdrLeg;
use tempfile::TempDir;

use super::*;

/// A data folder, and a database that nobody else has.
struct Place {
    folder: TempDir,
    url: Option<String>,
}

impl Place {
    fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), url: None }
    }
    fn postgres() -> Self {
        let url = postgres::shared().database();
        Self { url: Some(url), ..Self::sqlite() }
    }
    async fn open(&self) -> Arc<Store> {
        Store::open(self.folder.path(), self.url.as_deref()).await.expect("a store")
    }
}

/// Each test on both engines.
macro_rules! on_both {
    ($(async fn $name:ident($place:ident: Place) $body:block)*) => {
        $(async fn $name($place: Place) $body)*
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::postgres()).await;
            })*
        }
    };
}

fn cdr(call: u64, to: &str) -> Cdr {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + call + seconds);
    Cdr {
        call: CallId(call),
        kind: "ivr".into(),
        from: "alice".into(),
        to: to.into(),
        started_at: at(0),
        answered_at: Some(at(1)),
        ended_at: at(9),
        cause: Cause::hangup(),
        legs: vec![CdrLeg {
            leg: LegId(call),
            kind: "rtc".into(),
            party: "alice".into(),
            signalling_id: "peer-1".into(),
            session_id: None,
            answered_after: Some(Duration::from_millis(1500)),
            cause: None,
            restarts: 0,
            media: None,
        }],
    }
}

fn binding(subscriber: &SubscriberId) -> SavedBinding {
    SavedBinding {
        instance: None,
        reg_id: None,
        temp_gruus: Vec::new(),
        subscriber: subscriber.clone(),
        contact: Contact {
            path: Vec::new(),
            behind_nat: false,
            heard_at: None,
            uri: SipUri("sip:1001@192.0.2.7:5060".into()),
            source: "192.0.2.7:5060".parse().expect("an address"),
            transport: Transport::Udp,
            listener: ListenerId::new("udp").expect("a name"),
        },
        expires_at: UNIX_EPOCH + Duration::from_secs(1_900_000_000),
        q: 1000,
        call_id: "abc".into(),
        cseq: 7,
        user_agent: Some("desk phone".into()),
    }
}

fn phone() -> SubscriberId {
    SubscriberId::new("1001").expect("a name")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}: not within 20 s"));
}

async fn calls(store: &Store) -> Vec<u64> {
    let mut ids: Vec<_> = store.recent_cdrs(1000).await.expect("a query").iter().map(|cdr| cdr.call.0).collect();
    ids.reverse();
    ids
}

on_both! {
    async fn a_cdr_reads_back_as_it_was_written_and_the_first_of_a_call_is_kept(place: Place) {
        let store = place.open().await;
        store.record(Record::Cdr(Box::new(cdr(1, "9000"))));
        store.record(Record::Cdr(Box::new(cdr(1, "again"))));
        store.record(Record::Cdr(Box::new(cdr(2, "9000"))));
        assert_eq!(store.close(Duration::from_secs(10)).await, 0);
        let store = place.open().await;
        assert_eq!(store.recent_cdrs(10).await.expect("a query"), [cdr(2, "9000"), cdr(1, "9000")]);
        assert_eq!(store.cdr_count().await.expect("a query"), 2);
    }

    async fn bindings_are_replaced_whole_and_are_there_at_the_next_start(place: Place) {
        let store = place.open().await;
        assert!(store.saved_bindings().is_empty());
        store.record(Record::Bindings(phone(), vec![binding(&phone()), binding(&phone())]));
        store.record(Record::Bindings(phone(), vec![binding(&phone())]));
        store.close(Duration::from_secs(10)).await;
        let store = place.open().await;
        assert_eq!(store.saved_bindings(), [binding(&phone())]);
        store.record(Record::Bindings(phone(), Vec::new()));
        store.close(Duration::from_secs(10)).await;
        assert!(place.open().await.saved_bindings().is_empty());
    }

    async fn the_first_start_makes_secrets_once_and_keeps_only_hashes_of_them(place: Place) {
        let store = place.open().await;
        let render = |first: &FirstCredentials| format!("{} {}", first.api_key, first.password);
        let first = store.bootstrap("tandem.test", render).await.expect("a bootstrap").expect("the first");
        assert!(store.bootstrap("tandem.test", render).await.expect("a bootstrap").is_none());

        assert!(store.has_api_key(&first.api_key));
        assert!(!store.has_api_key("tandem_0000"));
        let expected = credentials::hex(&<md5::Md5 as sha2::Digest>::digest(
            format!("1001:tandem.test:{}", first.password).as_bytes(),
        ));
        assert_eq!(store.ha1(&phone(), "tandem.test", Ha1Algorithm::Md5), Some(expected));
        assert_eq!(store.ha1(&phone(), "other.test", Ha1Algorithm::Md5), None);

        let shown = place.folder.path().join("credentials.txt");
        assert_eq!(std::fs::read_to_string(&shown).expect("a file"), render(&first));
        store.close(Duration::from_secs(10)).await;
        let files: Vec<_> = place.folder.path().read_dir().expect("a folder").flatten().collect();
        assert_eq!(files.len(), if place.url.is_some() { 2 } else { 3 }, "{files:?}");
        for file in files {
            assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        let kept = match &place.url {
            None => std::fs::read(place.folder.path().join(DATABASE)).expect("a file"),
            Some(url) => server::dump(url),
        };
        let has = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("bootstrapped") && !has(&first.api_key) && !has(&first.password));
    }

    async fn a_subscriber_added_by_another_process_is_seen_within_seconds(place: Place) {
        let switch = place.open().await;
        let operator = place.open().await;
        assert!(operator.add_subscriber(&phone(), "tandem.test", "pass word").await.expect("a subscriber"));
        assert!(!operator.add_subscriber(&phone(), "tandem.test", "other").await.expect("the first stays"));
        until("it is seen", async || switch.subscribers() == [(phone(), "tandem.test".into())]).await;
        // RFC 7616 §3.4.2: H("1001:tandem.test:pass word").
        let expected = credentials::hex(&<sha2::Sha256 as sha2::Digest>::digest("1001:tandem.test:pass word"));
        assert_eq!(switch.ha1(&phone(), "tandem.test", Ha1Algorithm::Sha256), Some(expected));
        assert!(operator.remove_subscriber(&phone(), "tandem.test").await.expect("a removal"));
        until("it is gone", async || switch.subscribers().is_empty()).await;
    }

    async fn the_bindings_of_a_removed_subscriber_are_not_there_at_the_next_start(place: Place) {
        let store = place.open().await;
        assert!(store.add_subscriber(&phone(), "tandem.test", "pass word").await.expect("a subscriber"));
        store.record(Record::Bindings(phone(), vec![binding(&phone())]));
        assert_eq!(store.close(Duration::from_secs(5)).await, 0);
        let operator = place.open().await;
        assert!(operator.remove_subscriber(&phone(), "tandem.test").await.expect("a removal"));
        assert!(place.open().await.saved_bindings().is_empty());
    }
}

#[tokio::test]
async fn the_token_key_survives_a_restart_and_never_prints() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = *Store::open(folder.path(), None).await.expect("a store").token_key().bytes();
    let again = Store::open(folder.path(), None).await.expect("a store");
    assert_eq!(*again.token_key().bytes(), first);
    assert_eq!(format!("{:?}", again.token_key()), "TokenKey(…)");
    std::fs::write(folder.path().join("secrets.toml"), "token_key = \"abc\"").expect("a file");
    assert!(matches!(Store::open(folder.path(), None).await, Err(StoreError::Secrets { .. })));
}

#[tokio::test]
async fn a_data_folder_that_is_a_file_is_named_with_a_remedy() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Store::open(file.path(), None).await.expect_err("no folder");
    assert!(error.to_string().starts_with(&file.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("data_dir"));
}
