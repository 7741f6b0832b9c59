//! Two formed clusters meet: which of them goes into the other, and whom its members follow.
//!
//! The smaller id is the older, for ever, so every order points to a smaller id and none leads back. A cluster that has
//! committed `merging into` is over: it admits nobody, raises no ceiling, and its record holds the last one. Whoever
//! knows the record knows that ceiling, so that a late comer which saw neither carries it to the end of the chain.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Faults;
use crate::id::{ClusterId, NodeName};
use crate::limits::{CHAIN_MAX, MERGED_MAX};

/// One cluster has gone into an older one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MergeRecord {
    /// The younger one.
    pub from: ClusterId,
    /// The older one.
    pub into: ClusterId,
    /// No token at or above this was ever issued in the younger one.
    pub ceiling: u64,
    /// The generation of the younger one: of later ones, after a recovery, it says nothing.
    #[serde(default)]
    pub generation: u64,
}

impl MergeRecord {
    /// Whether it leads to an older cluster, as every record must.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.into < self.from
    }
}

/// The records that one node or one cluster knows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chains {
    records: BTreeMap<ClusterId, MergeRecord>,
}

impl Chains {
    /// Takes a record; whether it was news. One cluster goes into one other only, so the first record of it stands, unless
    /// it was recovered since, and went once more.
    pub fn learn(&mut self, record: MergeRecord) -> bool {
        let known = self.records.get(&record.from);
        let full = known.is_none() && self.records.len() >= MERGED_MAX;
        if !record.is_sound() || known.is_some_and(|known| known.generation >= record.generation) || full {
            return false;
        }
        self.records.insert(record.from, record);
        true
    }

    /// Every record.
    pub fn iter(&self) -> impl Iterator<Item = &MergeRecord> {
        self.records.values()
    }

    /// The record of this cluster.
    #[must_use]
    pub fn get(&self, from: ClusterId) -> Option<&MergeRecord> {
        self.records.get(&from)
    }

    /// Drops the record of this cluster from before this generation, after a recovery.
    pub fn forget_before(&mut self, from: ClusterId, generation: u64) -> bool {
        let old = self.records.get(&from).is_some_and(|record| record.generation < generation);
        old && self.records.remove(&from).is_some()
    }

    /// Drops the record of this cluster: an operator's word goes against it.
    pub fn forget(&mut self, from: ClusterId) {
        self.records.remove(&from);
    }

    /// Drops what cannot be a record: read from a file, it is damage.
    pub fn drop_unsound(&mut self) {
        self.records.retain(|from, record| *from == record.from && record.is_sound());
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records that lead from this cluster to the one that has not gone into another, in order.
    #[must_use]
    pub fn from(&self, cluster: ClusterId, faults: Faults) -> Vec<MergeRecord> {
        let mut chain = Vec::new();
        let mut at = cluster;
        // Each step goes to a smaller id, so this ends.
        while let Some(record) = self.records.get(&at).filter(|record| record.is_sound()) {
            chain.push(*record);
            at = record.into;
            if faults.merging_not_followed {
                break;
            }
        }
        chain
    }

    /// The cluster at the end of the chain that begins with this one: itself where it has not gone into another.
    #[must_use]
    pub fn end(&self, cluster: ClusterId, faults: Faults) -> ClusterId {
        self.from(cluster, faults).last().map_or(cluster, |record| record.into)
    }
}

/// Whether the records lead, one after the other, into that cluster.
///
/// # Errors
/// Where they break off, in words.
pub fn leads_into(chain: &[MergeRecord], cluster: ClusterId) -> Result<(), String> {
    if chain.len() > CHAIN_MAX {
        return Err(format!("{} records in one chain, at most {CHAIN_MAX} are followed", chain.len()));
    }
    for pair in chain.windows(2) {
        if pair[0].into != pair[1].from {
            return Err(format!(
                "{} went into {}, and the next record is of {}",
                pair[0].from, pair[0].into, pair[1].from
            ));
        }
    }
    if let Some(wrong) = chain.iter().find(|record| !record.is_sound()) {
        return Err(format!("{} is not older than {}", wrong.into, wrong.from));
    }
    match chain.last() {
        Some(last) if last.into != cluster => Err(format!("the last of them leads into {}", last.into)),
        _ => Ok(()),
    }
}

/// One of two clusters that meet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Side {
    /// Its id.
    pub cluster_id: ClusterId,
    /// The member that was met, or this node.
    pub member: NodeName,
    /// Its members reach a majority of its voters.
    pub can_commit: bool,
    /// Its quorum tables hold, or ever held, a row. Of the other side only what it says.
    pub quorum_rows: bool,
    /// Where it goes already.
    pub merging: Option<ClusterId>,
    /// `cluster.merge = never` there.
    pub never: bool,
}

