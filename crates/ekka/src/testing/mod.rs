//! For tests of programs and of own implementations of the ports. Behind the feature `testing`.

pub mod suite;
