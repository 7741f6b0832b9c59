//! Discovery by DNS between hosts of their own, with default settings, by the resolver of the system.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::dns::{self, Dns, Etc, asks};
use crate::support::{Agent, Cluster, Figures, Netns, netns, poll, rounds};

const FORM_LIMIT: Duration = Duration::from_secs(60);
const NODES: usize = 3;

/// Three hosts with a node each, and a fourth with the DNS server; nothing started but that.
struct World {
    // In this order they are dropped: agents, server, files, network.
    cluster: Cluster,
    dns: Dns,
    etc: Vec<Etc>,
    network: Netns,
}

fn world() -> World {
    let network = Netns::new(NODES + 1);
    let cluster = Cluster::within(&network, NODES);
    let server = format!("{}:53", Netns::address(NODES));
    let dns = Dns::start_in(Some(network.namespace(NODES)), server.parse().expect("an address"));
    let resolv = format!("nameserver {}\nsearch test\n", Netns::address(NODES));
    let etc = (0..NODES).map(|host| Etc::of(&network, host, &resolv)).collect();
    World { cluster, dns, etc, network }
}

/// What a node calls itself.
fn name_of(agent: &Agent) -> Result<String, String> {
    let status = agent.json(&["status"])?;
    status["node"].as_str().map(str::to_owned).ok_or_else(|| status.to_string())
}

#[test]
fn three_nodes_called_auto_form_by_default_settings_and_the_system_s_resolver() {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new("dns: formation by default settings", Duration::from_secs(7));
    for _ in 0..rounds(2, 20) {
        let mut world = world();
        world.dns.hosts(&[("ekka.test", &world.network.addresses()[..NODES])]);
        for agent in &mut world.cluster.agents {
            asks(agent, "auto", "ekka", None);
        }
        let start = Instant::now();
        world.cluster.start();
        for index in 0..NODES {
            let wanted = format!("ekka@{}", Netns::address(index));
            world.cluster.wait("the name is known", FORM_LIMIT, |cluster| {
                let name = name_of(&cluster.agents[index])?;
                if name == wanted { Ok(()) } else { Err(name) }
            });
            world.cluster.agents[index].rename(&wanted);
        }
        world.cluster.wait("one cluster", figures.limit(), Cluster::whole);
        figures.add(start.elapsed());
        assert_eq!(world.cluster.downs(), Ok(0));
    }
    figures.assert_median();
}

#[test]
fn a_resolv_conf_and_a_hosts_file_that_change_under_a_node_are_read_anew() {
    if !netns::wanted() {
        return;
    }
    let mut world = world();
    world.dns.hosts(&[("ekka.test", &world.network.addresses()[..NODES])]);
    // A server that is not there, and a hosts file without the name.
    for etc in &world.etc {
        etc.resolv_conf("nameserver 10.77.0.99\n");
    }
    dns::ask(&mut world.cluster, "ekka.test", None);
    world.cluster.start();
    world.cluster.wait("discovery is reported as failing", FORM_LIMIT, |cluster| {
        let events = cluster.agents[0].events()?;
        let said = events
            .iter()
            .any(|event| event["type"] == "discovery.failing" && event.to_string().contains("10.77.0.99:53"));
        if said { Ok(()) } else { Err(format!("{events:?}")) }
    });
    for etc in &world.etc[..2] {
        etc.resolv_conf(&format!("nameserver 10.77.0.99\nnameserver {}\n", Netns::address(NODES)));
    }
    // The third has its nodes from the hosts file.
    let lines: Vec<String> = (0..NODES).map(|host| format!("{} ekka.test\n", Netns::address(host))).collect();
    world.etc[2].hosts(&lines.concat());
    world.cluster.wait("one cluster", FORM_LIMIT, Cluster::whole);
}

