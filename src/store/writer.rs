//! The one writer: takes the oldest records, writes them in one transaction, and only then removes them from the queue.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tandem_actors::ports::store::Record;
use tokio::time::Instant;

use super::engine::{Connection, Pool, never};
use super::metrics::{self, Outcome};
use super::queue::Queue;
use super::rows;
use super::spool::Spool;

/// Records a transaction: a burst costs one commit, and a lock is held for a few milliseconds.
const BATCH: usize = 64;
/// Between two transactions while fewer than [`BATCH`] wait: what comes alone is written at once, what comes in a stream is
/// written together, since a transaction costs more than the records in it. So much is lost at most to a `kill -9`.
const TOGETHER: Duration = Duration::from_millis(100);
/// Pause after the first failure, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A lock, a full disk or a server that was away is noticed within this.
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
pub(super) async fn run(queue: Weak<Queue>, pool: Pool, spool: Arc<Spool>) {
    let mut pause = FIRST_PAUSE;
    let mut next = Instant::now();
    loop {
        let Some(queue) = queue.upgrade() else { return };
        if queue.len() < BATCH {
            tokio::time::sleep_until(next).await;
        }
        let batch = queue.front(BATCH);
        if batch.is_empty() {
            let _ = tokio::time::timeout(IDLE_LOOK, queue.arrived()).await;
            continue;
        }
        next = Instant::now() + TOGETHER;
        match write(&pool, &batch).await {
            Ok(()) => {
                batch.iter().for_each(|record| metrics::write(record, Outcome::Written));
                if !queue.healthy() {
                    tracing::info!("the database takes records again");
                }
                queue.written(batch.len());
                spool.written(queue.oldest());
                pause = FIRST_PAUSE;
            }
            Err(Failure::Refused(index, why)) => {
                thrown_away(batch.get(index), &why);
                queue.refused(index);
            }
            Err(Failure::Later(error)) => {
                if pool.is_closed() {
                    return;
                }
                batch.iter().for_each(|record| metrics::write(record, Outcome::Deferred));
                if queue.deferred() {
                    tracing::error!(
                        %error,
                        waiting = queue.len(),
                        "records cannot be written: kept, tried again; calls go on. See that the database runs, that its disk \
                         is not full and that we may write to it"
                    );
                }
                let (spool, waiting) = (Arc::clone(&spool), Arc::clone(&queue));
                // A panic in there has been logged; what waits is in memory still.
                let _ = tokio::task::spawn_blocking(move || spool.keep(&waiting)).await;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Writes all of these now; for what an earlier run left.
pub(super) async fn write_all(pool: &Pool, mut records: Vec<Record>) -> Result<(), sqlx::Error> {
    while !records.is_empty() {
        let count = records.len().min(BATCH);
        match write(pool, records.get(..count).unwrap_or_default()).await {
            Ok(()) => drop(records.drain(..count)),
            Err(Failure::Refused(index, why)) => thrown_away(Some(&records.remove(index)), &why),
            Err(Failure::Later(error)) => return Err(error),
        }
    }
    Ok(())
}

fn thrown_away(record: Option<&Record>, why: &str) {
    if let Some(record) = record {
        metrics::write(record, Outcome::Refused);
    }
    tracing::error!(why, "the database will never take this record: thrown away");
}

/// All of the batch or nothing of it.
async fn write(pool: &Pool, batch: &[Record]) -> Result<(), Failure> {
    let mut connection = pool.acquire().await.map_err(Failure::Later)?;
    let outcome = transact(&mut connection, batch).await;
    if matches!(outcome, Err(Failure::Later(_))) {
        // SQLite itself rolls back on FULL and IOERR (lang_transaction §3.1), which sqlx does not notice: it would refuse every later
        // BEGIN on this connection. One to a server that went silent is of no use either.
        connection.give_up();
    }
    outcome
}

async fn transact(connection: &mut Connection, batch: &[Record]) -> Result<(), Failure> {
    let mut change = connection.change().await.map_err(Failure::Later)?;
    for (index, record) in batch.iter().enumerate() {
        let outcome = match record {
            Record::Cdr(cdr) => rows::insert_cdr(&mut change, cdr).await,
            Record::Bindings(subscriber, bindings) => rows::replace_bindings(&mut change, subscriber, bindings).await,
        };
        outcome.map_err(|error| {
            if never(&error) { Failure::Refused(index, error.to_string()) } else { Failure::Later(error) }
        })?;
    }
    change.commit().await.map_err(Failure::Later)
}
