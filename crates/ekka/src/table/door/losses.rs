//! The override journal: versions that lost to one whose writer had not seen them.

use ekka_core::id::NodeId;
use ekka_core::table::part_of;
use ekka_core::time::Wall;

use super::super::slot::Slot;
use super::TableDoor;

/// A version that lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The key.
    pub key: Vec<u8>,
    /// The value, in the codec of the table; `None` where it was a deletion.
    pub value: Option<Vec<u8>>,
    /// Who wrote it.
    pub node: NodeId,
    /// Which version it was: the start of that node, and the number of the write there.
    pub revision: String,
    /// When it was written, by the clock of the tables.
    pub written: Wall,
}

impl TableDoor {
    /// What lost in a table and is in the journal in memory, in the order of who wrote it; at most so many. Older ones are
    /// in files of the folder `set-aside`. `None`: there is no such table.
    #[must_use]
    pub fn losses(&self, name: &str, limit: usize) -> Option<Vec<Loss>> {
        let Slot::Available(slot) = self.tables.named(name)? else { return Some(Vec::new()) };
        let table = slot.read();
        let losses = table.journal().take(limit).map(|version| {
            let id = table.id_of(version);
            let key = part_of(version.key()).filter(|_| slot.has_parts());
            Loss {
                key: key.unwrap_or_else(|| version.key().to_vec()),
                value: (!version.is_delete()).then(|| version.value().to_vec()),
                node: id.origin.node_id,
                revision: format!("{}-{}", id.origin.guid, id.number),
                written: version.hlc().wall(),
            }
        });
        Some(losses.collect())
    }
}
