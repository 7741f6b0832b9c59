//! What a node makes of its sources over time: sources that are exchanged, fail now and then, or do not know everything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::autocluster::{
    Answer, Autocluster, Candidate, Expect, Faults, Input, Merge, Output, Proposal, Saved, Settings, SourceList,
};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId, NodeName};
use ekka_core::limits::{CANDIDATE_KEPT, CANDIDATES_MAX};
use ekka_core::machine::Machine as _;
use ekka_core::membership::Record;
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};
use ekka_core::view::{Role, Status};

const SECOND: Duration = Duration::from_secs(1);

fn name(n: usize) -> NodeName {
    format!("ekka@10.0.{}.{}", n / 200, n % 200 + 1).parse().unwrap()
}

fn candidate(n: usize) -> Candidate {
    Candidate { name: name(n), endpoint: name(n).endpoint(4370).unwrap() }
}

/// An answer that names these.
fn names(all: impl IntoIterator<Item = usize>) -> Answer {
    all.into_iter().map(candidate).collect::<Vec<_>>().into()
}

/// An answer that names these, with what it says of how many there are to be.
fn counted(all: impl IntoIterator<Item = usize>, expect: Expect) -> Answer {
    Answer { expect, ..names(all) }
}

fn settings(strategies: &[&str]) -> Settings {
    let named = |name: &str| strategies.contains(&name).then(|| name.to_owned());
    Settings {
        strategies: strategies.iter().map(|&name| name.to_owned()).collect(),
        electorate: None,
        decider: named("etcd"),
        counts: named("k8s"),
        expect: named("etcd").map(|_| 1),
        settle: SECOND * 3,
        merge: Merge::Empty,
        base_port: 4370,
        may_vote: true,
        faults: Faults::default(),
    }
}

/// Node 0, whom nobody answers.
struct Node {
    room: Autocluster,
    list: SourceList,
    now: Now,
    out: Vec<Output>,
}

impl Node {
    fn new(strategies: &[&str]) -> Self {
        let own = Record {
            process: Guid::MIN,
            id: Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(10) },
            version: 1,
            name: name(0),
            endpoint: candidate(0).endpoint,
            role: Role::Core,
            status: Status::Joining,
            software: "0.1.0".into(),
            start_counter: 1,
            started: Wall::from_millis(1),
            store: ekka_core::id::StoreId::from_u128(1),
            tags: BTreeMap::new(),
        };
        let room = Autocluster::new(own, settings(strategies), Saved::default(), Rng::new(1));
        let now = Now { mono: Instant::from_nanos(1_000_000_000), wall: Wall::from_millis(1_800_000_000_000) };
        let mut node = Self { room, list: SourceList::default(), now, out: Vec::new() };
        node.take(Input::Start);
        node
    }

    fn take(&mut self, input: Input) {
        self.room.handle(input, self.now, &mut self.out);
        self.room.check();
    }

    /// Time passes, and the room looks around as often as it likes to.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while self.now.mono < end {
            self.now.mono = (self.now.mono + Duration::from_millis(100)).min(end);
            self.room.tick(self.now, &mut self.out);
            self.room.check();
        }
    }

    fn says(&mut self, strategy: &str, answer: Answer) {
        self.hears(self.list, strategy, Ok(answer));
    }

    fn fails(&mut self, strategy: &str) {
        self.hears(self.list, strategy, Err("it is down".into()));
    }

    fn hears(&mut self, list: SourceList, strategy: &str, result: Result<Answer, String>) {
        self.take(Input::Discovered { list, strategy: strategy.into(), result });
    }

    /// A reload that exchanges the strategies for these.
    fn exchange(&mut self, strategies: &[&str]) {
        self.list = self.list.next();
        self.take(Input::Reconfigure { list: self.list, settings: settings(strategies) });
    }

    fn claims(&self) -> usize {
        self.out.iter().filter(|output| matches!(output, Output::Claim(_))).count()
    }

    /// Whether it has begun to form: a claim, or the first write of a vote.
    fn forms(&self) -> bool {
        self.out.iter().any(|output| matches!(output, Output::Claim(_) | Output::Persist { .. }))
    }

    /// What was said last of each strategy that changed.
    fn states(&self) -> BTreeMap<String, Option<String>> {
        let state = |output: &Output| match output {
            Output::DiscoveryState { strategy, error } => Some((strategy.clone(), error.clone())),
            _ => None,
        };
        self.out.iter().filter_map(state).collect()
    }

    fn waits(&self) -> String {
        let last = self.out.iter().rev().find_map(|output| match output {
            Output::Waits(text) => Some(text.clone()),
            _ => None,
        });
        last.unwrap_or_default()
    }

    /// Whom it dials within the time.
    fn dials(&mut self, time: Duration) -> BTreeSet<String> {
        self.out.clear();
        self.pass(time);
        let dial = |output: &Output| match output {
            Output::Dial { endpoint, .. } => Some(endpoint.to_string()),
            _ => None,
        };
        self.out.iter().filter_map(dial).collect()
    }

    fn knows(&mut self, n: usize) -> bool {
        // Each candidate is dialled at least every few seconds while no cluster was found.
        self.dials(SECOND * 6).contains(&candidate(n).endpoint.to_string())
    }
}

