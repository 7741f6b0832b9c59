//! The majority is lost for good, and an operator's word lets the cluster go on: real processes on loopback.

use std::fs;
use std::time::Duration;

use crate::support::folder::{copy, restore};
use crate::support::{Agent, Cluster};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

fn status(agent: &Agent) -> Result<Value, String> {
    agent.json(&["status"])
}

fn is_ready(agent: &Agent) -> Result<Value, String> {
    let status = status(agent)?;
    if status["ready"] == true { Ok(status) } else { Err(format!("{}: {}", agent.name, status["reasons"])) }
}

/// A plan: its lines as one text, and why it would be refused.
fn plan(agent: &Agent, words: &[&str]) -> (String, Option<String>) {
    let answer = agent.json(words).unwrap_or_else(|error| panic!("{error}\n{}", agent.report()));
    let lines = answer["plan"].as_array().unwrap_or_else(|| panic!("no plan: {answer}"));
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    (lines.join("\n"), answer["refused"].as_str().map(str::to_owned))
}

/// A command that must fail: its exit code and what it said.
fn fails(agent: &Agent, words: &[&str]) -> (Option<i32>, String) {
    let output = agent.ekka(words);
    assert!(!output.status.success(), "{}: `{}` was done", agent.name, words.join(" "));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn done(agent: &Agent, words: &[&str]) -> Value {
    agent.json(words).unwrap_or_else(|error| panic!("{error}\n{}", agent.report()))
}

/// How often its cluster was recovered.
fn recoveries(status: &Value) -> u64 {
    status["cluster_generation"].as_u64().expect("a number") >> 32
}

/// From which token on locks would be granted after a recovery, as a plan says it.
fn tokens(text: &str) -> u64 {
    let number = text.split("fencing tokens begin at ").nth(1).unwrap_or_else(|| panic!("no tokens in {text}"));
    number.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).expect("a number")
}

/// It has run for so long that it may recover: before that it may not have met all that live.
fn is_old_enough(cluster: &Cluster, index: usize) {
    cluster.wait("old enough", LIMIT, |cluster| match plan(&cluster.agents[index], &["recover", "--plan"]).1 {
        Some(why) if why.contains("try again in") => Err(why),
        _ => Ok(()),
    });
}

/// It says that its cluster went on without it, and is in none.
fn is_outranked(agent: &Agent) -> Result<(), String> {
    let status = status(agent)?;
    let reasons = status["reasons"].as_array().cloned().unwrap_or_default();
    let said = reasons.iter().any(|reason| {
        reason["code"] == "outranked" && reason["text"].as_str().is_some_and(|t| t.contains("recovered without it"))
    });
    if said && status["ready"] == false && status["cluster_id"].is_null() { Ok(()) } else { Err(status.to_string()) }
}

