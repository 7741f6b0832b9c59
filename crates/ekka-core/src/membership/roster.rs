//! Roster entries merge by the larger number: commutative, associative, idempotent.

use alloc::vec::Vec;

use super::{Record, RemovalCause, Roster, Seat};
use crate::id::{Guid, Incarnation, NodeId};
use crate::limits::{MEMBERS_MAX, VOTERS_MAX};
use crate::view::Role;

impl Seat {
    /// Orders seats of one node: the larger wins. A removal beats an admission of the same number by the same node.
    fn rank(&self) -> (u64, NodeId, u8) {
        let cause = match self.removed {
            None => 0,
            Some(RemovalCause::Leave) => 1,
            Some(RemovalCause::Force) => 2,
            Some(RemovalCause::Autoclean) => 3,
        };
        (self.number, self.by, cause)
    }
}

impl Record {
    /// The first start of the process that runs this one.
    #[must_use]
    pub fn process(&self) -> Guid {
        if self.process == Guid::MIN { self.id.guid } else { self.process }
    }

    /// Whether this record is later than the other of the same node.
    #[must_use]
    pub fn is_later_than(&self, other: &Self) -> bool {
        (self.id.guid, self.version) > (other.id.guid, other.version)
    }
}

/// Lets every bit of a hash depend on every other (the finaliser of MurmurHash3). Entries are summed: without this the
/// differences of a dozen entries whose versions rose by one cancelled each other, and two rosters never met again.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

impl Roster {
    /// Whether this node is a member.
    #[must_use]
    pub fn is_member(&self, node_id: NodeId) -> bool {
        self.seats.get(&node_id).is_some_and(|seat| seat.removed.is_none())
    }

    /// All members, the oldest first.
    #[must_use]
    pub fn by_seniority(&self) -> Vec<NodeId> {
        let mut members: Vec<(u64, NodeId)> =
            self.seats.iter().filter(|(_, s)| s.removed.is_none()).map(|(id, s)| (s.number, *id)).collect();
        members.sort_unstable();
        members.into_iter().map(|(_, id)| id).collect()
    }

