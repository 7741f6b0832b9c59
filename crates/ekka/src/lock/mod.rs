//! Locks of a cluster: held by one process at a time, lost when that process or its node dies, with a fencing token.
//!
//! ```no_run
//! # use std::time::Duration;
//! # async fn charge(token: u64) {}
//! # async fn bill(node: ekka::node::Node) -> Result<(), Box<dyn std::error::Error>> {
//! let guard = node.lock("billing")?.acquire().wait(Duration::from_secs(5)).await?;
//! // Ends early, with an error, when the lock is lost.
//! guard.run(charge(guard.token())).await?;
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! **A guard is no proof.** A process can be stopped after it has looked at its guard and before it acts. Whatever must not be
//! done twice checks the [`token`](Guard::token) where it is done: a resource that has seen a token refuses every smaller one.
//!
//! **The way of a lock.** The desk of a node keeps the sessions of its process ([`ekka_core::lock::Holder`]) and has their
//! commands committed by the volatile group, by its own replica or by a node that has one. A replica tells the desk of its node
//! what each command did (`ledger`); the desk of the node that leads also ends sessions that nobody renews
//! ([`ekka_core::lock::Keeper`]), tells nodes without a replica whom it let in, and takes tokens from the durable group.

mod asking;
mod desk;
mod error;
mod guard;
mod holding;
mod leading;
mod ledger;
mod list;
mod request;
mod sessions;
mod voting;
mod way;
mod wire;

pub use error::LockError;
pub use guard::Guard;
pub use list::{LockHolder, LockRow};
pub use request::{Acquire, Lock, LockKind};

pub(crate) use desk::{Desk, Setup};
pub(crate) use ledger::{Book, Kept, Ledger};
pub(crate) use way::{Locks, Take, serve};
