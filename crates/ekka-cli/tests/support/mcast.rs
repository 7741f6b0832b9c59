//! Nodes that find each other by multicast.

use super::{Cluster, Netns};

/// Nodes on the hosts of a network, each with a group and ports of its own kind of test.
pub(crate) fn nodes(network: &Netns, hosts: usize) -> Cluster {
    let mut cluster = Cluster::on_hosts(network.addresses().into_iter().take(hosts).collect());
    for (host, agent) in cluster.agents.iter_mut().enumerate() {
        agent.enter(&network.namespace(host));
        agent.set("cluster.discovery", "mcast").unset("cluster.static.seeds");
    }
    cluster
}
