//! Subscribers and API keys, kept in memory so that a digest or a key is checked without a query. Another process (the
//! operator's `tandem subscriber add`) changes them by the database; a version row tells.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, Weak};
use std::time::Duration;

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};
use subtle::{Choice, ConstantTimeEq as _};
use tandem_actors::model::ids::SubscriberId;
use tokio::sync::watch;

use super::engine::{Change, Pool};

/// How soon a change by another process is seen.
const REFRESH: Duration = Duration::from_secs(2);

/// The hash of a digest challenge (RFC 8760 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ha1Algorithm {
    /// `MD5`.
    Md5,
    /// `SHA-256`.
    Sha256,
    /// `SHA-512-256`.
    Sha512t256,
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

struct Ha1 {
    md5: String,
    sha256: String,
    /// `None` for a subscriber made before it was kept.
    sha512t256: Option<String>,
}

#[derive(Default)]
struct Known {
    version: i64,
    /// By (realm, subscriber).
    ha1: BTreeMap<(String, SubscriberId), Ha1>,
    /// Label and SHA-256 of each key.
    api_keys: Vec<(String, [u8; 32])>,
}

/// What is known now. Never prints.
pub(super) struct Credentials {
    known: RwLock<Known>,
    /// The version of what is known.
    read: watch::Sender<i64>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    pub(super) async fn load(pool: &Pool) -> Result<Self, sqlx::Error> {
        let known = read(pool).await?;
        Ok(Self { read: watch::Sender::new(known.version), known: RwLock::new(known) })
    }

    pub(super) async fn reload(&self, pool: &Pool) -> Result<(), sqlx::Error> {
        let known = read(pool).await?;
        let version = known.version;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        self.read.send_replace(version);
        Ok(())
    }

    /// Changes whenever they were read again.
    pub(super) fn changes(&self) -> watch::Receiver<i64> {
        self.read.subscribe()
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        // Poisoning is ignored: the map is replaced whole.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn passwords(&self, realm: &str) -> BTreeMap<SubscriberId, String> {
        let known = self.known();
        let ours = known.ha1.iter().filter(|((of, _), _)| of == realm);
        ours.map(|((_, subscriber), ha1)| (subscriber.clone(), ha1.sha256.clone())).collect()
    }

    pub(super) fn ha1(&self, subscriber: &SubscriberId, realm: &str, algorithm: Ha1Algorithm) -> Option<String> {
        let known = self.known();
        let ha1 = known.ha1.get(&(realm.to_owned(), subscriber.clone()))?;
        match algorithm {
            Ha1Algorithm::Md5 => Some(ha1.md5.clone()),
            Ha1Algorithm::Sha256 => Some(ha1.sha256.clone()),
            Ha1Algorithm::Sha512t256 => ha1.sha512t256.clone(),
        }
    }

    /// How many subscribers of a realm have no SHA-512-256 hash: made before it was kept.
    pub(super) fn without_sha512t256(&self, realm: &str) -> usize {
        let known = self.known();
        known.ha1.iter().filter(|((of, _), ha1)| of == realm && ha1.sha512t256.is_none()).count()
    }

    pub(super) fn has_api_key(&self, key: &str) -> bool {
        let hash = hash(key);
        // All are compared, whichever matches: the time tells nothing.
        let found = self.known().api_keys.iter().fold(Choice::from(0), |found, (_, known)| found | known.ct_eq(&hash));
        found.into()
    }

    pub(super) fn api_keys(&self) -> Vec<(String, [u8; 32])> {
        self.known().api_keys.clone()
    }

    pub(super) fn subscribers(&self) -> Vec<(SubscriberId, String)> {
        self.known().ha1.keys().map(|(realm, subscriber)| (subscriber.clone(), realm.clone())).collect()
    }
}

/// What is kept of an API key.
fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// 64 hexadecimal digits as 32 bytes.
pub(super) fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
    }
    Some(bytes)
}

async fn version(pool: &Pool) -> Result<i64, sqlx::Error> {
    let rows =
        pool.fetch("SELECT CAST(value AS BIGINT) AS version FROM meta WHERE key = 'credentials_version'", []).await?;
    rows.first().map_or(Ok(0), |row| row.int("version"))
}

