//! A disc that fills up: the node says so, is not ready, leads nothing, goes on as a voter, and is well again by itself.
//! Real processes; the disc is a small one in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::ask::{ceiling, get, settled};
use crate::support::load::{Load, Mix};
use crate::support::metrics::{get as fetch, metric};
use crate::support::rows::post;
use crate::support::{self, Cluster, Figures, history};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// A file system in memory, taken away again.
struct Disc(PathBuf);

impl Disc {
    fn on(path: PathBuf, size: u64) -> Self {
        std::fs::create_dir_all(&path).expect("a folder can be made");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "ekka-test"])
            .arg(&path));
        Self(path)
    }

    fn free(&self) -> u64 {
        let text = run(Command::new("df").args(["--output=avail", "-B1"]).arg(&self.0));
        text.lines().last().and_then(|line| line.trim().parse().ok()).expect("df tells a number")
    }

    /// Takes up room until so much is left.
    fn leave(&self, bytes: u64) {
        let other = self.0.join("of-somebody-else");
        let has = std::fs::metadata(&other).map_or(0, |found| found.len());
        let size = has + self.free().checked_sub(bytes).expect("there is more than that");
        run(Command::new("fallocate").args(["-l", &size.to_string()]).arg(&other));
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("of-somebody-else")).expect("it is there");
    }
}

impl Drop for Disc {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program is there");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether an alarm is on, in the words of `ekka status --json`.
fn alarm(data: &Path) -> Result<bool, String> {
    let status = get(data, "/v1/status")?;
    let alarms = status["alarms"].as_array().ok_or("no alarms in the status")?;
    Ok(alarms.iter().any(|alarm| alarm["code"] == "disc_full"))
}

/// How often a node told of an event of this type.
fn told(cluster: &Cluster, index: usize, kind: &str) -> usize {
    let events = cluster.agents[index].events().unwrap_or_else(|error| panic!("{error}"));
    events.iter().filter(|event| event["type"] == kind).count()
}

#[test]
fn a_node_whose_disc_fills_up_leads_nothing_and_loses_nothing_and_is_well_again_by_itself() {
    let mut resigned = Figures::new("15 MiB left until it leads no group", Duration::from_secs(10));
    let mut cluster = Cluster::on_loopback(3);
    let health: Vec<String> = (0..3).map(|index| format!("{}:8370", cluster.host(index))).collect();
    for (agent, health) in cluster.agents.iter_mut().zip(&health) {
        agent.set("health.listen", health).set("storage.reserve", "64MB");
    }
    let discs: Vec<Disc> = cluster.agents.iter().map(|agent| Disc::on(agent.data(), 288 * MIB)).collect();
    cluster.start();
    cluster.wait("all are one, and vote", LIMIT, |cluster| settled(cluster, 3));
    let leader = cluster.wait("one leads", LIMIT, |_| {
        let leads = |at: &String| metric(at, "ekka_raft_leads", "durable").is_ok_and(|leads| leads > 0.5);
        health.iter().position(leads).ok_or_else(|| "none leads".to_owned())
    });
    let (data, health) = (cluster.agents[leader].data(), &health[leader]);
    let mix = Mix { takers: 1, readers: 1, pause: Duration::from_millis(20), stale: false };
    let load = Load::begin(cluster.agents.iter().map(support::Agent::data), mix);

    discs[leader].leave(50 * MIB);
    cluster.wait("it says that its disc is full, and is not ready", LIMIT, |_| {
        let answer = fetch(health, "/readyz")?;
        let said = answer.starts_with("HTTP/1.1 503") && answer.contains("disc_full");
        if said && alarm(&data)? { Ok(()) } else { Err(answer) }
    });
    assert!(metric(health, "ekka_disk_alarm", "").expect("a metric") > 0.5);
    assert_eq!(told(&cluster, leader, "disc.full"), 1);

    let began = std::time::Instant::now();
    discs[leader].leave(15 * MIB);
    cluster.wait("it leads no group", LIMIT, |_| {
        let leads = metric(health, "ekka_raft_leads", "")?;
        if leads < 0.5 { Ok(()) } else { Err(format!("it leads {leads}")) }
    });
    resigned.add(began.elapsed());
    // Its log goes on: at first in what is left, then in the room of the ballast.
    discs[leader].leave(2 * MIB);
    let before = ceiling(&data).unwrap_or_else(|error| panic!("{error}"));
    cluster.wait("it goes on as a voter and serves reads", LIMIT, |_| {
        let now = ceiling(&data)?;
        if now > before + 100 { Ok(()) } else { Err(now.to_string()) }
    });
    assert!(alarm(&data).expect("a status"));

    discs[leader].clear();
    cluster.wait("it is well again", LIMIT, |_| {
        let answer = fetch(health, "/readyz")?;
        if answer.starts_with("HTTP/1.1 200") && !alarm(&data)? { Ok(()) } else { Err(answer) }
    });
    assert_eq!((told(&cluster, leader, "disc.full"), told(&cluster, leader, "disc.ok")), (1, 1));
    let ops = load.end();
    history::check(&ops).unwrap_or_else(|found| panic!("{found}\n{}", cluster.report()));
    resigned.assert_each();
}

/// A write to the table, with how many copies it was acknowledged.
fn copies(data: &Path, ack: &str) -> Result<u64, String> {
    let answer = post(data, "/v1/tables/kept/put", &json!({"key": "k", "value": 1, "ack": ack}))?;
    answer["copies"].as_u64().ok_or_else(|| answer.to_string())
}

#[test]
fn peers_count_no_copy_on_a_disc_without_room_until_it_has_room_again() {
    let mut cluster = Cluster::on_loopback(3);
    for agent in &mut cluster.agents {
        agent.set("storage.reserve", "64MB");
    }
    let disc = Disc::on(cluster.agents[2].data(), 288 * MIB);
    cluster.start();
    cluster.wait("all are one, and vote", LIMIT, |cluster| settled(cluster, 3));
    let (writer, full) = (cluster.agents[0].data(), cluster.agents[2].data());
    let table = json!({"name": "kept", "storage": "disc"});
    cluster.wait("the table is made", LIMIT, |_| post(&writer, "/v1/tables", &table));
    let has = |wanted: u64| {
        let writer = writer.clone();
        move |_: &Cluster| match copies(&writer, "all")? {
            copies if copies == wanted => Ok(()),
            copies => Err(format!("{copies} copies")),
        }
    };
    cluster.wait("a write to all has three copies", LIMIT, has(3));
    disc.leave(50 * MIB);
    cluster.wait("the alarm is on", LIMIT, |_| if alarm(&full)? { Ok(()) } else { Err("no alarm".into()) });
    cluster.wait("a write to all is acknowledged by those that have room", LIMIT, has(2));
    let refused = copies(&full, "local").expect_err("there is no room");
    assert!(refused.contains("507") && refused.contains("disc_full"), "{refused}");
    disc.clear();
    cluster.wait("it counts again by itself", LIMIT, has(3));
    assert!(!alarm(&full).expect("a status"));
}
