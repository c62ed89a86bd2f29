//! Phone calls into rooms, as the connector API has them: start, state, stop.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use tandem_actors::control::PhoneCall;
use tandem_actors::model::ids::RoomId;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::error::{ApiError, Body, ErrorBody};
use super::calls::{answered, call_id};
use super::shapes::PhoneCallShape;

/// Longest `ttl_s`: a day.
const MAX_TTL_S: u64 = 86_400;
/// Longest number or caller, characters.
const MAX_NUMBER: usize = 64;

/// An order to call a phone into a room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct StartPhoneCall {
    /// E.164, or a subscriber's id.
    #[schema(example = "+8613800138000", max_length = 64)]
    phone_number: String,
    /// The room the phone joins; made when nobody is in it.
    #[schema(example = "lobby", max_length = 64)]
    room: String,
    /// Longest life, seconds; without it the switch's default (1800).
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400)]
    ttl_s: Option<u64>,
    /// Caller id shown; without it the trunk's policy.
    #[serde(default)]
    #[schema(max_length = 64)]
    caller: Option<String>,
}

/// A phone call that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct StartedPhoneCall {
    /// For the other routes.
    #[schema(example = "call-0000000000009c1e")]
    id: String,
}

impl StartPhoneCall {
    fn meant(self) -> Result<PhoneCall, ApiError> {
        let room = RoomId::new(&self.room).map_err(|error| ApiError::invalid(format!("room: {error}")))?;
        let caller = self.caller.unwrap_or_default();
        if self.phone_number.is_empty() || self.phone_number.chars().count() > MAX_NUMBER {
            return Err(ApiError::invalid("phone_number: 1 to 64 characters"));
        }
        if caller.chars().count() > MAX_NUMBER || caller.chars().any(char::is_control) {
            return Err(ApiError::invalid("caller: at most 64 characters, none of them control characters"));
        }
        let ttl = match self.ttl_s {
            None => None,
            Some(ttl @ 1..=MAX_TTL_S) => Some(Duration::from_secs(ttl)),
            Some(_) => return Err(ApiError::invalid("ttl_s: 1 to 86400 seconds")),
        };
        Ok(PhoneCall { phone_number: self.phone_number, room, ttl, caller })
    }
}

/// Calls a phone into a room. Returns once the number is judged valid and the call exists, before it rings.
#[utoipa::path(post, path = "/api/v1/phone-calls", operation_id = "startPhoneCall", tag = "phone calls",
    request_body = StartPhoneCall,
    responses((status = 201, description = "Begun; Location leads to its state", body = StartedPhoneCall),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 409, description = "The mode is off, or no trunk leads there", body = ErrorBody),
        (status = 413, description = "Body over 64 kB", body = ErrorBody),
        (status = 415, description = "Content-Type is not application/json", body = ErrorBody),
        (status = 422, description = "Unknown field, not a number, or outside the allow list", body = ErrorBody),
        (status = 503, description = "Full or draining", body = ErrorBody)))]
pub(in super::super) async fn start(
    State(switch): State<Shared>,
    Body(order): Body<StartPhoneCall>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<StartedPhoneCall>), ApiError> {
    let id = answered(switch.control.start_phone_call(order.meant()?)).await??.to_string();
    let location = format!("/api/v1/phone-calls/{id}");
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(StartedPhoneCall { id })))
}

/// The ordered history of a phone call, kept 10 minutes after its end.
#[utoipa::path(get, path = "/api/v1/phone-calls/{id}", operation_id = "phoneCallState", tag = "phone calls",
    params(("id" = String, Path, description = "As returned at the start")),
    responses((status = 200, description = "Its states so far", body = PhoneCallShape),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "No such phone call, or it ended long ago", body = ErrorBody)))]
pub(in super::super) async fn state(
    State(switch): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PhoneCallShape>, ApiError> {
    let call = call_id(id)?;
    let history = switch.control.phone_call_state(call).ok_or_else(|| ApiError::not_found("no such phone call"))?;
    Ok(Json(PhoneCallShape::new(call.to_string(), history)))
}

/// Ends a phone call from any state; both sides are cleaned up. One that is over already is fine.
#[utoipa::path(delete, path = "/api/v1/phone-calls/{id}", operation_id = "stopPhoneCall", tag = "phone calls",
    params(("id" = String, Path, description = "As returned at the start")),
    responses((status = 204, description = "Ended"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "No such phone call", body = ErrorBody),
        (status = 503, description = "The switch did not answer", body = ErrorBody)))]
pub(in super::super) async fn stop(
    State(switch): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let call = call_id(id)?;
    let history = switch.control.phone_call_state(call).ok_or_else(|| ApiError::not_found("no such phone call"))?;
    if !history.done {
        // It may have ended by itself since: that is what was asked for.
        let _ended = answered(switch.control.hang_up(call)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
