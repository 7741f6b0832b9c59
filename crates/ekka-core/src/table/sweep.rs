//! Tombstones: when one may be dropped, so that what it deleted does not come back.
//!
//! Every member, down ones included, has reported that it holds it; and this node holds every operation that those
//! reports name, since an older put of another origin may still be on its way to it (schedule M1); what a member has folded
//! it names no more, so its report counts only where both have folded the same. Of those dropped the newest stamp is kept:
//! what a cleaned member brings from below it has an unknown fate (schedule S1-10). A row that has expired is as good as a
//! tombstone, once all clocks agree that it has, this one among them: one that was not compared with those of the others,
//! or is further ahead of them than they take, drops none.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::available::Table;
use super::merge::stamp;
use super::vector::{Dot, Numbers, OpNumber, OriginIndex};
use super::version::Version;
use crate::id::{Guid, Incarnation, NodeId};
use crate::limits::TABLE_EXPIRED_KEPT;
use crate::time::Wall;

/// What one start of a member said that it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Said {
    guid: Guid,
    held: Numbers,
    stored: Numbers,
    /// Over what it has folded.
    digest: u64,
}

/// The members, and what they reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    ids: BTreeSet<NodeId>,
    latest: BTreeMap<NodeId, Said>,
    /// The oldest report that names operations which are not held here yet.
    waiting: BTreeMap<NodeId, Said>,
    /// Of each member the newest report of which everything is held here.
    settled: BTreeMap<NodeId, Numbers>,
    /// Of those the newest that lacks nothing that is folded here, and has folded nothing that may be lacking here.
    whole: BTreeMap<NodeId, Numbers>,
}

impl Members {
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.ids.iter().copied()
    }

    /// How much of an origin a member has stored, by its latest report.
    pub(super) fn stored(&self, member: NodeId, origin: OriginIndex) -> Option<OpNumber> {
        self.latest.get(&member).map(|said| said.stored.get(origin))
    }

    /// The same, by the newest report of which everything is held here.
    pub(super) fn settled(&self, member: NodeId, origin: OriginIndex) -> Option<OpNumber> {
        self.settled.get(&member).map(|stored| stored.get(origin))
    }

    /// The most of an origin that any other member has stored, by its latest report, of those that count.
    pub(super) fn most_stored(&self, origin: OriginIndex, counts: impl Fn(NodeId) -> bool) -> OpNumber {
        let counted = self.latest.iter().filter(|(node, _)| counts(**node));
        counted.map(|(_, said)| said.stored.get(origin)).max().unwrap_or(0)
    }

    pub(super) fn report(&mut self, from: Incarnation, held: Numbers, stored: Numbers, digest: u64) {
        let said = Said { guid: from.guid, held, stored, digest };
        if self.waiting.get(&from.node_id).is_none_or(|waiting| waiting.guid != from.guid) {
            self.waiting.insert(from.node_id, said.clone());
        }
        self.latest.insert(from.node_id, said);
    }

    /// Takes note of the reports of which everything is held by now.
    fn settle(&mut self, (held, digest): (&Numbers, u64), early: bool) {
        for (member, latest) in &self.latest {
            let waiting = self.waiting.get(member);
            let said = [waiting, Some(latest)].into_iter().flatten();
            let mut said = said.filter(|said| early || held.covers_all(&said.held)).rev();
            let newest = said.next();
            let whole = newest.into_iter().chain(said).find(|said| early || said.digest == digest);
            replace(&mut self.settled, *member, newest.map(|said| &said.stored));
            replace(&mut self.whole, *member, whole.map(|said| &said.stored));
            if waiting.is_some_and(|said| said != latest && held.covers_all(&said.held)) {
                self.waiting.insert(*member, latest.clone());
            }
        }
    }
}

/// Most ticks change nothing: then nothing is cloned.
fn replace(of: &mut BTreeMap<NodeId, Numbers>, member: NodeId, stored: Option<&Numbers>) {
    if let Some(stored) = stored.filter(|stored| of.get(&member) != Some(stored)) {
        of.insert(member, stored.clone());
    }
}

