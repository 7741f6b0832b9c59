//! What every route works with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use ekka_core::view::Reason;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::NodeApi;
use crate::config::Config;
use crate::env::BoxFuture;
use crate::node::Reloaded;

/// How many clients may read events at one time.
pub(super) const EVENT_READERS_MAX: usize = 64;

/// Reads the configuration again and gives it to the node.
pub type ReloadHook = Arc<dyn Fn() -> BoxFuture<'static, Result<Reloaded, String>> + Send + Sync>;

/// A condition of the embedding program: `Some` while it is not fulfilled, and then the node is not ready.
pub type Condition = Arc<dyn Fn() -> Option<Reason> + Send + Sync>;

/// What the admin interface says of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The words of the strategies, in order.
    pub strategies: Vec<String>,
}

impl From<&Config> for Summary {
    fn from(config: &Config) -> Self {
        Self { strategies: config.cluster.discovery.iter().map(|s| s.name().to_owned()).collect() }
    }
}

/// A node with what its admin interface needs beside it. Clones share one state.
#[derive(Clone)]
pub struct AdminState {
    pub(super) node: Arc<dyn NodeApi>,
    pub(super) summary: Arc<Summary>,
    pub(super) shutdown: CancellationToken,
    pub(super) readers: Arc<Semaphore>,
    pub(super) reload: Option<ReloadHook>,
    pub(super) conditions: Vec<Condition>,
    pub(super) registries: Vec<Arc<Mutex<Registry>>>,
    pub(super) routes: Option<Router>,
    lagged: Arc<AtomicU64>,
}

impl AdminState {
    /// A state for one node; once `shutdown` is cancelled, readers of events are let go and the servers end.
    pub fn new(node: impl NodeApi, summary: Summary, shutdown: CancellationToken) -> Self {
        Self {
            node: Arc::new(node),
            summary: Arc::new(summary),
            shutdown,
            readers: Arc::new(Semaphore::new(EVENT_READERS_MAX)),
            reload: None,
            conditions: Vec::new(),
            registries: Vec::new(),
            routes: None,
            lagged: Arc::default(),
        }
    }

    /// What `POST /v1/reload` and SIGHUP do. Without it a reload is refused.
    #[must_use]
    pub fn on_reload(mut self, hook: ReloadHook) -> Self {
        self.reload = Some(hook);
        self
    }

    /// Adds a condition to both readiness answers.
    #[must_use]
    pub fn health_condition(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds metrics of the embedding program to `/metrics`.
    #[must_use]
    pub fn metrics(mut self, registry: Arc<Mutex<Registry>>) -> Self {
        self.registries.push(registry);
        self
    }

    /// Adds routes of the embedding program, behind the same socket and token.
    #[must_use]
    pub fn admin_routes(mut self, routes: Router) -> Self {
        self.routes = Some(match self.routes.take() {
            Some(there) => there.merge(routes),
            None => routes,
        });
        self
    }

    /// Reasons of the embedding program for not being ready.
    pub(super) fn unfulfilled(&self) -> Vec<Reason> {
        self.conditions.iter().filter_map(|condition| condition()).collect()
    }

    /// Counts events that a reader of this interface missed.
    pub(super) fn missed(&self, events: u64) {
        self.lagged.fetch_add(events, Ordering::Relaxed);
    }

    /// Events that readers of this interface missed.
    pub(super) fn events_missed(&self) -> u64 {
        self.lagged.load(Ordering::Relaxed)
    }
}
