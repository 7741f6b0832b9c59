//! Two nodes and a witness, as real processes: any one of the three can be lost.

use std::time::Duration;

use crate::support::{Agent, Cluster};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// Two cores and, third, a witness.
fn two_and_a_witness() -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    cluster.agents[2].set("node.role", "witness");
    cluster.form(LIMIT);
    cluster.wait("three voters, one a witness", LIMIT, |cluster| {
        let row = cluster.agents[0].row(&cluster.agents[2].name)?;
        let quorum = ready(&cluster.agents[0])?;
        if row["role"] == "witness" && row["voter"] == true && quorum["voters"] == 3 {
            Ok(())
        } else {
            Err(format!("{row}, {quorum}"))
        }
    });
    cluster
}

/// The quorum, where the node is ready.
fn ready(agent: &Agent) -> Result<Value, String> {
    let status = agent.json(&["status"])?;
    if status["ready"] == true { Ok(status["quorum"].clone()) } else { Err(status["reasons"].to_string()) }
}

/// A newcomer is admitted, which is a committed entry.
fn admits_another(cluster: &Cluster, seed: usize) -> Agent {
    let mut fourth = cluster.agent(&format!("n4@{}", cluster.free_host()));
    fourth.set("cluster.static.seeds", &cluster.agents[seed].name);
    fourth.start();
    cluster.wait("a newcomer is admitted", LIMIT, |_| ready(&fourth).map(|_| ()));
    fourth
}

#[test]
fn a_core_dies_and_the_other_goes_on_with_the_witness() {
    let mut cluster = two_and_a_witness();
    cluster.agents[0].kill();
    cluster.wait("the other sees it", LIMIT, |cluster| {
        let row = cluster.agents[1].row(&cluster.agents[0].name)?;
        if row["status"] == "down" { Ok(()) } else { Err(row.to_string()) }
    });
    let dead = cluster.agents[0].name.clone();
    // A removal is an entry that both have committed. The two that stay are a majority of themselves only together.
    let output = cluster.agents[1].ekka(&["force-leave", &dead]);
    assert!(output.status.success(), "{output:?}\n{}", cluster.report());
    cluster.wait("two voters", LIMIT, |cluster| {
        let quorum = ready(&cluster.agents[1])?;
        if quorum["voters"] == 2 { Ok(()) } else { Err(quorum.to_string()) }
    });
}

#[test]
fn the_witness_dies_and_the_two_cores_go_on() {
    let mut cluster = two_and_a_witness();
    cluster.agents[2].kill();
    let _fourth = admits_another(&cluster, 0);
    cluster.wait("a core takes the witness's place or none does", LIMIT, |cluster| {
        let quorum = ready(&cluster.agents[0])?;
        if quorum["voters"] == 3 { Ok(()) } else { Err(quorum.to_string()) }
    });
}

#[test]
fn a_witness_that_leads_hands_over_to_a_core() {
    let mut cluster = two_and_a_witness();
    // Whoever of the cores leads is stopped for a while, one after the other: what is committed then goes through the
    // witness, and whoever comes back must get it from there.
    for core in [0, 1] {
        cluster.agents[core].kill();
        let other = 1 - core;
        let _fourth = admits_another(&cluster, other);
        cluster.agents[core].start();
        cluster.wait("it is back", LIMIT, |cluster| ready(&cluster.agents[core]).map(|_| ()));
    }
    cluster.throughout("everybody is ready", Duration::from_secs(3), |cluster| {
        cluster.agents.iter().try_for_each(|agent| ready(agent).map(|_| ()))
    });
}

#[test]
fn a_replicant_follows_and_never_votes() {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(LIMIT);
    let mut fourth = cluster.agent(&format!("n4@{}", cluster.free_host()));
    fourth.set("cluster.static.seeds", &cluster.seed_list()).set("node.role", "replicant");
    fourth.start();
    cluster.wait("the replicant is up", LIMIT, |cluster| {
        ready(&fourth)?;
        let row = cluster.agents[0].row(&fourth.name)?;
        if row["role"] == "replicant" && row["voter"] == false { Ok(()) } else { Err(row.to_string()) }
    });
    // Without a third core that votes, the replicant does not take the place.
    let dead = cluster.agents[2].name.clone();
    cluster.agents[2].kill();
    cluster.wait("seen down", LIMIT, |cluster| {
        let row = cluster.agents[0].row(&dead)?;
        if row["status"] == "down" { Ok(()) } else { Err(row.to_string()) }
    });
    let output = cluster.agents[0].ekka(&["force-leave", &dead]);
    assert!(output.status.success(), "{output:?}\n{}", cluster.report());
    cluster.wait("two voters", LIMIT, |cluster| {
        let (quorum, row) = (ready(&cluster.agents[0])?, cluster.agents[0].row(&fourth.name)?);
        if quorum["voters"] == 2 && row["voter"] == false { Ok(()) } else { Err(format!("{quorum} {row}")) }
    });
}
