//! A cluster in twenty lines: nodes that find each other, heal after partitions, and share data and locks.
//!
//! The protocol lives in [`ekka_core`] as pure state machines; this crate gives it sockets, files, clocks and an
//! API. Read `docs/ARCHITECTURE.md` for the way of the data.
#![forbid(unsafe_code)]

#[cfg(feature = "admin")]
pub mod admin;
mod answers;
pub mod backup;
mod codec;
pub mod config;
pub mod consensus;
pub mod discovery;
pub mod env;
pub mod histogram;
mod home;
#[cfg(any(feature = "etcd", feature = "k8s"))]
mod http;
pub mod lock;
mod meeting;
pub mod node;
mod pem;
pub mod rpc;
pub mod storage;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;

pub use ekka_core as core;
