//! The handle that programs hold: a running node.

mod backup;
pub(crate) mod bench;
mod calls;
mod counters;
mod driver;
pub mod fuzz;
mod group;
mod group_figures;
mod heal;
mod lease;
mod lives;
mod parting;
mod reading;
mod recovered;
mod reload;
mod room;
mod shared;
mod start;
mod store;
mod strategies;
mod tables;
mod tokens;
mod volatile;

#[cfg(feature = "admin")]
pub(crate) use bench::percentiles;
pub use bench::{BenchGroup, CommitFigures, CommitPlan};
pub use group::GroupTap;
pub use group_figures::GroupCounts;
pub use heal::{HealCallbacks, HealInfo};
pub use start::{StartError, StartOptions, start};
pub use store::StoreError;
pub use volatile::{Counted, VolatileGroup};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::control::{self, Command, CommandError, DialError, Reply, StopReason};
use ekka_core::event::Event;
use ekka_core::id::{Endpoint, NodeId, NodeName};
use ekka_core::time::{Now, Wall};
use ekka_core::view::{Member, View};
use tokio::sync::{broadcast, mpsc, watch};

use crate::config::{Config, TlsMode};
use crate::discovery::Context;
use crate::env::Env;
use crate::histogram::Times;
use crate::lock::Locks;
use crate::rpc::{Hub, MethodCounts};
use crate::storage::DiscFigures;
use crate::table::Tables;
use crate::transport::{Kdf, Transport};
use driver::{Own, Request};
use shared::Shared;

/// A running node. Clones are handles to the same node; dropping the last one stops it without waiting.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    present: Mutex<Present>,
    ended: watch::Receiver<Option<StopReason>>,
    kdf: Kdf,
    config: Mutex<Config>,
    /// Held over a reload.
    reloading: tokio::sync::Mutex<()>,
    /// The embedding program gave strategies of its own.
    own_strategies: bool,
    /// What strategies are made with, at a reload too.
    context: Context,
    calls: Arc<Hub>,
    tables: Arc<Tables>,
    locks: Arc<Locks>,
    callbacks: HealCallbacks,
    env: Env,
}

/// What belongs to the present start of the node: one that was declared gone goes on in this process under a new guid.
struct Present {
    identity: control::Identity,
    own: mpsc::Sender<Own>,
    /// `None` until the first start has its port.
    transport: Option<Transport>,
}

impl Inner {
    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing that holds this lock can leave it half-changed.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transport(&self) -> Option<Transport> {
        self.present().transport.clone()
    }

    fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn signers(&self) -> Vec<Signer> {
        let view = self.shared.view();
        let others = || view.members.iter().filter(|member| member.id.node_id != view.me.node_id);
        let endpoints = others().map(|member| (member.id.node_id, member.endpoint.clone())).collect();
        let known = match self.transport() {
            Some(transport) => transport.signers(&endpoints).await,
            None => BTreeMap::new(),
        };
        let signer = |member: &Member| {
            let node_id = member.id.node_id;
            Signer { name: member.name.clone(), node_id, cookie_id: known.get(&node_id).cloned().flatten() }
        };
        others().map(signer).collect()
    }

    fn set_config(&self, config: Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// An event with its time and place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StampedEvent {
    /// When, by this node's wall clock.
    pub time: Wall,
    /// Grows by one; `e-…` in JSON.
    pub id: u64,
    /// Where.
    pub node: NodeName,
    /// What.
    pub event: Event,
}

/// What a look at another node found, without changing anything there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// What it said of itself.
    pub hello: ekka_core::wire::Hello,
    /// How long connecting and asking took.
    pub took: Duration,
}

/// What a reload changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reloaded {
    /// Keys that are in effect now.
    pub changed: Vec<String>,
    /// Keys that differ and take effect at the next start.
    pub needs_restart: Vec<String>,
    /// What an operator should know of it, in words.
    pub warnings: Vec<String>,
}

/// Which cookie a member signs with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signer {
    /// Its name.
    pub name: NodeName,
    /// Who it is.
    pub node_id: NodeId,
    /// The fingerprint; none where it is not known, as the member is not linked, or where certificates sign.
    pub cookie_id: Option<String>,
}