#[test]
fn a_late_answer_of_a_strategy_that_was_exchanged_does_not_count() {
    let mut node = Node::new(&["k8s"]);
    let before = node.list;
    node.exchange(&["dns"]);
    node.says("dns", names([0, 1]));
    assert_eq!(node.room.needed(node.now), 2);
    node.hears(before, "k8s", Ok(counted([0, 1, 2], Expect::Nodes(9))));
    assert_eq!(node.room.needed(node.now), 2, "what it asked for was asked of others");
    assert!(!node.knows(2), "whom they named is none of the new list");
    node.hears(before, "k8s", Err("it is down".into()));
    assert_eq!(node.states(), BTreeMap::new(), "who is asked no more does not fail");
    // Nor does the same under a name that stays.
    node.hears(before, "dns", Ok(counted([0], Expect::Nodes(9))));
    assert_eq!(node.room.needed(node.now), 2);
}

#[test]
fn a_strategy_that_failed_and_is_asked_no_more_is_not_shown() {
    let mut node = Node::new(&["dns", "mcast"]);
    node.fails("dns");
    node.says("mcast", names([0]));
    assert!(node.waits().contains("dns fails"), "{}", node.waits());
    node.out.clear();
    node.exchange(&["mcast"]);
    node.says("mcast", names([0]));
    assert!(!node.waits().contains("dns"), "{}", node.waits());
    assert_eq!(node.states(), BTreeMap::from([("dns".into(), None)]));
}

#[test]
fn a_reload_that_exchanges_nothing_forgets_nothing() {
    let mut node = Node::new(&["etcd"]);
    node.says("etcd", names([0]));
    node.pass(SECOND * 2);
    node.take(Input::Reconfigure { list: node.list, settings: settings(&["etcd"]) });
    node.pass(Duration::from_millis(1_500));
    assert_eq!(node.claims(), 1, "it was listed for 3 s in all");
}

#[test]
fn words_of_the_backend_before_do_not_count_for_the_new_one_of_its_name() {
    let mut node = Node::new(&["etcd"]);
    node.says("etcd", names([0]));
    node.pass(Duration::from_millis(2_900));
    // The same strategy with another prefix, say.
    let before = node.list;
    node.exchange(&["etcd"]);
    node.pass(SECOND * 20);
    assert_eq!(node.claims(), 0, "the new backend has not listed this node");
    assert!(node.waits().contains("does not list this node yet"), "{}", node.waits());
    // What the old one decided is not what the new one does.
    let other = Proposal { cluster_id: ClusterId::from_u128(7), founders: Vec::new() };
    node.take(Input::Claimed { list: before, result: Ok(other) });
    node.says("etcd", names([0]));
    node.pass(Duration::from_millis(2_800));
    assert_eq!((node.claims(), node.waits().contains("names cluster")), (0, false), "{}", node.waits());
    node.pass(Duration::from_millis(500));
    assert_eq!(node.claims(), 1);
}

#[test]
fn a_backend_that_is_asked_elsewhere_must_say_how_many_anew_and_what_it_said_holds_until_then() {
    let mut node = Node::new(&["k8s"]);
    node.says("k8s", counted([0], Expect::Nodes(1)));
    node.exchange(&["k8s"]);
    node.out.clear();
    node.pass(SECOND * 40);
    assert!(!node.forms(), "the new one was not heard");
    node.says("k8s", counted([0], Expect::Nodes(3)));
    assert_eq!(node.room.needed(node.now), 3);
    node.exchange(&["dns"]);
    node.exchange(&["dns", "k8s"]);
    node.says("dns", names([0, 1, 2, 3, 4, 5]));
    assert_eq!(node.room.needed(node.now), 4, "its name was away meanwhile");
}

