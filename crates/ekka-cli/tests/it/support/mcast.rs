//! Nodes that find each other by multicast: on one host, and on the hosts of a bridge that passes multicast on.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::netns::ip;
use super::{Cluster, Netns};

/// A network of hosts whose bridge gives every port each multicast datagram, as a plain switch does. (With snooping and
/// nobody on the network who asks, as on many clouds and containers, it would give them to none after a while.)
pub(crate) fn network(hosts: usize) -> Netns {
    let network = Netns::new(hosts);
    ip(&["-n", &network.bridge(), "link", "set", "br0", "type", "bridge", "mcast_snooping", "0"]);
    network
}

/// A node on each of the first hosts.
pub(crate) fn nodes(network: &Netns, hosts: usize) -> Cluster {
    let mut cluster = Cluster::within(network, hosts);
    for agent in &mut cluster.agents {
        agent.set("cluster.discovery", "mcast");
        agent.unset("cluster.static.seeds");
    }
    cluster
}

/// A group of loopback that only this test uses, with two ports.
pub(crate) struct Group {
    pub(crate) addr: Ipv4Addr,
    pub(crate) ports: [u16; 2],
}

impl Group {
    /// One that no other test of this machine has.
    pub(crate) fn new() -> Self {
        static GROUPS: AtomicU8 = AtomicU8::new(0);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let addr = Ipv4Addr::new(239, 193 + GROUPS.fetch_add(1, Ordering::Relaxed) % 60, high, low);
        Self { addr, ports: [free_port(), free_port()] }
    }

    /// So many nodes of one host that use it. A name on loopback forms alone by default: here two must have met.
    pub(crate) fn nodes(&self, count: u8) -> Cluster {
        let mut cluster = Cluster::on_loopback(count);
        for agent in &mut cluster.agents {
            self.enter(agent);
        }
        cluster
    }

    /// Lets a node use it.
    pub(crate) fn enter(&self, agent: &mut super::Agent) {
        agent.set("cluster.discovery", "mcast");
        agent.unset("cluster.static.seeds");
        agent.set("cluster.mcast.addr", &self.addr.to_string()).set("cluster.expect", "2");
        agent.set("cluster.mcast.ports", &format!("{}, {}", self.ports[0], self.ports[1]));
    }

    /// Somebody on the group who holds no cookie.
    pub(crate) fn stranger(&self) -> Stranger {
        let ears = UdpSocket::bind((self.addr, self.ports[1])).expect("no node listens on the second port");
        ears.join_multicast_v4(&self.addr, &Ipv4Addr::LOCALHOST).expect("the group can be joined on loopback");
        ears.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
        // What a socket of this address sends to a group leaves by the interface of the address.
        let mouth = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        Stranger { ears, mouth, to: SocketAddrV4::new(self.addr, self.ports[0]) }
    }
}

/// Hears what nodes say to the group, and says what it likes to them.
pub(crate) struct Stranger {
    ears: UdpSocket,
    mouth: UdpSocket,
    to: SocketAddrV4,
}

impl Stranger {
    /// What is heard for a while.
    pub(crate) fn record(&self, time: Duration) -> Vec<Vec<u8>> {
        let (start, mut heard, mut buffer) = (Instant::now(), Vec::new(), [0; 2048]);
        while start.elapsed() < time {
            if let Ok(len) = self.ears.recv(&mut buffer) {
                heard.push(buffer[..len].to_vec());
            }
        }
        heard
    }

    /// Says it to all nodes. A full buffer of the system's is no failure of the test.
    pub(crate) fn say(&self, bytes: &[u8]) {
        let _ = self.mouth.send_to(bytes, self.to);
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("a bound socket has an address").port()
}
