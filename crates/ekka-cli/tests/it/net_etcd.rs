//! Agents that find each other through a real etcd, on loopback: formation, newcomers, crashes, outages.

use std::time::{Duration, Instant};

use crate::support::{self, Agent, Cluster, Etcd, Figures, Stall, duration, rounds};

/// Three seconds of it are those in which the list of nodes must stay the same (`SETTLE_OTHER`).
const FORM: Duration = Duration::from_secs(5);
const BASE: &str = "ekkacl/ekka/";

/// Lets an agent ask that etcd.
fn ask(agent: &mut Agent, etcd: &Etcd) {
    agent.set("cluster.discovery", "etcd").set("cluster.etcd.server", &etcd.urls());
    agent.set("cluster.etcd.node_ttl", "3s");
}

/// So many nodes that ask that etcd, none started.
fn nodes(count: u8, etcd: &Etcd) -> Cluster {
    let mut cluster = Cluster::on_loopback(count);
    for agent in &mut cluster.agents {
        ask(agent, etcd);
    }
    cluster
}

fn id_in(etcd: &Etcd) -> Result<String, String> {
    let value = etcd.value(&format!("{BASE}id")).ok_or("etcd holds no id")?;
    let value: serde_json::Value = serde_json::from_str(&value).map_err(|error| format!("{value}: {error}"))?;
    Ok(value["cluster_id"].as_str().ok_or("no cluster_id")?.to_owned())
}

/// The keys of nodes.
fn listed(etcd: &Etcd) -> Vec<String> {
    etcd.keys(BASE).into_iter().filter(|key| !key.ends_with("/id")).collect()
}

fn wait_words(cluster: &Cluster, index: usize, words: &str) {
    cluster.wait(&format!("status says: {words}"), Duration::from_secs(30), |cluster| {
        let status = cluster.agents[index].json(&["status"])?.to_string();
        if status.contains(words) { Ok(()) } else { Err(status) }
    });
}

#[test]
fn users_11_nodes_started_at_once_form_one_cluster_each_time_and_leave_no_other_keys() {
    let etcd = Etcd::start();
    let mut figures = Figures::new("formation of three nodes by etcd", FORM);
    for _ in 0..rounds(3, 100) {
        let mut cluster = nodes(3, &etcd);
        let (id, took) = cluster.form(figures.limit());
        figures.add(took);
        assert_eq!(id_in(&etcd), Ok(id), "the id in etcd is that of the cluster");
        let mut keys: Vec<String> = cluster.agents.iter().map(|agent| format!("{BASE}{}", agent.name)).collect();
        keys.insert(0, format!("{BASE}id"));
        assert_eq!(etcd.keys(""), keys, "no other key is there");
        for agent in &mut cluster.agents {
            agent.stop(support::cluster::STOP_LIMIT);
        }
        assert_eq!(etcd.keys(""), [format!("{BASE}id")], "nodes that stopped are not listed");
        etcd.ctl(&["del", "--prefix", ""]);
    }
    figures.assert_median();
}

