//! Multicast on one host: real agents on loopback that share a port, and strangers on their group.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::mcast::Group;
use crate::support::metrics::metric;
use crate::support::{Agent, Cluster, Figures, duration, rounds};

const FORM_LIMIT: Duration = Duration::from_secs(40);

#[test]
fn three_nodes_of_one_host_share_the_port_and_form_one_cluster() {
    let mut figures = Figures::new("formation of three nodes of one host by multicast", Duration::from_secs(6));
    for _ in 0..rounds(3, 20) {
        let mut cluster = Group::new().nodes(3);
        let (_, took) = cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn discover_works_beside_a_running_agent_of_its_host_and_before_it_starts() {
    let group = Group::new();
    let mut cluster = group.nodes(3);
    let late = cluster.agents.pop().expect("three");
    cluster.form(FORM_LIMIT);
    for agent in [&cluster.agents[0], &late] {
        let said = agent.discover().unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<_> =
            said["candidates"].as_array().into_iter().flatten().map(|row| row["name"].clone()).collect();
        for other in cluster.agents.iter().filter(|other| other.name != agent.name) {
            assert!(names.contains(&other.name.as_str().into()), "{} is not found: {said}", other.name);
        }
        assert!(names.contains(&agent.name.as_str().into()), "it does not list itself: {said}");
        assert!(said["notes"].to_string().contains(&group.addr.to_string()), "it does not say whom it asked: {said}");
    }
}

/// CPU time that a process has used.
fn cpu(agent: &Agent) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).expect("the agent runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name of the program ends so");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}

/// Memory that a process holds, in KiB.
fn memory_kib(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Waits until the node has logged that it ignores such announcements.
fn logs_ignored(cluster: &Cluster, words: &str) {
    cluster.wait(words, Duration::from_secs(80), |cluster| {
        let log = cluster.agents[0].log();
        let told = log.lines().any(|line| line.contains("announcements were ignored") && line.contains(words));
        if told { Ok(()) } else { Err("not in the log".to_owned()) }
    });
}

#[test]
fn s2_13_replayed_forged_and_cut_off_announcements_change_nothing_and_are_counted() {
    let group = Group::new();
    let stranger = group.stranger();
    let mut cluster = group.nodes(3);
    let health = format!("{}:8370", cluster.host(0));
    cluster.agents[0].set("health.listen", &health);
    cluster.start();
    let recorded = stranger.record(Duration::from_secs(6));
    assert!(recorded.len() >= 3, "only {} announcements were heard", recorded.len());
    for datagram in &recorded {
        let text = String::from_utf8_lossy(datagram).into_owned();
        assert!(!text.contains("n1@") && !text.contains("127."), "a stranger learns a name: {text}");
    }
    let id = cluster.wait("one cluster", FORM_LIMIT, Cluster::whole);

    let used: Vec<Duration> = cluster.agents.iter().map(cpu).collect();
    let held: Vec<u64> = cluster.agents.iter().map(memory_kib).collect();
    let (start, time) = (Instant::now(), duration(Duration::from_secs(8), Duration::from_secs(60)));
    let mut sent = 0u64;
    while start.elapsed() < time {
        for datagram in &recorded {
            let mut forged = datagram.clone();
            forged[usize::try_from(sent).unwrap_or(0) % datagram.len()] ^= 1;
            for bytes in [datagram.as_slice(), &datagram[..datagram.len() - 1], &forged, b"noise"] {
                stranger.say(bytes);
                sent += 1;
            }
        }
    }
    let took = start.elapsed();
    for (n, agent) in cluster.agents.iter().enumerate() {
        let share = cpu(agent).saturating_sub(used[n]).as_secs_f64() / took.as_secs_f64();
        let more = memory_kib(agent).saturating_sub(held[n]);
        println!(
            "FIGURE flood of {:.0} a second: {} used {:.1} % of a core, {more} KiB more",
            per_second(sent, took),
            agent.name,
            share * 100.0
        );
        assert!(share < 0.35, "{} used {share:.2} of a core", agent.name);
        assert!(more < 16 * 1024, "{} holds {more} KiB more", agent.name);
    }
    assert_eq!(cluster.whole(), Ok(id), "{}", cluster.report());
    for words in ["a ping heard before", "of another cookie or cluster name, forged or damaged", "cut off"] {
        logs_ignored(&cluster, words);
    }
    for reason in ["replayed", "unauthentic", "malformed"] {
        cluster.wait(reason, Duration::from_secs(80), |_| {
            let count = metric(&health, "ekka_discovery_ignored_total", &format!("reason=\"{reason}\""))?;
            if count > 0.0 { Ok(()) } else { Err("not counted".to_owned()) }
        });
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

#[test]
fn clusters_of_other_cookies_on_one_group_do_not_meet_and_say_that_they_hear_each_other() {
    let group = Group::new();
    let (mut ours, mut others) = (group.nodes(2), group.nodes(2));
    let start = Instant::now();
    ours.start();
    others.start();
    let our_id = ours.wait("one cluster", FORM_LIMIT, Cluster::whole);
    let other_id = others.wait("the other cluster", FORM_LIMIT, Cluster::whole);
    println!("both formed after {:.2?}", start.elapsed());
    assert_ne!(our_id, other_id);
    logs_ignored(&ours, "of another cookie or cluster name, forged or damaged");
    assert_eq!((ours.whole(), others.whole()), (Ok(our_id), Ok(other_id)));
}
