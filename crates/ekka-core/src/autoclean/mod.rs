//! Who is forgotten, and when: a member that was down for `cluster.autoclean` goes by one committed entry.
//!
//! **Owns** since when this node, while it leads the durable group, has seen each member down without a break, and what
//! each voter said last.
//!
//! **Inputs** whether this node leads and in which term, who votes, whom this node sees down and what the others report,
//! the configured limit, and how each removal ended.
//!
//! **Outputs** whom to have removed, with who saw it down for how long, and whom no more.
//!
//! **Invariants**: nobody is cleaned who is heard, or whose heal is under way, or whose start is not over by a committed
//! entry; none that this node has not itself seen down for the whole limit in one term that it leads; none without the
//! same word of a majority of the voters, of each set while a joint change is under way. Only the monotonic clock counts,
//! and of that only the time in which this process ran: one that stood still saw nobody.
//!
//! **Why only who is over.** `gone` ends the member's lease first, so its locks and duties are settled before it is
//! forgotten; and the entry that takes it out names a start that can never come back, so one that lies in a log for long
//! takes out nobody who has returned since.
//!
//! **Why a majority, and not all.** A minority that counts by what it sees itself would forget the majority: two clusters
//! from one cut. Only the committed set of voters says what a majority is (schedule S2-3).
//!
//! **Sources**: section 10 of the design; schedules S2-3 and S1-8; emqx#1720, #2470, #11157, #16544.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, NodeId};
use crate::limits::{CLEAN_AGAIN, CLEAN_LOOK, DOWN_REPORT_KEPT, PROCESS_STOPPED};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// A member that this node sees down at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Down {
    /// Its latest committed start.
    pub id: Incarnation,
    /// That start is over by a committed entry.
    pub over: bool,
    /// A heal with it is under way.
    pub heals: bool,
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// `cluster.autoclean`; `None` cleans nobody.
    Limit(Option<Duration>),
    /// The term of the durable group, and whether this node leads it.
    Standing {
        /// The term.
        term: u64,
        /// This node leads it.
        leads: bool,
    },
    /// Who votes in the durable group: one set, or two while a joint change is under way.
    Voters(Vec<BTreeSet<NodeId>>),
    /// All members that this node sees down or stopped now; whoever is not among them is heard, or no member.
    Down(Vec<Down>),
    /// Whom a voter sees down, this node included. Said at least once a second.
    Report {
        /// Which voter.
        voter: NodeId,
        /// Whom.
        down: BTreeSet<Incarnation>,
    },
    /// The removal of this member has ended: it is out, or it was refused or given up.
    Ended(NodeId),
}

/// What the room wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Have this member removed; from what that was decided.
    Clean(Case, Box<Grounds>),
    /// Do not, whatever was said before.
    Withdraw(NodeId),
}

/// Why a member is cleaned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Its latest start.
    pub id: Incarnation,
    /// For how long this node has seen it down without a break, by its monotonic clock.
    pub down_for: Duration,
    /// `cluster.autoclean` at that moment.
    pub limit: Duration,
    /// The voters that report the same.
    pub seen_by: Vec<NodeId>,
}

/// What a removal is decided from. Kept in the record of the decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grounds {
    /// Its latest start.
    pub id: Incarnation,
    /// That start is over by a committed entry.
    pub over: bool,
    /// A heal with it is under way.
    pub heals: bool,
    /// For how long this node has seen it down without a break.
    pub down_for: Duration,
    /// `cluster.autoclean`.
    pub limit: Duration,
    /// Who votes.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Who reported it down, and how long ago.
    pub reports: Vec<(NodeId, Duration)>,
}

impl Grounds {
    /// Decides: why the member is to be cleaned, if it is.
    #[must_use]
    pub fn case(&self) -> Option<Case> {
        let fresh = self.reports.iter().filter(|(_, ago)| *ago <= DOWN_REPORT_KEPT);
        let by: BTreeSet<NodeId> = fresh.map(|(by, _)| *by).collect();
        let majority = |set: &BTreeSet<NodeId>| set.intersection(&by).count() * 2 > set.len();
        let agreed = !self.voters.is_empty() && self.voters.iter().all(majority);
        let may = self.over && !self.heals && self.down_for >= self.limit && agreed;
        may.then(|| Case { id: self.id, down_for: self.down_for, limit: self.limit, seen_by: by.into_iter().collect() })
    }
}

/// Faults put in on purpose, so that a test can show that the harness sees them. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// It counts for itself, whoever leads and whatever the voters say.
    pub minority: bool,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Autoclean {
    me: NodeId,
    limit: Option<Duration>,
    term: u64,
    leads: bool,
    voters: Vec<BTreeSet<NodeId>>,
    down: BTreeMap<Incarnation, Down>,
    /// Since when each of them was seen down without a break, in this term.
    since: BTreeMap<Incarnation, Instant>,
    reports: BTreeMap<NodeId, (Instant, BTreeSet<Incarnation>)>,
    /// Whose removal is asked for.
    asked: BTreeMap<NodeId, Incarnation>,
    look_at: Instant,
    called_at: Instant,
    faults: Faults,
}

