//! `name@auto`: which host a node names itself by, and the few facts about the machine that this needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

use ekka_core::id::Host;

use super::env::lookup;

/// What the configuration asks of the machine; injected, so that tests need neither network nor container.
pub trait Surroundings {
    /// Whether this process runs in a container.
    fn in_container(&self) -> bool;
    /// The full name of this host (`hostname -f`), where it has one.
    fn host_name(&self) -> Option<String>;
    /// The addresses of a host name; none where it does not resolve.
    fn resolve(&self, host: &str) -> Vec<IpAddr>;
    /// The source address of the default route.
    fn route_source(&self, ipv6: bool) -> Option<IpAddr>;
    /// Whether this machine has that address.
    fn has(&self, ip: IpAddr) -> bool;
    /// The text of a file that the platform mounts, such as the namespace of a pod.
    fn read(&self, path: &str) -> Option<String>;
    /// Whether a file is there.
    fn exists(&self, path: &str) -> bool;
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Surroundings for Machine {
    fn in_container(&self) -> bool {
        Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists()
    }

    fn host_name(&self) -> Option<String> {
        let uname = rustix::system::uname();
        let plain = uname.nodename().to_str().ok().filter(|name| !name.is_empty())?;
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let full = full_name(plain, &hosts, &resolv);
        // The search domain is a guess until it resolves.
        if full == plain || !self.resolve(&full).is_empty() { Some(full) } else { Some(plain.to_owned()) }
    }

    fn resolve(&self, host: &str) -> Vec<IpAddr> {
        (host, 0).to_socket_addrs().map(|addrs| addrs.map(|addr| addr.ip()).collect()).unwrap_or_default()
    }

    fn route_source(&self, ipv6: bool) -> Option<IpAddr> {
        // Addresses kept for documentation: connecting a UDP socket picks the route and sends nothing.
        let (any, far): (SocketAddr, SocketAddr) = if ipv6 {
            ((Ipv6Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into())
        } else {
            ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into())
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(far).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    }

    fn has(&self, ip: IpAddr) -> bool {
        // To reach an own address, the kernel sends from that very address. Connecting sends nothing.
        let any: SocketAddr =
            if ip.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
        let Ok(socket) = UdpSocket::bind(any) else { return false };
        socket.connect((ip, 9)).is_ok() && socket.local_addr().is_ok_and(|local| local.ip() == ip)
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }
}

/// The full form of a host name: as the hosts file gives it, else with the search domain, else as it is.
fn full_name(plain: &str, hosts: &str, resolv: &str) -> String {
    if plain.contains('.') {
        return plain.to_owned();
    }
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    for mut words in lines.map(|line| line.split_whitespace().skip(1)) {
        let Some(canonical) = words.next() else { continue };
        if canonical.contains('.') && !canonical.starts_with("localhost") && words.any(|alias| alias == plain) {
            return canonical.to_owned();
        }
    }
    let domain = resolv.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("domain" | "search")).then(|| words.next()).flatten()
    });
    domain.map_or_else(|| plain.to_owned(), |domain| format!("{plain}.{}", domain.trim_matches('.')))
}

/// Whether this process runs in a pod.
pub(crate) fn in_pod(vars: &[(String, String)]) -> bool {
    lookup(vars, "KUBERNETES_SERVICE_HOST").is_some()
}

/// Whether this process runs in a pod or container, so that its node is not on loopback by default.
pub(crate) fn contained(vars: &[(String, String)], around: &dyn Surroundings) -> bool {
    in_pod(vars) || around.in_container()
}

/// The name whose records list the nodes, where `dns` finds them by address and by the resolver of the system.
pub(crate) struct Records {
    /// `cluster.dns.name`
    pub(crate) name: String,
    /// AAAA, not A.
    pub(crate) ipv6: bool,
}

impl Records {
    /// The address of this machine that the others find there.
    fn own(&self, around: &dyn Surroundings) -> Option<IpAddr> {
        // Who has `localhost` asked for means this machine alone; elsewhere loopback is a slip of a hosts file.
        let local = self.name.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        let fit = |ip: &IpAddr| ip.is_ipv6() == self.ipv6 && !ip.is_unspecified() && ip.is_loopback() == local;
        around.resolve(&self.name).into_iter().filter(fit).find(|ip| around.has(*ip))
    }
}

/// The host for `auto`, and how it was found, in words.
pub(crate) fn host(
    vars: &[(String, String)],
    around: &dyn Surroundings,
    ipv6: bool,
    records: Option<&Records>,
) -> Result<(Host, String), String> {
    if let Some(text) = lookup(vars, "POD_IP") {
        return match text.trim().parse::<IpAddr>() {
            Ok(ip) => Ok((Host::Ip(ip), "POD_IP of the environment".to_owned())),
            Err(_) => Err(format!("POD_IP is `{}`; `auto` needs an IP address there", super::value::clip(text))),
        };
    }
    if let Some((records, ip)) = records.and_then(|records| Some((records, records.own(around)?))) {
        return Ok((Host::Ip(ip), format!("the records of {}, which list this address of this machine", records.name)));
    }
    let mut why_not = "this host has no name".to_owned();
    if let Some(name) = around.host_name() {
        let addrs = around.resolve(&name);
        let parsed: Result<ekka_core::id::NodeName, _> = format!("x@{name}").parse();
        match (addrs.iter().find(|ip| !ip.is_loopback()), parsed) {
            (Some(ip), Ok(parsed)) => {
                return Ok((parsed.host().clone(), format!("the full name of this host, which resolves to {ip}")));
            }
            (Some(_), Err(_)) => why_not = format!("the name of this host, {name}, is not fit for a node name"),
            (None, _) if addrs.is_empty() => why_not = format!("the name of this host, {name}, does not resolve"),
            (None, _) => why_not = format!("the name of this host, {name}, resolves to loopback only ({})", addrs[0]),
        }
    }
    let order = if ipv6 { [true, false] } else { [false, true] };
    match order.into_iter().find_map(|v6| around.route_source(v6)) {
        Some(ip) => Ok((Host::Ip(ip), format!("the source address of the default route, since {why_not}"))),
        None => Err(format!("{why_not}, and there is no default route; write the host out, as in ekka@10.0.0.1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_come_from_the_hosts_file_then_from_the_search_domain() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 n1.example.org n1 # Debian\n10.0.0.9 n2\n";
        assert_eq!(full_name("n1", hosts, ""), "n1.example.org");
        assert_eq!(full_name("n2", hosts, "nameserver 10.0.0.53\nsearch lan.example other\n"), "n2.lan.example");
        assert_eq!(full_name("n3.example", hosts, "search x\n"), "n3.example");
        assert_eq!(full_name("n2", hosts, ""), "n2");
    }
}
