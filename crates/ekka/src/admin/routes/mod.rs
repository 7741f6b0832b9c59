//! The list of routes, each with its part of the OpenAPI document.

#![allow(unused_qualifications, reason = "the macros of utoipa write whole paths")]

mod backup;
mod change;
mod commit;
mod error;
mod events;
mod health;
mod input;
mod lock;
mod losses;
mod read;
mod row;
mod rpc;
mod table;
mod table_bench;
mod table_watch;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use self::error::ApiError;
use super::AdminState;

/// The largest body that is read.
const BODY_MAX: usize = 64 * 1024;
/// The same for a row: 16 MiB of it in base64, and its key.
const ROW_MAX: usize = 24 * 1024 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ekka",
        description = "The admin interface of one node: its view of the cluster, its events, and commands."
    ),
    components(schemas(super::dto::ErrorAnswer))
)]
struct Document;

/// The whole interface: `/v1`, `/livez`, `/readyz`, `/metrics`.
pub fn router(state: AdminState) -> Router {
    let extra = state.routes.clone();
    let (mut routes, document) = listed().split_for_parts();
    let document = serde_json::to_string(&document).unwrap_or_default();
    routes = routes.route("/v1/openapi.json", get(async move || read::openapi(document)));
    let routes = guarded(routes).with_state(state);
    match extra {
        Some(extra) => routes.merge(extra),
        None => routes,
    }
}

/// Only what may be read without a token: `/livez`, `/readyz`, `/metrics`.
pub fn health_router(state: AdminState) -> Router {
    guarded(probes().split_for_parts().0).with_state(state)
}

/// The OpenAPI document of [`router`].
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    listed().split_for_parts().1
}

fn probes() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(health::livez)).routes(routes!(health::readyz)).routes(routes!(health::metrics))
}

fn listed() -> OpenApiRouter<AdminState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(probes())
        .routes(routes!(read::status))
        .routes(routes!(read::members))
        .routes(routes!(read::links))
        .routes(routes!(read::cookie))
        .routes(routes!(read::version))
        .routes(routes!(read::why))
        .routes(routes!(read::decisions))
        .routes(routes!(events::events))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::safe_to_stop))
        .routes(routes!(change::form))
        .routes(routes!(change::join))
        .routes(routes!(change::leave))
        .routes(routes!(change::stop))
        .routes(routes!(change::drain))
        .routes(routes!(change::undrain))
        .routes(routes!(change::heal))
        .routes(routes!(change::force_leave))
        .routes(routes!(change::recover))
        .routes(routes!(change::reload))
        .routes(routes!(rpc::ping))
        .routes(routes!(rpc::call))
        .routes(routes!(rpc::bench))
        .routes(routes!(commit::bench))
        .routes(routes!(commit::tokens))
        .routes(routes!(commit::ceiling))
        .routes(routes!(rpc::count))
        .routes(routes!(lock::list))
        .routes(routes!(lock::hold))
        .routes(routes!(lock::force_release))
        .merge(tables())
}

/// A row may be larger than anything else that is sent here, and is larger still as JSON.
fn tables() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(table::put))
        .routes(routes!(table::delete))
        .layer(DefaultBodyLimit::max(ROW_MAX))
        .routes(routes!(table::list, table::create))
        .routes(routes!(table::info, table::remove))
        .routes(routes!(table::get))
        .routes(routes!(table::scan))
        .routes(routes!(table::rows))
        .routes(routes!(losses::losses))
        .routes(routes!(table_bench::bench))
        .routes(routes!(table_watch::watch))
        .routes(routes!(backup::backup))
        .routes(routes!(backup::restore))
        .routes(routes!(backup::verify))
}

fn guarded(routes: Router<AdminState>) -> Router<AdminState> {
    let absent = async |uri: Uri| {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {}: see /v1/openapi.json", uri.path()))
    };
    let method = async |uri: Uri| {
        let text = format!("{} does not take this method: see /v1/openapi.json", uri.path());
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
    };
    routes.fallback(absent).method_not_allowed_fallback(method).layer(DefaultBodyLimit::max(BODY_MAX))
}
