//! Durable groups without an engine: one log for each cluster, kept by the world, which says who is connected.
//!
//! What holds of Raft holds here: an entry is committed only while its leader reaches a majority of each set of voters,
//! every replica gets the entries in order and without gaps, and an answer can be lost. How a leader is found, and what
//! is on whose disc, is not played: that is tested with the engine itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::consensus::{Configuration, GroupEvent, LogPlace, Standing, StateMachine as _, VoterId};
use ekka_core::control::{GroupNews, GroupRequest, Input};
use ekka_core::durable::{Ask, Change, Command, Entry as Committed, Failure, Proof, Record, Why};
use ekka_core::id::{ClusterId, Incarnation, NodeId};
use ekka_core::membership::RemovalCause;
use ekka_core::time::Instant;

use super::happening::Happening;
use super::net::Delivery;
use super::world::World;

/// How often a group is looked at.
const STEP: Duration = Duration::from_millis(100);
/// How long a proposal waits for a leader with a majority.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// One entry of a log.
#[derive(Clone, Debug)]
enum Entry {
    Command(Vec<u8>),
    Configuration(Configuration),
}

/// A replica that runs.
#[derive(Clone, Debug)]
struct Replica {
    machine: usize,
    life: u64,
    /// Which one of its machine.
    opening: u64,
    /// Nothing is delivered to it before this: the order stays.
    not_before: Instant,
    /// Entries given to it in this life.
    given: usize,
    told: Option<(u64, Option<VoterId>, u64)>,
}

/// What a replica has asked for.
#[derive(Clone, Debug)]
enum Wanted {
    Propose(Vec<u8>),
    /// That it leads this term.
    Confirm(u64),
    Voters(BTreeSet<VoterId>),
    Learners(BTreeSet<VoterId>),
}

#[derive(Clone, Debug)]
struct Asked {
    by: VoterId,
    life: u64,
    token: u64,
    wanted: Wanted,
    until: Instant,
}

/// The group of one cluster.
#[derive(Debug, Default)]
pub(super) struct Group {
    log: Vec<(u64, Entry)>,
    term: u64,
    leader: Option<(VoterId, u64)>,
    elect_at: Option<Instant>,
    configuration: Configuration,
    replicas: BTreeMap<VoterId, Replica>,
    /// Of a directory that runs twice: the replica whose messages nobody takes, because its links are refused.
    doubles: BTreeMap<VoterId, Replica>,
    /// How much of the log each voter had before its present life: that is replayed.
    seen: BTreeMap<VoterId, usize>,
    asked: Vec<Asked>,
    state: Record,
    /// Starts that the latest entries ended.
    ended: Vec<(Incarnation, Proof)>,
    /// Members that they cleaned.
    cleaned: Vec<NodeId>,
}

impl Group {
    fn append(&mut self, entry: Entry) -> Vec<u8> {
        let at = LogPlace { term: self.term, index: self.log.len() as u64 + 1 };
        let entry = match entry {
            Entry::Configuration(configuration) => {
                let configuration = Configuration { at, committed: true, ..configuration };
                self.state.reconfigured(&configuration);
                self.configuration = configuration.clone();
                Entry::Configuration(configuration)
            }
            command @ Entry::Command(_) => command,
        };
        let answer = match &entry {
            Entry::Command(command) => {
                let (outcome, changes, _) = self.state.commit_bytes(at, command);
                for change in changes {
                    match change {
                        Change::Ended { id, proof } => self.ended.push((id, proof)),
                        Change::Removed { node_id, cause: RemovalCause::Autoclean, .. } => self.cleaned.push(node_id),
                        _ => {}
                    }
                }
                outcome.encode()
            }
            Entry::Configuration(_) => Vec::new(),
        };
        self.log.push((self.term, entry));
        answer
    }

    fn let_learn(&mut self, learners: BTreeSet<VoterId>) -> Vec<u8> {
        let voters = self.configuration.voters.clone();
        let learners = learners.into_iter().filter(|id| !self.configuration.has_voter(*id)).collect();
        self.append(Entry::Configuration(Configuration { voters, learners, ..Configuration::default() }))
    }

