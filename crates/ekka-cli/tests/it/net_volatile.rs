//! The volatile group of real processes: which restarts it survives, and what it says of the others.

use std::time::{Duration, Instant};

use crate::support::cluster::STOP_LIMIT;
use crate::support::{Cluster, Figures, rounds};
use serde_json::Value;

const FORM_LIMIT: Duration = Duration::from_secs(20);
/// Detection, two seconds without a leader, sealing, and room for a loaded machine.
const NEXT_LIMIT: Duration = Duration::from_secs(30);

fn status(cluster: &Cluster, index: usize) -> Result<Value, String> {
    cluster.agents[index].json(&["status"])
}

/// The generation, where every running node is ready, votes in the same one and knows its leader.
fn whole(cluster: &Cluster) -> Result<u64, String> {
    let mut seen = None;
    for (index, agent) in cluster.agents.iter().enumerate().filter(|(_, agent)| agent.runs()) {
        let status = status(cluster, index)?;
        let (volatile, name) = (&status["volatile"], &agent.name);
        let number = volatile["generation"].as_u64().ok_or("no generation")?;
        let votes = volatile["votes"] == true && !volatile["leader"].is_null();
        if status["ready"] != true || !votes || *seen.get_or_insert(number) != number {
            return Err(format!("{name}: ready {}, {}, {volatile}", status["ready"], status["reason"]));
        }
    }
    seen.filter(|number| *number > 0).ok_or_else(|| "no generation yet".to_owned())
}

fn formed() -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(FORM_LIMIT);
    let generation = cluster.wait("a volatile group of all three", FORM_LIMIT, whole);
    assert_eq!(generation, 1);
    cluster
}

/// The next number of the counter, by any node that answers, and its generation.
fn count(cluster: &Cluster) -> (u64, u64) {
    cluster.wait("a number of the counter", NEXT_LIMIT, |cluster| {
        let running = cluster.agents.iter().filter(|agent| agent.runs());
        let answers = running.map(|agent| agent.json(&["bench", "count"]));
        let answer = answers.reduce(Result::or).unwrap_or_else(|| Err("no node runs".into()))?;
        let number = |field: &str| answer[field].as_u64().ok_or_else(|| answer.to_string());
        Ok((number("from")?, number("generation")?))
    })
}

/// What the events of a node say of the beginning of a generation.
fn began(cluster: &Cluster, index: usize, generation: u64) -> Option<Value> {
    let events = cluster.agents[index].events().unwrap_or_default();
    events.into_iter().find(|event| event["type"] == "volatile.began" && event["generation"] == generation)
}

#[test]
fn a_killed_voter_counts_again_and_the_generation_stays() {
    let mut back = Figures::new("restart until it counts in the volatile group again", Duration::from_secs(6));
    let mut cluster = formed();
    let mut last = count(&cluster).0;
    for round in 0..rounds(3, 20) {
        let victim = round as usize % 3;
        cluster.agents[victim].kill();
        let start = Instant::now();
        cluster.agents[victim].start();
        let generation = cluster.wait("all three count", back.limit(), whole);
        back.add(start.elapsed());
        assert_eq!(generation, 1, "{}", cluster.report());
        let (number, _) = count(&cluster);
        assert!(number > last, "{number} after {last}: what was acknowledged is lost\n{}", cluster.report());
        last = number;
    }
    back.assert_each();
}

#[test]
fn a_rolling_restart_keeps_generation_and_counter() {
    let mut cluster = formed();
    let mut last = count(&cluster).0;
    for _ in 0..rounds(3, 10) {
        for index in 0..3 {
            cluster.agents[index].stop(STOP_LIMIT);
            cluster.agents[index].start();
            // As an orchestrator does: the next one only once this one is ready.
            let generation = cluster.wait("ready again", NEXT_LIMIT, whole);
            assert_eq!(generation, 1, "{}", cluster.report());
            let (number, _) = count(&cluster);
            assert!(number > last, "{number} after {last}\n{}", cluster.report());
            last = number;
        }
    }
}

#[test]
fn two_killed_at_once_give_a_generation_that_says_what_may_be_lost() {
    let mut cluster = formed();
    let before = count(&cluster).0;
    for index in [1, 2] {
        cluster.agents[index].kill();
    }
    for index in [1, 2] {
        cluster.agents[index].start();
    }
    let generation = cluster.wait("the next generation", NEXT_LIMIT, whole);
    assert_eq!(generation, 2, "{}", cluster.report());
    let event = cluster.wait("the event of the one that lived", NEXT_LIMIT, |cluster| {
        began(cluster, 0, 2).ok_or_else(|| "no event".to_owned())
    });
    assert_eq!((&event["lost"], &event["severity"]), (&true.into(), &"warning".into()), "{event}");
    assert_eq!(status(&cluster, 1).expect("answers")["volatile"]["lost"], true);
    // The one that lived had it all: nothing was lost, although nobody could know.
    assert!(count(&cluster).0 > before, "{}", cluster.report());
}

#[test]
fn a_restart_of_all_at_once_gives_an_empty_generation() {
    let mut cluster = formed();
    count(&cluster);
    for agent in &mut cluster.agents {
        agent.kill();
    }
    cluster.start();
    let generation = cluster.wait("the next generation", NEXT_LIMIT, whole);
    assert!(generation >= 2, "{}", cluster.report());
    let (number, of) = count(&cluster);
    assert_eq!((number, of), (0, generation), "all of it was in memory");
}
