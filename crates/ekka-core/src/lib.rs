//! The pure cores of ekka: state machines without input, output, clock or randomness of their own.
//!
//! Data flows one way: bytes → [`wire`] → a room's `handle` → outputs → the shell in the crate `ekka`.
//! A *room* is a module that owns one kind of state; its head says what it owns, what comes in, what goes out,
//! and what always holds.
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | vocabulary | [`id`], [`time`], [`rng`], [`limits`] | each other |
//! | shared facts | [`view`], [`event`], [`decision`], [`machine`], [`schema`] | the vocabulary |
//! | bytes, ports | [`wire`], [`consensus`] | the above |
//! | rooms | [`membership`], [`autocluster`], [`autoclean`], [`identity`], [`durable`], [`lease`], [`lock`], [`volatile`], [`rpc`], [`table`] | the above, never each other's state |
//! | meeting place | [`control`] | everything |
//!
//! The crate is `#![no_std]` with `alloc`, so the compiler proves that its own code cannot reach a clock, a
//! socket, a thread or a hash map.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod autoclean;
pub mod autocluster;
pub mod autoheal;
pub mod consensus;
pub mod control;
pub mod decision;
pub mod durable;
pub mod event;
pub mod id;
pub mod identity;
pub mod lease;
pub mod limits;
pub mod lock;
pub mod machine;
pub mod membership;
pub mod rng;
pub mod rpc;
pub mod schema;
pub mod table;
pub mod time;
pub mod view;
pub mod volatile;
pub mod wire;