/// How long a name that no answer holds any more is dialled, where `dns` answers like this.
fn dialled_for(answer: impl Fn(u64) -> Option<Answer>) -> Duration {
    let mut node = Node::new(&["dns"]);
    node.says("dns", names([0, 1]));
    let begun = node.now.mono;
    for round in 0..200 {
        node.pass(SECOND * 5);
        match answer(round) {
            Some(answer) => node.says("dns", answer),
            None => node.fails("dns"),
        }
        if !node.knows(1) {
            return node.now.mono.since(begun);
        }
    }
    Duration::MAX
}

#[test]
fn a_source_that_fails_now_and_then_keeps_nobody_for_ever() {
    let steady = dialled_for(|_| Some(names([0])));
    assert!(steady >= CANDIDATE_KEPT && steady < CANDIDATE_KEPT * 2, "{steady:?}");
    // Time in which it fails does not count, and all other time does.
    let often = dialled_for(|round| (round % 2 == 1).then(|| names([0])));
    assert!(often > CANDIDATE_KEPT + CANDIDATE_KEPT / 2 && often < CANDIDATE_KEPT * 3, "{often:?}");
}

#[test]
fn whom_a_silent_source_named_is_kept_however_long_others_answer() {
    let mut node = Node::new(&["dns", "mcast"]);
    node.says("dns", names([0, 1]));
    node.says("mcast", names([0, 2]));
    for _ in 0..60 {
        node.pass(SECOND * 5);
        node.fails("dns");
        node.says("mcast", names([0]));
    }
    assert!(node.knows(1) && node.knows(2));
    // It is back and does not name them: only now does their time go on.
    node.says("dns", names([0]));
    node.pass(SECOND * 60);
    node.says("dns", names([0]));
    assert!(node.knows(1));
    for _ in 0..20 {
        node.pass(SECOND * 5);
        node.says("dns", names([0]));
    }
    assert!(!node.knows(1) && !node.knows(2));
}

#[test]
fn a_full_table_has_room_for_newcomers_also_while_a_source_fails() {
    let mut node = Node::new(&["dns", "etcd"]);
    node.says("dns", names(1..=CANDIDATES_MAX));
    node.fails("etcd");
    node.pass(SECOND * 5);
    node.says("dns", names([5_000]));
    assert!(node.knows(5_000));
    // Also where all were named while it failed.
    node.says("dns", names(1..=CANDIDATES_MAX));
    node.pass(SECOND * 5);
    node.says("dns", names([5_001]));
    assert!(node.knows(5_001));
}

#[test]
fn whom_a_source_names_is_dialled_while_its_number_is_not_read_and_nobody_forms() {
    let mut node = Node::new(&["k8s"]);
    node.says("k8s", counted([0], Expect::NotHeard("the number hangs".into())));
    node.pass(SECOND * 60);
    assert!(!node.forms(), "listed alone, and it may be one of many");
    let waits = node.waits();
    assert!(waits.contains("k8s has not said yet how many nodes there are to be: the number hangs"), "{waits}");
    node.says("k8s", counted([0, 1], Expect::NotHeard("the number hangs".into())));
    assert!(node.knows(1), "it may be in a cluster");
    // It may turn out that there is no number to be had.
    node.says("k8s", counted([0, 1], Expect::Unknown));
    assert!(!node.waits().contains("how many nodes"), "{}", node.waits());
}

#[test]
fn a_number_that_was_read_once_holds_while_it_is_not_read() {
    let mut node = Node::new(&["k8s"]);
    node.says("k8s", counted([0, 1, 2], Expect::Nodes(3)));
    node.says("k8s", counted([0, 1, 2], Expect::NotHeard("down".into())));
    assert_eq!(node.room.needed(node.now), 3);
    assert!(!node.waits().contains("how many nodes"), "{}", node.waits());
}

#[test]
fn a_decider_is_asked_only_after_the_time_that_its_members_need_to_come_back() {
    let mut node = Node::new(&["etcd"]);
    node.list = node.list.next();
    let hasty = Settings { settle: Duration::ZERO, ..settings(&["etcd"]) };
    node.take(Input::Reconfigure { list: node.list, settings: hasty });
    node.says("etcd", names([0]));
    node.pass(Duration::from_millis(2_900));
    assert_eq!(node.claims(), 0);
    node.pass(Duration::from_millis(300));
    assert_eq!(node.claims(), 1);
}
