//! Deterministic simulation: the cores alone with virtual time and network, and whole nodes in `turmoil`.
#![forbid(unsafe_code)]

pub mod core_world;
pub mod invariant;
