//! Those who do not belong: other cookies, other names, garbage. Refused, counted, in words; the cluster goes on.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{self, Agent, Cluster, process, rounds};

const LIMIT: Duration = Duration::from_secs(20);

/// What 10,000 strangers may leave behind in memory.
const MEMORY_LEFT_MAX: u64 = 30 * 1024 * 1024;

const HEALTH_PORT: u16 = 8370;

/// A cluster whose nodes show their metrics.
fn formed() -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    for index in 0..3 {
        let listen = format!("{}:{HEALTH_PORT}", cluster.host(index));
        cluster.agents[index].set("health.listen", &listen);
    }
    cluster.form(LIMIT);
    cluster
}

/// Sum of a metric over all label sets that hold the text.
fn metric(cluster: &Cluster, index: usize, name: &str, label: &str) -> Result<f64, String> {
    let address = format!("{}:{HEALTH_PORT}", cluster.host(index));
    support::metrics::metric(&address, name, label)
}

/// A stranger is refused, counted at the cluster, told what may differ, and nothing else happens.
fn is_refused(cluster: &Cluster, mut stranger: Agent) {
    let id = cluster.status(0, "cluster_id");
    stranger.set("cluster.static.seeds", &cluster.seed_list());
    stranger.start();
    cluster.wait("the stranger is told what may differ", LIMIT, |_| {
        let log = stranger.log();
        let words = ["node.cookie", "cluster.name", "cluster.tls"];
        if words.iter().all(|word| log.contains(word)) { Ok(()) } else { Err(stranger.report()) }
    });
    cluster.wait("refusals are counted", LIMIT, |cluster| {
        let counts = (0..3).map(|index| metric(cluster, index, "ekka_handshake_refused_total", "credentials"));
        let total: f64 = counts.collect::<Result<Vec<f64>, String>>()?.iter().sum();
        if total > 0.0 { Ok(()) } else { Err("none is counted".to_owned()) }
    });
    for agent in &cluster.agents {
        assert!(!agent.json(&["members"]).unwrap_or_default().to_string().contains(&stranger.name));
    }
    assert_eq!(cluster.whole().as_deref(), Ok(id.as_str()), "{}", cluster.report());
}

#[test]
fn another_cookie_is_refused_counted_and_told_what_may_differ() {
    let cluster = formed();
    let mut stranger = cluster.agent(&format!("n9@{}", cluster.free_host()));
    stranger.set("node.cookie", &"another-".repeat(5));
    is_refused(&cluster, stranger);
}

#[test]
fn another_cluster_name_is_refused_counted_and_told_what_may_differ() {
    let cluster = formed();
    let mut stranger = cluster.agent(&format!("n9@{}", cluster.free_host()));
    stranger.set("cluster.name", "another");
    is_refused(&cluster, stranger);
}

#[test]
fn without_tls_a_node_is_refused_counted_and_the_cluster_goes_on() {
    let cluster = formed();
    let mut stranger = cluster.agent(&format!("n9@{}", cluster.free_host()));
    stranger.set("cluster.static.seeds", &cluster.seed_list()).set("cluster.tls", "off");
    stranger.start();
    cluster.wait("refusals are counted", LIMIT, |cluster| {
        let counts = (0..3).map(|index| metric(cluster, index, "ekka_handshake_refused_total", ""));
        let total: f64 = counts.collect::<Result<Vec<f64>, String>>()?.iter().sum();
        if total > 0.0 { Ok(()) } else { Err("none is counted".to_owned()) }
    });
    assert!(cluster.whole().is_ok(), "{}", cluster.report());
}

/// Opens one connection of a kind, and gives it back where it is to stay open.
fn disturb(address: SocketAddr, kind: u32) -> Option<TcpStream> {
    // A refused or reset connection is what a stranger should expect.
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    match kind % 4 {
        0 => None,
        1 => {
            let garbage: Vec<u8> = (0..200u32).map(|n| n.wrapping_mul(kind | 1).to_le_bytes()[0]).collect();
            let _ = stream.write_all(&garbage);
            None
        }
        // The length of a TLS record, and of any frame, at its largest.
        2 => {
            let _ = stream.write_all(&[0x16, 0x03, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff]);
            Some(stream)
        }
        _ => Some(stream),
    }
}

#[test]
fn ten_thousand_strange_connections_leave_memory_and_descriptors_where_they_were() {
    const OPEN_MAX: usize = 200;
    let cluster = formed();
    let address: SocketAddr = format!("{}:4371", cluster.host(0)).parse().expect("an address");
    let pid = cluster.agents[0].pid();
    let downs = cluster.downs().unwrap_or_else(|error| panic!("{error}"));
    let (memory, descriptors) = (process::resident(pid), process::descriptors(pid));
    let mut open = std::collections::VecDeque::new();
    let mut most = descriptors;
    // Each round is 10,000 connections, in CI too: they take seconds.
    for kind in 0..rounds(1, 10) * 10_000 {
        open.extend(disturb(address, kind));
        if open.len() > OPEN_MAX {
            open.pop_front();
        }
        if kind % 500 == 0 {
            most = most.max(process::descriptors(pid));
        }
    }
    drop(open);
    let left = cluster.wait("descriptors are back", Duration::from_secs(30), |_| {
        let now = process::descriptors(pid);
        // One is the margin for a command that is being answered.
        if now <= descriptors + 1 { Ok(now) } else { Err(format!("{now} open, {descriptors} before")) }
    });
    let grown = process::resident(pid).saturating_sub(memory);
    println!(
        "FIGURE strangers: memory +{} KiB, descriptors {descriptors} before, {most} at most, {left} after",
        grown / 1024
    );
    assert!(grown <= MEMORY_LEFT_MAX, "{grown} bytes more than before");
    assert_eq!(cluster.downs().unwrap_or_else(|error| panic!("{error}")), downs, "members kept their links");
    assert!(cluster.whole().is_ok(), "{}", cluster.report());
}
