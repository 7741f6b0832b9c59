//! The override journal: versions that lost to one whose writer had not seen them.

use ekka_core::id::{Guid, NodeId};
use ekka_core::table::{Table, Version};
use ekka_core::time::Wall;

use super::super::parts::Parts;
use super::super::slot::Slot;
use super::TableDoor;
use super::read::PAGE_BYTES;

/// A version that lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The key.
    pub key: Vec<u8>,
    /// The value, in the codec of the table; of a counter the number of one node's part, in eight bytes, the lowest first.
    /// `None` where it was a deletion.
    pub value: Option<Vec<u8>>,
    /// Who wrote it.
    pub node: NodeId,
    /// Which version it was: the start of that node, and the number of the write there.
    pub revision: String,
    /// When it was written, by the clock of the tables.
    pub written: Wall,
    /// When it expires, if it does.
    pub expires_at: Option<Wall>,
}

/// What came after a version was asked for, and nothing is known of who wrote that one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no revision of this table on this node")]
pub struct UnknownRevision;

impl TableDoor {
    /// What lost in a table and is in the journal in memory, in the order of who wrote it; at most so many. Older ones are
    /// in files of the folder `set-aside`. `None`: there is no such table.
    #[must_use]
    pub fn losses(&self, name: &str, limit: usize) -> Option<Vec<Loss>> {
        let Slot::Available(slot) = self.tables.named(name)? else { return Some(Vec::new()) };
        let (table, parts) = (slot.read(), slot.parts());
        Some(table.journal().take(limit).map(|version| loss(&table, parts, version)).collect())
    }

    /// The same, of those after one with this revision, which need not be in the journal any more, and in one go no more
    /// than a few MiB. There are no more only where there are none. `None`: there is no such table.
    ///
    /// # Errors
    /// It is no revision, or nothing is known here of the start of a node that wrote it.
    #[must_use]
    pub fn losses_after(
        &self,
        name: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Option<Result<Vec<Loss>, UnknownRevision>> {
        let Slot::Available(slot) = self.tables.named(name)? else { return Some(Ok(Vec::new())) };
        let (table, parts) = (slot.read(), slot.parts());
        let of = |version: &Version| loss(&table, parts, version);
        let Some(after) = after else { return Some(Ok(page(table.journal(), limit).map(of).collect())) };
        let left = place(after).and_then(|(guid, number)| table.journal_after(guid, number));
        Some(left.map(|left| page(left, limit).map(of).collect()).ok_or(UnknownRevision))
    }
}

fn loss(table: &Table, parts: Parts, version: &Version) -> Loss {
    let id = table.id_of(version);
    Loss {
        key: parts.key(version.key()),
        value: (!version.is_delete()).then(|| version.value().to_vec()),
        node: id.origin.node_id,
        revision: format!("{}-{}", id.origin.guid, id.number),
        written: version.hlc().wall(),
        expires_at: version.expires_at(),
    }
}

/// Who wrote a revision, and its number there.
fn place(revision: &str) -> Option<(Guid, u64)> {
    let (guid, number) = revision.rsplit_once('-')?;
    Some((guid.parse().ok()?, number.parse().ok()?))
}

/// As many as one answer has: the first one in any case.
fn page<'a>(versions: impl Iterator<Item = &'a Version>, limit: usize) -> impl Iterator<Item = &'a Version> {
    let mut bytes = 0;
    versions.take(limit).take_while(move |version| {
        let is_first = bytes == 0;
        bytes += version.size();
        is_first || bytes <= PAGE_BYTES
    })
}