    /// A joint change: both sets, then the new one.
    fn let_vote(&mut self, voters: BTreeSet<VoterId>) -> Vec<u8> {
        let new: Vec<VoterId> = voters.into_iter().collect();
        let learners: Vec<VoterId> =
            self.configuration.learners.iter().copied().filter(|id| !new.contains(id)).collect();
        let old = self.configuration.voters[0].clone();
        for voters in [vec![old, new.clone()], vec![new]] {
            let learners = learners.clone();
            self.append(Entry::Configuration(Configuration { voters, learners, ..Configuration::default() }));
        }
        Vec::new()
    }

    fn is_in(&self, voter: VoterId) -> bool {
        self.configuration.has_voter(voter) || self.configuration.learners.contains(&voter)
    }
}

impl World {
    /// What a node wants of its replica.
    pub(super) fn group_request(&mut self, machine: usize, request: GroupRequest) {
        let life = self.machines[machine].life;
        if let GroupRequest::Open { cluster_id, me, .. } = request {
            self.open_replica(cluster_id, me, machine, life);
            return;
        }
        let mine = |(_, group): &(&ClusterId, &Group)| {
            group
                .replicas
                .iter()
                .find(|(_, replica)| (replica.machine, replica.life) == (machine, life))
                .map(|(me, _)| *me)
        };
        let found = self.groups.iter().find_map(|pair| mine(&pair).map(|me| (*pair.0, me)));
        let Some((cluster_id, me)) = found else { return };
        let now = self.now;
        let Some(group) = self.groups.get_mut(&cluster_id) else { return };
        let (token, wanted) = match request {
            GroupRequest::Ask(Ask::Found { voters }) => {
                if group.log.is_empty() {
                    group.term = 1;
                    let voters = vec![voters.into_iter().collect()];
                    group.append(Entry::Configuration(Configuration { voters, ..Configuration::default() }));
                }
                return;
            }
            GroupRequest::Close { .. } => {
                group.replicas.remove(&me);
                return;
            }
            GroupRequest::HandOver { among } => {
                self.hand_over(cluster_id, me, &among);
                return;
            }
            GroupRequest::Whole { .. } => {
                if let Some(mut replica) = group.replicas.remove(&me) {
                    let news = GroupNews::Whole(Err("a log of this world is no file that can be read".into()));
                    self.tell_replica(cluster_id, &mut replica, news);
                }
                return;
            }
            GroupRequest::Ask(Ask::Propose { token, command }) => (token, Wanted::Propose(command)),
            GroupRequest::Confirm { round, term } => (round, Wanted::Confirm(term)),
            GroupRequest::Ask(Ask::ChangeVoters { token, voters }) => (token, Wanted::Voters(voters)),
            GroupRequest::Ask(Ask::SetLearners { token, learners }) => (token, Wanted::Learners(learners)),
            GroupRequest::Open { .. } => return,
        };
        group.asked.push(Asked { by: me, life, token, wanted, until: now + PATIENCE });
        let soon = now + self.net.latency(&mut self.rng);
        self.at(soon, Happening::Group { cluster_id, again: false });
    }

    /// Another voter that reaches a majority leads from now on.
    fn hand_over(&mut self, cluster_id: ClusterId, me: VoterId, among: &BTreeSet<VoterId>) {
        let Some(mut group) = self.groups.remove(&cluster_id) else { return };
        if group.leader.is_some_and(|(leader, _)| leader == me) {
            let mut others = group.configuration.all_voters();
            others.retain(|voter| *voter != me && among.contains(voter) && self.reaches_majority(&group, *voter));
            if let Some(next) = others.first() {
                group.term += 1;
                group.leader = group.replicas.get(next).map(|replica| (*next, replica.life));
            }
        }
        self.groups.insert(cluster_id, group);
        self.at(self.now, Happening::Group { cluster_id, again: false });
    }

