//! Generations of a volatile group on the engine: sealed, handed on, begun anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{GroupId, LogPlace, VoterId};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId};
use ekka_core::limits::{GROUP_CHUNK_BYTES, GROUP_CHUNKS_AHEAD};
use ekka_core::volatile::state::{Answer, Command, State};
use ekka_core::volatile::{LogKey, Source, voter};
use tokio_util::sync::CancellationToken;

use crate::consensus::raft::{HandedIn, RaftGroup, Router, Settings, Setup, Whole, seal, seed};
use crate::consensus::{Applied, Group, GroupError};
use crate::storage::{LogName, MemoryStorage, Storage};
use crate::testing::RuntimeClock;
use crate::testing::group_net::GroupNet;

const CLUSTER: ClusterId = ClusterId::from_u128(7);
const LIMIT: Duration = Duration::from_secs(20);

fn start(node: u128, guid: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
}

/// A process: it keeps its router over the generations.
struct Process {
    id: Incarnation,
    router: Router,
    handed_in: HandedIn,
}

impl Process {
    fn begin(net: &GroupNet, id: Incarnation) -> Self {
        let router = net.join(id.node_id);
        Self { id, handed_in: HandedIn::new(router.clone(), CLUSTER, id), router }
    }

    async fn open(&self, generation: u64, first: Option<(&BTreeSet<Incarnation>, &[u8])>) -> Replica {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(1));
        let log: LogName = format!("volatile/{generation}").into();
        if let Some((founders, state)) = first {
            seed(&storage, &log, founders.iter().copied().map(voter).collect(), state).await.unwrap();
        }
        let group = RaftGroup::open(Setup {
            group: GroupId::Volatile { cluster_id: CLUSTER, generation },
            me: voter(self.id),
            storage: storage.clone(),
            log: log.clone(),
            machine: Box::new(State::default()),
            router: self.router.clone(),
            clock: Arc::new(RuntimeClock::default()),
            seed: u64::try_from(self.id.node_id.as_u128()).unwrap(),
            witnesses: BTreeSet::new(),
            events: None,
            stop: CancellationToken::new(),
            commits: Arc::default(),
            settings: Settings { log_entries: 20, log_kept: 5, ..Settings::default() },
        });
        Replica { group: group.await.unwrap(), storage, log }
    }
}

struct Replica {
    group: RaftGroup,
    storage: Arc<dyn Storage>,
    log: LogName,
}

impl Replica {
    async fn seal(self) -> Whole {
        seal(&self.group, &self.storage, &self.log, Box::new(State::default())).await.unwrap()
    }

    async fn count(&self) -> Result<u64, GroupError> {
        let Applied { answer, .. } = self.group.propose(Command::Count { n: 1 }.encode()).await?;
        match Answer::decode(&answer).unwrap() {
            Answer::Range { from, .. } => Ok(from),
            other => panic!("{other:?}"),
        }
    }

    async fn term_with_leader(&self) -> u64 {
        let mut standing = self.group.standing();
        let led = standing.wait_for(|standing| standing.leader.is_some());
        tokio::time::timeout(LIMIT, led).await.expect("a leader").unwrap().term
    }
}

fn founders(processes: &[Process]) -> BTreeSet<Incarnation> {
    processes.iter().map(|process| process.id).collect()
}

/// Three processes that serve generation 1, and have taken so many numbers.
async fn first_generation(net: &GroupNet, numbers: u64) -> (Vec<Process>, Vec<Replica>) {
    let processes: Vec<Process> = (1..=3).map(|node| Process::begin(net, start(node, 1))).collect();
    let mut replicas = Vec::new();
    for process in &processes {
        replicas.push(process.open(1, None).await);
    }
    let voters: BTreeSet<VoterId> = processes.iter().map(|process| voter(process.id)).collect();
    let found = |number: usize| replicas[number].group.found(voters.clone());
    let (one, two, three) = tokio::join!(found(0), found(1), found(2));
    one.and(two).and(three).unwrap();
    for (number, replica) in (0..numbers).zip(replicas.iter().cycle()) {
        assert_eq!(replica.count().await.unwrap(), number);
    }
    (processes, replicas)
}

/// Wants a state, and has it.
async fn get(handed_in: &HandedIn, source: Source, founders: &BTreeSet<Incarnation>) -> bool {
    handed_in.want(source);
    handed_in.fetch(source, founders).await
}

fn source(process: &Process, place: LogPlace) -> Source {
    Source { voter: process.id, log: LogKey { generation: 1, place } }
}

#[tokio::test(start_paused = true)]
async fn the_next_generation_begins_with_the_best_log_wherever_it_is_had_from() {
    let net = GroupNet::new(1);
    let (mut processes, mut replicas) = first_generation(&net, 50).await;
    // The third ends; the other two seal, and hand in.
    let dead = replicas.pop().unwrap();
    net.kill(processes[2].id.node_id);
    dead.group.kill();
    let mut logs = Vec::new();
    for (process, replica) in processes.iter().zip(replicas) {
        let sealed = replica.seal().await;
        process.handed_in.keep(LogKey { generation: 1, place: sealed.last }, sealed.state.clone());
        logs.push(sealed);
    }
    let best = usize::from(logs[0].last < logs[1].last);
    assert_eq!(State::from_snapshot(&logs[best].state).unwrap().count(), 50, "it held everything that was committed");
    processes[2] = Process::begin(&net, start(3, 2));
    let (from, founders) = (source(&processes[best], logs[best].last), founders(&processes));
    assert!(get(&processes[best].handed_in, from, &founders).await);
    assert!(get(&processes[1 - best].handed_in, from, &founders).await);
    // Its source is out of reach, and a founder has it too.
    let (source, third) = (processes[best].id.node_id, processes[2].id.node_id);
    net.set_cut(source, third, true);
    net.set_cut(third, source, true);
    assert!(get(&processes[2].handed_in, from, &founders).await);
    net.set_cut(source, third, false);
    net.set_cut(third, source, false);
    let mut next = Vec::new();
    for process in &processes {
        let state = process.handed_in.state(from).expect("it was fetched");
        next.push(process.open(2, Some((&founders, &state))).await);
    }
    next[0].term_with_leader().await;
    for (number, replica) in (50..80).zip(next.iter().cycle()) {
        assert_eq!(replica.count().await.unwrap(), number);
    }
    // One that learns later has it all, and hands it all in.
    let late = Process::begin(&net, start(4, 1));
    let learner = late.open(2, None).await;
    let voters: BTreeSet<VoterId> = founders.iter().copied().chain([late.id]).map(voter).collect();
    let leader = next.iter().find(|replica| replica.group.standing().borrow().leads).expect("one leads");
    leader.group.change_voters(voters).await.unwrap();
    let sealed = learner.seal().await;
    assert_eq!(State::from_snapshot(&sealed.state).unwrap().count(), 80);
}

