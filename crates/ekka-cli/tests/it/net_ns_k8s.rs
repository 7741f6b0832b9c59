//! The original's own configuration of `k8s`, letter by letter, in a network that owns its addresses; and the token,
//! which does not go over it in the clear.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::k8s::{Access, ApiServer, Place, Pod, TOKEN, World};
use crate::support::{Cluster, Figures, Netns, netns, rounds};
use serde_json::json;

/// The API server of the original's README.
const ADDRESS: &str = "10.110.111.204";
const README: &str = include_str!("../../../ekka/tests/fixtures/original-readme.txt");

/// The original's words on k8s between two lines, letter by letter.
fn original(from: &str, to: &str) -> &'static str {
    let section = README.split_once("{k8s, [").expect("the README has it").0.len();
    let begin = README[..section].rfind("{cluster_discovery,").expect("the term begins before");
    let text = &README[begin..];
    let at = text.find(from).expect("it has the beginning");
    let rest = &text[at..];
    &rest[..rest.find(to).unwrap_or(rest.len())]
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("`ip` is there");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An API server on the address of the README, in the namespace of the last host.
fn server(network: &Netns, pods: usize, access: Access) -> ApiServer {
    let namespace = network.namespace(pods);
    ip(&["-n", &namespace, "addr", "add", &format!("{ADDRESS}/32"), "dev", "eth0"]);
    for host in 0..pods {
        ip(&["-n", &network.namespace(host), "route", "add", &format!("{ADDRESS}/32"), "dev", "eth0"]);
    }
    let addr = format!("{ADDRESS}:8080").parse().expect("an address");
    let mut world = World::new("ekka", "default", access);
    world.put_workload("StatefulSet", "ekka", None, &json!({"replicas": 3, "podManagementPolicy": "Parallel"}));
    for host in 0..pods {
        let pod = Pod { ips: vec![Netns::address(host)], ready: true, ..Pod::default() };
        world.put_pod(&format!("ekka-{host}"), pod);
    }
    ApiServer::start(Place { addr, namespace: Some(namespace), tls: None }, world)
}

fn everybody() -> Access {
    Access { tokens: std::collections::BTreeMap::new(), all: true, ..Access::least(TOKEN) }
}

/// Nodes named by their addresses, without settings of discovery.
fn nodes(network: &Netns, pods: usize) -> Cluster {
    let mut cluster = Cluster::within(network, pods);
    for (host, agent) in cluster.agents.iter_mut().enumerate() {
        agent.rename(&format!("ekka@{}", Netns::address(host)));
        agent.unset("cluster.static.seeds");
        agent.unset("cluster.discovery");
    }
    cluster
}

fn runs_unchanged(file: &'static str, text: &str) {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new(file, Duration::from_secs(6));
    for _ in 0..rounds(1, 20) {
        let network = Netns::new(4);
        let server = server(&network, 3, everybody());
        let mut cluster = nodes(&network, 3);
        let start = Instant::now();
        for agent in &mut cluster.agents {
            agent.start_file(file, text);
        }
        cluster.wait("one cluster", figures.limit(), Cluster::whole);
        figures.add(start.elapsed());
        assert!(server.world(|world| world.asked.iter().all(|(_, token)| !token)), "there is no token to be sent");
        drop(cluster);
    }
    figures.assert_median();
}

#[test]
fn the_originals_conf_runs_unchanged() {
    runs_unchanged("original.conf", original("cluster.discovery = k8s", "\nNetwork partition"));
}

#[test]
fn the_originals_erlang_terms_run_unchanged() {
    runs_unchanged("original.config", original("{cluster_discovery,", "Cuttlefish style config"));
}

#[test]
fn a_token_goes_in_the_clear_only_where_that_is_allowed() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(2);
    let server = server(&network, 1, Access::least(TOKEN));
    let mut cluster = nodes(&network, 1);
    let agent = &mut cluster.agents[0];
    let token = agent.data().with_file_name("token");
    fs::write(&token, TOKEN).expect("written");
    agent.set("cluster.discovery", "k8s").set("cluster.k8s.app_name", "ekka");
    agent.set("cluster.k8s.apiserver", &format!("http://{ADDRESS}:8080"));
    agent.set("cluster.k8s.token_file", &token.display().to_string());
    let said = agent.discover().expect("an answer").to_string();
    for part in ["401 Unauthorized", "was not sent, since it would go in the clear", "cluster.k8s.insecure_token = on"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(server.world(|world| world.asked.iter().all(|(_, token)| !token)), "it was sent");
    agent.set("cluster.k8s.insecure_token", "on");
    let said = agent.discover().expect("an answer").to_string();
    assert!(said.contains("sent the token in the clear") && said.contains("ekka@10.77.0.1"), "{said}");
    assert!(server.world(|world| world.asked.iter().any(|(_, token)| *token)), "it was not sent");
}
