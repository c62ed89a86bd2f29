//! The store: what outlives the process, in one SQLite file of the data folder, or in PostgreSQL where a URL names one. It
//! keeps CDRs (legs as JSON), bindings, subscribers (HA1 only, RFC 7616 §3.4.2), API keys (SHA-256 only); secrets that must be
//! whole lie in the data folder, in a file of mode 0600.
//!
//! It is not a cache of live state (that is the ledger's) and nothing waits for it: records pass a bounded queue to one
//! writer, which tries again while the database is locked, full or away. What it could not write is spooled to a file meanwhile
//! ([`spool`]), and subscribers and keys are known from memory: calls and registrations go on without a database.
//!
//! ```text
//!   Call, Registrar --record()--> [ queue, 10 000, overflow: newest DROPS, counted ] --> writer task --> SQLite (WAL)
//!                                             '-- while it fails: unwritten.jsonl            |   or PostgreSQL
//!   SIP digest, REST key --ha1(), has_api_key()--> credentials in memory <-- refresh task, every 2 s, by a version row
//! ```
//!
//! The way to PostgreSQL is what `sslmode` in its URL says, as everywhere: `prefer` is the default, and whoever is not on the same
//! machine wants `verify-full`, with `sslrootcert` where its authority is none of the system's.
//!
//! Not here: bindings shared live between switches: each reads them at its start.

mod bootstrap;
mod credentials;
mod engine;
mod metrics;
mod private;
mod queue;
mod rows;
mod spool;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use tandem_actors::model::ids::SubscriberId;
use tandem_actors::ports::store::{Cdr, Record, SavedBinding, StorePort};
use tokio::sync::watch;

pub use bootstrap::{FIRST_SUBSCRIBER, FIRST_USERS, FirstCredentials, TokenKey, new_password};
pub use credentials::Ha1Algorithm;
pub use engine::DATABASE;
use engine::Pool;
pub use metrics::describe;
pub use private::write_private;

/// How often a database that is away is asked again at start.
const AGAIN: Duration = Duration::from_secs(1);

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
    /// `store.url` cannot be read.
    #[error(
        "store.url is no URL of a database; write it as postgres://USER:PASSWORD@HOST/DATABASE, or \"\" for SQLite"
    )]
    Url {
        /// Why.
        source: sqlx::Error,
    },
    /// The server does not want us.
    #[error(
        "{place}: the server refuses us, or we it; see that user, password, database and sslmode of store.url are right"
    )]
    Refused {
        /// Which, without user and password.
        place: String,
        /// Its words.
        source: sqlx::Error,
    },
    /// The server does not answer.
    #[error("{place}: the database does not answer; see that it runs and that store.url names the right host and port")]
    Away {
        /// Which, without user and password.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The tables are newer than this program, or a migration failed.
    #[error("the tables of the database cannot be brought up to date; was it used by a newer tandem?")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
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
    pool: Pool,
    queue: Arc<queue::Queue>,
    spool: Arc<spool::Spool>,
    credentials: Arc<credentials::Credentials>,
    saved_bindings: Vec<SavedBinding>,
    token_key: TokenKey,
}

impl Store {
    /// Opens the data folder, makes what is missing in it (folder 0700, files 0600), opens the database (SQLite in the folder,
    /// or what `url` names), brings the tables up to date, writes what an earlier run could not, and starts the writer. To be
    /// called on a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`], each naming the file or server and what to do.
    pub async fn open(folder: &Path, url: Option<&str>) -> Result<Arc<Self>, StoreError> {
        Self::open_with(folder, url, queue::CAPACITY, |options| options).await
    }

    /// As [`Store::open`], but a database that is away is waited for, at most so long: after a power cut it may start later
    /// than we do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_within(limit: Duration, folder: &Path, url: Option<&str>) -> Result<Arc<Self>, StoreError> {
        let end = tokio::time::Instant::now() + limit;
        let mut said = false;
        loop {
            let error = match Self::open(folder, url).await {
                Ok(store) => return Ok(store),
                Err(error) => error,
            };
            let away = matches!(error, StoreError::Away { .. });
            if !away || tokio::time::Instant::now() + AGAIN >= end {
                return Err(error);
            }
            if !said {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, source, ?limit, "waiting for the database");
                said = true;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn open_with(
        folder: &Path,
        url: Option<&str>,
        capacity: usize,
        tune: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
    ) -> Result<Arc<Self>, StoreError> {
        private::make_folder(folder)?;
        let pool = match url {
            Some(url) => Pool::postgres(url).await?,
            None => {
                let path = folder.join(DATABASE);
                private::make_file(&path)?;
                Pool::sqlite(&path, tune).await.map_err(|source| StoreError::Open { path, source })?
            }
        };
        pool.migrate().await.map_err(|source| StoreError::Migrate(Box::new(source)))?;
        let token_key = bootstrap::token_key(folder)?;
        let spool = Arc::new(spool::Spool::new(folder));
        // Before anything is read: they are newer than what the database has.
        writer::write_all(&pool, spool.left()?).await?;
        spool.clear();
        let credentials = Arc::new(credentials::Credentials::load(&pool).await?);
        let saved_bindings = rows::bindings(&pool).await?;
        let queue = Arc::new(queue::Queue::new(capacity));
        tokio::spawn(writer::run(Arc::downgrade(&queue), pool.clone(), Arc::clone(&spool)));
        tokio::spawn(credentials::refresh(Arc::downgrade(&credentials), pool.clone()));
        Ok(Arc::new(Self { folder: folder.to_owned(), pool, queue, spool, credentials, saved_bindings, token_key }))
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
        Ok(rows::cdr_count(&self.pool).await?)
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
        let mut change = self.pool.change().await?;
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
        let mut change = self.pool.change().await?;
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

    /// Waits until every record is written, at most `limit`, then closes the database. Returns how many records were left: they
    /// are spooled, and written at the next start.
    pub async fn close(&self, limit: Duration) -> usize {
        // An elapsed limit is no error here: what is left is counted and returned.
        let _ = tokio::time::timeout(limit, self.queue.drained()).await;
        let left = self.queue.len();
        if left > 0 {
            self.spool.keep(&self.queue);
            tracing::error!(
                left,
                file = spool::FILE,
                "records could not be written before the end: the next start writes them"
            );
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