/// What follows when two clusters meet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meeting {
    /// This cluster is the younger one: it proposes `merging into` the other.
    GoInto(ClusterId),
    /// The other one is the younger and comes by itself.
    Expect(ClusterId),
    /// One of them goes elsewhere already: its members follow the records.
    Follow(ClusterId),
    /// Nothing moves: both go on, `cluster.conflict` is raised, an operator decides.
    Conflict(String),
}

/// Judges a meeting, alike on both sides (section 8, rule 6).
#[must_use]
pub fn meet(mine: &Side, other: &Side) -> Meeting {
    if let Some(into) = mine.merging {
        return Meeting::Follow(into);
    }
    if let Some(into) = other.merging {
        // Perhaps it comes here, perhaps it goes past: its records say.
        return if into == mine.cluster_id { Meeting::Expect(other.cluster_id) } else { Meeting::Follow(into) };
    }
    let (younger, older) = if mine.cluster_id > other.cluster_id { (mine, other) } else { (other, mine) };
    let why = if mine.never || other.never {
        Some(String::from("cluster.merge = never"))
    } else if !mine.can_commit && !other.can_commit {
        Some(String::from("neither side has a majority of its voters in reach"))
    } else if let Some(side) = [mine, other].into_iter().find(|side| !side.can_commit) {
        Some(format!("cluster {} (met {}) has no majority of its voters in reach", side.cluster_id, side.member))
    } else if younger.quorum_rows {
        Some(format!(
            "quorum tables of the younger cluster {} have held rows, and rows are not merged by themselves",
            younger.cluster_id
        ))
    } else {
        None
    };
    match why {
        Some(why) => Meeting::Conflict(format!("{why}: `ekka join NODE --absorb` decides")),
        None if younger.cluster_id == mine.cluster_id => Meeting::GoInto(older.cluster_id),
        None => Meeting::Expect(younger.cluster_id),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn id(n: u128) -> ClusterId {
        ClusterId::from_u128(n)
    }

    fn side(n: u128) -> Side {
        Side {
            cluster_id: id(n),
            member: "a@b".parse().unwrap(),
            can_commit: true,
            quorum_rows: false,
            merging: None,
            never: false,
        }
    }

    fn record(from: u128, into: u128) -> MergeRecord {
        MergeRecord { from: id(from), into: id(into), ceiling: 0, generation: 0 }
    }

    #[test]
    fn the_younger_goes_into_the_older_and_both_sides_say_the_same() {
        assert_eq!(meet(&side(2), &side(1)), Meeting::GoInto(id(1)));
        assert_eq!(meet(&side(1), &side(2)), Meeting::Expect(id(2)));
    }

    #[test]
    fn nothing_moves_without_both_majorities_or_with_rows_and_it_is_said() {
        let mut cannot = side(2);
        cannot.can_commit = false;
        let mut rows = side(2);
        rows.quorum_rows = true;
        let mut never = side(2);
        never.never = true;
        for (other, word) in [(cannot, "no majority"), (rows, "held rows"), (never, "merge = never")] {
            for (a, b) in [(&side(1), &other), (&other, &side(1))] {
                let Meeting::Conflict(why) = meet(a, b) else { panic!("{other:?} moves") };
                assert!(why.contains(word) && why.contains("--absorb"), "{why}");
            }
        }
        let mut older_rows = side(1);
        older_rows.quorum_rows = true;
        assert_eq!(meet(&side(2), &older_rows), Meeting::GoInto(id(1)), "rows of the older one stay where they are");
    }

    #[test]
    fn whoever_goes_elsewhere_is_followed_and_gets_no_second_order() {
        let mut mine = side(2);
        mine.merging = Some(id(1));
        assert_eq!(meet(&mine, &side(0)), Meeting::Follow(id(1)));
        assert_eq!(meet(&side(1), &mine), Meeting::Expect(id(2)));
        assert_eq!(meet(&side(3), &mine), Meeting::Follow(id(1)));
    }

    #[test]
    fn a_chain_leads_through_several_clusters_and_its_breaks_are_named() {
        let mut known = Chains::default();
        assert!(known.learn(record(2, 1)) && known.learn(record(1, 0)));
        assert!(!known.learn(record(2, 0)), "the first record of a cluster stands");
        assert!(!known.forget_before(id(2), 0));
        assert!(!known.learn(record(0, 5)), "no record leads to a younger one");
        assert_eq!(known.end(id(2), Faults::default()), id(0));
        assert_eq!(known.from(id(2), Faults::default()), vec![record(2, 1), record(1, 0)]);
        assert!(leads_into(&known.from(id(2), Faults::default()), id(0)).is_ok());
        assert!(leads_into(&[record(2, 1)], id(0)).is_err());
        assert!(leads_into(&[record(3, 2), record(1, 0)], id(0)).is_err());
        assert!(leads_into(&[record(1, 2)], id(2)).is_err());
        assert!(leads_into(&[], id(7)).is_ok());
    }
}
