//! Origins that are over: how their numbers are agreed on, so that the vectors do not grow with every restart.
//!
//! When an incarnation is gone, every member reports how much of it it holds *after* having learnt that, and takes no
//! more than the highest report from then on. When all hold that much the origin leaves the vectors; its last number is
//! kept, so that what a cleaned member brings above it is still new (schedule M6).
//!
//! A node that starts empty, or joins, afterwards would not see from any vector that it lacks what such origins wrote. So
//! reports carry a digest of what is folded, and one that differs is a reason to pull.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::available::Table;
use super::copy::Taking;
use super::vector::{Dot, OpId, OpNumber, OriginIndex, Origins};
use crate::id::{Guid, Incarnation, NodeId};

/// What is known of origins that are over.
#[derive(Clone, Debug, Default)]
pub(super) struct Over {
    /// The newest incarnation of each node that is gone; all before it are too.
    gone: BTreeMap<NodeId, Guid>,
    /// How much of an origin each member reported, by which of its starts.
    reports: BTreeMap<OriginIndex, BTreeMap<NodeId, (Guid, OpNumber)>>,
    /// With the number that is in the sum.
    folded: BTreeMap<OriginIndex, OpNumber>,
    /// What is not folded here, as this start has not heard all members, but by a peer, with the number that is in the sum.
    adopted: BTreeMap<OriginIndex, OpNumber>,
    /// A sum over what is folded, by which two nodes see that one of them lacks something that is in no vector.
    digest: u64,
}

