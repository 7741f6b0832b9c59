//! Fenced, gone and back, as real processes: one that is frozen, one that is cut off, one that stops.

use std::time::{Duration, Instant};

use crate::support::cluster::STOP_LIMIT;
use crate::support::metrics::{get, metric};
use crate::support::{Cluster, Figures, rounds};
use serde_json::Value;

const FORM_LIMIT: Duration = Duration::from_secs(20);
/// The shortest that can be configured.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// A member is down after three seconds at most; the entry, the look at leases and this machine need some time too.
const GONE_LIMIT: Duration = Duration::from_secs(14);

/// Three nodes with the shortest lease, each with `/readyz`.
fn three() -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::on_loopback(3);
    let health: Vec<String> = (0..3).map(|index| format!("{}:8370", cluster.host(index))).collect();
    for (agent, health) in cluster.agents.iter_mut().zip(&health) {
        agent.set("cluster.gone_after", "10s").set("health.listen", health);
    }
    (cluster, health)
}

/// What a node said of this kind so far; of one member, or of any.
fn said(cluster: &Cluster, index: usize, kind: &str, name: Option<&str>) -> Result<Vec<Value>, String> {
    let events = cluster.agents[index].events()?.into_iter();
    let of = |event: &Value| event["type"] == kind && name.is_none_or(|name| event["name"] == name);
    Ok(events.filter(of).collect())
}

/// Whether the others have said once that a start of this node is gone, and show it as that.
fn gone(cluster: &Cluster, victim: usize) -> Result<(), String> {
    let name = &cluster.agents[victim].name;
    for other in (0..3).filter(|other| *other != victim) {
        let times = said(cluster, other, "member.gone", Some(name))?.len();
        if times != 1 {
            return Err(format!("{} said {times} times that {name} is gone", cluster.agents[other].name));
        }
    }
    cluster.all_see(victim, "gone")
}

fn guid(cluster: &Cluster, index: usize) -> String {
    cluster.status(index, "guid")
}

#[test]
fn a_frozen_node_is_gone_for_the_others_and_wakes_fenced_and_comes_back_under_a_new_guid() {
    let mut told = Figures::new("SIGSTOP until the others say gone", GONE_LIMIT);
    let mut back = Figures::new("SIGCONT until up for all under a new guid", Duration::from_secs(10));
    let (mut cluster, health) = three();
    let (id, _) = cluster.form(FORM_LIMIT);
    for round in 0..rounds(1, 10) {
        // Restarts forget events, and this counts them.
        let victim = 1 + (round as usize % 2);
        let first = guid(&cluster, victim);
        let left = metric(&health[victim], "ekka_lease_left_seconds", "").expect("the metric");
        assert!(left > 4.0 && left <= 6.7, "two thirds of gone_after at most: {left}");
        let (start, slept) = (Instant::now(), Duration::from_secs(25));
        cluster.agents[victim].freeze();
        cluster.wait("the others say gone", told.limit(), |cluster| gone(cluster, victim));
        told.add(start.elapsed());
        assert!(
            start.elapsed() >= GONE_AFTER.saturating_sub(Duration::from_secs(2)),
            "its lease was renewed a moment before"
        );
        let rest = slept.saturating_sub(start.elapsed());
        cluster.throughout("it is gone, said once", rest, |cluster| gone(cluster, victim));

        let start = Instant::now();
        cluster.agents[victim].thaw();
        let again = cluster.wait("it is up again under a new guid", back.limit(), |cluster| {
            if guid(cluster, victim) == first { Err("its guid is the old one".to_owned()) } else { cluster.whole() }
        });
        back.add(start.elapsed());
        assert_eq!(again, id, "the same cluster");
        let kinds: Vec<String> = cluster.agents[victim]
            .events()
            .unwrap_or_else(|error| panic!("{error}"))
            .iter()
            .filter_map(|event| event["type"].as_str().map(str::to_owned))
            .collect();
        let place = |kind: &str| kinds.iter().rposition(|known| known == kind);
        assert!(place("node.fenced").is_some() && place("node.fenced") < place("node.over"), "{kinds:?}");
        gone(&cluster, victim).expect_err("it is up");
        // It has to count again as a voter of the volatile group.
        cluster.wait("it is ready again", Duration::from_secs(20), |_| {
            let answer = get(&health[victim], "/readyz")?;
            if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
        });
        if round + 1 < rounds(1, 10) {
            for agent in &mut cluster.agents {
                agent.stop(STOP_LIMIT);
            }
            cluster.form(FORM_LIMIT);
        }
    }
    told.assert_each();
    back.assert_each();
}

