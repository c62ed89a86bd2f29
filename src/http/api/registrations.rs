//! Contacts that are registered now, and their removal.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tandem_actors::model::address::SipUri;
use tandem_actors::model::ids::SubscriberId;

use super::super::Shared;
use super::super::error::{ApiError, ErrorBody};
use super::calls::answered;
use super::shapes::Registrations;

/// Which of a subscriber's contacts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Which {
    contact: Option<String>,
}

/// Contacts of desk phones and gateways that are registered now.
#[utoipa::path(get, path = "/api/v1/registrations", operation_id = "listRegistrations", tag = "sight",
    responses((status = 200, description = "Current bindings", body = Registrations), (status = 401, description = "No valid key", body = ErrorBody)))]
pub(in super::super) async fn list(State(switch): State<Shared>) -> Json<Registrations> {
    Json(Registrations { registrations: switch.control.registrations().into_iter().map(Into::into).collect() })
}

/// Removes what a subscriber has registered: it is not rung until it registers again. Its password stays good.
#[utoipa::path(delete, path = "/api/v1/registrations/{subscriber}", operation_id = "removeRegistrations", tag = "subscribers",
    params(("subscriber" = String, Path, description = "As in the list"),
        ("contact" = Option<String>, Query, description = "Only this contact URI, as in the list")),
    responses((status = 204, description = "Removed"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "Nothing of that name is registered", body = ErrorBody),
        (status = 422, description = "Unknown parameter", body = ErrorBody),
        (status = 503, description = "The switch did not answer", body = ErrorBody)))]
pub(in super::super) async fn remove(
    State(switch): State<Shared>,
    subscriber: Result<Path<String>, PathRejection>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let none = || ApiError::not_found("nothing of that name is registered");
    let Path(subscriber) = subscriber?;
    let Query(Which { contact }) = which?;
    let subscriber = SubscriberId::new(&subscriber).map_err(|_| none())?;
    match answered(switch.control.unregister(subscriber, contact.map(SipUri))).await? {
        Some(0) => Err(none()),
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(ApiError::unavailable("the registrar did not answer")),
    }
}
