//! The plan of one heal: components of nodes between which no parting stands, and which of them the others come back to.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{HealId, Parting, Sight, Voters};
use crate::id::{Guid, Incarnation, NodeId};

/// One node of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Side {
    /// Which start of it.
    pub id: Incarnation,
    /// Its component; 0 is the coordinator's.
    pub part: u32,
    /// Partings of it up to this number are answered by this heal.
    pub upto: u64,
}

impl Side {
    /// Whether the node stays as it is: it is in the coordinator's component.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.part == 0
    }
}

/// What one heal does, as the leader decided it: everybody of it gets the whole plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Which heal.
    pub id: HealId,
    /// Who decided.
    pub leader: Incarnation,
    /// Who carries it out.
    pub coordinator: Incarnation,
    /// All whose views were collected, by node id.
    pub nodes: Vec<Side>,
}

impl Plan {
    /// What the plan has for this start.
    #[must_use]
    pub fn side(&self, id: Incarnation) -> Option<&Side> {
        self.nodes.iter().find(|side| side.id == id)
    }

    /// Up to which number partings of this process of a node are answered; 0 where the plan does not name it. A later
    /// process counts anew, and is known by its guid: those of one node only grow.
    pub(super) fn upto(&self, node_id: NodeId, process: Guid) -> u64 {
        let side = self.nodes.iter().find(|side| side.id.node_id == node_id);
        side.filter(|side| process <= side.id.guid).map_or(0, |side| side.upto)
    }

    /// Those outside the coordinator's component.
    pub fn outside(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.nodes.iter().filter(|side| !side.stays()).map(|side| side.id)
    }

    /// The coordinator's component.
    pub fn inside(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.nodes.iter().filter(|side| side.stays()).map(|side| side.id)
    }
}

/// What a leader decides from. Kept in the record of its decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gathered {
    /// The id of the heal.
    pub id: HealId,
    /// The leader.
    pub leader: Incarnation,
    /// The views, by node id.
    pub sights: Vec<Sight>,
}

impl Gathered {
    /// Whether anybody has to come back: somebody has parted from one who runs and says so, or is on its way.
    #[must_use]
    pub fn wants_heal(&self) -> bool {
        let sights = by_node(&self.sights);
        let parted =
            |sight: &Sight| sight.partings.iter().any(|parting| parting.since.is_none() && stands(parting, &sights));
        self.sights.iter().any(|sight| sight.under.is_some() || parted(sight))
    }
}

fn by_node(sights: &[Sight]) -> BTreeMap<NodeId, (usize, &Sight)> {
    sights.iter().enumerate().map(|(at, sight)| (sight.id.node_id, (at, sight))).collect()
}

/// Whether a parting keeps two nodes apart: the other one runs in the same process, and has not come back since.
fn stands(parting: &Parting, sights: &BTreeMap<NodeId, (usize, &Sight)>) -> bool {
    let Some((_, other)) = sights.get(&parting.node_id) else { return false };
    other.process == parting.process && parting.since.is_none_or(|heal| other.healed < heal)
}

/// Decides. `None` where there is no view at all.
///
/// Components: two nodes belong together where each sees the other running, neither has parted from the other, and neither
/// is on its way back in a heal that has not ended, or where others bring them together so; but no two that have parted
/// are ever in one. The coordinator's component is the one that holds a majority of every
/// set of voters by the latest configuration that any view shows; where none does, the one with the most cores; of equal
/// ones the one with the oldest node. The coordinator is its oldest core.
#[must_use]
pub fn decide(gathered: &Gathered) -> Option<Plan> {
    let Gathered { id, leader, sights } = gathered;
    let mut parts = components(sights);
    let voters = sights.iter().map(|sight| &sight.voters).max_by_key(|voters| voters.place)?;
    let rank = |part: &Vec<usize>| {
        let members = || part.iter().map(|at| &sights[*at]);
        let cores = members().filter(|sight| sight.core).count();
        let oldest = members().map(|sight| sight.seniority).min().unwrap_or(u64::MAX);
        (commits(voters, &members()), cores, Reverse(oldest))
    };
    parts.sort_by_cached_key(|part| Reverse(rank(part)));
    let coordinator =
        parts.first()?.iter().map(|at| &sights[*at]).min_by_key(|sight| (!sight.core, sight.seniority))?;
    let mut nodes: Vec<Side> = Vec::with_capacity(sights.len());
    for (number, part) in (0..).zip(&parts) {
        nodes.extend(part.iter().map(|at| Side { id: sights[*at].id, part: number, upto: sights[*at].upto }));
    }
    nodes.sort_by_key(|side| side.id.node_id);
    Some(Plan { id: *id, leader: *leader, coordinator: coordinator.id, nodes })
}

