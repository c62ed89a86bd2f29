//! The store: what outlives the process, in one SQLite file of the data folder. It keeps CDRs (legs as JSON), bindings,
//! subscribers (HA1 only, RFC 7616 §3.4.2), API keys (SHA-256 only); secrets that must be whole lie beside it in a file of
//! mode 0600.
//!
//! It is not a cache of live state (that is the ledger's) and nothing waits for it: records pass a bounded queue to one
//! writer, which tries again while the database is locked or the disk is full.
//!
//! ```text
//!   Call, Registrar --record()--> [ queue, 10 000, overflow: newest DROPS, counted ] --> writer task --> SQLite (WAL)
//!   SIP digest, REST key --ha1(), has_api_key()--> credentials in memory <-- refresh task, every 2 s, by a version row
//! ```

mod bootstrap;
mod credentials;
mod metrics;
mod private;
mod queue;
mod rows;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use tandem_actors::model::ids::SubscriberId;
use tandem_actors::ports::store::{Cdr, Record, SavedBinding, StorePort};
use tokio::sync::watch;

pub use bootstrap::{FIRST_SUBSCRIBER, FIRST_USERS, FirstCredentials, TokenKey, new_password};
pub use credentials::Ha1Algorithm;
pub use metrics::describe;
pub use private::write_private;

/// The database's file name in the data folder.
pub const DATABASE: &str = "tandem.sqlite3";

/// How long one statement waits for another process's lock before we are told and try again ourselves.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// What can go wrong with the store at start, or in one of the operator's commands.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder, or a file in it, cannot be made, read or written.
    #[error(
        "{path}: cannot be read or written; give the user that runs tandem this folder, or set data_dir to another one"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error("{path}: the database cannot be opened; see that the disk is not full and that the file is ours to write")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The tables are newer than this program, or a migration failed.
    #[error("{path}: the tables cannot be brought up to date; was this data folder used by a newer tandem?")]
    Migrate {
        /// Which database.
        path: PathBuf,
        /// Why.
        source: Box<sqlx::migrate::MigrateError>,
    },
    /// A query failed.
    #[error("the database refused a query")]
    Query(#[from] sqlx::Error),
    /// A secrets file that is not as we wrote it.
    #[error(
        "{path}: not a secrets file of ours ({what}); move it away to have new secrets made, which ends every login"
    )]
    Secrets {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The open store. Cheap to clone by its [`Arc`].
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    pool: SqlitePool,
    queue: Arc<queue::Queue>,
    credentials: Arc<credentials::Credentials>,
    saved_bindings: Vec<SavedBinding>,
    token_key: TokenKey,
}

impl Store {
    /// Opens the data folder, makes what is missing in it (folder 0700, files 0600), brings the tables up to date and
    /// starts the writer. To be called on a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`], each naming the file and what to do.
    pub async fn open(folder: &Path) -> Result<Arc<Self>, StoreError> {
        Self::open_with(folder, queue::CAPACITY, |options| options).await
    }

    async fn open_with(
        folder: &Path,
        capacity: usize,
        tune: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
    ) -> Result<Arc<Self>, StoreError> {
        private::make_folder(folder)?;
        let path = folder.join(DATABASE);
        private::make_file(&path)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            // WAL with NORMAL loses at most the last commits when the machine loses power, and never corrupts.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(tune(options))
            .await
            .map_err(|source| StoreError::Open { path: path.clone(), source })?;
        sqlx::migrate!("src/store/migrations")
            .run(&pool)
            .await
            .map_err(|source| StoreError::Migrate { path, source: Box::new(source) })?;
        let token_key = bootstrap::token_key(folder)?;
        let credentials = Arc::new(credentials::Credentials::load(&pool).await?);
        let saved_bindings = rows::bindings(&pool).await?;
        let queue = Arc::new(queue::Queue::new(capacity));
        tokio::spawn(writer::run(Arc::downgrade(&queue), pool.clone()));
        tokio::spawn(credentials::refresh(Arc::downgrade(&credentials), pool.clone()));
        Ok(Arc::new(Self { folder: folder.to_owned(), pool, queue, credentials, saved_bindings, token_key }))
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What login tokens are signed with.
    pub fn token_key(&self) -> &TokenKey {
        &self.token_key
    }

    /// The newest CDRs, latest end first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn recent_cdrs(&self, limit: u32) -> Result<Vec<Cdr>, StoreError> {
        Ok(rows::recent_cdrs(&self.pool, limit).await?)
    }

