//! Login tokens: JSON Web Tokens (RFC 7519), HS256 (RFC 7518 §3.2), claims `iss` = `tandem`, `sub` = the user, `iat`, `exp`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tandem_actors::model::ids::UserId;

/// Tells the wall time; handed in, since only `main` may read clocks.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Who issues our tokens.
const ISSUER: &str = "tandem";
/// The shortest key taken, bytes: RFC 7518 §3.2 asks for the length of the hash.
pub const MIN_KEY: usize = 32;
/// The longest life of a token.
pub const MAX_TTL: Duration = Duration::from_secs(366 * 86_400);

/// Signs and checks tokens.
#[derive(Clone)]
pub struct TokenKey {
    sign: EncodingKey,
    check: DecodingKey,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token key has at least {MIN_KEY} bytes (RFC 7518 §3.2)")]
pub struct ShortKey;

/// Why a token is refused. Said to the client in these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours, or altered.
    #[error("the token is not one of this switch's")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired: ask for a new one")]
    Expired,
    /// It could not be signed.
    #[error("the token could not be signed")]
    Unsigned,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: UserId,
    iat: u64,
    exp: u64,
}

impl TokenKey {
    /// From secret bytes.
    ///
    /// # Errors
    /// [`ShortKey`] below [`MIN_KEY`] bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ShortKey> {
        if secret.len() < MIN_KEY {
            return Err(ShortKey);
        }
        Ok(Self { sign: EncodingKey::from_secret(secret), check: DecodingKey::from_secret(secret) })
    }

    /// A token for a user, good for `ttl` (cut at [`MAX_TTL`]) from `now`, and when it ends.
    ///
    /// # Errors
    /// [`TokenError::Unsigned`].
    pub fn issue(&self, user: &UserId, ttl: Duration, now: SystemTime) -> Result<(String, SystemTime), TokenError> {
        let iat = unix(now);
        let exp = iat.saturating_add(ttl.min(MAX_TTL).as_secs());
        let claims = Claims { iss: ISSUER.into(), sub: user.clone(), iat, exp };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
            .map_err(|_| TokenError::Unsigned)?;
        Ok((token, UNIX_EPOCH + Duration::from_secs(exp)))
    }

    /// Who a token names.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] or [`TokenError::Expired`].
    pub fn check(&self, token: &str, now: SystemTime) -> Result<UserId, TokenError> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["iss", "sub", "exp"]);
        // The library would read the system's clock; we are told the time.
        rules.validate_exp = false;
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.check, &rules).map_err(|_| TokenError::Invalid)?.claims;
        if claims.exp <= unix(now) { Err(TokenError::Expired) } else { Ok(claims.sub) }
    }
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::new(&[byte; 32]).expect("a key")
    }

    fn alice() -> UserId {
        UserId::new("alice").expect("a user")
    }

    #[test]
    fn a_token_names_its_user_until_it_expires() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let (token, until) = key(1).issue(&alice(), Duration::from_secs(60), now).expect("a token");
        assert_eq!(until, now + Duration::from_secs(60));
        assert_eq!(key(1).check(&token, now), Ok(alice()));
        assert_eq!(key(1).check(&token, now + Duration::from_secs(59)), Ok(alice()));
        assert_eq!(key(1).check(&token, until), Err(TokenError::Expired));
    }

    #[test]
    fn another_key_or_an_altered_token_is_refused() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let (token, _) = key(1).issue(&alice(), Duration::from_secs(60), now).expect("a token");
        assert_eq!(key(2).check(&token, now), Err(TokenError::Invalid));
        assert_eq!(key(1).check(&token.replace('.', "A."), now), Err(TokenError::Invalid));
        assert_eq!(key(1).check("", now), Err(TokenError::Invalid));
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        // {"alg":"none","typ":"JWT"} . {"iss":"tandem","sub":"alice","exp":9999999999} . nothing
        let token = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.\
                     eyJpc3MiOiJ0YW5kZW0iLCJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.";
        assert_eq!(key(1).check(token, UNIX_EPOCH), Err(TokenError::Invalid));
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(TokenKey::new(&[0; 31]).is_err());
    }
}
