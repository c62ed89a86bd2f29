//! Records as rows and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use tandem_actors::model::ids::SubscriberId;
use tandem_actors::ports::store::{Cdr, SavedBinding};

/// Microseconds since 1970. Times before it, or past the year 294 000, are cut to the ends of what a row holds.
fn micros(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

fn parsed<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.try_get(column)?)
        .map_err(|e| sqlx::Error::ColumnDecode { index: column.into(), source: Box::new(e) })
}

fn named<T: std::str::FromStr>(row: &SqliteRow, column: &'static str) -> Result<T, sqlx::Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.try_get::<&str, _>(column)?
        .parse()
        .map_err(|e| sqlx::Error::ColumnDecode { index: column.into(), source: Box::new(e) })
}

/// Writing the same call twice keeps the first: a call actor that was restarted while it ended may say it again.
pub(super) async fn insert_cdr(into: &mut SqliteConnection, cdr: &Cdr) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO cdrs (call, kind, from_party, to_party, started_at_us, answered_at_us, ended_at_us, cause, legs) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call) DO NOTHING",
    )
    .bind(cdr.call.to_string())
    .bind(&cdr.kind)
    .bind(&cdr.from)
    .bind(&cdr.to)
    .bind(micros(cdr.started_at))
    .bind(cdr.answered_at.map(micros))
    .bind(micros(cdr.ended_at))
    .bind(json(&cdr.cause)?)
    .bind(json(&cdr.legs)?)
    .execute(into)
    .await
    .map(drop)
}

pub(super) async fn replace_bindings(
    into: &mut SqliteConnection,
    subscriber: &SubscriberId,
    bindings: &[SavedBinding],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM bindings WHERE subscriber = ?").bind(subscriber.as_str()).execute(&mut *into).await?;
    for binding in bindings {
        sqlx::query(
            "INSERT INTO bindings (subscriber, contact, expires_at_us, q, call_id, cseq, user_agent) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(binding.subscriber.as_str())
        .bind(json(&binding.contact)?)
        .bind(micros(binding.expires_at))
        .bind(binding.q)
        .bind(&binding.call_id)
        .bind(binding.cseq)
        .bind(&binding.user_agent)
        .execute(&mut *into)
        .await?;
    }
    Ok(())
}

pub(super) async fn recent_cdrs(pool: &SqlitePool, limit: u32) -> Result<Vec<Cdr>, sqlx::Error> {
    sqlx::query("SELECT * FROM cdrs ORDER BY ended_at_us DESC LIMIT ?")
        .bind(limit)
        .fetch_all(pool)
        .await?
        .iter()
        .map(|row| {
            Ok(Cdr {
                call: named(row, "call")?,
                kind: row.try_get("kind")?,
                from: row.try_get("from_party")?,
                to: row.try_get("to_party")?,
                started_at: time(row.try_get("started_at_us")?),
                answered_at: row.try_get::<Option<i64>, _>("answered_at_us")?.map(time),
                ended_at: time(row.try_get("ended_at_us")?),
                cause: parsed(row, "cause")?,
                legs: parsed(row, "legs")?,
            })
        })
        .collect()
}

pub(super) async fn bindings(pool: &SqlitePool) -> Result<Vec<SavedBinding>, sqlx::Error> {
    sqlx::query("SELECT * FROM bindings ORDER BY rowid")
        .fetch_all(pool)
        .await?
        .iter()
        .map(|row| {
            Ok(SavedBinding {
                subscriber: named(row, "subscriber")?,
                contact: parsed(row, "contact")?,
                expires_at: time(row.try_get("expires_at_us")?),
                q: row.try_get("q")?,
                call_id: row.try_get("call_id")?,
                cseq: row.try_get("cseq")?,
                user_agent: row.try_get("user_agent")?,
            })
        })
        .collect()
}
