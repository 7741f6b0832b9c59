//! Owned tables: each row belongs to the incarnation that wrote it, so there is nothing to merge.
//!
//! **Owns**, for one `owned` table on one node: the rows of every owner, each behind the sequence of its operations; the
//! cursors of the peers in the operations of this one.
//!
//! **Inputs** writes of the application; messages of owners; who the members are in their present incarnation, who is
//! down, up, gone.
//!
//! **Outputs** messages for peers, when the shell can send; changes for watchers; how much each peer holds.
//!
//! **Invariants**: the rows of an owner are those of all its operations up to one sequence, and come from that owner
//! only; rows are taken only from the incarnation which the roster holds as its node's present one, so what was dropped
//! with an incarnation never comes back (schedule M9); rows of an owner that is down are there and not shown (S2-5).
//!
//! An operation may put many rows: it is one message and one acknowledgement. That an owner is gone is one change,
//! whatever the number of its rows.

mod check;
mod faults;
mod message;
mod read;
mod replicate;
mod row;
#[cfg(test)]
mod tests;

pub use faults::OwnedFaults;
#[cfg(test)]
pub(in crate::table) use message::Operations;
pub use message::OwnedMessage;
pub use row::OwnedRow;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::changes::{Changes, Resync, Revision};
use super::index::{Extract, Index};
use super::map::Map;
use super::terms::WriteError;
use crate::id::{Incarnation, NodeId};
use crate::limits::{TABLE_KEY_MAX, TABLE_LOG_BYTES_MAX, TABLE_LOG_OPS_MAX, TABLE_VALUE_MAX};
use message::Operation;
use replicate::Peer;

/// The number of an operation of an owner; the first is 1.
pub type Sequence = u64;

/// A change of what can be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedChange {
    /// A row of an owner, which may be hidden.
    Put(NodeId, OwnedRow),
    /// A row of an owner is no more.
    Delete(NodeId, OwnedRow),
    /// An owner is down: none of its rows is shown.
    Hidden(NodeId),
    /// It is up again, and all its rows are shown; or it left while it was down, and has none.
    Shown(NodeId),
    /// An incarnation is gone, and all its rows with it.
    OwnerGone(Incarnation),
}

/// The rows of one owner.
#[derive(Clone, Debug)]
struct Owner {
    id: Incarnation,
    sequence: Sequence,
    rows: Map<OwnedRow>,
    /// Bytes of the rows.
    bytes: usize,
    /// Those of the table, of these rows: they are hidden with them, and go with them.
    indexes: Vec<Index<OwnedRow>>,
}

impl Owner {
    fn new(id: Incarnation, sequence: Sequence, rows: Map<OwnedRow>, extracts: &[Extract]) -> Self {
        let bytes = rows.iter().map(OwnedRow::size).sum();
        let indexes = extracts.iter().map(|extract| Index::of(extract, &rows)).collect();
        Self { id, sequence, rows, bytes, indexes }
    }

    /// A row is another one, or is there no more.
    fn reindex(&mut self, old: Option<&OwnedRow>, new: Option<&OwnedRow>) {
        for index in &mut self.indexes {
            index.changed(old, new);
        }
    }
}

/// What an owner has in an index, and whether it is shown.
pub type OwnerIndex = (NodeId, bool, Index<OwnedRow>);

/// An operation, and how many bytes this node had written with it.
#[derive(Clone, Debug)]
struct Logged {
    operation: Arc<Operation>,
    written: u64,
}

/// One `owned` table on one node.
#[derive(Clone, Debug)]
pub struct OwnedTable {
    me: Incarnation,
    owners: BTreeMap<NodeId, Owner>,
    /// The present incarnation of each member.
    present: BTreeMap<NodeId, Incarnation>,
    down: BTreeSet<NodeId>,
    /// The latest operations of this node, and the sequence of the first of them.
    log: VecDeque<Logged>,
    log_start: Sequence,
    log_bytes: usize,
    /// Bytes of all operations of this start.
    written: u64,
    peers: BTreeMap<Incarnation, Peer>,
    changes: Changes<OwnedChange>,
    /// What the secondary indexes go by.
    extracts: Vec<Extract>,
    faults: OwnedFaults,
}

impl OwnedTable {
    /// An empty table.
    #[must_use]
    pub fn new(me: Incarnation) -> Self {
        Self::with_faults(me, OwnedFaults::default())
    }

