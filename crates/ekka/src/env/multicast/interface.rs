//! Which interface carries the group.
//!
//! Peers reach a node at the address in its name, so that address says best which network its neighbours are on; the
//! route to the group (for most hosts the default route) is asked only where the name gives no address of this host.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use super::MulticastGroup;

/// Where Linux lists the addresses of IPv6 with their interfaces.
const IF_INET6: &str = "/proc/net/if_inet6";

/// An interface, by one of its addresses and, for IPv6, its index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interface {
    pub(super) addr: IpAddr,
    pub(super) index: u32,
}

impl Interface {
    /// A socket address on this interface.
    pub(super) fn socket(self, ip: IpAddr, port: u16) -> SocketAddr {
        scoped(ip, port, self.index)
    }
}

/// The interface for a group.
///
/// # Errors
/// There is none, in words that name the key to set.
pub(super) fn choose(group: &MulticastGroup) -> io::Result<Interface> {
    if !group.iface.is_unspecified() {
        return named(group.iface).ok_or_else(|| {
            let text = "no interface of this host has that address; write one that `ip address` shows";
            io::Error::new(io::ErrorKind::AddrNotAvailable, format!("cluster.mcast.iface = {}: {text}", group.iface))
        });
    }
    let same_kind = |addr: &&IpAddr| addr.is_ipv6() == group.addr.is_ipv6() && !addr.is_unspecified();
    let near = group.near.iter().filter(same_kind).find_map(|addr| named(*addr));
    near.or_else(|| routed(group.addr).and_then(named)).ok_or_else(|| {
        let text = format!(
            "no interface for the group {}: the node's name gives no {} address of this host, and no route leads to the \
             group; set cluster.mcast.iface to the address of an interface",
            group.addr,
            if group.addr.is_ipv6() { "IPv6" } else { "IPv4" }
        );
        io::Error::new(io::ErrorKind::AddrNotAvailable, text)
    })
}

/// The interface with this address, if it is one of this host.
fn named(addr: IpAddr) -> Option<Interface> {
    let index = match addr {
        IpAddr::V4(_) => 0,
        IpAddr::V6(ip) => index_of(&std::fs::read_to_string(IF_INET6).ok()?, ip)?,
    };
    // Only an address of this host can be bound.
    UdpSocket::bind(scoped(addr, 0, index)).ok().map(|_| Interface { addr, index })
}

/// The address that the system would send from.
fn routed(group: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = if group.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().ok()?;
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((group, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|addr| !addr.is_unspecified())
}

fn scoped(ip: IpAddr, port: u16, index: u32) -> SocketAddr {
    let mut addr = SocketAddr::new(ip, port);
    if let SocketAddr::V6(v6) = &mut addr {
        v6.set_scope_id(index);
    }
    addr
}

/// The index of the interface with an address, from the system's list: address, index, length of the prefix, all
/// hexadecimal.
fn index_of(list: &str, wanted: Ipv6Addr) -> Option<u32> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let addr = u128::from_str_radix(words.next()?, 16).ok()?;
        let index = u32::from_str_radix(words.next()?, 16).ok()?;
        (Ipv6Addr::from(addr) == wanted).then_some(index)
    };
    list.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(iface: &str, near: &[&str]) -> MulticastGroup {
        MulticastGroup {
            addr: "239.192.0.1".parse().unwrap(),
            ports: vec![4369],
            iface: iface.parse().unwrap(),
            near: near.iter().map(|addr| addr.parse().unwrap()).collect(),
            ttl: 1,
            loopback: true,
            sndbuf: None,
            recbuf: None,
        }
    }

    #[test]
    fn the_interface_is_the_one_said_then_the_one_of_the_name() {
        let said = choose(&group("127.0.0.1", &["127.0.0.9"])).unwrap();
        assert_eq!(said.addr, IpAddr::from([127, 0, 0, 1]));
        let near = choose(&group("0.0.0.0", &["192.0.2.77", "::1", "127.0.0.9"])).unwrap();
        assert_eq!(near.addr, IpAddr::from([127, 0, 0, 9]));
    }

    #[test]
    fn an_address_of_another_host_is_refused_with_the_key_and_what_to_write() {
        let text = choose(&group("192.0.2.77", &[])).unwrap_err().to_string();
        assert!(text.contains("cluster.mcast.iface = 192.0.2.77") && text.contains("ip address"), "{text}");
    }

    #[test]
    fn the_list_of_ipv6_addresses_gives_the_index() {
        let list = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fd770000000000000000000000000002 1a 40 00 80     eth0\nnonsense\n\n";
        assert_eq!(index_of(list, "::1".parse().unwrap()), Some(1));
        assert_eq!(index_of(list, "fd77::2".parse().unwrap()), Some(26));
        assert_eq!(index_of(list, "fd77::3".parse().unwrap()), None);
    }
}
