//! The tests of the library from outside, in one binary: what they share is compiled and linked once.

#[cfg(feature = "admin")]
mod admin;
mod config_bad;
mod config_examples;
mod config_fuzz;
mod config_meaning;
mod config_support;
#[cfg(feature = "testing")]
mod consensus_transport;
mod control_fuzz;
mod control_support;
#[cfg(feature = "etcd")]
mod etcd_access;
#[cfg(feature = "etcd")]
mod etcd_decides;
#[cfg(feature = "etcd")]
mod etcd_entries;
#[cfg(feature = "etcd")]
mod etcd_hostile;
#[cfg(feature = "etcd")]
mod etcd_support;
#[cfg(feature = "etcd")]
mod etcd_v2;
#[cfg(any(feature = "etcd", feature = "k8s"))]
#[cfg_attr(not(feature = "etcd"), expect(dead_code, reason = "its other half is for etcd"))]
mod fake_server;
mod fuzz_support;
#[cfg(feature = "k8s")]
mod k8s_fuzz;
#[cfg(feature = "k8s")]
mod k8s_servers;
mod locks;
mod quorum_disc_full;
mod quorum_tables;
mod reload;
mod rotation;
mod rpc_calls;
mod rpc_fuzz;
mod rpc_lanes;
mod rpc_streams;
mod rpc_support;
#[cfg(feature = "testing")]
mod storage_damage;
#[cfg(feature = "testing")]
mod storage_engine;
#[cfg(feature = "testing")]
mod storage_process;
#[cfg(feature = "testing")]
mod storage_support;
mod support;
mod table_digest;
mod table_fuzz;
mod table_handles;
mod three_nodes;
mod transport_bad_peers;
mod transport_bulk;
mod transport_common;
mod transport_files;
mod transport_half_open;
mod transport_links;
mod transport_strangers;
mod transport_trust;
