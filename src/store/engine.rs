//! The two engines behind one face: SQLite in the data folder, PostgreSQL by URL. One set of statements serves both, with `$1`
//! for parameters (sqlx numbers them on SQLite too) and no type but TEXT and 64-bit integers.
//!
//! Every wait has an end: a server that went silent must not hold the writer, nor a request of the API.

use std::future::Future;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Transaction};

use super::StoreError;

/// The database's file name in the data folder.
pub const DATABASE: &str = "tandem.sqlite3";

/// How long one statement waits for another process's lock before we are told and try again ourselves.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection is waited for.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a statement may take before its connection is given up.
const STATEMENT: Duration = Duration::from_secs(15);
/// Connections: one for the writer, the rest for questions.
const CONNECTIONS: u32 = 4;

/// A parameter of a statement.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Int(i64),
    MaybeInt(Option<i64>),
}

impl From<&str> for Value {
    /// PostgreSQL takes no NUL in a text, and nobody misses one.
    fn from(text: &str) -> Self {
        Self::Text(text.replace('\0', "\u{fffd}"))
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::MaybeInt(number)
    }
}

macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Int(number) => query.bind(number),
                Value::MaybeInt(number) => query.bind(number),
            };
        }
        query
    }};
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub fn text(&self, column: &str) -> Result<&str, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
    pub fn maybe_text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
    pub fn int(&self, column: &str) -> Result<i64, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
    pub fn maybe_int(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

/// Connections to the database. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// One connection.
pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// Changes that take effect together, or not at all.
pub(super) enum Change<'c> {
    Sqlite(Transaction<'c, Sqlite>),
    Postgres(Transaction<'c, Postgres>),
}

/// With an end, as the module's doc promises.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

impl Pool {
    /// SQLite in a file that is there already.
    pub async fn sqlite(
        path: &Path,
        tune: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
    ) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // WAL with NORMAL loses at most the last commits when the machine loses power, and never corrupts.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE);
        Ok(Self::Sqlite(pool.connect_with(tune(options)).await?))
    }

    /// PostgreSQL. One connection is made at once, so that what is wrong is told by the server's own words.
    pub async fn postgres(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|source| StoreError::Url { source })?;
        let place = place(&options);
        let options = options.application_name("tandem").options([("statement_timeout", "10s")]);
        let first = async { options.connect().await?.close().await };
        match within(ACQUIRE, first).await {
            Ok(()) => {}
            Err(source) if refused(&source) => return Err(StoreError::Refused { place, source }),
            Err(source) => return Err(StoreError::Away { place, source }),
        }
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE);
        Ok(Self::Postgres(pool.connect_lazy_with(options)))
    }

    /// Brings the tables up to date. Several switches may do so at once.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        match self {
            Self::Sqlite(pool) => sqlx::migrate!("src/store/migrations/sqlite").run(pool).await,
            Self::Postgres(pool) => sqlx::migrate!("src/store/migrations/postgres").run(pool).await,
        }
    }

    pub async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Connection::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => Connection::Postgres(within(ACQUIRE, pool.acquire()).await?),
        })
    }

    /// Changes of an operator's command.
    pub async fn change(&self) -> Result<Change<'static>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Change::Sqlite(pool.begin_with(BEGIN_SQLITE).await?),
            Self::Postgres(pool) => Change::Postgres(within(STATEMENT, pool.begin()).await?),
        })
    }

    pub async fn fetch(
        &self,
        sql: &'static str,
        values: impl IntoIterator<Item = Value> + Send,
    ) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => {
                let rows = bound!(sql, values).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(pool) => {
                let rows = within(STATEMENT, bound!(sql, values).fetch_all(pool)).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub fn is_closed(&self) -> bool {
        match self {
            Self::Sqlite(pool) => pool.is_closed(),
            Self::Postgres(pool) => pool.is_closed(),
        }
    }

    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// IMMEDIATE: the write lock is waited for here, under busy_timeout, not refused half-way (SQLITE_BUSY_SNAPSHOT).
const BEGIN_SQLITE: &str = "BEGIN IMMEDIATE";

impl Connection {
    pub async fn change(&mut self) -> Result<Change<'_>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => Change::Sqlite(connection.begin_with(BEGIN_SQLITE).await?),
            Self::Postgres(connection) => Change::Postgres(within(STATEMENT, connection.begin()).await?),
        })
    }

    /// It is not to be used again: what it was doing did not end well.
    pub fn give_up(&mut self) {
        match self {
            Self::Sqlite(connection) => connection.close_on_drop(),
            Self::Postgres(connection) => connection.close_on_drop(),
        }
    }
}

impl Change<'_> {
    /// How many rows it touched.
    pub async fn execute(
        &mut self,
        sql: &'static str,
        values: impl IntoIterator<Item = Value> + Send,
    ) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(change) => Ok(bound!(sql, values).execute(&mut **change).await?.rows_affected()),
            Self::Postgres(change) => {
                let done = within(STATEMENT, bound!(sql, values).execute(&mut **change)).await?;
                Ok(done.rows_affected())
            }
        }
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(change) => change.commit().await,
            Self::Postgres(change) => within(STATEMENT, change.commit()).await,
        }
    }
}

/// Where it is, without user and password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("postgres:{}/{database}", socket.display()),
        None => format!("postgres://{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// Whether waiting does not help: the server said no to who we are (SQLSTATE class 28) or to what we want (3D000: there is no
/// such database; 42501: no right to connect), or cannot speak as `sslmode` demands: no TLS, or a certificate that is not its own.
fn refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let said_no = code.is_some_and(|code| code.starts_with("28") || code == "3D000" || code == "42501");
    let handshake = matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData);
    said_no || handshake || matches!(error, sqlx::Error::Tls(_) | sqlx::Error::Configuration(_))
}

/// Whether trying again is useless: the value itself is at fault, or cannot be encoded.
pub(super) fn never(error: &sqlx::Error) -> bool {
    let Some(database) = error.as_database_error() else { return matches!(error, sqlx::Error::Encode(_)) };
    let Some(code) = database.code() else { return false };
    if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        // Data exception; integrity constraint violation; a value too large for its place.
        return code.starts_with("22") || code.starts_with("23") || code == "54000";
    }
    // SQLite's primary result codes TOOBIG (18), CONSTRAINT (19), MISMATCH (20), RANGE (25).
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18 | 19 | 20 | 25))
}
