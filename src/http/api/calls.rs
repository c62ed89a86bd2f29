//! Orders to any live call.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tandem_actors::control::Reply;
use tandem_actors::model::ids::CallId;
use tokio::time::timeout;

use super::super::Shared;
use super::super::error::{ApiError, ErrorBody};

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
