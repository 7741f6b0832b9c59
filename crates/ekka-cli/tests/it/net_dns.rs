//! Discovery by DNS, on loopback, with a real server (dnsmasq) whose records change.
//!
//! A name on loopback that asks DNS forms alone by default, so these nodes are told to expect two.

use std::time::{Duration, Instant};

use crate::support::dns::{self, Dns, asks};
use crate::support::dns_responder::{Responder, Way};
use crate::support::{self, Agent, Cluster, Figures, poll, rounds};

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
        let starts = agent.events().map(|all| all.iter().filter(|event| event["type"] == "node.starting").count());
        let log = agent.log();
        let panic: Vec<&str> = log.lines().skip_while(|line| !line.contains("panicked")).take(30).collect();
        assert!(panic.is_empty(), "{}\n{}", agent.name, panic.join("\n"));
        assert!(starts.is_ok_and(|count| count <= 1), "{}", agent.report());
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
fn a_record_that_comes_after_a_negative_answer_is_found_at_the_next_question() {
    let (mut cluster, dns) = nodes(1);
    let empty = cluster.agents[0].discover().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(empty["candidates"].as_array().map(Vec::len), Some(0), "{empty}");
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
    let mut changed = start;
    let formed = poll::until(figures.limit(), || {
        if changed.elapsed() >= Duration::from_millis(400) {
            next(&dns, &cluster);
            changed = Instant::now();
        }
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

/// What `ekka discover` says of a server that answers in this way, and how long that took.
fn discovered(way: &Way) -> (serde_json::Value, Duration, Responder) {
    let server = Responder::start(way);
    let cluster = Cluster::on_loopback(1);
    let mut agent = cluster.agent("x@127.0.0.1");
    asks(&mut agent, cluster.host(0), NAME, Some(&server.address.to_string()));
    let start = Instant::now();
    let found = agent.discover().unwrap_or_else(|error| panic!("{way:?}: {error}"));
    (found, start.elapsed(), server)
}

#[test]
fn each_failure_of_a_server_has_its_own_words_and_names_server_name_and_type() {
    for (way, words) in [
        (Way::Code(2), "answered SERVFAIL"),
        (Way::Code(5), "answered REFUSED"),
        (Way::Code(4), "code 4"),
        (Way::Silence, "did not answer within 2 s"),
        (Way::Garbage, "did not answer within 2 s"),
        (Way::TruncatedForEver, "TCP"),
    ] {
        let (found, took, server) = discovered(&way);
        let said = found["failed"][0]["error"].as_str().unwrap_or_else(|| panic!("{way:?}: {found}"));
        println!("{way:?}: {took:.2?}: {said}");
        for part in [words, "no answer for A records of ekka.test.", &server.address.to_string()] {
            assert!(said.contains(part), "{way:?}: no `{part}` in {said}");
        }
        assert!(took < Duration::from_secs(8), "{way:?}: {took:?}");
        assert!(server.questions() > 0, "{way:?}");
    }
}

#[test]
fn no_such_name_and_no_such_record_are_answers_in_which_nobody_is() {
    for way in [Way::Code(3), Way::NoData] {
        let (found, _, _) = discovered(&way);
        assert_eq!(found["candidates"].as_array().map(Vec::len), Some(0), "{found}");
        assert_eq!(found["failed"].as_array().map(Vec::len), Some(0), "{found}");
    }
}

#[test]
fn an_answer_too_long_for_udp_comes_over_tcp() {
    let records: Vec<Vec<u8>> = (1..=100).map(|n| vec![127, 9, 9, n]).collect();
    let (found, _, _) = discovered(&Way::Truncated(records));
    assert_eq!(found["candidates"].as_array().map(Vec::len), Some(100), "{found}");
}

#[test]
fn a_server_from_before_edns_is_understood() {
    let (found, _, _) = discovered(&Way::BeforeEdns(vec![vec![127, 9, 9, 1]]));
    assert_eq!(found["candidates"][0]["name"], "ekka@127.9.9.1", "{found}");
}

#[test]
fn fifteen_services_with_long_names_and_ports_of_their_own_are_listed_in_their_order() {
    let cluster = Cluster::on_loopback(1);
    let mut dns = Dns::start(dns::free("127.0.0.1"));
    let long = "a-name-as-long-as-those-that-orchestrators-make-up.in-a-zone-with-a-long-name";
    // The first has the weakest priority.
    let line = |n: u16| format!("srv-host=_ekka._tcp.test,node-{n:02}.{long}.invalid,{},{},7", 4370 + n % 2, 100 - n);
    dns.configure(&(0..15).map(line).collect::<Vec<_>>());
    let mut agent = cluster.agent("x@127.0.0.1");
    asks(&mut agent, "10.255.255.1", "_ekka._tcp.test", Some(&dns.server()));
    agent.set("cluster.dns.type", "srv").set("node.cookie_weak", "allow");
    let found = agent.discover().unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = found["candidates"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["name"].as_str().expect("a name"))
        .collect();
    let expected: Vec<String> = (0..15)
        .rev()
        .map(|n| {
            let port = if n % 2 == 0 { "" } else { ":4371" };
            format!("ekka@node-{n:02}.{long}.invalid{port}")
        })
        .collect();
    assert_eq!(names, expected, "{found}");
}
