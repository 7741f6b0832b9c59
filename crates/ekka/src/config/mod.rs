//! Configuration: several front ends, one checked model.
//!
//! `cuttlefish` (`.conf`), `erlang` (`.config`), `env` and `--set` give raw values with their places; `checked` turns
//! them into a [`Config`], whose fields are valid by construction. Later sources win in that order.

mod auto;
mod builder;
mod checked;
mod cuttlefish;
mod effective;
mod env;
mod erlang;
mod error;
mod explain;
mod formation;
mod fuzz;
mod keys;
mod kind;
mod load;
mod model;
mod pods;
mod raw;
mod value;

#[cfg(feature = "k8s")]
pub(crate) use auto::in_pod;
pub use auto::{Machine, Surroundings};
pub use builder::ConfigBuilder;
pub use error::{ConfigError, ConfigErrors, Notice, Place};
pub use explain::explain;
pub use formation::formation_settings;
pub use fuzz::{fuzz_conf, fuzz_erlang};
pub use load::{Effective, Loaded, Sources, load, load_in};
pub use model::*;
#[cfg(feature = "k8s")]
pub(crate) use pods::pod_name;
