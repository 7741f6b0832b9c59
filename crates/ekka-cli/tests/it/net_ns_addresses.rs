//! Identity is not an address: every node comes back somewhere else, and it is the same cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Cluster, Figures, Netns, netns, rounds};

const FORM_LIMIT: Duration = Duration::from_secs(20);
const NODES: usize = 3;

fn node_ids(cluster: &Cluster) -> BTreeSet<String> {
    (0..NODES).map(|index| cluster.status(index, "node_id")).collect()
}

/// Who votes, as a node that runs sees it; waits until all of them do.
fn voters(cluster: &Cluster) -> BTreeSet<String> {
    cluster.wait("all vote", FORM_LIMIT, |cluster| {
        let members = cluster.agents[0].json(&["members"])?;
        let rows = members.as_array().ok_or("`members --json` is no array")?;
        let votes = rows.iter().filter(|row| row["voter"] == true).filter_map(|row| row["node_id"].as_str());
        let voters: BTreeSet<String> = votes.map(str::to_owned).collect();
        if voters.len() == NODES { Ok(voters) } else { Err(members.to_string()) }
    })
}

/// Decisions that say a store is another one now, which is what makes a new voter of a node.
fn new_stores(cluster: &Cluster) -> Vec<String> {
    let decisions = cluster.agents.iter().map(|agent| agent.json(&["why"]).unwrap_or_else(|error| panic!("{error}")));
    let all: Vec<serde_json::Value> = decisions.flat_map(|list| list.as_array().cloned().unwrap_or_default()).collect();
    let of_stores = all.iter().filter(|one| one["rule"].as_str().is_some_and(|rule| rule.contains("id of its store")));
    of_stores.map(ToString::to_string).collect()
}

/// Kills all nodes, gives each the address of its turn, and expects the cluster to resume.
fn resumes_elsewhere(what: &'static str, address: impl Fn(u32, usize) -> String, count: u32) {
    let network = Netns::new(NODES);
    let mut cluster = Cluster::within(&network, NODES);
    let mut figures = Figures::new(what, Duration::from_secs(10));
    let (id, _) = cluster.form(FORM_LIMIT);
    let (identities, voters_before) = (node_ids(&cluster), voters(&cluster));
    for round in 1..=count {
        for agent in &mut cluster.agents {
            agent.kill();
        }
        for index in 0..NODES {
            let host = address(round, index);
            network.set_address(index, &host);
            cluster.agents[index].rename(&format!("n{}@{host}", index + 1));
        }
        let names: Vec<String> = cluster.agents.iter().map(|agent| agent.name.clone()).collect();
        cluster.seeds(&names);
        let (again, took) = cluster.form(figures.limit());
        figures.add(took);
        assert_eq!(again, id, "the same cluster");
        assert_eq!(node_ids(&cluster), identities, "the same nodes");
        assert_eq!(voters(&cluster), voters_before, "the same voters");
        assert_eq!(new_stores(&cluster), Vec::<String>::new(), "nobody votes as another one");
        for agent in &cluster.agents {
            let members = agent.json(&["members"]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(members.as_array().map(Vec::len), Some(NODES), "one row for each node: {members}");
        }
    }
    figures.assert_each();
}

/// USERS 37.
#[test]
fn all_nodes_restarted_with_new_addresses_resume_the_same_cluster() {
    if !netns::wanted() {
        return;
    }
    let fresh = |round: u32, index: usize| format!("10.77.0.{}", 10 + round as usize % 20 * 10 + index);
    resumes_elsewhere("all nodes back with new addresses", fresh, rounds(1, 20));
}

#[test]
fn all_nodes_restarted_with_permuted_addresses_resume_the_same_cluster() {
    if !netns::wanted() {
        return;
    }
    let permuted = |round: u32, index: usize| Netns::address((index + round as usize) % NODES);
    resumes_elsewhere("all nodes back with permuted addresses", permuted, rounds(1, 20));
}
