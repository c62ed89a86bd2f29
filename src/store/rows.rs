//! Records as rows and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tandem_actors::model::ids::SubscriberId;
use tandem_actors::ports::store::{Cdr, SavedBinding};

use super::engine::{Change, Pool, Row};

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

fn parsed<T: serde::de::DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.text(column)?)
        .map_err(|e| sqlx::Error::ColumnDecode { index: column.into(), source: Box::new(e) })
}

fn named<T: std::str::FromStr>(row: &Row, column: &'static str) -> Result<T, sqlx::Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.text(column)?.parse().map_err(|e| sqlx::Error::ColumnDecode { index: column.into(), source: Box::new(e) })
}

/// Writing the same call twice keeps the first: a call actor that was restarted while it ended may say it again.
pub(super) async fn insert_cdr(into: &mut Change<'_>, cdr: &Cdr) -> Result<(), sqlx::Error> {
    let values = [
        cdr.call.to_string().into(),
        cdr.kind.as_str().into(),
        cdr.from.as_str().into(),
        cdr.to.as_str().into(),
        micros(cdr.started_at).into(),
        cdr.answered_at.map(micros).into(),
        micros(cdr.ended_at).into(),
        json(&cdr.cause)?.into(),
        json(&cdr.legs)?.into(),
    ];
    into.execute(
        "INSERT INTO cdrs (call, kind, from_party, to_party, started_at_us, answered_at_us, ended_at_us, cause, legs) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (call) DO NOTHING",
        values,
    )
    .await
    .map(drop)
}

pub(super) async fn replace_bindings(
    into: &mut Change<'_>,
    subscriber: &SubscriberId,
    bindings: &[SavedBinding],
) -> Result<(), sqlx::Error> {
    into.execute("DELETE FROM bindings WHERE subscriber = $1", [subscriber.as_str().into()]).await?;
    for (position, binding) in (0_i64..).zip(bindings) {
        let values =
            [subscriber.as_str().into(), position.into(), micros(binding.expires_at).into(), json(binding)?.into()];
        into.execute(
            "INSERT INTO bindings (subscriber, position, expires_at_us, binding) VALUES ($1, $2, $3, $4)",
            values,
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn recent_cdrs(pool: &Pool, limit: u32) -> Result<Vec<Cdr>, sqlx::Error> {
    pool.fetch("SELECT * FROM cdrs ORDER BY ended_at_us DESC LIMIT $1", [i64::from(limit).into()])
        .await?
        .iter()
        .map(|row| {
            Ok(Cdr {
                call: named(row, "call")?,
                kind: row.text("kind")?.to_owned(),
                from: row.text("from_party")?.to_owned(),
                to: row.text("to_party")?.to_owned(),
                started_at: time(row.int("started_at_us")?),
                answered_at: row.maybe_int("answered_at_us")?.map(time),
                ended_at: time(row.int("ended_at_us")?),
                cause: parsed(row, "cause")?,
                legs: parsed(row, "legs")?,
            })
        })
        .collect()
}

pub(super) async fn cdr_count(pool: &Pool) -> Result<u64, sqlx::Error> {
    let rows = pool.fetch("SELECT count(*) AS cdrs FROM cdrs", []).await?;
    let count = rows.first().map_or(Ok(0), |row| row.int("cdrs"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Every binding that was saved. One that this program cannot read (it was saved by a newer one) is left out: its phone
/// registers again.
pub(super) async fn bindings(pool: &Pool) -> Result<Vec<SavedBinding>, sqlx::Error> {
    let rows = pool.fetch("SELECT * FROM bindings ORDER BY subscriber, position", []).await?;
    let read = |row: &Row| {
        let binding = parsed(row, "binding");
        binding.inspect_err(|error| tracing::error!(%error, "a saved binding cannot be read: left out")).ok()
    };
    Ok(rows.iter().filter_map(read).collect())
}
