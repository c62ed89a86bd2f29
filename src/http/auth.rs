//! Bearer API keys (RFC 6750 §2.1), compared in constant time.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::deps::ApiKey;
use super::error::ApiError;
use super::{Shared, Switch};

/// Lets a request through that carries a valid key.
pub(super) async fn require(State(switch): State<Shared>, request: Request, next: Next) -> Response {
    match check(&switch, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The check itself, for routes that ask for a key on one side only.
pub(super) fn check(switch: &Switch, headers: &HeaderMap) -> Result<(), ApiError> {
    let presented = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| ApiError::unauthorized("send the API key as `Authorization: Bearer KEY`"))?;
    match known(&switch.deps.keys.valid((switch.deps.wall)()), presented) {
        Some(_) => Ok(()),
        None => Err(ApiError::unauthorized("this API key is not valid")),
    }
}

/// Every key is compared, whether or not an earlier one matched.
fn known<'k>(keys: &'k [ApiKey], presented: &str) -> Option<&'k ApiKey> {
    let presented = ApiKey::of("", presented);
    let mut found = None;
    for key in keys {
        if bool::from(key.sha256.ct_eq(&presented.sha256)) {
            found = Some(key);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let keys = [ApiKey::of("first", "k1"), ApiKey::of("second", "k2")];
        assert_eq!(known(&keys, "k1").map(|key| key.name.as_str()), Some("first"));
        assert_eq!(known(&keys, "k2").map(|key| key.name.as_str()), Some("second"));
        assert_eq!(known(&keys, "k3"), None);
        assert_eq!(known(&keys, ""), None);
    }
}
