//! What this node waits for, in words that a person on call can act on.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::room::{Autocluster, Known};
use crate::id::NodeName;
use crate::time::{Instant, Now};

/// Names that a sentence shows before it says how many more there are.
const SHOWN: usize = 5;

/// The names with commas, the first few of them.
pub(super) fn joined(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

fn lacks(list: &[NodeName], other: &[NodeName]) -> Vec<String> {
    other.iter().filter(|name| !list.contains(name)).map(ToString::to_string).collect()
}

fn words_for_formed(known: &Known) -> String {
    let quorum = known.said.as_ref().is_some_and(|said| said.quorum);
    if quorum {
        format!("joins the cluster of {}", known.peer.name)
    } else {
        format!("waits: {} is in a cluster that has no majority of its voters in reach", known.peer.name)
    }
}

impl Autocluster {
    /// The sentence; empty where nothing is waited for.
    pub(super) fn words(&self, started: Instant, now: Now) -> String {
        if self.saved.cluster_id.is_some() || self.saved.left {
            return String::new();
        }
        if let Some(known) = self.met_in_cluster() {
            let why = self.denied.as_ref().map(|(by, why)| format!("; {by} lets it in not yet: {why}"));
            return words_for_formed(known) + &why.unwrap_or_default();
        }
        if let Some(outranked) = &self.saved.outranked {
            return format!("waits: a member of cluster {} that has a majority in reach", outranked.cluster_id);
        }
        if !self.settings.may_vote {
            return String::from("waits: a node that does not vote joins a cluster, it forms none; none is in sight");
        }
        if let Some(text) = self.words_for_decided().or_else(|| self.words_for_lists()) {
            return text;
        }
        let expect = self.expect(started, now.mono);
        let count = self.eligible().count() + 1;
        if let Some(backend) = self.settings.decider.as_ref().filter(|_| count >= expect) {
            return format!("waits: {backend} is asked for the cluster's id");
        }
        if let Some(backend) = self.settings.counts.as_ref().filter(|_| self.must_hear_number()) {
            let why = self.failing.get(backend).map(String::as_str).or_else(|| self.candidates.why_no_number(backend));
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            return format!("waits: {backend} has not said yet how many nodes there are to be{why}");
        }
        if count >= expect {
            return format!("waits: {count} of {expect} nodes are here and vote");
        }
        let missing = self.missing();
        let needs = if let Some((strategy, error)) = self.failing.first_key_value().filter(|_| missing.is_empty()) {
            format!("{strategy} fails: {error}")
        } else if missing.is_empty() {
            String::from("nobody else is listed yet")
        } else {
            format!("needs one of {}", joined(missing))
        };
        format!("waits: {count} of {expect} nodes; {needs}")
    }

    /// A peer in a cluster: in the one that this node asks, where it asks one.
    fn met_in_cluster(&self) -> Option<&Known> {
        let asked = self.joining.as_ref().map(|joining| joining.cluster_id);
        let cluster = |known: &Known| known.said.as_ref().and_then(|said| said.cluster_id);
        let met = || self.peers.values().filter(|known| cluster(known).is_some());
        met().find(|known| cluster(known) == asked).or_else(|| met().next())
    }

    fn words_for_lists(&self) -> Option<String> {
        let ours = self.settings.electorate.as_ref()?;
        let differs = |known: &&Known| {
            known.said.as_ref().is_some_and(|said| said.cluster_id.is_none() && said.electorate.as_ref() != Some(ours))
        };
        let known = self.peers.values().find(differs)?;
        let said = known.said.as_ref()?;
        let name = &known.peer.name;
        let Some(theirs) = &said.electorate else {
            return Some(format!("waits: {name} has no list of seeds and does not vote with this node"));
        };
        let (here, there) = (lacks(ours, theirs), lacks(theirs, ours));
        let mut parts = Vec::new();
        if !here.is_empty() {
            parts.push(format!("only theirs has {}", joined(here)));
        }
        if !there.is_empty() {
            parts.push(format!("only ours has {}", joined(there)));
        }
        let listed = self
            .peers
            .values()
            .filter_map(|k| k.said.as_ref())
            .any(|said| said.electorate.as_ref().is_some_and(|list| list.contains(&self.own.name)));
        let rule = if listed { "" } else { "; no other list names this node, so it joins and never forms" };
        Some(format!("waits: the list of seeds of {name} differs from ours: {}{rule}", parts.join("; ")))
    }

    /// The names that would help, each with why it does not answer.
    pub(super) fn missing(&self) -> Vec<String> {
        let connected = |name: &NodeName| self.peers.values().any(|known| known.peer.name == *name);
        let mut texts: Vec<String> = Vec::new();
        for (name, why) in self.candidates.all() {
            if connected(name) {
                continue;
            }
            texts.push(match why {
                Some(why) => format!("{name}: {why}"),
                None => name.to_string(),
            });
        }
        for known in self.peers.values() {
            if known.said.as_ref().is_some_and(|said| said.idle) {
                texts.push(format!("{}: it has left its cluster or does not vote", known.peer.name));
            }
        }
        texts
    }
}
