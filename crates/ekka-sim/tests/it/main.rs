//! The tests of whole nodes and of the tree, in one binary: what they share is compiled and linked once.

mod consensus_ideal;
mod core_seeds;
mod determinism;
mod growth_seeds;
mod linear;
mod linear_group;
mod mutants;
mod quorum_linear;
mod quorum_seeds;
mod regress;
mod stack_calls;
mod stack_found;
mod stack_seeds;
mod stack_tables;
mod storage_faults;
mod storage_suite;
mod tidy;