#[test]
fn who_is_cut_off_is_fenced_before_the_others_say_gone() {
    let (mut cluster, health) = three();
    let gates = tempfile::tempdir().expect("a temporary folder");
    let gate = |index: usize| gates.path().join(format!("n{index}"));
    for index in 0..3 {
        cluster.agents[index].start_with(&["--gate", &gate(index).display().to_string()]);
    }
    let id = cluster.wait("one cluster that all see whole", FORM_LIMIT, Cluster::whole);
    let first = guid(&cluster, 2);
    // A gate holds what its own node dialled, so both sides have one.
    let dead = |index: usize| format!("{}:{} both\n", cluster.host(index), 4371 + index);
    let start = Instant::now();
    for (index, rules) in [(0, dead(2)), (1, dead(2)), (2, dead(0) + &dead(1))] {
        std::fs::write(gate(index), rules).expect("the gate can be set");
    }
    let fenced = |cluster: &Cluster| {
        let answer = get(&health[2], "/readyz")?;
        let holds = answer.starts_with("HTTP/1.1 503") && answer.contains("\"fenced\"");
        // Asked in this order: what the others say later cannot have been said before.
        let others: usize = (0..2)
            .map(|other| said(cluster, other, "member.gone", Some(&cluster.agents[2].name)).map(|events| events.len()))
            .sum::<Result<usize, String>>()?;
        assert!(holds || others == 0, "gone for the others, and not fenced: {answer}");
        if holds { Ok(others) } else { Err(answer) }
    };
    let others = cluster.wait("it is fenced", Duration::from_secs(10), fenced);
    println!("FIGURE cut until fenced: {:.2?}, of the others {others} said gone by then", start.elapsed());
    assert!(get(&health[2], "/readyz?for=available").expect("an answer").starts_with("HTTP/1.1 200"));
    cluster.wait("the others say gone", GONE_LIMIT, |cluster| gone(cluster, 2));
    println!("FIGURE cut until gone for the others: {:.2?}", start.elapsed());

    let start = Instant::now();
    for index in 0..3 {
        std::fs::remove_file(gate(index)).expect("the gate can be opened");
    }
    let again = cluster.wait("it is up again under a new guid", Duration::from_secs(15), |cluster| {
        if guid(cluster, 2) == first { Err("its guid is the old one".to_owned()) } else { cluster.whole() }
    });
    println!("FIGURE repair until up for all under a new guid: {:.2?}", start.elapsed());
    assert_eq!(again, id, "the same cluster");
    let over = said(&cluster, 2, "node.over", None).expect("events");
    assert_eq!(over.len(), 1, "{over:?}");
    assert_eq!(over[0]["incarnation"].as_str(), Some(first.as_str()), "it says which start is over");
}

#[test]
fn a_goodbye_is_gone_at_once_and_the_member_stays() {
    let mut told = Figures::new("SIGTERM until the others say gone", Duration::from_secs(5));
    let (mut cluster, _) = three();
    cluster.form(FORM_LIMIT);
    for victim in [2, 1, 0] {
        let name = cluster.agents[victim].name.clone();
        let others: Vec<usize> = (0..3).filter(|other| *other != victim).collect();
        let times = |cluster: &Cluster, other: usize| said(cluster, other, "member.gone", Some(&name));
        let before: Vec<usize> = others.iter().map(|other| times(&cluster, *other).expect("events").len()).collect();
        let start = Instant::now();
        cluster.agents[victim].stop(STOP_LIMIT);
        cluster.wait("the others say gone", told.limit() + STOP_LIMIT, |cluster| {
            for (other, before) in others.iter().zip(&before) {
                if times(cluster, *other)?.len() <= *before {
                    return Err(format!("{} does not say it", cluster.agents[*other].name));
                }
            }
            cluster.all_see(victim, "stopped")
        });
        told.add(start.elapsed());
        cluster.agents[victim].start();
        cluster.wait("it is up again", FORM_LIMIT, Cluster::whole);
    }
    told.assert_median();
}
