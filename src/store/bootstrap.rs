//! The first start: secrets are drawn at random, shown once, and kept as hashes. There is no default password anywhere.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tandem_actors::model::ids::SubscriberId;
use zeroize::ZeroizeOnDrop;

use super::engine::Pool;
use super::{StoreError, credentials, private};

/// The phone that a new data folder has.
pub const FIRST_SUBSCRIBER: &str = "1001";
/// The app users that a new data folder's `credentials.txt` has login tokens for.
pub const FIRST_USERS: [&str; 2] = ["alice", "bob"];

/// What a first start made. Only `credentials.txt` and the screen ever show it.
#[derive(ZeroizeOnDrop)]
pub struct FirstCredentials {
    /// Bearer key of the REST API.
    pub api_key: String,
    /// Name of the first subscriber.
    pub subscriber: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for FirstCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstCredentials(…)")
    }
}

/// The key that login tokens are signed with: 256 random bits of `secrets.toml`. Never prints.
#[derive(Clone, ZeroizeOnDrop)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The bytes, for the signer.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// `secrets.toml`.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Secrets {
    /// 64 hexadecimal digits.
    token_key: String,
}

/// Reads `secrets.toml`, or makes it where it is missing.
pub(super) fn token_key(folder: &Path) -> Result<TokenKey, StoreError> {
    let path = folder.join("secrets.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|what| StoreError::Secrets { path, what }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = TokenKey(rand::random());
            let secrets = Secrets { token_key: credentials::hex(&key.0) };
            let text = toml::to_string(&secrets)
                .map_err(|e| StoreError::Secrets { path: path.clone(), what: e.to_string() })?;
            private::write_private(
                &path,
                &format!("# Made by tandem. Whoever has this can log in as anybody.\n{text}"),
            )?;
            Ok(key)
        }
        Err(source) => Err(StoreError::File { path, source }),
    }
}

fn parse(text: &str) -> Result<TokenKey, String> {
    // The parser's own message would quote the line, and with it the secret.
    let secrets: Secrets = toml::from_str(text).map_err(|_| "it is not the TOML we wrote".to_owned())?;
    let key = credentials::unhex(&secrets.token_key).ok_or("token_key is not 64 hexadecimal digits")?;
    Ok(TokenKey(key))
}

/// A password that can be typed on a phone's web page and read aloud: 20 letters and digits without look-alikes, some 99
/// bits.
pub fn new_password() -> String {
    const LETTERS: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
    (0..20).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}

/// See [`super::Store::bootstrap`].
pub(super) async fn run(
    folder: &Path,
    pool: &Pool,
    realm: &str,
    render: impl FnOnce(&FirstCredentials) -> String,
) -> Result<Option<FirstCredentials>, StoreError> {
    let mut change = pool.change().await?;
    let mark = change.execute("INSERT INTO meta (key, value) VALUES ('bootstrapped', '1') ON CONFLICT DO NOTHING", []);
    if mark.await? == 0 {
        return Ok(None);
    }
    let first = FirstCredentials {
        api_key: format!("tandem_{}", credentials::hex(&rand::random::<[u8; 32]>())),
        subscriber: FIRST_SUBSCRIBER.into(),
        password: new_password(),
    };
    // A constant that is a name; were it not, nothing would have been kept.
    let subscriber = SubscriberId::new(&first.subscriber)
        .map_err(|e| StoreError::Secrets { path: folder.into(), what: e.to_string() })?;
    credentials::insert_api_key(&mut change, &first.api_key, "first start").await?;
    credentials::insert_subscriber(&mut change, &subscriber, realm, &first.password).await?;
    // The file before the commit: what cannot be shown must not be kept.
    private::write_private(&folder.join("credentials.txt"), &render(&first))?;
    change.commit().await?;
    Ok(Some(first))
}
