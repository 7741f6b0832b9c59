//! Two formed clusters of one name meet: the younger goes into the older one, or nothing moves and it is said.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::room::Autocluster;
use super::{Merge, Output};
use crate::durable::absorb::{self, Meeting, Side};
use crate::durable::{Faults, Founder, MergeRecord};
use crate::id::ClusterId;
use crate::time::{Instant, Now};

/// How long a cluster may be without a majority before that counts as a conflict: one that starts has none either.
const CONFLICT_AFTER: Duration = Duration::from_secs(10);

/// Another cluster in sight.
#[derive(Clone, Debug)]
pub(super) struct Met {
    since: Instant,
    raised: Option<String>,
}

impl Autocluster {
    /// A peer is in this generation of its cluster: where that was to go before it was recovered counts no more.
    pub(super) fn forget_merged(&mut self, cluster_id: Option<ClusterId>, generation: u64, out: &mut Vec<Output>) {
        if cluster_id.is_some_and(|id| self.saved.merged.forget_before(id, generation)) {
            self.persist_then(Vec::new(), out);
        }
    }

    /// Takes records of merged clusters; they only add up.
    pub(super) fn learn_merged(&mut self, merged: Vec<MergeRecord>, out: &mut Vec<Output>) {
        let mut news = false;
        // Of a cluster as it was before it was recovered.
        let past = |record: &MergeRecord| {
            let said = self.peers.values().filter_map(|known| known.said.as_ref());
            let mine = (self.saved.cluster_id, self.saved.generation);
            let mut known = said.map(|said| (said.cluster_id, said.generation)).chain([mine]);
            known.any(|(id, generation)| id == Some(record.from) && record.generation < generation)
        };
        for record in merged.into_iter().filter(|record| !past(record)).collect::<Vec<_>>() {
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
        if self.end_of_chain(cluster_id) == mine {
            return true;
        }
        let said = || self.peers.values().filter_map(|k| k.said.as_ref()).filter(|s| s.cluster_id == Some(cluster_id));
        // As long as nobody of it has said otherwise.
        let commits = said().next().is_none() || said().any(|said| said.quorum);
        let never = self.settings.merge == Merge::Never || said().any(|said| said.merge == Merge::Never);
        // Rows keep the younger one where it is.
        let rows = if cluster_id < mine { self.quorum_rows } else { said().any(|said| said.quorum_rows) };
        // It comes only where this one can let it in.
        let lets_in = cluster_id < mine || self.quorum;
        commits && lets_in && !never && !rows
    }

    /// The other clusters in sight, each with what its members say together.
    fn others(&self, mine: ClusterId) -> BTreeMap<ClusterId, Side> {
        let mut others: BTreeMap<ClusterId, Side> = BTreeMap::new();
        for known in self.peers.values() {
            let Some(said) = &known.said else { continue };
            let Some(cluster_id) = said.cluster_id.filter(|id| *id != mine) else { continue };
            let member = known.peer.name.clone();
            let none = Side { cluster_id, member, can_commit: false, quorum_rows: false, merging: None, never: false };
            let other = others.entry(cluster_id).or_insert(none);
            // Who is up has its seat by a committed entry. Before that a majority may be one by name only: founders that
            // have gone elsewhere, by an operator's word, are counted until they say so.
            other.can_commit |= said.quorum && said.status.takes_part();
            other.quorum_rows |= said.quorum_rows;
            other.never |= said.merge == Merge::Never;
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
        if let Some(instead) = self.went_elsewhere(mine) {
            self.ask_to_join(instead, None, now, out);
            return;
        }
        let target = self.end_of_chain(mine);
        if target != mine {
            if others.get(&target).is_some_and(|other| other.can_commit) {
                self.ask_to_join(target, Some(mine), now, out);
            }
            return;
        }
        let own = Side {
            cluster_id: mine,
            member: self.own.name.clone(),
            can_commit: self.quorum && self.status.takes_part(),
            quorum_rows: self.quorum_rows,
            merging: None,
            never: self.settings.merge == Merge::Never,
        };
        for (id, other) in others {
            if self.end_of_chain(id) == mine {
                // It follows the records into this cluster.
                continue;
            }
            let other = Side { merging: self.saved.merged.get(id).map(|record| record.into), ..other };
            match absorb::meet(&own, &other) {
                // What it becomes is told by its record, once that is committed.
                Meeting::GoInto(into) => {
                    out.push(Output::Absorb { into, by_word: false });
                    return;
                }
                Meeting::Expect(_) | Meeting::Follow(_) => self.no_conflict(id, now, out),
                Meeting::Conflict(why) => {
                    // Whether a majority is in reach may be another thing in a moment, all else is not.
                    let lasts = own.never || other.never || own.can_commit && other.can_commit;
                    self.raise_conflict(&other, why, lasts, now, out);
                }
            }
        }
    }

    /// The cluster in which the other one of two founders is, where nothing was ever committed in this one and, without it,
    /// nothing ever will be: an operator said `form` there while it was voting. What two found begins with both of them, so
    /// an empty log here says that there is nothing to lose.
    fn went_elsewhere(&self, mine: ClusterId) -> Option<ClusterId> {
        let [one, other] = self.saved.first_voters.as_slice() else { return None };
        let is_me =
            |founder: &Founder| founder.id.node_id == self.own.id.node_id && founder.store == self.own.store.as_u128();
        let other = match (is_me(one), is_me(other)) {
            (true, false) if self.unfounded => other,
            (false, true) if self.unfounded => one,
            _ => return None,
        };
        let said = self.peers.get(&other.id.node_id)?.said.as_ref()?;
        said.cluster_id.filter(|id| *id != mine && said.quorum && said.status.takes_part())
    }

    /// The younger one is on its way, or both go elsewhere.
    fn no_conflict(&mut self, id: ClusterId, now: Now, out: &mut Vec<Output>) {
        let met = self.met.entry(id).or_insert(Met { since: now.mono, raised: None });
        met.since = now.mono;
        if met.raised.take().is_some() {
            out.push(Output::Conflict { other: id, met: None });
        }
    }

    fn raise_conflict(&mut self, other: &Side, why: String, lasts: bool, now: Now, out: &mut Vec<Output>) {
        let id = other.cluster_id;
        let met = self.met.entry(id).or_insert(Met { since: now.mono, raised: None });
        let due = lasts || now.mono.since(met.since) >= CONFLICT_AFTER;
        if due && met.raised.as_ref() != Some(&why) {
            met.raised = Some(why.clone());
            out.push(Output::Conflict { other: id, met: Some((other.member.clone(), why)) });
        }
    }
}
