//! Who campaigns for the leadership of a group, and when.
//!
//! Owns: what this voter has heard of leaders, when its patience ends, the question under way, what it has promised.
//! In: signs of life of leaders, questions and answers of other voters, the engine's state, a leader's permission.
//! Out: questions, answers, the order to the engine to campaign, and to a witness the advice to hand over.
//!
//! The engine decides who *is* elected, by votes that are on disc; this room only decides who asks for them, so no
//! fault of it can cost more than time. It is outside the engine since that one has no question before the vote
//! (pre-vote: Ongaro's thesis, section 9.6) and draws its timeout once (`docs/decisions`).
//!
//! Always:
//! - a voter that hears, itself or through another voter, of a leader with a majority, starts no election;
//! - nor does one whose log is older than what a majority would accept, before the watchdog's time, which begins anew
//!   with each question of one whose log is newer;
//! - nor, as long, does a witness while a core voter that answers has a log as new as its own;
//! - whoever agrees to a campaign takes nothing for a while from a leader that has lost its majority, or has permitted
//!   the campaign, so that the engine's lease ends, also where that leader can still be heard (a link that works one
//!   way).

mod round;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use self::round::Round;
use super::{Configuration, LogPlace, VoterId};
use crate::id::NodeId;
use crate::limits::{
    GROUP_HEARD, GROUP_PATIENCE, GROUP_PATIENCE_STEP, GROUP_PROMISE, GROUP_QUESTION_TIMEOUT, GROUP_VOTE_LEASE,
    GROUP_WATCHDOG,
};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::time::{Instant, Now};

/// What the engine of this replica says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// The term it is in.
    pub term: u64,
    /// This replica leads that term.
    pub leads: bool,
    /// As a leader: a majority has answered it lately.
    pub has_majority: bool,
    /// The last entry in its log.
    pub last: LogPlace,
    /// Who votes.
    pub configuration: Configuration,
    /// As a leader: up to where the others are known to have its log.
    pub matched: Vec<(VoterId, LogPlace)>,
}

/// A sign of life of a leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sign {
    /// Who it is.
    pub leader: VoterId,
    /// Its term.
    pub term: u64,
    /// It says that a majority has answered it lately.
    pub has_majority: bool,
}

/// Asked of every other voter before a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Which round of the asker; its answer repeats it.
    pub round: u64,
    /// The asker's last entry.
    pub last: LogPlace,
    /// The leader of this term has asked the asker to take over.
    pub permitted: Option<u64>,
}

/// What a voter answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The round of the question.
    pub round: u64,
    /// It would vote for the asker.
    pub agrees: bool,
    /// But not before this many milliseconds have passed.
    pub wait_ms: u16,
    /// The leader that it hears, or is, and its term.
    pub hears: Option<(VoterId, u64)>,
    /// Its own last entry.
    pub last: LogPlace,
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The engine's state, whenever it has changed.
    Facts(Facts),
    /// A leader was heard, in an append or a piece of a snapshot.
    Heard(Sign),
    /// Another voter asks.
    Asked {
        /// Who.
        from: VoterId,
        /// What.
        question: Question,
    },
    /// Another voter has answered.
    Answered {
        /// Who.
        from: VoterId,
        /// What.
        answer: Answer,
    },
    /// The leader of this term asks this voter to take over.
    Permitted {
        /// Its term.
        term: u64,
    },
    /// This leader hands over to that voter, or no longer does.
    Yielding(Option<VoterId>),
    /// Which nodes are witnesses.
    Witnesses(BTreeSet<NodeId>),
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Ask a voter.
    Ask {
        /// Whom.
        to: VoterId,
        /// What.
        question: Question,
    },
    /// Answer a voter.
    Answer {
        /// Whom.
        to: VoterId,
        /// What.
        answer: Answer,
    },
    /// Let the engine campaign now.
    Elect,
    /// This witness leads, and a core voter is up to date: hand over to it.
    HandOver(VoterId),
}

