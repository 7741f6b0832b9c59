//! A cluster that grows and shrinks under load, as real processes on loopback: its voters are killed in turn, one of them
//! loses its log, and nothing that was acknowledged is lost.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::support::ask::{ceiling, get, others_see, settled};
use crate::support::history::{Counts, check, longest_gap};
use crate::support::load::{Load, Mix};
use crate::support::{Agent, Cluster, Figures, rounds};

/// The promise: with a majority up there is a leader again within this time.
const LEADERLESS: Duration = Duration::from_secs(5);
/// A phase that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(90);
/// The sizes that the cluster goes through.
const SIZES: [u8; 5] = [1, 3, 5, 3, 1];

/// Commits all the time, and processors left for the nodes.
const MIX: Mix = Mix { takers: 2, readers: 0, pause: Duration::from_millis(60), stale: false };

type Span = (Duration, Duration);

/// All see all of them up, and all of them vote.
fn all_vote(cluster: &Cluster) -> Result<String, String> {
    settled(cluster, cluster.agents.len())
}

/// A load on all nodes of a cluster of one, and what is known of the times in which nobody could commit.
struct Growth {
    cluster: Cluster,
    spare: Vec<Agent>,
    load: Load,
    alone_and_down: Vec<Span>,
}

impl Growth {
    fn begin() -> Self {
        let mut cluster = Cluster::on_loopback(*SIZES.iter().max().expect("there are sizes"));
        // Who is not a member yet finds the first node, which begins alone.
        let first = cluster.agents[0].name.clone();
        cluster.seeds(&[first]);
        cluster.agents[0].set("cluster.expect", "1");
        let spare = cluster.agents.split_off(1);
        cluster.start();
        cluster.wait("the first node votes", LIMIT, all_vote);
        let load = Load::begin([cluster.agents[0].data()], MIX);
        Self { cluster, spare, load, alone_and_down: Vec::new() }
    }