async fn read(pool: &Pool) -> Result<Known, sqlx::Error> {
    // The version first: a change that comes between is read again at the next look.
    let mut known = Known { version: version(pool).await?, ..Known::default() };
    let all = "SELECT subscriber, realm, ha1_md5, ha1_sha256, ha1_sha512_256 FROM subscribers";
    for row in pool.fetch(all, []).await? {
        match SubscriberId::new(row.text("subscriber")?) {
            Ok(subscriber) => {
                let ha1 = Ha1 {
                    md5: row.text("ha1_md5")?.to_owned(),
                    sha256: row.text("ha1_sha256")?.to_owned(),
                    sha512t256: row.maybe_text("ha1_sha512_256")?,
                };
                known.ha1.insert((row.text("realm")?.to_owned(), subscriber), ha1);
            }
            Err(error) => tracing::error!(%error, "a subscriber in the database has a name that is none: left out"),
        }
    }
    for row in pool.fetch("SELECT label, sha256 FROM api_keys", []).await? {
        match unhex(row.text("sha256")?) {
            Some(hash) => known.api_keys.push((row.text("label")?.to_owned(), hash)),
            None => tracing::error!("an API key in the database is no SHA-256: left out"),
        }
    }
    Ok(known)
}

async fn changed(by: &mut Change<'_>) -> Result<(), sqlx::Error> {
    by.execute(
        "INSERT INTO meta (key, value) VALUES ('credentials_version', '1') \
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT)",
        [],
    )
    .await
    .map(drop)
}

pub(super) async fn insert_subscriber(
    into: &mut Change<'_>,
    subscriber: &SubscriberId,
    realm: &str,
    password: &str,
) -> Result<bool, sqlx::Error> {
    let secret = format!("{subscriber}:{realm}:{password}");
    let values = [
        subscriber.as_str().into(),
        realm.into(),
        hex(&Md5::digest(secret.as_bytes())).into(),
        hex(&Sha256::digest(secret.as_bytes())).into(),
        hex(&Sha512_256::digest(secret.as_bytes())).into(),
    ];
    let added = into
        .execute(
            "INSERT INTO subscribers (subscriber, realm, ha1_md5, ha1_sha256, ha1_sha512_256) \
             VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
            values,
        )
        .await?;
    changed(into).await?;
    Ok(added > 0)
}

pub(super) async fn delete_subscriber(
    from: &mut Change<'_>,
    subscriber: &SubscriberId,
    realm: &str,
) -> Result<bool, sqlx::Error> {
    let values = [subscriber.as_str().into(), realm.into()];
    let found = from.execute("DELETE FROM subscribers WHERE subscriber = $1 AND realm = $2", values).await? > 0;
    if found {
        // So that the next start does not find them. A running switch drops its own when it reads that the subscriber is gone.
        super::rows::replace_bindings(from, subscriber, &[]).await?;
    }
    changed(from).await?;
    Ok(found)
}

pub(super) async fn insert_api_key(into: &mut Change<'_>, key: &str, label: &str) -> Result<(), sqlx::Error> {
    let values = [hex(&hash(key)).into(), label.into()];
    into.execute("INSERT INTO api_keys (sha256, label) VALUES ($1, $2) ON CONFLICT DO NOTHING", values).await?;
    changed(into).await
}

/// Looks every [`REFRESH`] whether another process changed something. Runs until the store is dropped.
pub(super) async fn refresh(credentials: Weak<Credentials>, pool: Pool) {
    let mut failing = false;
    loop {
        tokio::time::sleep(REFRESH).await;
        let Some(credentials) = credentials.upgrade() else { return };
        if pool.is_closed() {
            return;
        }
        let outcome = match version(&pool).await {
            Ok(version) if version == credentials.known().version => Ok(()),
            Ok(_) => credentials.reload(&pool).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "subscribers and keys could not be read again: what is in memory stands");
            }
            // Said once.
            Err(_) => {}
        }
    }
}
