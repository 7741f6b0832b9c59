//! The handle that programs hold: a running node.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::control::{Command, CommandError, Reply, StopReason};
use ekka_core::event::Event;
use ekka_core::id::{Endpoint, NodeName};
use ekka_core::time::{Now, Wall};
use ekka_core::view::View;
use tokio::sync::{broadcast, watch};

use crate::config::Config;

/// A running node. Clones are handles to the same node; dropping the last one stops it without waiting.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    views: watch::Receiver<Arc<View>>,
    events: broadcast::Sender<Arc<StampedEvent>>,
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
}

/// Figures that the shell counts (the view has the rest).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counters {
    /// Refused handshakes by reason.
    pub handshake_refused: std::collections::BTreeMap<&'static str, u64>,
    /// Connections to each peer: reconnects by reason.
    pub link_reconnects: std::collections::BTreeMap<(String, &'static str), u64>,
    /// Bytes by peer and direction (`in`, `out`).
    pub net_bytes: std::collections::BTreeMap<(String, &'static str), u64>,
    /// Bytes that wait, by peer and lane.
    pub lane_queue_bytes: std::collections::BTreeMap<(String, &'static str), u64>,
    /// Frames dropped by peer, lane and reason.
    pub lane_dropped: std::collections::BTreeMap<(String, &'static str, &'static str), u64>,
    /// Rounds of discovery by strategy and result (`ok`, `empty`, `error`).
    pub discovery_rounds: std::collections::BTreeMap<(String, &'static str), u64>,
    /// Seconds since a strategy last answered.
    pub discovery_last_success_s: std::collections::BTreeMap<String, f64>,
    /// Candidates of the last answer by strategy and result (`usable`, `unreachable`, `other_cluster`, `credentials`, `self`).
    pub discovery_candidates: std::collections::BTreeMap<(String, &'static str), u64>,
    /// Members removed, by cause.
    pub removed: std::collections::BTreeMap<&'static str, u64>,
    /// Changes of the leader hint.
    pub leader_changes: u64,
    /// Events that slow readers missed.
    pub events_lagged: u64,
}

impl Node {
    /// What the node believes now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.views.borrow().clone()
    }

    /// The same, whenever it changes.
    #[must_use]
    pub fn view_changes(&self) -> watch::Receiver<Arc<View>> {
        self.inner.views.clone()
    }

    /// Events from now on. A reader that is too slow gets `Lagged(n)`.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<StampedEvent>> {
        self.inner.events.subscribe()
    }

    /// The latest events, oldest first, at most `last`.
    #[must_use]
    pub fn recent_events(&self, _last: usize) -> Vec<Arc<StampedEvent>> {
        unimplemented!()
    }

    /// Both clocks of this node, for turning monotonic times of the view into ages.
    #[must_use]
    pub fn now(&self) -> Now {
        unimplemented!()
    }

    /// Gives a command to the node and waits for its end. Dropping the future does not undo it.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn command(&self, _command: Command) -> Result<Reply, CommandError> {
        unimplemented!()
    }

    /// How long ago the control thread made its last step: for `/livez`.
    #[must_use]
    pub fn last_step(&self) -> Duration {
        unimplemented!()
    }

    /// Figures that the shell counts.
    #[must_use]
    pub fn counters(&self) -> Counters {
        unimplemented!()
    }

    /// Looks at another node as an observer: changes nothing there.
    ///
    /// # Errors
    /// It could not be reached, or refused.
    pub async fn observe(&self, _endpoint: &Endpoint) -> Result<Observed, ekka_core::control::DialError> {
        unimplemented!()
    }

    /// Takes what can be changed without a restart from a new configuration.
    ///
    /// # Errors
    /// The credentials cannot be read; nothing was changed.
    pub async fn reload(&self, _config: Config) -> Result<Reloaded, String> {
        unimplemented!()
    }

    /// Fingerprints of the cookie that signs and of those that are trusted, first the one that signs.
    #[must_use]
    pub fn cookie_ids(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Resolves when the node has ended, with the reason.
    pub async fn ended(&self) -> StopReason {
        unimplemented!()
    }
}
