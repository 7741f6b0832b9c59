//! Whether every voter of a generation is accounted for, and what the next one begins with.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Facts, Generation, Held, Proposal, Source, Version};
use crate::id::Incarnation;

/// The voters of a generation by how they ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accounts {
    /// (a) Their node started again from the same directory.
    pub over: BTreeSet<Incarnation>,
    /// (b) They stopped serving for good, and handed this in, or say that they have it no more.
    pub handed_in: BTreeMap<Incarnation, Held>,
    /// (c) They are gone by a committed entry, and may live behind a cut.
    pub gone: BTreeSet<Incarnation>,
}

/// Why the next generation may not be proposed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Blocked {
    /// These are not accounted for.
    Missing(BTreeSet<Incarnation>),
    /// So many are only known to be gone that they could go on as a group.
    TooManyGone(BTreeSet<Incarnation>),
    /// Nobody who should vote is there.
    Nobody,
}

fn is_majority(count: usize, set: &BTreeSet<Incarnation>) -> bool {
    count * 2 > set.len()
}

/// Whether the present generation can have no majority ever again: of no set in which it may count, a majority can still
/// serve it. Who is only gone may do so behind a cut.
pub(super) fn has_ended(facts: &Facts, handed_in: &BTreeMap<Incarnation, Held>) -> bool {
    let serves = |voter: &&Incarnation| !facts.is_over(**voter) && !handed_in.contains_key(*voter);
    let can_count = |set: &BTreeSet<Incarnation>| is_majority(set.iter().filter(serves).count(), set);
    let sets = &facts.generation.sets;
    !sets.is_empty() && !sets.iter().any(can_count)
}

/// Sorts the voters of the present generation.
///
/// # Errors
/// They are not all accounted for.
fn sort(facts: &Facts, handed_in: &BTreeMap<Incarnation, Held>) -> Result<Accounts, Blocked> {
    let mut accounts = Accounts::default();
    let mut missing = BTreeSet::new();
    for voter in facts.generation.voters() {
        // A log that was handed in is worth more than the knowledge that its voter ended since.
        if let Some(held) = handed_in.get(&voter) {
            accounts.handed_in.insert(voter, *held);
        } else if facts.is_over(voter) {
            accounts.over.insert(voter);
        } else if facts.is_gone(voter) {
            accounts.gone.insert(voter);
        } else {
            missing.insert(voter);
        }
    }
    if !missing.is_empty() {
        return Err(Blocked::Missing(missing));
    }
    let could_go_on = |set: &BTreeSet<Incarnation>| is_majority(set.intersection(&accounts.gone).count(), set);
    if facts.generation.sets.iter().any(could_go_on) {
        return Err(Blocked::TooManyGone(accounts.gone));
    }
    Ok(accounts)
}

impl Accounts {
    /// The log to begin with: the highest that is there. It holds everything that was committed, where those who handed in
    /// share a voter with every majority: by Raft, the highest of logs that share one is complete.
    #[must_use]
    pub fn best(&self, lowest: bool) -> Option<Source> {
        let logs =
            self.handed_in.iter().filter_map(|(voter, held)| held.log().map(|log| Source { voter: *voter, log }));
        // Of those that still run, where they are alike: a start that is over has taken its log with it.
        if lowest { logs.min_by_key(|source| source.log) } else { logs.max_by_key(|source| source.log) }
    }

    /// Whether something that was acknowledged may be missing in `best`.
    fn may_lose(&self, generation: &Generation, best: Option<Source>) -> bool {
        let dropped = |id: &&Incarnation| self.handed_in.get(*id).is_none_or(|held| *held == Held::Dropped);
        let silent = |set: &BTreeSet<Incarnation>| set.iter().filter(dropped).count();
        // A majority that gave nothing of what it had may have acknowledged what nobody else holds.
        let unheard = generation.sets.iter().any(|set| is_majority(silent(set), set));
        // Nobody who handed in had begun: then what this generation was to begin with must be there.
        let behind = match (generation.from, best) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(from), Some(best)) => best.log < from.log,
        };
        unheard || behind
    }
}

