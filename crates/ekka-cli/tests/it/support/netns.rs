//! Hosts as network namespaces on one bridge, and faults between them.
//!
//! Faults are rules of nftables in the bridge's own namespace: a host that is cut off keeps its link and its addresses
//! and hears nothing more, as with a dead switch. All names carry the process id of the test, by which what a killed
//! test left behind is found and removed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::poll;

/// Interface of a host inside its namespace.
const INTERFACE: &str = "eth0";

/// A network of hosts, removed when dropped. Agents in it must be dropped before it.
pub(crate) struct Netns {
    prefix: String,
    hosts: usize,
}

/// Whether tests in namespaces are wanted. They are, unless `EKKA_NO_NETNS` says otherwise, aloud.
pub(crate) fn wanted() -> bool {
    let refused = std::env::var_os("EKKA_NO_NETNS").is_some_and(|value| !value.is_empty());
    if refused {
        println!("NOT TESTED: EKKA_NO_NETNS is set, so nothing was tried in network namespaces");
    }
    !refused
}

impl Netns {
    /// So many hosts, `10.77.0.1` and on.
    pub(crate) fn new(hosts: usize) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run the tests as root, or set EKKA_NO_NETNS=1 to go without"
        );
        remove_leftovers();
        let network = Self { prefix: format!("ekka-{}", std::process::id()), hosts };
        let bridge = network.bridge();
        ip(&["netns", "add", &bridge]);
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &bridge, "link", "set", "br0", "up"]);
        for host in 0..hosts {
            network.add_host(host);
        }
        network.nft("add table bridge ekka");
        network.nft("add chain bridge ekka forward { type filter hook forward priority 0; }");
        network
    }

    fn add_host(&self, host: usize) {
        let (namespace, bridge, port) = (self.namespace(host), self.bridge(), port(host));
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &bridge, "link", "add", &port, "type", "veth", "peer", "name", INTERFACE, "netns", &namespace]);
        ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        ip(&["-n", &namespace, "link", "set", INTERFACE, "up"]);
        self.assign(host, &Self::address(host));
    }

    /// The address that a host begins with.
    pub(crate) fn address(host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// How many hosts there are.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts
    }

    /// The addresses of all hosts.
    pub(crate) fn addresses(&self) -> Vec<String> {
        (0..self.hosts).map(Self::address).collect()
    }

    /// The namespace of a host.
    pub(crate) fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// The namespace of the bridge.
    pub(crate) fn bridge(&self) -> String {
        format!("{}-br", self.prefix)
    }

    /// Gives a host another address in place of all that it has.
    pub(crate) fn set_address(&self, host: usize, address: &str) {
        ip(&["-n", &self.namespace(host), "addr", "flush", "dev", INTERFACE]);
        self.assign(host, address);
        // The others may remember who had that address.
        for other in 0..self.hosts {
            ip(&["-n", &self.namespace(other), "neigh", "flush", "all"]);
        }
    }

    fn assign(&self, host: usize, address: &str) {
        ip(&["-n", &self.namespace(host), "addr", "add", &format!("{address}/24"), "dev", INTERFACE]);
    }

    /// Nothing comes from or to a host any more.
    pub(crate) fn cut(&self, host: usize) {
        let port = port(host);
        self.nft(&format!("add rule bridge ekka forward iifname {port} drop"));
        self.nft(&format!("add rule bridge ekka forward oifname {port} drop"));
    }

    /// Nothing comes from one host to another; the way back works.
    pub(crate) fn cut_one_way(&self, from: usize, to: usize) {
        self.nft(&format!("add rule bridge ekka forward iifname {} oifname {} drop", port(from), port(to)));
    }

    /// Groups of hosts that hear nothing of each other from the same moment on; a host in no group hears all and is heard.
    pub(crate) fn split(&self, sides: &[&[usize]]) {
        let mut rules = Vec::new();
        for (number, side) in sides.iter().enumerate() {
            let others: Vec<usize> = sides[number + 1..].iter().flat_map(|side| side.iter().copied()).collect();
            if !others.is_empty() {
                rules.extend([deaf_to(side, &others), deaf_to(&others, side)]);
            }
        }
        self.nft(&rules.join("; "));
    }

    /// A host hears nobody any more; what it says arrives.
    pub(crate) fn deafen(&self, host: usize) {
        self.nft(&format!("add rule bridge ekka forward oifname {} drop", port(host)));
    }

    /// Nobody hears a host any more; what is said to it arrives.
    pub(crate) fn mute(&self, host: usize) {
        self.nft(&format!("add rule bridge ekka forward iifname {} drop", port(host)));
    }

    /// Every packet between hosts is lost with that probability.
    pub(crate) fn lose(&self, percent: u32) {
        self.nft(&format!("add rule bridge ekka forward numgen random mod 100 < {percent} drop"));
    }

    /// All faults end.
    pub(crate) fn repair(&self) {
        self.nft("flush chain bridge ekka forward");
    }

    /// Nothing passes by this rule for so long, to the millisecond: `nft` is there before it begins and stays until its end.
    pub(crate) fn blip(&self, matches: &str, time: Duration) {
        let bridge = self.bridge();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &bridge, "nft", "-i"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut nft = command.spawn().expect("`ip` is there: apt-get install iproute2");
        let mut stdin = nft.stdin.take().expect("piped");
        let mut say = |line: &str| stdin.write_all(line.as_bytes()).expect("nft reads");
        say("list tables\n");
        poll::pace(Duration::from_millis(100));
        say(&format!("add rule bridge ekka forward {matches} drop\n"));
        poll::pace(time);
        say("flush chain bridge ekka forward\n");
        drop(stdin);
        assert!(nft.wait().expect("an own child can be waited for").success(), "nft takes the rule `{matches}`");
    }

    /// A rule of the bridge's own nftables.
    pub(crate) fn nft(&self, rule: &str) {
        let words = ["netns", "exec", &self.bridge(), "nft", rule];
        ip(&words);
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.prefix);
    }
}

