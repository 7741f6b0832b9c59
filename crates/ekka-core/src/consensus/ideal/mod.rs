//! A group that keeps the port's promises without an engine, for simulations that are not about consensus.
//!
//! Owns: one log of what is committed, who holds how much of it, who leads, what callers wait for. In: what callers ask,
//! and what the world does (who is up, which ways are cut). Out: answers, and to each replica what it applies.
//!
//! Always:
//! - an entry is committed only while the leader and a majority of the voters are up and reach each other, both ways;
//! - a new leader holds everything that was committed;
//! - each replica is given every entry once, in order, from its start on;
//! - a command that may have been handed to a log is answered as unknown where its answer is lost: by chance it is then
//!   committed by the next leader, or never; one that found no leader in time is refused and never committed.
//!
//! It knows no terms of candidates, votes or conflicting logs: those belong to engines.

mod change;
mod steps;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use self::change::Change;
use self::steps::Step;
use super::{Configuration, GroupEvent, LogPlace, VoterId};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::time::{Instant, Now};

/// The time of a message, at most; chance takes up to a half of it away.
const DELAY: Duration = Duration::from_millis(2);
/// How long a group is without a leader after it has lost one, at least.
const LEADERLESS: Duration = Duration::from_millis(600);

/// Names what a caller waits for; the caller makes it, and never twice.
pub type RequestId = u64;

/// What a caller may ask of a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Have a command committed and applied.
    Propose(Vec<u8>),
    /// Wait until the replica has applied what was committed anywhere before.
    Barrier,
    /// Make these the voters.
    ChangeVoters(BTreeSet<VoterId>),
    /// Make these the learners.
    SetLearners(BTreeSet<VoterId>),
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Found the group, unless it is founded.
    Found(BTreeSet<VoterId>),
    /// A caller at this replica asks.
    Ask {
        /// The replica.
        by: VoterId,
        /// The name of the request.
        id: RequestId,
        /// What.
        ask: Ask,
    },
    /// This leader gives up leadership to one of these, to any other voter where none is named.
    HandOver(VoterId, BTreeSet<VoterId>),
    /// The state of this replica as it is now, as a snapshot: who begins empty is given that, and what came after it.
    Snapshot(VoterId, Vec<u8>),
    /// A replica starts, with what it had on disc and an empty state.
    Up(VoterId),
    /// A replica ends.
    Down(VoterId),
    /// The way from one to another is cut, or mended.
    Cut {
        /// From whom.
        from: VoterId,
        /// To whom.
        to: VoterId,
        /// It is cut.
        cut: bool,
    },
}

/// Why something was not done; see the errors of the port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No leader with a majority in time; nothing was handed to a log.
    NoQuorum(String),
    /// It may be committed, now or later, or never.
    Unknown(String),
    /// It makes no sense, or another change is under way.
    Refused(String),
}

/// What goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// To the replica: apply this. What the state machine of any replica answers to a command is the answer to it.
    Tell(VoterId, GroupEvent),
    /// To the caller at a replica.
    Done {
        /// The replica.
        by: VoterId,
        /// The request.
        id: RequestId,
        /// The place of the command, or up to which the replica has applied.
        result: Result<LogPlace, Refusal>,
    },
}

#[derive(Clone, Debug)]
enum Entry {
    Command(Vec<u8>),
    Configuration(Configuration),
}

#[derive(Debug, Default)]
struct Replica {
    up: bool,
    /// The last entry on its disc.
    stored: u64,
    /// The last entry that it was given since its start.
    told: u64,
    /// The configuration as it was told.
    configuration: Configuration,
}

#[derive(Clone, Debug)]
struct Request {
    by: VoterId,
    ask: Ask,
    since: Instant,
}

/// The group.
#[derive(Debug)]
pub struct Ideal {
    rng: Rng,
    log: Vec<(LogPlace, Entry)>,
    /// A state with everything up to a place, and the configuration then.
    snapshot: Option<(LogPlace, Vec<u8>, Configuration)>,
    replicas: BTreeMap<VoterId, Replica>,
    cut: BTreeSet<(VoterId, VoterId)>,
    configuration: Configuration,
    term: u64,
    leader: Option<VoterId>,
    /// Handing over: this one leads next.
    heir: Option<VoterId>,
    requests: BTreeMap<RequestId, Request>,
    /// Barriers that wait for their replica to apply up to an index.
    readers: BTreeMap<RequestId, u64>,
    /// Commands that a leader had when it was lost, and that the next commits.
    limbo: Vec<Vec<u8>>,
    change: Option<Change>,
    steps: BTreeMap<(Instant, u64), Step>,
    made: u64,
}

