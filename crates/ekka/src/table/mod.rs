//! Replicated tables of one node: what the application reads and writes, and how it gets to the other nodes.
//!
//! **The way of a write.** A caller stamps, merges and appends in one short critical section, in its own task
//! (`available`); links to the peers take what is new from the op log (`link`); what peers say that they hold settles
//! whoever waits for copies (`acks`). Reads look up in the caller's task. Nothing of it passes the control driver.
//!
//! **The way of everything else.** `hub` follows what the cluster has committed (`committed`: schemas, members, starts
//! that are over) and what membership sees, opens and drops tables, keeps a link to each peer, and ticks. Full copies go
//! over the bulk lane (`copies`). What two nodes must agree on without a socket is `ekka_core::table`.
//!
//! **Threads.** A node carries its tables on a thread of their own; callers await on whatever runtime they are.
//!
//! **Disc.** A table of the storage `disc` has a keeper (`disc`), which brings its op log and checkpoints into the
//! store; nothing of it is acknowledged before it is synced.
//!
//! **Memory.** A peer that does not read costs a cursor: the op log has a bound, and whoever is behind its tail gets a full
//! copy. A link holds one batch for its peer at a time.

mod acks;
mod aside;
mod available;
mod backup;
#[cfg(feature = "admin")]
mod bench;
mod bounds;
mod committed;
mod copies;
mod def;
mod digest;
mod disc;
mod door;
mod error;
mod estate;
mod figures;
pub mod fuzz;
mod handle;
mod heal;
mod hub;
mod key;
mod lag;
mod link;
mod owned;
mod parts;
mod quorum;
mod seldom;
mod signals;
mod slot;
mod told;
mod watch;
mod wire;

pub use self::backup::{Backup, BackupError, RestoreError, RestoreMode, Restored, TableRestored};
#[cfg(feature = "admin")]
pub use self::bench::{BenchOp, TableFigures, TablePlan};
pub use self::def::{Available, Owned, Quorum, TableDef, TableKind};
pub use self::digest::{PeerVerdict, Step, TableVerdict};
pub use self::door::{
    Cell, Freshness, Loss, Row, TableDoor, TableInfo, TablePage, TableWatch, UnknownRevision, WriteTerms, is_built,
};
pub use self::error::{NotLoaded, OpenError, PutError, ReadError};
pub use self::figures::{TableCounts, ops_of};
pub use self::handle::{
    Add, AddNumber, Delete, DeleteRow, Expected, IndexKeys, IndexRange, OwnedScan, Place, Put, PutMany, PutRow,
    QuorumScan, QuorumWrite, Request, RowScan, Scan, Stored, Table, TableIndex, Work, WriteRows,
};
pub use self::key::TableKey;
pub use self::quorum::{QuorumError, QuorumWatch, RawQuorumChange, RawQuorumWatch, Transaction};
pub use self::watch::{
    Change, CursorError, CursorWatch, OwnedChange, OwnedWatch, RawChange, RawOwnedChange, RawOwnedWatch, RawWatch,
    Watch,
};
pub use ekka_core::schema::{Kind, MergeRule, Schema, SchemaError, Shape, Storage};
pub use ekka_core::table::{Ack, Acknowledged, Order};

pub(crate) use self::aside::Tell;
pub(crate) use self::backup::{Job, pieces_of};
pub(crate) use self::committed::Committed;
pub(crate) use self::digest::{Answering, serve as serve_digests};
pub(crate) use self::heal::Exchanged;
pub(crate) use self::hub::{MakeTable, OnlyHere, Setup, Tables, prepare};
#[cfg(test)]
pub(crate) use self::quorum::logged;
pub(crate) use self::quorum::{BeginRows, Beside, First, Here, Replica, Rows, join, lend, no_room_for, split};
pub(crate) use ekka_core::table::quorum::TableId;
