//! One suite for each port, run on every adapter of it.

pub mod consensus;
