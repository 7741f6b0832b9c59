use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::super::{GroupEvent, VoterId};
use super::{Ask, Ideal, Input, Output, Refusal, RequestId};
use crate::id::NodeId;
use crate::machine::Machine;
use crate::time::{Instant, Now, Wall};

struct World {
    group: Ideal,
    now: Instant,
    /// What each replica has been given since its start.
    told: BTreeMap<VoterId, Vec<Vec<u8>>>,
    results: BTreeMap<RequestId, Result<u64, Refusal>>,
    asked: RequestId,
}

fn voter(number: usize) -> VoterId {
    VoterId { node_id: NodeId::from_u128(number as u128 + 1), start: 1 }
}

fn voters(count: usize) -> BTreeSet<VoterId> {
    (0..count).map(voter).collect()
}

impl World {
    fn founded(count: usize, seed: u64) -> Self {
        let (told, results) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { group: Ideal::new(seed), now: Instant::from_nanos(1), told, results, asked: 0 };
        (0..count).for_each(|number| world.input(Input::Up(voter(number))));
        world.input(Input::Found(voters(count)));
        world.run(Duration::from_secs(3));
        world
    }

    fn input(&mut self, input: Input) {
        if let Input::Up(replica) = &input {
            self.told.insert(*replica, Vec::new());
        }
        let mut out = Vec::new();
        self.group.handle(input, Now { mono: self.now, wall: Wall::from_millis(0) }, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output>) {
        self.group.check();
        for output in out {
            match output {
                Output::Tell(to, GroupEvent::Applied { command, .. }) => self.told.entry(to).or_default().push(command),
                Output::Tell(to, GroupEvent::Restored { snapshot, .. }) => {
                    let commands = snapshot.iter().map(|byte| vec![*byte]).collect();
                    self.told.insert(to, commands);
                }
                Output::Tell(_, GroupEvent::Reconfigured(_)) => {}
                Output::Done { id, result, .. } => {
                    self.results.insert(id, result.map(|at| at.index));
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.group.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.group.tick(Now { mono: self.now, wall: Wall::from_millis(0) }, &mut out);
            self.take(out);
        }
        self.now = end;
    }

    fn ask(&mut self, by: usize, ask: Ask) -> RequestId {
        self.asked += 1;
        self.input(Input::Ask { by: voter(by), id: self.asked, ask });
        self.asked
    }

    fn result(&mut self, by: usize, ask: Ask) -> Result<u64, Refusal> {
        let id = self.ask(by, ask);
        self.run(Duration::from_secs(70));
        self.results[&id].clone()
    }

    fn isolate(&mut self, number: usize, count: usize, cut: bool) {
        for other in (0..count).filter(|other| *other != number) {
            self.input(Input::Cut { from: voter(number), to: voter(other), cut });
            self.input(Input::Cut { from: voter(other), to: voter(number), cut });
        }
    }
}

#[test]
fn commands_reach_every_replica_in_one_order() {
    let mut world = World::founded(3, 1);
    for number in 0..30u8 {
        assert!(world.result(usize::from(number % 3), Ask::Propose(vec![number])).is_ok());
    }
    let expected: Vec<Vec<u8>> = (0..30).map(|number| vec![number]).collect();
    assert!(world.told.values().all(|told| *told == expected), "{:?}", world.told);
}

#[test]
fn a_minority_is_refused_and_a_majority_goes_on() {
    let mut world = World::founded(3, 2);
    let old = (0..3).find(|number| world.group.leader() == Some(voter(*number))).unwrap();
    world.isolate(old, 3, true);
    assert!(matches!(world.result(old, Ask::Propose(vec![1])), Err(Refusal::NoQuorum(_))));
    assert!(matches!(world.result(old, Ask::Barrier), Err(Refusal::NoQuorum(_))));
    assert!(world.result((old + 1) % 3, Ask::Propose(vec![2])).is_ok());
    assert_ne!(world.group.leader(), Some(voter(old)));
}

#[test]
fn who_starts_again_is_given_the_snapshot_and_the_rest() {
    let mut world = World::founded(3, 3);
    assert!(world.result(0, Ask::Propose(vec![1])).is_ok());
    assert!(world.result(0, Ask::Propose(vec![2])).is_ok());
    world.input(Input::Snapshot(voter(0), vec![1, 2]));
    assert!(world.result(0, Ask::Propose(vec![3])).is_ok());
    world.input(Input::Down(voter(1)));
    world.input(Input::Up(voter(1)));
    world.run(Duration::from_secs(3));
    assert_eq!(world.told[&voter(1)], [[1], [2], [3]]);
}

#[test]
fn voters_change_by_a_joint_configuration() {
    let mut world = World::founded(1, 4);
    (1..5).for_each(|number| world.input(Input::Up(voter(number))));
    for count in [3, 5, 3] {
        let by = (0..5).find(|number| world.group.leader() == Some(voter(*number))).unwrap();
        assert!(world.result(by, Ask::ChangeVoters(voters(count))).is_ok());
        let configuration = world.group.configuration_for(voter(0));
        assert_eq!(configuration.all_voters(), Vec::from_iter(voters(count)));
        assert_eq!((configuration.voters.len(), configuration.learners.len()), (1, 0));
    }
    let refused = world.result(4, Ask::ChangeVoters(voters(1)));
    assert!(matches!(refused, Err(Refusal::Refused(_))), "{refused:?}");
}

proptest! {
    /// Whatever happens: what was acknowledged is kept, what was refused is not there, nothing is there twice.
    #[test]
    fn promises_are_kept_under_faults(
        seed in any::<u64>(),
        faults in proptest::collection::vec((0u8..8, 0usize..3, 0usize..3, 0u64..900), 1..60),
    ) {
        let mut world = World::founded(3, seed);
        let mut commands = BTreeMap::new();
        for (number, (kind, one, other, pause)) in (0u8..).zip(faults) {
            match kind {
                0 => world.input(Input::Down(voter(one))),
                1 | 2 => world.input(Input::Up(voter(one))),
                3 => world.input(Input::Cut { from: voter(one), to: voter(other), cut: true }),
                4 => world.input(Input::Cut { from: voter(one), to: voter(other), cut: false }),
                _ => drop(commands.insert(world.ask(one, Ask::Propose(vec![number])), vec![number])),
            }
            world.run(Duration::from_millis(pause));
        }
        for one in 0..3 {
            world.isolate(one, 3, false);
            world.input(Input::Down(voter(one)));
            world.input(Input::Up(voter(one)));
        }
        world.run(Duration::from_secs(20));
        let all = world.told[&voter(0)].clone();
        prop_assert!(world.told.values().all(|told| *told == all), "{:?}", world.told);
        prop_assert_eq!(BTreeSet::from_iter(&all).len(), all.len(), "twice");
        for (id, command) in commands {
            match world.results.get(&id) {
                Some(Ok(_)) => prop_assert!(all.contains(&command), "an acknowledged command is lost"),
                Some(Err(Refusal::NoQuorum(_) | Refusal::Refused(_))) => prop_assert!(!all.contains(&command)),
                Some(Err(Refusal::Unknown(_))) | None => {}
            }
        }
    }
}
