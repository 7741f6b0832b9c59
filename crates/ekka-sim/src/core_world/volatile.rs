//! Volatile groups without an engine: for each generation who serves it, how far the log of each reaches, who leads.
//!
//! As for the durable groups nothing of Raft is played; but a replica that ends takes its log with it, one that is sealed
//! says how far it reaches and serves nothing more, and a state can be had only from a process that keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::consensus::{Configuration, LogPlace, Standing, VoterId};
use ekka_core::control::{Input, VolatileNews, VolatileRequest};
use ekka_core::id::{ClusterId, Incarnation};
use ekka_core::time::Instant;
use ekka_core::volatile::{LogKey, Order, Report, Source, Start, voter};

use super::happening::Happening;
use super::net::Delivery;
use super::world::World;

/// One process, as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Life {
    machine: usize,
    life: u64,
}

#[derive(Clone, Debug)]
struct Replica {
    at: Life,
    /// It has what its generation began with.
    has_first: bool,
    last: LogPlace,
    told: Option<(u64, Option<VoterId>, u64)>,
}

/// The replicas of one generation.
#[derive(Debug, Default)]
pub(super) struct Generation {
    term: u64,
    last: LogPlace,
    leader: Option<VoterId>,
    elect_at: Option<Instant>,
    configuration: Configuration,
    replicas: BTreeMap<VoterId, Replica>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    generations: BTreeMap<(ClusterId, u64), Generation>,
    /// Which states a process keeps.
    kept: BTreeMap<Life, BTreeSet<Kept>>,
    /// The order in which a process hears.
    not_before: BTreeMap<Life, Instant>,
}

/// A log that was handed in, and who had it.
type Kept = (ClusterId, Incarnation, LogKey);

fn kept(cluster_id: ClusterId, source: Source) -> Kept {
    (cluster_id, source.voter, source.log)
}

impl Generation {
    fn configure(&mut self, voters: Vec<Vec<VoterId>>) {
        self.last = LogPlace { term: self.term, index: self.last.index + 1 };
        self.configuration = Configuration { voters, learners: Vec::new(), at: self.last, committed: true };
    }
}

impl World {
    /// What a node wants of its volatile replica.
    pub(super) fn volatile_request(&mut self, machine: usize, request: VolatileRequest) {
        let at = Life { machine, life: self.machines[machine].life };
        match request {
            VolatileRequest::Order { cluster_id, me, order } => self.carry_out(at, (cluster_id, me), order),
            VolatileRequest::Close => {
                self.volatile.kept.remove(&at);
                for generation in self.volatile.generations.values_mut() {
                    generation.replicas.retain(|_, replica| replica.at != at);
                }
            }
        }
    }

    fn carry_out(&mut self, at: Life, (cluster_id, me): (ClusterId, Incarnation), order: Order) {
        match order {
            Order::Fetch { generation, from, founders } => {
                let ok = self.can_fetch(at, cluster_id, from, &founders);
                if ok {
                    self.volatile.kept.entry(at).or_default().insert(kept(cluster_id, from));
                }
                self.report_volatile(at, cluster_id, Report::Fetched { generation, ok });
            }
            Order::Start { generation, start } => {
                self.start_volatile(at, (cluster_id, generation), me, start);
            }
            Order::Stop { generation } => self.seal_volatile(at, generation),
            Order::ChangeVoters { generation, voters } => self.change_volatile(at, generation, &voters),
            Order::Open { generation } => {
                let leads = |of: &&Generation| {
                    of.leader.is_some_and(|leader| of.replicas.get(&leader).is_some_and(|replica| replica.at == at))
                };
                let of = self.volatile.generations.get(&(cluster_id, generation)).filter(leads);
                let Some(of) = of else { return };
                let lives: Vec<Life> = of.replicas.values().map(|replica| replica.at).collect();
                for at in lives {
                    self.report_volatile(at, cluster_id, Report::Opened { generation });
                }
            }
        }
    }

