//! The sockets as Linux has them.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::interface::{Interface, choose};
use super::{Datagrams, MulticastGroup, MulticastSockets};
use crate::env::BoxFuture;

/// Opens both sockets.
///
/// # Errors
/// No interface, no free port, or the system refuses; in words.
pub(in crate::env) fn open(group: &MulticastGroup) -> io::Result<MulticastSockets> {
    let interface = choose(group)?;
    Ok(MulticastSockets {
        group: Box::new(tokio::net::UdpSocket::from_std(hearing(group, interface)?)?),
        own: Box::new(tokio::net::UdpSocket::from_std(speaking(group, interface)?)?),
        scope_id: interface.index,
    })
}

/// The socket that hears the group, on the first port that nobody holds for himself alone.
fn hearing(group: &MulticastGroup, interface: Interface) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in &group.ports {
        let socket = socket(group)?;
        socket.set_reuse_address(true)?;
        match socket.bind(&interface.socket(group.addr, *port).into()) {
            Ok(()) => {
                join(&socket, group, interface)?;
                return Ok(socket.into());
            }
            Err(error) => last = error,
        }
    }
    let ports: Vec<String> = group.ports.iter().map(u16::to_string).collect();
    let text = format!(
        "{} cannot be heard on UDP port {}: {last}; another program may hold it, so stop that, or write other \
         cluster.mcast.ports, the same on all nodes",
        group.addr,
        ports.join(" or ")
    );
    Err(io::Error::new(last.kind(), text))
}

fn join(socket: &Socket, group: &MulticastGroup, interface: Interface) -> io::Result<()> {
    let joined = match (group.addr, interface.addr) {
        (IpAddr::V4(addr), IpAddr::V4(iface)) => {
            // Or what came in by another interface would be heard too, if any program of this host joined it there.
            socket.set_multicast_all_v4(false)?;
            socket.join_multicast_v4(&addr, &iface)
        }
        (IpAddr::V6(addr), _) => {
            socket.set_multicast_all_v6(false)?;
            socket.join_multicast_v6(&addr, interface.index)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    joined.map_err(|error| {
        let text = format!("{} cannot be joined on the interface of {}: {error}", group.addr, interface.addr);
        io::Error::new(error.kind(), text)
    })
}

/// The socket that speaks. It takes one of the known ports where it can, so that a firewall can let answers in by
/// port; where other nodes of the host have them, any port.
fn speaking(group: &MulticastGroup, interface: Interface) -> io::Result<UdpSocket> {
    let socket = socket(group)?;
    let free = |port: &u16| socket.bind(&interface.socket(interface.addr, *port).into()).is_ok();
    if !group.ports.iter().any(free) {
        socket.bind(&interface.socket(interface.addr, 0).into())?;
    }
    match interface.addr {
        IpAddr::V4(iface) => {
            socket.set_multicast_if_v4(&iface)?;
            socket.set_multicast_ttl_v4(group.ttl.into())?;
            socket.set_multicast_loop_v4(group.loopback)?;
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_multicast_hops_v6(group.ttl.into())?;
            // On Linux this too is an option of the sender.
            socket.set_multicast_loop_v6(group.loopback)?;
        }
    }
    Ok(socket.into())
}

fn socket(group: &MulticastGroup) -> io::Result<Socket> {
    let domain = if group.addr.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    if let Some(size) = group.sndbuf {
        socket.set_send_buffer_size(bytes(size))?;
    }
    if let Some(size) = group.recbuf {
        socket.set_recv_buffer_size(bytes(size))?;
    }
    Ok(socket)
}

impl Datagrams for tokio::net::UdpSocket {
    fn send_to<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(Self::send_to(self, bytes, to))
    }

    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(Self::recv_from(self, buffer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn group(ports: Vec<u16>, loopback: bool) -> MulticastGroup {
        let iface = IpAddr::from([127, 0, 0, 1]);
        let addr = "239.192.77.1".parse().unwrap();
        MulticastGroup {
            addr,
            ports,
            iface,
            near: Vec::new(),
            ttl: 1,
            loopback,
            sndbuf: Some(16384),
            recbuf: Some(16384),
        }
    }

    /// A port that was free a moment ago.
    fn free_port() -> u16 {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    async fn hears(sockets: &MulticastSockets) -> Option<Vec<u8>> {
        let mut buffer = [0; 16];
        let heard = tokio::time::timeout(Duration::from_secs(5), sockets.group.recv_from(&mut buffer)).await;
        heard.ok().map(|result| buffer[..result.unwrap().0].to_vec())
    }

    #[tokio::test]
    async fn every_node_of_a_host_hears_each_datagram() {
        let port = free_port();
        let nodes: Vec<_> = (0..3).map(|_| open(&group(vec![port], true)).unwrap()).collect();
        nodes[0].own.send_to(b"ping", (group(vec![], true).addr, port).into()).await.unwrap();
        for node in &nodes {
            assert_eq!(hears(node).await.as_deref(), Some(b"ping".as_slice()));
        }
        // Answers to one node come to that node alone: each has an address of its own.
        let addrs: std::collections::BTreeSet<_> = nodes.iter().map(|node| node.own.local_addr().unwrap()).collect();
        assert_eq!(addrs.len(), 3);
    }

    #[tokio::test]
    async fn a_port_that_another_program_holds_is_passed_over_and_all_held_is_said() {
        let holder = UdpSocket::bind("0.0.0.0:0").unwrap();
        let (held, free) = (holder.local_addr().unwrap().port(), free_port());
        let sockets = open(&group(vec![held, free], true)).unwrap();
        assert_eq!(sockets.group.local_addr().unwrap().port(), free);
        let text = open(&group(vec![held], true)).err().unwrap().to_string();
        assert!(text.contains(&held.to_string()) && text.contains("cluster.mcast.ports"), "{text}");
        drop(holder);
    }
}