impl Autoclean {
    /// One that counts nobody yet.
    #[must_use]
    pub fn new(me: NodeId, limit: Option<Duration>, faults: Faults) -> Self {
        Self {
            me,
            limit,
            term: 0,
            leads: false,
            voters: Vec::new(),
            down: BTreeMap::new(),
            since: BTreeMap::new(),
            reports: BTreeMap::new(),
            asked: BTreeMap::new(),
            look_at: Instant::ZERO,
            called_at: Instant::ZERO,
            faults,
        }
    }

    /// The same node with the same settings, in another cluster or over another replica: it has counted nothing.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.me, self.limit, self.faults)
    }

    /// The configured limit.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    fn counts(&self) -> bool {
        self.leads || self.faults.minority
    }

    fn standing(&mut self, term: u64, leads: bool, now: Instant, out: &mut Vec<Output>) {
        if (term, leads) == (self.term, self.leads) {
            return;
        }
        (self.term, self.leads) = (term, leads);
        if self.faults.minority {
            return;
        }
        // What was counted in another term counts no more: who leads now counts by what it sees from now on.
        self.since = self.down.keys().map(|id| (*id, now)).collect();
        self.reports.clear();
        out.extend(core::mem::take(&mut self.asked).into_keys().map(Output::Withdraw));
    }

    fn down(&mut self, down: Vec<Down>, now: Instant) {
        self.down = down.into_iter().filter(|one| one.id.node_id != self.me).map(|one| (one.id, one)).collect();
        let seen = &self.down;
        self.since.retain(|id, _| seen.contains_key(id));
        for id in self.down.keys() {
            self.since.entry(*id).or_insert(now);
        }
    }

    /// From what it is decided whether a member is to be cleaned now.
    fn grounds(&self, one: &Down, now: Instant) -> Option<Grounds> {
        let limit = self.limit.filter(|_| self.counts())?;
        let down_for = now.since(*self.since.get(&one.id)?);
        let says = self.reports.iter().filter(|(_, (_, down))| down.contains(&one.id));
        let reports = says.map(|(by, (at, _))| (*by, now.since(*at))).collect();
        let Down { id, over, heals } = *one;
        Some(Grounds { id, over, heals, down_for, limit, voters: self.voters.clone(), reports })
    }

    /// Why a member is to be cleaned now, if it is.
    fn case(&self, one: &Down, now: Instant) -> Option<(Case, Grounds)> {
        let grounds = self.grounds(one, now)?;
        let Grounds { id, heals, down_for, limit, .. } = grounds;
        if self.faults.minority && !heals && down_for >= limit {
            return Some((Case { id, down_for, limit, seen_by: Vec::new() }, grounds));
        }
        Some((grounds.case()?, grounds))
    }

    /// Takes back what was asked for and does not hold any more: a vote may take long to move.
    fn review(&mut self, now: Instant, out: &mut Vec<Output>) {
        let asked = core::mem::take(&mut self.asked);
        let stands = |id: &Incarnation| self.down.get(id).is_some_and(|one| self.case(one, now).is_some());
        let (stays, goes): (BTreeMap<_, _>, BTreeMap<_, _>) = asked.into_iter().partition(|(_, id)| stands(id));
        self.asked = stays;
        out.extend(goes.into_keys().map(Output::Withdraw));
    }

    fn look(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.look_at = now + CLEAN_LOOK;
        self.review(now, out);
        let cases: Vec<(Case, Grounds)> = self.down.values().filter_map(|one| self.case(one, now)).collect();
        for (case, grounds) in cases {
            if self.asked.insert(case.id.node_id, case.id).is_none() {
                out.push(Output::Clean(case, Box::new(grounds)));
            }
        }
    }

    /// Notices that this process did not run: it saw nobody in that time, so it counts for nobody.
    fn wake(&mut self, now: Instant) {
        let stood = now.since(self.called_at);
        if stood >= PROCESS_STOPPED {
            for since in self.since.values_mut() {
                *since = now.min(*since + stood);
            }
        }
        self.called_at = now;
    }
}

impl Machine for Autoclean {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let now = now.mono;
        self.wake(now);
        match input {
            Input::Limit(limit) => self.limit = limit,
            Input::Standing { term, leads } => return self.standing(term, leads, now, out),
            Input::Voters(voters) => {
                self.voters = voters;
                return;
            }
            Input::Down(down) => self.down(down, now),
            Input::Report { voter, down } => {
                if self.voters.iter().any(|set| set.contains(&voter)) {
                    self.reports.insert(voter, (now, down));
                }
                return;
            }
            Input::Ended(node_id) => {
                if self.asked.remove(&node_id).is_some() {
                    // Where it was refused it is tried again, and not at once.
                    self.look_at = now + CLEAN_AGAIN;
                }
                return;
            }
        }
        // Whoever is heard again, or heals, must not be taken out a moment later.
        self.review(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        let now = now.mono;
        self.wake(now);
        if self.counts() && self.look_at <= now {
            self.look(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.counts() && !self.down.is_empty()).then_some(self.look_at)
    }

    fn check(&self) {
        assert!(self.since.keys().eq(self.down.keys()), "each that is down is counted, and nobody else");
        assert!(self.counts() || self.asked.is_empty(), "only who leads has members removed");
        assert!(self.down.keys().all(|id| id.node_id != self.me), "never itself");
    }
}
