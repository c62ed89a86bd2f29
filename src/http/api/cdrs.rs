//! Call detail records.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::Shared;
use super::super::error::{ApiError, ErrorBody};
use super::calls::answered;
use super::shapes::Cdrs;

/// Most records returned at once.
const MAX_LIMIT: u32 = 1000;

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Which {
    /// How many, newest first; 100 without it.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

/// The latest call detail records, newest first.
#[utoipa::path(get, path = "/api/v1/cdrs", operation_id = "listCdrs", tag = "calls",
    params(Which),
    responses((status = 200, description = "Newest first", body = Cdrs),
        (status = 400, description = "The limit is not a number", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 422, description = "The limit is out of its range", body = ErrorBody),
        (status = 503, description = "The store cannot answer", body = ErrorBody)))]
pub(in super::super) async fn recent(
    State(switch): State<Shared>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Cdrs>, ApiError> {
    let Query(Which { limit }) = which?;
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid("limit: 1 to 1000"));
    }
    let cdrs = answered(switch.deps.cdrs.recent(limit)).await??;
    Ok(Json(Cdrs { cdrs: cdrs.into_iter().map(Into::into).collect() }))
}