    fn open_replica(&mut self, cluster_id: ClusterId, me: VoterId, machine: usize, life: u64) {
        let first = !self.groups.contains_key(&cluster_id);
        let now = self.now;
        let mut group = self.groups.remove(&cluster_id).unwrap_or_default();
        self.machines[machine].opening += 1;
        let opening = self.machines[machine].opening;
        let replica = Replica { machine, life, opening, not_before: now, given: 0, told: None };
        match group.replicas.get(&me).cloned() {
            Some(holder) if holder.machine != machine && self.runs(&holder) && self.reaches_majority(&group, me) => {
                group.doubles.insert(me, replica);
            }
            before => {
                group.replicas.insert(me, replica);
                if let Some(before) = before {
                    let seen = group.seen.entry(me).or_default();
                    *seen = (*seen).max(before.given);
                    if before.machine != machine && self.runs(&before) {
                        group.doubles.insert(me, before);
                    }
                }
            }
        }
        self.groups.insert(cluster_id, group);
        if first {
            self.at(now + STEP, Happening::Group { cluster_id, again: true });
        } else {
            self.at(now, Happening::Group { cluster_id, again: false });
        }
    }

    /// Has a command committed in the group of that machine's cluster, as a table of it would.
    pub fn commit(&mut self, machine: usize, command: Command) {
        let view = self.machines[machine].process.as_ref().map(|process| process.control.view());
        let Some((view, cluster_id)) = view.and_then(|view| Some((view.clone(), view.cluster_id?))) else { return };
        if let Some(group) = self.groups.get_mut(&cluster_id) {
            let why = Why::new(view.me.node_id, 0, Vec::new());
            group.append(Entry::Command(Committed { why, command }.encode()));
            self.at(self.now, Happening::Group { cluster_id, again: false });
        }
    }

    fn runs(&self, replica: &Replica) -> bool {
        let machine = &self.machines[replica.machine];
        machine.life == replica.life && machine.process.as_ref().is_some_and(|process| !process.paused)
    }

    /// Whether two replicas exchange messages.
    fn meet(&self, a: &Replica, b: &Replica) -> bool {
        self.runs(a)
            && self.runs(b)
            && (a.machine == b.machine
                || self.net.linked(a.machine, b.machine) && self.net.connects(a.machine, b.machine))
    }

    fn reaches_majority(&self, group: &Group, from: VoterId) -> bool {
        let Some(own) = group.replicas.get(&from) else { return false };
        let heard = |voter: VoterId| group.replicas.get(&voter).is_some_and(|replica| self.meet(own, replica));
        group.configuration.is_majority(heard)
    }

    /// Of a directory that ran twice one goes on alone.
    fn settle_doubles(&self, group: &mut Group) {
        for (id, double) in std::mem::take(&mut group.doubles) {
            let held = group.replicas.get(&id).is_some_and(|holder| self.runs(holder));
            if held && self.runs(&double) {
                group.doubles.insert(id, double);
            } else if self.runs(&double) {
                group.replicas.insert(id, double);
            }
        }
    }

    /// Brings a group on by one step.
    pub(super) fn step_group(&mut self, cluster_id: ClusterId, again: bool) {
        let Some(mut group) = self.groups.remove(&cluster_id) else { return };
        self.settle_doubles(&mut group);
        self.elect(&mut group);
        self.answer_asked(cluster_id, &mut group);
        self.look_who_is_gone(cluster_id, &mut group);
        self.replicate(cluster_id, &mut group);
        self.groups.insert(cluster_id, group);
        self.step_volatile(cluster_id);
        if again {
            self.at(self.now + STEP, Happening::Group { cluster_id, again });
        }
    }

