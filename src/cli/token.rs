//! `tandem token`: a login token, signed with the key of the data folder.

use std::time::{Duration, SystemTime};

use tandem_actors::model::ids::UserId;

use super::Failure;
use crate::config::Config;
use crate::http::tokens::TokenKey;
use crate::store::{self, Store};

/// The key that the HTTP side checks tokens with.
pub(super) fn key(of: &store::TokenKey) -> Result<TokenKey, Failure> {
    TokenKey::new(of.bytes()).map_err(|error| Failure::Refused(error.to_string()))
}

pub(super) async fn issue(config: &Config, user: &UserId, ttl: Duration, now: SystemTime) -> Result<String, Failure> {
    let store = Store::open(&config.data_dir, config.store_url()).await?;
    let issued = key(store.token_key())?.issue(user, ttl, now);
    store.close(Duration::from_secs(1)).await;
    let (token, _) = issued.map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(token)
}
