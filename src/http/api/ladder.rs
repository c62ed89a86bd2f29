//! The ladder of a call: its SIP messages, both legs in one, as JSON or drawn.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tandem_actors::model::ids::CallId;
use utoipa::{IntoParams, ToSchema};

use super::super::Shared;
use super::super::deps::LadderStep;
use super::super::error::{ApiError, ErrorBody};
use super::calls::call_id;
use super::draw::draw;
use super::shapes::moment;

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum Form {
    /// For programs.
    #[default]
    Json,
    /// Drawn, for people.
    Text,
}

/// What is shown of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Shown {
    /// `json`, or `text`: a drawing.
    #[serde(default)]
    #[param(inline)]
    format: Form,
    /// Whether bodies (SDP) are shown, keys masked.
    #[serde(default)]
    bodies: bool,
}

/// Which, by Call-ID.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Which {
    /// A SIP Call-ID, as the peer's log has it.
    call_id: String,
    /// `json`, or `text`: a drawing.
    #[serde(default)]
    #[param(inline)]
    format: Form,
    /// Whether bodies (SDP) are shown, keys masked.
    #[serde(default)]
    bodies: bool,
}

/// The SIP messages of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Ladder {
    /// The call; `null` where the messages became no call.
    #[schema(example = "call-0000000000009c1e")]
    call: Option<String>,
    /// In the order of time.
    messages: Vec<LadderMessage>,
}

/// One SIP message.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct LadderMessage {
    /// When it passed.
    #[schema(format = DateTime)]
    at: String,
    /// Who sent it: address and port.
    from: String,
    /// To whom.
    to: String,
    /// Whether the switch sent it.
    sent: bool,
    /// `udp`, `tcp`…
    transport: String,
    /// Its Call-ID: one a leg, or a fork.
    call_id: String,
    /// Its first line.
    line: String,
    /// Its headers, a line each; credentials masked.
    headers: Vec<String>,
    /// Its body, where bodies are asked for; keys, passwords and digits masked.
    body: Option<String>,
}

/// The SIP messages of a live or recent call, both legs in one ladder.
#[utoipa::path(get, path = "/api/v1/calls/{id}/ladder", operation_id = "ladderOfCall", tag = "sight",
    params(("id" = String, Path, description = "As in the list, in logs and CDRs"), Shown),
    responses((status = 200, description = "The latest calls are remembered, as far as memory reaches", body = Ladder),
        (status = 400, description = "A parameter is malformed", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "No such call, or none that SIP messages are remembered of", body = ErrorBody)))]
pub(in super::super) async fn of_call(
    State(switch): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    shown: Result<Query<Shown>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Shown { format, bodies }) = shown?;
    let call = call_id(id)?;
    show(&switch, Some(call), &switch.deps.ladders.of_call(call), format, bodies)
}

/// The SIP messages of a Call-ID, also of an INVITE that became no call; with the other legs of its call.
#[utoipa::path(get, path = "/api/v1/ladder", operation_id = "ladderOfCallId", tag = "sight",
    params(Which),
    responses((status = 200, description = "The latest are remembered, as far as memory reaches", body = Ladder),
        (status = 400, description = "A parameter is missing or malformed", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 404, description = "No message of it is remembered", body = ErrorBody)))]
pub(in super::super) async fn of_call_id(
    State(switch): State<Shared>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Which { call_id, format, bodies }) = which?;
    let (call, steps) = switch.deps.ladders.of_call_id(&call_id);
    show(&switch, call, &steps, format, bodies)
}

fn show(
    switch: &Shared,
    call: Option<CallId>,
    steps: &[LadderStep],
    format: Form,
    bodies: bool,
) -> Result<Response, ApiError> {
    if steps.is_empty() {
        return Err(ApiError::not_found("no SIP message of it is remembered"));
    }
    let now = (switch.deps.wall)();
    let when = |step: &LadderStep| now.checked_sub(step.ago).map(moment).unwrap_or_default();
    Ok(match format {
        Form::Text => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], draw(steps, bodies, when)).into_response(),
        Form::Json => {
            let messages = steps.iter().map(|step| message(step, when(step), bodies)).collect();
            Json(Ladder { call: call.map(|call| call.to_string()), messages }).into_response()
        }
    })
}

fn message(step: &LadderStep, at: String, bodies: bool) -> LadderMessage {
    let (head, body) = step.text.split_once("\r\n\r\n").unwrap_or((&step.text, ""));
    let mut lines = head.split("\r\n").map(str::to_owned);
    let (from, to) = if step.sent { (step.local, step.remote) } else { (step.remote, step.local) };
    LadderMessage {
        at,
        from: from.to_string(),
        to: to.to_string(),
        sent: step.sent,
        transport: step.transport.to_owned(),
        call_id: step.call_id.clone(),
        line: lines.next().unwrap_or_default(),
        headers: lines.collect(),
        body: (bodies && !body.is_empty()).then(|| body.to_owned()),
    }
}
