//! Quorum tables of real processes: by the command line, through kills of leaders, in a minority.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::rows::{Writers, post, rows};
use crate::support::sse::Sse;
use crate::support::{self, Cluster, Figures, rounds};
use serde_json::{Value, json};

/// Deriving the credentials takes most of it where the machine has much else to do.
const FORM_LIMIT: Duration = Duration::from_secs(180);
/// Times ten of what it takes.
const SOON: Duration = Duration::from_secs(10);
/// Detection, a new leader, the next generation, and room.
const BACK_LIMIT: Duration = Duration::from_secs(30);

fn data(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.agents[index].data()
}

fn formed() -> Cluster {
    formed_of(3)
}

fn formed_of(nodes: u8) -> Cluster {
    let mut cluster = Cluster::on_loopback(nodes);
    cluster.form(FORM_LIMIT);
    cluster.wait("all are ready", FORM_LIMIT, ready);
    for (table, storage) in [("ram", "ram"), ("disc", "disc")] {
        succeeds(&cluster, 0, &["table", "create", table, "--kind", "quorum", "--storage", storage]);
    }
    cluster.wait("every node has the tables", SOON, |cluster| {
        for agent in &cluster.agents {
            for table in ["ram", "disc"] {
                let info = support::ask::get(&agent.data(), &format!("/v1/tables/{table}"))?;
                if info["kind"] != "quorum" || info["storage"] != table || info["loaded"] != true {
                    return Err(format!("{}: {info}", agent.name));
                }
            }
        }
        Ok(())
    });
    cluster
}

/// Every node is ready.
fn ready(cluster: &Cluster) -> Result<(), String> {
    for agent in &cluster.agents {
        let status = agent.json(&["status"])?;
        if status["ready"] != true {
            return Err(format!("{}: {}", agent.name, status["reason"]));
        }
    }
    Ok(())
}

