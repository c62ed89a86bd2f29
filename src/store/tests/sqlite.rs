//! What only SQLite has: other processes' locks, a full disk, tables of an earlier version.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqlitePool};

use super::*;

fn pool(store: &Store) -> &SqlitePool {
    match &store.pool {
        Pool::Sqlite(pool) => pool,
        Pool::Postgres(_) => panic!("not SQLite"),
    }
}

#[tokio::test]
async fn records_of_a_locked_database_are_kept_and_written_later_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open_with(folder.path(), None, 100, |o| o.busy_timeout(Duration::from_millis(20)))
        .await
        .expect("a store");
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
    let store =
        Store::open_with(folder.path(), None, 100, |o| o.pragma("max_page_count", "200")).await.expect("a store");
    // All but one are ours, so the writer tries again on the connection that it failed on.
    let mut other = pool(&store).acquire().await.expect("a connection");
    let _held =
        [pool(&store).acquire().await.expect("a connection"), pool(&store).acquire().await.expect("a connection")];
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
        Store::open_with(folder.path(), None, 3, |o| o.busy_timeout(Duration::from_millis(20))).await.expect("a store");
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    // No await between: on this one-threaded runtime the writer does not run meanwhile.
    ::metrics::with_local_recorder(&recorder, || {
        (1..=5).for_each(|call| store.record(Record::Cdr(Box::new(cdr(call, "9000")))));
    });
    assert!(recorder.handle().render().contains("tandem_store_dropped_total 2"));
    until("the oldest are written", async || calls(&store).await == [1, 2, 3]).await;
}

#[tokio::test]
async fn bindings_saved_by_the_first_version_of_the_tables_are_read() {
    let place = Place::sqlite();
    let file = SqliteConnectOptions::new().filename(place.folder.path().join(DATABASE)).create_if_missing(true);
    let mut earlier = sqlx::SqliteConnection::connect_with(&file).await.expect("a database");
    let mut migrator = sqlx::migrate!("src/store/migrations/sqlite");
    migrator.migrations.to_mut().retain(|migration| migration.version == 1);
    migrator.run(&mut earlier).await.expect("the first tables");
    let expected = binding(&phone());
    sqlx::query("INSERT INTO bindings VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(phone().as_str())
        .bind(serde_json::to_string(&expected.contact).expect("JSON"))
        .bind(1_900_000_000_000_000_i64)
        .bind(expected.q)
        .bind(&expected.call_id)
        .bind(expected.cseq)
        .bind(&expected.user_agent)
        .execute(&mut earlier)
        .await
        .expect("a binding");
    earlier.close().await.expect("closed");
    assert_eq!(place.open().await.saved_bindings(), [expected]);
}