/// The proposal for the next generation, where it may be made.
///
/// # Errors
/// A voter of the present generation is not accounted for, or nobody is there to vote in the next.
pub fn account(
    facts: &Facts,
    handed_in: &BTreeMap<Incarnation, Held>,
    lowest: bool,
) -> Result<(Proposal, Accounts), Blocked> {
    let generation = &facts.generation;
    let accounts = sort(facts, handed_in)?;
    let founders: BTreeSet<Incarnation> = facts.wanted.iter().filter_map(|node_id| facts.living(*node_id)).collect();
    if founders.is_empty() {
        return Err(Blocked::Nobody);
    }
    // A log in a process that is over cannot be fetched.
    let there = Accounts {
        handed_in: accounts
            .handed_in
            .iter()
            .filter(|(id, _)| !facts.is_over(**id))
            .map(|(id, held)| (*id, *held))
            .collect(),
        ..accounts.clone()
    };
    let from = there.best(lowest);
    let loss_judged_by = if lowest { there.best(false) } else { from };
    let version = Version { number: generation.number() + 1, revision: 0 };
    let next = Generation {
        version,
        founders: founders.clone(),
        sets: Vec::from([founders]),
        from,
        lost: there.may_lose(generation, loss_judged_by),
    };
    Ok((Proposal { expected: generation.version, next }, accounts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::LogPlace;
    use crate::id::{Guid, NodeId};
    use crate::volatile::LogKey;

    fn id(node: u128, guid: u128) -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
    }

    fn log(generation: u64, index: u64) -> LogKey {
        LogKey { generation, place: LogPlace { term: 1, index } }
    }

    fn held(generation: u64, index: u64) -> Held {
        Held::Log(log(generation, index))
    }

    /// Generation 1 of the first starts of nodes 1, 2, 3.
    fn facts() -> Facts {
        let founders: BTreeSet<Incarnation> = (1..4).map(|node| id(node, 1)).collect();
        let version = Version { number: 1, revision: 0 };
        let generation =
            Generation { version, founders: founders.clone(), sets: Vec::from([founders]), from: None, lost: false };
        let nodes: BTreeSet<NodeId> = (1..4).map(NodeId::from_u128).collect();
        let present = nodes.iter().map(|node| (*node, Guid::from_u128(1))).collect();
        Facts { generation, present, wanted: nodes.clone(), members: nodes, ..Facts::default() }
    }

    #[test]
    fn every_voter_must_be_accounted_for() {
        let mut facts = facts();
        let handed: BTreeMap<_, _> = [(id(1, 1), held(1, 5)), (id(2, 1), held(1, 7))].into();
        assert_eq!(account(&facts, &handed, false), Err(Blocked::Missing([id(3, 1)].into())));
        facts.gone.insert(NodeId::from_u128(3), Guid::from_u128(1));
        let (proposal, _) = account(&facts, &handed, false).unwrap();
        assert_eq!(proposal.next.from, Some(Source { voter: id(2, 1), log: log(1, 7) }));
        assert!(!proposal.next.lost, "two of three handed in");
        assert_eq!(proposal.next.founders, [id(1, 1), id(2, 1)].into());
    }

    #[test]
    fn those_that_are_only_gone_must_be_less_than_a_majority() {
        let mut facts = facts();
        for node in 2..4 {
            facts.gone.insert(NodeId::from_u128(node), Guid::from_u128(1));
        }
        let handed: BTreeMap<_, _> = [(id(1, 1), held(1, 5))].into();
        assert!(matches!(account(&facts, &handed, false), Err(Blocked::TooManyGone(_))));
        facts.present.insert(NodeId::from_u128(2), Guid::from_u128(2));
        let (proposal, _) = account(&facts, &handed, false).unwrap();
        assert!(proposal.next.lost, "the other two may have acknowledged more");
    }

    #[test]
    fn a_full_restart_begins_with_nothing_and_says_so() {
        let mut facts = facts();
        facts.present.values_mut().for_each(|guid| *guid = Guid::from_u128(2));
        let (proposal, accounts) = account(&facts, &BTreeMap::new(), false).unwrap();
        assert_eq!((proposal.next.from, proposal.next.lost, accounts.over.len()), (None, true, 3));
        assert_eq!(proposal.expected, Version { number: 1, revision: 0 });
    }

    #[test]
    fn who_dropped_its_log_is_accounted_for_and_gives_nothing() {
        let mut facts = facts();
        facts.present.insert(NodeId::from_u128(1), Guid::from_u128(2));
        let mut handed: BTreeMap<_, _> = [(id(2, 1), Held::Nothing), (id(3, 1), held(1, 5))].into();
        assert!(!account(&facts, &handed, false).unwrap().0.next.lost, "one of three is silent");
        handed.insert(id(2, 1), Held::Dropped);
        let (proposal, _) = account(&facts, &handed, false).unwrap();
        assert!(proposal.next.lost, "two of three may have acknowledged more");
        assert_eq!(proposal.next.from, Some(Source { voter: id(3, 1), log: log(1, 5) }));
    }

    #[test]
    fn a_generation_that_nobody_began_loses_what_its_source_alone_had() {
        let mut facts = facts();
        facts.generation.version.number = 2;
        facts.generation.from = Some(Source { voter: id(3, 1), log: log(1, 9) });
        facts.present.insert(NodeId::from_u128(3), Guid::from_u128(2));
        let older: BTreeMap<_, _> = [(id(1, 1), held(1, 7)), (id(2, 1), held(1, 8))].into();
        let (proposal, _) = account(&facts, &older, false).unwrap();
        assert!(proposal.next.lost);
        let whole: BTreeMap<_, _> = [(id(1, 1), held(1, 9)), (id(2, 1), held(1, 8))].into();
        assert!(!account(&facts, &whole, false).unwrap().0.next.lost);
    }
}
