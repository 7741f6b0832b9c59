//! Several sources at once, sources that are exchanged while the node runs, and a formed cluster that does not care.

use std::time::Duration;

use crate::support::dns::{self, Dns};
use crate::support::{self, Cluster, Etcd};
use serde_json::Value;

const NAME: &str = "ekka.test";
const LIMIT: Duration = Duration::from_secs(40);

/// So many nodes with the list of all and the same name part, which ask that DNS server too.
fn static_and_dns(count: u8, server: &str) -> Cluster {
    let mut cluster = Cluster::on_loopback(count);
    for index in 0..cluster.agents.len() {
        let name = format!("ekka@{}", cluster.host(index));
        cluster.agents[index].rename(&name);
        let agent = &mut cluster.agents[index];
        agent.set("cluster.discovery", "static,dns").set("cluster.dns.name", NAME).set("cluster.dns.server", server);
    }
    let names: Vec<String> = cluster.agents.iter().map(|agent| agent.name.clone()).collect();
    cluster.seeds(&names);
    cluster
}

fn types(agent: &support::Agent) -> Vec<String> {
    let events = agent.events().unwrap_or_else(|error| panic!("{error}"));
    events.iter().filter_map(|event| Some(event["type"].as_str()?.to_owned())).collect()
}

fn results(found: &Value, strategy: &str) -> Vec<String> {
    let candidates = found["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = candidates.iter().filter(|candidate| candidate["strategy"] == strategy);
    of.filter_map(|candidate| Some(candidate["result"].as_str()?.to_owned())).collect()
}

#[test]
fn a_source_that_is_down_beside_a_good_one_is_said_and_hurts_nobody() {
    let nobody = dns::free("127.0.0.1");
    let mut cluster = static_and_dns(3, &nobody.to_string());
    cluster.form(LIMIT);
    cluster.wait("the dead source is said", LIMIT, |cluster| {
        let said = types(&cluster.agents[0]);
        if said.iter().any(|kind| kind == "discovery.failing") { Ok(()) } else { Err(format!("{said:?}")) }
    });
    cluster.throughout("one cluster", Duration::from_secs(3), |cluster| cluster.whole().map(drop));
    let found = cluster.agents[0].discover().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found["failed"][0]["strategy"], "dns", "{found}");
    let mut good = results(&found, "static");
    good.sort();
    assert_eq!(good, ["self", "usable", "usable"], "{found}");
    assert_eq!(cluster.downs(), Ok(0));
}

#[test]
fn a_newcomer_whose_seeds_are_all_dead_joins_by_the_other_source() {
    let server = Dns::start(dns::free("127.0.0.1"));
    let mut cluster = static_and_dns(4, &server.server());
    let hosts: Vec<String> = (0..3).map(|index| cluster.host(index).to_owned()).collect();
    server.hosts(&[(NAME, &hosts)]);
    let mut late = cluster.agents.pop().expect("four nodes");
    let seeds = [cluster.agents[0].name.clone(), cluster.agents[1].name.clone(), cluster.agents[2].name.clone()];
    cluster.seeds(&seeds);
    let (id, _) = cluster.form(LIMIT);
    late.set("cluster.static.seeds", &format!("ekka@{}", cluster.free_host()));
    cluster.agents.push(late);
    cluster.agents[3].start();
    let whole = cluster.wait("the newcomer is in", LIMIT, Cluster::whole);
    assert_eq!(whole, id);
}

#[test]
fn a_formed_cluster_does_not_care_what_its_source_says_then() {
    let mut server = Dns::start(dns::free("127.0.0.1"));
    let mut cluster = static_and_dns(3, &server.server());
    for agent in &mut cluster.agents {
        agent.set("cluster.discovery", "dns").set("cluster.expect", "2");
    }
    let hosts: Vec<String> = (0..3).map(|index| cluster.host(index).to_owned()).collect();
    server.hosts(&[(NAME, &hosts)]);
    let (id, _) = cluster.form(LIMIT);
    let stays = |cluster: &Cluster, what: &str| {
        cluster.throughout(what, Duration::from_secs(4), |cluster| {
            if cluster.whole()? == id { Ok(()) } else { Err("another id".to_owned()) }
        });
    };
    server.hosts(&[]);
    // A reload has the source asked at once, and again every few seconds.
    cluster.agents[0].set("node.tags", "asks=anew");
    cluster.agents[0].reload().unwrap_or_else(|error| panic!("{error}"));
    stays(&cluster, "the source is empty");
    server.hosts(&[(NAME, &hosts[1..2])]);
    stays(&cluster, "the source is short");
    server.hosts(&[(NAME, &["127.255.255.254".to_owned(), "10.255.255.1".to_owned()])]);
    stays(&cluster, "the source is wrong");
    server.end();
    stays(&cluster, "the source is down");
    cluster.agents[1].kill();
    cluster.agents[1].start();
    assert_eq!(cluster.wait("whoever restarts finds back without its source", LIMIT, Cluster::whole), id);
    assert!(types(&cluster.agents[0]).iter().all(|kind| kind != "cluster.conflict"));
}

#[test]
fn a_reload_takes_the_entry_out_of_the_source_that_is_asked_no_more() {
    let etcd = Etcd::start();
    let mut cluster = Cluster::on_loopback(2);
    for agent in &mut cluster.agents {
        agent.unset("cluster.static.seeds");
        agent.set("cluster.discovery", "etcd").set("cluster.etcd.server", &etcd.urls());
    }
    let (id, _) = cluster.form(LIMIT);
    let name = cluster.agents[0].name.clone();
    let has = |prefix: &str| etcd.keys(prefix).iter().any(|key| key.ends_with(&name));
    assert!(has("ekkacl/"));
    cluster.agents[0].set("cluster.etcd.prefix", "other");
    cluster.agents[0].reload().unwrap_or_else(|error| panic!("{error}"));
    cluster.wait("the entry moves", LIMIT, |_| match (has("ekkacl/"), has("other/")) {
        (false, true) => Ok(()),
        (old, new) => Err(format!("old prefix: {old}, new prefix: {new}")),
    });
    cluster.wait("the record of the id is made there", LIMIT, |_| {
        let value = etcd.value("other/ekka/id").ok_or("no id yet")?;
        if value.contains(&id) { Ok(()) } else { Err(value) }
    });
    cluster.agents[0].set("cluster.discovery", "manual");
    cluster.agents[0].reload().unwrap_or_else(|error| panic!("{error}"));
    cluster.wait("no entry is left", LIMIT, |_| if has("") { Err("it is there".to_owned()) } else { Ok(()) });
    assert_eq!(cluster.whole(), Ok(id), "the cluster does not care");
}
