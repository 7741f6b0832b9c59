//! Rows of a table by its name, whatever its kind.

use ekka_core::id::NodeId;
use ekka_core::schema::{MergeRule, Shape};
use ekka_core::table::{
    KeyRange, Order, OwnedRow, OwnedTable, PageLimits, Table, Version, part_of, quorum, scan_in, walk,
};
use ekka_core::time::Wall;
use tokio::time::Instant;

use super::super::available::AvailableSlot;
use super::super::handle::DEADLINE;
use super::super::owned::OwnedSlot;
use super::super::quorum::{QuorumError, QuorumSlot, RawQuorumWatch};
use super::super::slot::Slot;
use super::super::watch::{RawOwnedWatch, RawWatch};
use super::TableDoor;

/// What a key has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// One value, in the codec of the table.
    One(Vec<u8>),
    /// Those of a bag, and when each one expires, if it does.
    Many(Vec<(Vec<u8>, Option<Wall>)>),
    /// The value of a counter.
    Number(i64),
    /// One value for each owner that is up.
    Owned(Vec<(NodeId, Vec<u8>)>),
}

/// What there is of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The key.
    pub key: Vec<u8>,
    /// What it has.
    pub value: Cell,
    /// Which version of it: who wrote it, and the number of the write there; of several, of the latest.
    pub revision: String,
    /// When it expires, if it does; of several values, when the last one does, where all do.
    pub expires_at: Option<Wall>,
}

/// Some rows, and where the next ones begin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TablePage {
    /// The rows, in the order of the bytes of their keys.
    pub rows: Vec<Row>,
    /// What to go on after; `None` where there are no more.
    pub next: Option<Vec<u8>>,
}

/// How far behind what is read of a quorum table may be. What is read of others is what this node has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Freshness {
    /// It has everything that was committed anywhere before it was asked for, by a majority.
    #[default]
    Linearizable,
    /// It is what this node has, which may be old.
    Stale,
}

/// A table, followed.
pub enum TableWatch {
    /// An `available` one. In a bag and with counters, each element and each part is a row.
    Available(RawWatch),
    /// An `owned` one.
    Owned(RawOwnedWatch),
    /// A `quorum` one.
    Quorum(RawQuorumWatch),
}

impl TableWatch {
    /// What the revisions of the latest changes belong to: of an `available` or `owned` table, the table as it was opened on
    /// this node; of a `quorum` one, a history that all nodes share. `None`: none was given yet.
    #[must_use]
    pub fn history(&self) -> Option<&str> {
        match self {
            Self::Available(watch) => Some(watch.history()),
            Self::Owned(watch) => Some(watch.history()),
            Self::Quorum(watch) => watch.history(),
        }
    }
}

/// Bytes of one page.
pub(super) const PAGE_BYTES: usize = 4 * 1024 * 1024;

impl TableDoor {
    /// What there is of a key: nothing, or a row. `None`: there is no such table.
    ///
    /// # Errors
    /// Of a quorum table: no majority answers.
    pub async fn get(&self, name: &str, key: &[u8], freshness: Freshness) -> Option<Result<Option<Row>, QuorumError>> {
        Some(match (self.tables.named(name)?, freshness) {
            (Slot::Available(slot), _) => Ok(get_available(&slot, key)),
            (Slot::Owned(slot), _) => Ok(get_owned(&slot, key)),
            (Slot::Quorum(slot), Freshness::Linearizable) => {
                slot.get(key, Instant::now() + DEADLINE).await.map(|row| row.map(|row| row_of_quorum(&row)))
            }
            (Slot::Quorum(slot), Freshness::Stale) => slot.get_stale(key).map(|row| row.map(|row| row_of_quorum(&row))),
        })
    }

    /// Rows whose keys begin with a prefix, after those of an earlier page. `None`: there is no such table.
    ///
    /// # Errors
    /// Of a quorum table: no majority answers.
    pub async fn scan(
        &self,
        name: &str,
        (prefix, after): (&[u8], Option<&[u8]>),
        rows: usize,
        freshness: Freshness,
    ) -> Option<Result<TablePage, QuorumError>> {
        self.scan_in(name, (prefix, after), Order::Ascending, rows, freshness).await
    }

