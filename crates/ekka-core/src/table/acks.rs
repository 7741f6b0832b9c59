//! When a write is acknowledged: how many nodes have to have it, and what the answer says.

use serde::{Deserialize, Serialize};

use super::available::Table;
use crate::schema::Storage;
use super::vector::OpNumber;
use crate::id::Incarnation;

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
#[error("the write is on one node only: no other node is up")]
pub struct TooFewCopies;

impl Table {
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
        if self.stored.get(self.here) < number {
            return None;
        }
        let others = up.iter().filter(|id| **id != self.me);
        let all = others.clone().count();
        let has = others.filter(|id| self.peer_holds(**id).is_some_and(|(_, stored)| stored >= number)).count();
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
        enough.then_some(Ok(Acknowledged { copies, durable: self.storage == Storage::Disc, lonely }))
    }

    /// The highest number that is acknowledged in this way: whoever waits for a lower one has its answer.
    #[must_use]
    pub fn watermark(&self, ack: Ack, up: &[Incarnation]) -> OpNumber {
        let mine = self.stored.get(self.here);
        let others = up.iter().filter(|id| **id != self.me);
        let stored = others.map(|id| self.peer_holds(*id).map_or(0, |(_, stored)| stored));
        match ack {
            Ack::Local => mine,
            Ack::Two => stored.max().map_or(mine, |best| best.min(mine)),
            Ack::All => stored.min().map_or(mine, |worst| worst.min(mine)),
        }
    }
}
