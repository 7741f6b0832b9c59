//! Multicast: the two sockets that a node finds its neighbours with, and which interface they are on.
//!
//! One socket *hears the group*. It is bound to the group's own address, with address reuse, so that every node of a
//! host gets its own copy of each datagram and nothing that was sent to another address. The other *speaks*: from it
//! datagrams go to the group, and to it answers come that are for this node alone.

mod interface;
mod real;

pub(super) use real::open;

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::BoxFuture;

/// What the sockets are opened with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MulticastGroup {
    /// The group.
    pub addr: IpAddr,
    /// UDP ports, the same on all nodes: the group is heard on the first that is free.
    pub ports: Vec<u16>,
    /// Address of the interface; unspecified: the interface that has one of `near`, else that of the route to the group.
    pub iface: IpAddr,
    /// Addresses by which this node is known.
    pub near: Vec<IpAddr>,
    /// Routers that a datagram may pass, plus one; 0 keeps it in this host.
    pub ttl: u8,
    /// Whether the nodes of this host hear what this node sends.
    pub loopback: bool,
    /// Bytes of the system's buffer for sending.
    pub sndbuf: Option<u64>,
    /// Bytes of the system's buffer for receiving.
    pub recbuf: Option<u64>,
}

/// The two sockets of a node.
pub struct MulticastSockets {
    /// Hears what is sent to the group.
    pub group: Box<dyn Datagrams>,
    /// Speaks, and hears what is sent to this node alone.
    pub own: Box<dyn Datagrams>,
    /// Index of the interface, needed to answer link-local addresses of IPv6; 0 for IPv4.
    pub scope_id: u32,
}

/// A socket of UDP.
pub trait Datagrams: Send + Sync + 'static {
    /// Sends one datagram.
    fn send_to<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<usize>>;

    /// Waits for the next datagram: its length, cut off at that of the buffer, and the address that it claims.
    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>>;

    /// Where it is bound.
    ///
    /// # Errors
    /// The system does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}
