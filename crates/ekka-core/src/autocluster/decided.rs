//! Where a backend decides the id (etcd): one offer to it takes the place of the vote.
//!
//! The value is that of the vote, the id with its founders, so that a claimer that dies right after its offer blocks
//! nobody: whoever is named in the value that holds enters the cluster by it, and all others join. The backend takes
//! the first offer and gives it to everybody, in one step; nothing that is decided here rests on a lock or on time.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::proposer::Phase;
use super::room::Autocluster;
use super::words::joined;
use super::{Candidate, Output, Peer, Proposal};
use crate::id::ClusterId;
use crate::limits::SETTLE_OTHER;
use crate::time::{Instant, Now};

/// How long an offer may take before it is made again: the shell gives up after
/// [`DISCOVERY_TIMEOUT`](crate::limits::DISCOVERY_TIMEOUT).
const CLAIM_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a node waits after an answer that does not bring it in, before it asks again.
const CLAIM_AGAIN: Duration = Duration::from_secs(2);

/// What the backend said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    again_at: Option<Instant>,
    by_others: Option<Proposal>,
    error: Option<String>,
    /// This node's last offer: only a planted fault looks at it.
    offered: Option<Proposal>,
}

impl Autocluster {
    /// Whether the backend is asked: it has listed this node for the settling time, so that it works, others find this
    /// node, and the members of a cluster have registered again if it was emptied; and its last answer is some time ago.
    pub(super) fn may_offer(&self, now: Instant) -> bool {
        let since = self.settings.decider.as_ref().and_then(|backend| self.candidates.listed_by(backend));
        since.is_some_and(|since| now.since(since) >= self.settings.settle.max(SETTLE_OTHER))
            && self.decided.again_at.is_none_or(|at| now >= at)
    }

    /// Offers an id with everybody who is here as its founders.
    pub(super) fn offer(&mut self, now: Now, out: &mut Vec<Output>) {
        let me = self.me().node_id;
        let here = self.eligible().map(|known| known.peer.id.node_id).chain([me]);
        let mut founders: Vec<Peer> = here.filter_map(|id| self.founder(id)).collect();
        founders.sort_by_key(|founder| founder.id.guid);
        let proposal = Proposal { cluster_id: ClusterId::mint(now.wall, self.rng.next_u128()), founders };
        self.proposer.offering(now.mono + CLAIM_TIMEOUT);
        self.decided.offered = Some(proposal.clone());
        out.push(Output::Claim(proposal));
    }

    /// The backend answered.
    pub(super) fn claimed(&mut self, result: Result<Proposal, String>, now: Now, out: &mut Vec<Output>) {
        if self.settings.decider.is_none() {
            // It was configured away meanwhile.
            return;
        }
        if matches!(self.proposer.phase(), Phase::Claiming { .. }) {
            self.proposer.abandon();
        }
        self.decided.again_at = Some(now.mono + self.rng.jitter(CLAIM_AGAIN));
        let offered = self.decided.offered.take().filter(|_| self.settings.faults.lost_claim_wins);
        let held = match (result, offered) {
            (Ok(held), _) | (Err(_), Some(held)) => held,
            (Err(error), None) => {
                self.decided.error = Some(error);
                return;
            }
        };
        self.decided.error = None;
        if self.saved.cluster_id.is_some() || self.operator.is_some() || self.joining.is_some() || self.is_idle() {
            return;
        }
        // Whoever was in that cluster before and is not now comes back as any other newcomer; and nobody founds one that
        // has gone into another.
        let over = self.saved.was_in.contains(&held.cluster_id) || self.saved.merged.get(held.cluster_id).is_some();
        if held.names(self.me().node_id) && !over {
            let backend = self.settings.decider.clone().unwrap_or_default();
            let names = held.founders.iter().map(|founder| format!("founder {}", founder.name));
            let lines = vec![format!("decided by one key in {backend}")].into_iter().chain(names).collect();
            self.enter_decided(&held, lines, out);
            return;
        }
        let founders = held.founders.iter();
        let candidates = founders.map(|peer| Candidate { name: peer.name.clone(), endpoint: peer.endpoint.clone() });
        self.candidates.listed(&candidates.collect::<Vec<_>>(), now.mono);
        self.decided.by_others = Some(held);
    }

    /// What is waited for where the backend decides; `None` where that is nothing of its own.
    pub(super) fn words_for_decided(&self) -> Option<String> {
        let backend = self.settings.decider.as_ref()?;
        if let Some(error) = &self.decided.error {
            return Some(format!("waits: {backend} is to decide the cluster's id: {error}"));
        }
        if let Some(error) = self.failing.get(backend) {
            return Some(format!("waits: {backend} fails: {error}"));
        }
        if self.candidates.listed_by(backend).is_none() {
            return Some(format!("waits: {backend} does not list this node yet"));
        }
        let held = self.decided.by_others.as_ref()?;
        let founders = joined(held.founders.iter().map(|peer| peer.name.to_string()).collect());
        // Once all founders were in, the record names nobody: whoever is listed may be of it.
        let listed = if founders.is_empty() { joined(self.missing()) } else { String::new() };
        let of = if founders.is_empty() { founders } else { format!(" of {founders}") };
        let listed = if listed.is_empty() { listed } else { format!(" ({listed})") };
        Some(format!(
            "waits: {backend} names cluster {}{of}, and nobody of it is in reach{listed}; \
             if it is lost for good: ekka form",
            held.cluster_id
        ))
    }
}
