//! Backups of real processes: taken while they write, checked, put back in both modes, and all nodes compared after it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::support;
use crate::support::Cluster;
use crate::support::rows::{Writers, post, rows};
use serde_json::{Value, json};

const FORM_LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
const ROWS: usize = 300;

fn data(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.agents[index].data()
}

fn make(cluster: &Cluster, table: &Value) {
    support::rows::make(cluster, table, SOON);
}

fn formed() -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(FORM_LIMIT);
    make(&cluster, &json!({"name": "kept", "storage": "disc"}));
    make(&cluster, &json!({"name": "stock", "kind": "quorum", "storage": "disc"}));
    make(&cluster, &json!({"name": "busy", "storage": "disc"}));
    make(&cluster, &json!({"name": "fleeting"}));
    for table in ["kept", "stock"] {
        for number in 0..ROWS {
            put(&cluster, table, &format!("k{number:04}"), number);
        }
    }
    cluster
}

fn put(cluster: &Cluster, table: &str, key: &str, value: usize) {
    let body = json!({"key": key, "value": value, "ack": "all"});
    post(&data(cluster, value % 3), &format!("/v1/tables/{table}/put"), &body)
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster.report()));
}

fn delete(cluster: &Cluster, table: &str, key: &str) {
    post(&data(cluster, 0), &format!("/v1/tables/{table}/delete"), &json!({"key": key, "ack": "all"}))
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster.report()));
}

/// Runs a command at a node; what it printed.
fn run(cluster: &Cluster, index: usize, words: &[&str]) -> Value {
    cluster.agents[index].json(words).unwrap_or_else(|error| panic!("{words:?}: {error}\n{}", cluster.report()))
}

/// Runs the binary without an agent.
fn alone(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ekka")).args(words).output().expect("it runs")
}

fn table<'a>(restored: &'a Value, name: &str) -> &'a Value {
    let tables = restored["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {restored}"))
}

fn counts(restored: &Value, name: &str) -> [u64; 5] {
    let of = table(restored, name);
    ["added", "replaced", "kept", "stay_deleted", "deleted"].map(|field| of[field].as_u64().expect("a number"))
}

/// Waits until each node has these rows of a table.
fn all_have(cluster: &Cluster, name: &str, expected: &BTreeMap<String, Value>) {
    cluster.wait(&format!("every node has the rows of {name}"), SOON, |cluster| {
        for agent in &cluster.agents {
            let held = rows(&agent.data(), name)?;
            if held != *expected {
                return Err(format!("{}: {} rows of {}", agent.name, held.len(), expected.len()));
            }
        }
        Ok(())
    });
}

/// Compares all tables from each node: nothing differs.
fn nothing_differs(cluster: &Cluster) {
    for agent in &cluster.agents {
        let verdicts = agent.json(&["table", "verify"]).unwrap_or_else(|error| panic!("{}: {error}", agent.name));
        for verdict in verdicts.as_array().expect("tables") {
            assert_eq!(verdict["differs"], false, "{}: {verdict}", agent.name);
            assert_eq!(verdict["peers"].as_array().map(Vec::len), Some(2), "{}: {verdict}", agent.name);
        }
    }
}