    /// The same in this order: what comes after a key is in front of it where the last one comes first. `None`: there is
    /// no such table.
    ///
    /// # Errors
    /// Of a quorum table: no majority answers.
    pub async fn scan_in(
        &self,
        name: &str,
        (prefix, after): (&[u8], Option<&[u8]>),
        order: Order,
        rows: usize,
        freshness: Freshness,
    ) -> Option<Result<TablePage, QuorumError>> {
        let range = KeyRange::prefix(prefix);
        let range = after.map_or_else(|| range.clone(), |after| range.after(after, order));
        Some(match (self.tables.named(name)?, freshness) {
            (Slot::Available(slot), _) => Ok(scan_available(&slot, &range, order, rows)),
            (Slot::Owned(slot), _) => Ok(scan_owned(&slot, &range, order, rows)),
            (Slot::Quorum(slot), Freshness::Linearizable) => {
                slot.view(Instant::now() + DEADLINE).await.map(|view| scan_quorum(&slot, &view, &range, order, rows))
            }
            (Slot::Quorum(slot), Freshness::Stale) => {
                slot.stale_view().map(|view| scan_quorum(&slot, &view, &range, order, rows))
            }
        })
    }

    /// All rows, and then every change once. `None`: there is no such table.
    #[must_use]
    pub fn watch(&self, name: &str) -> Option<TableWatch> {
        Some(match self.tables.named(name)? {
            Slot::Available(slot) => TableWatch::Available(RawWatch::new(slot)),
            Slot::Owned(slot) => TableWatch::Owned(RawOwnedWatch::new(slot)),
            Slot::Quorum(slot) => TableWatch::Quorum(RawQuorumWatch::new(slot)),
        })
    }

    /// Every change after a revision of a history ([`TableWatch::history`]); where that is another one by now, or what
    /// came after is kept no more, a resync and all rows. `None`: there is no such table.
    #[must_use]
    pub fn watch_after(&self, name: &str, history: &str, revision: u64) -> Option<TableWatch> {
        Some(match self.tables.named(name)? {
            Slot::Available(slot) => TableWatch::Available(RawWatch::after(slot, history, revision)),
            Slot::Owned(slot) => TableWatch::Owned(RawOwnedWatch::after(slot, history, revision)),
            Slot::Quorum(slot) => TableWatch::Quorum(RawQuorumWatch::after(slot, history, revision)),
        })
    }
}

impl AvailableSlot {
    /// Whether each row of the table is a part of what its key has.
    pub(super) fn has_parts(&self) -> bool {
        self.schema.shape == Shape::Bag || matches!(self.schema.merge, MergeRule::Max | MergeRule::Sum)
    }
}

fn row_of_quorum(row: &quorum::Row) -> Row {
    let value = Cell::One(row.value().to_vec());
    Row { key: row.key().to_vec(), value, revision: row.version().to_string(), expires_at: row.expires_at() }
}

fn scan_quorum(slot: &QuorumSlot, view: &quorum::View, range: &KeyRange, order: Order, rows: usize) -> TablePage {
    let limits = PageLimits { rows, bytes: PAGE_BYTES };
    // One that the group does not know of yet has no row.
    let Ok(page) = view.page_in(slot.id, range, order, limits) else { return TablePage::default() };
    TablePage { rows: page.rows.iter().map(row_of_quorum).collect(), next: page.next }
}

fn get_available(slot: &AvailableSlot, key: &[u8]) -> Option<Row> {
    let wall = slot.world.clock.now().wall;
    let table = slot.read();
    if slot.has_parts() {
        return parts(slot, &table, key, wall);
    }
    table.get(key, wall).map(|version| row_of(&table, version))
}