/// Whether these nodes hold a majority of each set.
fn commits<'a>(voters: &Voters, members: &(impl Iterator<Item = &'a Sight> + Clone)) -> bool {
    let holds = |set: &Vec<NodeId>| {
        let here = set.iter().filter(|voter| members.clone().any(|sight| sight.id.node_id == **voter)).count();
        here * 2 > set.len()
    };
    !voters.sets.is_empty() && voters.sets.iter().all(holds)
}

/// Pairs of views, as bits: in a cluster of a thousand that parted in two they are most of the pairs.
struct Pairs {
    words: usize,
    bits: Vec<u64>,
}

impl Pairs {
    fn new(count: usize) -> Self {
        let words = count.div_ceil(64);
        Self { words, bits: vec![0; count * words] }
    }

    fn add(&mut self, a: usize, b: usize) {
        self.bits[a * self.words + b / 64] |= 1 << (b % 64);
        self.bits[b * self.words + a / 64] |= 1 << (a % 64);
    }

    fn of(&self, a: usize) -> &[u64] {
        &self.bits[a * self.words..(a + 1) * self.words]
    }
}

fn has(bits: &[u64], at: usize) -> bool {
    bits[at / 64] >> (at % 64) & 1 == 1
}

/// Which views belong together, by their places.
fn components(sights: &[Sight]) -> Vec<Vec<usize>> {
    let known = by_node(sights);
    let count = sights.len();
    let (mut parted, mut apart) = (Pairs::new(count), Pairs::new(count));
    for (at, sight) in sights.iter().enumerate() {
        let place = |node_id: &NodeId| known.get(node_id).map(|(other, _)| *other);
        let standing = sight.partings.iter().filter(|parting| stands(parting, &known));
        for other in standing.filter_map(|parting| place(&parting.node_id)) {
            parted.add(at, other);
            apart.add(at, other);
        }
        sight.missing.iter().filter_map(place).for_each(|other| apart.add(at, other));
        if sight.under.is_some() {
            for other in (0..count).filter(|other| *other != at) {
                parted.add(at, other);
                apart.add(at, other);
            }
        }
    }
    let mut left: Vec<usize> = (0..count).collect();
    let mut parts = Vec::new();
    while let Some(first) = left.pop() {
        let mut part = vec![first];
        let mut next = 0;
        while let Some(&at) = part.get(next) {
            next += 1;
            let (stay, join): (Vec<usize>, Vec<usize>) = left.iter().partition(|other| has(apart.of(at), **other));
            left = stay;
            part.extend(join);
        }
        divide(part, sights, &parted, &mut parts);
    }
    parts
}

/// Divides nodes that hang together so that no two which have parted stay in one part.
///
/// They hang together by those that parted from nobody: one that started again meanwhile, or that both sides found soon
/// enough. Who parted from most is placed first, and each goes to those who parted from the same nodes as it did; who
/// parted from none of them goes to the larger part.
fn divide(mut nodes: Vec<usize>, sights: &[Sight], parted: &Pairs, parts: &mut Vec<Vec<usize>>) {
    struct Part {
        nodes: Vec<usize>,
        parted: Vec<u64>,
    }
    let from = |at: usize| parted.of(at).iter().map(|word| word.count_ones()).sum::<u32>();
    nodes.sort_by_cached_key(|at| (Reverse(from(*at)), sights[*at].seniority));
    let mut made: Vec<Part> = Vec::new();
    for at in nodes {
        let own = parted.of(at);
        let alike = |part: &Part| part.parted.iter().zip(own).map(|(a, b)| (a & b).count_ones()).sum::<u32>();
        let fits = made.iter_mut().filter(|part| !has(&part.parted, at));
        // Of equal ones the last: `rev` makes it the first that was made.
        let Some(part) = fits.rev().max_by_key(|part| (alike(part), part.nodes.len())) else {
            made.push(Part { nodes: vec![at], parted: own.to_vec() });
            continue;
        };
        part.nodes.push(at);
        part.parted.iter_mut().zip(own).for_each(|(all, own)| *all |= own);
    }
    parts.extend(made.into_iter().map(|part| part.nodes));
}
