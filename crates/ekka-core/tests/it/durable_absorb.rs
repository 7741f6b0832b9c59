//! Rule 6: three clusters of three voters meet, in every order, with crashes and late news (`models/absorb.rs`).
//!
//! Each cluster has its real record; a group commits while two of its three first voters are up and still in it. Nodes
//! know only the records that somebody told them. An authority for tokens owns ranges, and learns late of entries; it
//! serves a node only when it has read as much as that node. Checked: whoever knows that a node of an absorbed cluster is
//! in this one never gets a token that the absorbed one issued (a grant of an authority that has not read of it to a node
//! that has not either comes before the absorption); at rest there is one cluster; no order leads to a younger one.

use std::collections::BTreeSet;

use crate::durable_common::{self, Log, admission, cluster, node};
use ekka_core::durable::absorb::{Chains, Meeting, Side, meet};
use ekka_core::durable::{Admission, Command, Faults, Gave, Outcome, Refusal};
use ekka_core::id::ClusterId;
use ekka_core::rng::Rng;

const NODES: usize = 9;

#[derive(Debug)]
struct Node {
    first: usize,
    now: usize,
    up: bool,
    /// It has applied its cluster's log up to here.
    read: u64,
    /// The place of the entry that admitted it where it is now.
    admitted: u64,
    records: Chains,
}

/// Who issues a cluster's tokens.
#[derive(Debug, Default)]
struct Authority {
    /// What it has read of the record: its number, and the floor there.
    read: u64,
    floor: u64,
    stopped: bool,
    range: Option<(u64, u64)>,
}

#[derive(Debug)]
struct World {
    rng: Rng,
    faults: Faults,
    clusters: Vec<Log>,
    authorities: Vec<Authority>,
    nodes: Vec<Node>,
    /// Tokens that each cluster has issued, the highest.
    issued: Vec<Option<u64>>,
    /// Orders to go into another cluster that were decided on and not committed yet.
    orders: Vec<(usize, ClusterId)>,
    crashes: u32,
    trace: Vec<String>,
}

/// Clusters 1, 2 and 3; the first is the oldest.
fn id(index: usize) -> ClusterId {
    cluster(index as u128 + 1)
}

fn index(id: ClusterId) -> usize {
    usize::try_from(id.as_u128()).expect("small") - 1
}

