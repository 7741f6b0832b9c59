//! Conformance suites: what every implementation of a port has to do. They panic where it does not.

pub mod storage;