#[test]
fn a_fourth_node_joins_and_one_that_comes_after_a_crash_forms_no_second_cluster() {
    let etcd = Etcd::start();
    let mut joined = Figures::new("a fourth node joins", FORM);
    for _ in 0..rounds(1, 20) {
        let mut cluster = nodes(3, &etcd);
        let (id, _) = cluster.form(FORM * 10);
        let name = format!("n4@{}", cluster.free_host());
        let mut fourth = cluster.agent(&name);
        ask(&mut fourth, &etcd);
        cluster.agents.push(fourth);
        let begun = Instant::now();
        cluster.agents[3].start();
        assert_eq!(cluster.wait("four are one", joined.limit(), Cluster::whole), id);
        joined.add(begun.elapsed());

        cluster.agents[0].kill();
        let gone = cluster.agents.remove(0);
        let name = format!("n5@{}.99", cluster.host(0).rsplit_once('.').expect("IPv4").0);
        let mut fifth = cluster.agent(&name);
        ask(&mut fifth, &etcd);
        fifth.start();
        cluster.agents.push(fifth);
        cluster.wait("the newcomer is in the same cluster", FORM * 10, |cluster| {
            let status = cluster.agents[3].json(&["status"])?;
            if status["cluster_id"] == id.as_str() && status["status"] == "up" {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
        cluster.wait("the dead one is not listed any more", Duration::from_secs(30), |_| {
            let listed = listed(&etcd);
            if listed.iter().any(|key| key.ends_with(&gone.name)) { Err(format!("{listed:?}")) } else { Ok(()) }
        });
        assert_eq!(listed(&etcd).len(), 4);
        drop(cluster);
        etcd.ctl(&["del", "--prefix", ""]);
    }
    joined.assert_median();
}

#[test]
fn ekka_spec_10_17_nodes_wait_for_an_etcd_that_is_not_there_say_so_and_then_form() {
    let mut etcd = Etcd::not_started();
    let mut figures = Figures::new("formation once etcd is there", Duration::from_secs(10));
    let mut cluster = nodes(3, &etcd);
    cluster.start();
    for index in 0..3 {
        wait_words(&cluster, index, "etcd");
        wait_words(&cluster, index, "no etcd server answers");
    }
    cluster.throughout("nobody forms without etcd", Duration::from_secs(5), |cluster| {
        let status = cluster.agents[0].json(&["status"])?;
        if status["cluster_id"].is_null() { Ok(()) } else { Err(status.to_string()) }
    });
    let begun = Instant::now();
    etcd.run_all();
    cluster.wait("they form", figures.limit(), Cluster::whole);
    figures.add(begun.elapsed());
    figures.assert_median();
}

#[test]
fn users_12_an_outage_of_etcd_hurts_no_formed_cluster_restarts_of_nodes_included() {
    let mut etcd = Etcd::start();
    let mut cluster = nodes(3, &etcd);
    let (id, _) = cluster.form(FORM * 10);
    let downs = cluster.downs().unwrap_or_else(|error| panic!("{error}"));
    etcd.kill(0);
    let outage = duration(Duration::from_secs(10), Duration::from_secs(120));
    cluster.throughout("all stay up in one cluster", outage, |cluster| {
        let now = cluster.whole()?;
        if now == id { Ok(()) } else { Err(now) }
    });
    assert_eq!(cluster.downs(), Ok(downs), "nobody is declared down");
    for index in 0..3 {
        cluster.agents[index].kill();
        cluster.agents[index].start();
        let again = cluster.wait("it is back without etcd", Duration::from_secs(60), Cluster::whole);
        assert_eq!(again, id, "the same cluster");
    }
    etcd.run_all();
    cluster.wait("all are listed again", Duration::from_secs(30), |_| {
        let listed = listed(&etcd);
        if listed.len() == 3 { Ok(()) } else { Err(format!("{listed:?}")) }
    });
    assert_eq!(id_in(&etcd), Ok(id));
}

#[test]
fn an_etcd_that_comes_back_with_nothing_is_given_the_id_again_and_newcomers_join() {
    let mut etcd = Etcd::start();
    let mut cluster = nodes(3, &etcd);
    let (id, _) = cluster.form(FORM * 10);
    etcd.restart_empty();
    let mut figures = Figures::new("an emptied etcd holds nodes and id again", Duration::from_secs(3));
    let begun = Instant::now();
    cluster.wait("nodes and id", Duration::from_secs(30), |_| {
        let keys = etcd.keys(BASE);
        if keys.len() == 4 { Ok(()) } else { Err(format!("{keys:?}")) }
    });
    figures.add(begun.elapsed());
    assert_eq!(id_in(&etcd), Ok(id.clone()));
    let name = format!("n4@{}", cluster.free_host());
    let mut fourth = cluster.agent(&name);
    ask(&mut fourth, &etcd);
    fourth.start();
    cluster.agents.push(fourth);
    assert_eq!(cluster.wait("the newcomer joins", FORM * 10, Cluster::whole), id);
    figures.assert_median();
}

/// A node is frozen when its claim is on its way. What the network does with the claim afterwards must not matter.
fn frozen_claim(deliver: bool) {
    let etcd = Etcd::start();
    for _ in 0..rounds(1, 20) {
        let mut cluster = nodes(3, &etcd);
        let server = etcd.url(0).trim_start_matches("http://").to_owned();
        let stall = Stall::new(&server, "/kv/txn");
        cluster.agents[0].set("cluster.etcd.server", &format!("http://{}", stall.address));
        cluster.agents[0].start();
        stall.wait(Duration::from_secs(30));
        cluster.agents[0].freeze();
        assert_eq!(listed(&etcd).len(), 1, "it is registered");
        let frozen = cluster.agents.remove(0);
        cluster.start();
        let id = cluster.wait("the others form", FORM * 10, Cluster::whole);
        cluster.wait("the lease of the frozen one is over", Duration::from_secs(30), |_| {
            let listed = listed(&etcd);
            if listed.len() == 2 { Ok(()) } else { Err(format!("{listed:?}")) }
        });
        stall.release(deliver);
        frozen.thaw();
        cluster.agents.insert(0, frozen);
        assert_eq!(cluster.wait("it joins them", FORM * 10, Cluster::whole), id, "one cluster");
        assert_eq!(id_in(&etcd), Ok(id));
        drop(cluster);
        etcd.ctl(&["del", "--prefix", ""]);
    }
}

#[test]
fn ekka_spec_10_16_a_node_frozen_past_its_lease_whose_claim_comes_late_forms_no_second_cluster() {
    frozen_claim(true);
}

#[test]
fn ekka_spec_10_16_a_node_frozen_past_its_lease_whose_claim_is_lost_forms_no_second_cluster() {
    frozen_claim(false);
}

#[test]
fn a_node_frozen_right_after_its_claim_is_waited_for_by_name_and_then_all_are_one() {
    let etcd = Etcd::start();
    let mut cluster = nodes(3, &etcd);
    cluster.agents[0].start();
    cluster.wait("it has claimed", Duration::from_secs(30), |_| id_in(&etcd));
    cluster.agents[0].freeze();
    cluster.agents[1].start();
    let name = cluster.agents[0].name.clone();
    wait_words(&cluster, 1, &name);
    cluster.throughout("nobody forms another one", Duration::from_secs(5), |cluster| {
        let status = cluster.agents[1].json(&["status"])?;
        if status["cluster_id"].is_null() { Ok(()) } else { Err(status.to_string()) }
    });
    cluster.agents[0].thaw();
    cluster.agents[2].start();
    let id = cluster.wait("all are one", FORM * 10, Cluster::whole);
    assert_eq!(id_in(&etcd), Ok(id));
}

#[test]
fn a_node_that_leaves_is_not_listed_any_more_and_one_that_is_killed_is_for_its_ttl() {
    let etcd = Etcd::start();
    let mut cluster = nodes(3, &etcd);
    cluster.form(FORM * 10);
    let output = cluster.agents[2].ekka(&["leave"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.wait("its key is gone", Duration::from_secs(2), |cluster| {
        let listed = listed(&etcd);
        let there = listed.iter().any(|key| key.ends_with(&cluster.agents[2].name));
        if there { Err(format!("{listed:?}")) } else { Ok(()) }
    });
    cluster.agents[1].kill();
    assert!(listed(&etcd).iter().any(|key| key.ends_with(&cluster.agents[1].name)), "a crash takes nothing out");
}

#[test]
fn nodes_go_on_with_the_other_members_of_etcd_when_one_is_killed() {
    let mut etcd = Etcd::three();
    let mut cluster = nodes(3, &etcd);
    let (id, _) = cluster.form(FORM * 10);
    etcd.kill(0);
    etcd.wait();
    cluster.throughout("all stay listed", Duration::from_secs(8), |_| {
        let listed = listed(&etcd);
        if listed.len() == 3 { Ok(()) } else { Err(format!("{listed:?}")) }
    });
    let name = format!("n4@{}", cluster.free_host());
    let mut fourth = cluster.agent(&name);
    ask(&mut fourth, &etcd);
    fourth.start();
    cluster.agents.push(fourth);
    assert_eq!(cluster.wait("a newcomer joins through the others", FORM * 10, Cluster::whole), id);
}

#[test]
fn discover_explains_what_etcd_holds_and_changes_nothing() {
    let etcd = Etcd::start();
    let mut cluster = nodes(2, &etcd);
    cluster.form(FORM * 10);
    etcd.ctl(&["put", &format!("{BASE}nodes/emqx@10.0.0.4"), "emqx@10.0.0.4"]);
    etcd.ctl(&["put", &format!("{BASE}n9@10.255.255.1"), "hello"]);
    let before = etcd.keys("");
    let folder = cluster.agents[0].data().parent().expect("a folder").to_owned();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ekka"));
    command.arg("discover").arg("-c").arg(folder.join("node.conf")).env("HOME", &folder).current_dir(&folder);
    let output = command.output().expect("the binary can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for agent in &cluster.agents {
        assert!(text.contains(&agent.name), "{text}");
    }
    assert_eq!(etcd.keys(""), before);
}
