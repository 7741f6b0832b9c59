//! Voters with the real room and a toy engine, on a network with delays and cuts, in virtual time.
//!
//! The toy engine has what matters to campaigns: terms, one vote a term, logs of different age, and the lease in which a
//! voter refuses. Its leader's entries reach whoever can be reached.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::super::{Configuration, LogPlace, VoterId};
use super::{Answer, Campaign, Facts, Input, Output, Question, Sign};
use crate::id::NodeId;
use crate::limits::{GROUP_HEARTBEAT, GROUP_MAJORITY_SILENCE, GROUP_VOTE_LEASE};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::time::{Instant, Now, Wall};

/// How often everybody looks at the time.
const STEP: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug)]
enum Message {
    Ask(Question),
    Answer(Answer),
    Permit { term: u64 },
    Vote { term: u64, last: LogPlace },
    Voted { term: u64, granted: bool },
    Append { sign: Sign, last: LogPlace },
    Appended { term: u64, last: LogPlace },
}

struct Voter {
    room: Campaign,
    up: bool,
    term: u64,
    voted: Option<usize>,
    votes: BTreeSet<usize>,
    leads: bool,
    last: LogPlace,
    lease_from: Option<Instant>,
    acked: BTreeMap<usize, Instant>,
    matched: BTreeMap<usize, LogPlace>,
    beat_at: Instant,
    silent_until: Instant,
}

pub(super) struct World {
    now: Instant,
    rng: Rng,
    voters: Vec<Voter>,
    wires: BTreeMap<(Instant, u64), (usize, usize, Message)>,
    sent: u64,
    cut: BTreeSet<(usize, usize)>,
    /// Elections won so far.
    pub(super) elections: u64,
    /// Terms begun so far, won or not.
    pub(super) campaigns: u64,
}

pub(super) fn voter(number: usize) -> VoterId {
    VoterId { node_id: NodeId::from_u128(number as u128 + 1), start: 1 }
}