/// What a key of a bag, or a counter, has.
fn parts(slot: &AvailableSlot, table: &Table, key: &[u8], wall: Wall) -> Option<Row> {
    let elements = table.bag_values(key, wall);
    let revision = revision_of(table, elements.iter().max_by_key(|version| version.hlc())?);
    let value = match slot.schema.merge {
        MergeRule::Sum => Cell::Number(table.sum(key, wall)?),
        MergeRule::Max => Cell::Number(table.max(key, wall)?),
        MergeRule::LastWriter | MergeRule::Union => {
            Cell::Many(elements.iter().map(|version| (version.value().to_vec(), version.expires_at())).collect())
        }
    };
    let expires_at = elements.iter().map(Version::expires_at).collect::<Option<Vec<_>>>();
    Some(Row { key: key.to_vec(), value, revision, expires_at: expires_at.and_then(|all| all.into_iter().max()) })
}

fn scan_available(slot: &AvailableSlot, range: &KeyRange, order: Order, rows: usize) -> TablePage {
    let wall = slot.world.clock.now().wall;
    let limits = PageLimits { rows, bytes: PAGE_BYTES };
    if slot.has_parts() {
        return scan_parts(slot, range.spread(), order, limits);
    }
    let clone = slot.read().rows();
    let page = scan_in(&clone, range, order, limits, wall);
    let table = slot.read();
    TablePage { rows: page.rows.iter().map(|version| row_of(&table, version)).collect(), next: page.next }
}

/// The keys of a bag or of counters: rows of one key follow each other.
fn scan_parts(slot: &AvailableSlot, mut left: KeyRange, order: Order, limits: PageLimits) -> TablePage {
    let wall = slot.world.clock.now().wall;
    let clone = slot.read().rows();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let more = 'all: loop {
        let page = scan_in(&clone, &left, order, limits, wall);
        for key in page.rows.iter().filter_map(|row| part_of(row.key())) {
            if keys.last() != Some(&key) {
                if keys.len() == limits.rows {
                    break 'all true;
                }
                keys.push(key);
            }
        }
        match page.next {
            Some(last) => left = left.after(&last, order),
            None => break false,
        }
    };
    let table = slot.read();
    let rows = keys.iter().filter_map(|key| parts(slot, &table, key, wall)).collect();
    TablePage { rows, next: keys.last().filter(|_| more).cloned() }
}

fn get_owned(slot: &OwnedSlot, key: &[u8]) -> Option<Row> {
    owned_row(&slot.read(), key)
}

fn owned_row(table: &OwnedTable, key: &[u8]) -> Option<Row> {
    let values: Vec<_> = table.get(key).map(|(owner, row)| (owner, row.value().to_vec())).collect();
    let revision = table.revision().to_string();
    (!values.is_empty()).then(|| Row { key: key.to_vec(), value: Cell::Owned(values), revision, expires_at: None })
}

fn scan_owned(slot: &OwnedSlot, range: &KeyRange, order: Order, rows: usize) -> TablePage {
    let owners = slot.read().snapshot();
    // Of each owner as many as there may be in all: what comes first of all of them is among these.
    let shown = owners.iter().filter(|(_, shown, _)| *shown);
    let firsts = shown.flat_map(|(_, _, of_owner)| walk(of_owner, range, order).map(OwnedRow::key).take(rows + 1));
    let mut keys: Vec<&[u8]> = firsts.collect();
    keys.sort_unstable();
    if order == Order::Descending {
        keys.reverse();
    }
    keys.dedup();
    let next = (keys.len() > rows).then(|| keys.truncate(rows)).and_then(|()| keys.last()).map(|key| key.to_vec());
    let table = slot.read();
    TablePage { rows: keys.into_iter().filter_map(|key| owned_row(&table, key)).collect(), next }
}

fn row_of(table: &Table, version: &Version) -> Row {
    let value = Cell::One(version.value().to_vec());
    Row { key: version.key().to_vec(), value, revision: revision_of(table, version), expires_at: version.expires_at() }
}

fn revision_of(table: &Table, version: &Version) -> String {
    let id = table.id_of(version);
    format!("{}-{}", id.origin.guid, id.number)
}
