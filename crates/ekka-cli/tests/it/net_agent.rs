//! One agent process: its log, its socket, its signals, what it refuses; and the demo.

use std::process::Command;
use std::time::Duration;

use crate::support::{Agent, poll};
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(10);

/// A node on a free port of loopback, in a folder of its own.
fn agent(dir: &TempDir) -> Agent {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).expect("a free port");
    let mut agent = Agent::new(dir.path(), &format!("ekka1@127.0.0.1:{}", free.port()));
    agent.set("log.format", "json");
    agent
}

fn wait_ready(agent: &Agent) {
    let up = poll::until(LIMIT, || {
        let status = agent.json(&["status"])?;
        if status["ready"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    let ((), took) = up.unwrap_or_else(|seen| panic!("{seen}\n{}", agent.report()));
    println!("ready after {took:.2?}");
}

fn lines(agent: &Agent) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    agent.log().lines().map(parse).collect()
}

#[test]
fn the_log_begins_with_who_it_is_and_says_ready_once() {
    let dir = TempDir::new().expect("a folder");
    let mut agent = agent(&dir);
    agent.start();
    wait_ready(&agent);
    let status = agent.json(&["status"]).expect("answers");
    assert!(agent.stop(LIMIT).success());
    let lines = lines(&agent);
    for field in ["version", "name", "node_id", "data_dir", "listen", "cookie", "tls", "strategy"] {
        assert!(lines[0].get(field).is_some(), "{field} is not in {}", lines[0]);
    }
    assert_eq!((&lines[0]["node_id"], &lines[0]["guid"]), (&status["node_id"], &status["guid"]));
    let ready: Vec<_> =
        lines.iter().filter(|line| line["msg"].as_str().is_some_and(|m| m.starts_with("ready: "))).collect();
    assert_eq!(ready.len(), 1, "{ready:?}");
    let events: Vec<&Value> = lines.iter().filter(|line| line.get("event").is_some()).collect();
    for kind in ["node.starting", "cluster.formed", "node.ready", "node.stopping", "node.stopped"] {
        let of_kind = events.iter().filter(|line| line["event"] == kind).count();
        let expected = if kind == "node.ready" { 2 } else { 1 }; // for both kinds of work
        assert_eq!(of_kind, expected, "{kind}: {events:?}");
    }
    assert!(events.iter().all(|line| line["id"].is_string()), "each event has its id: {events:?}");
}

#[test]
fn stop_takes_the_socket_along_and_the_next_start_is_the_same_node() {
    let dir = TempDir::new().expect("a folder");
    let mut agent = agent(&dir);
    agent.start();
    wait_ready(&agent);
    let before = agent.json(&["status"]).expect("answers");
    let said = agent.ekka(&["stop"]);
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("ekka why d-"), "{said:?}");
    assert!(agent.wait_for_end(LIMIT).success());
    assert!(!agent.data().join("ekka.sock").exists());
    assert_eq!(agent.ekka(&["status"]).status.code(), Some(3));
    agent.start();
    wait_ready(&agent);
    let after = agent.json(&["status"]).expect("answers");
    assert_eq!((&after["node_id"], &after["cluster_id"]), (&before["node_id"], &before["cluster_id"]));
    assert_ne!(after["guid"], before["guid"]);
    agent.kill();
    agent.start_with(&["--restored"]);
    wait_ready(&agent);
    assert_ne!(
        agent.json(&["status"]).expect("answers")["node_id"],
        before["node_id"],
        "a socket left by kill -9, and a new node"
    );
    agent.stop(LIMIT);
}

#[test]
fn hangup_reads_the_configuration_again() {
    let dir = TempDir::new().expect("a folder");
    let mut agent = agent(&dir);
    agent.start();
    wait_ready(&agent);
    let conf = dir.path().join("node.conf");
    let text = std::fs::read_to_string(&conf).expect("reads");
    std::fs::write(&conf, format!("{text}node.tags = zone=a\n")).expect("writes");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.pid()).expect("positive"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).expect("an own child");
    let name = agent.name.clone();
    let seen = poll::until(LIMIT, || {
        let row = agent.row(&name)?;
        if row["tags"]["zone"] == "a" { Ok(()) } else { Err(row.to_string()) }
    });
    seen.unwrap_or_else(|seen| panic!("{seen}\n{}", agent.report()));
    std::fs::write(&conf, format!("{text}node.tgas = zone=b\n")).expect("writes");
    let refused = agent.ekka(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("node.tags"), "{refused:?}");
    assert!(agent.stop(LIMIT).success(), "a wrong file does not end the agent");
}

#[test]
fn what_cannot_run_is_refused_in_words() {
    let dir = TempDir::new().expect("a folder");
    let mut agent = agent(&dir);
    let gate = dir.path().join("gate").display().to_string();
    let cases: [(&str, &str, &[&str], i32, &str); 2] = [
        (
            "cluster.discovery",
            "manual",
            &[
                "--gate",
                &gate,
                "--set",
                "node.name=ekka@10.9.9.9",
                "--set",
                "node.cookie=0123456789abcdef0123456789abcdef",
            ],
            2,
            "not on loopback",
        ),
        ("api.socket_group", "no-such-group-here", &[], 2, "no-such-group-here"),
    ];
    for (key, value, words, code, text) in cases {
        agent.set(key, value);
        agent.start_with(words);
        assert_eq!(agent.wait_for_end(LIMIT).code(), Some(code), "{key} = {value}: {}", agent.report());
        assert!(agent.log().contains(text), "{text}: {}", agent.report());
        agent.set("cluster.discovery", "manual");
        agent.unset("node.role");
    }
}

#[test]
fn the_demo_happens_and_leaves_nothing_behind() {
    let dir = TempDir::new().expect("a folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ekka"));
    let ran = demo.args(["demo", "--json"]).env("TMPDIR", dir.path()).output().expect("starts");
    assert!(ran.status.success(), "{ran:?}");
    let figures: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    println!("{figures}");
    for figure in ["form_s", "notice_kill_s", "back_s", "total_s"] {
        let seconds = figures[figure].as_f64().unwrap_or_else(|| panic!("{figure} is no number: {figures}"));
        assert!(seconds > 0.0 && seconds < 60.0, "{figure}: {figures}");
    }
    let partition = &figures["partition"];
    let count = |of: &str| partition[of].as_u64().unwrap_or_else(|| panic!("{of} is no number: {figures}"));
    assert_eq!((count("writes_lost"), figures["writes_lost"].as_u64()), (0, Some(0)), "{figures}");
    assert!(count("majority_writes") > 0 && count("minority_writes") > 0, "{figures}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0, "its folder is gone");
}

#[test]
fn nodes_of_a_demo_that_is_killed_end_too() {
    let dir = TempDir::new().expect("a folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ekka"));
    let mut demo =
        demo.arg("demo").env("TMPDIR", dir.path()).stdout(std::process::Stdio::null()).spawn().expect("starts");
    let inside = format!("{}/ekka-demo-{}", dir.path().display(), demo.id());
    let agents = || -> usize {
        let processes = std::fs::read_dir("/proc").expect("reads").flatten();
        let words = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        words.filter(|words| String::from_utf8_lossy(words).contains(&format!("data_dir={inside}"))).count()
    };
    let count = |wanted: usize| {
        poll::until(LIMIT, || if agents() == wanted { Ok(()) } else { Err(format!("{} agents run", agents())) })
    };
    count(3).expect("three are started");
    demo.kill().expect("an own child");
    demo.wait().expect("an own child");
    let ((), took) = count(0).expect("they end by themselves");
    println!("gone after {took:.2?}");
}
