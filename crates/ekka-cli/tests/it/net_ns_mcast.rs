//! Multicast between hosts: real agents in network namespaces.

use std::time::{Duration, Instant};

use crate::support::mcast::{network, nodes};
use crate::support::netns::ip;
use crate::support::{self, Figures, netns, rounds};

const FORM_LIMIT: Duration = Duration::from_secs(40);
const README: &str = include_str!("../../../ekka/tests/fixtures/original-readme.txt");

#[test]
fn three_hosts_started_at_once_form_one_cluster() {
    if !netns::wanted() {
        return;
    }
    let network = network(3);
    // A second to collect answers, three to settle, and the vote.
    let mut figures = Figures::new("formation of three hosts by multicast", Duration::from_secs(6));
    for _ in 0..rounds(3, 20) {
        let mut cluster = nodes(&network, 3);
        let (_, took) = cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn a_fourth_joins_and_after_a_kill_a_new_one_joins_too_and_forms_no_second_cluster() {
    if !netns::wanted() {
        return;
    }
    let network = network(5);
    let mut joins = Figures::new("a further host joins by multicast", Duration::from_secs(5));
    for _ in 0..rounds(2, 20) {
        let mut cluster = nodes(&network, 5);
        let newcomer = cluster.agents.pop().expect("five");
        let fourth = cluster.agents.pop().expect("four");
        let (id, _) = cluster.form(FORM_LIMIT);
        for (which, mut agent) in [("fourth", fourth), ("new one after a kill", newcomer)] {
            let start = Instant::now();
            agent.start();
            cluster.agents.push(agent);
            let joined = cluster.wait(which, joins.limit(), |cluster| {
                let status = cluster.agents.last().expect("just put there").json(&["status"])?;
                let up = status["status"] == "up";
                if up { Ok(status["cluster_id"].clone()) } else { Err(status["reason"].to_string()) }
            });
            joins.add(start.elapsed());
            assert_eq!(joined, id.as_str(), "the same cluster");
            if which == "fourth" {
                cluster.agents[0].kill();
                cluster.wait("all see it down", FORM_LIMIT, |cluster| cluster.all_see(0, "down"));
            }
        }
    }
    joins.assert_median();
}

#[test]
fn ekka_spec_10_14_a_failed_first_discovery_is_not_final_and_answers_come_through_firewalls() {
    if !netns::wanted() {
        return;
    }
    let network = network(3);
    let mut figures = Figures::new("formation once the network is there", Duration::from_secs(12));
    // The original's answer got lost where hosts filter: here only the ports in the configuration are open, and what
    // answers to a multicast ping is no answer to a stateful filter.
    for host in 0..3 {
        let rules = "table inet fw { chain input { type filter hook input priority 0; policy drop; \
                     ct state established accept; iifname lo accept; meta l4proto tcp accept; \
                     udp dport { 4369, 4370 } accept; }; }";
        ip(&["netns", "exec", &network.namespace(host), "nft", rules]);
    }
    for _ in 0..rounds(1, 20) {
        for host in 0..3 {
            ip(&["-n", &network.namespace(host), "link", "set", "eth0", "down"]);
        }
        let mut cluster = nodes(&network, 3);
        cluster.start();
        for host in 0..3 {
            cluster.wait("the first discovery has failed", FORM_LIMIT, |cluster| {
                let output = cluster.agents[host].ekka(&["events", "--last", "100", "--no-follow"]);
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let failed = said.contains("discovery") && said.contains("239.192.0.1");
                if failed { Ok(()) } else { Err(said) }
            });
        }
        let start = Instant::now();
        for host in 0..3 {
            ip(&["-n", &network.namespace(host), "link", "set", "eth0", "up"]);
        }
        cluster.wait("one cluster", figures.limit(), support::Cluster::whole);
        figures.add(start.elapsed());
    }
    figures.assert_median();
}

#[test]
fn a_group_of_ipv6_works_across_hosts() {
    if !netns::wanted() {
        return;
    }
    let network = network(3);
    let mut figures = Figures::new("formation of three hosts by a group of IPv6", Duration::from_secs(6));
    for host in 0..3 {
        let addr = format!("fd77::{}/64", host + 1);
        ip(&["-n", &network.namespace(host), "addr", "add", &addr, "dev", "eth0", "nodad"]);
    }
    for _ in 0..rounds(1, 20) {
        let mut cluster = nodes(&network, 3);
        for (host, agent) in cluster.agents.iter_mut().enumerate() {
            agent.rename(&format!("n{0}@[fd77::{0}]", host + 1));
            agent.set("cluster.mcast.addr", "ff15::239:192").set("cluster.proto_dist", "inet6_tcp");
        }
        let (_, took) = cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn with_loop_off_a_node_finds_other_hosts_and_not_its_own() {
    if !netns::wanted() {
        return;
    }
    let network = network(2);
    let mut cluster = nodes(&network, 2);
    cluster.form(FORM_LIMIT);
    let mut quiet = cluster.agent("n9@10.77.0.1");
    quiet.enter(&network.namespace(0));
    quiet.set("cluster.discovery", "mcast").set("cluster.mcast.loop", "off");
    for (looped, expected) in
        [("off", vec!["n2@10.77.0.2", "n9@10.77.0.1"]), ("on", vec!["n1@10.77.0.1", "n2@10.77.0.2", "n9@10.77.0.1"])]
    {
        quiet.set("cluster.mcast.loop", looped);
        let said = quiet.discover().unwrap_or_else(|error| panic!("{error}"));
        let mut names: Vec<&str> =
            said["candidates"].as_array().into_iter().flatten().filter_map(|row| row["name"].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "loop {looped}: {said}");
    }
}

/// The lines of the original's page between two others.
fn snippet(from: &str, to: &str) -> String {
    let (_, mcast) = README.split_once("Cluster using IP Multicast").unwrap_or_else(|| panic!("{from}"));
    let (_, after) = mcast.split_once(from).expect("the page has it");
    after.split_once(to).expect("the page has it").0.trim().to_owned()
}

#[test]
fn the_configuration_of_the_original_runs_unchanged_in_both_styles() {
    if !netns::wanted() {
        return;
    }
    let network = network(3);
    let erlang = snippet("Erlang config:", "Cuttlefish style config:");
    let conf = snippet("Cuttlefish style config:", "Cluster using DNS A records");
    let mut figures = Figures::new("formation with the original's configuration", Duration::from_secs(6));
    for _ in 0..rounds(1, 20) {
        let mut cluster = nodes(&network, 3);
        let start = Instant::now();
        cluster.agents[0].start_file("ekka.config", &erlang);
        cluster.agents[1].start_file("ekka.conf", &conf);
        cluster.agents[2].start_file("ekka.config", &erlang);
        cluster.wait("one cluster", figures.limit(), support::Cluster::whole);
        figures.add(start.elapsed());
    }
    figures.assert_median();
}