fn number(n: usize) -> u128 {
    n as u128 + 1
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let founded = |c: usize| {
            let of: Vec<u128> = (0..3).map(|k| number(3 * c + k)).collect();
            Log::founded(id(c), &of, faults)
        };
        let node =
            |n: usize| Node { first: n / 3, now: n / 3, up: true, read: 0, admitted: 0, records: Chains::default() };
        Self {
            rng: Rng::new(seed),
            faults,
            clusters: (0..3).map(founded).collect(),
            authorities: (0..3).map(|_| Authority::default()).collect(),
            nodes: (0..NODES).map(node).collect(),
            issued: vec![None; 3],
            orders: Vec::new(),
            crashes: 0,
            trace: Vec::new(),
        }
    }

    fn can_commit(&self, c: usize) -> bool {
        self.nodes.iter().filter(|node| node.up && node.first == c && node.now == c).count() >= 2
    }

    fn read(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let record = &self.clusters[node.now].record;
        node.read = record.number();
        for merge in record.merging().iter().chain(record.merged().iter()) {
            node.records.learn(*merge);
        }
    }

    /// Two nodes in touch tell each other the records that they know.
    fn gossip(&mut self, a: usize, b: usize) {
        let all: Vec<_> =
            [a, b].iter().flat_map(|n| self.nodes[*n].records.iter().copied().collect::<Vec<_>>()).collect();
        for n in [a, b] {
            for record in &all {
                self.nodes[n].records.learn(*record);
            }
        }
    }

    fn side(&self, n: usize) -> Side {
        let c = self.nodes[n].now;
        Side {
            cluster_id: id(c),
            member: durable_common::name(number(n)),
            can_commit: self.can_commit(c),
            quorum_rows: self.clusters[c].record.quorum_rows(),
            merging: self.nodes[n].records.get(id(c)).map(|record| record.into),
            never: false,
        }
    }

    fn meet(&mut self, a: usize, b: usize) {
        self.gossip(a, b);
        let mine = self.nodes[a].now;
        if mine == self.nodes[b].now {
            return;
        }
        if let Meeting::GoInto(into) = meet(&self.side(a), &self.side(b)) {
            assert!(into < id(mine), "an order into a younger cluster");
            self.orders.push((mine, into));
        }
    }

    /// An order reaches the log, perhaps long after it was decided on.
    fn commit_order(&mut self) {
        if self.orders.is_empty() {
            return;
        }
        let at = self.rng.index(self.orders.len());
        let (c, into) = self.orders.swap_remove(at);
        if self.can_commit(c) {
            self.clusters[c].commit(Command::Merging { into, by_word: false });
            self.trace.push(format!("{c} merging into {}", index(into)));
        }
    }

    /// A node of a cluster that has gone follows the records; whether it is elsewhere afterwards.
    fn follow(&mut self, n: usize) -> bool {
        let (c, records) = (self.nodes[n].now, &self.nodes[n].records);
        let chain = records.from(id(c), self.faults);
        let Some(target) = chain.last().map(|record| index(record.into)) else { return false };
        if !self.can_commit(target) {
            return false;
        }
        let who = Admission { chain, ..admission(number(n), 1, self.clusters[target].record.number()) };
        match self.clusters[target].commit(Command::Admit(who)).0 {
            Outcome::Done { .. } | Outcome::Already { .. } => {
                self.nodes[n].now = target;
                self.read(n);
                self.nodes[n].admitted = self.nodes[n].read;
                self.trace.push(format!("node {n} of {c} into {target}"));
                true
            }
            Outcome::Refused { code: Refusal::Merging, .. } => {
                // It was told where the target goes; whom it asked there knows.
                let merging = self.clusters[target].record.merging();
                let news = merging.is_some_and(|record| self.nodes[n].records.learn(record));
                assert!(news || self.faults.merging_not_followed, "it asks a cluster whose record it knows");
                news
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    fn learn(&mut self, c: usize) {
        let record = &self.clusters[c].record;
        let authority = &mut self.authorities[c];
        (authority.read, authority.floor) = (record.number(), record.token_floor());
        authority.stopped = record.merging().is_some();
    }

    /// A client on this node gets a lock with a token.
    fn grant(&mut self, n: usize) {
        let c = self.nodes[n].now;
        if self.nodes[n].read > self.authorities[c].read {
            self.learn(c);
        }
        if self.authorities[c].stopped || !self.can_commit(c) {
            return;
        }
        let floor = self.authorities[c].floor;
        let next = self.authorities[c].range.map(|(from, to)| (from.max(floor), to)).filter(|(from, to)| from < to);
        let (token, to) = if let Some(range) = next {
            range
        } else {
            match self.clusters[c].commit(Command::RaiseCeiling { by: 4 }).0 {
                Outcome::Done { gave: Gave::Tokens { from, to }, .. } => (from.max(floor), to),
                Outcome::Refused { code: Refusal::Merging, .. } => return self.learn(c),
                outcome => panic!("{outcome:?}"),
            }
        };
        self.authorities[c].range = Some((token + 1, to));
        self.issue(c, token, n);
    }

    fn issue(&mut self, c: usize, token: u64, n: usize) {
        assert!(self.issued[c].is_none_or(|last| last < token), "tokens of {c} grow: {token}, {:?}", self.trace);
        for other in (0..3).filter(|other| *other != c) {
            let known = self.nodes[n].read.max(self.authorities[c].read);
            let came = |node: &Node| node.now == c && node.first == other && node.admitted <= known;
            let holds = self.nodes.iter().any(came);
            let again = holds && self.issued[other].is_some_and(|last| token <= last);
            assert!(!again, "token {token} of {other} is issued again by {c}: {:?}", self.trace);
        }
        self.issued[c] = Some(token);
        self.trace.push(format!("token {token} by {c}"));
    }

    fn step(&mut self) {
        let (a, b) = (self.rng.index(NODES), self.rng.index(NODES));
        match self.rng.below(12) {
            0..=1 if self.nodes[a].up && self.nodes[b].up => self.meet(a, b),
            2 => self.commit_order(),
            3..=4 if self.nodes[a].up && self.can_commit(self.nodes[a].now) => self.read(a),
            5..=6 if self.nodes[a].up => {
                self.follow(a);
            }
            7..=8 if self.nodes[a].up => self.grant(a),
            9 => self.learn(self.nodes[a].now),
            10 if self.crashes < 3 && self.nodes[a].up => {
                self.crashes += 1;
                self.nodes[a].up = false;
            }
            11 => self.nodes[a].up = true,
            _ => {}
        }
    }

    /// Everything comes back, everybody meets everybody, until nothing moves any more.
    fn settle(&mut self) {
        for node in &mut self.nodes {
            node.up = true;
        }
        for _ in 0..12 {
            for a in 0..NODES {
                if self.can_commit(self.nodes[a].now) {
                    self.read(a);
                }
                for b in 0..NODES {
                    self.meet(a, b);
                }
                self.commit_order();
                self.follow(a);
                self.grant(a);
            }
        }
    }

    fn run(seed: u64, faults: Faults) {
        let mut world = Self::new(seed, faults);
        for _ in 0..60 + world.rng.below(120) {
            world.step();
        }
        world.settle();
        let clusters: BTreeSet<usize> = world.nodes.iter().map(|node| node.now).collect();
        assert_eq!(clusters, BTreeSet::from([0]), "seed {seed}: at rest there is one cluster: {:?}", world.trace);
    }
}

#[test]
fn three_clusters_become_one_and_no_token_is_issued_twice() {
    for seed in 0..5_000 {
        World::run(seed, Faults::default());
    }
}

fn caught(faults: Faults) -> bool {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let caught = (0..500).any(|seed| std::panic::catch_unwind(|| World::run(seed, faults)).is_err());
    std::panic::set_hook(quiet);
    caught
}

#[test]
fn mutant_ceilings_not_taken_from_the_chain_are_caught() {
    assert!(caught(Faults { chain_ceilings_ignored: true, ..Faults::default() }));
}

#[test]
fn mutant_merging_not_followed_is_caught() {
    assert!(caught(Faults { merging_not_followed: true, ..Faults::default() }));
}

/// Clusters 1 to 3, the last into the second, the second into the first, with tokens issued in each.
fn chain_of_two() -> (Vec<Log>, Chains) {
    let mut logs: Vec<Log> = (0..3)
        .map(|c| Log::founded(id(c), &[number(3 * c), number(3 * c + 1), number(3 * c + 2)], Faults::default()))
        .collect();
    logs[2].tokens(1_000);
    logs[1].tokens(10);
    logs[0].tokens(100);
    let mut records = Chains::default();
    records.learn(logs[2].merge_into(id(1)));
    records.learn(logs[1].merge_into(id(0)));
    (logs, records)
}

#[test]
fn m10_no_token_twice_through_two_absorptions() {
    // The node of the third cluster passes the second by: the first must begin above the third's tokens all the same.
    let (mut logs, records) = chain_of_two();
    let chain = records.from(id(2), Faults::default());
    let first = &mut logs[0];
    first.done(Command::Admit(Admission { chain, ..admission(7, 1, first.record.number()) }));
    assert_eq!(first.record.token_floor(), 1_000, "tokens of its own range that lie below are not issued either");
    assert_eq!(first.tokens(5), (1_000, 1_005));
    assert_eq!(first.record.merged().end(id(2), Faults::default()), id(0), "late comers are told the whole way");
}

#[test]
fn m10_a_late_comer_that_saw_neither_brings_the_last_ceiling() {
    // Its own copy of the record ends before the tokens were issued; the record that it was told has the ceiling.
    let (mut logs, told) = chain_of_two();
    let stale = Log::founded(id(2), &[7, 8, 9], Faults::default());
    assert_eq!(stale.record.token_ceiling(), 0);
    let chain = told.from(stale.record.cluster().unwrap(), Faults::default());
    let first = &mut logs[0];
    first.done(Command::Admit(Admission { chain, ..admission(9, 1, first.record.number()) }));
    assert_eq!(first.record.token_floor(), 1_000);
}

#[test]
fn m10_nobody_is_stuck_where_the_cluster_between_is_empty() {
    // All nodes of the second cluster have moved on: nobody is left to commit there, and nobody needs to.
    let (mut logs, records) = chain_of_two();
    for n in [4, 5, 6, 7, 8, 9] {
        let chain = records.from(id(if n < 7 { 1 } else { 2 }), Faults::default());
        let first = &mut logs[0];
        first.done(Command::Admit(Admission { chain, ..admission(n, 1, first.record.number()) }));
    }
    assert_eq!(logs[0].record.members().len(), 9);
    assert!(logs[0].record.member(node(9)).is_some());
}

#[test]
fn records_that_lead_elsewhere_admit_nobody_and_raise_nothing() {
    let (mut logs, records) = chain_of_two();
    let mut chain = records.from(id(2), Faults::default());
    chain.pop();
    let who = Admission { chain, ..admission(7, 1, logs[0].record.number()) };
    let words = logs[0].refused(Refusal::BadChain, Command::Admit(who));
    assert!(words.contains(&id(1).to_string()), "{words}");
    assert_eq!(logs[0].record.token_floor(), 0);
    // And a record without an admission is taken once.
    let whole = records.from(id(2), Faults::default());
    logs[0].done(Command::Merged { chain: whole.clone() });
    logs[0].already(Command::Merged { chain: whole });
}

#[test]
fn s1_5_a_stray_start_of_a_dead_old_cluster_dissolves_nothing() {
    let side = |c: usize, can_commit| Side {
        cluster_id: id(c),
        member: durable_common::name(1),
        can_commit,
        quorum_rows: c == 2,
        merging: None,
        never: false,
    };
    let Meeting::Conflict(why) = meet(&side(2, true), &side(0, false)) else { panic!("the healthy one moves") };
    assert!(why.contains("no majority"), "{why}");
}
