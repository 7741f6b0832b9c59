//! What must hold of an owned table at all times.

use super::row::OwnedRow;
use super::{Index, OwnedTable};

impl OwnedTable {
    /// Asserts what must hold at all times.
    pub fn check(&self) {
        for (node, owner) in &self.owners {
            assert_eq!(owner.id.node_id, *node);
            assert_eq!(owner.bytes, owner.rows.iter().map(OwnedRow::size).sum::<usize>(), "bytes of rows");
            assert_eq!(owner.indexes.len(), self.extracts.len(), "indexes of an owner");
            for index in &owner.indexes {
                assert!(Index::of(index.extract(), &owner.rows).is_as(index), "an index and the rows differ");
            }
            assert_eq!(self.present.get(node), Some(&owner.id), "rows of an incarnation that is not the present one");
        }
        assert!(self.down.iter().all(|node| self.present.contains_key(node)), "who is hidden is a member");
        assert_eq!(
            self.log_start + self.log.len() as u64,
            self.sequence() + 1,
            "the log ends with the latest operation"
        );
    }
}
