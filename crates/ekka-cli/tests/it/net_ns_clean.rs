//! Autoclean over a network that is cut: section 10; S1-10, S2-3; users' threads 1, 4, 7 (emqx#5367, #11157, #1720); rows
//! 4, 5 and 34 of what hurt the forebears.

use std::time::{Duration, Instant};

use crate::support::cluster::STOP_LIMIT;
use crate::support::rows::{make, post, rows};
use crate::support::{Cluster, Figures, Netns, netns, poll};
use serde_json::{Value, json};

const FORM_LIMIT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(60);
/// `cluster.autoclean` of these nodes. It must be longer than `cluster.gone_after`, and a test has not all day.
const CLEAN: Duration = Duration::from_secs(20);
/// How long after that a loaded machine may take: detection, a look, an entry for the vote and one for the member.
const CLEANED: Duration = Duration::from_secs(90);
const BACK: Duration = Duration::from_secs(90);
const TABLE: &str = "users";

/// Three nodes on hosts of their own.
fn nodes(network: &Netns, autoclean: &str) -> Cluster {
    let mut cluster = Cluster::within(network, network.hosts());
    for agent in &mut cluster.agents {
        agent.set("cluster.gone_after", "10s").set("cluster.autoclean", autoclean);
    }
    cluster
}

/// How many members a node lists, and whether that one is among them.
fn listed(cluster: &Cluster, index: usize, name: &str) -> Result<(usize, bool), String> {
    let members = cluster.agents[index].json(&["members"])?;
    let members = members.as_array().ok_or("`members --json` is no array")?;
    Ok((members.len(), members.iter().any(|member| member["name"] == name)))
}

fn forgotten(cluster: &Cluster, index: usize) -> Result<(), String> {
    let name = &cluster.agents[index].name;
    (0..3).filter(|other| *other != index).try_for_each(|other| match listed(cluster, other, name)? {
        (2, false) => Ok(()),
        seen => Err(format!("{} lists {seen:?}", cluster.agents[other].name)),
    })
}

fn voters(cluster: &Cluster, wanted: u64) -> Result<(), String> {
    cluster.agents.iter().filter(|agent| agent.runs()).try_for_each(|agent| {
        let quorum = agent.json(&["status"])?["quorum"].clone();
        if quorum["voters"].as_u64() == Some(wanted) && quorum["in_reach"].as_u64() == Some(wanted) {
            Ok(())
        } else {
            Err(format!("{}: {quorum}", agent.name))
        }
    })
}

