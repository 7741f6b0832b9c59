//! The admin interface against a node whose view is given, over real sockets.

mod backup;
mod contract;
mod fixture;
mod http;
mod metrics;
mod sockets;

use ekka::admin::{AdminState, Summary, serve_unix};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use fixture::GivenNode;
use http::{Answer, ask};

/// A node that is served on a Unix socket.
struct Server {
    dir: TempDir,
    shutdown: CancellationToken,
}

impl Server {
    async fn of(node: GivenNode) -> Self {
        let dir = TempDir::new().expect("a directory");
        let shutdown = CancellationToken::new();
        let state = state(node, &shutdown);
        serve_unix(state, &dir.path().join("s"), None, shutdown.clone()).await.expect("serves");
        Self { dir, shutdown }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("s")).await.expect("connects")
    }

    async fn get(&self, path: &str) -> Answer {
        ask(self.connect().await, &format!("GET {path}"), "", "").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        ask(self.connect().await, &format!("POST {path}"), "", body).await
    }
}

fn state(node: GivenNode, shutdown: &CancellationToken) -> AdminState {
    AdminState::new(node, Summary { strategies: vec!["static".into()] }, shutdown.clone())
}
