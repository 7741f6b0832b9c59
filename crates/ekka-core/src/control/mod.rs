//! The one place where membership, formation, identity and decisions meet.
//!
//! **Owns** the rooms, the table of connections, the commands under way, and the [`View`] that all others read.
//!
//! **Inputs** [`Input`] and **outputs** [`Output`] are everything that a node exchanges with its shell. The shell
//! carries bytes, dials, writes files and asks strategies; it never decides what the cluster believes.

pub mod io;

pub use io::*;
