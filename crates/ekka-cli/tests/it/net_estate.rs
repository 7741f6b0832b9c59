//! What was acknowledged and who is a member: a node that was taken out comes back with what only it has, a cluster goes
//! into another one with its tables, and a node that leaves or stops hands over what only it has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::rows::{post, rows};
use crate::support::{self, Agent, Cluster};
use serde_json::{Value, json};

const FORM_LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(60);
const TABLE: &str = "users";

fn data(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.agents[index].data()
}

fn info(agent: &Agent, table: &str) -> Result<Value, String> {
    support::ask::get(&agent.data(), &format!("/v1/tables/{table}"))
}

/// Has a table made at one node, and waits until these have it.
fn make(cluster: &Cluster, at: &[usize], table: &Value) {
    let made = cluster.wait("the table is made", SOON, |cluster| post(&data(cluster, at[0]), "/v1/tables", table));
    let name = made["name"].as_str().expect("a name").to_owned();
    cluster.wait("each has the table", LIMIT, |cluster| {
        at.iter().try_for_each(|index| match info(&cluster.agents[*index], &name) {
            Ok(info) if info["loaded"] == true => Ok(()),
            Ok(info) => Err(format!("{}: {info}", cluster.agents[*index].name)),
            Err(error) => Err(error),
        })
    });
}

fn change(cluster: &Cluster, index: usize, what: &str, body: &Value) -> Value {
    let path = format!("/v1/tables/{what}");
    post(&data(cluster, index), &path, body).unwrap_or_else(|error| panic!("{error}\n{}", cluster.report()))
}

fn put(cluster: &Cluster, index: usize, key: &str, value: &Value, ack: &str) {
    change(cluster, index, &format!("{TABLE}/put"), &json!({"key": key, "value": value, "ack": ack}));
}

/// Three nodes with gates, and the table.
struct Gated {
    cluster: Cluster,
    gates: tempfile::TempDir,
}

impl Gated {
    fn formed(table: &Value) -> Self {
        let mut gated =
            Self { cluster: Cluster::on_loopback(3), gates: tempfile::tempdir().expect("a temporary folder") };
        for index in 0..3 {
            gated.start(index);
        }
        gated.cluster.wait("one cluster that all see whole", FORM_LIMIT, Cluster::whole);
        make(&gated.cluster, &[0, 1, 2], table);
        gated
    }

    fn gate(&self, index: usize) -> PathBuf {
        self.gates.path().join(format!("n{index}"))
    }

    fn start(&mut self, index: usize) {
        let gate = self.gate(index).display().to_string();
        self.cluster.agents[index].start_with(&["--gate", &gate]);
    }

    /// Cuts the third node off.
    fn cut(&self) {
        // A gate holds what its own node dialled, so both sides have one.
        let dead = |index: usize| format!("{}:{} both\n", self.cluster.host(index), 4371 + index);
        for (index, rules) in [(0, dead(2)), (1, dead(2)), (2, dead(0) + &dead(1))] {
            std::fs::write(self.gate(index), rules).expect("the gate can be set");
        }
        self.cluster.wait("the third is down for the others, and they for it", LIMIT, |cluster| {
            let down = |index: usize, of: usize| match cluster.agents[index].row(&cluster.agents[of].name) {
                Ok(row) if row["status"] == "down" => Ok(()),
                Ok(row) => Err(format!("{index}: {row}")),
                Err(error) => Err(error),
            };
            down(0, 2)?;
            down(1, 2)?;
            down(2, 0)?;
            down(2, 1)
        });
    }

    fn repair(&self) {
        for index in 0..3 {
            std::fs::remove_file(self.gate(index)).expect("the gate can be opened");
        }
    }