fn damaged_is_named(file: &Path) {
    let bytes = std::fs::read(file).expect("it is there");
    let wrong = file.with_extension("wrong");
    for at in [0, 9, 20, bytes.len() / 3, bytes.len() / 2, bytes.len() - 33, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        std::fs::write(&wrong, &changed).expect("written");
        let output = alone(&["backup", "--verify", wrong.to_str().expect("a path")]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "byte {at}: {said}");
        assert!(said.contains("at byte"), "byte {at}: {said}");
    }
    std::fs::write(&wrong, &bytes[..bytes.len() / 2]).expect("written");
    let output = alone(&["backup", "--verify", wrong.to_str().expect("a path")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("cut off"), "{said}");
}

#[test]
fn a_backup_taken_under_load_comes_back_as_it_was_and_the_nodes_agree() {
    let cluster = formed();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nightly.backup");
    let path = file.to_str().expect("a path");
    let then = ["kept", "stock"].map(|name| rows(&data(&cluster, 0), name).expect("it answers"));

    let writers = Writers::begin((0..3).map(|index| data(&cluster, index)), "busy", 500);
    cluster.throughout("they write", Duration::from_secs(1), |_| Ok(()));
    let taken = run(&cluster, 1, &["backup", path]);
    nothing_differs(&cluster);
    let acked = writers.end();
    assert!(acked.len() > 20, "the writers wrote little: {}", acked.len());
    let saved: Vec<&str> =
        taken["tables"].as_array().expect("tables").iter().filter_map(|t| t["name"].as_str()).collect();
    assert_eq!(saved.len(), 3, "the tables on disc, and no others: {taken}");
    assert!(taken["rows"].as_u64() >= Some(2 * ROWS as u64), "{taken}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing is left beside it");
    let checked = alone(&["backup", "--verify", path, "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(checked["rows"], taken["rows"]);
    damaged_is_named(&file);
    let refused = cluster.agents[0].json(&["restore", file.with_extension("wrong").to_str().expect("a path")]);
    assert!(refused.is_err(), "{refused:?}");
    let text = metrics_text(&cluster, 1);
    assert!(text.contains("ekka_backup_last_success_seconds"), "{text}");
    assert!(!metrics_text(&cluster, 0).contains("ekka_backup_last_success_seconds{"), "that node never gave one");
    let events = cluster.agents[1].events().expect("events");
    assert!(events.iter().any(|event| event["type"] == "backup.done"), "{events:?}");
    for table in ["kept", "stock"] {
        let ready = events.iter().any(|event| event["type"] == "table.ready" && event["table"] == table);
        assert!(ready, "{table}: {events:?}");
    }
    tables_are_counted(&cluster);

    put(&cluster, "kept", "k0001", 7_001);
    put(&cluster, "stock", "k0001", 7_001);
    for name in ["kept", "stock"] {
        delete(&cluster, name, "k0002");
        put(&cluster, name, "later", 3);
    }
    merged(&cluster, path, &then);
    replaced(&cluster, path, &then);
    made_anew(&cluster, path, &then);
}

/// What is counted of tables where all is well: writes of both kinds, and nobody lags.
fn tables_are_counted(cluster: &Cluster) {
    let text = metrics_text(cluster, 0);
    let values = |name: &str, labels: &[&str]| -> Vec<f64> {
        let of = |line: &&str| line.split('{').next() == Some(name) && labels.iter().all(|label| line.contains(label));
        text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    };
    let counted = |name: &str, labels: &[&str]| values(name, labels).iter().sum::<f64>() >= 1.0;
    for table in ["table=\"kept\"", "table=\"stock\""] {
        assert!(counted("ekka_table_ops_total", &[table, "op=\"put\"", "result=\"ok\""]), "{table}: {text}");
    }
    assert!(counted("ekka_table_op_seconds_count", &["kind=\"quorum\"", "op=\"put\""]), "{text}");
    assert_eq!(values("ekka_table_ops_total", &["table=\"stock\"", "result=\"no_quorum\""]).len(), 3, "{text}");
    let ages = values("ekka_table_lag_seconds", &["table=\"kept\""]);
    assert!(ages.len() == 2 && ages.iter().all(|age| *age < 5.0), "{ages:?}");
    assert_eq!(values("ekka_table_lag_ops", &["table=\"kept\""]).len(), 2, "{text}");
    assert_eq!(values("ekka_set_aside_rows", &["table=\"kept\""]), [0.0], "{text}");
}

fn metrics_text(cluster: &Cluster, index: usize) -> String {
    let mut stream = UnixStream::connect(data(cluster, index).join("ekka.sock")).expect("it serves");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// The newer row stays; a deletion does too where it is known.
fn merged(cluster: &Cluster, path: &str, then: &[BTreeMap<String, Value>; 2]) {
    let rest = ROWS as u64 - 2;
    let plan = run(cluster, 2, &["restore", path, "--plan"]);
    assert_eq!((&plan["plan"], counts(&plan, "kept")), (&json!(true), [0, 0, rest + 1, 1, 0]), "{plan}");
    assert_eq!(counts(&plan, "stock"), [1, 0, rest + 1, 0, 0], "{plan}");
    let done = run(cluster, 2, &["restore", path]);
    assert_eq!(counts(&done, "kept"), counts(&plan, "kept"), "{done}");
    assert_eq!(counts(&done, "stock"), counts(&plan, "stock"), "{done}");
    let mut expected = then.clone();
    for table in &mut expected {
        table.insert("k0001".into(), json!(7_001));
        table.insert("later".into(), json!(3));
    }
    expected[0].remove("k0002");
    all_have(cluster, "kept", &expected[0]);
    all_have(cluster, "stock", &expected[1]);
    nothing_differs(cluster);
}

/// The tables become what the backup has; what it overrides is in the journal.
fn replaced(cluster: &Cluster, path: &str, then: &[BTreeMap<String, Value>; 2]) {
    let words = ["restore", path, "--mode", "replace"];
    let plan = run(cluster, 0, &[&words[..], &["--plan"]].concat());
    assert_eq!(counts(&plan, "kept"), [1, 1, ROWS as u64 - 2, 0, 1], "{plan}");
    assert_eq!(counts(&plan, "stock"), [0, 1, ROWS as u64 - 1, 0, 1], "{plan}");
    let done = run(cluster, 0, &words);
    assert_eq!(counts(&done, "kept"), counts(&plan, "kept"), "{done}");
    all_have(cluster, "kept", &then[0]);
    all_have(cluster, "stock", &then[1]);
    cluster.wait("what was overridden is in the journal of each node", SOON, |cluster| {
        for agent in &cluster.agents {
            let losses = support::ask::get(&agent.data(), "/v1/tables/kept/losses")?;
            let has = |key: &str| losses.as_array().is_some_and(|all| all.iter().any(|loss| loss["key"] == key));
            if !(has("k0001") && has("later")) {
                return Err(format!("{}: {losses}", agent.name));
            }
        }
        Ok(())
    });
    nothing_differs(cluster);
    let again = run(cluster, 1, &words);
    assert_eq!(counts(&again, "kept"), [0, 0, ROWS as u64, 0, 0], "twice is once: {again}");
}

/// Tables that were dropped are made again, and merging brings all rows back.
fn made_anew(cluster: &Cluster, path: &str, then: &[BTreeMap<String, Value>; 2]) {
    for name in ["kept", "stock"] {
        run(cluster, 0, &["table", "drop", name]);
    }
    cluster.wait("no node has them", SOON, |cluster| {
        for agent in &cluster.agents {
            let tables = support::ask::get(&agent.data(), "/v1/tables")?;
            if tables.as_array().map(Vec::len) != Some(2) {
                return Err(tables.to_string());
            }
        }
        Ok(())
    });
    let done = run(cluster, 0, &["restore", path]);
    assert_eq!((&table(&done, "kept")["made"], counts(&done, "kept")), (&json!(true), [ROWS as u64, 0, 0, 0, 0]));
    assert_eq!(counts(&done, "stock"), [ROWS as u64, 0, 0, 0, 0], "{done}");
    all_have(cluster, "kept", &then[0]);
    all_have(cluster, "stock", &then[1]);
    nothing_differs(cluster);
    make(cluster, &json!({"name": "other"}));
    run(cluster, 0, &["table", "drop", "kept"]);
    make(cluster, &json!({"name": "kept", "storage": "disc", "codec": "raw"}));
    let refused = cluster.agents[0].json(&["restore", path]).expect_err("it is another table");
    assert!(refused.contains("messagepack in the backup") && refused.contains("raw in this cluster"), "{refused}");
}
