//! SIP sources that are blocked: to see, and to lift what was a mistake.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::deps::Block;
use super::super::error::{ApiError, ErrorBody};

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct BlockList {
    /// By address.
    blocks: Vec<BlockedSource>,
}

/// A source whose SIP messages are dropped unread.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct BlockedSource {
    /// An address, or an IPv6 network of 64 bits.
    #[schema(example = "192.0.2.7")]
    source: String,
    /// `scanner` or `wrong_password`.
    #[schema(example = "wrong_password")]
    reason: String,
    /// Seconds that are left.
    seconds_left: u64,
    /// How often it was blocked, this time included.
    times: u32,
}

impl From<Block> for BlockedSource {
    fn from(Block { source, reason, left, times }: Block) -> Self {
        Self { source, reason: reason.to_owned(), seconds_left: left.as_secs(), times }
    }
}

/// Every source that is blocked now.
#[utoipa::path(get, path = "/api/v1/blocks", operation_id = "listBlocks", tag = "sight",
    responses((status = 200, description = "By address", body = BlockList),
        (status = 401, description = "No valid key", body = ErrorBody)))]
pub(in super::super) async fn list(State(switch): State<Shared>) -> Json<BlockList> {
    Json(BlockList { blocks: switch.deps.blocks.list().into_iter().map(Into::into).collect() })
}

/// Lifts a block.
#[utoipa::path(delete, path = "/api/v1/blocks/{address}", operation_id = "liftBlock", tag = "sight",
    params(("address" = String, Path, description = "The address, or one of the network", example = "192.0.2.7")),
    responses((status = 204, description = "Lifted"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "It is not blocked", body = ErrorBody)))]
pub(in super::super) async fn lift(
    State(switch): State<Shared>,
    address: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let Path(address) = address?;
    let none = || ApiError::not_found("no such address is blocked");
    let address: IpAddr = address.parse().map_err(|_| none())?;
    if switch.deps.blocks.lift(address) { Ok(StatusCode::NO_CONTENT) } else { Err(none()) }
}
