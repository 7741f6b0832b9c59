//! Nodes with handlers, for the tests of calls.

use std::sync::Arc;
use std::time::Duration;

use ekka::core::id::NodeId;
use ekka::core::view::Status;
use ekka::env::{Env, Net};
use ekka::node::{Node, StartOptions};
use ekka::rpc::Handlers;
use ekka::transport::Kdf;

use crate::support;

pub(crate) use crate::support::{LIMIT, until};

/// Nodes that have formed one cluster.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    dirs: Vec<tempfile::TempDir>,
}

impl Cluster {
    /// One node for each set of handlers, on loopback.
    pub(crate) async fn of(handlers: Vec<Handlers>) -> Self {
        Self::in_nets(handlers, |_, net| net).await
    }

    /// The same, with the network of each node as `net` gives it, from all names and the real one.
    pub(crate) async fn in_nets(
        handlers: Vec<Handlers>,
        net: impl Fn((usize, &[String]), Arc<dyn Net>) -> Arc<dyn Net>,
    ) -> Self {
        let names = support::names(handlers.len());
        let mut cluster = Self { nodes: Vec::new(), dirs: Vec::new() };
        for (index, handlers) in handlers.into_iter().enumerate() {
            let dir = tempfile::tempdir().expect("a directory");
            let config = support::config(&names[index], &names, dir.path());
            let mut env = Env::real(&config.node.data_dir).expect("a data directory");
            env.net = net((index, &names), env.net);
            let options = StartOptions { kdf: Kdf::cheap(), handlers, ..StartOptions::default() };
            cluster.nodes.push(ekka::node::start(config, env, options).await.expect("the node starts"));
            cluster.dirs.push(dir);
        }
        let count = cluster.nodes.len();
        for node in &cluster.nodes {
            let up = |status: Status| status == Status::Up;
            until(node, "sees all up", |view| view.members.iter().filter(|m| up(m.status)).count() == count).await;
        }
        cluster
    }

    pub(crate) fn id(&self, index: usize) -> NodeId {
        self.nodes[index].identity().node_id
    }
}

/// Waits for a future, within the limit of tests.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let value = tokio::time::timeout(LIMIT, future).await;
    value.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// A deadline that no test reaches.
pub(crate) const LONG: Duration = Duration::from_secs(60);