    /// The others take the third out, and forget what was deleted.
    fn take_out(&self) {
        let (operator, name) = (&self.cluster.agents[0], &self.cluster.agents[2].name);
        self.cluster.wait("it is taken out", LIMIT, |_| {
            let output = operator.ekka(&["force-leave", name]);
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
    }

    /// The third is out, by its own word, and is brought back by that of an operator.
    fn bring_back(&self) {
        let (agent, to) = (&self.cluster.agents[2], &self.cluster.agents[0].name);
        self.cluster.wait("it has heard that it is out", LIMIT, |_| {
            let status = agent.json(&["status"])?;
            if status["cluster_id"].is_null() { Ok(()) } else { Err(status.to_string()) }
        });
        self.cluster.wait("it is back", LIMIT, |_| agent.json(&["join", to]));
        self.cluster.wait("all are up", LIMIT, Cluster::whole);
    }
}

/// Waits until each of these has these rows and no others.
fn all_hold(cluster: &Cluster, at: &[usize], table: &str, wanted: &BTreeMap<String, Value>) {
    cluster.wait(&format!("{table}: all hold all"), LIMIT, |cluster| {
        at.iter().try_for_each(|index| {
            let held = rows(&data(cluster, *index), table)?;
            if held == *wanted { Ok(()) } else { Err(format!("{}: {held:?}", cluster.agents[*index].name)) }
        })
    });
}

fn lost(agent: &Agent, table: &str) -> Result<Vec<(String, Value)>, String> {
    let losses = support::ask::get(&agent.data(), &format!("/v1/tables/{table}/losses"))?;
    let losses = losses.as_array().ok_or_else(|| losses.to_string())?;
    Ok(losses.iter().map(|loss| (loss["key"].as_str().unwrap_or_default().to_owned(), loss["value"].clone())).collect())
}

fn wanted(rows: &[(&str, Value)]) -> BTreeMap<String, Value> {
    rows.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

#[test]
fn what_a_node_wrote_behind_a_cut_is_judged_once_it_is_taken_out_and_back() {
    let gated = Gated::formed(&json!({"name": TABLE}));
    let cluster = &gated.cluster;
    put(cluster, 0, "all", &json!(1), "all");
    gated.cut();
    for (key, value) in [("alone", 2), ("older", 3), ("deleted", 4)] {
        put(cluster, 2, key, &json!(value), "local");
    }
    // Of two versions of one millisecond either may be the later one.
    support::poll::pace(Duration::from_millis(5));
    put(cluster, 0, "older", &json!("newer"), "two");
    put(cluster, 0, "deleted", &json!(5), "two");
    change(cluster, 0, &format!("{TABLE}/delete"), &json!({"key": "deleted"}));
    gated.take_out();
    cluster.wait("what was deleted is forgotten", LIMIT, |cluster| {
        [0, 1].iter().try_for_each(|index| {
            let info = info(&cluster.agents[*index], TABLE)?;
            if info["tombstones"] == 0 { Ok(()) } else { Err(info.to_string()) }
        })
    });
    put(cluster, 2, "alone too", &json!(6), "local");
    gated.repair();
    cluster.wait("it is out", LIMIT, |_| {
        let status = cluster.agents[2].json(&["status"])?;
        if status["cluster_id"].is_null() { Ok(()) } else { Err(status.to_string()) }
    });
    put(cluster, 2, "outside", &json!(7), "local");
    assert!(rows(&data(cluster, 0), TABLE).is_ok_and(|rows| !rows.contains_key("outside")), "it is no member");
    gated.bring_back();
    // What is older than the newest deletion that was forgotten may have been deleted: it is kept for people.
    let all = [("all", json!(1)), ("alone too", json!(6)), ("older", json!("newer")), ("outside", json!(7))];
    all_hold(cluster, &[0, 1, 2], TABLE, &wanted(&all));
    cluster.wait("what lost is in every journal", LIMIT, |cluster| {
        cluster.agents.iter().try_for_each(|agent| {
            let lost = lost(agent, TABLE)?;
            let has = |key: &str, value: u64| lost.contains(&(key.to_owned(), json!(value)));
            if has("alone", 2) && has("older", 3) && has("deleted", 4) {
                Ok(())
            } else {
                Err(format!("{}: {lost:?}", agent.name))
            }
        })
    });
    cluster.wait("the judge says so", SOON, |cluster| {
        let events: Vec<Value> =
            cluster.agents[..2].iter().flat_map(|agent| agent.events().unwrap_or_default()).collect();
        let said = events.iter().find(|event| event["type"] == "table.returned");
        said.filter(|event| event["aside"] == 3).map(drop).ok_or_else(|| format!("{said:?}"))
    });
    // It is a member as any other: what is written now gets everywhere.
    put(cluster, 2, "after", &json!(8), "all");
    put(cluster, 0, "after too", &json!(9), "all");
    assert_eq!(rows(&data(cluster, 1), TABLE).expect("rows").len(), 6);
    losses_come_page_by_page(&cluster.agents[1]);
    losses_go_back(cluster);
}

fn losses_come_page_by_page(agent: &Agent) {
    let page = |query: &str| {
        let path = format!("/v1/tables/{TABLE}/losses?{query}");
        let page = support::ask::get(&agent.data(), &path).expect("losses");
        page.as_array().expect("an array").clone()
    };
    let all = page("limit=100");
    let (mut paged, mut query) = (Vec::new(), "limit=1".to_owned());
    while let [loss] = &page(&query)[..] {
        query = format!("limit=1&after={}", loss["revision"].as_str().expect("a text"));
        paged.push(loss.clone());
    }
    assert_eq!(paged, all);
    assert!(all.len() >= 3 && page(&query).is_empty());
}

/// What `losses --json` says goes back by `table import`.
fn losses_go_back(cluster: &Cluster) {
    let output = cluster.agents[1].ekka(&["losses", "--table", TABLE, "--json"]);
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).expect("a text");
    let deleted = lines.matches("\"deleted\":true").count();
    let file = data(cluster, 1).join("lost.jsonl");
    std::fs::write(&file, &lines).expect("it is written");
    let file = file.display().to_string();
    let said = cluster.agents[0].json(&["table", "import", TABLE, &file]).expect("it is taken");
    assert_eq!(said["rows"], lines.lines().count() - deleted, "{said}");
    assert_eq!(said["skipped"], json!({"other_table": 0, "deleted": deleted, "expired": 0, "part": 0}));
    let held = rows(&data(cluster, 0), TABLE).expect("rows");
    assert_eq!([&held["alone"], &held["older"], &held["deleted"]], [&json!(2), &json!(3), &json!(4)]);
}

#[test]
fn what_a_node_has_on_disc_survives_that_it_is_killed_and_taken_out() {
    let mut gated = Gated::formed(&json!({"name": TABLE, "storage": "disc"}));
    put(&gated.cluster, 0, "all", &json!(0), "all");
    gated.cut();
    for number in 0..50 {
        put(&gated.cluster, 2, &format!("k{number}"), &json!(number), "local");
    }
    gated.cluster.agents[2].kill();
    gated.take_out();
    put(&gated.cluster, 1, "meanwhile", &json!(1), "two");
    gated.repair();
    gated.start(2);
    gated.bring_back();
    // Whatever of it is done by now.
    gated.cluster.agents[2].kill();
    gated.start(2);
    let mut all: BTreeMap<String, Value> = (0..50).map(|number| (format!("k{number}"), json!(number))).collect();
    all.extend(wanted(&[("all", json!(0)), ("meanwhile", json!(1))]));
    all_hold(&gated.cluster, &[0, 1, 2], TABLE, &all);
    gated.cluster.wait("all are up", LIMIT, Cluster::whole);
    put(&gated.cluster, 2, "after", &json!(2), "all");
    all.insert("after".to_owned(), json!(2));
    for agent in &mut gated.cluster.agents {
        agent.kill();
    }
    for index in 0..3 {
        gated.start(index);
    }
    gated.cluster.wait("all are up", LIMIT, Cluster::whole);
    all_hold(&gated.cluster, &[0, 1, 2], TABLE, &all);
}

/// Starts two nodes that have each other as seeds.
fn pair(cluster: &mut Cluster, [a, b]: [usize; 2]) {
    let seeds = format!("{}, {}", cluster.agents[a].name, cluster.agents[b].name);
    for index in [a, b] {
        cluster.agents[index].set("cluster.static.seeds", &seeds);
        cluster.agents[index].start();
    }
    cluster.wait("a cluster of two", FORM_LIMIT, |cluster| {
        [a, b].iter().try_for_each(|index| {
            let members = cluster.agents[*index].json(&["members"])?;
            let up = |member: &&Value| member["status"] == "up";
            let count = members.as_array().into_iter().flatten().filter(up).count();
            if count == 2 { Ok(()) } else { Err(members.to_string()) }
        })
    });
}

#[test]
fn a_cluster_that_goes_into_another_one_brings_its_tables() {
    let mut cluster = Cluster::on_loopback(4);
    pair(&mut cluster, [0, 1]);
    pair(&mut cluster, [2, 3]);
    for at in [[0, 1], [2, 3]] {
        make(&cluster, &at, &json!({"name": TABLE}));
        make(&cluster, &at, &json!({"name": "hits", "merge": "sum"}));
        make(&cluster, &at, &json!({"name": "stock", "kind": "quorum", "storage": "disc"}));
    }
    make(&cluster, &[2, 3], &json!({"name": "theirs", "storage": "disc"}));
    make(&cluster, &[0, 1], &json!({"name": "tags"}));
    make(&cluster, &[2, 3], &json!({"name": "tags", "type": "bag"}));
    put(&cluster, 3, "young", &json!(1), "all");
    put(&cluster, 2, "both", &json!("before"), "all");
    put(&cluster, 0, "old", &json!(2), "all");
    put(&cluster, 1, "both", &json!("after"), "all");
    // What was deleted and forgotten here says nothing of what comes from there.
    put(&cluster, 0, "gone", &json!(3), "all");
    change(&cluster, 0, &format!("{TABLE}/delete"), &json!({"key": "gone"}));
    for (index, by) in [(0, 5), (1, 6), (2, 7), (3, 8)] {
        change(&cluster, index, "hits/put", &json!({"key": "home", "value": by, "ack": "all"}));
    }
    change(&cluster, 2, "theirs/put", &json!({"key": "k", "value": "v", "ack": "all"}));
    change(&cluster, 2, "tags/put", &json!({"key": "k", "value": "red", "ack": "all"}));
    for (index, rows) in [(0, vec![("bolt", 1), ("nut", 2)]), (2, vec![("bolt", 1), ("nut", 3), ("screw", 4)])] {
        for (key, value) in rows {
            change(&cluster, index, "stock/put", &json!({"key": key, "value": value}));
        }
    }
    cluster.wait("what was deleted is forgotten", LIMIT, |cluster| {
        let info = info(&cluster.agents[0], TABLE)?;
        if info["tombstones"] == 0 { Ok(()) } else { Err(info.to_string()) }
    });
    // At first one of the nodes cannot set anything aside: a file is where its folder should be.
    let in_the_way = data(&cluster, 2).join("set-aside");
    std::fs::write(&in_the_way, "").expect("a file");
    let to = cluster.agents[0].name.clone();
    cluster.wait("the younger one goes", LIMIT, |cluster| cluster.agents[2].json(&["join", &to, "--absorb"]));
    cluster.wait("one cluster", LIMIT, Cluster::whole);
    let all = [0, 1, 2, 3];
    let rows = wanted(&[("young", json!(1)), ("both", json!("after")), ("old", json!(2))]);
    all_hold(&cluster, &all, TABLE, &rows);
    all_hold(&cluster, &all, "theirs", &wanted(&[("k", json!("v"))]));
    cluster.wait("counters are the sum of both", LIMIT, |cluster| {
        all.iter().try_for_each(|index| {
            let row = post(&data(cluster, *index), "/v1/tables/hits/get", &json!({"key": "home"}))?;
            if row["value"] == 26 { Ok(()) } else { Err(row.to_string()) }
        })
    });
    let aside = |part: &str| -> Result<String, String> {
        let folder = data(&cluster, 2).join("set-aside");
        let files = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
        let paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        let named = paths.iter().find(|path| path.display().to_string().contains(part));
        named.map(|path| std::fs::read_to_string(path).expect("a file")).ok_or_else(|| format!("{paths:?}"))
    };
    cluster.wait("what is in no file counts as only here", LIMIT, |cluster| {
        let plan = cluster.agents[2].json(&["stop", "--plan"])?.to_string();
        let tells = |part: &str| plan.contains(part);
        if tells("stock") && tells("tags") { Ok(()) } else { Err(plan) }
    });
    std::fs::remove_file(&in_the_way).expect("it is there");
    let stock =
        cluster.wait("what the other one lacks of a quorum table is in a file", LIMIT * 2, |_| aside("-stock.jsonl"));
    assert!(stock.contains("screw") && stock.contains("nut") && !stock.contains("bolt"), "{stock}");
    let tags = cluster.wait("so are rows that do not fit", LIMIT * 2, |_| aside("-tags.jsonl"));
    let line: Value = serde_json::from_str(&tags).expect("one line");
    assert_eq!(line, json!({"key": "k", "value": "red", "deleted": false, "lost": false}));
}

/// Writes at one node until it is taken no more: what was acknowledged.
fn write_on(data: &Path) -> JoinHandle<BTreeMap<String, Value>> {
    let data = data.to_owned();
    thread::spawn(move || {
        let path = format!("/v1/tables/{TABLE}/put");
        let (mut acked, mut refused) = (BTreeMap::new(), 0);
        for number in 0u64.. {
            let key = format!("k{number}");
            match post(&data, &path, &json!({"key": key, "value": number, "ack": "local"})) {
                Ok(_) => drop(acked.insert(key, json!(number))),
                Err(_) => refused += 1,
            }
            if refused == 50 {
                break;
            }
        }
        acked
    })
}

fn written_some(cluster: &Cluster) {
    cluster.wait("some is written", SOON, |cluster| {
        let count = rows(&data(cluster, 2), TABLE)?.len();
        if count > 200 { Ok(()) } else { Err(count.to_string()) }
    });
}

#[test]
fn a_node_that_leaves_or_stops_under_writes_hands_over_what_only_it_has() {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(FORM_LIMIT);
    make(&cluster, &[0, 1, 2], &json!({"name": TABLE}));
    let writer = write_on(&data(&cluster, 2));
    written_some(&cluster);
    cluster.agents[2].stop(LIMIT);
    let mut acked = writer.join().expect("a writer does not panic");
    all_hold(&cluster, &[0, 1], TABLE, &acked);
    cluster.agents[2].start();
    cluster.wait("all are up", LIMIT, Cluster::whole);
    make(&cluster, &[0, 1, 2], &json!({"name": TABLE}));
    let writer = write_on(&data(&cluster, 2));
    let plan = cluster.agents[2].json(&["leave", "--plan"]).expect("a plan");
    assert!(plan["refused"].is_null(), "{plan}");
    let left = cluster.agents[2].ekka(&["leave"]);
    assert!(left.status.success(), "{left:?}\n{}", cluster.report());
    acked.extend(writer.join().expect("a writer does not panic"));
    all_hold(&cluster, &[0, 1], TABLE, &acked);
}

#[test]
fn a_node_that_nobody_hears_does_not_leave_and_says_what_only_it_has() {
    let gated = Gated::formed(&json!({"name": TABLE}));
    put(&gated.cluster, 0, "all", &json!(0), "all");
    gated.cluster.wait("what all have is not only here", SOON, |cluster| {
        let plan = cluster.agents[2].json(&["leave", "--plan"])?["plan"].to_string();
        if plan.contains("no other node is known to have") { Err(plan) } else { Ok(()) }
    });
    gated.cut();
    for number in 0..3 {
        put(&gated.cluster, 2, &format!("k{number}"), &json!(number), "local");
    }
    // Of a table in memory only nodes that are up count: with those that are down their copies may have ended.
    gated.cluster.wait("all is only here once nobody is up", SOON, |cluster| {
        let plan = cluster.agents[2].json(&["leave", "--plan"])?["plan"].to_string();
        if plan.contains(&format!("4 writes of the table {TABLE}")) { Ok(()) } else { Err(plan) }
    });
    let refused = gated.cluster.agents[2].ekka(&["leave"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("in reach"), "{said}");
    put(&gated.cluster, 2, "still", &json!(4), "local");
}
