//! The resolver's files: servers, search domains, and what the hosts file says of the name.
//!
//! Read anew for each question, since they change under a running process. What cannot be read counts as empty, as the
//! C library has it: then the server on this machine is asked. (Not by the parser of the DNS library, which refuses the
//! file for one bad word, and puts the domain of the host's name before the search list.)

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::DnsRecord;

/// Port of DNS.
const PORT: u16 = 53;

/// Servers that are asked, of those in the file; the C library takes as many.
const SERVERS_MAX: usize = 3;

/// Search domains that are tried.
const SEARCH_MAX: usize = 6;

/// Highest `ndots`.
const NDOTS_MAX: usize = 15;

/// Addresses that the hosts file may give to one name.
const HOSTS_MAX: usize = 1024;

/// As much is read of a file; hosts files that block advertisements hold megabytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Who is asked, and what needs no question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sources {
    /// Addresses of the name by the hosts file.
    pub(super) hosts: Vec<IpAddr>,
    /// Servers, in the order in which they are asked.
    pub(super) servers: Vec<SocketAddr>,
    /// Search domains.
    pub(super) search: Vec<String>,
    /// Dots that a name needs to be tried as it is first.
    pub(super) ndots: usize,
    /// What a person should know of these files.
    pub(super) notes: Vec<String>,
}

impl Sources {
    /// One server of the configuration: the name is asked as it stands there, and no file of the system is looked at.
    pub(super) fn only(server: SocketAddr) -> Self {
        Self { hosts: Vec::new(), servers: vec![server], search: Vec::new(), ndots: 0, notes: Vec::new() }
    }
}

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    hosts: PathBuf,
    resolv: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self::at(Path::new("/etc"))
    }
}

impl Files {
    /// The files of this folder.
    pub(super) fn at(folder: &Path) -> Self {
        Self { hosts: folder.join("hosts"), resolv: folder.join("resolv.conf") }
    }

    /// Reads both. Blocks.
    pub(super) fn read(&self, name: &str, record: DnsRecord) -> Sources {
        let mut sources = resolv_conf(&text(&self.resolv));
        sources.hosts = hosts(&text(&self.hosts), name, record);
        sources
    }
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    // A file that is not there is an empty one.
    drop(read);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What `/etc/resolv.conf` says: `nameserver`, `search` or `domain` (the last of them counts), `options ndots:N`.
pub(super) fn resolv_conf(text: &str) -> Sources {
    let mut sources =
        Sources { hosts: Vec::new(), servers: Vec::new(), search: Vec::new(), ndots: 1, notes: Vec::new() };
    let mut passed_over = Vec::new();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => match words.next().map(str::parse::<IpAddr>) {
                Some(Ok(ip)) if sources.servers.len() < SERVERS_MAX => sources.servers.push((ip, PORT).into()),
                Some(Ok(_)) => {}
                _ => passed_over.push(line.trim().chars().take(80).collect::<String>()),
            },
            Some("search" | "domain") => sources.search = words.take(SEARCH_MAX).filter_map(domain).collect(),
            Some("options") => {
                for option in words {
                    if let Some(ndots) = option.strip_prefix("ndots:").and_then(|n| n.parse().ok()) {
                        sources.ndots = NDOTS_MAX.min(ndots);
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(first) = passed_over.first() {
        sources.notes.push(format!("/etc/resolv.conf: `{first}` has no plain address; this server is passed over"));
    }
    if sources.servers.is_empty() {
        sources.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        sources.notes.push("/etc/resolv.conf names no server: the one on this machine is asked (127.0.0.1)".to_owned());
    }
    sources
}

/// A search domain, where it can be one.
fn domain(word: &str) -> Option<String> {
    let fit = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) && !word.contains("..");
    fit.then(|| word.to_ascii_lowercase())
}

/// The addresses of the name in a hosts file. Names there are whole: no search domain is tried.
pub(super) fn hosts(text: &str, name: &str, record: DnsRecord) -> Vec<IpAddr> {
    let wanted = name.trim_end_matches('.');
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next() else { continue };
        if !words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(wanted)) {
            continue;
        }
        let Ok(ip) = address.parse::<IpAddr>() else { continue };
        let fit = match record {
            DnsRecord::A => ip.is_ipv4(),
            DnsRecord::Aaaa => ip.is_ipv6(),
            DnsRecord::Srv => false,
        };
        if fit && found.len() < HOSTS_MAX && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_hosts_file_gives_all_addresses_of_the_kind_asked_for() {
        let text = "127.0.0.1 localhost # x ekka\n::1 localhost\n10.0.0.1 n1.example EKKA\n10.0.0.2 ekka. other\n\
                    10.0.0.2 ekka\nnonsense ekka\n2001:db8::1\tekka\n#10.0.0.3 ekka\n";
        assert_eq!(hosts(text, "ekka", DnsRecord::A), ips(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(hosts(text, "Ekka.", DnsRecord::Aaaa), ips(&["2001:db8::1"]));
        assert_eq!(hosts(text, "localhost", DnsRecord::A), ips(&["127.0.0.1"]));
        assert!(hosts(text, "ekka", DnsRecord::Srv).is_empty());
        assert!(hosts(text, "ek", DnsRecord::A).is_empty());
    }

    #[test]
    fn resolv_conf_gives_servers_search_domains_and_ndots() {
        let text = "; made by hand\ndomain old.example\nsearch ns.svc.cluster.local Svc.Cluster.Local .bad..name\n\
                    nameserver 10.0.0.53\nnameserver 2001:db8::53 # second\noptions edns0 ndots:5 timeout:1\n";
        let sources = resolv_conf(text);
        let servers: Vec<SocketAddr> = vec!["10.0.0.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()];
        assert_eq!(sources.servers, servers);
        assert_eq!(sources.search, ["ns.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!(sources.ndots, 5);
        assert!(sources.notes.is_empty(), "{:?}", sources.notes);
    }

    #[test]
    fn an_empty_or_absent_resolv_conf_means_the_server_on_this_machine_and_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        for sources in [resolv_conf(""), Files::at(folder.path()).read("ekka", DnsRecord::A)] {
            assert_eq!(sources.servers, ["127.0.0.1:53".parse().unwrap()]);
            assert_eq!(sources.ndots, 1);
            assert!(sources.notes[0].contains("names no server"), "{:?}", sources.notes);
        }
    }

    #[test]
    fn what_is_unfit_in_resolv_conf_is_passed_over_and_bounded() {
        let many = "nameserver 10.0.0.1\n".repeat(9);
        let sources =
            resolv_conf(&format!("nameserver fe80::1%eth0\n{many}options ndots:99 ndots:x\nsearch a b c d e f g h"));
        assert_eq!(sources.servers.len(), 3);
        assert_eq!((sources.ndots, sources.search.len()), (15, 6));
        assert!(sources.notes[0].contains("fe80::1%eth0"), "{:?}", sources.notes);
    }

    #[test]
    fn changed_files_are_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::at(folder.path());
        std::fs::write(folder.path().join("hosts"), "10.0.0.1 ekka").unwrap();
        assert_eq!(files.read("ekka", DnsRecord::A).hosts, ips(&["10.0.0.1"]));
        std::fs::write(folder.path().join("hosts"), "10.0.0.2 ekka").unwrap();
        assert_eq!(files.read("ekka", DnsRecord::A).hosts, ips(&["10.0.0.2"]));
    }
}
