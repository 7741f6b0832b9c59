//! How this node forms a cluster, derived from the configuration.

use ekka_core::autocluster::{Faults, Settings};
use ekka_core::id::NodeName;
use ekka_core::limits::{SETTLE_OTHER, SETTLE_STATIC};
use ekka_core::view::Role;

use super::model::{Config, Node, Strategy};

/// The settings of the vote.
///
/// With `static` the electorate is the seeds and this node, sorted, each once (a replicant, which never votes, does not
/// count itself); the default of `cluster.expect` is their majority. `manual`, and `dns` or `mcast` with a name on
/// loopback, form alone. With `etcd` the backend decides the id, whatever else is asked; one node is enough to ask it.
/// Everything else decides by what its backend knows of replicas, or by the candidates that are found.
#[must_use]
pub fn formation_settings(config: &Config) -> Settings {
    let discovery = &config.cluster.discovery;
    let decider = discovery.iter().find(|strategy| matches!(strategy, Strategy::Etcd(_)));
    let electorate = if decider.is_some() { None } else { electorate(&config.node, discovery) };
    let has_static = electorate.is_some();
    Settings {
        strategies: discovery.iter().map(|strategy| strategy.name().to_owned()).collect(),
        expect: config.cluster.expect.or_else(|| default_expect(config, electorate.as_deref(), decider.is_some())),
        electorate,
        counts: discovery.iter().find(|s| matches!(s, Strategy::K8s(_))).map(|strategy| strategy.name().to_owned()),
        decider: decider.map(|strategy| strategy.name().to_owned()),
        settle: if has_static { SETTLE_STATIC } else { SETTLE_OTHER },
        merge: config.cluster.merge,
        base_port: config.node.base_port,
        may_vote: config.node.role != Role::Replicant,
        faults: Faults::default(),
    }
}

/// With `static`: who votes.
pub(super) fn electorate(node: &Node, discovery: &[Strategy]) -> Option<Vec<NodeName>> {
    let seeds = discovery.iter().find_map(|strategy| match strategy {
        Strategy::Static { seeds } => Some(seeds),
        Strategy::Manual | Strategy::Mcast(_) | Strategy::Dns(_) | Strategy::Etcd(_) | Strategy::K8s(_) => None,
    })?;
    let own = (node.role != Role::Replicant).then_some(&node.name);
    let mut list: Vec<NodeName> = seeds.iter().chain(own).cloned().collect();
    list.sort();
    list.dedup();
    Some(list)
}

fn default_expect(config: &Config, electorate: Option<&[NodeName]>, decided: bool) -> Option<u32> {
    if let Some(list) = electorate {
        return u32::try_from(list.len() / 2 + 1).ok();
    }
    let one = |strategy: &Strategy| match strategy {
        Strategy::Manual => true,
        Strategy::Mcast(_) | Strategy::Dns(_) => config.node.name.host().is_loopback(),
        Strategy::Static { .. } | Strategy::Etcd(_) | Strategy::K8s(_) => false,
    };
    // Where the backend decides, one is enough whatever else is asked.
    (decided || config.cluster.discovery.iter().all(one)).then_some(1)
}