    fn lives(&self, at: Life) -> bool {
        let machine = &self.machines[at.machine];
        machine.life == at.life && machine.process.as_ref().is_some_and(|process| !process.paused)
    }

    fn lives_meet(&self, a: Life, b: Life) -> bool {
        let (one, other) = (a.machine, b.machine);
        // Who is refused has no link, whatever the network lets through.
        self.lives(a) && self.lives(b) && (one == other || self.net.linked(one, other) && self.net.connects(one, other))
    }

    /// Whether a process that keeps this state is in reach: its source, or a founder that has it from there.
    fn can_fetch(&self, at: Life, cluster_id: ClusterId, from: Source, founders: &BTreeSet<Incarnation>) -> bool {
        let wanted = kept(cluster_id, from);
        let mut holders = self.volatile.kept.iter().filter(|(_, states)| states.contains(&wanted));
        !founders.is_empty() && holders.any(|(holder, _)| *holder == at || self.lives_meet(at, *holder))
    }

    fn start_volatile(&mut self, at: Life, key: (ClusterId, u64), me: Incarnation, start: Start) {
        let generation = self.volatile.generations.entry(key).or_default();
        let founds = matches!(start, Start::Found { .. });
        if let Start::Found { founders, .. } = start
            && generation.configuration.voters.is_empty()
        {
            generation.configure(vec![founders.into_iter().map(voter).collect()]);
        }
        let last = if founds { LogPlace { term: 0, index: 1 } } else { LogPlace::default() };
        generation.replicas.insert(voter(me), Replica { at, has_first: founds, last, told: None });
    }

    fn seal_volatile(&mut self, at: Life, number: u64) {
        let mut found = None;
        for ((cluster_id, of), generation) in &mut self.volatile.generations {
            let mine = generation.replicas.iter().find(|(_, replica)| *of == number && replica.at == at);
            if let Some((me, replica)) = mine.map(|(me, replica)| (*me, replica.clone())) {
                generation.replicas.remove(&me);
                found = Some((*cluster_id, me, replica));
            }
        }
        let Some((cluster_id, me, replica)) = found else { return };
        let log = replica.has_first.then_some(LogKey { generation: number, place: replica.last });
        if let Some(log) = log {
            let source = Source { voter: ekka_core::volatile::incarnation(me), log };
            self.volatile.kept.entry(at).or_default().insert(kept(cluster_id, source));
        }
        self.report_volatile(at, cluster_id, Report::Stopped { generation: number, log });
    }

    /// A joint change in one step, where the leader and the new voters meet.
    fn change_volatile(&mut self, at: Life, number: u64, voters: &BTreeSet<Incarnation>) {
        let leads = |of: &Generation| {
            let leader = of.leader.and_then(|leader| of.replicas.get(&leader));
            leader.is_some_and(|leader| leader.at == at)
        };
        let key = self.volatile.generations.iter().find(|((_, of), group)| *of == number && leads(group));
        let Some(key) = key.map(|(key, _)| *key) else { return };
        let Some(mut generation) = self.volatile.generations.remove(&key) else { return };
        let new: Vec<VoterId> = voters.iter().copied().map(voter).collect();
        let there = |id: &VoterId| generation.replicas.get(id).is_some_and(|replica| self.lives_meet(at, replica.at));
        let known = generation.configuration.all_voters();
        let learned = new.iter().all(|id| known.contains(id) || there(id));
        let majority = new.iter().filter(|id| there(id)).count() * 2 > new.len();
        if learned && majority && self.reaches_most(&generation, at) {
            generation.configure(vec![new]);
        }
        self.volatile.generations.insert(key, generation);
    }

    fn reaches_most(&self, generation: &Generation, at: Life) -> bool {
        let heard = |id| generation.replicas.get(&id).is_some_and(|replica| self.lives_meet(at, replica.at));
        generation.configuration.is_majority(heard)
    }

