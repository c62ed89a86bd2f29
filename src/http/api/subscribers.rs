//! Subscribers: desk phones and gateways that may register.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::AppendHeaders;
use serde::{Deserialize, Serialize};
use tandem_actors::model::ids::SubscriberId;
use utoipa::ToSchema;

use super::super::Shared;
use super::super::error::{ApiError, Body, ErrorBody};
use super::calls::answered;

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct SubscriberList {
    /// By id.
    subscribers: Vec<Subscriber>,
}

/// A subscriber.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Subscriber {
    /// The user part of its SIP address.
    id: String,
}

/// Whom to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct AddSubscriber {
    /// The user part of its SIP address: letters, digits and `-_.+`.
    #[schema(example = "1001", max_length = 64)]
    id: String,
}

/// A subscriber just made, with what its phone is configured with.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct AddedSubscriber {
    /// Who.
    id: String,
    /// Digest password. It is shown here once and kept nowhere.
    password: String,
    /// SIP domain.
    domain: String,
}

/// All subscribers.
#[utoipa::path(get, path = "/api/v1/subscribers", operation_id = "listSubscribers", tag = "subscribers",
    responses((status = 200, description = "By id", body = SubscriberList),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 503, description = "The store cannot answer", body = ErrorBody)))]
pub(in super::super) async fn list(State(switch): State<Shared>) -> Result<Json<SubscriberList>, ApiError> {
    let all = answered(switch.deps.subscribers.list()).await??;
    let subscribers = all.into_iter().map(|id| Subscriber { id: id.to_string() }).collect();
    Ok(Json(SubscriberList { subscribers }))
}

/// Adds a subscriber and makes its password.
#[utoipa::path(post, path = "/api/v1/subscribers", operation_id = "addSubscriber", tag = "subscribers",
    request_body = AddSubscriber,
    responses((status = 201, description = "Added", body = AddedSubscriber),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 409, description = "The id is taken", body = ErrorBody),
        (status = 413, description = "Body over 64 kB", body = ErrorBody),
        (status = 415, description = "Content-Type is not application/json", body = ErrorBody),
        (status = 422, description = "Unknown field or bad id", body = ErrorBody),
        (status = 503, description = "The store cannot answer", body = ErrorBody)))]
pub(in super::super) async fn add(
    State(switch): State<Shared>,
    Body(order): Body<AddSubscriber>,
) -> Result<(StatusCode, AppendHeaders<[(axum::http::HeaderName, &'static str); 1]>, Json<AddedSubscriber>), ApiError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if !order.id.chars().all(plain) {
        return Err(ApiError::invalid("id: letters, digits and -_.+ only"));
    }
    let id = SubscriberId::new(&order.id).map_err(|error| ApiError::invalid(format!("id: {error}")))?;
    let new = answered(switch.deps.subscribers.add(id)).await??;
    let added = AddedSubscriber { id: new.subscriber.to_string(), password: new.password, domain: new.domain };
    Ok((StatusCode::CREATED, AppendHeaders([(CACHE_CONTROL, "no-store")]), Json(added)))
}

/// Removes a subscriber and its registrations.
#[utoipa::path(delete, path = "/api/v1/subscribers/{id}", operation_id = "removeSubscriber", tag = "subscribers",
    params(("id" = String, Path, description = "As in the list")),
    responses((status = 204, description = "Removed"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "No such subscriber", body = ErrorBody),
        (status = 503, description = "The store cannot answer", body = ErrorBody)))]
pub(in super::super) async fn remove(
    State(switch): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let Path(id) = id?;
    let none = || ApiError::not_found("no such subscriber");
    let id = SubscriberId::new(&id).map_err(|_| none())?;
    if answered(switch.deps.subscribers.remove(id)).await?? { Ok(StatusCode::NO_CONTENT) } else { Err(none()) }
}