#[tokio::test(start_paused = true)]
async fn a_sealed_replica_answers_nothing_and_its_log_does_not_grow() {
    let net = GroupNet::new(2);
    let (_processes, mut replicas) = first_generation(&net, 10).await;
    let (third, second) = (replicas.pop().unwrap(), replicas.pop().unwrap());
    let storage = second.storage.clone();
    let (one, other) = (second.seal().await, third.seal().await);
    assert!(
        State::from_snapshot(&one.state).unwrap().count().max(State::from_snapshot(&other.state).unwrap().count())
            >= 10
    );
    let changes = storage.checkpoint("anything", Some(vec![1]));
    assert!(changes.is_err(), "its store takes no change");
    let alone = replicas[0].count().await;
    assert!(matches!(alone, Err(GroupError::NoQuorum(_) | GroupError::Unknown(_))), "{alone:?}");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_goes_on_behind_a_cut_does_not_reach_the_next() {
    let net = GroupNet::new(3);
    let (processes, mut replicas) = first_generation(&net, 5).await;
    let old = replicas.remove(0);
    let mut state = Vec::new();
    for replica in replicas {
        state = replica.seal().await.state;
    }
    // The same voters, on the same routers; the first still serves generation 1 and asks them for votes.
    let founders: BTreeSet<Incarnation> = founders(&processes[1..]);
    let mut next = Vec::new();
    for process in &processes[1..] {
        next.push(process.open(2, Some((&founders, &state))).await);
    }
    let term = next[0].term_with_leader().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(next[0].group.standing().borrow().term, term, "nobody has disturbed it");
    assert!(next[1].count().await.is_ok());
    assert!(old.count().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_long_state_comes_in_pieces_and_one_that_is_nowhere_is_said_to_be() {
    let net = GroupNet::new(4);
    let processes: Vec<Process> = (1..=3).map(|node| Process::begin(&net, start(node, 1))).collect();
    let place = LogPlace { term: 3, index: 9 };
    let long: Vec<u8> = (0..=250).cycle().take(GROUP_CHUNK_BYTES * (GROUP_CHUNKS_AHEAD + 2) + 5).collect();
    processes[0].handed_in.keep(LogKey { generation: 1, place }, long.clone());
    let (from, founders) = (source(&processes[0], place), founders(&processes));
    assert!(get(&processes[1].handed_in, from, &founders).await);
    assert_eq!(processes[1].handed_in.state(from).as_deref(), Some(&long[..]));
    let nowhere = source(&processes[0], LogPlace { term: 3, index: 8 });
    assert!(!get(&processes[2].handed_in, nowhere, &founders).await);
    // In the next cluster of these nodes nobody hands out what was of this one.
    let elsewhere = HandedIn::new(processes[2].router.clone(), ClusterId::from_u128(8), processes[2].id);
    assert!(!get(&elsewhere, from, &founders).await);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_wanted_earlier_and_comes_later_takes_no_place() {
    let net = GroupNet::new(5);
    let processes: Vec<Process> = (1..=3).map(|node| Process::begin(&net, start(node, 1))).collect();
    let (old, new) = (LogPlace { term: 1, index: 4 }, LogPlace { term: 3, index: 9 });
    processes[0].handed_in.keep(LogKey { generation: 1, place: old }, b"old".to_vec());
    processes[1].handed_in.keep(LogKey { generation: 1, place: new }, b"new".to_vec());
    let (old, new, founders) = (source(&processes[0], old), source(&processes[1], new), founders(&processes));
    let third = &processes[2].handed_in;
    third.want(old);
    third.want(new);
    assert!(third.fetch(new, &founders).await);
    assert!(!third.fetch(old, &founders).await, "the next one is wanted by now");
    assert_eq!((third.state(new).as_deref(), third.state(old)), (Some(&b"new"[..]), None));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_late_does_not_take_its_successor_off_the_net() {
    let net = GroupNet::new(6);
    let processes: Vec<Process> = (1..=2).map(|node| Process::begin(&net, start(node, 1))).collect();
    let place = LogPlace { term: 3, index: 9 };
    let successor = HandedIn::new(processes[0].router.clone(), CLUSTER, processes[0].id);
    let Process { id, handed_in, .. } = &processes[0];
    let (from, founders) = (Source { voter: *id, log: LogKey { generation: 1, place } }, founders(&processes));
    successor.keep(LogKey { generation: 1, place }, b"state".to_vec());
    let _ = handed_in;
    let mut processes = processes.into_iter();
    drop(processes.next());
    assert!(get(&processes.next().unwrap().handed_in, from, &founders).await);
}