/// What this voter has heard of a leader, and when.
#[derive(Clone, Copy, Debug)]
struct Contact {
    sign: Sign,
    at: Instant,
}

/// What this voter owes to one that campaigns, itself included.
#[derive(Clone, Copy, Debug)]
struct Promise {
    until: Instant,
    /// Leaders of later terms have been elected since.
    term: u64,
    /// The leader of this term has asked for it: nothing of it may prolong the lease, not even what was under way.
    permitted: Option<u64>,
}

/// The room.
#[derive(Debug)]
pub struct Campaign {
    me: VoterId,
    rng: Rng,
    witnesses: BTreeSet<NodeId>,
    facts: Facts,
    /// The last leader with a majority that was heard.
    live: Option<Contact>,
    /// The last sign of any leader: the engine's lease runs from it.
    any: Option<Contact>,
    /// Since when it leads: its own lease runs from its election.
    leads_since: Option<Instant>,
    /// Patience ends here; `None` where this replica leads or has no vote.
    patience: Option<Instant>,
    /// Since when it has known of no leader.
    leaderless_since: Option<Instant>,
    round: Option<Round>,
    rounds: u64,
    promise: Option<Promise>,
    yielding: Option<VoterId>,
    advised: Option<Instant>,
    /// A leader of which another voter has told, and that voter: a way for what is to be passed on to it.
    relay: Option<(VoterId, VoterId)>,
}

impl Campaign {
    /// The room of one replica.
    #[must_use]
    pub fn new(me: VoterId, seed: u64) -> Self {
        Self {
            me,
            rng: Rng::new(seed),
            witnesses: BTreeSet::new(),
            facts: Facts::default(),
            live: None,
            any: None,
            leads_since: None,
            patience: None,
            leaderless_since: None,
            round: None,
            rounds: 0,
            promise: None,
            yielding: None,
            advised: None,
            relay: None,
        }
    }

    /// Whether an append of this leader is to be given to the engine. The engine's refusal of a leader whose term has
    /// passed is all that ends it, where it has the longer log and so wins no vote as long as it leads.
    #[must_use]
    pub fn listens_to(&self, sign: &Sign, now: Instant) -> bool {
        if sign.term < self.facts.term {
            return true;
        }
        let Some(promise) = self.promise.filter(|promise| now < promise.until && sign.term <= promise.term) else {
            return true;
        };
        sign.has_majority && promise.permitted != Some(sign.term)
    }

    /// The leader that this voter hears, or is, with a majority.
    #[must_use]
    pub fn hears(&self, now: Instant) -> Option<(VoterId, u64)> {
        if self.facts.leads {
            return (self.facts.has_majority && self.yielding.is_none()).then_some((self.me, self.facts.term));
        }
        let contact = self.live?;
        (now.since(contact.at) < GROUP_HEARD && contact.sign.term >= self.facts.term)
            .then_some((contact.sign.leader, contact.sign.term))
    }

    /// The leader of whom only another voter hears, and who that is.
    #[must_use]
    pub fn relay(&self, now: Instant) -> Option<(VoterId, VoterId)> {
        if self.hears(now).is_some() { None } else { self.relay }
    }

    fn is_witness(&self, voter: VoterId) -> bool {
        self.witnesses.contains(&voter.node_id)
    }

    /// How much longer than the first of the voters this one waits. Witnesses come last.
    fn rank(&self) -> u32 {
        let voters = self.facts.configuration.all_voters();
        let before = |voter: &&VoterId| (self.is_witness(**voter), **voter) < (self.is_witness(self.me), self.me);
        u32::try_from(voters.iter().filter(before).count()).unwrap_or(u32::MAX)
    }

    /// The end of patience from `now` on, with a jitter that is drawn anew.
    fn be_patient(&mut self, base: Duration, now: Instant) {
        let step = GROUP_PATIENCE_STEP;
        let wait = base + step.saturating_mul(self.rank()) + self.rng.up_to(step);
        self.patience = Some(now + wait);
    }

