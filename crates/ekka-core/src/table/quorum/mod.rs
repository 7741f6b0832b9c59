//! Tables that only the side of the majority writes: the state machine of all quorum tables of one group.
//!
//! **Owns** the rows of these tables, their revision and clock, the latest changes for watchers.
//!
//! **Inputs** committed [`Command`]s, snapshots.
//!
//! **Outputs** an [`Answer`] for whoever proposed the command, changes for watchers, pieces of a snapshot.
//!
//! **Invariants**: equal logs give equal states, and equal bytes of snapshots; a transaction writes all or nothing, and
//! only where every row and range that it has read is as it was read, so transactions are as if one came after the
//! other; the version of a row is the revision that wrote it, and no later one is ever lower; what has expired is never
//! read; a watcher sees each change once, in order, or is told to begin anew.
//!
//! A [`View`] is the state at one revision and costs nothing to take. A [`Draft`] is a transaction that is being made
//! on one: it notes what is read, shows its own writes, and becomes a command.
//!
//! **Sources**: Kung, Robinson, *On Optimistic Methods for Concurrency Control* (1981); section 12 of the design.

mod answer;
mod command;
mod contents;
mod digest;
mod draft;
mod faults;
mod follow;
pub(super) mod hash;
mod limit;
mod octets;
mod pieces;
mod reader;
mod row;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use answer::Answer;
pub use command::{Command, RangeRead, Read, TableId, Transaction, Write};
pub use contents::Figures;
pub use draft::{Draft, DraftError};
pub use faults::Faults;
pub use follow::{Delta, Mark};
pub use limit::{Limit, TooLarge};
pub use octets::Octets;
pub use pieces::Pieces;
pub use reader::{BadSnapshot, Reader};
pub use row::Row;
pub use state::QuorumTables;
pub use view::{NoTable, Page, View};
pub use watch::{Change, Changed, Cursor, News};