#[test]
fn spec_10_21_three_nodes_with_ipv6_addresses_form_by_aaaa_records() {
    // ekka#174, ekka#185
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new("dns: formation by AAAA records", Duration::from_secs(7));
    for _ in 0..rounds(1, 20) {
        let mut world = world();
        let address = |host: usize| format!("fd77::{}", host + 1);
        for host in 0..=NODES {
            add_address(&world.network, host, &format!("{}/64", address(host)));
        }
        let server = format!("[{}]:53", address(NODES));
        world.dns = Dns::start_in(Some(world.network.namespace(NODES)), server.parse().expect("an address"));
        world.dns.hosts(&[("ekka.test", &(0..NODES).map(address).collect::<Vec<_>>())]);
        for (host, agent) in world.cluster.agents.iter_mut().enumerate() {
            asks(agent, &address(host), "ekka.test", Some(&server));
            agent.set("cluster.dns.type", "aaaa");
        }
        let (_, took) = world.cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

fn add_address(network: &Netns, host: usize, address: &str) {
    let namespace = network.namespace(host);
    let words = ["-n", &namespace, "addr", "add", address, "dev", "eth0", "nodad"];
    let status = Command::new("ip").args(words).status().expect("`ip` is there");
    assert!(status.success(), "ip {}", words.join(" "));
}

#[test]
fn three_nodes_with_names_and_ports_of_their_own_form_by_srv_records() {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new("dns: formation by SRV records", Duration::from_secs(7));
    for _ in 0..rounds(1, 20) {
        let mut world = world();
        let service = |host: usize| format!("srv-host=_ekka._tcp.test,n{}.test,{}", host + 1, 5000 + host);
        world.dns.configure(&(0..NODES).map(service).collect::<Vec<_>>());
        let addresses = world.network.addresses();
        let names: Vec<String> = (0..NODES).map(|host| format!("n{}.test", host + 1)).collect();
        let records: Vec<(&str, &[String])> =
            names.iter().zip(addresses.chunks(1)).map(|(name, address)| (name.as_str(), address)).collect();
        world.dns.hosts(&records);
        for (host, agent) in world.cluster.agents.iter_mut().enumerate() {
            asks(agent, &names[host], "_ekka._tcp", None);
            agent.rename(&format!("ekka@{}:{}", names[host], 5000 + host));
            agent.set("cluster.dns.type", "srv");
        }
        let (_, took) = world.cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn users_12_a_server_that_is_silent_for_a_while_changes_nothing_and_a_node_that_restarts_comes_back() {
    if !netns::wanted() {
        return;
    }
    let mut world = world();
    world.dns.hosts(&[("ekka.test", &world.network.addresses()[..NODES])]);
    dns::ask(&mut world.cluster, "ekka.test", None);
    let (id, _) = world.cluster.form(FORM_LIMIT);
    world.network.cut(NODES);
    world.cluster.throughout("the cluster stays as it is", Duration::from_secs(10), |cluster| {
        let now = cluster.whole()?;
        if now == id { Ok(()) } else { Err(now) }
    });
    assert_eq!(world.cluster.downs(), Ok(0), "{}", world.cluster.report());
    world.cluster.agents[0].kill();
    world.cluster.agents[0].start();
    assert_eq!(world.cluster.wait("it is back while DNS is silent", FORM_LIMIT, Cluster::whole), id);
    world.network.repair();
    world.cluster.wait("discovery works again", FORM_LIMIT, |cluster| {
        let events = cluster.agents[1].events()?;
        let last =
            events.iter().rev().find(|event| event["type"].as_str().is_some_and(|t| t.starts_with("discovery.")));
        match last {
            Some(event) if event["type"] == "discovery.failing" => Err(format!("{event}")),
            _ => Ok(()),
        }
    });
}

#[test]
fn a_node_that_is_listed_alone_forms_alone_and_one_that_nobody_lists_does_not() {
    if !netns::wanted() {
        return;
    }
    let mut world = world();
    world.dns.hosts(&[("alone.test", &[Netns::address(0)])]);
    for (host, name) in ["alone.test", "nobody.test"].into_iter().enumerate() {
        asks(&mut world.cluster.agents[host], &Netns::address(host), name, None);
        world.cluster.agents[host].start();
    }
    world.cluster.wait("it forms alone after half a minute", Duration::from_secs(90), |cluster| {
        let status = cluster.agents[0].json(&["status"])?;
        if status["status"] == "up" { Ok(()) } else { Err(status.to_string()) }
    });
    world.cluster.throughout("it goes on joining", Duration::from_secs(8), |cluster| {
        let status = cluster.agents[1].json(&["status"])?;
        if status["cluster_id"].is_null() { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn the_original_s_own_configuration_of_dns_runs_unchanged_in_one_style_and_says_why_not_in_the_other() {
    if !netns::wanted() {
        return;
    }
    let readme = include_str!("../../../ekka/tests/fixtures/original-readme.txt");
    let section = between(readme, "Cluster using DNS A records", "Cluster using etcd");
    let (erlang, conf) = section.split_once("Cuttlefish style config:").expect("both styles");
    let erlang = erlang.split_once("Erlang Config:").expect("its heading").1;

    // Nothing but its own words: name (of a container, too), cookie and folder are the defaults.
    let network = Netns::new(1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plain = Plain { folder: folder.path(), namespace: network.namespace(0) };
    fs::write(folder.path().join("ekka.conf"), conf).expect("a file in it");
    fs::write(folder.path().join("ekka.config"), erlang).expect("a file in it");
    let mut agent = Ended(plain.ekka(&["agent", "-c", "ekka.conf"]).spawn().expect("the agent can be started"));
    let status = poll::until(FORM_LIMIT, || {
        let output = plain.ekka(&["--data-dir", "data/ekka", "status", "--json"]).output();
        let text = String::from_utf8_lossy(&output.expect("the binary can be started").stdout).into_owned();
        if text.contains("\"status\":\"up\"") { Ok(text) } else { Err(text) }
    });
    let (status, took) = status.unwrap_or_else(|seen| panic!("{seen}"));
    println!("up after {took:.2?}");
    assert!(status.contains("\"node\":\"ekka@127.0.0.1\""), "{status}");
    assert!(listens(&network, "127.0.0.1:4370"), "the port of the rule");
    let found = plain.ekka(&["discover", "-c", "ekka.conf"]).output().expect("the binary can be started");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains("this node itself"), "{found}");
    agent.0.kill().expect("an own child can be killed");

    let refused =
        plain.ekka(&["check", "-c", "ekka.config"]).stderr(Stdio::piped()).output().expect("the binary can be started");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    let words = "has options of etcd (server, prefix, node_ttl): the original README's DNS example is wrong";
    assert!(said.contains(words) && said.contains("{dns, [{name, \"localhost\"}, {app, \"ekka\"}]}"), "{said}");
}

/// The binary in a folder and a namespace, without any setting of this machine.
struct Plain<'a> {
    folder: &'a Path,
    namespace: String,
}

impl Plain<'_> {
    fn ekka(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_ekka")]).args(words);
        command.current_dir(self.folder).stdin(Stdio::null()).stderr(Stdio::null());
        command.env_clear().env("HOME", self.folder).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

/// A child that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no `{from}`"));
    rest.split_once(to).unwrap_or_else(|| panic!("no `{to}`")).0
}

fn listens(network: &Netns, address: &str) -> bool {
    let output = Command::new("ip").args(["netns", "exec", &network.namespace(0), "ss", "-Htln"]).output();
    String::from_utf8_lossy(&output.expect("`ss` is there: apt-get install iproute2").stdout).contains(address)
}