    fn take_facts(&mut self, facts: Facts, now: Instant) {
        let votes = facts.configuration.has_voter(self.me);
        let newer = facts.term > self.facts.term;
        let began = votes && !self.facts.configuration.has_voter(self.me);
        let led = self.facts.leads;
        self.facts = facts;
        if !self.facts.leads {
            self.leads_since = None;
        } else if self.leads_since.is_none() || newer {
            self.leads_since = Some(now);
        }
        if self.facts.leads || !votes {
            self.patience = None;
            self.round = None;
            self.leaderless_since = None;
            self.relay = None;
            return;
        }
        self.advised = None;
        // A term that somebody else has begun: it gets the time to win.
        if newer || began || led || self.patience.is_none() {
            self.leaderless_since.get_or_insert(now);
            self.be_patient(if began { Duration::ZERO } else { GROUP_PATIENCE }, now);
        }
    }

    fn heard(&mut self, sign: Sign, now: Instant) {
        if sign.term < self.facts.term {
            return;
        }
        self.any = Some(Contact { sign, at: now });
        if !sign.has_majority {
            return;
        }
        self.live = Some(Contact { sign, at: now });
        self.leaderless_since = None;
        self.relay = None;
        // A round by permission is meant for a leader that can be heard.
        if self.round.as_ref().is_some_and(|round| round.permitted != Some(sign.term)) {
            self.round = None;
        }
        if self.patience.is_some() && self.round.is_none() {
            self.be_patient(GROUP_PATIENCE, now);
        }
    }

    fn answer(&mut self, from: VoterId, question: &Question, now: Instant) -> Answer {
        let hears = self.hears(now);
        // What a leader has permitted its followers grant, and the leader itself to the one that it yields to.
        let permitted = question.permitted.is_some_and(|term| {
            term >= self.facts.term && self.yielding.is_none_or(|to| to == from) && !self.leads_unyielding()
        });
        let agrees = (hears.is_none() || permitted) && question.last >= self.facts.last;
        let mut wait = Duration::ZERO;
        if agrees {
            let permitted = question.permitted.filter(|_| permitted);
            self.promise = Some(Promise { until: now + GROUP_PROMISE, term: self.facts.term, permitted });
            // Somebody who can win tries: a watchdog here could not, and would raise its term ahead of each campaign of it.
            if question.last > self.facts.last {
                self.leaderless_since = self.leaderless_since.map(|_| now);
            }
            // Who promises gives the asker its time, unless it leads itself.
            if self.patience.is_some() && self.round.is_none() {
                self.be_patient(GROUP_PATIENCE, now);
            }
            let renewed = if self.facts.leads { self.leads_since } else { self.any.map(|any| any.at) };
            wait = renewed.map_or(Duration::ZERO, |at| GROUP_VOTE_LEASE.saturating_sub(now.since(at)));
        }
        let wait_ms = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
        let hears = if permitted { None } else { hears };
        Answer { round: question.round, agrees, wait_ms, hears, last: self.facts.last }
    }

    fn leads_unyielding(&self) -> bool {
        self.facts.leads && self.yielding.is_none()
    }

    /// Asks all other voters; alone, campaigns at once.
    fn ask(&mut self, permitted: Option<u64>, now: Instant, out: &mut Vec<Output>) {
        self.rounds += 1;
        let question = Question { round: self.rounds, last: self.facts.last, permitted };
        let others = self.facts.configuration.all_voters().into_iter().filter(|voter| *voter != self.me);
        out.extend(others.map(|to| Output::Ask { to, question }));
        self.promise = Some(Promise { until: now + GROUP_PROMISE, term: self.facts.term, permitted });
        let own_lease = if permitted.is_some() { None } else { self.any.map(|any| any.at + GROUP_VOTE_LEASE) };
        self.round = Some(Round::new(self.rounds, permitted, now, own_lease));
        self.be_patient(GROUP_QUESTION_TIMEOUT + GROUP_VOTE_LEASE, now);
    }

