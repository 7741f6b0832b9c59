//! Digests of quorum tables. The cut of two replicas is a revision: of what one has applied beyond it, the keys are left
//! out on both sides.

use alloc::collections::BTreeSet;

use super::super::changes::{Resync, Revision};
use super::super::digest::{Digest, KeyHash, key_hash};
use super::super::scan::PageLimits;
use super::command::TableId;
use super::state::QuorumTables;
use super::view::View;

const ALL: PageLimits = PageLimits { rows: usize::MAX, bytes: usize::MAX };

impl View {
    /// What the rows of a table sum to, without these keys. What has expired and is not yet taken out counts: equal
    /// revisions, equal rows. A table that nobody has written to yet is none of the group's, and has no rows.
    #[must_use]
    pub fn digest(&self, table: TableId, without: &BTreeSet<KeyHash>) -> Digest {
        let mut digest = Digest::default();
        for row in self.rows(table).into_iter().flatten() {
            let key = key_hash(row.key());
            if !without.contains(&key) {
                digest.add(key, row.digest());
            }
        }
        digest
    }
}

impl QuorumTables {
    /// The keys of a table that were changed after a revision.
    ///
    /// # Errors
    /// They are not known any more, or that revision has not come here yet.
    pub fn changed_after(&self, table: TableId, revision: Revision) -> Result<BTreeSet<KeyHash>, Resync> {
        if revision <= self.view().revision() && self.view().rows(table).is_err() {
            return Ok(BTreeSet::new());
        }
        let news = self.changes(self.resume(table, revision)?, ALL)?;
        Ok(news.changes.iter().map(|changed| key_hash(changed.change.row().key())).collect())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::{Command, Transaction};
    use super::*;
    use crate::time::Wall;

    const TABLE: TableId = 4;

    fn put(tables: &mut QuorumTables, key: u8, value: u8) {
        let put = Transaction::put(TABLE, &[key], &[value], None, Wall::default()).unwrap();
        tables.apply_command(&put.into());
    }

    fn begun() -> QuorumTables {
        let mut tables = QuorumTables::default();
        tables.apply_command(&Command::Create { table: TABLE });
        (0..50).for_each(|key| put(&mut tables, key, key));
        tables
    }

    fn differing(one: &View, other: &View, without: &BTreeSet<KeyHash>) -> Vec<usize> {
        one.digest(TABLE, without).differing(&other.digest(TABLE, without))
    }

    #[test]
    fn one_that_has_applied_more_is_equal_without_the_keys_of_what_came_after() {
        let (behind, mut ahead) = (begun(), begun());
        put(&mut ahead, 7, 70);
        let delete = Transaction::delete(TABLE, &[8], Wall::default()).unwrap();
        ahead.apply_command(&delete.into());
        put(&mut ahead, 99, 1);
        let later = ahead.changed_after(TABLE, behind.view().revision()).unwrap();
        assert_eq!(later, [7, 8, 99].map(|key| key_hash(&[key])).into());
        assert_eq!(differing(behind.view(), ahead.view(), &BTreeSet::new()).len(), 3);
        assert_eq!(differing(behind.view(), ahead.view(), &later), []);
        assert!(behind.changed_after(TABLE, ahead.view().revision()).is_err(), "it has not come there yet");
    }

    #[test]
    fn a_table_that_nobody_has_written_to_is_equal_to_itself_and_to_an_empty_one() {
        let (none, mut made) = (QuorumTables::default(), QuorumTables::default());
        made.apply_command(&Command::Create { table: TABLE });
        for other in [&none, &made] {
            assert_eq!(differing(none.view(), other.view(), &BTreeSet::new()), []);
        }
        assert_eq!(none.changed_after(TABLE, none.view().revision()), Ok(BTreeSet::new()));
        assert!(none.changed_after(TABLE, made.view().revision()).is_err(), "it has not come there yet");
    }

    #[test]
    fn a_replica_that_applied_half_of_a_transaction_differs() {
        let mut wrong = QuorumTables::with_faults(super::super::Faults { half_applied: true, ..Default::default() });
        wrong.apply_command(&Command::Create { table: TABLE });
        (0..50).for_each(|key| put(&mut wrong, key, key));
        let mut right = begun();
        let conflicts = Transaction::put(TABLE, &[3], &[9], None, Wall::default()).unwrap().only_at(Some(1_000));
        for tables in [&mut wrong, &mut right] {
            tables.apply_command(&conflicts.clone().into());
        }
        let range = super::super::super::digest::range_of(key_hash(&[3]));
        assert_eq!(differing(wrong.view(), right.view(), &BTreeSet::new()), [range]);
    }
}