    /// How many CDRs are kept.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn cdr_count(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT count(*) FROM cdrs").fetch_one(&self.pool).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default())
    }

    /// H(username:realm:password) of a subscriber, lower-case hexadecimal; `None` for one we do not know. From memory.
    pub fn ha1(&self, subscriber: &SubscriberId, realm: &str, algorithm: Ha1Algorithm) -> Option<String> {
        self.credentials.ha1(subscriber, realm, algorithm)
    }

    /// How many subscribers of a realm cannot prove themselves by SHA-512-256, since they were made before its hash was kept.
    pub fn without_sha512t256(&self, realm: &str) -> usize {
        self.credentials.without_sha512t256(realm)
    }

    /// Whether this is a key of ours. From memory, in constant time.
    pub fn has_api_key(&self, key: &str) -> bool {
        self.credentials.has_api_key(key)
    }

    /// Label and SHA-256 of every API key. From memory.
    pub fn api_keys(&self) -> Vec<(String, [u8; 32])> {
        self.credentials.api_keys()
    }

    /// Subscribers and their realms, in order.
    pub fn subscribers(&self) -> Vec<(SubscriberId, String)> {
        self.credentials.subscribers()
    }

    /// The SHA-256 HA1 of every subscriber of a realm: whoever's differs from what it was has another password. From memory.
    pub fn passwords(&self, realm: &str) -> BTreeMap<SubscriberId, String> {
        self.credentials.passwords(realm)
    }

    /// Changes whenever subscribers and keys were read again, whoever changed them; closed once the store is gone.
    pub fn credential_changes(&self) -> watch::Receiver<i64> {
        self.credentials.changes()
    }

    /// Adds a subscriber; `false`, and nothing is changed, when there is one of that name in the realm. A running switch on
    /// the same folder sees it within 2 s.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn add_subscriber(&self, name: &SubscriberId, realm: &str, password: &str) -> Result<bool, StoreError> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let added = credentials::insert_subscriber(&mut change, name, realm, password).await?;
        change.commit().await?;
        self.credentials.reload(&self.pool).await?;
        Ok(added)
    }

    /// Removes a subscriber from a realm, and what is saved of its bindings; whether there was one. A running switch on the same
    /// folder sees it within 2 s.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn remove_subscriber(&self, name: &SubscriberId, realm: &str) -> Result<bool, StoreError> {
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = credentials::delete_subscriber(&mut change, name, realm).await?;
        change.commit().await?;
        self.credentials.reload(&self.pool).await?;
        Ok(found)
    }

    /// On the first start of this data folder only: makes an API key and a subscriber with a password, writes what `render`
    /// makes of them to `credentials.txt` (0600), then keeps their hashes. `None` on every later start.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is kept then, and the next start tries again.
    pub async fn bootstrap(
        &self,
        realm: &str,
        render: impl FnOnce(&FirstCredentials) -> String,
    ) -> Result<Option<FirstCredentials>, StoreError> {
        let first = bootstrap::run(&self.folder, &self.pool, realm, render).await?;
        if first.is_some() {
            self.credentials.reload(&self.pool).await?;
        }
        Ok(first)
    }

    /// Waits until every record is written, at most `limit`, then closes the database. Returns how many records were left,
    /// which are lost with the process.
    pub async fn close(&self, limit: Duration) -> usize {
        // An elapsed limit is no error here: what is left is counted and returned.
        let _ = tokio::time::timeout(limit, self.queue.drained()).await;
        let left = self.queue.len();
        if left > 0 {
            tracing::error!(left, "records could not be written before the end and are lost");
        }
        // Connections in use (a writer waiting for a lock) are not waited for past a moment.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.pool.close()).await;
        left
    }
}

impl StorePort for Store {
    fn record(&self, record: Record) {
        self.queue.push(record);
    }

    fn saved_bindings(&self) -> Vec<SavedBinding> {
        self.saved_bindings.clone()
    }

    fn healthy(&self) -> bool {
        self.queue.healthy()
    }
}

#[cfg(test)]
mod tests;