impl World {
    pub(super) fn new(count: usize, witnesses: &[usize], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let now = Instant::from_nanos(1_000_000_000);
        let witnesses: BTreeSet<NodeId> = witnesses.iter().map(|number| voter(*number).node_id).collect();
        let mut voters = Vec::new();
        for number in 0..count {
            let mut room = Campaign::new(voter(number), rng.next_u64());
            room.handle(Input::Witnesses(witnesses.clone()), at(now), &mut Vec::new());
            voters.push(Voter {
                room,
                up: true,
                term: 0,
                voted: None,
                votes: BTreeSet::new(),
                leads: false,
                last: LogPlace { term: 0, index: 1 },
                lease_from: None,
                acked: BTreeMap::new(),
                matched: BTreeMap::new(),
                beat_at: now,
                silent_until: Instant::ZERO,
            });
        }
        let (wires, cut) = (BTreeMap::new(), BTreeSet::new());
        Self { now, rng, voters, wires, sent: 0, cut, elections: 0, campaigns: 0 }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// The leader that a majority answers.
    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.voters.len()).find(|number| self.voters[*number].up && self.has_majority(*number))
    }

    pub(super) fn term(&self, number: usize) -> u64 {
        self.voters[number].term
    }

    pub(super) fn set_last(&mut self, number: usize, last: LogPlace) {
        self.voters[number].last = last;
    }

    pub(super) fn kill(&mut self, number: usize) {
        self.voters[number].up = false;
        self.voters[number].leads = false;
    }

    pub(super) fn start(&mut self, number: usize) {
        self.voters[number].up = true;
        self.voters[number].lease_from = Some(self.now);
    }

    pub(super) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        if cut {
            self.cut.insert((from, to))
        } else {
            self.cut.remove(&(from, to))
        };
    }

    /// The leader asks this voter to take over, and falls silent.
    pub(super) fn hand_over(&mut self, from: usize, to: usize) {
        let term = self.voters[from].term;
        self.voters[from].silent_until = self.now + Duration::from_millis(1_500);
        self.input(from, Input::Yielding(Some(voter(to))));
        self.send(from, to, Message::Permit { term });
    }

    pub(super) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until it holds; false where the time was over before.
    pub(super) fn run_until(&mut self, time: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        while self.now < end {
            if holds(self) {
                return true;
            }
            self.now = self.now + STEP;
            while let Some(entry) = self.wires.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, message) = entry.remove();
                if self.voters[to].up && !self.cut.contains(&(from, to)) {
                    self.receive(from, to, message);
                }
            }
            for number in 0..self.voters.len() {
                self.step(number);
            }
        }
        holds(self)
    }

    fn step(&mut self, number: usize) {
        if !self.voters[number].up {
            return;
        }
        let facts = self.facts(number);
        self.input(number, Input::Facts(facts));
        let now = self.now;
        let voter = &mut self.voters[number];
        if voter.leads && now >= voter.silent_until && now >= voter.beat_at {
            voter.beat_at = now + GROUP_HEARTBEAT;
            let (term, last) = (voter.term, voter.last);
            let sign = Sign { leader: self::voter(number), term, has_majority: self.has_majority(number) };
            for to in (0..self.voters.len()).filter(|to| *to != number) {
                self.send(number, to, Message::Append { sign, last });
            }
        }
        if self.voters[number].silent_until <= now {
            self.input(number, Input::Yielding(None));
        }
    }

    fn facts(&self, number: usize) -> Facts {
        let voter = &self.voters[number];
        let voters = (0..self.voters.len()).map(self::voter).collect();
        Facts {
            term: voter.term,
            leads: voter.leads,
            has_majority: self.has_majority(number),
            last: voter.last,
            configuration: Configuration { voters: alloc::vec![voters], ..Configuration::default() },
            matched: voter.matched.iter().map(|(other, last)| (self::voter(*other), *last)).collect(),
        }
    }

    fn has_majority(&self, number: usize) -> bool {
        let voter = &self.voters[number];
        let fresh = voter.acked.values().filter(|at| self.now.since(**at) < GROUP_MAJORITY_SILENCE).count();
        voter.leads && (fresh + 1) * 2 > self.voters.len()
    }

    fn input(&mut self, number: usize, input: Input) {
        let mut out = Vec::new();
        let now = at(self.now);
        self.voters[number].room.handle(input, now, &mut out);
        self.voters[number].room.check();
        for output in out {
            match output {
                Output::Ask { to, question } => self.send(number, number_of(to), Message::Ask(question)),
                Output::Answer { to, answer } => self.send(number, number_of(to), Message::Answer(answer)),
                Output::Elect => self.elect(number),
                Output::HandOver(to) => self.hand_over(number, number_of(to)),
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.sent += 1;
        let delay = Duration::from_micros(200) + self.rng.up_to(Duration::from_millis(2));
        self.wires.insert((self.now + delay, self.sent), (from, to, message));
    }

    fn elect(&mut self, number: usize) {
        self.campaigns += 1;
        let voter = &mut self.voters[number];
        voter.term += 1;
        voter.voted = Some(number);
        voter.votes = BTreeSet::from([number]);
        voter.leads = false;
        let (term, last) = (voter.term, voter.last);
        for to in (0..self.voters.len()).filter(|to| *to != number) {
            self.send(number, to, Message::Vote { term, last });
        }
        self.count(number);
    }

    fn count(&mut self, number: usize) {
        let all = self.voters.len();
        let now = self.now;
        let voter = &mut self.voters[number];
        if !voter.leads && voter.votes.len() * 2 > all {
            self.elections += 1;
            voter.leads = true;
            voter.last = LogPlace { term: voter.term, index: voter.last.index + 1 };
            // On credit, as the shell does it.
            voter.acked = (0..all).map(|other| (other, now)).collect();
            voter.acked.remove(&number);
            voter.matched.clear();
            voter.beat_at = now;
        }
    }

    fn later_term(&mut self, number: usize, term: u64) {
        let voter = &mut self.voters[number];
        if term > voter.term {
            voter.term = term;
            voter.voted = None;
            voter.leads = false;
        }
    }

    fn receive(&mut self, from: usize, to: usize, message: Message) {
        let now = self.now;
        match message {
            Message::Ask(question) => self.input(to, Input::Asked { from: voter(from), question }),
            Message::Answer(answer) => self.input(to, Input::Answered { from: voter(from), answer }),
            Message::Permit { term } => self.input(to, Input::Permitted { term }),
            Message::Vote { term, last } => {
                let mine = &self.voters[to];
                let leased = mine.lease_from.is_some_and(|from| now.since(from) < GROUP_VOTE_LEASE);
                let mut granted = false;
                if !leased && last >= mine.last && term >= mine.term {
                    self.later_term(to, term);
                    granted = self.voters[to].voted.is_none_or(|whom| whom == from);
                    if granted {
                        self.voters[to].voted = Some(from);
                    }
                }
                let term = self.voters[to].term;
                self.send(to, from, Message::Voted { term, granted });
            }
            Message::Voted { term, granted } => {
                self.later_term(to, term);
                if granted && term == self.voters[to].term {
                    self.voters[to].votes.insert(from);
                    self.count(to);
                }
            }
            Message::Append { sign, last } => self.append(from, to, sign, last),
            Message::Appended { term, last } => {
                self.later_term(to, term);
                if term == self.voters[to].term && self.voters[to].leads {
                    self.voters[to].acked.insert(from, now);
                    self.voters[to].matched.insert(from, last);
                }
            }
        }
    }

    fn append(&mut self, from: usize, to: usize, sign: Sign, last: LogPlace) {
        if !self.voters[to].room.listens_to(&sign, self.now) {
            return;
        }
        self.input(to, Input::Heard(sign));
        if sign.term >= self.voters[to].term {
            self.later_term(to, sign.term);
            self.voters[to].last = last;
            self.voters[to].lease_from = Some(self.now);
        }
        let (term, last) = (self.voters[to].term, self.voters[to].last);
        self.send(to, from, Message::Appended { term, last });
    }
}

fn at(mono: Instant) -> Now {
    Now { mono, wall: Wall::from_millis(0) }
}

fn number_of(id: VoterId) -> usize {
    usize::try_from(id.node_id.as_u128() - 1).unwrap()
}
