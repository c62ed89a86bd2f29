//! Orders to any live call.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tandem_actors::control::{Replace, ReplacedBy, Reply, TransferOrder};
use tandem_actors::model::ids::CallId;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::error::{ApiError, Body, ErrorBody};

/// The brain answers an order in this time, or is said not to.
const ORDER_WITHIN: Duration = Duration::from_secs(10);

/// Awaits the brain's answer.
pub(super) async fn answered<T>(reply: Reply<T>) -> Result<T, ApiError> {
    timeout(ORDER_WITHIN, reply).await.map_err(|_| ApiError::unavailable("the switch did not answer within 10 s"))
}

/// A call id of a path.
pub(super) fn call_id(path: Result<Path<String>, PathRejection>) -> Result<CallId, ApiError> {
    let Path(id) = path?;
    id.parse()
        .map_err(|error: tandem_actors::model::ids::IdError| ApiError::not_found(format!("no such call: {error}")))
}

/// Hangs up a call, whatever its state.
#[utoipa::path(delete, path = "/api/v1/calls/{id}", operation_id = "hangUpCall", tag = "calls",
    params(("id" = String, Path, description = "As in the list")),
    responses((status = 204, description = "Hung up"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "No such live call", body = ErrorBody),
        (status = 503, description = "The switch did not answer", body = ErrorBody)))]
pub(in super::super) async fn hang_up(
    State(switch): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    answered(switch.control.hang_up(call_id(id)?)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Longest target, characters.
const MAX_TARGET: usize = 64;

/// Who is to be replaced in a call, and by whom: `to` or `call`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct TransferCall {
    /// Whose place is taken; without it the callee's. After a transfer the party that stayed counts as the caller.
    #[serde(default)]
    replace: PartyOf,
    /// A user id, service id or number, which is rung (a blind transfer).
    #[serde(default)]
    #[schema(example = "+8613800138000", max_length = 64)]
    to: Option<String>,
    /// Another call, whose remaining party takes the place while that call ends (an attended transfer).
    #[serde(default)]
    #[schema(example = "call-0000000000009c1e")]
    call: Option<String>,
    /// Which party of that other call is left out; without it its caller.
    #[serde(default)]
    call_replace: Option<PartyOf>,
}

/// A party of a call.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum PartyOf {
    /// Who called.
    Caller,
    /// Who was called.
    #[default]
    Callee,
}

impl From<PartyOf> for Replace {
    fn from(party: PartyOf) -> Self {
        match party {
            PartyOf::Caller => Self::Caller,
            PartyOf::Callee => Self::Callee,
        }
    }
}

impl TransferCall {
    fn meant(self) -> Result<TransferOrder, ApiError> {
        let by = match (self.to, self.call) {
            (Some(to), None) if !to.is_empty() && to.chars().count() <= MAX_TARGET => ReplacedBy::Target(to),
            (Some(_), None) => return Err(ApiError::invalid("to: 1 to 64 characters")),
            (None, Some(call)) => {
                let replace = self.call_replace.unwrap_or(PartyOf::Caller);
                let call = call.parse::<CallId>().map_err(|error| ApiError::invalid(format!("call: {error}")));
                ReplacedBy::Call(call?, replace.into())
            }
            (None, None) | (Some(_), Some(_)) => return Err(ApiError::invalid("give one of to and call")),
        };
        Ok(TransferOrder { replace: self.replace.into(), by })
    }
}

/// Puts somebody else in one party's place in a call whose parties talk. The other party stays, and hears ringback meanwhile;
/// if the target does not answer, the party comes back.
#[utoipa::path(post, path = "/api/v1/calls/{id}/transfer", operation_id = "transferCall", tag = "calls",
    params(("id" = String, Path, description = "As in the list")),
    request_body = TransferCall,
    responses((status = 202, description = "Begun"),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "No such live call", body = ErrorBody),
        (status = 409, description = "Its parties do not talk, or the two calls cannot be joined", body = ErrorBody),
        (status = 413, description = "Body over 64 kB", body = ErrorBody),
        (status = 415, description = "Content-Type is not application/json", body = ErrorBody),
        (status = 422, description = "Unknown field, nobody of that name, or not allowed", body = ErrorBody),
        (status = 503, description = "The switch did not answer", body = ErrorBody)))]
pub(in super::super) async fn transfer(
    State(switch): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    Body(order): Body<TransferCall>,
) -> Result<StatusCode, ApiError> {
    answered(switch.control.transfer(call_id(id)?, order.meant()?)).await??;
    Ok(StatusCode::ACCEPTED)
}
