//! Tables that are known by their names only: for the command line and for programs in any language.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::schema::{Kind, Schema};
use ekka_core::table::{Ack, Acknowledged, KeyRange, PageLimits, scan};

use super::available::{AvailableSlot, Terms};
use super::error::{PutError, ReadError};
use super::handle::{DEADLINE, after, removal, single};
use super::hub::Tables;
use super::slot::Slot;
use super::watch::RawWatch;

/// A row in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value, in the codec of the table.
    pub value: Vec<u8>,
    /// Which version of it: the node that wrote it, and the number of the write there.
    pub revision: String,
}

/// Some rows, and where the next ones begin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TablePage {
    /// The rows, in the order of the bytes of their keys.
    pub rows: Vec<Row>,
    /// The key after which to go on; `None` where there are no more.
    pub next: Option<Vec<u8>>,
}

/// How a table is on this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableInfo {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub schema: Schema,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that are deleted, and kept until everybody knows.
    pub tombstones: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Whether it has got from its peers what they hold.
    pub loaded: bool,
    /// Operations of this node that a linked peer has not said to hold.
    pub lag: Vec<(String, u64)>,
    /// Versions that were overridden by one whose writer had not seen them, and are kept in the journal.
    pub overridden: u64,
}

/// How a write through this door is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteTerms {
    /// How many nodes have to have it.
    pub ack: Ack,
    /// Fewer than two copies are an error.
    pub strict: bool,
    /// How long they are waited for.
    pub deadline: Duration,
}

impl Default for WriteTerms {
    fn default() -> Self {
        Self { ack: Ack::Two, strict: false, deadline: DEADLINE }
    }
}

/// The way to the tables of a node by their names.
#[derive(Clone)]
pub struct TableDoor {
    tables: Arc<Tables>,
}

impl TableDoor {
    pub(crate) fn new(tables: Arc<Tables>) -> Self {
        Self { tables }
    }

    /// The names of the tables that are open here.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.tables.slots().iter().map(|slot| slot.schema().name.clone()).collect()
    }

    /// The schema of a table, and its number.
    #[must_use]
    pub fn schema(&self, name: &str) -> Option<(u64, Schema)> {
        self.tables.named(name).map(|slot| (slot.id(), slot.schema().clone()))
    }

    /// How a table is on this node.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<TableInfo> {
        let slot = self.tables.named(name)?;
        let links = self.tables.world.links.all();
        let lag = |peer: &Arc<super::link::Link>| Some((peer.name.to_string(), slot.lag_of(peer.peer.node_id)?));
        let lag = links.iter().filter_map(lag).collect();
        let (id, schema, loaded) = (slot.id(), slot.schema().clone(), *slot.loaded().borrow());
        let Slot::Available(available) = &slot;
        let table = available.read();
        let (size, overridden) = (table.size(), table.journal_size().2);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let (rows, tombstones, bytes) = (count(size.rows), count(size.tombstones), count(size.bytes));
        Some(TableInfo { id, schema, rows, tombstones, bytes, loaded, lag, overridden })
    }

    fn available(&self, name: &str) -> Option<Arc<AvailableSlot>> {
        match self.tables.named(name)? {
            Slot::Available(slot) => Some(slot),
        }
    }

    /// Writes a row. `None`: there is no such table.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn put(
        &self,
        name: &str,
        (key, value): (&[u8], &[u8]),
        ttl: Option<Duration>,
        terms: WriteTerms,
    ) -> Option<Result<Acknowledged, PutError>> {
        let slot = self.available(name)?;
        let expires_at = ttl.map(|ttl| after(slot.world.clock.now().wall, ttl));
        Some(match single(&slot.schema, key, value, expires_at) {
            Ok(write) => slot.put(write, Terms { ack: terms.ack, strict: terms.strict }, terms.deadline).await,
            Err(error) => Err(error),
        })
    }

    /// Deletes what there is of a key. `None`: there is no such table.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn delete(&self, name: &str, key: &[u8], terms: WriteTerms) -> Option<Result<Acknowledged, PutError>> {
        let slot = self.available(name)?;
        let write = removal(&slot.schema, key);
        Some(slot.put(write, Terms { ack: terms.ack, strict: terms.strict }, terms.deadline).await)
    }

    /// The row of a key. `None`: there is no such table.
    ///
    /// # Errors
    /// The table does not take this kind of read.
    pub fn get(&self, name: &str, key: &[u8]) -> Option<Result<Option<Row>, ReadError>> {
        let slot = self.available(name)?;
        let wall = slot.world.clock.now().wall;
        let table = slot.read();
        Some(Ok(table.get(key, wall).map(|version| row_of(&table, version))))
    }

    /// Rows of a range of keys, after a key. `None`: there is no such table.
    #[must_use]
    pub fn scan(&self, name: &str, prefix: &[u8], from: Option<&[u8]>, rows: usize) -> Option<TablePage> {
        let slot = self.available(name)?;
        let wall = slot.world.clock.now().wall;
        let (clone, limits) = (slot.read().rows(), PageLimits { rows, bytes: PAGE_BYTES });
        let page = scan(&clone, &KeyRange::prefix(prefix), from, limits, wall);
        let table = slot.read();
        let rows = page.rows.iter().map(|version| row_of(&table, version)).collect();
        Some(TablePage { rows, next: page.next })
    }

    /// All rows, and then every change once. `None`: there is no such table.
    #[must_use]
    pub fn watch(&self, name: &str) -> Option<RawWatch> {
        self.available(name).map(RawWatch::new)
    }

    /// Every change after a revision of this node and this start of it. `None`: there is no such table.
    #[must_use]
    pub fn watch_after(&self, name: &str, revision: u64) -> Option<RawWatch> {
        self.available(name).map(|slot| RawWatch::after(slot, revision))
    }

    /// Waits until a table with this number is open here and has got from its peers what they hold, so long at most;
    /// whether it has.
    pub async fn loaded(&self, id: u64, limit: Duration) -> bool {
        let tables = &self.tables;
        let wait = async {
            let mut committed = tables.committed();
            let slot = loop {
                match tables.slot(id) {
                    Some(slot) => break slot,
                    // It is opened a moment after its entry was applied.
                    None => drop(tokio::time::timeout(SOON, committed.changed()).await),
                }
            };
            slot.loaded().wait_for(|loaded| *loaded).await.is_ok()
        };
        tokio::select! {
            biased;
            () = tables.stopped() => false,
            loaded = tokio::time::timeout(limit, wait) => loaded.unwrap_or(false),
        }
    }
}

/// Bytes of one page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
const SOON: Duration = Duration::from_millis(5);

fn row_of(table: &ekka_core::table::Table, version: &ekka_core::table::Version) -> Row {
    let id = table.id_of(version);
    let revision = format!("{}-{}", id.origin.guid, id.number);
    Row { key: version.key().to_vec(), value: version.value().to_vec(), revision }
}

/// Whether tables of this kind are there yet.
#[must_use]
pub fn is_built(kind: Kind) -> bool {
    kind == Kind::Available
}
