//! What only PostgreSQL has: a server that is away, that comes back, that refuses us.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::server::Server;
use super::*;

/// One server for all tests of this process but those that take theirs away.
pub(super) fn shared() -> MutexGuard<'static, Server> {
    static SHARED: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test]
async fn records_said_while_the_server_is_away_are_written_when_it_is_back() {
    let mut server = Server::start();
    let place = Place { url: Some(server.database()), ..Place::sqlite() };
    let store = place.open().await;
    assert!(store.add_subscriber(&phone(), "tandem.test", "pass word").await.expect("a subscriber"));
    server.down();
    (1..=100).for_each(|call| store.record(Record::Cdr(Box::new(cdr(call, "9000")))));
    (1..=100).for_each(|_| store.record(Record::Bindings(phone(), vec![binding(&phone())])));
    until("an attempt fails", async || !store.healthy()).await;
    assert!(store.ha1(&phone(), "tandem.test", Ha1Algorithm::Md5).is_some(), "who may register is known from memory");
    assert!(store.recent_cdrs(1).await.is_err(), "a question is told that there is no answer");
    server.up();
    until("the records are written", async || store.queue.len() == 0).await;
    assert_eq!(calls(&store).await, (1..=100).collect::<Vec<_>>());
    assert!(store.healthy());
    until("the spool goes", async || !place.folder.path().join(spool::FILE).exists()).await;
    assert_eq!(place.open().await.saved_bindings(), [binding(&phone())]);
}

#[tokio::test]
async fn what_a_switch_that_died_could_not_write_is_written_by_the_next_start() {
    let mut server = Server::start();
    let place = Place { url: Some(server.database()), ..Place::sqlite() };
    let store = place.open().await;
    server.down();
    (1..=10).for_each(|call| store.record(Record::Cdr(Box::new(cdr(call, "9000")))));
    store.record(Record::Bindings(phone(), vec![binding(&phone())]));
    let spooled = || std::fs::read_to_string(place.folder.path().join(spool::FILE)).unwrap_or_default();
    until("they are spooled", async || spooled().lines().count() == 11).await;
    // Its writer forgets them, as if it had been killed.
    store.queue.written(11);
    server.up();
    let next = place.open().await;
    assert_eq!(calls(&next).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(next.saved_bindings(), [binding(&phone())]);
    assert!(!place.folder.path().join(spool::FILE).exists());
}

#[tokio::test]
async fn a_server_that_is_away_at_start_is_waited_for_and_named() {
    let mut server = Server::start();
    let place = Place { url: Some(server.database()), ..Place::sqlite() };
    server.down();
    let (folder, url) = (place.folder.path(), place.url.as_deref());
    let error = Store::open_within(Duration::from_millis(100), folder, url).await.expect_err("nobody is there");
    let text = error.to_string();
    assert!(
        matches!(error, StoreError::Away { .. }) && text.contains("store.url") && !text.contains("secret"),
        "{text}"
    );
    let starting = tokio::task::spawn_blocking(move || {
        server.up();
        server
    });
    Store::open_within(Duration::from_secs(20), folder, url).await.expect("a store");
    drop(starting.await);
}

#[tokio::test]
async fn a_wrong_password_or_database_is_refused_at_once() {
    let (url, nothing) = {
        let server = shared();
        (server.database(), server.url("nothing"))
    };
    for wrong in [url.replace("secret", "guess"), nothing, format!("{url}?sslmode=require")] {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Store::open_within(Duration::from_secs(60), folder.path(), Some(&wrong)).await.expect_err(&wrong);
        assert!(matches!(error, StoreError::Refused { .. }), "{wrong}: {error:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let error = Store::open(folder.path(), Some("postgres://[")).await.expect_err("no URL");
    assert!(matches!(error, StoreError::Url { .. }), "{error:?}");
}

/// Made for `localhost` and for no address.
#[tokio::test]
async fn sslmode_says_whether_the_way_is_encrypted_and_the_server_must_prove_who_it_is() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let server = Server::over_tls(&own.cert.pem(), &own.signing_key.serialize_pem());
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("own.crt");
    std::fs::write(&authority, own.cert.pem()).expect("a file");
    let url = |host: &str, mode: &str| format!("{}?sslmode={mode}", server.url("postgres").replace("127.0.0.1", host));
    let trusted = |host: &str, mode: &str| format!("{}&sslrootcert={}", url(host, mode), authority.display());
    for (url, wanted) in [
        (url("127.0.0.1", "disable"), Some(0)),
        (url("127.0.0.1", "prefer"), Some(1)),
        (url("127.0.0.1", "require"), Some(1)),
        (url("127.0.0.1", "verify-ca"), None),
        (trusted("127.0.0.1", "verify-ca"), Some(1)),
        (trusted("127.0.0.1", "verify-full"), None),
        (trusted("localhost", "verify-full"), Some(1)),
    ] {
        let encrypted = match Pool::postgres(&url).await {
            Ok(pool) => {
                let asked = "SELECT ssl::int::bigint AS n FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                Some(pool.fetch(asked, []).await.expect("an answer")[0].int("n").expect("a number"))
            }
            Err(StoreError::Refused { .. }) => None,
            Err(error) => panic!("{url}: {error:?}"),
        };
        assert_eq!(encrypted, wanted, "{url}");
    }
}

#[tokio::test]
async fn a_text_with_a_nul_is_written_all_the_same() {
    let place = Place::postgres();
    let store = place.open().await;
    store.record(Record::Cdr(Box::new(cdr(1, "90\u{0}00"))));
    store.record(Record::Cdr(Box::new(cdr(2, "9000"))));
    until("both are written", async || calls(&store).await == [1, 2]).await;
}
