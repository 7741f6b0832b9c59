//! A dead voter is replaced by a node that is named, in one change: real processes on loopback.

use std::time::Duration;

use crate::support::{Agent, Cluster};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

fn plan(agent: &Agent, words: &[&str]) -> (String, Option<String>) {
    let answer = agent.json(words).unwrap_or_else(|error| panic!("{error}\n{}", agent.report()));
    let lines: Vec<&str> = answer["plan"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    (lines.join("\n"), answer["refused"].as_str().map(str::to_owned))
}

fn refused(agent: &Agent, words: &[&str], part: &str) {
    let output = agent.ekka(words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(part), "{}: `{part}` is not in {said}", words.join(" "));
}

/// EKKA_SPEC 10, row 30: the one that is dead for good is forced out, beside a new one of another name.
#[test]
fn a_dead_voter_is_replaced_by_the_named_node_in_one_change() {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(LIMIT);
    let names: Vec<String> = cluster.agents.iter().map(|agent| agent.name.clone()).collect();
    cluster.agents[2].kill();
    let mut fourth = cluster.agent(&format!("n4@{}", cluster.free_host()));
    fourth.set("cluster.static.seeds", &names[0]);
    fourth.start();
    cluster.wait("a fourth is in, and does not vote beside three", LIMIT, |cluster| {
        let (status, row) = (fourth.json(&["status"])?, cluster.agents[0].row(&fourth.name)?);
        if status["ready"] == true && row["voter"] == false { Ok(()) } else { Err(format!("{status} {row}")) }
    });
    let (old, new) = (names[2].clone(), fourth.name.clone());
    let operator = &cluster.agents[0];
    cluster.wait("seen as down", LIMIT, |cluster| {
        let row = cluster.agents[0].row(&names[2])?;
        if row["status"] == "down" { Ok(()) } else { Err(row.to_string()) }
    });
    refused(operator, &["force-leave", &old, "--replace-with", "n9@10.9.9.9"], "no member is `n9@10.9.9.9`");
    refused(operator, &["force-leave", &old, "--replace-with", &old], "is the one that is to go");
    refused(operator, &["force-leave", &old, "--replace-with", &names[1]], "votes already");
    refused(operator, &["force-leave", &names[1], "--replace-with", &new], "is up: use `ekka leave` there");

    let (text, why) = plan(operator, &["force-leave", &old, "--replace-with", &new, "--plan"]);
    assert_eq!(why, None, "{text}");
    for part in ["waits until", &new, &format!("{new} votes in place of {old}"), "can be lost"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let output = operator.ekka(&["force-leave", &old, "--replace-with", &new]);
    assert!(output.status.success(), "{output:?}\n{}", cluster.report());
    cluster.wait("the vote has moved", LIMIT, |cluster| {
        let (row, status) = (cluster.agents[0].row(&new)?, cluster.agents[0].json(&["status"])?);
        let members = cluster.agents[0].json(&["members"])?;
        let gone = members.as_array().into_iter().flatten().all(|member| member["name"] != names[2].as_str());
        if row["voter"] == true && gone && status["quorum"]["voters"] == 3 {
            Ok(())
        } else {
            Err(format!("{row} {}", status["quorum"]))
        }
    });
}

#[test]
fn plans_of_leave_and_join_say_who_votes_then() {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(LIMIT);
    let (text, why) = plan(&cluster.agents[1], &["leave", "--plan"]);
    assert_eq!(why, None, "{text}");
    for part in ["leaves for good; 2 members stay", "now 3 vote:", "then 2 vote:", "none can be lost"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let mut fourth = cluster.agent(&format!("n4@{}", cluster.free_host()));
    fourth.set("cluster.discovery", "manual");
    fourth.start();
    let target = cluster.agents[0].name.clone();
    let text = cluster.wait("it answers", LIMIT, |_| {
        fourth.json(&["join", &target, "--plan"]).map(|answer| answer["plan"].to_string())
    });
    assert!(text.contains("goes into the cluster of"), "{text}");
    assert!(cluster.agents[0].row(&fourth.name).is_err(), "a plan joins nobody");
}
