//! Many `Control` machines on one event heap: virtual time, a network that delays, cuts and stalls, discs that forget
//! what was not yet written.
//!
//! Connections behave as TCP does: in order, resets on the end of a process, hangs on a cut (what was sent arrives
//! late, or never where the connection is given up first).

mod faults;
mod links;
mod net;
mod node;
mod words;
mod world;

pub use faults::{Plan, Schedule, Step, apply, converged, name, repair};
pub use node::{Disc, Machine, NodeSpec, Process};
pub use world::{Report, World};
