//! Replicated tables that every side of a partition writes.
//!
//! **Owns**, for one `available` table on one node: the rows, the op log, the vector of what is held, the override
//! journal, the tombstones and the floor of those dropped, the clock, the cursors of the peers.
//!
//! **Inputs** writes of the application, messages of peers, who is a member, which incarnations are over, what is synced.
//!
//! **Outputs** messages for peers (the shell asks for them when a connection can take more), the watermark of what is
//! acknowledged, changes for watchers, what has to be set aside on disc.
//!
//! **Invariants**: an operation counts as held only with all earlier ones of its origin, and with the version that it
//! replaced; a version that loses to one which does not descend from it is in the journal of every node that merges it;
//! a tombstone is dropped only when every member holds it and no older operation can still be on its way; nothing of a
//! full copy counts before all of it is in.
//!
//! Tables that only the side of the majority writes are in [`quorum`].
//!
//! **Sources**: Lamport, *Time, Clocks* (1978); Ladin, Liskov, Shrira, Ghemawat, *Providing High Availability Using Lazy
//! Replication* (1992); Almeida, Baquero and others, *Dotted Version Vectors* (2012); Shapiro and others, *Conflict-free
//! Replicated Data Types* (2011); section 12 of the design; schedules S1-10, S1-11, S2-11, S2-12, M1 to M6.

mod abreast;
mod acks;
mod available;
mod batch;
mod changes;
mod check;
mod copy;
mod digest;
mod estate;
mod event;
mod faults;
mod guard;
mod index;
mod journal;
mod log;
mod map;
mod merge;
mod message;
mod over;
mod owned;
mod parts;
mod peers;
mod position;
mod pull;
mod put_off;
pub mod quorum;
mod saved;
mod scan;
mod sound;
mod stamp;
mod sweep;
mod terms;
#[cfg(test)]
mod tests;
mod vector;
mod version;

pub use crate::schema::{Copies, Kind, MergeRule, Schema, SchemaError, Shape, Storage};
pub use acks::{Ack, Acknowledged, TooFewCopies};
pub use available::Table;
pub use batch::Batch;
pub use changes::{Change, Resync, Revision};
pub use copy::{Giving, Waste};
pub use digest::{Cut, Digest, KeyHash, RANGES, behind, key_hash, range_of};
pub use estate::Estate;
pub use event::Event;
pub use faults::Faults;
pub use guard::{GuardedWall, Jump, Offset};
pub use index::{Extract, Index, Indexable, Place};
pub use map::{Back, Entry, Iter, Map};
pub use message::{Body, CopyHead, CopyPlace, Envelope, Message, Report};
#[cfg(test)]
use owned::Operations;
pub use owned::{OwnedChange, OwnedFaults, OwnedMessage, OwnedRow, OwnedTable, OwnerIndex, Sequence};
pub use parts::{part_number, part_of};
pub use position::{Position, Since};
pub use saved::{Fate, Saved};
pub use scan::{KeyRange, Order, Page, PageLimits, Walk, scan, scan_in, walk};
pub use stamp::{Hlc, HybridClock, PeerClocks, Stamp, StampError};
pub use terms::{Receipt, Settings, Size, WriteError};
pub use vector::{OpId, OpNumber, OriginIndex, Vector};
pub use version::{Malformed, Version};
