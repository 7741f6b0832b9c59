//! Tables of real processes: what one writes all read, what kills and cuts do to it, and what a peer costs that reads
//! nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::rows::{Writers, post, rows};
use crate::support::sse::Sse;
use crate::support::{self, Cluster, Figures, process, rounds};
use serde_json::{Value, json};

const FORM_LIMIT: Duration = Duration::from_secs(20);
/// Times ten of what it takes.
const SOON: Duration = Duration::from_secs(10);
/// Detection of a node that is gone, and room.
const DOWN_LIMIT: Duration = Duration::from_secs(20);

fn formed(table: &Value) -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(FORM_LIMIT);
    make(&cluster, table);
    cluster
}

/// Has a table made, and waits until each node has it.
fn make(cluster: &Cluster, table: &Value) {
    support::rows::make(cluster, table, SOON);
}

fn data(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.agents[index].data()
}

fn put(cluster: &Cluster, index: usize, table: &str, body: &Value) -> Value {
    post(&data(cluster, index), &format!("/v1/tables/{table}/put"), body)
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster.report()))
}

fn get(cluster: &Cluster, index: usize, table: &str, key: &str) -> Result<Value, String> {
    post(&data(cluster, index), &format!("/v1/tables/{table}/get"), &json!({ "key": key }))
        .map(|row| row["value"].clone())
}

/// Waits until every running node reads this.
fn all_read(cluster: &Cluster, table: &str, key: &str, value: &Value) {
    cluster.wait(&format!("{table} {key} is {value} for all"), SOON, |cluster| {
        for (index, agent) in cluster.agents.iter().enumerate().filter(|(_, agent)| agent.runs()) {
            let read = get(cluster, index, table, key)?;
            if read != *value {
                return Err(format!("{} reads {read}", agent.name));
            }
        }
        Ok(())
    });
}

