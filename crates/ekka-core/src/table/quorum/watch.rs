//! What watchers of quorum tables see: the latest changes of each table by their revision, each once, in order.
//!
//! A watcher takes a view and a cursor at its revision, and from then on asks for what came after. Revisions are the
//! same on all replicas, so one that goes on at another node says up to which revision it has seen everything. Where
//! the changes after it are not kept any more it is told to take a new view: never a silent gap.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::super::changes::{Resync, Revision};
use super::super::scan::PageLimits;
use super::command::TableId;
use super::row::Row;
use crate::limits::{TABLE_CHANGES_BYTES_MAX, TABLE_CHANGES_MAX};

/// A change of what can be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// This row is there now.
    Put(Row),
    /// This row was deleted.
    Deleted(Row),
    /// This row had expired and was taken out.
    Expired(Row),
}

impl Change {
    /// The row that it is about.
    #[must_use]
    pub fn row(&self) -> &Row {
        match self {
            Self::Put(row) | Self::Deleted(row) | Self::Expired(row) => row,
        }
    }
}

/// A change, and the revision that it belongs to. Those of one revision belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The revision.
    pub revision: Revision,
    /// The change.
    pub change: Change,
}

/// How far a watcher of a table has come, on this replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The table.
    pub table: TableId,
    /// Everything up to this revision has been seen. With it the watcher may go on at another node.
    pub revision: Revision,
    /// How often the state had been replaced as a whole.
    pub(super) restores: u64,
}

/// What came after a cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    /// The changes. All of a revision are there, or none.
    pub changes: Vec<Changed>,
    /// Where to go on.
    pub next: Cursor,
}

/// The latest changes of one table.
#[derive(Clone, Debug)]
pub(super) struct Log {
    kept: VecDeque<Changed>,
    bytes: usize,
    /// All changes after this revision are kept.
    floor: Revision,
    /// The revision that made the table, where all that is known of it came since; else 0.
    born: Revision,
}

impl Log {
    pub(super) fn from(floor: Revision) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, floor, born: 0 }
    }

    /// That of a table that is made, empty, by this revision.
    pub(super) fn born(at: Revision) -> Self {
        Self { born: at, ..Self::from(at) }
    }

    /// Whether the table was made after a revision.
    pub(super) fn is_younger_than(&self, revision: Revision) -> bool {
        self.born > revision
    }

    /// Where somebody who has seen everything up to a revision begins: at it, or where the table was made since. `None`
    /// where something after that is not kept.
    pub(super) fn start_after(&self, revision: Revision) -> Option<Revision> {
        let start = revision.max(self.born);
        (self.floor <= start).then_some(start)
    }

    pub(super) fn push(&mut self, revision: Revision, change: Change) {
        self.bytes += change.row().size();
        self.kept.push_back(Changed { revision, change });
        while self.kept.len() > TABLE_CHANGES_MAX || self.bytes > TABLE_CHANGES_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.change.row().size();
            self.floor = oldest.revision;
        }
    }

    /// Whether nothing after a revision is lacking, where the tables are at another one now.
    pub(super) fn reaches(&self, revision: Revision, now: Revision) -> bool {
        self.floor <= revision && revision <= now
    }

    /// What came after a cursor, where the tables are at a revision now.
    pub(super) fn after(&self, cursor: Cursor, now: Revision, limits: PageLimits) -> Result<News, Resync> {
        if !self.reaches(cursor.revision, now) {
            return Err(Resync);
        }
        let from = self.kept.partition_point(|changed| changed.revision <= cursor.revision);
        let (mut news, mut bytes) = (News { changes: Vec::new(), next: Cursor { revision: now, ..cursor } }, 0);
        for changed in self.kept.range(from..) {
            bytes += changed.change.row().size();
            if let Some(last) = news.changes.last()
                && (news.changes.len() >= limits.rows || bytes > limits.bytes)
                && last.revision != changed.revision
            {
                news.next.revision = last.revision;
                return Ok(news);
            }
            news.changes.push(changed.clone());
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: PageLimits = PageLimits { rows: usize::MAX, bytes: usize::MAX };

    fn put(version: Revision) -> Change {
        Change::Put(Row::pack(version, b"key", b"value", None))
    }

    fn at(revision: Revision) -> Cursor {
        Cursor { table: 1, revision, restores: 0 }
    }

    #[test]
    fn a_page_of_changes_ends_between_revisions() {
        let mut log = Log::from(4);
        for revision in [5, 5, 5, 7, 9, 9] {
            log.push(revision, put(revision));
        }
        let (mut cursor, mut pages) = (at(4), Vec::new());
        while cursor.revision < 10 {
            let news = log.after(cursor, 10, PageLimits { rows: 2, bytes: usize::MAX }).unwrap();
            pages.push(news.changes.len());
            cursor = news.next;
        }
        assert_eq!(pages, [3, 1 + 2]);
    }

    #[test]
    fn a_watcher_that_is_too_far_behind_or_ahead_is_told() {
        let mut log = Log::from(0);
        for n in 2..=TABLE_CHANGES_MAX as u64 + 10 {
            log.push(n / 2, put(n / 2));
        }
        let now = TABLE_CHANGES_MAX as u64 / 2 + 5;
        // The last one that was dropped has the number 10 and so revision 5, of which the other part is kept.
        assert_eq!(log.after(at(4), now, ALL), Err(Resync));
        assert_eq!(log.after(at(5), now, ALL).unwrap().changes.len() as u64, 2 * (now - 5) - 1);
        assert_eq!(log.after(at(now + 1), now, ALL), Err(Resync));
        assert!(log.after(at(now), now, ALL).unwrap().changes.is_empty());
    }

    #[test]
    fn the_bytes_that_changes_keep_alive_have_a_bound() {
        let mut log = Log::from(0);
        for n in 1..=5 {
            let value = alloc::vec![0; TABLE_CHANGES_BYTES_MAX / 4];
            log.push(n, Change::Put(Row::pack(n, b"", &value, None)));
        }
        assert!(!log.reaches(0, 5) && log.reaches(1, 5));
    }
}
