//! The store on a real SQLite file: what it keeps, and what it does while the database takes nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, UNIX_EPOCH};

use sqlx::Connection as _;
use tandem_actors::model::address::{Contact, SipUri, Transport};
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::{CallId, LegId, ListenerId};
use tandem_actors::ports::store::CdrLeg;

use super::*;

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
            answered_after: Some(Duration::from_millis(1500)),
            cause: None,
            restarts: 0,
            media: None,
        }],
    }
}

fn binding(subscriber: &SubscriberId) -> SavedBinding {
    SavedBinding {
        subscriber: subscriber.clone(),
        contact: Contact {
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

#[tokio::test]
async fn a_cdr_reads_back_as_it_was_written_and_the_first_of_a_call_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("a store");
    store.record(Record::Cdr(Box::new(cdr(1, "9000"))));
    store.record(Record::Cdr(Box::new(cdr(1, "again"))));
    store.record(Record::Cdr(Box::new(cdr(2, "9000"))));
    assert_eq!(store.close(Duration::from_secs(10)).await, 0);
    let store = Store::open(folder.path()).await.expect("a store");
    assert_eq!(store.recent_cdrs(10).await.expect("a query"), [cdr(2, "9000"), cdr(1, "9000")]);
    assert_eq!(store.cdr_count().await.expect("a query"), 2);
}

#[tokio::test]
async fn bindings_are_replaced_whole_and_are_there_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("a store");
    assert!(store.saved_bindings().is_empty());
    store.record(Record::Bindings(phone(), vec![binding(&phone()), binding(&phone())]));
    store.record(Record::Bindings(phone(), vec![binding(&phone())]));
    store.close(Duration::from_secs(10)).await;
    let store = Store::open(folder.path()).await.expect("a store");
    assert_eq!(store.saved_bindings(), [binding(&phone())]);
    store.record(Record::Bindings(phone(), Vec::new()));
    store.close(Duration::from_secs(10)).await;
    assert!(Store::open(folder.path()).await.expect("a store").saved_bindings().is_empty());
}

#[tokio::test]
async fn records_of_a_locked_database_are_kept_and_written_later_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let store =
        Store::open_with(folder.path(), 100, |o| o.busy_timeout(Duration::from_millis(20))).await.expect("a store");
    let other = SqliteConnectOptions::new().filename(folder.path().join(DATABASE));
    let mut other = sqlx::SqliteConnection::connect_with(&other).await.expect("another process");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("the lock");
    (1..=10).for_each(|call| store.record(Record::Cdr(Box::new(cdr(call, "9000")))));
    until("an attempt fails", async || !store.healthy()).await;
    assert!(calls(&store).await.is_empty());
    sqlx::query("COMMIT").execute(&mut other).await.expect("the lock is given back");
    until("the records are written", async || calls(&store).await == (1..=10).collect::<Vec<_>>()).await;
    until("it is well again", async || store.healthy()).await;
}

#[tokio::test]
async fn records_on_a_full_disk_are_kept_and_written_once_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    // A database that may not grow answers as a full disk does: SQLITE_FULL.
    let store = Store::open_with(folder.path(), 100, |o| o.pragma("max_page_count", "200")).await.expect("a store");
    // All but one are ours, so the writer tries again on the connection that it failed on.
    let mut other = store.pool.acquire().await.expect("a connection");
    let _held = [store.pool.acquire().await.expect("a connection"), store.pool.acquire().await.expect("a connection")];
    let fill = "INSERT INTO meta (key, value) VALUES (hex(randomblob(16)), hex(randomblob(1800)))";
    while sqlx::query(fill).execute(&mut *other).await.is_ok() {}
    let mut long = cdr(1, "9000");
    long.to = "9".repeat(20_000);
    store.record(Record::Cdr(Box::new(long.clone())));
    store.record(Record::Cdr(Box::new(cdr(2, "9000"))));
    until("an attempt fails", async || !store.healthy()).await;
    sqlx::query("DELETE FROM meta WHERE length(value) > 1000").execute(&mut *other).await.expect("room is made");
    until("the records are written", async || calls(&store).await == [1, 2]).await;
}