fn succeeds(cluster: &Cluster, index: usize, words: &[&str]) -> String {
    let output = cluster.agents[index].ekka(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}\n{}", cluster.report());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(cluster: &Cluster, index: usize, words: &[&str], code: i32, text: &str) {
    let output = cluster.agents[index].ekka(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    assert!(said.contains(text), "{words:?}: {said}");
}

fn leader(cluster: &Cluster) -> Option<usize> {
    let statuses = cluster.agents.iter().filter(|agent| agent.runs()).filter_map(|agent| agent.json(&["status"]).ok());
    let names: Vec<Value> = statuses.map(|status| status["volatile"]["leader"].clone()).collect();
    let name = names.iter().find(|name| !name.is_null())?;
    cluster.agents.iter().position(|agent| *name == agent.name)
}

#[test]
fn rows_are_put_read_swapped_watched_and_deleted_by_the_command_line() {
    use std::io::{BufRead, BufReader};
    let cluster = formed();
    for table in ["ram", "disc"] {
        let put = succeeds(&cluster, 0, &["table", "put", table, "ada", "{\"admin\": true}"]);
        let copies = if table == "disc" { "2 copies on disc" } else { "2 copies in memory" };
        assert_eq!(put.trim(), copies);
        // Linearizable: whoever reads after that has it.
        for index in 0..3 {
            let read = succeeds(&cluster, index, &["table", "get", table, "ada"]);
            assert_eq!(serde_json::from_str::<Value>(&read).expect("JSON"), json!({"admin": true}));
        }
        let row = cluster.agents[1].json(&["table", "get", table, "ada"]).expect("it is there");
        let revision = row["revision"].as_str().expect("a revision").to_owned();
        succeeds(&cluster, 2, &["table", "put", table, "ada", "7", "--if-revision", &revision]);
        let words = ["table", "put", table, "ada", "8", "--if-revision", &revision];
        fails(&cluster, 1, &words, 1, "another writer was faster");
        fails(&cluster, 1, &["table", "put", table, "ada", "8", "--if-revision", "0"], 1, "another writer was faster");
        succeeds(&cluster, 0, &["table", "put", table, "eve", "1", "--if-revision", "0"]);
        let scanned = succeeds(&cluster, 1, &["table", "scan", table]);
        assert_eq!(scanned, "ada\t7\neve\t1\n");
        let info = cluster.agents[0].json(&["table", "info", table]).expect("it answers");
        assert_eq!((&info["rows"], &info["kind"]), (&json!(2), &json!("quorum")), "{info}");
        succeeds(&cluster, 2, &["table", "delete", table, "eve"]);
        fails(&cluster, 0, &["table", "get", table, "eve"], 4, "has no row \"eve\"");
        let mut follower = std::process::Command::new(env!("CARGO_BIN_EXE_ekka"))
            .args(["table", "watch", table, "--json", "--data-dir"])
            .arg(data(&cluster, 1))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
        let mut next = || -> Value {
            let line = lines.next().expect("the watch goes on").expect("a line");
            serde_json::from_str(&line).expect("JSON")
        };
        assert_eq!(next(), json!({"change": "snapshot", "key": "ada", "value": 7}));
        assert_eq!(next()["change"], "snapshot_end");
        for value in 0..20 {
            let body = json!({"key": "n", "value": value});
            post(&data(&cluster, value % 3), &format!("/v1/tables/{table}/put"), &body).expect("written");
        }
        for value in 0..20 {
            assert_eq!(next(), json!({"change": "put", "key": "n", "value": value}));
        }
        follower.kill().expect("it runs");
        follower.wait().expect("it ends");
    }
    fails(&cluster, 0, &["table", "create", "bag", "--kind", "quorum", "--type", "bag"], 2, "bag");
}

#[test]
fn kills_of_the_leader_lose_nothing_that_was_acknowledged() {
    let mut again = Figures::new("kill of the leader until a write is acknowledged", Duration::from_secs(4));
    let mut cluster = formed();
    for round in 0..rounds(4, 60) {
        let table = if round % 2 == 0 { "ram" } else { "disc" };
        let victim = cluster.wait("a leader", SOON, |cluster| leader(cluster).ok_or_else(|| "none".to_owned()));
        let writers = Writers::begin((0..3).map(|index| data(&cluster, index)), table, 50);
        support::poll::pace(Duration::from_millis(500));
        cluster.agents[victim].kill();
        let (killed, other) = (Instant::now(), (victim + 1) % 3);
        cluster.wait("a write is acknowledged", again.limit(), |cluster| {
            post(&data(cluster, other), &format!("/v1/tables/{table}/put"), &json!({"key": "probe", "value": round}))
        });
        again.add(killed.elapsed());
        support::poll::pace(Duration::from_millis(300));
        let acked = writers.end();
        assert!(acked.len() > 30, "the writers wrote little: {}", acked.len());
        for index in (0..3).filter(|index| *index != victim) {
            let held = cluster.wait("a survivor reads", SOON, |cluster| rows(&data(cluster, index), table));
            // A writer that was told nothing may have written once more after what was acknowledged last.
            let lost = acked.iter().find(|acked| held.get(&acked.key).and_then(Value::as_u64) < Some(acked.value));
            assert!(lost.is_none(), "{table}: {lost:?} is lost at {index}\n{}", cluster.report());
        }
        cluster.agents[victim].start();
        cluster.wait("all are ready", BACK_LIMIT, ready);
        let held = rows(&data(&cluster, victim), table).expect("it reads what a majority has");
        assert!(acked.iter().all(|acked| held.get(&acked.key).and_then(Value::as_u64) >= Some(acked.value)));
    }
    again.assert_median();
}

#[test]
fn in_a_minority_everything_but_a_stale_read_says_what_is_missing() {
    let mut cluster = formed();
    for table in ["ram", "disc"] {
        succeeds(&cluster, 0, &["table", "put", table, "ada", "1"]);
        succeeds(&cluster, 2, &["table", "get", table, "ada"]);
    }
    cluster.agents[0].kill();
    cluster.agents[1].kill();
    for table in ["ram", "disc"] {
        fails(&cluster, 2, &["table", "get", table, "ada"], 1, "no majority of the voters answers");
        assert_eq!(succeeds(&cluster, 2, &["table", "get", table, "ada", "--stale"]).trim(), "1");
    }
    cluster.wait("a write says that there is no majority", SOON, |cluster| {
        let body = json!({"key": "ada", "value": 2});
        match post(&data(cluster, 2), "/v1/tables/disc/put", &body) {
            Err(error) if error.contains("no_quorum") && error.contains("503") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    fails(&cluster, 2, &["table", "put", "ram", "ada", "2"], 1, "no majority of the voters answers");
    cluster.agents[0].start();
    cluster.wait("a majority reads what was written", BACK_LIMIT, |cluster| {
        let body = json!({"key": "ada"});
        let row = post(&data(cluster, 2), "/v1/tables/disc/get", &body)?;
        if row["value"] == 1 { Ok(()) } else { Err(row.to_string()) }
    });
}

#[test]
fn a_restart_of_all_keeps_the_rows_of_disc() {
    let mut cluster = formed();
    for key in 0..50 {
        let body = json!({"key": format!("k{key}"), "value": key});
        post(&data(&cluster, key % 3), "/v1/tables/disc/put", &body).expect("written");
    }
    for agent in &mut cluster.agents {
        agent.kill();
    }
    for agent in &mut cluster.agents {
        agent.start();
    }
    cluster.wait("all are ready", BACK_LIMIT, ready);
    for index in 0..3 {
        assert_eq!(rows(&data(&cluster, index), "disc").map(|rows| rows.len()), Ok(50));
    }
}

#[test]
fn a_cluster_that_lost_its_majority_takes_the_rows_of_disc_along() {
    let mut cluster = formed();
    let put = |cluster: &Cluster, index: usize, key: &str, value: u64| {
        post(&data(cluster, index), "/v1/tables/disc/put", &json!({"key": key, "value": value}))
    };
    for key in 0..50 {
        put(&cluster, 0, &format!("k{key}"), key).expect("written");
    }
    for index in [1, 2] {
        cluster.agents[index].kill();
        std::fs::remove_dir_all(cluster.agents[index].data()).expect("the folder can be removed");
    }
    cluster.wait("it may recover", BACK_LIMIT, |cluster| {
        let plan = cluster.agents[0].json(&["recover", "--plan"])?;
        if plan["refused"].is_null() { Ok(()) } else { Err(plan["refused"].to_string()) }
    });
    succeeds(&cluster, 0, &["recover", "--accept-loss"]);
    let all = |cluster: &Cluster, index: usize| match rows(&data(cluster, index), "disc") {
        Ok(rows) if (0..50).all(|key| rows.get(&format!("k{key}")) == Some(&json!(key))) => Ok(()),
        Ok(rows) => Err(format!("{} rows", rows.len())),
        Err(error) => Err(error),
    };
    cluster.wait("the survivor has the rows", BACK_LIMIT, |cluster| all(cluster, 0));
    // What was recovered is on disc, and whoever is new gets it before it votes.
    cluster.agents[0].kill();
    cluster.agents[0].start();
    cluster.wait("it has them after a crash", BACK_LIMIT, |cluster| all(cluster, 0));
    put(&cluster, 0, "after", 1).expect("written");
    let survivor = cluster.agents[0].name.clone();
    let host = cluster.free_host();
    let mut new = cluster.agent(&format!("n4@{host}"));
    new.set("cluster.static.seeds", &survivor);
    new.start();
    cluster.wait("the new node reads all", BACK_LIMIT, |_| {
        let held = rows(&new.data(), "disc")?;
        if held.len() == 51 && held.get("k7") == Some(&json!(7)) { Ok(()) } else { Err(format!("{} rows", held.len())) }
    });
}

/// Follows a table by the command line, and keeps what it says.
struct Follower {
    process: std::process::Child,
    lines: std::thread::JoinHandle<Vec<Value>>,
}

impl Follower {
    /// It ends once it has seen a row with the key `end`.
    fn begin(cluster: &Cluster, index: usize, table: &str) -> Self {
        use std::io::{BufRead, BufReader};
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_ekka"))
            .args(["table", "watch", table, "--json", "--data-dir"])
            .arg(data(cluster, index))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the command starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let lines = std::thread::spawn(move || {
            let mut said = Vec::new();
            for line in lines {
                said.push(serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON"));
                if said.last().is_some_and(|last| last["key"] == "end") {
                    break;
                }
            }
            said
        });
        Self { process, lines }
    }

    /// Every change once and in order, from the first to the row `end`; with no gap, and nothing anew.
    fn end(mut self, written: &[u64]) {
        let said = self.lines.join().expect("no panic");
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
        assert!(said.iter().all(|change| change["change"] != "resync"), "nobody was too far behind");
        let changes = said.iter().filter(|change| change["change"] == "put" && change["key"] == "n");
        let seen: Vec<u64> = changes.map(|change| change["value"].as_u64().expect("a number")).collect();
        assert!(seen.is_sorted_by(|one, next| one < next), "each once, in order: {seen:?}");
        let missing: Vec<_> = written.iter().filter(|value| !seen.contains(value)).collect();
        assert!(missing.is_empty(), "acknowledged and not seen: {missing:?}");
    }
}

/// The node that does not count in the volatile group, where that is one.
fn beyond(cluster: &Cluster) -> Result<usize, String> {
    let statuses: Result<Vec<Value>, String> = cluster.agents.iter().map(|agent| agent.json(&["status"])).collect();
    let statuses = statuses?;
    let votes: Vec<bool> = statuses.iter().map(|status| status["volatile"]["votes"] == true).collect();
    match votes.iter().filter(|votes| !**votes).count() {
        1 => Ok(votes.iter().position(|votes| !votes).unwrap_or_default()),
        _ => Err(format!("{votes:?}")),
    }
}

#[test]
fn a_node_beyond_the_voters_uses_tables_through_kills_of_the_leader() {
    let mut again = Figures::new("kill of the leader until a node without a replica writes", Duration::from_secs(4));
    let mut cluster = formed_of(4);
    let far = cluster.wait("three of four vote", BACK_LIMIT, beyond);
    for table in ["ram", "disc"] {
        succeeds(&cluster, far, &["table", "put", table, "ada", "1", "--if-revision", "0"]);
        fails(
            &cluster,
            far,
            &["table", "put", table, "ada", "2", "--if-revision", "0"],
            1,
            "another writer was faster",
        );
        succeeds(&cluster, (far + 1) % 4, &["table", "put", table, "eve", "2"]);
        assert_eq!(succeeds(&cluster, far, &["table", "scan", table]), "ada\t1\neve\t2\n");
        succeeds(&cluster, far, &["table", "delete", table, "eve"]);
        fails(&cluster, (far + 2) % 4, &["table", "get", table, "eve"], 4, "has no row");
        assert_eq!(succeeds(&cluster, far, &["table", "get", table, "ada", "--stale"]).trim(), "1");
    }
    let followers = ["ram", "disc"].map(|table| Follower::begin(&cluster, far, table));
    let mut written = [Vec::new(), Vec::new()];
    let mut value = 0;
    for _ in 0..rounds(3, 40) {
        let victim = cluster.wait("a leader", SOON, |cluster| leader(cluster).ok_or_else(|| "none".to_owned()));
        assert_ne!(victim, far, "who does not vote does not lead");
        for phase in 0..2 {
            if phase == 1 {
                cluster.agents[victim].kill();
            }
            let began = Instant::now();
            for turn in 0..20 {
                for (table, written) in ["ram", "disc"].into_iter().zip(&mut written) {
                    cluster.wait("it writes", again.limit(), |cluster| {
                        value += 1;
                        let body = json!({"key": "n", "value": value});
                        post(&data(cluster, far), &format!("/v1/tables/{table}/put"), &body)
                    });
                    written.push(value);
                    if turn == 0 && phase == 1 && table == "ram" {
                        again.add(began.elapsed());
                    }
                    let row = post(&data(&cluster, far), &format!("/v1/tables/{table}/get"), &json!({"key": "n"}));
                    assert_eq!(row.map(|row| row["value"].as_u64()), Ok(Some(value)), "it reads what it wrote");
                }
            }
        }
        cluster.agents[victim].start();
        cluster.wait("all are ready", BACK_LIMIT, ready);
    }
    for table in ["ram", "disc"] {
        succeeds(&cluster, far, &["table", "put", table, "end", "0"]);
    }
    for (follower, written) in followers.into_iter().zip(&written) {
        follower.end(written);
    }
    again.assert_median();
}

#[test]
fn a_watch_goes_on_at_another_node_where_the_first_was_killed() {
    let mut cluster = formed();
    let put = |cluster: &Cluster, index: usize, value: u64| {
        let body = json!({"key": "n", "value": value});
        post(&data(cluster, index), "/v1/tables/ram/put", &body).expect("written");
    };
    put(&cluster, 0, 0);
    let first = cluster.wait("a leader", SOON, |cluster| leader(cluster).ok_or_else(|| "none".to_owned()));
    let mut sse = Sse::open(&data(&cluster, first), "ram", None);
    assert_eq!(
        (sse.next()["change"].clone(), sse.next()["change"].clone()),
        (json!("snapshot"), json!("snapshot_end"))
    );
    let mut at = first;
    for round in 0..3u64 {
        for value in 1..=10 {
            put(&cluster, at, 100 * round + value);
            assert_eq!(sse.next(), json!({"change": "put", "key": "n", "value": 100 * round + value}));
        }
        let next = (at + 1) % 3;
        // It has what was seen: a read there waits for all that was committed before.
        let read = post(&data(&cluster, next), "/v1/tables/ram/get", &json!({"key": "n"})).expect("it reads");
        assert_eq!(read["value"], 100 * round + 10);
        cluster.agents[at].kill();
        sse = Sse::open(&data(&cluster, next), "ram", sse.id.as_deref());
        // What the others wrote while nobody listened comes first, once.
        cluster.wait("the others write", SOON, |cluster| {
            let body = json!({"key": "n", "value": 100 * round + 11});
            post(&data(cluster, (at + 2) % 3), "/v1/tables/ram/put", &body)
        });
        let mut seen = sse.next();
        assert_eq!(seen["value"], 100 * round + 11, "nothing anew, and nothing left out: {seen}");
        cluster.agents[at].start();
        cluster.wait("all are ready", BACK_LIMIT, ready);
        put(&cluster, at, 100 * round + 12);
        // The write before may have been made again by who was told nothing of it.
        while seen["value"] == 100 * round + 11 {
            seen = sse.next();
        }
        assert_eq!(seen["value"], 100 * round + 12, "{seen}");
        at = next;
    }
}
