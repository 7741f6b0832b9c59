//! Discovery by DNS, on loopback, with a real server (dnsmasq) whose records change.
//!
//! A name on loopback that asks DNS forms alone by default, so these nodes are told to expect two.

mod support;

use std::time::{Duration, Instant};

use support::dns::{self, Dns, asks};
use support::{Agent, Cluster, Figures, poll, rounds};

const NAME: &str = "ekka.test";
const JOIN_LIMIT: Duration = Duration::from_secs(100);

/// So many nodes that ask a server of their own, none started, no record there.
fn nodes(count: u8) -> (Cluster, Dns) {
    let mut cluster = Cluster::on_loopback(count);
    let dns = Dns::start(dns::free("127.0.0.1"));
    dns::ask(&mut cluster, NAME, Some(&dns.server()));
    for agent in &mut cluster.agents {
        agent.set("cluster.expect", "2");
    }
    (cluster, dns)
}

fn hosts(cluster: &Cluster, indexes: impl IntoIterator<Item = usize>) -> Vec<String> {
    indexes.into_iter().map(|index| cluster.host(index).to_owned()).collect()
}

/// Nobody was declared down, and nobody started twice.
fn nobody_was_hurt(cluster: &Cluster) {
    assert_eq!(cluster.downs(), Ok(0), "{}", cluster.report());
    for agent in &cluster.agents {
        let starts = agent.log().matches("node.starting").count();
        assert!(starts <= 1 && !agent.log().contains("panicked"), "{}", agent.report());
    }
}

#[test]
fn three_nodes_started_at_once_form_one_cluster_by_their_records() {
    let mut figures = Figures::new("dns: formation of three nodes", Duration::from_secs(6));
    for _ in 0..rounds(3, 20) {
        let (mut cluster, dns) = nodes(3);
        dns.hosts(&[(NAME, &hosts(&cluster, 0..3))]);
        let (_, took) = cluster.form(figures.limit());
        figures.add(took);
        nobody_was_hurt(&cluster);
    }
    figures.assert_median();
}

