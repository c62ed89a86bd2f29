//! Login tokens for app users.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::AppendHeaders;
use serde::{Deserialize, Serialize};
use tandem_actors::model::ids::UserId;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::error::{ApiError, Body, ErrorBody};
use super::super::tokens::MAX_TTL;
use super::shapes::moment;

/// Life of a token that asks for none: a day.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);

/// For whom, how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct IssueToken {
    /// App user id, 1 to 64 bytes, not `null`.
    #[schema(example = "alice", max_length = 64)]
    user: String,
    /// Seconds; a day without it, at most 366 days.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 31622400)]
    ttl_s: Option<u64>,
}

/// A login token.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct IssuedToken {
    /// For the first frame on `/ws`, or the web phone (`/phone/#user=alice&token=…`).
    token: String,
    /// Whose.
    user: String,
    /// Until when.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Makes a login token for an app user.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "issueToken", tag = "users",
    request_body = IssueToken,
    responses((status = 201, description = "Made", body = IssuedToken),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 413, description = "Body over 64 kB", body = ErrorBody),
        (status = 415, description = "Content-Type is not application/json", body = ErrorBody),
        (status = 422, description = "Unknown field, bad user id or ttl", body = ErrorBody)))]
pub(in super::super) async fn issue(
    State(switch): State<Shared>,
    Body(order): Body<IssueToken>,
) -> Result<(StatusCode, AppendHeaders<[(axum::http::HeaderName, &'static str); 1]>, Json<IssuedToken>), ApiError> {
    let user = UserId::new(&order.user).map_err(|error| ApiError::invalid(format!("user: {error}")))?;
    let ttl = match order.ttl_s {
        None => DEFAULT_TTL,
        Some(ttl) if ttl >= 1 && ttl <= MAX_TTL.as_secs() => Duration::from_secs(ttl),
        Some(_) => return Err(ApiError::invalid("ttl_s: 1 to 31622400 seconds")),
    };
    let (token, until) = switch
        .token_key
        .issue(&user, ttl, (switch.deps.wall)())
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let issued = IssuedToken { token, user: user.to_string(), expires_at: moment(until) };
    Ok((StatusCode::CREATED, AppendHeaders([(CACHE_CONTROL, "no-store")]), Json(issued)))
}
