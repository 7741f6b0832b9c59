//! How far a table and those of its peers are with what the others hold, as far as they have said it.

use super::available::Table;
use super::vector::{OpNumber, OriginIndex, Vector};
use crate::id::Incarnation;

impl Table {
    /// How much a peer holds of this incarnation's operations: in its rows, and stored.
    pub(super) fn peer_holds(&self, id: Incarnation) -> Option<(OpNumber, OpNumber)> {
        self.peers.map.get(&id).map(|peer| (peer.applied, peer.stored))
    }

    /// Whether all that a connected peer said that it holds is held here too; `None` before it has said anything.
    #[must_use]
    pub fn is_abreast_of(&self, id: Incarnation) -> Option<bool> {
        let peer = self.peers.map.get(&id)?;
        peer.heard?;
        Some(self.taking.is_none() && peer.digest == self.over.digest() && self.held.covers_all(&peer.held))
    }

    /// Who is connected.
    pub fn connected(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.peers.map.keys().copied()
    }

    /// How many of this incarnation's operations a peer has not said to hold; `None` where it is not connected.
    #[must_use]
    pub fn lag_of(&self, id: Incarnation) -> Option<OpNumber> {
        self.peers.map.get(&id).map(|peer| self.held.get(self.here).saturating_sub(peer.applied))
    }

    /// How many of the operations up to a vector of this table a peer has not said to hold; `None` where it is not
    /// connected, or has not said anything yet.
    #[must_use]
    pub fn missing_at(&self, id: Incarnation, goal: &Vector) -> Option<u64> {
        let peer = self.peers.map.get(&id)?;
        peer.heard?;
        let lacks = |(origin, number): (Incarnation, OpNumber)| {
            // What was folded since is held by every member.
            let place = self.origins.find(origin).filter(|place| !self.over.is_folded(*place));
            let applied = |place: OriginIndex| if place == self.here { peer.applied } else { 0 };
            place.map_or(0, |place| number.saturating_sub(peer.held.get(place).max(applied(place))))
        };
        Some(goal.iter().map(lacks).fold(0, u64::saturating_add))
    }

    /// How many operations that a peer said to hold are not held here; `None` as in [`Table::missing_at`].
    #[must_use]
    pub fn missing_from(&self, id: Incarnation) -> Option<u64> {
        let peer = self.peers.map.get(&id)?;
        peer.heard?;
        let missing = peer.held.iter().map(|(origin, number)| number.saturating_sub(self.held.get(origin)));
        Some(missing.fold(0, u64::saturating_add))
    }
}