#[tokio::test]
async fn a_full_queue_keeps_the_oldest_and_counts_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let store =
        Store::open_with(folder.path(), 3, |o| o.busy_timeout(Duration::from_millis(20))).await.expect("a store");
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    // No await between: on this one-threaded runtime the writer does not run meanwhile.
    ::metrics::with_local_recorder(&recorder, || {
        (1..=5).for_each(|call| store.record(Record::Cdr(Box::new(cdr(call, "9000")))));
    });
    assert!(recorder.handle().render().contains("tandem_store_dropped_total 2"));
    until("the oldest are written", async || calls(&store).await == [1, 2, 3]).await;
}

#[tokio::test]
async fn the_first_start_makes_secrets_once_and_keeps_only_hashes_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("a store");
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

    let shown = folder.path().join("credentials.txt");
    assert_eq!(std::fs::read_to_string(&shown).expect("a file"), render(&first));
    store.close(Duration::from_secs(10)).await;
    for name in ["credentials.txt", "secrets.toml", DATABASE] {
        let path = folder.path().join(name);
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{name}");
    }
    let database = std::fs::read(folder.path().join(DATABASE)).expect("a file");
    for secret in [&first.api_key, &first.password] {
        assert!(!database.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test]
async fn the_token_key_survives_a_restart_and_never_prints() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = *Store::open(folder.path()).await.expect("a store").token_key().bytes();
    let again = Store::open(folder.path()).await.expect("a store");
    assert_eq!(*again.token_key().bytes(), first);
    assert_eq!(format!("{:?}", again.token_key()), "TokenKey(…)");
    std::fs::write(folder.path().join("secrets.toml"), "token_key = \"abc\"").expect("a file");
    assert!(matches!(Store::open(folder.path()).await, Err(StoreError::Secrets { .. })));
}

#[tokio::test]
async fn a_subscriber_added_by_another_process_is_seen_within_seconds() {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = Store::open(folder.path()).await.expect("a store");
    let operator = Store::open(folder.path()).await.expect("a store");
    assert!(operator.add_subscriber(&phone(), "tandem.test", "pass word").await.expect("a subscriber"));
    assert!(!operator.add_subscriber(&phone(), "tandem.test", "other").await.expect("the first stays"));
    until("it is seen", async || switch.subscribers() == [(phone(), "tandem.test".into())]).await;
    // RFC 7616 §3.4.2: H("1001:tandem.test:pass word").
    let expected = credentials::hex(&<sha2::Sha256 as sha2::Digest>::digest("1001:tandem.test:pass word"));
    assert_eq!(switch.ha1(&phone(), "tandem.test", Ha1Algorithm::Sha256), Some(expected));
    assert!(operator.remove_subscriber(&phone(), "tandem.test").await.expect("a removal"));
    until("it is gone", async || switch.subscribers().is_empty()).await;
}

#[tokio::test]
async fn the_bindings_of_a_removed_subscriber_are_not_there_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("a store");
    assert!(store.add_subscriber(&phone(), "tandem.test", "pass word").await.expect("a subscriber"));
    store.record(Record::Bindings(phone(), vec![binding(&phone())]));
    assert_eq!(store.close(Duration::from_secs(5)).await, 0);
    let operator = Store::open(folder.path()).await.expect("a store");
    assert!(operator.remove_subscriber(&phone(), "tandem.test").await.expect("a removal"));
    assert!(Store::open(folder.path()).await.expect("a store").saved_bindings().is_empty());
}

#[tokio::test]
async fn a_data_folder_that_is_a_file_is_named_with_a_remedy() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Store::open(file.path()).await.expect_err("no folder");
    assert!(error.to_string().starts_with(&file.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("data_dir"));
}