/// A number for an origin and its last operation.
pub(super) fn mixed(last: OpId) -> u64 {
    let (node, guid) = (last.origin.node_id.as_u128(), last.origin.guid.as_u128());
    let words = [node, node >> 64, guid, guid >> 64, u128::from(last.number)];
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
        let word = u64::try_from(word & u128::from(u64::MAX)).expect("masked");
        (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

impl Over {
    pub(super) fn is_gone(&self, origin: Incarnation) -> bool {
        self.gone.get(&origin.node_id).is_some_and(|guid| origin.guid <= *guid)
    }

    pub(super) fn is_folded(&self, origin: OriginIndex) -> bool {
        self.folded.contains_key(&origin)
    }

    /// Up to which number operations of an origin that is over may be taken.
    fn limit(&self, origin: OriginIndex) -> OpNumber {
        self.reports.get(&origin).and_then(|by| by.values().map(|(_, number)| *number).max()).unwrap_or(0)
    }

    /// Whether an operation may be taken, as far as its origin goes.
    pub(super) fn allows(&self, origins: &Origins, dot: Dot) -> bool {
        !self.is_gone(origins.get(dot.origin)) || dot.number <= self.limit(dot.origin)
    }

    pub(super) fn report(&mut self, from: Incarnation, origin: OriginIndex, number: OpNumber) {
        let said = self.reports.entry(origin).or_default().entry(from.node_id).or_insert((from.guid, number));
        if said.0 < from.guid {
            *said = (from.guid, number);
        } else if said.0 == from.guid {
            said.1 = said.1.max(number);
        }
    }

    fn has_reported(&self, origin: OriginIndex, member: NodeId) -> bool {
        self.reports.get(&origin).is_some_and(|by| by.contains_key(&member))
    }

    /// Leaves an origin out of the vectors from now on; or, where that is done, counts what came of it since.
    pub(super) fn fold(&mut self, origin: OriginIndex, last: OpId) {
        let counted = self.adopted.remove(&origin).or(self.folded.get(&origin).copied());
        let counted = self.count(counted.unwrap_or(0), last);
        self.folded.insert(origin, counted);
        // Where more of it was reported that is on its way, the next one need not wait to hear of that again.
        if self.limit(origin) <= last.number {
            self.reports.remove(&origin);
        }
    }

    /// A peer has folded it by this number. It stays in the vectors, so that others hear of it whose fold was by less.
    fn adopt(&mut self, origin: OriginIndex, last: OpId) {
        let counted = self.count(self.adopted.get(&origin).copied().unwrap_or(0), last);
        self.adopted.insert(origin, counted);
    }

    fn count(&mut self, counted: OpNumber, last: OpId) -> OpNumber {
        // One that wrote nothing is in no vector, and nobody can learn of it later: it is nothing that is lacked.
        let part = |number| if number > 0 { mixed(OpId { number, ..last }) } else { 0 };
        if last.number <= counted {
            return counted;
        }
        self.digest = self.digest.wrapping_sub(part(counted)).wrapping_add(part(last.number));
        last.number
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

impl Table {
    /// This incarnation, and all before it of its node, are over. It counts for origins that are met later, too.
    pub fn gone(&mut self, id: Incarnation) {
        let newest = self.over.gone.entry(id.node_id).or_insert(id.guid);
        *newest = (*newest).max(id.guid);
        self.peers.put_off.forget(id);
        let me = self.me;
        for (place, origin) in self.origins_over() {
            // What this start goes on to write is reported by the next one, once it has taken over.
            if origin.node_id == id.node_id && origin != me {
                let number = self.here_of(place);
                self.over.report(me, place, number);
            }
        }
        self.giver_may_be_gone();
    }

    /// Origins that are over, and still in the vectors.
    fn origins_over(&self) -> Vec<(OriginIndex, Incarnation)> {
        let places = (0u32..).map(OriginIndex).zip(self.origins.list());
        let over = places.filter(|(place, origin)| self.over.is_gone(**origin) && !self.over.is_folded(*place));
        over.map(|(place, origin)| (place, *origin)).collect()
    }

    /// What a report says of them.
    pub(super) fn closing(&mut self) -> Vec<OpId> {
        let me = self.me;
        let mut closing = Vec::new();
        for (place, origin) in self.origins_over().into_iter().filter(|(_, origin)| *origin != me) {
            // Met only after it was known to be over: then this is the first report. Also of what is not stored yet: if it
            // is later, nobody may have folded without it, and if not the next start says so.
            let number = self.here_of(place);
            self.over.report(me, place, number);
            closing.push(OpId { origin, number });
        }
        closing
    }

    /// How much of an origin is here, that of a full copy included which is being merged.
    fn here_of(&self, place: OriginIndex) -> OpNumber {
        let merging = self.taking.as_ref().and_then(Taking::merging);
        merging.map_or(0, |merging| merging.theirs().get(place)).max(self.held.get(place))
    }

    /// Folds the origins of which all members hold what any of them reported. Where a peer has heard them all, and this
    /// start has not, because it is younger and one of them is down now, that is adopted: it lacks nothing.
    pub(super) fn fold_all(&mut self) {
        for (place, origin) in self.origins_over() {
            let last = OpId { origin, number: self.held.get(place) };
            if self.may_fold(place) {
                self.over.fold(place, last);
                self.events.push(super::Event::Folded { last });
            } else if self.peers.map.values().any(|peer| peer.folded.contains(&last)) {
                self.over.adopt(place, last);
            }
        }
    }

    fn may_fold(&self, place: OriginIndex) -> bool {
        let mine = self.stored.get(place);
        let others = || self.members.ids().filter(|member| *member != self.me.node_id);
        if self.faults.folds_by_last_known {
            return others().all(|member| self.members.stored(member, place) == Some(mine));
        }
        let me = self.over.has_reported(place, self.me.node_id);
        let all = me && others().all(|member| self.over.has_reported(place, member));
        let last = self.over.limit(place);
        // By reports of which everything is held here: so a tombstone of this origin may be dropped from then on.
        all && mine >= last && others().all(|member| self.members.settled(member, place).is_some_and(|n| n >= last))
    }

    /// Counts what came of an origin that is folded.
    pub(super) fn count_folded(&mut self, place: OriginIndex) {
        if self.over.is_folded(place) {
            let last = OpId { origin: self.origins.get(place), number: self.held.get(place) };
            self.over.fold(place, last);
        }
    }

    /// The last numbers of all origins that are folded.
    pub(super) fn folded(&self) -> Vec<OpId> {
        let folded = self.over.folded.keys();
        folded.map(|place| OpId { origin: self.origins.get(*place), number: self.held.get(*place) }).collect()
    }

    /// Origins are folded elsewhere, and what they wrote has come with a full copy; so has what came of others.
    pub(super) fn adopt_folded(&mut self, folded: &[OpId]) {
        for last in folded {
            let place = self.origins.place(last.origin);
            self.held.raise(place, last.number);
            self.over.fold(place, *last);
        }
        for place in self.over.folded.keys().copied().collect::<Vec<_>>() {
            self.count_folded(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reported_of_a_folded_origin_is_taken_in_a_row() {
        let id = |node| Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) };
        let (mut over, mut origins) = (Over::default(), Origins::default());
        let origin = origins.place(id(3));
        over.gone.insert(id(3).node_id, id(3).guid);
        let last = |number| OpId { origin: id(3), number };
        over.report(id(2), origin, 1);
        over.fold(origin, last(1));
        assert!(!over.allows(&origins, Dot { origin, number: 2 }));
        over.report(id(2), origin, 3);
        for number in [2, 3] {
            assert!(over.allows(&origins, Dot { origin, number }), "{number}");
            over.fold(origin, last(number));
        }
        assert!(!over.allows(&origins, Dot { origin, number: 4 }) && over.reports.is_empty());
    }
}
