//! What lives now: calls, trunks, rooms, clients.

use axum::Json;
use axum::extract::State;

use super::super::Shared;
use super::super::error::ErrorBody;
use super::shapes::{Calls, ClientList, Rooms, Trunks};

/// Live calls with their legs.
#[utoipa::path(get, path = "/api/v1/calls", operation_id = "listCalls", tag = "calls",
    responses((status = 200, description = "Live calls", body = Calls), (status = 401, description = "No valid key", body = ErrorBody)))]
pub(in super::super) async fn calls(State(switch): State<Shared>) -> Json<Calls> {
    Json(Calls { calls: switch.control.calls().into_iter().map(Into::into).collect() })
}

/// Trunks and whether they are up.
#[utoipa::path(get, path = "/api/v1/trunks", operation_id = "listTrunks", tag = "sight",
    responses((status = 200, description = "Configured trunks", body = Trunks), (status = 401, description = "No valid key", body = ErrorBody)))]
pub(in super::super) async fn trunks(State(switch): State<Shared>) -> Json<Trunks> {
    Json(Trunks { trunks: switch.control.trunks().into_iter().map(Into::into).collect() })
}

/// Live rooms and who is in them.
#[utoipa::path(get, path = "/api/v1/rooms", operation_id = "listRooms", tag = "sight",
    responses((status = 200, description = "Live rooms", body = Rooms), (status = 401, description = "No valid key", body = ErrorBody)))]
pub(in super::super) async fn rooms(State(switch): State<Shared>) -> Json<Rooms> {
    Json(Rooms { rooms: switch.control.rooms().into_iter().map(Into::into).collect() })
}

/// App users online.
#[utoipa::path(get, path = "/api/v1/clients", operation_id = "listClients", tag = "sight",
    responses((status = 200, description = "App users online", body = ClientList), (status = 401, description = "No valid key", body = ErrorBody)))]
pub(in super::super) async fn clients(State(switch): State<Shared>) -> Json<ClientList> {
    Json(ClientList { clients: switch.control.clients().into_iter().map(Into::into).collect() })
}
