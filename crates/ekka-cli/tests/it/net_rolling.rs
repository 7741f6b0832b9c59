//! A rolling restart by the loop of the operations page: it waits where it has to, and loses no row of a table in ram.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::Cluster;
use crate::support::ask::{connect, exchange, get};
use crate::support::rows::{Writers, post, rows};
use serde_json::{Value, json};

/// Beside other work on the machine: each start derives its keys anew.
const FORM_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(30);
const TABLE: &str = "users";
/// Writers of the first rows.
const FILLERS: usize = 4;

fn data(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.agents[index].data()
}

/// Three nodes with a table in ram of so many rows, each of so many bytes; one of them may be a witness.
fn formed(count: usize, bytes: usize, witness: Option<usize>) -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    if let Some(witness) = witness {
        cluster.agents[witness].set("node.role", "witness");
    }
    cluster.form(FORM_LIMIT);
    cluster.wait("the table is made", SOON, |cluster| post(&data(cluster, 0), "/v1/tables", &json!({"name": TABLE})));
    cluster.wait("every node has the table", SOON, |cluster| {
        let holders = cluster.agents.iter().enumerate().filter(|(index, _)| Some(*index) != witness);
        holders.map(|(_, agent)| agent).try_for_each(|agent| support::rows::loaded(agent, TABLE))
    });
    fill(&data(&cluster, 0), count, bytes);
    cluster
}

fn fill(data: &Path, count: usize, bytes: usize) {
    let (socket, value, begun) = (data.join("ekka.sock"), "v".repeat(bytes), Instant::now());
    let fillers: Vec<_> = (0..FILLERS)
        .map(|filler| {
            let (socket, value) = (socket.clone(), value.clone());
            thread::spawn(move || {
                let mut stream = connect(&socket).expect("the node answers");
                for n in (filler..count).step_by(FILLERS) {
                    let body = json!({"key": format!("r{n}"), "value": value}).to_string();
                    let path = format!("/v1/tables/{TABLE}/put");
                    let (status, answer) = exchange(&mut stream, ("POST", &path, &body)).expect("it answers");
                    assert_eq!(status, 200, "{answer}");
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.join().expect("all rows are written");
    }
    println!("{count} rows of {bytes} bytes: {:.2?}", begun.elapsed());
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// USERS 6.
#[test]
fn the_loop_of_the_documentation_restarts_all_nodes_and_loses_nothing() {
    let count = 20_000;
    let mut cluster = formed(count, 100, None);
    let writers = Writers::begin((0..3).map(|index| data(&cluster, index)), TABLE, 300);
    for index in 0..3 {
        for step in [&["health", "safe-to-stop", "--wait", "2m"][..], &["stop"], &["health", "ready", "--wait", "2m"]] {
            let begun = Instant::now();
            if step == ["stop"] {
                assert!(cluster.agents[index].stop(STOP_LIMIT).success());
                cluster.agents[index].start();
                continue;
            }
            let output = cluster.agents[index].ekka(step);
            println!("n{} {step:?} after {:.2?}: {}", index + 1, begun.elapsed(), said(&output).trim());
            assert!(output.status.success(), "{}\n{}", said(&output), cluster.report());
        }
        // It was not ready before it had them all.
        let held = rows(&data(&cluster, index), TABLE).expect("it answers");
        let kept = held.keys().filter(|key| key.starts_with('r')).count();
        assert_eq!(kept, count, "n{} is ready, and lacks rows", index + 1);
    }
    support::poll::pace(Duration::from_millis(300));
    let acked = writers.end();
    let safe: Vec<_> = acked.iter().filter(|acked| acked.copies >= 2).collect();
    println!("{} keys, of {} the last value has two copies", acked.len(), safe.len());
    assert!(safe.len() > 300, "the writers wrote little: {}", safe.len());
    cluster.wait("all have all rows, and every acknowledged value", SOON, |cluster| {
        for index in 0..3 {
            let held = rows(&data(cluster, index), TABLE)?;
            let kept = held.keys().filter(|key| key.starts_with('r')).count();
            let lost = safe.iter().find(|acked| held.get(&acked.key).and_then(Value::as_u64) < Some(acked.value));
            if kept != count || lost.is_some() {
                return Err(format!("n{}: {kept} rows, {lost:?}", index + 1));
            }
        }
        Ok(())
    });
}

/// What the node with all rows answers to `safe-to-stop`, and how the other one stands, until that one is ready.
fn watched(cluster: &Cluster) -> (BTreeSet<String>, Vec<(String, String)>) {
    let (mut answers, mut states) = (BTreeSet::new(), Vec::new());
    let (with_all, restarted) = (data(cluster, 0), data(cluster, 2));
    let asks = thread::spawn(move || {
        let mut answers = BTreeSet::new();
        loop {
            // 503 comes as an error with the body in it.
            match get(&with_all, "/v1/health/safe-to-stop?for=available") {
                Ok(_) => return answers,
                Err(answer) => drop(answers.insert(answer)),
            }
        }
    });
    let begun = Instant::now();
    while !asks.is_finished() {
        assert!(begun.elapsed() < FORM_LIMIT + SOON, "{answers:?} {states:?}\n{}", cluster.report());
        if let Ok(status) = get(&restarted, "/v1/status") {
            let state = status["status"].as_str().unwrap_or_default().to_owned();
            let reason = status["reason"].as_str().unwrap_or_default().to_owned();
            if states.last() != Some(&(state.clone(), reason.clone())) {
                states.push((state, reason));
            }
        }
        support::poll::pace(Duration::from_millis(10));
    }
    answers.extend(asks.join().expect("it does not panic"));
    (answers, states)
}

#[test]
fn nobody_is_safe_to_stop_while_the_node_that_was_restarted_fetches_its_rows() {
    let (count, bytes) = (5_000, 8 * 1024);
    let mut cluster = formed(count, bytes, Some(1));
    let ready = cluster.agents[0].ekka(&["health", "safe-to-stop", "--wait", "1m"]);
    assert!(ready.status.success(), "{}", said(&ready));
    assert!(cluster.agents[2].stop(STOP_LIMIT).success());
    let alone = cluster.agents[0].ekka(&["health", "safe-to-stop", "--for", "available"]);
    assert_eq!(alone.status.code(), Some(1), "{}", said(&alone));
    assert!(said(&alone).contains("no other node has table users: none is up"), "{}", said(&alone));
    cluster.agents[2].start();
    let (answers, states) = watched(&cluster);
    println!("{answers:#?}\n{states:#?}");
    // The first yes: whoever was restarted has all by then.
    assert_eq!(rows(&data(&cluster, 2), TABLE).expect("it answers").len(), count, "{answers:?} {states:?}");
    let says_why = |no: &String| no.contains("no other node has");
    assert!(!answers.is_empty() && answers.iter().all(says_why), "{answers:?}");
    // It may have all while it still waits for the voters; where it is seen to fetch it says what.
    for (_, reason) in states.iter().filter(|(state, _)| state == "syncing") {
        assert!(reason.contains("tables are being opened") || reason.contains("users waits for n1@"), "{states:?}");
    }
    let ready = cluster.agents[2].ekka(&["health", "ready", "--wait", "1m"]);
    assert!(ready.status.success(), "{}", said(&ready));
    assert_eq!(rows(&data(&cluster, 2), TABLE).expect("it answers").len(), count);
}
