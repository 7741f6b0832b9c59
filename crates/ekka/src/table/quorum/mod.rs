//! Quorum tables on this node: written by a majority, read behind it.
//!
//! | file | does |
//! |---|---|
//! | `rows`, `beside` | the tables as a part of the state of a group |
//! | `here` | which replicas this node uses: those that run here, or what is followed elsewhere |
//! | `mirror`, `door` | rows of a replica elsewhere, and commands for its group, where this node has none |
//! | `lender`, `wire` | the same from the other side, and what is said |
//! | `slot` | one table: barriers, commands, what to do where a group ends |
//! | `chores` | what the leader's node does now and then: expiry, dropped tables |

mod beside;
mod chores;
mod cut;
mod door;
mod error;
mod here;
mod lender;
mod mirror;
mod rows;
mod slot;
mod transact;
mod watch;
mod wire;

pub use self::error::QuorumError;
pub use self::transact::Transaction;
pub use self::watch::{QuorumWatch, RawQuorumChange, RawQuorumWatch};

#[cfg(test)]
pub(crate) use self::beside::logged;
pub(crate) use self::beside::{Beside, First, join, no_room_for, split};
pub(super) use self::chores::Chores;
pub(crate) use self::here::{Here, Replica};
pub(crate) use self::lender::lend;
pub(super) use self::mirror::Mirror;
pub(crate) use self::rows::Rows;
pub(super) use self::slot::QuorumSlot;
pub(super) use self::transact::transact;

use std::sync::Arc;

use crate::env::BoxFuture;

/// Has it committed that quorum tables hold rows from now on.
pub(crate) type BeginRows = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;