#[test]
fn records_come_go_and_point_nowhere_and_the_cluster_stays_one() {
    let mut joined = Figures::new("dns: a fourth node joins", Duration::from_secs(5));
    let mut stale = Figures::new("dns: a new node joins beside a stale record", Duration::from_secs(5));
    for _ in 0..rounds(1, 20) {
        let (mut cluster, dns) = nodes(5);
        let mut spare = cluster.agents.split_off(3);
        dns.hosts(&[(NAME, &hosts(&cluster, 0..3))]);
        let (id, _) = cluster.form(Duration::from_secs(60));

        // One more record, one more node.
        dns.hosts(&[(NAME, &hosts(&cluster, 0..4))]);
        cluster.agents.push(spare.remove(0));
        let start = Instant::now();
        cluster.agents[3].start();
        assert_eq!(cluster.wait("the fourth joins", joined.limit(), Cluster::whole), id, "the same cluster");
        joined.add(start.elapsed());

        // A record less: nobody notices.
        dns.hosts(&[(NAME, &hosts(&cluster, 1..4))]);
        cluster.throughout("a record was removed", Duration::from_secs(3), |cluster| cluster.whole().map(drop));

        // A dead host stays listed. The new one asks it, too, and joins the others.
        nobody_was_hurt(&cluster);
        cluster.agents[2].kill();
        cluster.agents.remove(2);
        dns.hosts(&[(NAME, &hosts(&cluster, 1..5))]);
        cluster.agents.push(spare.remove(0));
        let start = Instant::now();
        cluster.agents[3].start();
        cluster.wait("the fifth joins", stale.limit(), |cluster| {
            let status = cluster.agents[3].json(&["status"])?;
            if status["cluster_id"] == id.as_str() && status["status"] == "up" {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
        stale.add(start.elapsed());
    }
    joined.assert_each();
    stale.assert_each();
}

#[test]
fn a_record_of_another_cluster_is_looked_at_and_left_alone() {
    let (mut cluster, dns) = nodes(4);
    let mut other = cluster.agents.pop().expect("four nodes");
    other.set("cluster.name", "other").set("cluster.expect", "1");
    dns.hosts(&[(NAME, &hosts(&cluster, 0..4))]);
    other.start();
    cluster.form(Duration::from_secs(60));
    cluster.throughout("two clusters of different names", Duration::from_secs(3), |cluster| cluster.whole().map(drop));
    nobody_was_hurt(&cluster);
    let found = cluster.agents[0].discover().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found["candidates"].as_array().map(Vec::len), Some(4), "{found}");
    assert!(found.to_string().contains("refused our credentials"), "{found}");
}

#[test]
fn users_13_an_answer_that_is_empty_first_and_right_later_makes_one_cluster() {
    let mut figures = Figures::new("dns: formation after the records came", Duration::from_secs(10));
    for _ in 0..rounds(1, 20) {
        let (mut cluster, dns) = nodes(3);
        // The original's t_autocluster_via_dns_laggy: the name is not known yet when the nodes start.
        cluster.start();
        for index in 0..3 {
            cluster.wait("words for what is missing", JOIN_LIMIT, |cluster| {
                let status = cluster.agents[index].json(&["status"])?.to_string();
                if status.contains("waits: 1 of 2") { Ok(()) } else { Err(status) }
            });
        }
        cluster.throughout("nobody forms alone", Duration::from_secs(6), |cluster| {
            for agent in &cluster.agents {
                let status = agent.json(&["status"])?;
                if !status["cluster_id"].is_null() {
                    return Err(status.to_string());
                }
            }
            Ok(())
        });
        dns.hosts(&[(NAME, &hosts(&cluster, 0..3))]);
        let start = Instant::now();
        cluster.wait("one cluster", figures.limit(), Cluster::whole);
        figures.add(start.elapsed());
        nobody_was_hurt(&cluster);
    }
    figures.assert_median();
}

#[test]
fn negative_answers_are_kept_for_a_second_only_whatever_the_server_says() {
    let (cluster, mut dns) = nodes(1);
    // Two hours, for whoever believes it.
    dns.configure(&["neg-ttl=7200".to_owned(), "auth-ttl=7200".to_owned()]);
    let agent = &cluster.agents[0];
    let empty = agent.discover().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(empty["candidates"].as_array().map(Vec::len), Some(0), "{empty}");
    let (mut cluster, dns) = (cluster, dns);
    cluster.agents[0].set("cluster.expect", "1").start();
    cluster.wait("it is up, alone", JOIN_LIMIT, Cluster::whole);
    let mut other = cluster.agent("x@127.0.0.1");
    asks(&mut other, &cluster.free_host(), NAME, Some(&dns.server()));
    other.set("cluster.expect", "2").start();
    let waits = poll::until(JOIN_LIMIT, || {
        let status = other.json(&["status"])?.to_string();
        if status.contains("waits:") { Ok(()) } else { Err(status) }
    });
    waits.unwrap_or_else(|seen| panic!("{seen}\n{}", other.report()));
    dns.hosts(&[(NAME, &hosts(&cluster, 0..1))]);
    let start = Instant::now();
    cluster.agents.push(other);
    cluster.wait("the other finds it", Duration::from_secs(60), Cluster::whole);
    let mut figures = Figures::new("dns: found after a negative answer", Duration::from_secs(8));
    figures.add(start.elapsed());
    figures.assert_each();
}

#[test]
fn users_35_short_answers_change_nothing() {
    const LISTED: usize = 5;
    let count = if support::figures::soak() { 15 } else { 9 };
    let mut figures = Figures::new("dns: formation by five records at a time", Duration::from_secs(20));
    let (mut cluster, mut dns) = nodes(count);
    let count = usize::from(count);
    dns.configure(&["local-ttl=1".to_owned()]);
    for agent in &mut cluster.agents {
        agent.set("cluster.expect", &(count / 2 + 1).to_string());
    }
    // The answer holds five records of the fifteen, others each time.
    let mut turn = 0;
    let mut next = |dns: &Dns, cluster: &Cluster| {
        turn += 1;
        dns.hosts(&[(NAME, &hosts(cluster, (0..LISTED).map(|n| (turn * 7 + n * 4) % count)))]);
    };
    next(&dns, &cluster);
    cluster.start();
    let start = Instant::now();
    let formed = poll::until(figures.limit(), || {
        next(&dns, &cluster);
        std::thread::sleep(Duration::from_millis(400)); // the answers' own pace, not a wait for anything
        cluster.whole()
    });
    let (id, _) = formed.unwrap_or_else(|seen| panic!("{seen}\n{}", cluster.report()));
    figures.add(start.elapsed());
    for _ in 0..rounds(6, 60) {
        next(&dns, &cluster);
        cluster.throughout("all of them, whatever five are listed", Duration::from_secs(2), |cluster| {
            let now = cluster.whole()?;
            if now == id { Ok(()) } else { Err(format!("{now} in place of {id}")) }
        });
    }
    nobody_was_hurt(&cluster);
    figures.assert_each();
}

#[test]
fn a_server_that_is_down_after_forming_is_reported_and_changes_nothing() {
    let (mut cluster, mut dns) = nodes(3);
    dns.hosts(&[(NAME, &hosts(&cluster, 0..3))]);
    let (id, _) = cluster.form(Duration::from_secs(60));
    dns.end();
    cluster.wait("discovery is reported as failing", JOIN_LIMIT, |cluster| told(&cluster.agents[0], "did not answer"));
    cluster.throughout("the cluster stays as it is", Duration::from_secs(5), |cluster| {
        let now = cluster.whole()?;
        if now == id { Ok(()) } else { Err(now) }
    });
    nobody_was_hurt(&cluster);
    dns.begin();
    cluster.wait("discovery is reported as working", JOIN_LIMIT, |cluster| {
        let events = cluster.agents[0].events()?;
        let last =
            events.iter().rev().find(|event| event["type"].as_str().is_some_and(|t| t.starts_with("discovery.")));
        match last {
            Some(event) if event["type"] != "discovery.failing" => Ok(()),
            _ => Err(format!("{last:?}")),
        }
    });
}

/// An event of this agent tells of that.
fn told(agent: &Agent, words: &str) -> Result<(), String> {
    let events = agent.events()?;
    let found = events.iter().any(|event| event["type"] == "discovery.failing" && event.to_string().contains(words));
    if found { Ok(()) } else { Err(format!("{events:?}")) }
}