#[test]
fn what_one_writes_all_read_whatever_the_table_keeps() {
    let cluster = formed(&json!({"name": "users"}));
    make(&cluster, &json!({"name": "tags", "type": "bag", "codec": "raw"}));
    make(&cluster, &json!({"name": "hits", "merge": "sum"}));
    make(&cluster, &json!({"name": "peak", "merge": "max"}));
    make(&cluster, &json!({"name": "routes", "kind": "owned"}));
    let written = put(&cluster, 0, "users", &json!({"key": "ada", "value": {"admin": true}, "ack": "all"}));
    assert_eq!((&written["copies"], &written["durable"]), (&json!(3), &json!(false)), "{written}");
    for index in 1..3 {
        assert_eq!(get(&cluster, index, "users", "ada"), Ok(json!({"admin": true})), "acknowledged by all");
    }
    for (index, number) in [(0, 5), (1, 7), (2, -2)] {
        put(&cluster, index, "tags", &json!({"key": "k", "value": format!("v{index}")}));
        put(&cluster, index, "hits", &json!({"key": "k", "value": number}));
        put(&cluster, index, "peak", &json!({"key": "k", "value": number}));
        put(&cluster, index, "routes", &json!({"key": "topic", "value": index, "ack": "all"}));
    }
    all_read(&cluster, "hits", "k", &json!(10));
    all_read(&cluster, "peak", "k", &json!(7));
    cluster.wait("the bag has all three, the routes have three owners", SOON, |cluster| {
        for index in 0..3 {
            let (tags, routes) = (get(cluster, index, "tags", "k")?, get(cluster, index, "routes", "topic")?);
            let count = |value: &Value| value.as_array().map_or(0, Vec::len);
            if (count(&tags), count(&routes)) != (3, 3) {
                return Err(format!("{tags} {routes}"));
            }
        }
        Ok(())
    });
    put(&cluster, 1, "users", &json!({"key": "guest", "value": 1, "ttl_ms": 700, "ack": "all"}));
    assert_eq!(get(&cluster, 2, "users", "guest"), Ok(json!(1)));
    cluster.wait("the row has expired for all", SOON, |cluster| {
        for index in 0..3 {
            match get(cluster, index, "users", "guest") {
                Err(error) if error.contains("404") => {}
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(())
    });
}

#[test]
fn wrong_input_is_refused_in_words_and_nothing_is_lost() {
    let cluster = formed(&json!({"name": "users"}));
    put(&cluster, 0, "users", &json!({"key": "ada", "value": 1, "ack": "all"}));
    let cases = [
        (&["table", "get", "nobody", "x"][..], 4, "there is no table \"nobody\"; tables: users"),
        (&["table", "get", "Users!", "x"], 4, "names of tables have a-z"),
        (&["table", "get", "users", "eve"], 4, "users has no row \"eve\""),
        (&["table", "create", "users", "--storage", "disc"], 1, "available, ram"),
        (&["table", "create", "Upper"], 2, "a-z, 0-9"),
        (&["table", "create", "ekka.x"], 2, "reserved"),
        (&["table", "create", "b", "--type", "bag", "--merge", "max"], 2, "a bag merges by union"),
        (&["table", "create", "c", "--copies", "2"], 2, "not there yet"),
        (&["table", "drop", "nobody"], 4, "there is no table"),
        (&["table", "put", "users", "k", "v", "--ttl", "soon"], 2, "--ttl"),
    ];
    for (words, code, text) in cases {
        let output = cluster.agents[1].ekka(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(text), "{words:?}: {said}");
    }
    let long = "k".repeat(65_601);
    let refused = post(&data(&cluster, 0), "/v1/tables/users/put", &json!({"key": long, "value": 1}));
    assert!(refused.as_ref().is_err_and(|error| error.contains("413") && error.contains("65601")), "{refused:?}");
    make(&cluster, &json!({"name": "routes", "kind": "owned"}));
    make(&cluster, &json!({"name": "hits", "merge": "sum"}));
    for (path, body, words) in [
        ("routes/put", json!({"key": "k", "value": 1, "ttl_ms": 5}), "do not expire"),
        ("hits/put", json!({"key": "k", "value": "seven"}), "no whole number"),
        ("users/put", json!({"key": "k", "value": 1, "if_revision": 3}), "no quorum table"),
        ("users/put", json!({"key": 7, "value": 1}), "400"),
        ("users/put", json!({"key": "k", "value": 1, "ack": "most"}), "two, local, all"),
        ("users/scan", json!({"limit": 100_001}), "1 to 100000"),
        ("users/scan", json!({"until": "k"}), "until"),
    ] {
        let refused = post(&data(&cluster, 0), &format!("/v1/tables/{path}"), &body);
        assert!(refused.as_ref().is_err_and(|error| error.contains(words)), "{path} {body}: {refused:?}");
    }
    for (query, words) in [
        ("users/rows?limit=0", "1 to 100000"),
        ("users/rows?limit=18446744073709551616", "400"),
        ("users/rows?colour=red", "colour"),
        ("users/rows?reverse=perhaps", "400"),
        ("users/rows?prefix=%ff", "400"),
        ("nobody/rows", "404"),
    ] {
        let refused = support::ask::get(&data(&cluster, 0), &format!("/v1/tables/{query}"));
        assert!(refused.as_ref().is_err_and(|error| error.contains(words)), "{query}: {refused:?}");
    }
    all_read(&cluster, "users", "ada", &json!(1));
}

#[test]
fn rows_are_read_page_by_page_both_ways_and_say_when_they_expire() {
    let cluster = formed(&json!({"name": "users"}));
    for key in ["a1", "a2", "a3", "a4", "b"] {
        put(&cluster, 0, "users", &json!({"key": key, "value": key, "ack": "all"}));
    }
    let keys = |query: &str| {
        let page = support::ask::get(&data(&cluster, 1), &format!("/v1/tables/users/rows?{query}")).expect("rows");
        let rows = page["rows"].as_array().expect("rows").iter().map(|row| row["key"].as_str().expect("a text"));
        (rows.collect::<Vec<_>>().join(" "), page["next"].clone())
    };
    assert_eq!(keys("prefix=a&limit=2"), ("a1 a2".to_owned(), json!("a2")));
    assert_eq!(keys("prefix=a&after=a2&limit=2"), ("a3 a4".to_owned(), Value::Null));
    assert_eq!(keys("prefix=a&reverse=true&limit=3"), ("a4 a3 a2".to_owned(), json!("a2")));
    assert_eq!(keys("prefix=a&reverse=true&after=a2"), ("a1".to_owned(), Value::Null));
    assert_eq!(keys("prefix=a&after=0").0, "a1 a2 a3 a4", "a key in front of the prefix takes nothing away");
    assert_eq!(keys("prefix=a&after=b").0, "");
    let output = cluster.agents[2].ekka(&["table", "scan", "users", "--reverse", "--after", "b", "--limit", "2"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a4\ta4\na3\ta3\n");
    put(&cluster, 0, "users", &json!({"key": "c", "value": 1, "ttl_ms": 600_000, "ack": "all"}));
    let row = post(&data(&cluster, 1), "/v1/tables/users/get", &json!({"key": "c"})).expect("it is there");
    assert!(row["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{row}");
    let row = post(&data(&cluster, 1), "/v1/tables/users/get", &json!({"key": "b"})).expect("it is there");
    assert_eq!(row.get("expires_at"), None);
}

#[test]
fn kills_of_each_node_in_turn_lose_no_write_that_has_two_copies() {
    let mut back = Figures::new("restart until it has every row", Duration::from_secs(3));
    let mut cluster = formed(&json!({"name": "users"}));
    for round in 0..rounds(3, 100) {
        let victim = round as usize % 3;
        let writers = Writers::begin((0..3).map(|index| data(&cluster, index)), "users", 200);
        support::poll::pace(Duration::from_millis(300));
        cluster.agents[victim].kill();
        support::poll::pace(Duration::from_millis(500));
        let acked = writers.end();
        assert!(acked.len() > 30, "the writers wrote little: {}", acked.len());
        let survivors = (0..3).filter(|index| *index != victim);
        for index in survivors.clone() {
            // Alone, a write may have one copy, and says so.
            let safe = acked.iter().filter(|acked| acked.copies >= 2);
            cluster.wait("a survivor has all that was acknowledged", SOON, |cluster| {
                let held = rows(&data(cluster, index), "users")?;
                let lost = safe.clone().find(|acked| held.get(&acked.key).and_then(Value::as_u64) < Some(acked.value));
                lost.map_or(Ok(()), |lost| Err(format!("{lost:?}, held {:?}", held.get(&lost.key))))
            });
        }
        let start = Instant::now();
        cluster.agents[victim].start();
        cluster.wait("the one that was killed has every row again", back.limit(), |cluster| {
            let theirs = rows(&data(cluster, (victim + 1) % 3), "users")?;
            let mine = rows(&data(cluster, victim), "users")?;
            if mine == theirs { Ok(()) } else { Err(format!("{} rows of {}", mine.len(), theirs.len())) }
        });
        back.add(start.elapsed());
        cluster.wait("all are up", DOWN_LIMIT, Cluster::whole);
    }
    back.assert_median();
}

#[test]
fn rows_of_an_owner_that_is_killed_are_hidden_and_then_dropped() {
    let mut hidden = Figures::new("kill until its rows are hidden", Duration::from_secs(3));
    // Fifteen seconds after it was seen down, which the voters agree on in a moment.
    let mut dropped = Figures::new("kill until its rows are dropped", Duration::from_secs(18));
    let mut cluster = formed(&json!({"name": "routes", "kind": "owned"}));
    for index in 0..3 {
        put(&cluster, index, "routes", &json!({"key": "topic", "value": index, "ack": "all"}));
    }
    let start = Instant::now();
    cluster.agents[2].kill();
    cluster.wait("its rows are hidden", hidden.limit(), |cluster| {
        for index in 0..2 {
            let routes = get(cluster, index, "routes", "topic")?;
            if routes.as_array().map_or(0, Vec::len) != 2 {
                return Err(routes.to_string());
            }
        }
        Ok(())
    });
    hidden.add(start.elapsed());
    cluster.wait("its rows are dropped", dropped.limit(), |cluster| {
        for index in 0..2 {
            let info = support::ask::get(&data(cluster, index), "/v1/tables/routes")?;
            if info["rows"] != 2 {
                return Err(info.to_string());
            }
        }
        Ok(())
    });
    dropped.add(start.elapsed());
    cluster.agents[2].start();
    cluster.wait("it is back, with nothing of its own", DOWN_LIMIT, Cluster::whole);
    cluster.wait("it reads the others' rows", SOON, |cluster| {
        let routes = get(cluster, 2, "routes", "topic")?;
        if routes.as_array().map_or(0, Vec::len) == 2 { Ok(()) } else { Err(routes.to_string()) }
    });
    hidden.assert_each();
    dropped.assert_each();
}

#[test]
fn a_peer_that_reads_nothing_costs_the_writer_little_and_the_other_peer_nothing() {
    let cluster = formed(&json!({"name": "users", "codec": "raw"}));
    let (writer, stuck) = (&cluster.agents[0], 2);
    // The log of the table has a bound: more than that is written.
    let value = "v".repeat(60_000);
    let before = process::resident(writer.pid());
    cluster.agents[stuck].freeze();
    let begun = Instant::now();
    let time = support::duration(Duration::from_secs(8), Duration::from_secs(60));
    let (mut count, mut slowest) = (0u64, Duration::ZERO);
    while begun.elapsed() < time {
        let at = Instant::now();
        let body = json!({"key": format!("k{}", count % 50), "value": value, "ack": "two"});
        put(&cluster, 0, "users", &body);
        slowest = slowest.max(at.elapsed());
        count += 1;
    }
    let grown = process::resident(writer.pid()).saturating_sub(before) >> 20;
    println!("{count} writes of 60 kB, the slowest {slowest:.2?}; the writer has grown by {grown} MiB");
    assert!(count > 200 && slowest < SOON, "{count} writes, the slowest {slowest:?}");
    // 64 MiB of log, 16 of changes for watchers, buffers.
    assert!(grown < 300, "{grown} MiB");
    cluster.agents[stuck].thaw();
    let expected = rows(&data(&cluster, 0), "users").expect("the writer answers");
    cluster.wait("the one that was frozen has every row", DOWN_LIMIT, |cluster| {
        let held = rows(&data(cluster, stuck), "users")?;
        if held == expected { Ok(()) } else { Err(format!("{} of {} rows, or old ones", held.len(), expected.len())) }
    });
}

#[test]
fn a_watcher_sees_the_rows_and_then_every_change_once() {
    use std::io::{BufRead, BufReader};
    let cluster = formed(&json!({"name": "users"}));
    put(&cluster, 0, "users", &json!({"key": "first", "value": 0, "ack": "all"}));
    let mut follower = std::process::Command::new(env!("CARGO_BIN_EXE_ekka"))
        .args(["table", "watch", "users", "--json", "--data-dir"])
        .arg(data(&cluster, 1))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("the watch goes on").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(next(), json!({"change": "snapshot", "key": "first", "value": 0}));
    assert_eq!(next()["change"], "snapshot_end");
    for value in 1..=200 {
        put(&cluster, value % 3, "users", &json!({"key": format!("k{}", value % 3), "value": value}));
    }
    post(&data(&cluster, 2), "/v1/tables/users/delete", &json!({"key": "first"})).expect("it is deleted");
    // Each node writes its own key: what one wrote comes in its order, each once.
    let mut last = [0, 0, 0];
    let (mut seen, mut deleted) = (0, false);
    while seen < 200 || !deleted {
        let change = next();
        match change["change"].as_str() {
            Some("put") => {
                let value = change["value"].as_u64().expect("a number");
                let of = usize::try_from(value % 3).expect("small");
                assert!(value > last[of], "{change} after {}", last[of]);
                assert!(last[of] == 0 || value == last[of] + 3, "{change} after {}: one is missing", last[of]);
                last[of] = value;
                seen += 1;
            }
            Some("delete") => deleted = true,
            other => panic!("{other:?}"),
        }
    }
    follower.kill().expect("it runs");
    follower.wait().expect("it ends");
}

#[test]
fn a_reader_that_comes_back_goes_on_where_it_was_and_else_gets_all_rows_anew() {
    let mut cluster = formed(&json!({"name": "users"}));
    make(&cluster, &json!({"name": "other"}));
    make(&cluster, &json!({"name": "routes", "kind": "owned"}));
    let at = data(&cluster, 1);
    let cases = [("users", json!({})), ("routes", json!({"owner": cluster.agents[1].name}))];
    for (table, owner) in &cases {
        let change = |kind: &str, value: u64| {
            let mut change = json!({"change": kind, "key": "k", "value": value});
            owner.as_object().into_iter().flatten().for_each(|(name, value)| change[name] = value.clone());
            change
        };
        let end = || json!({"change": "snapshot_end"});
        put(&cluster, 1, table, &json!({"key": "k", "value": 0}));
        let mut sse = Sse::open(&at, table, None);
        assert_eq!(sse.next(), change("snapshot", 0));
        assert_eq!(sse.id, None, "{table}: within a snapshot there is nothing to go on from");
        assert_eq!(sse.next(), end());
        let snapshot = sse.id.clone().expect("the snapshot is complete");
        put(&cluster, 1, table, &json!({"key": "k", "value": 1}));
        assert_eq!(sse.next(), change("put", 1));
        let first = sse.id.take().expect("a change has an id");
        drop(sse);
        put(&cluster, 1, table, &json!({"key": "k", "value": 2}));
        put(&cluster, 1, table, &json!({"key": "k", "value": 3}));
        for (id, seen) in [(&first, 1), (&snapshot, 0)] {
            let mut sse = Sse::open(&at, table, Some(id));
            for value in seen + 1..=3 {
                assert_eq!(sse.next(), change("put", value), "after {id}");
            }
        }
        // An id of another table, one in a form that there was once, one of the future, and what is none.
        let (history, _) = first.rsplit_once(':').expect("it ends with the revision");
        let (old, _) = history.rsplit_once(':').expect("it begins with what there was once");
        let other = Sse::open(&at, "other", None).id_of_snapshot();
        for id in [other, format!("{old}:1"), format!("{history}:99"), "7".into(), "a:b".into(), ":1".into()] {
            let mut sse = Sse::open(&at, table, Some(&id));
            assert_eq!(sse.next(), json!({"change": "resync"}), "{table} after {id}");
            assert_eq!(sse.snapshot(), [change("snapshot", 3), end()], "{table} after {id}");
        }
    }
    // Another start of the node has other revisions.
    let id = Sse::open(&at, "users", None).id_of_snapshot();
    cluster.agents[1].kill();
    cluster.agents[1].start();
    cluster.wait("it is back", DOWN_LIMIT, Cluster::whole);
    all_read(&cluster, "users", "k", &json!(3));
    assert_eq!(Sse::open(&at, "users", Some(&id)).next(), json!({"change": "resync"}));
}

#[test]
fn a_reader_that_breaks_off_behind_an_owner_that_is_down_misses_no_row() {
    let mut cluster = formed(&json!({"name": "routes", "kind": "owned"}));
    for index in 0..3 {
        put(&cluster, index, "routes", &json!({"key": "topic", "value": index, "ack": "all"}));
    }
    let row = |index: usize| {
        let owner = &cluster.agents[index].name;
        json!({"change": "snapshot", "key": "topic", "value": index, "owner": owner})
    };
    // Whose rows come first: the one that has the lowest id.
    let order: Vec<Value> = Sse::open(&data(&cluster, 0), "routes", None).snapshot();
    let first = (0..3).find(|index| order[0] == row(*index)).expect("one of the three");
    let watcher = (first + 1) % 3;
    let mut expected = order.clone();
    expected.insert(1, json!({"change": "owner_hidden", "owner": cluster.agents[first].name}));
    let at = data(&cluster, watcher);
    let id = Sse::open(&at, "routes", None).id_of_snapshot();
    cluster.agents[first].kill();
    assert_eq!(Sse::open(&at, "routes", Some(&id)).next(), expected[1], "a change, which has an id");
    let mut sse = Sse::open(&at, "routes", None);
    assert_eq!([sse.next(), sse.next()], expected[..2]);
    assert_eq!(sse.id, None, "the rows of the others have not come yet");
    let mut sse = Sse::open(&at, "routes", sse.id.as_deref());
    assert_eq!(sse.snapshot(), expected);
    assert!(sse.id.is_some());
}
