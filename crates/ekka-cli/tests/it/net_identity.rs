//! Folders and names that two nodes claim: refused in words, and the healthy one goes on.

use std::fs;
use std::time::Duration;

use crate::support::cluster::STOP_LIMIT;
use crate::support::folder::copy;
use crate::support::{Agent, Cluster};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

fn row(cluster: &Cluster, index: usize) -> Value {
    cluster.agents[1].row(&cluster.agents[index].name).unwrap_or_else(|error| panic!("{error}"))
}

/// Waits until its log says all of these, in any case of letters.
fn says(cluster: &Cluster, agent: &Agent, words: &[&str]) {
    cluster.wait(&format!("{} says {words:?}", agent.name), LIMIT, |_| {
        let log = agent.log().to_lowercase();
        let missing: Vec<&&str> = words.iter().filter(|word| !log.contains(&word.to_lowercase())).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not said: {missing:?}\n{}", agent.report())) }
    });
}

#[test]
fn a_copied_data_folder_is_refused_in_words_and_the_healthy_node_goes_on() {
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(LIMIT);
    let before = row(&cluster, 0);
    let mut thief = cluster.agent(&format!("n9@{}", cluster.free_host()));
    thief.set("cluster.static.seeds", &cluster.seed_list());
    copy(&cluster.agents[0].data(), &thief.data());
    thief.start();
    says(&cluster, &thief, &["duplicate identity", &cluster.agents[0].name]);
    assert_ne!(thief.wait_for_end(LIMIT).code(), Some(0), "a refusal is a failure");
    let again = cluster.wait("all as before", LIMIT, Cluster::whole);
    assert_eq!(again, id);
    assert_eq!(row(&cluster, 0)["guid"], before["guid"], "the healthy one was not superseded");
}

#[test]
fn two_hosts_with_one_name_are_told_apart_and_the_first_goes_on() {
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(LIMIT);
    let before = row(&cluster, 0);
    let holder = before["node_id"].as_str().expect("node_id is text").to_owned();
    let mut second = cluster.agent(&cluster.agents[0].name);
    second.set("cluster.static.seeds", &cluster.seed_list()).set("node.listen", &cluster.free_host());
    second.start();
    // The first six digits of a node_id name it anywhere (DESIGN section 6).
    says(&cluster, &second, &[&cluster.agents[0].name, &holder[..6]]);
    cluster.throughout("the name stays with its holder", Duration::from_secs(3), |cluster| {
        let row = cluster.agents[1].row(&cluster.agents[0].name)?;
        if row["node_id"] == holder.as_str() { Ok(()) } else { Err(row.to_string()) }
    });
    let again = cluster.wait("all as before", LIMIT, Cluster::whole);
    assert_eq!(again, id);
    assert_eq!(row(&cluster, 0)["guid"], before["guid"]);
}

#[test]
fn two_nodes_of_one_host_that_meet_on_a_port_are_told_who_holds_it() {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(LIMIT);
    let mut second = cluster.agent(&format!("other1@{}", cluster.host(0)));
    second.set("cluster.static.seeds", &cluster.seed_list());
    second.start();
    assert_ne!(second.wait_for_end(LIMIT).code(), Some(0), "it cannot listen");
    says(&cluster, &second, &[&cluster.agents[0].name]);
}

#[test]
fn a_folder_restored_from_an_old_copy_is_told_so_and_joins_as_new() {
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(LIMIT);
    let old_id = cluster.status(2, "node_id");
    cluster.agents[2].stop(STOP_LIMIT);
    let backup = tempfile::tempdir().expect("a temporary folder");
    copy(&cluster.agents[2].data(), backup.path());
    for _ in 0..2 {
        cluster.agents[2].start();
        cluster.wait("up again", LIMIT, Cluster::whole);
        cluster.agents[2].stop(STOP_LIMIT);
    }
    fs::remove_dir_all(cluster.agents[2].data()).expect("the folder can be removed");
    copy(backup.path(), &cluster.agents[2].data());
    cluster.agents[2].start();
    says(&cluster, &cluster.agents[2], &["restored from an old copy"]);
    let again = cluster.wait("up as a new member", LIMIT, |cluster| {
        let status = cluster.agents[2].json(&["status"])?;
        if status["node_id"] == old_id.as_str() || status["status"] != "up" {
            return Err(status.to_string());
        }
        status["cluster_id"].as_str().map(str::to_owned).ok_or_else(|| status.to_string())
    });
    assert_eq!(again, id, "the same cluster");
}
