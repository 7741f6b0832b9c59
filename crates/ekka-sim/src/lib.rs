//! Deterministic simulation: the cores alone with virtual time and network, and whole nodes in `turmoil`.
#![forbid(unsafe_code)]

pub mod core_world;
pub mod failure;
pub mod ideal;
pub mod invariant;
pub mod linear;
pub mod mutants;
pub mod stack;
pub mod trace;