    /// How many members there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.seats.values().filter(|seat| seat.removed.is_none()).count()
    }

    /// One more than the largest number of a seat.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.seats.values().map(|seat| seat.number).max().unwrap_or(0).saturating_add(1)
    }

    /// Who votes: all cores up to 2; then the largest odd number not above the number of cores and 7, the oldest
    /// first. (A hint of the gossip until the durable group commits its voters.)
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.voters_among(&self.by_seniority())
    }

    /// The same of members that are in the order of their seniority already.
    pub(super) fn voters_among(&self, by_seniority: &[NodeId]) -> Vec<NodeId> {
        let votes = |id: &NodeId| self.records.get(id).is_none_or(|r| r.role != Role::Replicant);
        // One core more than may vote settles the number, however many follow.
        let mut cores: Vec<NodeId> = by_seniority.iter().copied().filter(votes).take(VOTERS_MAX + 1).collect();
        let odd = if cores.len() > 2 { (cores.len() - 1) | 1 } else { cores.len() };
        let odd = if odd > cores.len() { odd - 2 } else { odd };
        cores.truncate(odd.min(VOTERS_MAX));
        cores
    }

    /// Takes a seat; whether it changed something.
    pub fn merge_seat(&mut self, node_id: NodeId, seat: Seat) -> bool {
        match self.seats.get(&node_id) {
            Some(old) if old.rank() >= seat.rank() => false,
            None if self.seats.len() >= MEMBERS_MAX => false,
            _ => {
                self.seats.insert(node_id, seat);
                true
            }
        }
    }

    /// Whether this start was of a copied directory.
    #[must_use]
    pub fn is_disproved(&self, id: Incarnation) -> bool {
        self.copies.get(&id.node_id) == Some(&id.guid)
    }

    /// A start turned out to be of a copied directory: what its record said is forgotten. Whether that was news.
    pub fn disprove(&mut self, node_id: NodeId, copy: Guid) -> bool {
        if !self.seats.contains_key(&node_id) || self.copies.get(&node_id).is_some_and(|known| *known >= copy) {
            return false;
        }
        self.copies.insert(node_id, copy);
        if let Some(record) = self.records.get_mut(&node_id)
            && record.id.guid == copy
        {
            // Whatever the node itself says is later than this.
            record.id.guid = Guid::MIN;
            record.version = 0;
        }
        true
    }

    /// Takes a record; whether it changed something.
    pub fn merge_record(&mut self, record: &Record) -> bool {
        if self.is_disproved(record.id) {
            return false;
        }
        match self.records.get(&record.id.node_id) {
            Some(old) if !record.is_later_than(old) => false,
            None if self.records.len() >= MEMBERS_MAX => false,
            _ => {
                self.records.insert(record.id.node_id, record.clone());
                true
            }
        }
    }

    /// A digest of everything that is exchanged: the sum of the digests of all entries.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.seats.keys().fold(0, |sum: u64, id| sum.wrapping_add(self.entry_digest(*id)))
    }

    /// A digest of one node's seat and the version of its record; 0 where it has no seat.
    #[must_use]
    pub fn entry_digest(&self, node_id: NodeId) -> u64 {
        let Some(seat) = self.seats.get(&node_id) else { return 0 };
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |value: u128| {
            for half in value.to_le_bytes().as_chunks::<8>().0 {
                hash = (hash ^ u64::from_le_bytes(*half)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
            }
        };
        let (number, by, cause) = seat.rank();
        eat(node_id.as_u128());
        eat(by.as_u128());
        eat((u128::from(number) << 8) | u128::from(cause));
        if let Some(record) = self.records.get(&node_id) {
            eat(record.id.guid.as_u128());
            eat(u128::from(record.version));
        }
        eat(self.copies.get(&node_id).map_or(0, |copy| copy.as_u128()));
        mixed(hash)
    }

    /// The part of this roster that says these nodes.
    #[must_use]
    pub fn part(&self, nodes: &[NodeId]) -> Self {
        Self {
            cluster_id: self.cluster_id,
            seats: nodes.iter().filter_map(|id| Some((*id, *self.seats.get(id)?))).collect(),
            records: nodes.iter().filter_map(|id| Some((*id, self.records.get(id)?.clone()))).collect(),
            copies: nodes.iter().filter_map(|id| Some((*id, *self.copies.get(id)?))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seats() -> impl Strategy<Value = Vec<(u128, Seat)>> {
        let seat = (0u64..6, 0u128..4, 0u8..3).prop_map(|(number, by, removed)| Seat {
            number,
            by: NodeId::from_u128(by),
            removed: match removed {
                0 => None,
                1 => Some(RemovalCause::Leave),
                _ => Some(RemovalCause::Force),
            },
        });
        prop::collection::vec((0u128..4, seat), 0..12)
    }

    fn merged<'a>(parts: impl Iterator<Item = &'a (u128, Seat)>) -> Roster {
        let mut roster = Roster::default();
        for (id, seat) in parts {
            roster.merge_seat(NodeId::from_u128(*id), *seat);
        }
        roster
    }

    proptest! {
        #[test]
        fn seats_merge_the_same_in_any_order_and_any_number_of_times(parts in seats()) {
            let once = merged(parts.iter());
            let backwards = merged(parts.iter().rev());
            let twice = merged(parts.iter().chain(parts.iter()));
            prop_assert_eq!(&once, &backwards);
            prop_assert_eq!(&once, &twice);
            prop_assert_eq!(once.digest(), backwards.digest());
        }
    }

    #[test]
    fn rosters_that_differ_in_some_versions_differ_in_their_digest() {
        let record = |i: u128, version| Record {
            id: Incarnation { node_id: NodeId::from_u128(i << 64), guid: Guid::from_u128(i) },
            version,
            name: "a@b".parse().unwrap(),
            endpoint: "a@b".parse::<crate::id::NodeName>().unwrap().endpoint(4370).unwrap(),
            role: Role::Core,
            status: crate::view::Status::Up,
            software: "0".into(),
            start_counter: 1,
            started: crate::time::Wall::from_millis(1),
            tags: alloc::collections::BTreeMap::new(),
            store: crate::id::StoreId::MIN,
            process: Guid::MIN,
        };
        let mut digests = alloc::collections::BTreeSet::new();
        for raised in 0u32..4096 {
            let mut roster = Roster::default();
            for i in 0u32..12 {
                let seat = Seat { number: u64::from(i), by: NodeId::MIN, removed: None };
                let record = record(u128::from(i) + 1, 1 + u64::from(raised >> i & 1));
                roster.merge_seat(record.id.node_id, seat);
                roster.merge_record(&record);
            }
            assert!(digests.insert(roster.digest()), "versions {raised:012b} look like others");
        }
    }

    #[test]
    fn voters_are_all_up_to_two_then_the_largest_odd_number_up_to_seven() {
        for (members, voters) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (7, 7), (8, 7), (40, 7)] {
            let mut roster = Roster::default();
            for i in 1..=members {
                let seat = Seat { number: i, by: NodeId::MIN, removed: None };
                roster.merge_seat(NodeId::from_u128(u128::from(i)), seat);
            }
            assert_eq!(roster.voters().len(), voters, "{members} members");
        }
    }
}
