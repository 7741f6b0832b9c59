//! An API server of Kubernetes for tests, and pods as agents.
//!
//! It follows the documented API ("Kubernetes API Concepts", "Using RBAC Authorization"): TLS, bearer tokens, rules for
//! each verb and resource, lists with pages, watches with bookmarks and 410, Status objects, and the documents by which
//! `kubectl` finds its way. It is no Kubernetes: objects are as the test puts them there.

mod access;
mod answer;
mod fleet;
mod pki;
mod serve;
mod world;

pub(crate) use access::{Access, Rule};
pub(crate) use fleet::{Fleet, TOKEN};
pub(crate) use pki::Pki;
pub(crate) use serve::{ApiServer, Place};
pub(crate) use world::{Pod, World};