    fn look_who_is_gone(&mut self, cluster_id: ClusterId, group: &mut Group) {
        for (id, proof) in std::mem::take(&mut group.ended) {
            let holds = self.machines.iter().enumerate().filter(|(_, machine)| !machine.copy).any(|(i, machine)| {
                let view = machine.process.as_ref().map(|process| process.control.view());
                // A lease in another cluster is none here.
                self.holds_lease(i) && view.is_some_and(|v| v.me == id && v.cluster_id == Some(cluster_id))
            });
            let seen = self.watch.gone(cluster_id, id, proof, holds);
            self.broken(seen);
        }
        // Whom the group has cleaned may go like one whom an operator took out; nobody else may.
        for node_id in std::mem::take(&mut group.cleaned) {
            self.watch.may_go(node_id);
            for i in 0..self.machines.len() {
                if self.machines[i].node_id() == Some(node_id) {
                    self.watch.may_leave(i);
                }
            }
        }
    }

    /// Whether the node of this machine runs and holds its lease at this moment.
    #[must_use]
    pub fn holds_lease(&self, machine: usize) -> bool {
        let process = self.machines[machine].process.as_ref();
        process.is_some_and(|process| process.lease.is_some_and(|until| until > self.now))
    }

    /// The machine that leads the only group.
    #[must_use]
    pub fn leads(&self) -> Option<usize> {
        let group = self.groups.values().next().filter(|_| self.groups.len() == 1)?;
        let (leader, life) = group.leader?;
        let replica = group.replicas.get(&leader).filter(|replica| replica.life == life)?;
        Some(replica.machine)
    }

    /// A leader that reaches no majority is none; another is found after a while.
    fn elect(&mut self, group: &mut Group) {
        let holds = group.leader.is_some_and(|(leader, life)| {
            group.replicas.get(&leader).is_some_and(|replica| replica.life == life)
                && group.configuration.has_voter(leader)
                && self.reaches_majority(group, leader)
        });
        if holds {
            group.elect_at = None;
            return;
        }
        group.leader = None;
        let able: Vec<VoterId> =
            group.configuration.all_voters().into_iter().filter(|voter| self.reaches_majority(group, *voter)).collect();
        if able.is_empty() {
            group.elect_at = None;
            return;
        }
        let wait = Duration::from_millis(50) + self.rng.up_to(Duration::from_millis(1_200));
        let at = *group.elect_at.get_or_insert(self.now + wait);
        if self.now >= at {
            let leader = able[self.rng.index(able.len())];
            group.term += 1;
            group.elect_at = None;
            group.leader = group.replicas.get(&leader).map(|replica| (leader, replica.life));
        }
    }

    fn answer_asked(&mut self, cluster_id: ClusterId, group: &mut Group) {
        for asked in std::mem::take(&mut group.asked) {
            let Some(replica) = group.replicas.get(&asked.by).filter(|r| r.life == asked.life).cloned() else {
                continue;
            };
            let leader = group.leader.and_then(|(leader, _)| group.replicas.get(&leader));
            let reached = leader.is_some_and(|leader| self.meet(&replica, leader));
            if !reached {
                if self.now < asked.until {
                    group.asked.push(asked);
                } else {
                    let failure = Failure::NoQuorum("no leader is in reach".into());
                    self.answer(cluster_id, group, &asked, Err(failure));
                }
                continue;
            }
            let leads = group.leader.is_some_and(|(leader, _)| leader == asked.by);
            let result = match asked.wanted.clone() {
                Wanted::Propose(command) => Ok(group.append(Entry::Command(command))),
                Wanted::Confirm(term) if leads && term == group.term => Ok(Vec::new()),
                Wanted::Confirm(_) => Err(Failure::Refused("it does not lead that term".into())),
                _ if !leads => Err(Failure::Refused("another replica leads".into())),
                Wanted::Learners(learners) => Ok(group.let_learn(learners)),
                Wanted::Voters(voters) => {
                    let caught_up = self.have_caught_up(group, &replica, &voters);
                    if !caught_up && self.now < asked.until {
                        group.asked.push(asked);
                        continue;
                    }
                    let late = || Failure::NoQuorum("the new voters have not caught up".into());
                    if caught_up { Ok(group.let_vote(voters)) } else { Err(late()) }
                }
            };
            // Now and then the answer is lost, and nobody knows whether it was done.
            let lost = self.rng.below(50) == 0;
            let result = if lost { Err(Failure::Unknown("the answer was lost".into())) } else { result };
            self.answer(cluster_id, group, &asked, result);
        }
    }

