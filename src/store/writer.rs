//! The one writer: takes the oldest records, writes them in one transaction, and only then removes them from the queue.

use std::sync::Weak;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection, SqlitePool};
use tandem_actors::ports::store::Record;

use super::metrics::{self, Outcome};
use super::queue::Queue;
use super::rows;

/// Records a transaction: a burst costs one commit, and a lock is held for a few milliseconds.
const BATCH: usize = 64;
/// Pause after the first failure, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A lock or a full disk that is gone is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a writer without work looks whether its store still exists.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// Why a batch was not written.
enum Failure {
    /// Nothing is wrong with the records: try again.
    Later(sqlx::Error),
    /// The record at this place will never be taken.
    Refused(usize, String),
}

/// Runs until the store is dropped. Holds it weakly, so that an abandoned store does not write for ever.
pub(super) async fn run(queue: Weak<Queue>, pool: SqlitePool) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(queue) = queue.upgrade() else { return };
        let batch = queue.front(BATCH);
        if batch.is_empty() {
            let _ = tokio::time::timeout(IDLE_LOOK, queue.arrived()).await;
            continue;
        }
        match write(&pool, &batch).await {
            Ok(()) => {
                batch.iter().for_each(|record| metrics::write(record, Outcome::Written));
                if !queue.healthy() {
                    tracing::info!("the database takes records again");
                }
                queue.written(batch.len());
                pause = FIRST_PAUSE;
            }
            Err(Failure::Refused(index, why)) => {
                if let Some(record) = batch.get(index) {
                    metrics::write(record, Outcome::Refused);
                }
                tracing::error!(why, "the database will never take this record: thrown away");
                queue.refused(index);
            }
            Err(Failure::Later(error)) => {
                if pool.is_closed() {
                    return;
                }
                batch.iter().for_each(|record| metrics::write(record, Outcome::Deferred));
                if queue.deferred() {
                    tracing::error!(%error, waiting = queue.len(), "records cannot be written: kept, tried again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// All of the batch or nothing of it.
async fn write(pool: &SqlitePool, batch: &[Record]) -> Result<(), Failure> {
    let mut connection = pool.acquire().await.map_err(Failure::Later)?;
    let outcome = transact(&mut connection, batch).await;
    if matches!(outcome, Err(Failure::Later(_))) {
        // SQLite itself rolls back on FULL and IOERR (lang_transaction §3.1), which sqlx does not notice: it would refuse every later
        // BEGIN on this connection.
        connection.close_on_drop();
    }
    outcome
}

async fn transact(connection: &mut SqliteConnection, batch: &[Record]) -> Result<(), Failure> {
    // IMMEDIATE: the write lock is waited for here, under busy_timeout, not refused half-way (SQLITE_BUSY_SNAPSHOT).
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(Failure::Later)?;
    for (index, record) in batch.iter().enumerate() {
        let outcome = match record {
            Record::Cdr(cdr) => rows::insert_cdr(&mut transaction, cdr).await,
            Record::Bindings(subscriber, bindings) => {
                rows::replace_bindings(&mut transaction, subscriber, bindings).await
            }
        };
        outcome.map_err(|error| {
            if never(&error) { Failure::Refused(index, error.to_string()) } else { Failure::Later(error) }
        })?;
    }
    transaction.commit().await.map_err(Failure::Later)
}

/// Whether trying again is useless: the value itself is at fault. By SQLite's primary result codes TOOBIG (18), CONSTRAINT
/// (19), MISMATCH (20), RANGE (25), and values that cannot be encoded.
fn never(error: &sqlx::Error) -> bool {
    if let Some(code) = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok()) {
        return matches!(code & 0xff, 18 | 19 | 20 | 25);
    }
    matches!(error, sqlx::Error::Encode(_))
}