/// The rule by which nothing comes from some hosts to others.
fn deaf_to(to: &[usize], from: &[usize]) -> String {
    let set = |hosts: &[usize]| hosts.iter().map(|host| port(*host)).collect::<Vec<_>>().join(", ");
    format!("add rule bridge ekka forward iifname {{ {} }} oifname {{ {} }} drop", set(from), set(to))
}

/// The name of a host's link at the bridge: what comes by it is from that host.
pub(crate) fn port(host: usize) -> String {
    format!("host{host}")
}

/// Runs `ip`; its failure is one of the test's machine, in its own words.
pub(crate) fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("`ip` is there: apt-get install iproute2");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`ip {}`: {}", words.join(" "), said.trim());
}

fn namespaces() -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("`ip` is there: apt-get install iproute2");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Deletes the namespaces of one test process. What still runs in one of them was started by that test.
fn remove(prefix: &str) {
    for namespace in namespaces().iter().filter(|name| name.starts_with(&format!("{prefix}-"))) {
        let pids = Command::new("ip").args(["netns", "pids", namespace]).output();
        for pid in String::from_utf8_lossy(&pids.map(|output| output.stdout).unwrap_or_default()).split_whitespace() {
            let Ok(pid) = pid.parse() else { continue };
            // It may have ended in between, which is what is wanted.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let deleted = Command::new("ip").args(["netns", "delete", namespace]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            println!("namespace {namespace} could not be deleted");
        }
    }
}

/// Removes what test processes that are dead left behind.
fn remove_leftovers() {
    for namespace in namespaces() {
        let Some(pid) = namespace.strip_prefix("ekka-").and_then(|rest| rest.split('-').next()) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new(&format!("/proc/{pid}")).exists() {
            remove(&format!("ekka-{pid}"));
        }
    }
}
