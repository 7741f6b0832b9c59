//! Members that die, freeze and come back, as real processes on loopback.

use std::time::{Duration, Instant};

use crate::support::cluster::STOP_LIMIT;
use crate::support::process::Busy;
use crate::support::{Cluster, Figures, duration, rounds};

const FORM_LIMIT: Duration = Duration::from_secs(20);

/// Text of a field of a member's row, as the first node sees it.
fn row_text(cluster: &Cluster, index: usize, field: &str) -> String {
    let row = cluster.agents[0].row(&cluster.agents[index].name).unwrap_or_else(|error| panic!("{error}"));
    row[field].as_str().unwrap_or_else(|| panic!("no text in `{field}`: {row}")).to_owned()
}

#[test]
fn a_killed_node_is_seen_by_all_and_comes_back_as_one_row_with_a_new_guid() {
    let mut seen = Figures::new("kill -9 until all see it", Duration::from_secs(1));
    let mut back = Figures::new("restart until up for all", Duration::from_secs(3));
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(FORM_LIMIT);
    for round in 0..rounds(3, 30) {
        let victim = 1 + (round as usize % 2);
        let (node_id, guid) = (row_text(&cluster, victim, "node_id"), row_text(&cluster, victim, "guid"));
        let start = Instant::now();
        cluster.agents[victim].kill();
        cluster.wait("all see it down", seen.limit(), |cluster| cluster.all_see(victim, "down"));
        seen.add(start.elapsed());

        let start = Instant::now();
        cluster.agents[victim].start();
        let again = cluster.wait("it is up again", back.limit(), Cluster::whole);
        back.add(start.elapsed());
        assert_eq!(again, id, "the same cluster");
        assert_eq!(row_text(&cluster, victim, "node_id"), node_id, "the same node");
        assert_ne!(row_text(&cluster, victim, "guid"), guid, "another incarnation");
    }
    seen.assert_each();
    back.assert_each();
}

#[test]
fn a_frozen_node_is_seen_by_all_and_heals_back_in() {
    let mut seen = Figures::new("SIGSTOP until all see it", Duration::from_secs(3));
    let mut back = Figures::new("SIGCONT until up for all", Duration::from_secs(5));
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(FORM_LIMIT);
    for round in 0..rounds(2, 30) {
        let victim = 1 + (round as usize % 2);
        let start = Instant::now();
        cluster.agents[victim].freeze();
        cluster.wait("all see it down", seen.limit(), |cluster| cluster.all_see(victim, "down"));
        seen.add(start.elapsed());

        let start = Instant::now();
        cluster.agents[victim].thaw();
        let again = cluster.wait("it is up again", back.limit(), Cluster::whole);
        back.add(start.elapsed());
        assert_eq!(again, id, "the same cluster");
    }
    seen.assert_each();
    back.assert_each();
}

#[test]
fn a_rolling_restart_by_sigterm_keeps_every_member() {
    let mut back = Figures::new("start after SIGTERM until up for all", Duration::from_secs(3));
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(FORM_LIMIT);
    for _ in 0..rounds(2, 50) {
        for index in 0..cluster.agents.len() {
            let status = cluster.agents[index].stop(STOP_LIMIT);
            assert_eq!(status.code(), Some(0), "a stop is no failure\n{}", cluster.agents[index].report());
            cluster
                .wait("it is stopped, not down", Duration::from_secs(5), |cluster| cluster.all_see(index, "stopped"));
            let start = Instant::now();
            cluster.agents[index].start();
            let again = cluster.wait("it is up again", back.limit(), Cluster::whole);
            back.add(start.elapsed());
            assert_eq!(again, id, "the same cluster");
        }
    }
    back.assert_median();
}

#[test]
fn all_nodes_killed_at_once_resume_the_same_cluster() {
    let mut back = Figures::new("start of all after kill -9 of all", Duration::from_secs(10));
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(FORM_LIMIT);
    for _ in 0..rounds(2, 20) {
        for agent in &mut cluster.agents {
            agent.kill();
        }
        let (again, took) = cluster.form(back.limit());
        back.add(took);
        assert_eq!(again, id, "the same cluster");
    }
    back.assert_each();
}

#[test]
fn four_busy_processes_per_processor_down_nobody() {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(FORM_LIMIT);
    let before = cluster.downs().unwrap_or_else(|error| panic!("{error}"));
    let time = duration(Duration::from_secs(15), Duration::from_secs(60));
    let busy = Busy::per_processor(4);
    // Asking all nodes all the time would be load of another kind: the events tell afterwards.
    cluster.throughout("every process lives on", time, |cluster| {
        let dead =
            cluster.agents.iter().find(|agent| !std::path::Path::new(&format!("/proc/{}", agent.pid())).exists());
        dead.map_or(Ok(()), |agent| Err(format!("{} has ended", agent.name)))
    });
    drop(busy);
    let downs = cluster.downs().unwrap_or_else(|error| panic!("{error}")) - before;
    println!("FIGURE declared down in {time:?} of load: {downs}");
    assert_eq!(downs, 0, "{}", cluster.report());
}
