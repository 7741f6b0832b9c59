//! Agents and etcd in network namespaces: the original's own configuration, and an etcd that is silent.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Agent, Cluster, Etcd, Netns, duration, netns, poll, rounds};

const LIMIT: Duration = Duration::from_secs(60);
const README: &str = include_str!("../../../ekka/tests/fixtures/original-readme.txt");

/// The original's words on etcd between two lines, letter by letter.
fn original(from: &str, to: &str) -> &'static str {
    let etcd = README.split("Cluster using etcd\n").nth(1).expect("its section");
    let text = etcd.split(from).nth(1).expect("its begin");
    text.split(to).next().expect("its end").trim_start_matches('\n')
}

/// An agent that runs with a file as it is; what the file does not say stands on the command line.
struct Plain {
    agent: Agent,
    child: Child,
}

impl Plain {
    fn start(network: &Netns, folder: &Path, name: &str, file: &str, text: &str) -> Self {
        let mut agent = Agent::new(folder, name);
        agent.enter(&network.namespace(0));
        let file = folder.join(file);
        fs::write(&file, text).expect("the configuration can be written");
        let log = File::create(folder.join("agent.log")).expect("the log can be written");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network.namespace(0), env!("CARGO_BIN_EXE_ekka"), "agent", "-c"]).arg(&file);
        command.args(["--name", name, "--set"]).arg(format!("node.data_dir={}", agent.data().display()));
        command.args(["--set", "node.cookie=tests-only-0123456789-0123456789-abcdef"]);
        command.current_dir(folder).env("HOME", folder).env("XDG_RUNTIME_DIR", folder).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().expect("a file can be shared")).stderr(log).spawn();
        Self { agent, child: child.expect("the agent can be started") }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.child.kill().expect("an own child can be killed");
        self.child.wait().expect("an own child can be waited for");
    }
}

/// Three nodes of one host with the same file.
fn three_with(file: &str, text: &str, base: &str) {
    let network = Netns::new(1);
    let etcd = Etcd::in_namespace(&network.namespace(0), "127.0.0.1");
    let folder = tempfile::tempdir().expect("a folder");
    let names = ["n1@127.0.0.1", "n2@127.0.0.1", "n3@127.0.0.1"];
    let start = |name: &&str| Plain::start(&network, &folder.path().join(&name[..2]), name, file, text);
    let nodes: Vec<Plain> = names.iter().map(start).collect();
    let whole = || {
        let mut ids = Vec::new();
        for node in &nodes {
            let status = node.agent.json(&["status"])?;
            let members = node.agent.json(&["members"])?;
            let up = members.as_array().into_iter().flatten().filter(|member| member["status"] == "up").count();
            if status["cluster_id"].is_null() || up != 3 {
                return Err(format!("{up} up: {status}"));
            }
            ids.push(status["cluster_id"].clone());
        }
        if ids.iter().all(|id| *id == ids[0]) { Ok(()) } else { Err(format!("{ids:?}")) }
    };
    let ((), took) = poll::until(LIMIT, whole).unwrap_or_else(|seen| {
        let logs: String = nodes.iter().map(|node| node.agent.log()).collect();
        panic!("{seen}\n{logs}")
    });
    println!("three nodes with the original's {file}: {took:.2?}");
    let mut keys: Vec<String> = names.iter().map(|name| format!("{base}{name}")).collect();
    keys.insert(0, format!("{base}id"));
    assert_eq!(etcd.keys(""), keys);
}

#[test]
fn the_originals_configuration_in_erlang_terms_forms_a_cluster_as_it_is() {
    if netns::wanted() {
        three_with("ekka.config", original("Erlang config:\n", "Cuttlefish"), "ekkacluster/ekka/");
    }
}

#[test]
fn the_originals_configuration_in_cuttlefish_style_forms_a_cluster_as_it_is() {
    if netns::wanted() {
        three_with("ekka.conf", original("Cuttlefish style config:\n", "Cluster using"), "ekkacl/ekka/");
    }
}

#[test]
fn users_12_an_etcd_that_is_silent_hurts_no_formed_cluster_restarts_of_nodes_included() {
    if !netns::wanted() {
        return;
    }
    // etcd on the last host, a node on each of the others.
    let network = Netns::new(4);
    let etcd = Etcd::in_namespace(&network.namespace(3), &Netns::address(3));
    let mut cluster = Cluster::within(&network, 3);
    for agent in &mut cluster.agents {
        agent.set("cluster.discovery", "etcd").set("cluster.etcd.server", &etcd.urls());
        agent.set("cluster.etcd.node_ttl", "5s");
    }
    for round in 0..rounds(1, 5) {
        let (id, _) = if round == 0 {
            cluster.form(LIMIT)
        } else {
            (cluster.whole().unwrap_or_else(|seen| panic!("{seen}")), Duration::ZERO)
        };
        let downs = cluster.downs().unwrap_or_else(|error| panic!("{error}"));
        network.cut(3);
        cluster.throughout("all stay up", duration(Duration::from_secs(10), Duration::from_secs(90)), |cluster| {
            let now = cluster.whole()?;
            if now == id { Ok(()) } else { Err(now) }
        });
        assert_eq!(cluster.downs(), Ok(downs), "nobody is declared down");
        for index in 0..3 {
            cluster.agents[index].kill();
            cluster.agents[index].start();
            assert_eq!(cluster.wait("it is back without etcd", LIMIT, Cluster::whole), id);
        }
        network.repair();
        cluster.wait("all are listed again", LIMIT, |_| {
            let keys = etcd.keys("ekkacl/ekka/");
            if keys.len() == 4 { Ok(()) } else { Err(format!("{keys:?}")) }
        });
    }
}