/// Figures that the shell counts (the view has the rest).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counters {
    /// Refused handshakes by reason.
    pub handshake_refused: BTreeMap<&'static str, u64>,
    /// Connections to each peer: reconnects by reason.
    pub link_reconnects: BTreeMap<(String, &'static str), u64>,
    /// Seconds until the first certificate of the operator ends (`own`, `ca`); empty where they are made from a cookie.
    pub certificate_expiry_s: BTreeMap<&'static str, f64>,
    /// Bytes by peer and direction (`in`, `out`).
    pub net_bytes: BTreeMap<(String, &'static str), u64>,
    /// Bytes that wait, by peer and lane.
    pub lane_queue_bytes: BTreeMap<(String, &'static str), u64>,
    /// Frames dropped by peer, lane and reason.
    pub lane_dropped: BTreeMap<(String, &'static str, &'static str), u64>,
    /// Rounds of discovery by strategy and result (`ok`, `empty`, `error`).
    pub discovery_rounds: BTreeMap<(String, &'static str), u64>,
    /// What strategies ignored, by strategy and reason.
    pub discovery_ignored: BTreeMap<(String, &'static str), u64>,
    /// Seconds since a strategy last answered.
    pub discovery_last_success_s: BTreeMap<String, f64>,
    /// Candidates of the last answer by strategy and result (`usable`, `unreachable`, `other_cluster`, `credentials`, `self`).
    pub discovery_candidates: BTreeMap<(String, &'static str), u64>,
    /// Members removed, by cause.
    pub removed: BTreeMap<&'static str, u64>,
    /// Changes of the leader hint.
    pub leader_changes: u64,
    /// Starts of nodes that were declared over.
    pub incarnations_gone: u64,
    /// Heals of this node by result (`healed`, `restarted`, `failed`).
    pub heals: BTreeMap<&'static str, u64>,
    /// How long those took that ended well, by [`LONG_BUCKETS`](crate::histogram::LONG_BUCKETS).
    pub heal_times: Times,
    /// What is left of this node's lease in seconds; 0 while it holds none.
    pub lease_left_s: f64,
    /// Of the durable group.
    pub durable: GroupCounts,
    /// Of the volatile group.
    pub volatile: GroupCounts,
    /// The disc of the data directory.
    pub disc: DiscFigures,
    /// Whether the alarm for it is on.
    pub disc_full: bool,
    /// Calls by method and side (`client`, `server`).
    pub rpc: BTreeMap<(String, &'static str), MethodCounts>,
    /// Events that slow readers missed.
    pub events_lagged: u64,
}

impl Node {
    /// What the node believes now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.shared.view()
    }

    /// The same, whenever it changes.
    #[must_use]
    pub fn view_changes(&self) -> watch::Receiver<Arc<View>> {
        self.inner.shared.view_changes()
    }

    /// Who this node is. The guid is that of the present start: a node that was declared gone while it lived goes on under
    /// a new one.
    #[must_use]
    pub fn identity(&self) -> control::Identity {
        self.inner.present().identity.clone()
    }

    /// Events from now on. A reader that is too slow gets `Lagged(n)`.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<StampedEvent>> {
        self.inner.shared.events()
    }

    /// The latest events, oldest first, at most `last`.
    #[must_use]
    pub fn recent_events(&self, last: usize) -> Vec<Arc<StampedEvent>> {
        self.inner.shared.recent_events(last)
    }

    /// Both clocks of this node, for turning monotonic times of the view into ages.
    #[must_use]
    pub fn now(&self) -> Now {
        self.inner.env.clock.now()
    }

    /// Gives a command to the node and waits for its end. Dropping the future does not undo it. Before it stops or leaves,
    /// others get what only this node has in its tables, for which there is `node.stop_timeout`.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn command(&self, command: Command) -> Result<Reply, CommandError> {
        if matches!(command, Command::Stop { plan: false, .. }) {
            self.inner.calls.cancel_served();
        }
        self.inner.carry_out(command).await
    }

    /// Calls this when this node comes back after a partition, before its tables are exchanged: see
    /// [`HealCallbacks::on_prepare`].
    pub fn on_prepare<F, W, E>(&self, callback: F)
    where
        F: Fn(HealInfo) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + 'static,
    {
        self.inner.callbacks.on_prepare(callback);
    }

    /// The same once its tables are exchanged: see [`HealCallbacks::on_reboot`].
    pub fn on_reboot<F, W, E>(&self, callback: F)
    where
        F: Fn(HealInfo) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + 'static,
    {
        self.inner.callbacks.on_reboot(callback);
    }

    /// Waits until the node is ready for work that needs a majority. *Cancel safe.*
    ///
    /// # Errors
    /// [`NotReady`] says what it waits for, once `limit` has passed or the node has ended.
    pub async fn ready(&self, limit: Duration) -> Result<(), NotReady> {
        let mut views = self.view_changes();
        let ready = views.wait_for(|view| view.ready_quorum);
        let in_time = tokio::time::timeout(limit, ready).await.is_ok_and(|result| result.is_ok());
        if in_time {
            return Ok(());
        }
        Err(NotReady { reasons: self.view().reasons.iter().map(|r| r.text.clone()).collect() })
    }

    /// Says goodbye and ends; the node stays a member and comes back at its next start. Waits at most `limit`.
    ///
    /// # Errors
    /// It did not end in time; it goes on ending.
    pub async fn stop(&self, limit: Duration) -> Result<(), CommandError> {
        let stop = async {
            self.inner.calls.cancel_served();
            match self.inner.end("program".into(), limit).await {
                Ok(_) | Err(CommandError::Stopping) => {}
                Err(error) => return Err(error),
            }
            self.ended().await;
            Ok(())
        };
        let late = |_| CommandError::Failed(format!("the node did not end within {limit:?}"));
        tokio::time::timeout(limit, stop).await.map_err(late)?
    }

    /// Leaves the cluster for good: no strategy brings it back until `join` or `form`.
    ///
    /// # Errors
    /// It is the last member, or nobody is in reach to remember it, or to get what only this node has in its tables.
    pub async fn leave(&self) -> Result<(), CommandError> {
        self.command(Command::Leave { plan: false }).await.map(|_| ())
    }

    /// How long ago the node's thread made its last step: for `/livez`.
    #[must_use]
    pub fn last_step(&self) -> Duration {
        self.now().mono.since(self.inner.shared.last_step())
    }

    /// Figures that the shell counts.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let inner = &self.inner;
        counters::gather(&inner.shared, inner.transport().as_ref(), &inner.calls, inner.env.clock.now().mono)
    }

    /// Looks at another node as an observer: changes nothing there.
    ///
    /// # Errors
    /// It could not be reached, or refused.
    pub async fn observe(&self, endpoint: &Endpoint) -> Result<Observed, DialError> {
        let Some(transport) = self.inner.transport() else { return Err(DialError::TimedOut) };
        let (hello, took) = transport.observe(endpoint).await?;
        Ok(Observed { hello, took })
    }

    /// Takes what can be changed without a restart from a new configuration: cookies and certificates, strategies
    /// with their seeds and the rest of formation, tags.
    ///
    /// # Errors
    /// The credentials cannot be made, or a strategy is not there yet; nothing was changed.
    pub async fn reload(&self, config: Config) -> Result<Reloaded, String> {
        reload::reload(&self.inner, config).await
    }

    /// The configuration in effect: that of the start, and what reloads have changed of it.
    #[must_use]
    pub fn config(&self) -> Config {
        self.inner.config()
    }

    /// Fingerprints of the cookie that signs and of those that are trusted, first the one that signs; empty where the
    /// operator's certificates sign.
    #[must_use]
    pub fn cookie_ids(&self) -> Vec<String> {
        match self.inner.transport().as_ref().map(Transport::credentials) {
            Some(credentials) if !matches!(credentials.mode(), TlsMode::Files { .. }) => {
                credentials.fingerprints().to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// Which cookie each other member signs with. While more than one is trusted here, each is looked at for that, for
    /// two seconds at most.
    pub async fn signers(&self) -> Vec<Signer> {
        self.inner.signers().await
    }

    /// The way to its locks.
    pub(crate) fn lock_desk(&self) -> Arc<Locks> {
        self.inner.locks.clone()
    }

    /// Resolves when the node has ended, with the reason.
    pub async fn ended(&self) -> StopReason {
        let mut ended = self.inner.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(StopReason::Asked),
            Err(_) => StopReason::Asked,
        }
    }
}

/// Why a node is not ready, in the words of `status`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not ready: {}", reasons.join("; "))]
pub struct NotReady {
    /// The reasons; the first is the main one.
    pub reasons: Vec<String>,
}
