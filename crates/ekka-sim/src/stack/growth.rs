//! Growth from one node to three, to five, and back, by join and leave, while every host writes all the time and each
//! voter is killed in turn.

use std::time::Duration;

use ekka_core::control::{Command, Reply};
use ekka_core::rng::Rng;
use ekka_core::view::Status;

use super::GroupCounts;
use super::world::{Found, Report, World};
use crate::failure::{Failure, words_of};

/// The hosts of the largest cluster.
const HOSTS: usize = 5;
/// The promise: never without a leader for longer while a majority is up. Here it is measured by what callers see.
const WITHOUT_ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a step may take.
const STEP: Duration = Duration::from_secs(60);

/// One round, by a seed.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// The seed.
    pub seed: u64,
}

struct Round<'a> {
    world: &'a mut World,
    rng: Rng,
    /// Hosts that are members.
    inside: Vec<usize>,
    /// The longest time between two answers while a majority was up.
    longest: Duration,
}

impl Growth {
    /// Runs the round; its figures, and the longest time in which nothing was acknowledged while a majority was up.
    ///
    /// # Errors
    /// Something that must hold did not.
    pub fn run(&self) -> Result<(Report, GroupCounts, Duration), Failure> {
        let mut rng = Rng::new(self.seed).child("growth");
        let latency = Duration::from_millis([2, 5, 20][rng.index(3)]);
        let mut world = World::found(HOSTS, Found::ByWord, self.seed, latency, Default::default());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut round = Round { world: &mut world, rng, inside: Vec::new(), longest: Duration::ZERO };
            round.go().map(|counts| (counts, round.longest))
        }));
        match ended.unwrap_or_else(|panic| Err(words_of(panic.as_ref()))) {
            Ok((counts, longest)) => Ok((world.report(), counts, longest)),
            Err(what) => Err(Failure { what, trace: world.trace() }),
        }
    }
}

impl Round<'_> {
    fn go(&mut self) -> Result<GroupCounts, String> {
        self.world.let_them_write(Duration::from_millis(20 + self.rng.below(100)));
        self.start(0)?;
        self.settle("one node formed", &[0])?;
        self.kill_each()?;
        for (to, grow) in [(3, true), (HOSTS, true), (3, false), (1, false)] {
            while self.inside.len() < to && grow {
                self.join()?;
            }
            while self.inside.len() > to && !grow {
                self.leave()?;
            }
            self.kill_each()?;
        }
        let last = self.inside[0];
        let before = self.world.lock_groups().acknowledged();
        self.world.run_to("the last node goes on", STEP, |world| world.lock_groups().acknowledged() > before + 3)?;
        if self.world.voters(last).len() != 1 {
            return Err(format!("one node is left, and {} vote", self.world.voters(last).len()));
        }
        self.world.groups()
    }

    fn start(&mut self, i: usize) -> Result<(), String> {
        self.world.start(i);
        self.world.run_to("it starts", STEP, |world| world.view(i).is_some()).map(|_| ())
    }

    fn operate(&mut self, i: usize, command: &Command) -> Result<(), String> {
        self.world.operate(i, command.clone());
        match self.world.until_answered(i)? {
            Some(Ok(Reply::Done { .. })) => Ok(()),
            other => Err(format!("host {i} answered {command:?} with {other:?}")),
        }
    }

    /// Waits until exactly these are members, up, and as many of them vote as should.
    fn settle(&mut self, what: &str, hosts: &[usize]) -> Result<(), String> {
        self.inside = hosts.to_vec();
        let wanted = if hosts.len() > 2 { hosts.len() - (1 - hosts.len() % 2) } else { hosts.len() };
        self.world.run_to(what, STEP, |world| world.are_cluster(hosts) && world.voters(hosts[0]).len() == wanted)?;
        let voters = self.world.voters(hosts[0]);
        self.world.run_to("it is committed who votes", STEP, |world| world.all_vote(hosts[0], &voters)).map(|_| ())
    }

    fn join(&mut self) -> Result<(), String> {
        let outside: Vec<usize> = (0..HOSTS).filter(|i| !self.inside.contains(i)).collect();
        let i = outside[self.rng.index(outside.len())];
        let to = self.inside[self.rng.index(self.inside.len())];
        self.start(i)?;
        self.operate(i, &Command::Join { name: self.world.name(to), absorb: false, plan: false })?;
        let hosts = [self.inside.clone(), vec![i]].concat();
        self.settle("it has joined", &hosts)
    }

    /// One leaves, the leader as often as another.
    fn leave(&mut self) -> Result<(), String> {
        let leader = self.world.leader_of(self.inside[0]).filter(|_| self.rng.below(2) == 0);
        let i = leader.unwrap_or_else(|| self.inside[self.rng.index(self.inside.len())]);
        self.operate(i, &Command::Leave { plan: false })?;
        self.world.crash(i);
        let hosts: Vec<usize> = self.inside.iter().copied().filter(|other| *other != i).collect();
        self.settle("it has left", &hosts)
    }

    /// Each voter ends without a word, and comes back.
    fn kill_each(&mut self) -> Result<(), String> {
        let has_majority = self.inside.len() > 2;
        let mut order = self.inside.clone();
        for n in (1..order.len()).rev() {
            order.swap(n, self.rng.index(n + 1));
        }
        self.world.lock_groups().forget_gaps();
        for i in order {
            if self.rng.below(2) == 0 {
                self.world.crash(i);
            } else {
                self.world.lose_power([i]);
            }
            self.world.run_for(self.rng.up_to(Duration::from_secs(8)))?;
            self.start(i)?;
            let hosts = self.inside.clone();
            self.settle("all are back", &hosts)?;
            self.world.run_for(self.rng.up_to(Duration::from_secs(2)))?;
        }
        let cluster_id = self.world.view(self.inside[0]).and_then(|view| view.cluster_id);
        let gap = cluster_id.map_or(Duration::MAX, |id| self.world.lock_groups().longest_gap(id));
        if has_majority {
            self.longest = self.longest.max(gap);
            if gap > WITHOUT_ANSWER_MAX {
                return Err(format!("nothing was acknowledged for {gap:?} although a majority was up"));
            }
        }
        Ok(())
    }
}

impl World {
    /// Whether these hosts, and nobody else, are the members of one cluster, and show each other up.
    fn are_cluster(&self, hosts: &[usize]) -> bool {
        let views: Vec<_> = hosts.iter().filter_map(|i| self.view(*i)).collect();
        let Some(first) = views.first() else { return false };
        views.len() == hosts.len()
            && views.iter().all(|view| {
                let up = view.members.iter().filter(|member| member.status == Status::Up).count();
                let same = view.cluster_id.is_some() && view.cluster_id == first.cluster_id;
                same && view.is_settled() && up == hosts.len() && view.members.len() == up
            })
    }
}