/// What a node says of the cleaning of that member: the event, and the record that `ekka why` shows for it.
fn why(cluster: &Cluster, index: usize, name: &str) -> Result<(Value, String), String> {
    let agent = &cluster.agents[index];
    let events = agent.events()?;
    let is =
        |event: &&Value| event["type"] == "member.removed" && event["cause"] == "autoclean" && event["name"] == name;
    let event = events.iter().find(is).ok_or_else(|| format!("{} did not say that {name} was cleaned", agent.name))?;
    let decision = event["decision"].as_str().ok_or_else(|| format!("no decision: {event}"))?;
    let output = agent.ekka(&["why", decision]);
    Ok((event.clone(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn change(cluster: &Cluster, index: usize, what: &str, body: &Value) {
    let path = format!("/v1/tables/{TABLE}/{what}");
    cluster.wait(what, SOON, |cluster| post(&cluster.agents[index].data(), &path, body));
}

/// SCHEDULES S1-10, S2-3; USERS 1 and 7; EKKA_SPEC 10, rows 4 and 5: cut off past the limit, cleaned by the majority alone,
/// back as new by itself, with what it wrote.
#[test]
fn who_is_cut_off_past_the_limit_is_cleaned_and_comes_back_by_itself_with_its_writes() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut cluster = nodes(&network, "20s");
    let mut cleaned = Figures::new("cut until it is cleaned, with a limit of 20 s", CLEAN + CLEANED);
    let mut back = Figures::new("repair until it is up for all", BACK);
    let (id, _) = cluster.form(FORM_LIMIT);
    make(&cluster, &json!({"name": TABLE}), SOON);
    change(&cluster, 0, "put", &json!({"key": "doomed", "value": 1, "ack": "all"}));
    change(&cluster, 0, "put", &json!({"key": "stays", "value": 2, "ack": "all"}));
    let (victim, name) = (2, cluster.agents[2].name.clone());
    let before = cluster.agents[victim].json(&["status"]).expect("a status");

    network.cut(victim);
    let cut = Instant::now();
    cluster.wait("the others see it down", SOON, |cluster| {
        (0..2).try_for_each(|other| match cluster.agents[other].row(&name)?["status"].as_str() {
            Some("down") => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
    });
    change(&cluster, 0, "delete", &json!({"key": "doomed"}));
    // Of two versions of one millisecond either may be the later one.
    poll::pace(Duration::from_millis(20));
    change(&cluster, victim, "put", &json!({"key": "unseen", "value": 3, "ack": "local"}));

    cluster.wait("it is cleaned", CLEAN + CLEANED, |cluster| forgotten(cluster, victim));
    cleaned.add(cut.elapsed());
    assert!(cut.elapsed() >= CLEAN, "not before its time: {:?}", cut.elapsed());
    for other in 0..2 {
        let (event, words) = cluster.wait("it is told why", SOON, |cluster| why(cluster, other, &name));
        println!("{event}\n{words}");
        assert!(words.contains("section 10, autoclean"), "{words}");
    }
    cluster.wait("two vote", SOON, |cluster| {
        (0..2).try_for_each(|other| {
            let quorum = cluster.agents[other].json(&["status"])?["quorum"].clone();
            if quorum["voters"] == 2 && quorum["in_reach"] == 2 { Ok(()) } else { Err(quorum.to_string()) }
        })
    });
    // S2-3: whoever is alone has counted as long as they, and forgets nobody.
    cluster.throughout("the minority cleans nobody", CLEAN + Duration::from_secs(5), |cluster| {
        match listed(cluster, victim, &name)? {
            (3, true) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    });

    network.repair();
    let repaired = Instant::now();
    let again = cluster.wait("all are up", BACK, Cluster::whole);
    back.add(repaired.elapsed());
    assert_eq!(again, id, "the same cluster");
    let after = cluster.agents[victim].json(&["status"]).expect("a status");
    println!("{} -> {}", before["guid"], after["guid"]);
    assert_ne!(before["guid"], after["guid"], "another start");
    assert_eq!(before["node_id"], after["node_id"], "the same node");
    let (_, words) = cluster.wait("it says so itself", SOON, |cluster| why(cluster, victim, &name));
    assert!(words.contains("comes back by itself"), "{words}");
    let wanted = [("stays".to_owned(), json!(2)), ("unseen".to_owned(), json!(3))].into();
    cluster.wait("its write is everywhere, and what was deleted stays so", SOON, |cluster| {
        cluster.agents.iter().try_for_each(|agent| {
            let held = rows(&agent.data(), TABLE)?;
            if held == wanted { Ok(()) } else { Err(format!("{}: {held:?}", agent.name)) }
        })
    });
    cluster.wait("three vote", SOON, |cluster| voters(cluster, 3));
    change(&cluster, victim, "put", &json!({"key": "after", "value": 4, "ack": "all"}));
    cleaned.assert_each();
    back.assert_each();
}

/// EKKA_SPEC 10, row 34 (emqx#16544): switched on by `ekka reload` it is in effect; USERS 7: who was stopped and cleaned is back once it is
/// started, without an operator's word.
#[test]
fn a_limit_that_is_reloaded_cleans_a_stopped_node_which_comes_back_once_it_is_started() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut cluster = nodes(&network, "off");
    let mut back = Figures::new("start until it is up for all", BACK);
    let (id, _) = cluster.form(FORM_LIMIT);
    let name = cluster.agents[2].name.clone();
    cluster.agents[2].stop(STOP_LIMIT);
    cluster.throughout("off cleans nobody", CLEAN, |cluster| match listed(cluster, 0, &name)? {
        (3, true) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    for agent in &mut cluster.agents[..2] {
        agent.set("cluster.autoclean", "15s");
        let report = agent.reload().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report["changed"], json!(["cluster.autoclean"]), "{report}");
    }
    // It was down for longer already, in the eyes of the one that leads.
    cluster.wait("it is cleaned", SOON, |cluster| forgotten(cluster, 2));
    cluster.wait("it is told why", SOON, |cluster| why(cluster, 0, &name));
    let start = Instant::now();
    cluster.agents[2].start();
    let again = cluster.wait("all are up", BACK, Cluster::whole);
    back.add(start.elapsed());
    assert_eq!(again, id, "the same cluster");
    cluster.wait("three vote", SOON, |cluster| voters(cluster, 3));
    back.assert_each();
}

/// USERS 4 (emqx#11157): of two nodes none is cleaned, however long, and each is a member once they meet again.
#[test]
fn two_nodes_clean_nobody() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(2);
    let mut cluster = nodes(&network, "11s");
    let (id, _) = cluster.form(FORM_LIMIT);
    network.cut(1);
    cluster.throughout("both list both", Duration::from_secs(40), |cluster| {
        (0..2).try_for_each(|index| match listed(cluster, index, &cluster.agents[1 - index].name)? {
            (2, true) => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
    });
    network.repair();
    let again = cluster.wait("both are up", BACK, Cluster::whole);
    assert_eq!(again, id, "the same cluster");
}
