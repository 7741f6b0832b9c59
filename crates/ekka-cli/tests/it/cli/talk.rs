//! Commands that talk to an agent.

use std::process::Stdio;

use ekka::core::control::Command;
use ekka::core::event::EventKind;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::fixture::{GivenNode, minority, name, view};
use super::{Agent, ekka, run};

fn runtime() -> TempDir {
    TempDir::new().expect("a directory")
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_those_of_the_contract() {
    let runtime = runtime();
    let _well = Agent::serve(GivenNode::new(view()), runtime.path(), "well@127.0.0.1").await;
    let _cut = Agent::serve(GivenNode::new(minority()), runtime.path(), "cut@127.0.0.1").await;
    let cases = [
        ("-n well status", 0),
        ("status -n well@127.0.0.1", 0),
        ("-n well members --json", 0),
        ("-n well links", 0),
        ("-n well cookie", 0),
        ("-n well version", 0),
        ("-n well why d-00001f", 0),
        ("-n well why", 0),
        ("-n well leave --plan", 0),
        ("-n well health live", 0),
        ("-n well health ready", 0),
        ("-n well health safe-to-stop", 1),
        ("-n cut health ready", 1),
        ("-n cut health ready --for available", 0),
        ("-n cut health ready --wait 300ms", 5),
        ("-n well form", 1),
        ("-n well reload", 1),
        ("-n well force-leave abcdef", 2),
        ("-n well join nobody", 2),
        ("-n well why x.y", 2),
        ("-n well why d-000099", 4),
        ("-n well join ekka@10.0.0.2 --no-wait", 0),
        ("-n well join ekka@10.0.0.2 --timeout 300ms", 5),
        ("-n nobody-at-all status", 3),
        ("--data-dir /nowhere status", 3),
        ("--url http://127.0.0.1:1 status", 3),
        ("--url nonsense status", 2),
        ("-n well --data-dir /nowhere status", 2),
        ("status", 2),
    ];
    for (line, code) in cases {
        let ran = run(runtime.path(), line).await;
        assert_eq!(ran.code, Some(code), "`{line}`: {ran:?}");
        let silent = line.contains("health") && code != 3;
        assert_eq!(ran.err.is_empty(), code == 0 || silent, "`{line}` says why: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_agents_are_listed_and_errors_are_json_where_asked() {
    let runtime = runtime();
    let _a = Agent::serve(GivenNode::new(view()), runtime.path(), "a@127.0.0.1").await;
    let _b = Agent::serve(GivenNode::new(view()), runtime.path(), "b@127.0.0.1").await;
    let ran = run(runtime.path(), "status --json").await;
    let error: Value = serde_json::from_str(&ran.err).expect("an error as JSON");
    assert_eq!((ran.code, &error["error"]["code"]), (Some(2), &json!("ambiguous")));
    let text = error["error"]["message"].as_str().expect("words");
    assert!(text.contains("a@127.0.0.1") && text.contains("b@127.0.0.1"), "{text}");
    let ran = run(runtime.path(), "-n a why d-000099 --json").await;
    let error: Value = serde_json::from_str(&ran.err).expect("an error as JSON");
    assert_eq!((ran.code, ran.out.as_str(), &error["error"]["code"]), (Some(4), "", &json!("not_found")));
    let ran = run(runtime.path(), "--json health").await;
    let error: Value = serde_json::from_str(&ran.err).expect("an error as JSON");
    assert_eq!((ran.code, &error["error"]["code"]), (Some(2), &json!("usage")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_found_by_its_data_directory_and_not_after_its_end() {
    let runtime = runtime();
    let agent = Agent::serve(GivenNode::new(view()), runtime.path(), "a@127.0.0.1").await;
    let line = format!("members --json --data-dir {}", agent.dir.path().display());
    let ran = run(runtime.path(), &line).await;
    let members: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(members.as_array().map(Vec::len), Some(3), "{ran:?}");
    agent.shutdown.cancel();
    let gone = async { while run(runtime.path(), &line).await.code != Some(3) {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("is gone soon");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_the_person_on_call_needs() {
    let runtime = runtime();
    let _agent = Agent::serve(GivenNode::new(minority()), runtime.path(), "a@127.0.0.1").await;
    let text = run(runtime.path(), "-n a status").await.out;
    for part in [
        "ekka@10.0.0.1   up, ready for available work only   cluster ekka",
        "1 of 3 voters in reach, leader ekka@10.0.0.1; 2 needed",
        "split       MINORITY since",
        "quorum tables and locks refuse, available tables go on",
        "ekka@10.0.0.3: silent since",
        "waits       1 of 3 voters in reach",
        "alarm       clock: your clock is ahead",
        "what to do  check the machine of 10.0.0.3",
        "why         ekka why d-00001f",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour where it is no terminal: {text:?}");
    let members = run(runtime.path(), "-n a members").await.out;
    assert!(members.starts_with("NAME           STATUS"), "{members}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_follow_until_the_reader_or_the_agent_goes() {
    let runtime = runtime();
    let node = GivenNode::new(view());
    let agent = Agent::serve(node.clone(), runtime.path(), "a@127.0.0.1").await;
    let mut process = ekka(runtime.path(), "-n a events --last 1 --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let mut next = async || {
        let line = tokio::time::timeout(std::time::Duration::from_secs(10), lines.next_line()).await.expect("in time");
        serde_json::from_str::<Value>(&line.expect("reads").expect("a line")).expect("JSON")
    };
    assert_eq!(next().await["id"], "e-000002");
    node.happen(3, EventKind::LeaderChanged { from: None, to: Some(name(2)) });
    assert_eq!(next().await["type"], "leader.changed");
    agent.shutdown.cancel();
    let ended = process.wait_with_output().await.expect("ends");
    assert_eq!(ended.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let runtime = runtime();
    let node = GivenNode::new(view());
    let _agent = Agent::serve(node.clone(), runtime.path(), "a@127.0.0.1").await;
    let mut process = ekka(runtime.path(), "-n a events --last 1").stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    lines.next_line().await.expect("reads").expect("a line");
    drop(lines);
    let ended = async {
        for id in 3.. {
            node.happen(id, EventKind::NodeStopped {});
            if let Ok(status) = tokio::time::timeout(std::time::Duration::from_millis(50), process.wait()).await {
                return status.expect("ends");
            }
        }
        unreachable!("ids do not end")
    };
    let status = tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("ends soon");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_print_the_id_that_why_takes() {
    let runtime = runtime();
    let node = GivenNode::new(view());
    let _agent = Agent::serve(node.clone(), runtime.path(), "a@127.0.0.1").await;
    let ran = run(runtime.path(), "-n a stop").await;
    assert_eq!(ran.out, "done\nwhy: ekka why d-000020\n", "{ran:?}");
    let ran = run(runtime.path(), "-n a force-leave ekka@10.0.0.3 --json").await;
    assert_eq!(ran.out, "{\"text\":\"done\",\"decision\":\"d-000020\",\"cluster_id\":null}\n");
    run(runtime.path(), "-n a recover --accept-loss").await;
    run(runtime.path(), "-n a recover --plan").await;
    let given = node.commands.lock().expect("no panic elsewhere").clone();
    assert_eq!(
        given,
        [
            Command::Stop { by: "command".into(), plan: false },
            Command::ForceLeave { node: "ekka@10.0.0.3".into(), replace_with: None, alive: false, plan: false },
            Command::Recover { accept_loss: true, plan: false },
            Command::Recover { accept_loss: false, plan: true },
        ]
    );
}