impl Table {
    /// Who is a member, down ones and newcomers included. Until it is said for the first time nothing is dropped.
    pub fn members_are(&mut self, members: impl IntoIterator<Item = NodeId>) {
        let ids: BTreeSet<NodeId> = members.into_iter().collect();
        self.members.latest.retain(|id, _| ids.contains(id));
        self.members.waiting.retain(|id, _| ids.contains(id));
        self.members.settled.retain(|id, _| ids.contains(id));
        self.members.whole.retain(|id, _| ids.contains(id));
        self.members.ids = ids;
    }

    /// Drops the tombstones that no older version can pass any more.
    pub(super) fn sweep(&mut self, wall: Wall) {
        let early = self.faults.drops_early;
        self.members.settle((&self.held, self.over.digest()), early);
        if self.keeps_tombstones || !self.members.ids.contains(&self.me.node_id) {
            return;
        }
        let me = self.me.node_id;
        let connected = |id: NodeId| self.peers.map.keys().any(|peer| peer.node_id == id);
        let unseen = self.faults.drops_without_the_down;
        let others = self.members.ids.iter().filter(|id| **id != me && (!unseen || connected(**id)));
        let Some(said) = others.map(|id| self.members.whole.get(id)).collect::<Option<Vec<_>>>() else { return };
        // What is folded was held by all when it was, and is named by no report since.
        let folded = |origin| self.over.is_folded(origin).then(|| self.held.get(origin));
        let least = |origin| said.iter().map(|numbers| numbers.get(origin)).fold(self.stored.get(origin), Ord::min);
        let agreed = |origin| folded(origin).unwrap_or_else(|| least(origin));
        let kept = u64::try_from(TABLE_EXPIRED_KEPT.as_millis()).unwrap_or(u64::MAX);
        let (alone, latest) = (self.members.ids.len() == 1, self.clock.latest(wall));
        let compared = alone || self.clock.is_compared();
        let expired_everywhere = |at: Wall| compared && at.as_millis().saturating_add(kept) <= latest.as_millis();
        let mut dropped: Vec<(Dot, Version)> = Vec::new();
        let mut from = Dot { origin: OriginIndex(0), number: 0 };
        while let Some((first, _)) = self.graves.range(from..).next() {
            let origin = first.origin;
            let last = agreed(origin);
            let of_origin = self.graves.range(Dot { origin, number: 0 }..=Dot { origin, number: last });
            let may = of_origin
                .filter(|(_, version)| version.is_delete() || version.expires_at().is_some_and(expired_everywhere));
            dropped.extend(may.map(|(dot, version)| (*dot, version.clone())));
            from = Dot { origin: OriginIndex(origin.0 + 1), number: 0 };
        }
        for (dot, version) in dropped {
            self.graves.remove(&dot);
            self.rows.remove(version.key());
            self.bytes -= version.size();
            self.raise_floor(&version);
            self.dropped += 1;
        }
        if self.faults.expired_dropped {
            self.drop_expired();
        }
    }

    /// Whether no tombstone is dropped for now: another cluster goes into this one, and what its members bring has not been
    /// here before, however old it is, unless something was dropped meanwhile.
    pub fn keep_tombstones(&mut self, keep: bool) {
        // The first time it counts: what a cluster brings that came before may have been deleted and forgotten since.
        if keep && self.floor_before.is_none() {
            self.floor_before = Some(self.gc_floor);
        }
        self.keeps_tombstones = keep;
    }

    pub(super) fn raise_floor(&mut self, version: &Version) {
        if !self.faults.no_floor {
            self.gc_floor = self.gc_floor.max(stamp(&self.origins, version));
        }
    }

    fn drop_expired(&mut self) {
        let expired: Vec<Dot> =
            self.graves.iter().filter(|(_, version)| !version.is_delete()).map(|(dot, _)| *dot).collect();
        for dot in expired {
            if let Some(version) = self.graves.remove(&dot) {
                self.bytes -= version.size();
                self.rows.remove(version.key());
            }
        }
    }
}
