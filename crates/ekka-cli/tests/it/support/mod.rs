//! Real `ekka agent` processes for tests: started, asked, stopped, frozen, killed, cut off.
//!
//! Everything is asked through the binary's own `--json`, which is a contract; nothing here knows the inside of a node.
//! Nodes live on addresses of 127.0.0.0/8 that belong to this test process, or in network namespaces ([`netns`]).

pub(crate) mod agent;
pub(crate) mod alerts;
pub(crate) mod ask;
pub(crate) mod cluster;
pub(crate) mod dns;
pub(crate) mod dns_responder;
#[expect(dead_code, reason = "the tests of the library compile it too, and need the rest")]
pub(crate) mod etcd;
pub(crate) mod figures;
pub(crate) mod folder;
pub(crate) mod gated;
pub(crate) mod history;
pub(crate) mod k8s;
pub(crate) mod load;
pub(crate) mod mcast;
pub(crate) mod metrics;
pub(crate) mod netns;
pub(crate) mod parted;
pub(crate) mod poll;
pub(crate) mod probes;
pub(crate) mod process;
pub(crate) mod rows;
pub(crate) mod scribes;
pub(crate) mod sse;
pub(crate) mod stall;
pub(crate) mod wall;

pub(crate) use agent::Agent;
pub(crate) use cluster::Cluster;
pub(crate) use etcd::Etcd;
pub(crate) use figures::{Figures, duration, rounds};
pub(crate) use netns::Netns;
pub(crate) use stall::Stall;
