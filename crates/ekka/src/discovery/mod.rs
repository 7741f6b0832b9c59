//! Strategies that name candidates: each is one type behind one trait, each only a hint.
//!
//! A strategy is asked (`discover`) every few seconds. Beside that, `run` lives as long as the node uses the strategy:
//! it keeps the node's entry in the backend, and wakes the node ([`Attachment::news`]) when the backend has something
//! new. Nothing in a strategy decides what the cluster believes.

#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "k8s")]
mod k8s;
mod manual;
#[cfg(feature = "mcast")]
mod mcast;

#[cfg(feature = "dns")]
pub use dns::{fuzz_dns_files, fuzz_dns_message};
#[cfg(feature = "k8s")]
pub use k8s::{fuzz_list as fuzz_k8s_list, fuzz_watch as fuzz_k8s_watch};
pub use manual::{Manual, Static};
#[cfg(feature = "mcast")]
pub use mcast::fuzz_mcast;

use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::autocluster::{Answer, Candidate, Expect, Proposal, Registration};
use ekka_core::id::{Endpoint, NodeId, NodeName};
use tokio::sync::{Notify, watch};

use crate::config::{Config, Strategy};
use crate::env::{BoxFuture, Env};
use crate::transport::Credentials;

/// One strategy.
pub trait Discovery: Send + Sync + 'static {
    /// The word in the configuration.
    fn name(&self) -> &'static str;

    /// Whom it knows now. An answer can add someone to contact, never remove a member. Changes nothing in the backend:
    /// `ekka discover` asks too.
    fn discover(&self) -> BoxFuture<'_, Result<Found, String>>;

    /// Keeps this node known where the backend can, as its registration says, and wakes the node when the backend has
    /// something new. Ends only where there is nothing to do; failures are retried inside, and logged.
    fn run(&self, node: Attachment) -> BoxFuture<'_, ()> {
        drop(node);
        Box::pin(async {})
    }

    /// Takes this node's entry out, at stop, at leave, and where another strategy takes this one's place. `run` has
    /// ended before.
    fn unregister(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// How much of what came was ignored so far, by reason, where anybody can send something.
    fn ignored(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Where the backend decides: offers a value and gives the one that holds, this or an earlier one. One step:
    /// whatever else goes on, all who ask are given the same. `None`: the backend cannot decide.
    fn claim<'a>(&'a self, offer: &'a Proposal) -> BoxFuture<'a, Result<Option<Proposal>, String>> {
        let _ = offer;
        Box::pin(async { Ok(None) })
    }
}

/// What a strategy answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Whom it knows, this node included where the backend lists it.
    pub candidates: Vec<Candidate>,
    /// What the backend holds and is no candidate, each with why.
    pub left_out: Vec<LeftOut>,
    /// What a person should know of this answer, in words.
    pub notes: Vec<String>,
    /// How many distinct nodes must vote, where the backend knows.
    pub expect: Expect,
}

/// An entry of a backend that is no candidate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// The entry, as the backend has it.
    pub what: String,
    /// Why.
    pub why: String,
}

impl From<Vec<Candidate>> for Found {
    fn from(candidates: Vec<Candidate>) -> Self {
        Self { candidates, ..Self::default() }
    }
}

impl Found {
    /// The part of it that `Control` is told.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        Answer { candidates: self.candidates, expect: self.expect }
    }
}

/// What ties a strategy to a running node.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// What the backend is to know of this node, and every change of it.
    pub registration: watch::Receiver<Registration>,
    /// To be notified when the backend has something new: the strategy is then asked at once.
    pub news: Arc<Notify>,
}

/// What strategies are made with.
#[derive(Clone)]
pub struct Context {
    /// Network, clocks, randomness.
    pub env: Env,
    /// The node that asks.
    pub me: Me,
    /// `node.base_port`
    pub base_port: u16,
    /// `cluster.name`
    pub cluster_name: String,
    /// The credentials in use; they change at a rotation.
    pub credentials: SharedCredentials,
}

/// The node that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Me {
    /// Its name.
    pub name: NodeName,
    /// Where peers dial it.
    pub endpoint: Endpoint,
    /// Who it is.
    pub node_id: NodeId,
}

/// The credentials in use, shared with whoever needs the latest ones.
#[derive(Clone, Debug)]
pub struct SharedCredentials(Arc<Mutex<Credentials>>);

impl SharedCredentials {
    /// Begins with these.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self(Arc::new(Mutex::new(credentials)))
    }

    /// The latest ones.
    #[must_use]
    pub fn get(&self) -> Credentials {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these.
    pub fn set(&self, credentials: Credentials) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
    }
}

/// The strategies of a configuration, in its order. Does no IO.
///
/// # Errors
/// A strategy cannot be had with these settings, or was left out when this program was built, in words.
pub fn strategies(config: &Config, context: &Context) -> Result<Vec<Arc<dyn Discovery>>, String> {
    config.cluster.discovery.iter().map(|strategy| one(strategy, context)).collect()
}

fn one(strategy: &Strategy, context: &Context) -> Result<Arc<dyn Discovery>, String> {
    match strategy {
        Strategy::Manual => Ok(Arc::new(Manual)),
        Strategy::Static { seeds } => Ok(Arc::new(Static::new(seeds, context.base_port))),
        #[cfg(feature = "mcast")]
        Strategy::Mcast(options) => mcast::strategy(options, context),
        #[cfg(feature = "dns")]
        Strategy::Dns(options) => dns::strategy(options, context),
        #[cfg(feature = "etcd")]
        Strategy::Etcd(options) => etcd::strategy(options, context),
        #[cfg(feature = "k8s")]
        Strategy::K8s(options) => k8s::strategy(options, context),
        #[allow(unreachable_patterns, reason = "with all features on there is no other")]
        other => Err(format!(
            "cluster.discovery = {0} is not in this program: it was built without the feature `{0}`",
            other.name()
        )),
    }
}
