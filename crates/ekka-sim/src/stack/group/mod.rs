//! What the replicas of all hosts say of their groups, held against each other: one log, one leader a term, and nothing
//! acknowledged is lost. It outlives all processes.

mod gone;
mod leader;
mod log;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ekka::node::Node;
use ekka_core::consensus::{Configuration, GroupEvent, Standing, VoterId};
use ekka_core::control::GroupNews;
use ekka_core::id::ClusterId;

pub(super) use leader::Fitness;
pub(super) use tokens::take_tokens;

use log::{Log, Reader};
use tokens::Tokens;

/// What a host's replica said last.
#[derive(Debug)]
struct Seat {
    cluster_id: ClusterId,
    standing: Standing,
}

/// Everything that was said.
#[derive(Default)]
pub(super) struct Groups {
    /// Virtual time, as the world tells it.
    pub(super) now: Duration,
    /// Hosts take tokens all the time, this far apart.
    pub(super) pace: Option<Duration>,
    logs: BTreeMap<ClusterId, Log>,
    readers: BTreeMap<(usize, ClusterId), Reader>,
    seats: BTreeMap<usize, Seat>,
    leaders: BTreeMap<(ClusterId, u64), VoterId>,
    hosts: BTreeMap<VoterId, usize>,
    tokens: BTreeMap<ClusterId, Tokens>,
    watched: BTreeMap<ClusterId, leader::Watched>,
    /// The nodes that run, for what they know of their leases.
    nodes: BTreeMap<usize, Node>,
    wrong: Option<String>,
}

pub(super) type SharedGroups = Arc<Mutex<Groups>>;

/// Figures of the groups of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupCounts {
    /// Commands that were committed.
    pub committed: usize,
    /// Ranges of tokens that were acknowledged.
    pub acknowledged: usize,
    /// The longest time without a leader while there could have been one, in milliseconds.
    pub leaderless_ms: u64,
}

impl Groups {
    /// The replica of a host says something.
    pub(super) fn hear(&mut self, host: usize, cluster_id: ClusterId, news: &GroupNews) {
        let heard = match news {
            GroupNews::Event { event, .. } => self.event(host, cluster_id, event),
            GroupNews::Standing(standing) => self.stand(host, cluster_id, standing),
            _ => Ok(()),
        };
        if let Err(what) = heard {
            self.wrong.get_or_insert(format!("host {host}, cluster {cluster_id}: {what}"));
        }
    }

    fn event(&mut self, host: usize, cluster_id: ClusterId, event: &GroupEvent) -> Result<(), String> {
        let log = self.logs.entry(cluster_id).or_default();
        let reader = self.readers.entry((host, cluster_id)).or_default();
        log.read(reader, event)?;
        if let GroupEvent::Applied { at, command } = event {
            self.check_gone(*at, command)?;
        }
        if let GroupEvent::Reconfigured(_) = event {
            let now = self.now;
            self.watched.entry(cluster_id).or_insert_with(|| leader::Watched::new(now)).reconfigured(now);
        }
        Ok(())
    }

    fn stand(&mut self, host: usize, cluster_id: ClusterId, standing: &Standing) -> Result<(), String> {
        self.hosts.insert(standing.me, host);
        // A store may fail; the engine itself never.
        if let Some(failed) = standing.failed.as_ref().filter(|failed| failed.contains("panicked")) {
            return Err(format!("the engine of {} has ended: {failed}", standing.me));
        }
        if standing.leads {
            let leader = *self.leaders.entry((cluster_id, standing.term)).or_insert(standing.me);
            if leader != standing.me {
                return Err(format!("{} and {leader} both lead term {}", standing.me, standing.term));
            }
        }
        self.seats.insert(host, Seat { cluster_id, standing: standing.clone() });
        Ok(())
    }

    /// The process of a host has ended.
    pub(super) fn ended(&mut self, host: usize) {
        self.seats.remove(&host);
        self.nodes.remove(&host);
        self.readers.retain(|(other, _), _| *other != host);
    }

    /// What this host voted with is gone.
    pub(super) fn lost_store(&mut self, host: usize) {
        self.hosts.retain(|_, other| *other != host);
    }

    /// The voters of a cluster, as its latest committed configuration has them.
    pub(super) fn configuration(&self, cluster_id: ClusterId) -> Option<&Configuration> {
        self.logs.get(&cluster_id)?.configuration()
    }

    /// Which host leads a cluster.
    pub(super) fn leader(&self, cluster_id: ClusterId) -> Option<usize> {
        let leads = |(_, seat): &(&usize, &Seat)| seat.cluster_id == cluster_id && seat.standing.leads;
        self.seats.iter().filter(leads).max_by_key(|(_, seat)| seat.standing.term).map(|(host, _)| *host)
    }

    /// Which host votes so.
    pub(super) fn host_of(&self, voter: VoterId) -> Option<usize> {
        self.hosts.get(&voter).copied()
    }

    /// How many ranges were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.tokens.values().map(Tokens::acknowledged).sum()
    }

    /// The longest time between two acknowledged ranges of a cluster since [`Groups::forget_gaps`].
    pub(super) fn longest_gap(&self, cluster_id: ClusterId) -> Duration {
        self.tokens.get(&cluster_id).map_or(Duration::MAX, |tokens| tokens.longest_gap(self.now))
    }

    /// Gaps are measured anew from now on.
    pub(super) fn forget_gaps(&mut self) {
        let now = self.now;
        self.tokens.values_mut().for_each(|tokens| tokens.forget_gaps(now));
    }

    /// Whether nothing that was said up to now is wrong, and each cluster has a leader where it can.
    pub(super) fn check(&mut self, fitness: &Fitness) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        self.check_leaders(fitness)
    }

    /// Judges all that was committed, beside what was acknowledged.
    ///
    /// # Errors
    /// Something acknowledged is not there, or what only grows went back.
    pub(super) fn verdict(&self) -> Result<GroupCounts, String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let mut counts = GroupCounts::default();
        for (cluster_id, log) in &self.logs {
            let Some(replayed) = log.replay().map_err(|what| format!("cluster {cluster_id}: {what}"))? else {
                continue;
            };
            counts.committed += replayed.commands;
            if let Some(tokens) = self.tokens.get(cluster_id) {
                tokens.verdict(&replayed.ranges).map_err(|what| format!("cluster {cluster_id}: {what}"))?;
            }
        }
        counts.acknowledged = self.acknowledged();
        let longest = self.watched.values().map(|watched| watched.longest).max().unwrap_or_default();
        counts.leaderless_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Ok(counts)
    }

    /// The members of a cluster by all that was committed, each with its seniority.
    pub(super) fn members(&self, cluster_id: ClusterId) -> Option<BTreeMap<ekka_core::id::NodeId, u64>> {
        let replayed = self.logs.get(&cluster_id)?.replay().ok()??;
        Some(replayed.record.members().iter().map(|(id, member)| (*id, member.seniority)).collect())
    }
}
