//! Configuration: several front ends, one checked model.
//!
//! `cuttlefish` (`.conf`), `erlang` (`.config`), `env` and `--set` give raw values with their places; `checked` turns
//! them into a [`Config`], whose fields are valid by construction. Later sources win in that order.

mod model;

pub use model::*;