    fn answered(&mut self, from: VoterId, answer: Answer, now: Instant) {
        let Some(round) = self.round.as_mut().filter(|round| round.number == answer.round) else { return };
        if let Some((leader, term)) = answer.hears
            && term >= self.facts.term
            && leader != self.me
        {
            // Somebody hears of a leader: no election. It is asked again when patience ends anew.
            self.round = None;
            self.relay = Some((leader, from));
            self.leaderless_since = None;
            self.be_patient(GROUP_PATIENCE / 2, now);
            return;
        }
        round.take(from, &answer, now);
    }

    /// Campaigns where the answers of the round allow it.
    fn decide(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(round) = &mut self.round else { return };
        round.looked_at = now;
        let round = &*round;
        let (me, witnesses) = (self.me, &self.witnesses);
        let agreed = self.facts.configuration.is_majority(|voter| voter == me || round.agrees(voter));
        let is_core = |voter: VoterId| !witnesses.contains(&voter.node_id);
        let core_is_as_new =
            !is_core(me) && round.answers().any(|(voter, last)| is_core(voter) && last >= self.facts.last);
        let overdue = self.leaderless_since.is_some_and(|since| now.since(since) >= GROUP_WATCHDOG)
            && self.facts.configuration.is_majority(|voter| voter == me || round.has(voter));
        if ((agreed && !core_is_as_new) || overdue) && round.ready_at <= now {
            self.round = None;
            self.be_patient(GROUP_PATIENCE, now);
            out.push(Output::Elect);
        } else if round.end() <= now {
            self.round = None;
            self.relay = None;
            self.be_patient(GROUP_PATIENCE / 4, now);
        }
    }

    /// As a leading witness: who could lead instead, asked for at most once in a while.
    fn advise(&mut self, now: Instant, out: &mut Vec<Output>) {
        let due = self.advised.is_none_or(|at| now.since(at) >= GROUP_PATIENCE * 2);
        if !(self.facts.leads && self.is_witness(self.me) && self.facts.has_majority && due) {
            return;
        }
        let voters = self.facts.configuration.all_voters();
        let up_to_date = |(voter, at): &&(VoterId, LogPlace)| {
            *at >= self.facts.last && voters.contains(voter) && !self.is_witness(*voter) && *voter != self.me
        };
        if let Some((voter, _)) = self.facts.matched.iter().find(up_to_date) {
            self.advised = Some(now);
            out.push(Output::HandOver(*voter));
        }
    }
}

impl Machine for Campaign {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let mono = now.mono;
        match input {
            Input::Facts(facts) => self.take_facts(facts, mono),
            Input::Heard(sign) => self.heard(sign, mono),
            Input::Asked { from, question } => {
                let answer = self.answer(from, &question, mono);
                out.push(Output::Answer { to: from, answer });
            }
            Input::Answered { from, answer } => self.answered(from, answer, mono),
            Input::Permitted { term } => {
                if term >= self.facts.term && self.patience.is_some() {
                    self.ask(Some(term), mono, out);
                }
            }
            Input::Yielding(to) => self.yielding = to,
            Input::Witnesses(witnesses) => self.witnesses = witnesses,
        }
        self.tick(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        let mono = now.mono;
        self.advise(mono, out);
        if self.round.is_none() && self.patience.is_some_and(|at| at <= mono) {
            self.leaderless_since.get_or_insert(mono);
            self.ask(None, mono, out);
        }
        self.decide(mono, out);
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.round {
            Some(round) => Some(round.deadline()),
            None => self.patience,
        }
    }

    fn check(&self) {
        assert!(!(self.facts.leads && self.round.is_some()), "a leader asks nobody");
        let votes = self.facts.configuration.has_voter(self.me);
        assert!(votes || self.round.is_none(), "who has no vote does not campaign");
        assert!(self.patience.is_some() || self.round.is_none(), "a round has an end");
    }
}