impl Ideal {
    /// A group that is not founded, whose chance comes from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            log: Vec::new(),
            snapshot: None,
            replicas: BTreeMap::new(),
            cut: BTreeSet::new(),
            configuration: Configuration::default(),
            term: 0,
            leader: None,
            heir: None,
            requests: BTreeMap::new(),
            readers: BTreeMap::new(),
            limbo: Vec::new(),
            change: None,
            steps: BTreeMap::new(),
            made: 0,
        }
    }

    /// Who leads with a majority.
    #[must_use]
    pub fn leader(&self) -> Option<VoterId> {
        self.leader.filter(|leader| self.can_commit(*leader))
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The place of the last committed entry.
    #[must_use]
    pub fn last(&self) -> LogPlace {
        self.log.last().map_or(LogPlace::default(), |(at, _)| *at)
    }

    /// The place up to which a replica was told.
    #[must_use]
    pub fn applied(&self, replica: VoterId) -> LogPlace {
        self.place(self.replicas.get(&replica).map_or(0, |replica| replica.told))
    }

    /// Who votes and learns, as a replica was told.
    #[must_use]
    pub fn configuration_for(&self, replica: VoterId) -> Configuration {
        self.replicas.get(&replica).map_or_else(Configuration::default, |replica| replica.configuration.clone())
    }

    /// The place of the last entry on a replica's disc.
    #[must_use]
    pub fn stored(&self, replica: VoterId) -> LogPlace {
        self.place(self.replicas.get(&replica).map_or(0, |replica| replica.stored))
    }

    fn place(&self, at: u64) -> LogPlace {
        at.checked_sub(1).and_then(|at| self.log.get(index(at))).map_or(LogPlace::default(), |(at, _)| *at)
    }

    /// The leader as this replica knows it: the one that it can reach, itself or through another.
    #[must_use]
    pub fn leader_for(&self, replica: VoterId) -> Option<VoterId> {
        self.leader().filter(|leader| self.within_a_hop(replica, *leader))
    }

    fn is_up(&self, replica: VoterId) -> bool {
        self.replicas.get(&replica).is_some_and(|replica| replica.up)
    }

    /// Both are up and can speak with each other.
    fn linked(&self, a: VoterId, b: VoterId) -> bool {
        self.is_up(a) && self.is_up(b) && (a == b || !(self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))))
    }

    fn within_a_hop(&self, a: VoterId, b: VoterId) -> bool {
        self.linked(a, b) || self.replicas.keys().any(|between| self.linked(a, *between) && self.linked(*between, b))
    }

    fn can_commit(&self, leader: VoterId) -> bool {
        // Who is no voter any more has led up to the end of the change, and no further.
        self.is_up(leader)
            && self.configuration.has_voter(leader)
            && self.configuration.is_majority(|voter| self.linked(leader, voter))
    }

    fn delay(&mut self) -> Duration {
        DELAY / 2 + self.rng.up_to(DELAY / 2)
    }

    fn plan(&mut self, at: Instant, step: Step) {
        self.made += 1;
        self.steps.insert((at, self.made), step);
    }

    /// Appends what the leader commits, and gives it to whoever is in reach. The caller has made sure of the majority.
    fn commit(&mut self, entry: Entry, now: Instant, out: &mut Vec<Output>) -> LogPlace {
        let at = LogPlace { term: self.term, index: self.log.len() as u64 + 1 };
        let entry = match entry {
            Entry::Configuration(configuration) => {
                self.configuration = Configuration { at, committed: true, ..configuration };
                Entry::Configuration(self.configuration.clone())
            }
            command @ Entry::Command(_) => command,
        };
        self.log.push((at, entry));
        let Some(leader) = self.leader else { return at };
        let holders: Vec<VoterId> = self.replicas.keys().copied().filter(|other| self.linked(leader, *other)).collect();
        for holder in holders {
            // It is on the discs of a majority before the leader says so; what it means there comes a little later.
            if self.configuration.has_voter(holder)
                && let Some(replica) = self.replicas.get_mut(&holder)
            {
                replica.stored = at.index;
            }
        }
        self.tell(leader, out);
        let later = now + self.delay();
        self.plan(later, Step::Spread);
        at
    }

    /// Gives a replica what it lacks of what it may know.
    fn tell(&mut self, to: VoterId, out: &mut Vec<Output>) {
        let last = self.log.len() as u64;
        let Some(replica) = self.replicas.get_mut(&to).filter(|replica| replica.up) else { return };
        replica.stored = last;
        if let Some((at, bytes, configuration)) = &self.snapshot
            && replica.told == 0
        {
            replica.told = at.index;
            replica.configuration = configuration.clone();
            out.push(Output::Tell(to, GroupEvent::Restored { snapshot: bytes.clone(), at: *at }));
            out.push(Output::Tell(to, GroupEvent::Reconfigured(configuration.clone())));
        }
        for (at, entry) in &self.log[index(replica.told)..] {
            if let Entry::Configuration(configuration) = entry {
                replica.configuration = configuration.clone();
            }
            out.push(Output::Tell(
                to,
                match entry {
                    Entry::Command(command) => GroupEvent::Applied { at: *at, command: command.clone() },
                    Entry::Configuration(configuration) => GroupEvent::Reconfigured(configuration.clone()),
                },
            ));
        }
        replica.told = last;
        self.answer_readers(to, out);
    }

    fn answer_readers(&mut self, at: VoterId, out: &mut Vec<Output>) {
        let told = self.replicas.get(&at).map_or(0, |replica| replica.told);
        let requests = &self.requests;
        let ready = |(id, wanted): &(&RequestId, &u64)| {
            **wanted <= told && requests.get(id).is_some_and(|request| request.by == at)
        };
        let ready: Vec<RequestId> = self.readers.iter().filter(ready).map(|(id, _)| *id).collect();
        for id in ready {
            self.readers.remove(&id);
            let place = self.applied(at);
            self.done(id, Ok(place), out);
        }
    }

    fn done(&mut self, id: RequestId, result: Result<LogPlace, Refusal>, out: &mut Vec<Output>) {
        self.readers.remove(&id);
        if let Some(request) = self.requests.remove(&id)
            && self.is_up(request.by)
        {
            out.push(Output::Done { by: request.by, id, result });
        }
    }

    /// What the world did may have taken the leader's majority, or given somebody one.
    fn look(&mut self, now: Instant) {
        let leads = self.leader.is_some_and(|leader| self.can_commit(leader));
        let planned = self.steps.values().any(|step| matches!(step, Step::Elect));
        if !leads && !planned {
            let at = now + LEADERLESS + self.rng.up_to(LEADERLESS);
            self.plan(at, Step::Elect);
        }
        let later = now + self.delay();
        self.plan(later, Step::Spread);
    }

    fn found(&mut self, voters: BTreeSet<VoterId>, now: Instant) {
        if self.log.is_empty() && !voters.is_empty() {
            let set: Vec<VoterId> = voters.into_iter().collect();
            let at = LogPlace { term: 0, index: 1 };
            self.configuration = Configuration { voters: vec![set.clone()], learners: Vec::new(), at, committed: true };
            self.log.push((at, Entry::Configuration(self.configuration.clone())));
            for voter in set {
                self.replicas.entry(voter).or_default().stored = 1;
            }
            self.plan(now + DELAY * 10, Step::Elect);
        }
    }
}

