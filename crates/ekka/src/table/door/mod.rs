//! Tables that are known by their names only: for the command line and for programs in any language.

mod losses;
mod read;
mod ready;
mod write;

pub use self::losses::{Loss, UnknownRevision};
pub use self::read::{Cell, Freshness, Row, TablePage, TableWatch};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::schema::{Kind, Schema};
use ekka_core::table::{Ack, Size};

use super::figures::TableCounts;
use super::handle::DEADLINE;
use super::hub::Tables;
use super::slot::Slot;

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
    /// Operations of this node that each other member has not said to hold: of one that is out of reach, since what it
    /// said last.
    pub lag: Vec<(String, u64)>,
    /// The other members that hold tables; none where the table has no lag.
    pub peers: Vec<(String, NodeId)>,
    /// Versions that were overridden by one whose writer had not seen them, and are kept in the journal.
    pub overridden: u64,
    /// Whether the last comparison with the peers found a difference; `None` where there was none.
    pub differs: Option<bool>,
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

/// What there is of each member, by its name.
type Named<T> = Vec<(String, T)>;

/// The way to the tables of a node by their names.
#[derive(Clone)]
pub struct TableDoor {
    pub(super) tables: Arc<Tables>,
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
        let (id, schema, loaded) = (slot.id(), slot.schema().clone(), *slot.loaded().borrow());
        let (size, overridden) = match &slot {
            Slot::Available(slot) => {
                let table = slot.read();
                (table.size(), table.journal_size().2)
            }
            Slot::Quorum(slot) => {
                let figures = slot.figures();
                let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
                (Size { rows: size(figures.rows), bytes: size(figures.bytes), tombstones: 0 }, 0)
            }
            Slot::Owned(slot) => {
                let (rows, bytes) = slot.read().size();
                (Size { rows, bytes, tombstones: 0 }, 0)
            }
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let (rows, tombstones, bytes) = (count(size.rows), count(size.tombstones), count(size.bytes));
        let (peers, lag) = self.lags(&slot);
        let differs = self.tables.verdicts.differs(id);
        Some(TableInfo { id, schema, rows, tombstones, bytes, loaded, lag, peers, overridden, differs })
    }

    /// The other members, and how many operations of this node each has not said to hold.
    fn lags(&self, slot: &Slot) -> (Named<NodeId>, Named<u64>) {
        let Some(latest) = slot.latest() else { return Default::default() };
        let others = self.tables.others(&self.tables.committed().borrow());
        let peers: Named<NodeId> = others.into_iter().map(|node| (self.tables.world.name_of(node), node)).collect();
        let figures = slot.figures();
        let lag_of = |node: NodeId| {
            let known = latest.saturating_sub(figures.acked(node).unwrap_or(0));
            slot.lag_of(node).map_or(known, |lag| lag.min(known))
        };
        let lag = peers.iter().map(|(name, node)| (name.clone(), lag_of(*node))).collect();
        (peers, lag)
    }

    /// How many rows of each table are in files of the folder `set-aside`, as of the last minute: of each that is open, and
    /// of each of which there is a file.
    #[must_use]
    pub fn set_aside(&self) -> BTreeMap<String, u64> {
        let mut rows: BTreeMap<String, u64> = self.names().into_iter().map(|name| (name, 0)).collect();
        rows.extend(self.tables.aside.rows());
        rows
    }

    /// How many seconds ago a backup was given whole by this node; `None` where none ever was.
    #[must_use]
    pub fn last_backup_s(&self) -> Option<u64> {
        self.tables.backups.age_s(self.tables.now().wall)
    }

    /// How a table is on this node, and what was counted of it.
    #[must_use]
    pub fn figures(&self, name: &str) -> Option<(TableInfo, TableCounts)> {
        let (info, slot) = (self.info(name)?, self.tables.named(name)?);
        let now = self.tables.now().mono;
        Some((info, slot.figures().counts(slot.schema().kind, now)))
    }
}

/// Whether tables of this kind are there yet.
#[must_use]
pub fn is_built(kind: Kind) -> bool {
    matches!(kind, Kind::Available | Kind::Owned | Kind::Quorum)
}