    /// Whether a majority of these hold the whole log, and reach the leader.
    fn have_caught_up(&self, group: &Group, leader: &Replica, voters: &BTreeSet<VoterId>) -> bool {
        let next = Configuration { voters: vec![voters.iter().copied().collect()], ..Configuration::default() };
        let whole = |replica: &Replica| self.meet(leader, replica) && replica.given == group.log.len();
        next.is_majority(|voter| group.replicas.get(&voter).is_some_and(whole))
    }

    fn answer(&mut self, cluster_id: ClusterId, group: &mut Group, asked: &Asked, result: Result<Vec<u8>, Failure>) {
        let token = asked.token;
        let news = match asked.wanted {
            Wanted::Confirm(_) => GroupNews::Confirmed { round: token, ok: result.is_ok() },
            Wanted::Propose(_) => GroupNews::Answered { token, result },
            Wanted::Voters(_) | Wanted::Learners(_) => {
                let latest = group.configuration.at;
                GroupNews::Reconfigured { token, result: result.map(|_| ()), latest }
            }
        };
        if let Some(replica) = group.replicas.get_mut(&asked.by) {
            self.tell_replica(cluster_id, replica, news);
        }
    }

    /// Gives entries, and what is known of the group, to every replica that the leader reaches.
    fn replicate(&mut self, cluster_id: ClusterId, group: &mut Group) {
        let leader = group.leader;
        let leader_replica = leader.and_then(|(leader, _)| group.replicas.get(&leader)).cloned();
        let ids: Vec<VoterId> = group.replicas.keys().copied().collect();
        for me in ids {
            let Some(mut replica) = group.replicas.get(&me).cloned() else { continue };
            if !self.runs(&replica) {
                continue;
            }
            let reached = leader_replica.as_ref().is_some_and(|leader| self.meet(leader, &replica));
            let seen = group.seen.get(&me).copied().unwrap_or(0);
            // What it has on its own disc needs nobody.
            let up_to = if reached && group.is_in(me) { group.log.len() } else { seen.min(group.log.len()) };
            while replica.given < up_to {
                let index = replica.given;
                let (term, entry) = group.log[index].clone();
                let at = LogPlace { term, index: index as u64 + 1 };
                let event = match entry {
                    Entry::Command(command) => GroupEvent::Applied { at, command },
                    Entry::Configuration(configuration) => GroupEvent::Reconfigured(configuration),
                };
                replica.given += 1;
                self.tell_replica(cluster_id, &mut replica, GroupNews::Event { event, replay: index < seen });
            }
            let known = leader.filter(|_| reached).map(|(leader, _)| leader);
            let told = (group.term, known, group.configuration.at.index);
            if replica.told != Some(told) {
                replica.told = Some(told);
                let last = LogPlace { term: group.term, index: group.log.len() as u64 };
                let standing = Standing {
                    me,
                    term: group.term,
                    leader: known,
                    leads: known == Some(me),
                    last,
                    applied: last,
                    told: last,
                    configuration: group.configuration.clone(),
                    failed: None,
                };
                self.tell_replica(cluster_id, &mut replica, GroupNews::Standing(Box::new(standing)));
            }
            group.replicas.insert(me, replica);
        }
    }

    fn tell_replica(&mut self, cluster_id: ClusterId, replica: &mut Replica, news: GroupNews) {
        let when = (self.now + self.net.latency(&mut self.rng)).max(replica.not_before);
        replica.not_before = when;
        let (opening, input) = (replica.opening, Box::new(Input::Group { cluster_id, news }));
        let delivery = Delivery::Replica { opening, input };
        let (machine, life) = (replica.machine, replica.life);
        self.at(when, Happening::Deliver { machine, life, delivery });
    }
}
