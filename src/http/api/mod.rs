//! The REST API under `/api/v1`: JSON over bearer keys. Handlers only translate; the OpenAPI document is made from them.

use axum::extract::DefaultBodyLimit;
use axum::routing::MethodRouter;
use axum::{Router, middleware, routing};

use super::error::no_such_method;
use super::{Shared, auth};

pub(super) mod blocks;
pub(super) mod calls;
pub(super) mod cdrs;
mod draw;
pub(super) mod ladder;
pub(super) mod lists;
pub(super) mod phone_calls;
pub(super) mod registrations;
pub(super) mod shapes;
pub(super) mod subscribers;
pub(super) mod tokens;

/// Longest request body, bytes.
const MAX_BODY: usize = 64 * 1024;

/// One list for the router and for the test that the document names every route.
macro_rules! routes {
    ($($path:literal: $($method:ident $handler:path),+;)+) => {
        /// Every route: method and path.
        #[cfg(test)]
        pub(super) const ROUTES: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),+];

        fn handlers() -> Router<Shared> {
            Router::new()$(.route($path, MethodRouter::new()$(.merge(routing::$method($handler)))+.fallback(no_such_method)))+
        }
    };
}

routes! {
    "/api/v1/calls": get lists::calls;
    "/api/v1/calls/{id}": delete calls::hang_up;
    "/api/v1/calls/{id}/ladder": get ladder::of_call;
    "/api/v1/ladder": get ladder::of_call_id;
    "/api/v1/calls/{id}/transfer": post calls::transfer;
    "/api/v1/registrations": get registrations::list;
    "/api/v1/registrations/{subscriber}": delete registrations::remove;
    "/api/v1/trunks": get lists::trunks;
    "/api/v1/rooms": get lists::rooms;
    "/api/v1/clients": get lists::clients;
    "/api/v1/phone-calls": post phone_calls::start;
    "/api/v1/phone-calls/{id}": get phone_calls::state, delete phone_calls::stop;
    "/api/v1/tokens": post tokens::issue;
    "/api/v1/cdrs": get cdrs::recent;
    "/api/v1/subscribers": get subscribers::list, post subscribers::add;
    "/api/v1/subscribers/{id}": delete subscribers::remove;
    "/api/v1/blocks": get blocks::list;
    "/api/v1/blocks/{address}": delete blocks::lift;
}

/// The routes, behind the key.
pub(super) fn router(switch: &Shared) -> Router<Shared> {
    handlers()
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(switch.clone(), auth::require))
}