/// Every index here counts entries that are in memory.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl Machine for Ideal {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let mono = now.mono;
        match input {
            Input::Found(voters) => self.found(voters, mono),
            Input::Ask { by, id, ask } => {
                self.requests.insert(id, Request { by, ask, since: mono });
                let at = mono + self.delay();
                self.plan(at, Step::Arrive(id));
            }
            Input::HandOver(by, among) => self.hand_over(by, &among, mono),
            Input::Snapshot(by, bytes) => {
                let (at, told) = (self.applied(by), self.replicas.get(&by).map_or(0, |replica| replica.told));
                if told > self.snapshot.as_ref().map_or(0, |(at, ..)| at.index) {
                    self.snapshot = Some((at, bytes, self.configuration_at(told)));
                }
            }
            Input::Up(replica) => {
                let replica = self.replicas.entry(replica).or_default();
                replica.up = true;
                replica.told = 0;
                replica.configuration = Configuration::default();
                self.look(mono);
            }
            Input::Down(replica) => {
                if let Some(replica) = self.replicas.get_mut(&replica) {
                    replica.up = false;
                }
                let mine = |(id, request): (&RequestId, &Request)| (request.by == replica).then_some(*id);
                let gone: Vec<RequestId> = self.requests.iter().filter_map(mine).collect();
                for id in gone {
                    // Its caller ended with it; what it had handed in goes on.
                    self.readers.remove(&id);
                }
                self.look(mono);
            }
            Input::Cut { from, to, cut } => {
                if cut {
                    self.cut.insert((from, to))
                } else {
                    self.cut.remove(&(from, to))
                };
                self.look(mono);
            }
        }
        self.tick(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some(entry) = self.steps.first_entry().filter(|entry| entry.key().0 <= now.mono) {
            let step = entry.remove();
            self.step(step, now.mono, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.steps.keys().next().map(|(at, _)| *at)
    }

    fn check(&self) {
        for (place, (at, _)) in self.log.iter().enumerate() {
            assert_eq!(at.index, place as u64 + 1, "the log has no gaps");
        }
        assert!(self.log.is_sorted_by_key(|(at, _)| at.term), "terms only grow along a log");
        for (id, replica) in &self.replicas {
            assert!(replica.told <= self.log.len() as u64, "{id} was told of what is not committed");
        }
        let last = self.log.len() as u64;
        let holds = |voter: VoterId| self.replicas.get(&voter).is_some_and(|replica| replica.stored >= last);
        assert!(self.log.is_empty() || self.configuration.is_majority(holds), "what is committed, a majority holds");
    }
}
