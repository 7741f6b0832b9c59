//! Whole nodes in `turmoil`: the real shell, transport and TLS over a simulated network, clock, disc and randomness.
//!
//! Each host runs [`ekka::node::start`] as tasks of its own simulated runtime. A crash drops the host's tasks; what
//! its disc had synced stays. The invariants read the same views that a program embedding the node would read.

mod calls;
mod discs;
mod disk;
mod env;
mod group;
mod growth;
mod links;
mod members;
mod net;
mod operator;
mod phases;
mod plan;
mod storage;
mod tables;
mod world;

pub use calls::CallCounts;
pub use disk::SimDisk;
pub use env::{SimClock, SimEntropy};
pub use group::GroupCounts;
pub use growth::Growth;
pub use net::SimNet;
pub use plan::{DiscFault, Plan, Step};
pub use storage::{SimStorage, StoreDisc, StoreFaults};
pub use tables::{TableCounts, TableFault, TablesPlan};
pub use world::{Found, Report, World};