    /// An empty table, with faults put in on purpose.
    #[must_use]
    pub fn with_faults(me: Incarnation, faults: OwnedFaults) -> Self {
        let mut table = Self {
            me,
            owners: BTreeMap::new(),
            present: BTreeMap::new(),
            down: BTreeSet::new(),
            log: VecDeque::new(),
            log_start: 1,
            log_bytes: 0,
            written: 0,
            peers: BTreeMap::new(),
            changes: Changes::default(),
            extracts: Vec::new(),
            faults,
        };
        table.present.insert(me.node_id, me);
        table.owners.insert(me.node_id, Owner::new(me, 0, Map::default(), &[]));
        table
    }

    /// Writes rows of this node, as one operation.
    ///
    /// # Errors
    /// Where a key or a value is too long; then nothing has changed.
    pub fn put_many<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Sequence, WriteError> {
        let mut packed = Vec::new();
        for (key, value) in rows {
            if key.len() > TABLE_KEY_MAX {
                return Err(WriteError::KeyTooLong { len: key.len() });
            }
            if value.len() > TABLE_VALUE_MAX {
                return Err(WriteError::ValueTooLong { len: value.len() });
            }
            packed.push(OwnedRow::new(key, value));
        }
        Ok(self.write(Operation::Put(packed)))
    }

