//! Two formed clusters of one name meet: the younger goes into the older one, or nothing moves and it is said.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::room::Autocluster;
use super::{Merge, Output};
use crate::durable::{Faults, MergeRecord};
use crate::id::{ClusterId, NodeName};
use crate::time::{Instant, Now};

/// How long a cluster may be without a majority before that counts as a conflict: one that starts has none either.
const CONFLICT_AFTER: Duration = Duration::from_secs(10);

/// Another cluster in sight.
#[derive(Clone, Debug)]
pub(super) struct Met {
    since: Instant,
    raised: Option<String>,
}

/// What a member of the other cluster shows.
struct Other {
    name: NodeName,
    quorum: bool,
    merge: Merge,
}

impl Autocluster {
    /// Takes records of merged clusters; they only add up.
    pub(super) fn learn_merged(&mut self, merged: Vec<MergeRecord>, out: &mut Vec<Output>) {
        let mut news = false;
        for record in merged {
            news |= self.saved.merged.learn(record);
        }
        if news {
            self.persist_then(Vec::new(), out);
        }
    }

    /// Where the chain of records ends that begins with this cluster.
    pub(super) fn end_of_chain(&self, id: ClusterId) -> ClusterId {
        self.saved.merged.end(id, Faults::default())
    }

    /// The records that lead from one cluster into another; empty where they do not.
    pub(super) fn chain(&self, from: ClusterId, into: ClusterId) -> Vec<MergeRecord> {
        let mut chain = self.saved.merged.from(from, Faults::default());
        let length = chain.iter().position(|record| record.into == into).map_or(0, |last| last + 1);
        chain.truncate(length);
        chain
    }

    /// Whether this node's cluster and that one become one by themselves (rule 6): then nobody need be told who left.
    #[must_use]
    pub fn merges_with(&self, cluster_id: ClusterId) -> bool {
        let Some(mine) = self.saved.cluster_id else { return false };
        // As long as nobody of it has said otherwise.
        let commits = |id: ClusterId| self.others(mine).get(&id).is_none_or(|other| other.quorum);
        self.end_of_chain(cluster_id) == mine
            || cluster_id < mine && self.settings.merge == Merge::Empty && commits(cluster_id)
    }

    /// The other clusters in sight, each with the member that shows most.
    fn others(&self, mine: ClusterId) -> BTreeMap<ClusterId, Other> {
        let mut others: BTreeMap<ClusterId, Other> = BTreeMap::new();
        for known in self.peers.values() {
            let Some(said) = &known.said else { continue };
            let Some(id) = said.cluster_id.filter(|id| *id != mine) else { continue };
            let other =
                others.entry(id).or_insert(Other { name: known.peer.name.clone(), quorum: false, merge: said.merge });
            other.quorum |= said.quorum;
        }
        others
    }

    /// Looks at the clusters in sight.
    pub(super) fn meet(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(mine) = self.saved.cluster_id.filter(|_| !self.entering) else { return };
        let others = self.others(mine);
        let gone: Vec<ClusterId> = self.met.keys().filter(|id| !others.contains_key(id)).copied().collect();
        for id in gone {
            if self.met.remove(&id).is_some_and(|met| met.raised.is_some()) {
                out.push(Output::Conflict { other: id, met: None });
            }
        }
        if self.operator.is_some() || self.joining.as_ref().is_some_and(|joining| joining.until > now.mono) {
            return;
        }
        self.joining = None;
        let target = self.end_of_chain(mine);
        if target != mine {
            if others.get(&target).is_some_and(|other| other.quorum) {
                self.ask_to_join(target, Some(mine), now, out);
            }
            return;
        }
        for (id, other) in others {
            if self.end_of_chain(id) == mine {
                // It follows the records into this cluster.
                continue;
            }
            let never = self.settings.merge == Merge::Never || other.merge == Merge::Never;
            if !never && id < mine && self.quorum && other.quorum {
                // What it becomes is told by its record, once that is committed.
                out.push(Output::Absorb { into: id, by_word: false });
                return;
            }
            self.judge_conflict(mine, id, &other, never, now, out);
        }
    }

    fn judge_conflict(
        &mut self,
        mine: ClusterId,
        id: ClusterId,
        other: &Other,
        never: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let quorum = self.quorum;
        let met = self.met.entry(id).or_insert(Met { since: now.mono, raised: None });
        let why = if never {
            String::from("cluster.merge = never")
        } else if !quorum && !other.quorum {
            String::from("neither side has a majority of its voters in reach")
        } else if !quorum {
            format!("this cluster {mine} has no majority of its voters in reach")
        } else if !other.quorum {
            format!("cluster {id} has no majority of its voters in reach")
        } else {
            // The younger one is on its way.
            if met.raised.take().is_some() {
                out.push(Output::Conflict { other: id, met: None });
            }
            met.since = now.mono;
            return;
        };
        let due = never || now.mono.since(met.since) >= CONFLICT_AFTER;
        if due && met.raised.as_ref() != Some(&why) {
            met.raised = Some(why.clone());
            out.push(Output::Conflict { other: id, met: Some((other.name.clone(), why)) });
        }
    }
}
