//! One open table, whatever its kind: what links and the hub do with it.

use std::sync::Arc;

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::schema::{Schema, Storage};
use ekka_core::table::{Body, Hlc, Malformed, PeerClocks};
use ekka_core::time::{Now, Wall};
use tokio::sync::watch;

use super::acks::Answer;
use super::available::AvailableSlot;
use super::committed::Committed;
use super::figures::Figures;
use super::owned::OwnedSlot;
use super::quorum::QuorumSlot;
use crate::answers::Answers;

/// An open table.
#[derive(Clone)]
pub enum Slot {
    /// An `available` one.
    Available(Arc<AvailableSlot>),
    /// An `owned` one.
    Owned(Arc<OwnedSlot>),
    /// A `quorum` one. Its rows come by the log of its group, so there is nothing for links to do.
    Quorum(Arc<QuorumSlot>),
}

impl Slot {
    /// Its number.
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Available(slot) => slot.id,
            Self::Owned(slot) => slot.id,
            Self::Quorum(slot) => slot.id,
        }
    }

    /// Its schema.
    pub(super) fn schema(&self) -> &Schema {
        match self {
            Self::Available(slot) => &slot.schema,
            Self::Owned(slot) => &slot.schema,
            Self::Quorum(slot) => &slot.schema,
        }
    }

    /// Whether it has got from its peers what they hold, now and whenever that changes.
    pub(super) fn loaded(&self) -> watch::Receiver<bool> {
        match self {
            Self::Available(slot) => slot.signals.loaded(),
            Self::Owned(slot) => slot.signals.loaded(),
            Self::Quorum(slot) => slot.loaded(),
        }
    }

    /// What it waits for until it has what its peers held, in words; `None` where it waits for nothing.
    pub(super) fn waits(&self) -> Option<String> {
        match self {
            Self::Available(slot) => slot.waits(),
            Self::Owned(slot) => slot.waits(),
            Self::Quorum(_) => None,
        }
    }

    /// Bytes of rows that are here.
    pub(super) fn bytes_here(&self) -> usize {
        match self {
            Self::Available(slot) => slot.bytes_here(),
            Self::Owned(slot) => slot.read().size().1,
            Self::Quorum(_) => 0,
        }
    }

    /// There is a link with a peer.
    pub(super) fn connect(&self, peer: Incarnation, now: Now) {
        match self {
            Self::Available(slot) => slot.connect(peer, now),
            Self::Owned(slot) => slot.connect(peer),
            Self::Quorum(_) => {}
        }
    }

    /// There is none any more.
    pub(super) fn disconnect(&self, peer: Incarnation, now: Now) {
        match self {
            Self::Available(slot) => slot.disconnect(peer, now),
            Self::Owned(slot) => slot.disconnect(peer),
            Self::Quorum(_) => {}
        }
    }

    /// The link with a peer has ended, and no other one is in its place: what is held now is what was known of it.
    pub(super) fn loses(&self, peer: Incarnation) {
        if let Self::Available(slot) = self {
            slot.loses(peer);
        }
    }

    /// The next message for a peer, with about so many bytes.
    pub(super) fn poll(&self, peer: Incarnation, budget: usize) -> Option<Body> {
        match self {
            Self::Available(slot) => slot.tells(peer).or_else(|| slot.poll(peer, budget).map(Body::Available)),
            Self::Owned(slot) => slot.poll(peer, budget).map(Body::Owned),
            Self::Quorum(_) => None,
        }
    }

    /// Whether there may be more for a peer although nothing came just now.
    pub(super) fn has_more_for(&self, peer: Incarnation) -> bool {
        match self {
            Self::Available(slot) => slot.has_more_for(peer),
            Self::Owned(slot) => slot.has_more_for(peer),
            Self::Quorum(_) => false,
        }
    }

    /// The next message of a full copy for a peer.
    pub(super) fn poll_copy(&self, peer: Incarnation, now: Now) -> Option<Body> {
        match self {
            Self::Available(slot) => slot.poll_copy(peer, now).map(Body::Available),
            Self::Owned(_) | Self::Quorum(_) => None,
        }
    }

    /// Merges the next rows of a full copy that has come; whether more are to be merged now.
    pub(super) fn merge_some(&self, now: Now) -> bool {
        match self {
            Self::Available(slot) => slot.merge_some(now),
            Self::Owned(_) | Self::Quorum(_) => false,
        }
    }

    /// Takes a message of a peer; what is to be answered after that is among the answers.
    ///
    /// # Errors
    /// It is not what it should be: the connection is to be ended.
    pub(super) fn receive(
        &self,
        peer: Incarnation,
        body: Body,
        now: Now,
        answers: &mut Answers<Answer>,
    ) -> Result<(), Malformed> {
        match (self, body) {
            (Self::Owned(_) | Self::Quorum(_), Body::Loaded | Body::Amount { .. } | Body::Room { .. })
            | (_, Body::Alive) => Ok(()),
            (Self::Available(slot), Body::Loaded) => {
                slot.peer_is_loaded(peer, now, answers);
                Ok(())
            }
            (Self::Available(slot), Body::Amount { bytes }) => {
                slot.told.has(peer, bytes);
                Ok(())
            }
            (Self::Available(slot), Body::Room { has }) => {
                slot.peer_has_room(peer, has, now, answers);
                Ok(())
            }
            (_, Body::Opened) => {
                self.disconnect(peer, now);
                self.connect(peer, now);
                Ok(())
            }
            (Self::Available(slot), Body::Available(message)) => slot.receive(peer, message, now, answers),
            (Self::Owned(slot), Body::Owned(message)) => slot.receive(peer, message, now, answers),
            // Both go by one schema, so a node that runs this version never sends it.
            (Self::Available(_), Body::Owned(_)) | (Self::Owned(_), Body::Available(_)) | (Self::Quorum(_), _) => {
                Err(Malformed::KIND)
            }
        }
    }

    /// Does what is due, and takes what is seen as [`Slot::sees`] does.
    pub(super) fn tick(&self, committed: &Committed, clocks: PeerClocks, now: Now) {
        match self {
            Self::Available(slot) => slot.tick(clocks, now),
            Self::Owned(slot) => slot.tick(committed, now),
            Self::Quorum(_) => {}
        }
    }

    /// The cluster has committed something new.
    pub(super) fn follow(&self, committed: &Committed) {
        match self {
            Self::Available(slot) => slot.follow(committed),
            Self::Owned(slot) => slot.follow(committed),
            Self::Quorum(_) => {}
        }
    }

    /// Other nodes are up now, or this node's clock stands otherwise to theirs.
    pub(super) fn sees(&self, committed: &Committed, clocks: PeerClocks, now: Now) {
        match self {
            Self::Available(slot) => slot.sees(clocks, now),
            Self::Owned(slot) => slot.sees(committed, now),
            Self::Quorum(_) => {}
        }
    }

    /// The bound of stamps that is to be brought to disc.
    pub(super) fn wanted_bound(&self, wall: Wall) -> Option<Hlc> {
        match self {
            Self::Available(slot) => slot.wanted_bound(wall),
            Self::Owned(_) | Self::Quorum(_) => None,
        }
    }

    /// A bound of stamps is on disc.
    pub(super) fn bound_is(&self, bound: Hlc) {
        match self {
            Self::Available(slot) => slot.bound_is(bound),
            Self::Owned(_) | Self::Quorum(_) => {}
        }
    }

    /// This node goes on under a new guid.
    pub(super) fn renew(&self, me: Incarnation) {
        match self {
            Self::Available(slot) => slot.renew(me),
            Self::Owned(slot) => slot.renew(me),
            Self::Quorum(_) => {}
        }
    }

    /// Whether it was ever more than empty on this node.
    pub(super) fn is_used(&self) -> bool {
        matches!(self, Self::Available(slot) if slot.signals.is_loaded() || slot.has_rows())
    }

    /// Whether this node keeps its own rows of it on disc.
    pub(super) fn is_on_disc(&self) -> bool {
        matches!(self, Self::Available(slot) if slot.schema.storage == Storage::Disc)
    }

    /// It is dropped, or the node ends.
    pub(super) fn end(&self) {
        match self {
            Self::Available(slot) => slot.end(),
            Self::Owned(slot) => slot.end(),
            Self::Quorum(slot) => slot.end(),
        }
    }

    /// Whether that has happened.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Available(slot) => slot.closed.is_cancelled(),
            Self::Owned(slot) => slot.closed.is_cancelled(),
            Self::Quorum(slot) => slot.is_closed(),
        }
    }

    /// How much a peer has not said to hold of what was written here; `None` where it is not linked.
    pub(super) fn lag_of(&self, node: NodeId) -> Option<u64> {
        match self {
            Self::Available(slot) => slot.lag_of(node),
            Self::Owned(slot) => slot.lag_of(node),
            Self::Quorum(_) => None,
        }
    }

    /// The number of the latest operation of this node; `None` of a quorum table, whose operations are those of its group.
    pub(super) fn latest(&self) -> Option<u64> {
        match self {
            Self::Available(slot) => Some(slot.read().latest()),
            Self::Owned(slot) => Some(slot.read().sequence()),
            Self::Quorum(_) => None,
        }
    }

    /// How many versions lost to one whose writer had not seen them.
    pub(super) fn overridden(&self) -> u64 {
        match self {
            Self::Available(slot) => slot.read().journal_size().2,
            Self::Owned(_) | Self::Quorum(_) => 0,
        }
    }

    /// Whether this node has what it takes to serve it: what its peers held, or the replica that its rows are in.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Available(slot) => slot.signals.is_loaded(),
            Self::Owned(slot) => slot.signals.is_loaded(),
            Self::Quorum(slot) => slot.has_replica(),
        }
    }

    /// What is counted of it.
    pub(super) fn figures(&self) -> &Figures {
        match self {
            Self::Available(slot) => &slot.figures,
            Self::Owned(slot) => &slot.figures,
            Self::Quorum(slot) => &slot.counted,
        }
    }
}