    /// Writes a row of this node.
    ///
    /// # Errors
    /// Where the key or the value is too long; then nothing has changed.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<Sequence, WriteError> {
        self.put_many([(key, value)])
    }

    /// Deletes rows of this node, as one operation.
    pub fn delete_many<'a>(&mut self, keys: impl IntoIterator<Item = &'a [u8]>) -> Sequence {
        self.write(Operation::Delete(keys.into_iter().map(|key| OwnedRow::new(key, &[])).collect()))
    }

    fn write(&mut self, operation: Operation) -> Sequence {
        let node = self.me.node_id;
        self.apply(node, &operation);
        self.log_bytes += operation.size();
        self.written += operation.size() as u64;
        self.log.push_back(Logged { operation: Arc::new(operation), written: self.written });
        while self.log.len() > TABLE_LOG_OPS_MAX || self.log_bytes > TABLE_LOG_BYTES_MAX {
            let Some(oldest) = self.log.pop_front() else { break };
            self.log_bytes -= oldest.operation.size();
            self.log_start += 1;
        }
        self.sequence()
    }

    /// Applies the next operation of an owner.
    fn apply(&mut self, node: NodeId, operation: &Operation) {
        if self.faults.writing_shows {
            self.up(node);
        }
        let Some(owner) = self.owners.get_mut(&node) else { return };
        owner.sequence += 1;
        for row in operation.rows() {
            let change = match operation {
                Operation::Put(_) => {
                    owner.bytes += row.size();
                    let old = owner.rows.insert(row.clone());
                    owner.bytes -= old.as_ref().map_or(0, OwnedRow::size);
                    owner.reindex(old.as_ref(), Some(row));
                    Some(OwnedChange::Put(node, row.clone()))
                }
                Operation::Delete(_) => owner.rows.remove(row.key()).map(|old| {
                    owner.bytes -= old.size();
                    owner.reindex(Some(&old), None);
                    OwnedChange::Delete(node, old)
                }),
            };
            if let Some(change) = change {
                self.changes.push(change, row.size());
            }
        }
    }

    /// This start of this node.
    #[must_use]
    pub fn me(&self) -> Incarnation {
        self.me
    }

    /// This node goes on under a new guid: its rows are those of the new start, which gives them to everybody anew. The
    /// connections are made anew.
    pub fn renew(&mut self, me: Incarnation) {
        let rows = self.owners.remove(&self.me.node_id).map(|owner| owner.rows).unwrap_or_default();
        let sequence = Sequence::from(!rows.is_empty());
        self.me = me;
        self.present.insert(me.node_id, me);
        self.owners.insert(me.node_id, Owner::new(me, sequence, rows, &self.extracts));
        self.drop_log();
        self.peers.clear();
        self.changes.cut();
    }

    /// Whether all that a connected peer wrote itself is held, as far as it has said anything; `None` before.
    #[must_use]
    pub fn is_abreast_of(&self, id: Incarnation) -> Option<bool> {
        self.peers.get(&id)?.last().map(|last| self.held(id) >= last)
    }

    /// Who is connected.
    pub fn connected(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.peers.keys().copied()
    }

    /// How many rows there are, of all owners, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.owners.values().fold((0, 0), |(rows, bytes), owner| (rows + owner.rows.len(), bytes + owner.bytes))
    }

    /// The latest operation of this node.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.owners.get(&self.me.node_id).map_or(0, |owner| owner.sequence)
    }

    /// Who the members are, each in its present incarnation. The rows of earlier ones go; who is no member has none.
    pub fn roster_is(&mut self, present: impl IntoIterator<Item = Incarnation>) {
        self.present = present.into_iter().map(|id| (id.node_id, id)).collect();
        self.present.insert(self.me.node_id, self.me);
        let stale: Vec<Incarnation> =
            self.owners.values().map(|owner| owner.id).filter(|id| self.present.get(&id.node_id) != Some(id)).collect();
        for id in stale {
            self.drop_owner(id);
        }
        self.show_those_that_left();
        self.ask_those_without_rows();
    }

    /// An incarnation is over, by a committed entry: its rows go, and none is taken from it any more. Where it is this one
    /// nothing is done: it goes on under a new guid ([`OwnedTable::renew`]), or ends.
    pub fn gone(&mut self, id: Incarnation) {
        if id.node_id == self.me.node_id {
            return;
        }
        if self.present.get(&id.node_id).is_some_and(|present| present.guid <= id.guid) {
            self.present.remove(&id.node_id);
        }
        if let Some(owner) = self.owners.get(&id.node_id)
            && owner.id.guid <= id.guid
        {
            let owner = owner.id;
            self.drop_owner(owner);
        }
        self.show_those_that_left();
    }

    /// Nothing is hidden of who has nothing here any more: if it comes back, watchers are not to think that it still is.
    fn show_those_that_left(&mut self) {
        if self.faults.leaves_hidden {
            self.down.retain(|node| self.present.contains_key(node));
        }
        let left: Vec<NodeId> = self.down.iter().copied().filter(|node| !self.present.contains_key(node)).collect();
        for node in left {
            self.up(node);
        }
    }

    fn drop_owner(&mut self, id: Incarnation) {
        if self.faults.keeps_of_the_gone {
            return;
        }
        if self.owners.remove(&id.node_id).is_some_and(|owner| !owner.rows.is_empty()) {
            self.changes.push(OwnedChange::OwnerGone(id), 0);
        }
    }

    /// A member is seen as down: its rows are not shown.
    pub fn down(&mut self, node: NodeId) {
        if node != self.me.node_id && self.present.contains_key(&node) && self.down.insert(node) {
            self.changes.push(OwnedChange::Hidden(node), 0);
        }
    }

    /// A node is seen as up: its rows are shown again, without anything being sent.
    pub fn up(&mut self, node: NodeId) {
        if self.down.remove(&node) {
            self.changes.push(OwnedChange::Shown(node), 0);
        }
    }

    /// Adds a secondary index; its place is what [`OwnedTable::index`] is asked with.
    pub fn add_index(&mut self, extract: &Extract) -> usize {
        for owner in self.owners.values_mut() {
            owner.indexes.push(Index::of(extract, &owner.rows));
        }
        self.extracts.push(extract.clone());
        self.extracts.len() - 1
    }

    /// A secondary index, as clones that cost nothing: that of each owner. `None`: there is none at this place.
    #[must_use]
    pub fn index(&self, at: usize) -> Option<Vec<OwnerIndex>> {
        let shown = |owner: &Owner| !self.down.contains(&owner.id.node_id);
        let of = |owner: &Owner| Some((owner.id.node_id, shown(owner), owner.indexes.get(at)?.clone()));
        self.extracts.get(at)?;
        self.owners.values().map(of).collect()
    }

    /// The revision of the latest change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.changes.revision()
    }

    /// The changes after a revision, in order.
    ///
    /// # Errors
    /// Where they are not kept: a new snapshot is needed.
    pub fn changes_after(&self, revision: Revision) -> Result<impl Iterator<Item = &OwnedChange>, Resync> {
        self.changes.after(revision)
    }

    /// How much of an owner is held.
    #[must_use]
    pub fn held(&self, owner: Incarnation) -> Sequence {
        self.owners.get(&owner.node_id).filter(|held| held.id == owner).map_or(0, |held| held.sequence)
    }
}
