//! Many `Control` machines on one event heap: virtual time, a network that delays, cuts and stalls, discs that forget
//! what was not yet written.
//!
//! Connections behave as TCP does: in order, resets on the end of a process, hangs on a cut (what was sent arrives
//! late, or never where the connection is given up first).

mod backend;
mod converge;
mod copies;
mod discovery;
mod endings;
mod group;
mod happening;
mod heal;
mod kinds;
mod links;
mod net;
mod node;
mod operator;
mod plan;
mod steps;
mod swarm;
mod volatile;
mod words;
mod world;

pub use backend::{Backend, BackendPlan, Source, Trouble};
pub use converge::converged;
pub use discovery::{Lies, Stranger};
pub use kinds::Kind;
pub use node::{Disc, Machine, NodeSpec, Process};
pub use plan::Plan;
pub use steps::{Schedule, Step, apply, name, repair};
pub use world::{Report, World};
