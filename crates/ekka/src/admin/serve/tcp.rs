//! TCP: the whole interface behind a token, and probes without one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::limit::Limited;
use super::tls::{ServerTls, TlsListener};
use super::token::{Token, guard};
use super::{ServeError, Served, spawn};
use crate::admin::AdminState;
use crate::admin::routes::{health_router, router};

/// Connections at one time, of each listener.
const CONNECTIONS_MAX: usize = 128;
/// Readers of events hear a comment every 15 s; a command may take minutes.
const API_IDLE: Duration = Duration::from_secs(600);
/// Probes ask and go.
const PROBE_IDLE: Duration = Duration::from_secs(10);

/// Serves the whole interface on TCP behind a bearer token.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve_tcp(
    state: AdminState,
    listen: SocketAddr,
    token: Token,
    tls: Option<ServerTls>,
    shutdown: CancellationToken,
) -> Result<Served, ServeError> {
    let (tcp, addr) = bind("api.listen", listen).await?;
    let routes = guard(router(state), token);
    Ok(match tls {
        Some(tls) => {
            let listener = Limited::new(TlsListener::new(tcp, addr, tls), CONNECTIONS_MAX, API_IDLE);
            spawn(listener, routes, Some(addr), shutdown)
        }
        None => spawn(Limited::new(tcp, CONNECTIONS_MAX, API_IDLE), routes, Some(addr), shutdown),
    })
}

/// Serves `/livez`, `/readyz` and `/metrics`, without a token.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve_health(
    state: AdminState,
    listen: SocketAddr,
    shutdown: CancellationToken,
) -> Result<Served, ServeError> {
    let (tcp, addr) = bind("health.listen", listen).await?;
    Ok(spawn(Limited::new(tcp, CONNECTIONS_MAX, PROBE_IDLE), health_router(state), Some(addr), shutdown))
}

async fn bind(key: &str, listen: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bound = TcpListener::bind(listen).await.and_then(|tcp| tcp.local_addr().map(|addr| (tcp, addr)));
    bound.map_err(|error| ServeError::io(format!("{key} = {listen}"), error))
}
