//! Conformance suites, one for each port, run on every adapter of it. They panic where an adapter does not do what it
//! has to.

pub mod consensus;
pub mod storage;
