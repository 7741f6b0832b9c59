//! Tables over a network that is cut: both sides write, and what each acknowledged is there in the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::rows::{post, rows};
use crate::support::{self, Cluster, Figures, Netns, netns, rounds};
use serde_json::{Value, json};

const FORM_LIMIT: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(20);

fn formed(network: &Netns, table: &Value) -> Cluster {
    let mut cluster = Cluster::within(network, network.hosts());
    cluster.form(FORM_LIMIT);
    cluster.wait("the table is made", SOON, |cluster| post(&cluster.agents[0].data(), "/v1/tables", table));
    cluster.wait("every node has it", SOON, |cluster| {
        cluster.agents.iter().try_for_each(|agent| rows(&agent.data(), "users").map(drop))
    });
    cluster
}

fn put(cluster: &Cluster, index: usize, body: &Value) -> Result<Value, String> {
    post(&cluster.agents[index].data(), "/v1/tables/users/put", body)
}

/// Who is cut off stays among those whose lag is shown, with all that it lacks.
fn is_behind(cluster: &Cluster, index: usize, alone: usize) {
    cluster.wait("its link has ended, and its lag is there", SOON, |cluster| {
        let info = support::ask::get(&cluster.agents[index].data(), "/v1/tables/users")?;
        let (lacks, others) = (
            info["lag"][&cluster.agents[alone].name].as_u64(),
            info["lag"].as_object().map_or(0, serde_json::Map::len),
        );
        if lacks >= Some(100) && others == 2 { Ok(()) } else { Err(info.to_string()) }
    });
}

#[test]
fn both_sides_of_a_cut_write_and_all_of_it_is_there_after_the_repair() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut healed = Figures::new("repair until all hold all", Duration::from_secs(5));
    let cluster = formed(&network, &json!({"name": "users"}));
    let mut all = BTreeMap::new();
    for round in 0..rounds(2, 20) {
        let alone = round as usize % 3;
        network.cut(alone);
        for number in 0..100 {
            for index in 0..3 {
                let key = format!("r{round}-n{index}-{number}");
                let written = cluster.wait("a write on each side", SOON, |cluster| {
                    put(cluster, index, &json!({"key": key, "value": number}))
                });
                assert!(written["copies"].as_u64() >= Some(1), "{written}");
                all.insert(key, json!(number));
            }
        }
        // The same key on both sides: one of the two is in the table, the other one in the journal.
        for index in 0..3 {
            put(&cluster, index, &json!({"key": "same", "value": index, "ack": "local"})).expect("a local write");
        }
        is_behind(&cluster, (alone + 1) % 3, alone);
        network.repair();
        let start = Instant::now();
        cluster.wait("all hold all", healed.limit(), |cluster| {
            let mut held = Vec::new();
            for agent in &cluster.agents {
                let mut rows = rows(&agent.data(), "users")?;
                held.push(rows.remove("same"));
                if rows != all {
                    return Err(format!("{} has {} of {} rows", agent.name, rows.len(), all.len()));
                }
            }
            held.dedup();
            if held.len() == 1 { Ok(()) } else { Err(format!("{held:?}")) }
        });
        healed.add(start.elapsed());
        cluster.wait("the journal of each has what lost", SOON, |cluster| {
            for agent in &cluster.agents {
                let info = support::ask::get(&agent.data(), "/v1/tables/users")?;
                if info["overridden"].as_u64() == Some(0) {
                    return Err(info.to_string());
                }
            }
            Ok(())
        });
        cluster.wait("each says that rows lost", SOON, |cluster| {
            cluster.agents.iter().try_for_each(|agent| {
                let lost = |event: &Value| event["type"] == "table.override" && event["count"].as_u64() >= Some(1);
                if agent.events()?.iter().any(lost) { Ok(()) } else { Err(agent.name.clone()) }
            })
        });
        cluster.wait("all are up", SOON, Cluster::whole);
    }
    healed.assert_median();
}