fn up_names(agent: &Agent) -> Result<Vec<String>, String> {
    let members = agent.json(&["members"])?;
    let up = members.as_array().into_iter().flatten().filter(|member| member["status"] == "up");
    let mut names: Vec<String> = up.filter_map(|member| member["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

#[test]
fn two_of_three_discs_are_lost_and_one_node_goes_on_by_word() {
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(LIMIT);
    cluster.wait("ready", LIMIT, |cluster| is_ready(&cluster.agents[0]));
    let backup = tempfile::tempdir().expect("a temporary folder");
    for index in [1, 2] {
        cluster.agents[index].kill();
        copy(&cluster.agents[index].data(), &backup.path().join(index.to_string()));
        fs::remove_dir_all(cluster.agents[index].data()).expect("the folder can be removed");
    }
    let lost: Vec<String> = [1, 2].iter().map(|index| cluster.agents[*index].name.clone()).collect();
    cluster.wait("no majority", LIMIT, |cluster| {
        let status = status(&cluster.agents[0])?;
        if status["quorum"]["in_reach"] == 1 { Ok(()) } else { Err(status["quorum"].to_string()) }
    });
    is_old_enough(&cluster, 0);

    let survivor = &cluster.agents[0];
    let (code, said) = fails(survivor, &["force-leave", &lost[0]]);
    assert_eq!(code, Some(1));
    assert!(said.contains("1 of 3 voters in reach, 2 needed") && said.contains("ekka recover --plan"), "{said}");
    assert_eq!(fails(survivor, &["recover"]).0, Some(2), "neither --plan nor --accept-loss");
    let (text, refused) = plan(survivor, &["recover", "--plan"]);
    assert_eq!(refused, None, "{text}");
    for part in ["1 of 3 voters in reach, 2 needed", &lost[0], &lost[1], "heard last", "generation 1-"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let tokens_before = tokens(&text);
    assert_eq!(status(survivor).expect("it runs")["cluster_generation"], 0, "a plan changes nothing");

    let answer = done(survivor, &["recover", "--accept-loss"]);
    assert_eq!(answer["cluster_id"], id.as_str(), "{answer}");
    let now = cluster.wait("ready again", LIMIT, |cluster| is_ready(&cluster.agents[0]));
    assert_eq!((recoveries(&now), &now["quorum"]["voters"]), (1, &1.into()), "{now}");
    assert!(cluster.agents[0].events().expect("it runs").iter().any(|event| event["type"] == "cluster.recovered"));
    let (text, refused) = plan(&cluster.agents[0], &["recover", "--plan"]);
    assert!(refused.is_some_and(|why| why.contains("majority of the voters is in reach")));
    assert!(tokens(&text) > tokens_before, "tokens grow: {tokens_before}, then {}", tokens(&text));

    goes_on_after_a_crash(&mut cluster);
    let new = two_new_nodes_join(&cluster, &id);
    the_old_ones_come_back(&mut cluster, backup.path(), &id);
    drop(new);
}

/// What was recovered is on disc.
fn goes_on_after_a_crash(cluster: &mut Cluster) {
    cluster.agents[0].kill();
    cluster.agents[0].start();
    let now = cluster.wait("ready after a crash", LIMIT, |cluster| is_ready(&cluster.agents[0]));
    assert_eq!((recoveries(&now), &now["quorum"]["voters"]), (1, &1.into()), "{now}");
}

fn two_new_nodes_join(cluster: &Cluster, id: &str) -> Vec<Agent> {
    let host = cluster.free_host();
    let survivor = &cluster.agents[0].name;
    let mut new: Vec<Agent> = ["n4", "n5"].iter().map(|name| cluster.agent(&format!("{name}@{host}"))).collect();
    for agent in &mut new {
        agent.set("cluster.static.seeds", survivor);
        agent.start();
    }
    cluster.wait("three voters", LIMIT, |cluster| {
        for agent in &new {
            let status = is_ready(agent)?;
            if status["cluster_id"] != id || recoveries(&status) != 1 {
                return Err(status.to_string());
            }
        }
        let status = is_ready(&cluster.agents[0])?;
        if status["quorum"]["voters"] == 3 { Ok(()) } else { Err(status["quorum"].to_string()) }
    });
    new
}

fn the_old_ones_come_back(cluster: &mut Cluster, backup: &std::path::Path, id: &str) {
    let before = up_names(&cluster.agents[0]).expect("it runs");
    for index in [1, 2] {
        restore(&backup.join(index.to_string()), &cluster.agents[index].data());
        cluster.agents[index].start();
    }
    cluster.wait("the old ones say that they are out", LIMIT, |cluster| {
        [1, 2].iter().try_for_each(|index| is_outranked(&cluster.agents[*index]))
    });
    cluster.throughout("the cluster is not split", Duration::from_secs(3), |cluster| {
        let status = is_ready(&cluster.agents[0])?;
        let up = up_names(&cluster.agents[0])?;
        if status["cluster_id"] != id || up != before {
            return Err(format!("{status}, up: {up:?}"));
        }
        Ok(())
    });
    for index in [1, 2] {
        let log = cluster.agents[index].log();
        assert!(log.contains("recovered without it"), "{}", cluster.agents[index].report());
        let kept = fs::read_dir(cluster.agents[index].data().join("store")).expect("its store is there").count();
        assert!(kept > 0, "what only it had is kept");
    }
    // Both together would have been a majority of the old group.
    cluster.agents[0].kill();
    for index in [1, 2] {
        cluster.agents[index].kill();
        cluster.agents[index].start();
    }
    cluster.throughout("they serve nothing without the others", Duration::from_secs(5), |cluster| {
        for index in [1, 2] {
            // It may not answer in its first moment.
            if let Ok(status) = status(&cluster.agents[index])
                && (status["ready"] == true || !status["cluster_id"].is_null())
            {
                return Err(status.to_string());
            }
        }
        Ok(())
    });
    cluster.agents[0].start();
    cluster.wait("the survivor is back", LIMIT, |cluster| is_ready(&cluster.agents[0]));
    let survivor = cluster.agents[0].name.clone();
    done(&cluster.agents[1], &["join", &survivor]);
    cluster.wait("an old one is in as a new member", LIMIT, |cluster| {
        let status = is_ready(&cluster.agents[1])?;
        if status["cluster_id"] == id && recoveries(&status) == 1 { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn one_of_two_nodes_is_lost_and_the_other_goes_on_by_word() {
    let mut cluster = Cluster::on_loopback(2);
    let (id, _) = cluster.form(LIMIT);
    cluster.wait("two voters", LIMIT, |cluster| {
        let status = is_ready(&cluster.agents[0])?;
        let advice = status["advice"].to_string();
        if status["quorum"]["voters"] == 2 && advice.contains("none can be lost") { Ok(()) } else { Err(advice) }
    });
    let (_, refused) = plan(&cluster.agents[0], &["recover", "--plan"]);
    assert!(refused.is_some_and(|why| why.contains("majority of the voters is in reach")));
    let (code, said) = fails(&cluster.agents[0], &["recover", "--accept-loss"]);
    assert!(code == Some(1) && said.contains("majority of the voters is in reach"), "{said}");
    cluster.agents[1].kill();
    cluster.wait("no majority", LIMIT, |cluster| {
        let status = status(&cluster.agents[0])?;
        if status["quorum"]["in_reach"] == 1 { Ok(()) } else { Err(status["quorum"].to_string()) }
    });
    is_old_enough(&cluster, 0);
    done(&cluster.agents[0], &["recover", "--accept-loss"]);
    let now = cluster.wait("ready again", LIMIT, |cluster| is_ready(&cluster.agents[0]));
    assert_eq!((&now["cluster_id"], recoveries(&now)), (&id.into(), 1));
}

#[test]
fn of_two_that_are_left_one_goes_on_and_the_other_follows_by_itself() {
    let mut cluster = Cluster::on_loopback(5);
    let (id, _) = cluster.form(LIMIT);
    cluster.wait("five voters", LIMIT, |cluster| {
        let status = is_ready(&cluster.agents[0])?;
        if status["quorum"]["voters"] == 5 { Ok(()) } else { Err(status["quorum"].to_string()) }
    });
    for index in [2, 3, 4] {
        cluster.agents[index].kill();
    }
    cluster.wait("no majority", LIMIT, |cluster| {
        let status = status(&cluster.agents[0])?;
        if status["quorum"]["in_reach"] == 2 { Ok(()) } else { Err(status["quorum"].to_string()) }
    });
    is_old_enough(&cluster, 0);
    is_old_enough(&cluster, 1);
    // Where the other one's log is newer, that one says so and is the one to go on.
    let (text, refused) = plan(&cluster.agents[0], &["recover", "--plan"]);
    let (goes_on, follows) = match refused {
        None => (0, 1),
        Some(why) => {
            assert!(why.contains(&cluster.agents[1].name) && why.contains("run it there"), "{why}");
            (1, 0)
        }
    };
    assert!(!text.contains(&format!("given up: {}", cluster.agents[follows].name)), "{text}");
    done(&cluster.agents[goes_on], &["recover", "--accept-loss"]);
    cluster.wait("both vote again", LIMIT, |cluster| {
        for index in [0, 1] {
            let status = is_ready(&cluster.agents[index])?;
            let same = status["cluster_id"] == id.as_str() && recoveries(&status) == 1;
            if !same || status["quorum"]["voters"] != 2 {
                return Err(format!("{}: {status}", cluster.agents[index].name));
            }
        }
        Ok(())
    });
}

/// Each goes on while the other one does not run, as if they were cut from each other, and each gives up the other.
#[test]
fn of_two_that_went_on_without_each_other_one_goes_on_and_the_other_keeps_its_log() {
    let mut cluster = Cluster::on_loopback(2);
    let (id, _) = cluster.form(LIMIT);
    cluster.wait("two voters", LIMIT, |cluster| {
        let status = is_ready(&cluster.agents[0])?;
        if status["quorum"]["voters"] == 2 { Ok(()) } else { Err(status["quorum"].to_string()) }
    });
    cluster.agents[1].kill();
    goes_on_alone(&cluster, 0);
    cluster.agents[0].kill();
    cluster.agents[1].start();
    goes_on_alone(&cluster, 1);
    cluster.agents[0].start();
    let generation = |agent: &Agent| status(agent).ok().and_then(|status| status["cluster_generation"].as_u64());
    let (winner, loser) = cluster.wait("one of them is out", LIMIT, |cluster| {
        let [zero, one] = [0, 1].map(|index| generation(&cluster.agents[index]).unwrap_or_default());
        let (winner, loser) = if zero > one { (0, 1) } else { (1, 0) };
        is_outranked(&cluster.agents[loser])?;
        is_ready(&cluster.agents[winner]).map(|_| (winner, loser))
    });
    cluster.throughout("the other one goes on", Duration::from_secs(3), |cluster| {
        let status = is_ready(&cluster.agents[winner])?;
        if status["cluster_id"] == id.as_str() { is_outranked(&cluster.agents[loser]) } else { Err(status.to_string()) }
    });
    let survivor = cluster.agents[winner].name.clone();
    done(&cluster.agents[loser], &["join", &survivor]);
    cluster.wait("both are in one cluster", LIMIT, |cluster| {
        let [one, other] = [winner, loser].map(|index| is_ready(&cluster.agents[index]));
        let (one, other) = (one?, other?);
        let same = |key: &str| one[key] == other[key];
        if same("cluster_id") && same("cluster_generation") { Ok(()) } else { Err(format!("{one}\n{other}")) }
    });
}

/// It has no majority, and is recovered.
fn goes_on_alone(cluster: &Cluster, index: usize) {
    cluster.wait("no majority", LIMIT, |cluster| {
        let status = status(&cluster.agents[index])?;
        if status["quorum"]["in_reach"] == 1 { Ok(()) } else { Err(status["quorum"].to_string()) }
    });
    is_old_enough(cluster, index);
    done(&cluster.agents[index], &["recover", "--accept-loss"]);
    cluster.wait("ready alone", LIMIT, |cluster| is_ready(&cluster.agents[index]));
}

/// One machine is lost for good, and another one has lost its store: two of three are up, and one vote is left.
#[test]
fn a_lost_machine_and_a_lost_store_of_three_are_a_lost_majority() {
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(LIMIT);
    cluster.wait("ready", LIMIT, |cluster| (0..3).try_for_each(|index| is_ready(&cluster.agents[index]).map(|_| ())));
    cluster.agents[1].kill();
    cluster.agents[2].kill();
    fs::remove_dir_all(cluster.agents[2].data().join("store")).expect("the folder can be removed");
    cluster.agents[2].start();
    let emptied = cluster.agents[2].name.clone();
    is_old_enough(&cluster, 0);
    cluster.wait("it counts votes, not nodes", LIMIT, |cluster| {
        let status = status(&cluster.agents[0])?;
        let (text, refused) = plan(&cluster.agents[0], &["recover", "--plan"]);
        let says_so = text.contains(&format!("{emptied} is in reach and has another store than that which votes"));
        let found = refused.is_none() && says_so && status["quorum"]["in_reach"] == 1;
        if found { Ok(()) } else { Err(format!("{refused:?} {text} {}", status["quorum"])) }
    });
    done(&cluster.agents[0], &["recover", "--accept-loss"]);
    cluster.wait("both vote", LIMIT, |cluster| {
        for index in [0, 2] {
            let status = is_ready(&cluster.agents[index])?;
            if status["cluster_id"] != id.as_str() || status["quorum"]["voters"] != 2 {
                return Err(format!("{}: {status}", cluster.agents[index].name));
            }
        }
        Ok(())
    });
}
