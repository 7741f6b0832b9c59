//! When a write is acknowledged: how many nodes have to have it, and what the answer says.

use serde::{Deserialize, Serialize};

use super::available::Table;
use super::owned::{OwnedTable, Sequence};
use super::vector::OpNumber;
use crate::id::{Incarnation, NodeId};
use crate::schema::Storage;

/// How many nodes have to have a write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum Ack {
    /// This one.
    Local,
    /// This one and one more that is up, if there is one.
    #[default]
    Two,
    /// Every node that is up.
    All,
}

/// What the answer to a write says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acknowledged {
    /// How many nodes have it, this one included.
    pub copies: u32,
    /// Whether each of them has it so that it survives the loss of power.
    pub durable: bool,
    /// Whether there are fewer than two, although two were asked for: no other node is up (schedule S2-12).
    pub lonely: bool,
}

/// Two copies were asked for, strictly, and no other node is up. The write is in the rows of this node, and will get to
/// the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the write is on one node only: no other node is up, or none of them has room on its disc")]
pub struct TooFewCopies;

/// Who holds how much of what this node has written.
struct Copies<P> {
    /// On this node, so that it survives what the storage promises.
    mine: OpNumber,
    /// On each other node that is up; one that is not connected holds nothing, as far as is known.
    theirs: P,
    durable: bool,
}

impl<P: Iterator<Item = OpNumber>> Copies<P> {
    fn answer(self, number: OpNumber, ack: Ack, strict: bool) -> Option<Result<Acknowledged, TooFewCopies>> {
        if self.mine < number {
            return None;
        }
        let (mut all, mut has) = (0usize, 0usize);
        for stored in self.theirs {
            all += 1;
            has += usize::from(stored >= number);
        }
        let lonely = all == 0 && ack != Ack::Local;
        let enough = match ack {
            Ack::Local => true,
            Ack::Two => has >= 1 || all == 0,
            Ack::All => has == all,
        };
        if lonely && strict {
            return Some(Err(TooFewCopies));
        }
        let copies = u32::try_from(has + 1).unwrap_or(u32::MAX);
        enough.then_some(Ok(Acknowledged { copies, durable: self.durable, lonely }))
    }

    fn watermark(self, ack: Ack) -> OpNumber {
        let Self { mine, theirs, .. } = self;
        match ack {
            Ack::Local => mine,
            Ack::Two => theirs.max().map_or(mine, |best| best.min(mine)),
            Ack::All => theirs.min().map_or(mine, |worst| worst.min(mine)),
        }
    }
}

impl Table {
    fn copies(&self, up: &[Incarnation]) -> Copies<impl Iterator<Item = OpNumber>> {
        let others = up.iter().filter(|id| **id != self.me);
        let unheard = self.faults.unheard_counts.then(|| self.held.get(self.here));
        let theirs = others.map(move |id| unheard.or(self.peer_holds(*id).map(|(_, stored)| stored)).unwrap_or(0));
        Copies { mine: self.stored.get(self.here), theirs, durable: self.storage == Storage::Disc }
    }

    /// The answer to a write of this incarnation; `None` while it has to be waited for.
    ///
    /// `up` are the other nodes that are up. A node that is up and not connected holds nothing yet, as far as is known.
    ///
    /// # Errors
    /// Where `strict` asks for a second copy and nobody is there to have it.
    pub fn answer(
        &self,
        number: OpNumber,
        ack: Ack,
        strict: bool,
        up: &[Incarnation],
    ) -> Option<Result<Acknowledged, TooFewCopies>> {
        self.copies(up).answer(number, ack, strict)
    }

    /// The highest number that is acknowledged in this way: whoever waits for a lower one has its answer.
    #[must_use]
    pub fn watermark(&self, ack: Ack, up: &[Incarnation]) -> OpNumber {
        self.copies(up).watermark(ack)
    }

    /// Whether all in front of a place of the log survives what the table's storage promises.
    #[must_use]
    pub fn is_synced(&self, position: u64) -> bool {
        self.synced >= position
    }

    /// How many operations, of whatever origin, no other member is known to have: of a table in memory only those members
    /// count that are up, for what others held ends with them.
    #[must_use]
    pub fn only_here(&self, up: &[Incarnation]) -> OpNumber {
        let counts = |node: NodeId| self.storage == Storage::Disc || up.iter().any(|id| id.node_id == node);
        let acked = self.peers.map.keys().filter_map(|id| self.peer_holds(*id)).map(|(_, stored)| stored).max();
        self.held
            .iter()
            .filter(|(origin, _)| !self.over.is_folded(*origin))
            .map(|(origin, number)| {
                let acked = acked.filter(|_| origin == self.here).unwrap_or(0);
                number.saturating_sub(acked.max(self.members.most_stored(origin, counts)))
            })
            .sum()
    }

    /// Whether each of these has stored all that this node holds, as far as is known; one that is not connected has not.
    #[must_use]
    pub fn is_held_by(&self, peers: &[Incarnation]) -> bool {
        peers.iter().filter(|id| **id != self.me).all(|id| {
            let Some((_, acked)) = self.peer_holds(*id) else { return false };
            let mut all = self.held.iter().filter(|(origin, _)| !self.over.is_folded(*origin));
            all.all(|(origin, number)| {
                let acked = if origin == self.here { acked } else { 0 };
                number <= acked.max(self.members.stored(id.node_id, origin).unwrap_or(0))
            })
        })
    }
}

impl OwnedTable {
    fn copies(&self, up: &[Incarnation]) -> Copies<impl Iterator<Item = OpNumber>> {
        let me = self.me();
        let theirs = up.iter().filter(move |id| **id != me).map(|id| self.acked(*id));
        Copies { mine: self.sequence(), theirs, durable: false }
    }

    /// The answer to an operation of this node; `None` while it has to be waited for. `up` are the other nodes that are up.
    ///
    /// # Errors
    /// Where `strict` asks for a second copy and nobody is there to have it.
    pub fn answer(
        &self,
        sequence: Sequence,
        ack: Ack,
        strict: bool,
        up: &[Incarnation],
    ) -> Option<Result<Acknowledged, TooFewCopies>> {
        self.copies(up).answer(sequence, ack, strict)
    }

    /// The latest operation that is acknowledged in this way.
    #[must_use]
    pub fn watermark(&self, ack: Ack, up: &[Incarnation]) -> Sequence {
        self.copies(up).watermark(ack)
    }
}