    fn become_size(&mut self, size: usize) {
        while self.cluster.agents.len() < size {
            let mut agent = self.spare.remove(0);
            agent.start();
            self.load.also_at(&agent.data(), MIX);
            self.cluster.agents.push(agent);
            self.cluster.wait("a node has joined, and votes where it should", LIMIT, joined);
        }
        while self.cluster.agents.len() > size {
            let last = self.cluster.agents.len() - 1;
            // The one that leads, where it may leave: the hardest one to do without. The first one stays.
            let leaves = leader(&self.cluster).filter(|index| *index > 0).unwrap_or(last);
            let mut agent = self.cluster.agents.remove(leaves);
            let output = agent.ekka(&["leave"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            agent.kill();
            self.cluster.wait("a node has left, and votes no more", LIMIT, joined);
        }
        self.cluster.wait("all vote", LIMIT, all_vote);
    }

    fn kill_each(&mut self) {
        for index in 0..self.cluster.agents.len() {
            let from = self.load.now();
            self.cluster.agents[index].kill();
            if self.cluster.agents.len() > 1 {
                self.cluster.wait("the others see it down", LIMIT, |cluster| others_see(cluster, index, "down"));
            }
            self.cluster.agents[index].start();
            self.cluster.wait("it is up again, and votes", LIMIT, all_vote);
            if self.cluster.agents.len() == 1 {
                self.alone_and_down.push((from, self.load.now()));
            }
        }
    }

    /// Ends the load: what was acknowledged is there on every node.
    fn end(self, leaderless: &mut Figures) -> Counts {
        let (cluster, until) = (self.cluster, self.load.now());
        let ops = self.load.end();
        let counts = check(&ops).unwrap_or_else(|found| panic!("{found}\n{}", cluster.report()));
        for agent in &cluster.agents {
            let seen = ceiling(&agent.data()).unwrap_or_else(|error| panic!("{error}\n{}", agent.report()));
            assert!(seen >= counts.ceiling, "{} reads {seen} after {counts:?}", agent.name);
        }
        let (gap, at) = longest_gap(&ops, (Duration::ZERO, until), &self.alone_and_down);
        println!("in {until:.1?}: {counts:?}; the longest time without a commit began at {at:.1?}: {gap:.2?}");
        if gap > LEADERLESS {
            println!("{}", cluster.report());
        }
        leaderless.add(gap);
        counts
    }
}

/// All that run are one cluster, and so many of them vote as should.
fn joined(cluster: &Cluster) -> Result<String, String> {
    let nodes = cluster.agents.len();
    settled(cluster, if nodes <= 2 { nodes } else { (nodes - 1) | 1 })
}

/// The one that leads.
fn leader(cluster: &Cluster) -> Option<usize> {
    let status = get(&cluster.agents[0].data(), "/v1/status").unwrap_or_else(|error| panic!("{error}"));
    cluster.agents.iter().position(|agent| status["leader"] == *agent.name)
}

#[test]
fn a_cluster_grows_and_shrinks_under_load_while_each_voter_is_killed() {
    let mut leaderless = Figures::new("growth 1, 3, 5, 3, 1: longest time without a commit", LEADERLESS);
    for round in 0..rounds(1, 20) {
        let mut growth = Growth::begin();
        for size in SIZES {
            growth.become_size(usize::from(size));
            growth.kill_each();
            println!("round {round}: size {size} is done after {:.1?}", growth.load.now());
        }
        let counts = growth.end(&mut leaderless);
        assert!(counts.took > 100, "only {counts:?}");
    }
    leaderless.assert_each();
}

/// Who leads leaves, again and again: the group has a leader all the time but for one election.
#[test]
fn whoever_leads_leaves_under_load() {
    let mut leaderless = Figures::new("whoever leads leaves: longest time without a commit", LEADERLESS);
    let mut cluster = Cluster::on_loopback(3);
    cluster.start();
    cluster.wait("all vote", LIMIT, all_vote);
    let load = Load::begin(cluster.agents.iter().map(Agent::data).collect::<Vec<_>>(), MIX);
    let mut marks = vec![load.now()];
    for _ in 0..rounds(2, 40) {
        let mut outside = Vec::new();
        while cluster.agents.len() > 1 {
            let mut agent = cluster.agents.remove(leader(&cluster).unwrap_or(0));
            let output = agent.ekka(&["leave"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            agent.kill();
            outside.push(agent);
            cluster.wait("a node has left, and votes no more", LIMIT, joined);
        }
        for mut agent in outside {
            agent.start();
            cluster.wait("it has joined", LIMIT, |cluster| agent.json(&["join", &cluster.agents[0].name]).map(drop));
            cluster.agents.push(agent);
            cluster.wait("a node has joined, and votes", LIMIT, joined);
        }
        marks.push(load.now());
    }
    let ops = load.end();
    let counts = check(&ops).unwrap_or_else(|found| panic!("{found}\n{}", cluster.report()));
    for span in marks.windows(2) {
        let (gap, at) = longest_gap(&ops, (span[0], span[1]), &[]);
        println!(
            "in {:.1?} to {:.1?}: the longest time without a commit began at {at:.1?}: {gap:.2?}",
            span[0], span[1]
        );
        leaderless.add(gap);
    }
    println!("{counts:?}");
    leaderless.assert_each();
}

/// Turns some bytes of every file of the store over.
fn damage(store: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(store).expect("there is a store") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            files += damage(&path);
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("it can be opened");
        let mut bytes = [0; 64];
        if file.read_exact_at(&mut bytes, 64).is_ok() {
            let turned = bytes.map(|byte| !byte);
            file.write_all_at(&turned, 64).expect("it can be written");
            files += 1;
        }
    }
    files
}

#[test]
fn a_voter_with_a_damaged_log_says_so_and_votes_again_as_a_new_one_under_load() {
    let mut back = Figures::new("damaged log: start until it votes again", Duration::from_secs(10));
    let mut leaderless = Figures::new("damaged log: longest time without a commit", LEADERLESS);
    for _ in 0..rounds(1, 20) {
        let mut cluster = Cluster::on_loopback(3);
        cluster.start();
        let id = cluster.wait("all vote", LIMIT, all_vote);
        let nodes: Vec<_> = cluster.agents.iter().map(Agent::data).collect();
        let load = Load::begin(nodes, MIX);
        let victim = 1;
        cluster.agents[victim].kill();
        assert!(damage(&cluster.agents[victim].data().join("store")) > 0, "nothing was damaged");
        let start = load.now();
        cluster.agents[victim].start();
        let again = cluster.wait("it is up again, and votes", LIMIT, all_vote);
        back.add(load.now().saturating_sub(start));
        assert_eq!(again, id, "the same cluster");
        let log = cluster.agents[victim].log();
        assert!(log.contains("votes as a new voter") && log.contains("store.damaged-1"), "{log}");
        // Now one of the two whose logs were never damaged is gone: what was committed must be in the new one.
        cluster.agents[0].kill();
        cluster.wait("the others go on without the first", LIMIT, |cluster| {
            let [before, _] = [ceiling(&cluster.agents[1].data())?, ceiling(&cluster.agents[2].data())?];
            let now = ceiling(&cluster.agents[1].data())?;
            if now > before { Ok(()) } else { Err(format!("{now} still")) }
        });
        let until = load.now();
        let ops = load.end();
        let counts = check(&ops).unwrap_or_else(|found| panic!("{found}\n{}", cluster.report()));
        let seen = ceiling(&cluster.agents[victim].data()).unwrap_or_else(|error| panic!("{error}"));
        assert!(seen >= counts.ceiling, "{seen} after {counts:?}");
        let (gap, at) = longest_gap(&ops, (Duration::ZERO, until), &[]);
        println!("in {until:.1?}: {counts:?}; the longest time without a commit began at {at:.1?}: {gap:.2?}");
        leaderless.add(gap);
    }
    back.assert_each();
    leaderless.assert_each();
}