    /// Brings the generations of a cluster on by one step.
    pub(super) fn step_volatile(&mut self, cluster_id: ClusterId) {
        let numbers: Vec<u64> =
            self.volatile.generations.keys().filter(|(of, _)| *of == cluster_id).map(|(_, number)| *number).collect();
        for number in numbers {
            let Some(mut generation) = self.volatile.generations.remove(&(cluster_id, number)) else { continue };
            let dead = |at: Life| self.machines[at.machine].life != at.life;
            generation.replicas.retain(|_, replica| !dead(replica.at));
            if generation.replicas.is_empty() {
                continue;
            }
            self.elect_volatile(&mut generation);
            self.replicate_volatile((cluster_id, number), &mut generation);
            self.volatile.generations.insert((cluster_id, number), generation);
        }
        let machines = &self.machines;
        self.volatile.kept.retain(|at, _| machines[at.machine].life == at.life);
        self.volatile.not_before.retain(|at, _| machines[at.machine].life == at.life);
    }

    fn elect_volatile(&mut self, generation: &mut Generation) {
        let able = |world: &Self, id: &VoterId| {
            let own = generation.replicas.get(id);
            generation.configuration.has_voter(*id) && own.is_some_and(|own| world.reaches_most(generation, own.at))
        };
        if generation.leader.is_some_and(|leader| able(self, &leader)) {
            generation.elect_at = None;
            return;
        }
        let last = |id: &VoterId| generation.replicas.get(id).map(|replica| replica.last);
        let best = generation.replicas.keys().filter(|id| able(self, id)).max_by_key(|id| last(id)).copied();
        let wait = Duration::from_millis(50) + self.rng.up_to(Duration::from_millis(600));
        generation.leader = None;
        let Some(best) = best else {
            generation.elect_at = None;
            return;
        };
        if self.now >= *generation.elect_at.get_or_insert(self.now + wait) {
            generation.term += 1;
            generation.elect_at = None;
            generation.leader = Some(best);
            let index = generation.last.index + 1;
            generation.last = LogPlace { term: generation.term, index };
        }
    }

    /// Gives the log, and what is known of the group, to every replica that the leader reaches.
    fn replicate_volatile(&mut self, (cluster_id, number): (ClusterId, u64), generation: &mut Generation) {
        let leader = generation.leader.and_then(|leader| generation.replicas.get(&leader)).map(|leader| leader.at);
        for me in generation.replicas.keys().copied().collect::<Vec<_>>() {
            let Some(replica) = generation.replicas.get(&me) else { continue };
            let reached = leader.is_some_and(|leader| self.lives_meet(leader, replica.at));
            let Some(replica) = generation.replicas.get_mut(&me) else { continue };
            if reached {
                (replica.last, replica.has_first) = (generation.last, true);
            }
            let known = generation.leader.filter(|_| reached);
            let told = (generation.term, known, generation.configuration.at.index);
            if replica.told == Some(told) {
                continue;
            }
            replica.told = Some(told);
            let standing = Standing {
                me,
                term: generation.term,
                leader: known,
                leads: known == Some(me),
                last: replica.last,
                applied: replica.last,
                told: replica.last,
                configuration: generation.configuration.clone(),
                failed: None,
            };
            let at = replica.at;
            let news = VolatileNews::Standing { generation: number, standing: Box::new(standing) };
            self.tell_volatile(at, cluster_id, news);
        }
    }

    fn report_volatile(&mut self, at: Life, cluster_id: ClusterId, report: Report) {
        self.tell_volatile(at, cluster_id, VolatileNews::Report(report));
    }

    fn tell_volatile(&mut self, at: Life, cluster_id: ClusterId, news: VolatileNews) {
        let soon = self.now + self.net.latency(&mut self.rng);
        let when = self.volatile.not_before.get(&at).map_or(soon, |before| soon.max(*before));
        self.volatile.not_before.insert(at, when);
        let delivery = Delivery::Backend(Box::new(Input::Volatile { cluster_id, news }));
        self.at(when, Happening::Deliver { machine: at.machine, life: at.life, delivery });
    }
}
