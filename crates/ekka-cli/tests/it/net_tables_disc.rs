//! Tables on disc of real processes: whatever was acknowledged is there after kills, of all at once and of one under
//! load, and what is dropped while a node is down is deleted there too.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::rows::{Acked, Writers, post, rows};
use crate::support::{self, Cluster, rounds};
use serde_json::{Value, json};

const FORM_LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(60);
const TABLE: &str = "kept";

fn data(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.agents[index].data()
}

fn formed() -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(FORM_LIMIT);
    let table = json!({"name": TABLE, "storage": "disc"});
    cluster.wait("the table is made", SOON, |cluster| post(&data(cluster, 0), "/v1/tables", &table));
    loaded(&cluster);
    cluster
}

fn loaded(cluster: &Cluster) {
    cluster.wait("every node has the table", LIMIT, |cluster| {
        cluster.agents.iter().try_for_each(|agent| support::rows::loaded(agent, TABLE))
    });
}

fn put(cluster: &Cluster, index: usize, body: &Value) -> Value {
    post(&data(cluster, index), &format!("/v1/tables/{TABLE}/put"), body)
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster.report()))
}

/// Whether each node has each write that was acknowledged, or a later one of its key.
fn all_there(cluster: &Cluster, acked: &[Acked]) {
    cluster.wait("every acknowledged row is on every node", LIMIT, |cluster| {
        for agent in &cluster.agents {
            let there: BTreeMap<String, Value> = rows(&agent.data(), TABLE)?;
            for Acked { key, value, .. } in acked {
                let held = there.get(key).and_then(Value::as_u64);
                if held.is_none_or(|held| held < *value) {
                    return Err(format!("{}: {key} is {held:?}, and {value} was acknowledged", agent.name));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn what_all_have_acknowledged_is_there_after_all_are_killed_at_once() {
    let mut cluster = formed();
    let terms = |key: &str, value: u64| json!({"key": key, "value": value, "ack": "all"});
    for number in 0..200 {
        let written = put(&cluster, number % 3, &terms(&format!("k{number}"), number as u64));
        assert_eq!((&written["copies"], &written["durable"]), (&json!(3), &json!(true)), "{written}");
    }
    let delete = json!({"key": "k0", "ack": "all"});
    post(&data(&cluster, 1), &format!("/v1/tables/{TABLE}/delete"), &delete).expect("it is deleted");
    let mut kept: Vec<_> =
        (1..200).map(|number| Acked { key: format!("k{number}"), value: number, copies: 3 }).collect();
    for _ in 0..rounds(1, 30) {
        let writers = Writers::begin((0..3).map(|index| data(&cluster, index)), TABLE, 100);
        cluster.throughout("they write", Duration::from_secs(2), |_| Ok(()));
        for agent in &mut cluster.agents {
            agent.kill();
        }
        let acked = writers.end();
        assert!(!acked.is_empty());
        kept.extend(acked);
        let began = Instant::now();
        cluster.start();
        loaded(&cluster);
        println!("all are back with the table after {:.2?}", began.elapsed());
        all_there(&cluster, &kept);
        for agent in &cluster.agents {
            let there = rows(&agent.data(), TABLE).expect("it answers");
            assert!(!there.contains_key("k0"), "{}: what was deleted is back", agent.name);
        }
    }
    // `all` are those that are up as the node sees it: rows may be whole before that.
    cluster.wait("all are up", LIMIT, Cluster::whole);
    let written = put(&cluster, 2, &terms("after", 1));
    assert_eq!((&written["copies"], &written["durable"]), (&json!(3), &json!(true)), "{written}");
}

#[test]
fn one_that_is_killed_under_load_loses_nothing_and_catches_up() {
    let mut cluster = formed();
    let writers = Writers::begin((0..3).map(|index| data(&cluster, index)), TABLE, 200);
    for victim in (0..3).cycle().take(rounds(3, 30) as usize) {
        cluster.throughout("they write", Duration::from_secs(2), |_| Ok(()));
        cluster.agents[victim].kill();
        cluster.throughout("two write", Duration::from_secs(1), |_| Ok(()));
        cluster.agents[victim].start();
        cluster.wait("it is back", LIMIT, Cluster::whole);
    }
    let acked = writers.end();
    assert!(acked.len() > 300, "{} keys were written", acked.len());
    loaded(&cluster);
    all_there(&cluster, &acked);
}

const DELETED: &str = "what was on disc of a dropped table is deleted";

/// Waits until these have deleted so many tables.
fn deleted(cluster: &Cluster, nodes: &[usize], times: usize) {
    cluster.wait("it is deleted", LIMIT, |cluster| {
        let lacks = |index: &&usize| cluster.agents[**index].log().matches(DELETED).count() < times;
        match nodes.iter().find(lacks) {
            Some(index) => Err(cluster.agents[*index].name.clone()),
            None => Ok(()),
        }
    });
}

#[test]
fn what_is_dropped_while_a_node_is_down_is_deleted_there_too_and_who_leaves_keeps_nothing() {
    let mut cluster = formed();
    put(&cluster, 0, &json!({"key": "a", "value": 1, "ack": "all"}));
    cluster.agents[2].kill();
    let dropped = cluster.agents[0].json(&["table", "drop", TABLE]);
    dropped.unwrap_or_else(|error| panic!("{error}\n{}", cluster.report()));
    cluster.agents[2].start();
    deleted(&cluster, &[0, 1, 2], 1);
    cluster.wait("all are back", LIMIT, Cluster::whole);

    let table = json!({"name": TABLE, "storage": "disc"});
    cluster.wait("it is made again", SOON, |cluster| post(&data(cluster, 0), "/v1/tables", &table));
    loaded(&cluster);
    assert!(rows(&data(&cluster, 2), TABLE).expect("it answers").is_empty(), "another table of the same name");
    put(&cluster, 0, &json!({"key": "b", "value": 2, "ack": "all"}));
    let left = cluster.agents[2].json(&["leave"]);
    left.unwrap_or_else(|error| panic!("{error}\n{}", cluster.report()));
    deleted(&cluster, &[2], 2);
    assert_eq!(rows(&data(&cluster, 0), TABLE).expect("it answers").len(), 1, "those who stay keep theirs");
}
