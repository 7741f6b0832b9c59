//! The sockets: Unix, TCP with a token, and the plain one for probes.

mod limit;
mod runtime;
mod tcp;
mod tls;
mod token;
mod unix;

pub use runtime::{RuntimeLink, link_socket, runtime_dirs};
pub use tcp::{serve_health, serve_tcp};
pub use tls::ServerTls;
pub use token::Token;
pub use unix::serve_unix;

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long requests that are under way may take after the server was told to end.
const GRACE: Duration = Duration::from_secs(2);

/// Why a socket does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The path does not fit into a socket address.
    #[error("api.socket = {path}: {len} bytes are too long for a socket, which takes 107: choose a shorter path")]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// Somebody answers there.
    #[error("api.socket = {0}: another agent answers there; each node needs its own data directory")]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("api.socket = {0}: this is no socket; move it away or choose another path")]
    NotASocket(PathBuf),
    /// The group does not exist.
    #[error("api.socket_group = {0}: this host has no such group")]
    NoGroup(String),
    /// The token file is not usable.
    #[error("api.token_file = {path}: {why}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Certificate or key are not usable.
    #[error("{key} = {path}: {why}")]
    Tls {
        /// `api.tls.certfile` or `api.tls.keyfile`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system refuses.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

impl ServeError {
    fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

/// A server that runs. It ends after its token is cancelled; [`Served::ended`] waits for it.
#[derive(Debug)]
pub struct Served {
    /// Where it listens, where that is TCP.
    pub addr: Option<SocketAddr>,
    task: JoinHandle<()>,
}

impl Served {
    /// Waits until requests that were under way have been answered, at most two seconds after the end was asked for.
    pub async fn ended(self) {
        // An error means that the task was ended by its runtime, which is an end too.
        let _ = self.task.await;
    }
}

fn spawn<L>(listener: L, router: Router, addr: Option<SocketAddr>, shutdown: CancellationToken) -> Served
where
    L: Listener<Addr: std::fmt::Debug>,
{
    let task = tokio::spawn(async move {
        let until = shutdown.clone();
        let server = axum::serve(listener, router).with_graceful_shutdown(async move { until.cancelled().await });
        tokio::select! {
            _ = server.into_future() => {}
            () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => {}
        }
    });
    Served { addr, task }
}
