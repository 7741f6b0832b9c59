//! Strategies that name candidates: each is one type behind one trait, each only a hint.

mod manual;

pub use manual::{Manual, Static};

use std::sync::Arc;

use ekka_core::autocluster::Candidate;
use ekka_core::id::ClusterId;

use crate::config::{Config, Strategy};
use crate::env::BoxFuture;

/// One strategy.
pub trait Discovery: Send + Sync + 'static {
    /// The word in the configuration.
    fn name(&self) -> &'static str;

    /// Whom it knows now. An answer can add someone to contact, never remove a member.
    fn discover(&self) -> BoxFuture<'_, Result<Vec<Candidate>, String>>;

    /// Makes this node known where the backend can.
    fn register(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Takes this node's entry out, at stop and at leave.
    fn unregister(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Where the backend decides: offers `id` and gives the id that holds. `None`: the backend cannot decide.
    fn claim(&self, _id: ClusterId) -> BoxFuture<'_, Result<Option<ClusterId>, String>> {
        Box::pin(async { Ok(None) })
    }
}

/// The strategies of a configuration, in its order.
///
/// # Errors
/// The code of a strategy is not there yet, in words.
pub fn strategies(config: &Config) -> Result<Vec<Arc<dyn Discovery>>, String> {
    config.cluster.discovery.iter().map(|strategy| one(strategy, config.node.base_port)).collect()
}

fn one(strategy: &Strategy, base_port: u16) -> Result<Arc<dyn Discovery>, String> {
    match strategy {
        Strategy::Manual => Ok(Arc::new(Manual)),
        Strategy::Static { seeds } => Ok(Arc::new(Static::new(seeds, base_port))),
        Strategy::Mcast(_) | Strategy::Dns(_) | Strategy::Etcd(_) | Strategy::K8s(_) => Err(format!(
            "cluster.discovery = {} is not there yet in this version: use static or manual",
            strategy.name()
        )),
    }
}
