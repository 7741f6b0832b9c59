//! The admin interface: one HTTP API under `/v1`, health answers and metrics.
//!
//! Owns: the JSON of the contract ([`dto`]), the routes with their OpenAPI document ([`router`]), and the sockets that
//! serve them ([`serve_unix`], [`serve_tcp`], [`serve_health`]). Inputs: a [`NodeApi`], which every running node is.
//! Invariants: it runs on the caller's runtime and never on the control thread, changes nothing but by commands, and
//! bounds bodies, connections and readers of events, so that no client can hold up a node.

mod api;
pub mod dto;
mod metrics;
mod routes;
mod serve;
mod state;
mod time;
mod values;
mod words;

pub use api::NodeApi;
pub use routes::{health_router, openapi, router};
pub use serve::{
    RuntimeLink, ServeError, Served, ServerTls, Token, link_socket, runtime_dirs, serve_health, serve_tcp, serve_unix,
};
pub use state::{AdminState, Condition, ReloadHook, Summary};
pub use time::rfc3339;
pub use words::text_of;
