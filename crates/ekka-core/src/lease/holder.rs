//! The lease of this incarnation, on its own clock.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Faults, Message, Terms};
use crate::id::{Incarnation, NodeId};
use crate::limits::{LEASE_ASKS_MAX, LEASE_INTERVAL};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// What a holder is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HolderInput {
    /// Who leads the durable group, as far as this node knows.
    Leader(Option<NodeId>),
    /// Who votes in the durable group.
    Voters(BTreeSet<NodeId>),
    /// A message came.
    Message(Message),
    /// The committed state of the durable group, as this node has it, says that this incarnation is over.
    Gone,
    /// The leader can answer now, or so it is thought: ask at once, unless there is a lease.
    Ask,
    /// The process ends: it is fenced from now on, and renews no more. Given before the goodbye is sent.
    Goodbye,
}

/// What a holder wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HolderOutput {
    /// Send this to a voter; it may be this node itself.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// The lease has run out: from now on anybody else may be told that this incarnation is gone.
    Fenced {
        /// How long ago the question was sent that was answered last; `None` where none ever was.
        unrenewed: Option<Duration>,
    },
    /// The lease is there, for the first time or again.
    Renewed {
        /// How long the node was fenced; `None` for the first lease.
        fenced_for: Option<Duration>,
    },
    /// This incarnation is over: the node takes a new guid, and a new holder with it.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No renewal was ever answered.
    New,
    Held,
    Fenced {
        since: Instant,
    },
    /// Goodbye was said.
    Ended,
    Over,
}

/// See the module's head. One for each incarnation.
#[derive(Clone, Debug)]
pub struct Holder {
    id: Incarnation,
    phase: Phase,
    /// When the question was sent that was answered with the lease that reaches furthest.
    from: Option<Instant>,
    /// How far that lease reaches.
    until: Instant,
    leader: Option<NodeId>,
    voters: BTreeSet<NodeId>,
    /// Questions without an answer, the oldest first.
    asks: VecDeque<(u64, Instant)>,
    last_ask: u64,
    /// The latest question was answered.
    answered: bool,
    ask_at: Instant,
    faults: Faults,
}

impl Holder {
    /// A holder that has no lease yet.
    #[must_use]
    pub fn new(id: Incarnation, faults: Faults) -> Self {
        Self {
            id,
            phase: Phase::New,
            from: None,
            until: Instant::ZERO,
            leader: None,
            voters: BTreeSet::new(),
            asks: VecDeque::new(),
            last_ask: 0,
            answered: false,
            ask_at: Instant::ZERO,
            faults,
        }
    }

    /// The same incarnation without a lease, in another cluster or over another replica. Its questions go on being counted,
    /// so that a late answer to an old one is none to a new one.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { last_ask: self.last_ask, ..Self::new(self.id, self.faults) }
    }

    /// Whose lease this is.
    #[must_use]
    pub fn id(&self) -> Incarnation {
        self.id
    }

    /// When the lease runs out, on this node's clock; `None` where there is none. Whoever answers for this node compares
    /// it with the clock at that moment, so that a process that was stopped and woke up is not taken in.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Held => Some(self.until),
            Phase::New | Phase::Fenced { .. } | Phase::Ended | Phase::Over => None,
        }
    }

    /// What is left of the lease at this moment; zero where the node is fenced.
    #[must_use]
    pub fn lease_left(&self, now: Instant) -> Duration {
        self.until().map_or(Duration::ZERO, |until| until.since(now))
    }

    /// Whether the node holds its lease at this moment: nobody else has been told that it is gone.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        if self.faults.pause_unseen { self.phase == Phase::Held } else { !self.lease_left(now).is_zero() }
    }

    /// Whether this incarnation was found to be over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Compares with the clock before anything else is done: however long this process stood still, the first thing that
    /// it hears on waking is that its lease is gone.
    fn look(&mut self, now: Instant, out: &mut Vec<HolderOutput>) {
        if self.phase == Phase::Held && self.lease_left(now).is_zero() {
            self.phase = Phase::Fenced { since: now };
            out.push(HolderOutput::Fenced { unrenewed: self.from.map(|from| now.since(from)) });
        }
    }

    fn ask(&mut self, now: Instant, out: &mut Vec<HolderOutput>) {
        self.last_ask += 1;
        if self.asks.len() == LEASE_ASKS_MAX {
            self.asks.pop_front();
        }
        self.asks.push_back((self.last_ask, now));
        let message = Message::Renew { id: self.id, ask: self.last_ask };
        // A leader that fell silent may be none any more, and then somebody among the voters is, or will be.
        let to: Vec<NodeId> = match self.leader {
            Some(leader) if self.answered => alloc::vec![leader],
            _ => self.voters.iter().copied().collect(),
        };
        self.answered = false;
        out.extend(to.into_iter().map(|to| HolderOutput::Send { to, message: message.clone() }));
    }

    fn renewed(&mut self, ask: u64, terms: Terms, now: Instant, out: &mut Vec<HolderOutput>) {
        let Some((_, sent)) = self.asks.iter().find(|(number, _)| *number == ask).copied() else { return };
        self.asks.retain(|(number, _)| *number > ask);
        self.answered |= ask == self.last_ask;
        let sent = if self.faults.from_answer { now } else { sent };
        let until = sent + terms.fence_after();
        if self.from.is_none() || until > self.until {
            (self.from, self.until) = (Some(sent), until);
        }
        if !self.faults.pause_unseen && until.since(now).is_zero() {
            return;
        }
        match self.phase {
            Phase::New => out.push(HolderOutput::Renewed { fenced_for: None }),
            Phase::Fenced { since } => out.push(HolderOutput::Renewed { fenced_for: Some(now.since(since)) }),
            Phase::Held => {}
            Phase::Ended | Phase::Over => return,
        }
        self.phase = Phase::Held;
    }

    /// Gives up the lease, where there is one.
    fn give_up(&self, now: Instant, out: &mut Vec<HolderOutput>) {
        if self.phase == Phase::Held {
            out.push(HolderOutput::Fenced { unrenewed: self.from.map(|from| now.since(from)) });
        }
    }

    fn over(&mut self, now: Instant, out: &mut Vec<HolderOutput>) {
        if self.phase == Phase::Over {
            return;
        }
        self.give_up(now, out);
        self.phase = Phase::Over;
        out.push(HolderOutput::Over);
    }

    fn message(&mut self, message: &Message, now: Instant, out: &mut Vec<HolderOutput>) {
        match *message {
            Message::Renewed { id, ask, gone_after_ms } if id == self.id => {
                self.renewed(ask, Terms::from_ms(gone_after_ms), now, out);
            }
            Message::Gone { id } if id == self.id => self.over(now, out),
            Message::NotLeading { leader: Some(leader) } if self.voters.contains(&leader) => self.leader = Some(leader),
            // Of an earlier incarnation, no help, or not for a holder.
            Message::Renewed { .. } | Message::Gone { .. } | Message::NotLeading { .. } | Message::Renew { .. } => {}
        }
    }
}

impl Machine for Holder {
    type Input = HolderInput;
    type Output = HolderOutput;

    fn handle(&mut self, input: HolderInput, now: Now, out: &mut Vec<HolderOutput>) {
        if !self.faults.pause_unseen {
            self.look(now.mono, out);
        }
        match input {
            HolderInput::Leader(leader) => self.leader = leader,
            HolderInput::Voters(voters) => self.voters = voters,
            HolderInput::Message(message) => self.message(&message, now.mono, out),
            HolderInput::Ask if self.phase != Phase::Held => self.ask_at = now.mono,
            HolderInput::Ask => {}
            HolderInput::Gone => self.over(now.mono, out),
            HolderInput::Goodbye => {
                self.give_up(now.mono, out);
                if self.phase != Phase::Over {
                    self.phase = Phase::Ended;
                }
            }
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<HolderOutput>) {
        self.look(now.mono, out);
        if !matches!(self.phase, Phase::Ended | Phase::Over) && now.mono >= self.ask_at {
            self.ask(now.mono, out);
            self.ask_at = now.mono + LEASE_INTERVAL;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ended | Phase::Over => None,
            Phase::New | Phase::Held | Phase::Fenced { .. } => {
                Some(self.until().map_or(self.ask_at, |until| until.min(self.ask_at)))
            }
        }
    }

    fn check(&self) {
        assert!(self.asks.len() <= LEASE_ASKS_MAX, "questions without an answer are bounded");
        assert!(self.asks.iter().is_sorted(), "questions are in the order of their numbers and times");
        assert!(self.phase != Phase::Held || self.from.is_some(), "no lease without an answered renewal");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Guid;
    use crate::time::Wall;

    const VOTER: NodeId = NodeId::from_u128(7);

    fn at(ms: u64) -> Now {
        Now { mono: Instant::ZERO + Duration::from_millis(ms), wall: Wall::from_millis(ms) }
    }

    fn holder() -> Holder {
        let id = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(1) };
        let mut holder = Holder::new(id, Faults::default());
        holder.handle(HolderInput::Voters([VOTER, NodeId::from_u128(8)].into()), at(0), &mut Vec::new());
        holder
    }

    /// The number of the question that is asked at this time, and how many are asked.
    fn asks(holder: &mut Holder, ms: u64) -> (u64, usize) {
        let mut out = Vec::new();
        holder.tick(at(ms), &mut out);
        let asked: Vec<u64> = out
            .iter()
            .filter_map(|output| match output {
                HolderOutput::Send { message: Message::Renew { ask, .. }, .. } => Some(*ask),
                _ => None,
            })
            .collect();
        (asked[0], asked.len())
    }

    fn answer(holder: &mut Holder, ask: u64, ms: u64) -> Vec<HolderOutput> {
        let mut out = Vec::new();
        let message = Message::Renewed { id: holder.id(), ask, gone_after_ms: 15_000 };
        holder.handle(HolderInput::Message(message), at(ms), &mut out);
        holder.check();
        out
    }

    #[test]
    fn a_lease_counts_from_before_it_was_asked_for() {
        let mut holder = holder();
        let (ask, _) = asks(&mut holder, 1_000);
        assert_eq!(answer(&mut holder, ask, 4_000), [HolderOutput::Renewed { fenced_for: None }]);
        assert_eq!(holder.lease_left(at(4_000).mono), Duration::from_secs(7));
        assert!(holder.holds(at(10_999).mono) && !holder.holds(at(11_000).mono));
    }

    #[test]
    fn answers_that_overtake_each_other_never_shorten_a_lease() {
        let mut holder = holder();
        let (first, _) = asks(&mut holder, 1_000);
        let (second, _) = asks(&mut holder, 2_000);
        answer(&mut holder, second, 2_100);
        answer(&mut holder, first, 2_200);
        assert_eq!(holder.until(), Some(at(12_000).mono));
    }

    #[test]
    fn the_leader_alone_is_asked_while_it_answers_and_all_voters_else() {
        let mut holder = holder();
        assert_eq!(asks(&mut holder, 0).1, 2, "no leader is known");
        holder.handle(HolderInput::Leader(Some(VOTER)), at(0), &mut Vec::new());
        let (ask, _) = asks(&mut holder, 1_000);
        answer(&mut holder, ask, 1_100);
        assert_eq!(asks(&mut holder, 2_000).1, 1);
        assert_eq!(asks(&mut holder, 3_000).1, 2, "it did not answer");
    }

    #[test]
    fn on_waking_it_is_fenced_before_anything_else_is_answered() {
        let mut holder = holder();
        let (ask, _) = asks(&mut holder, 0);
        answer(&mut holder, ask, 100);
        let (late, _) = asks(&mut holder, 1_000);
        // Stopped here for a minute; the answer lay in the socket.
        assert!(!holder.holds(at(60_000).mono));
        let out = answer(&mut holder, late, 60_000);
        assert_eq!(
            out,
            [HolderOutput::Fenced { unrenewed: Some(Duration::from_secs(60)) }],
            "an old answer is no lease"
        );
        let (ask, _) = asks(&mut holder, 60_000);
        let out = answer(&mut holder, ask, 60_500);
        assert_eq!(out, [HolderOutput::Renewed { fenced_for: Some(Duration::from_millis(500)) }]);
    }

    #[test]
    fn what_is_gone_or_said_goodbye_never_holds_again() {
        let mut holder = holder();
        let (ask, _) = asks(&mut holder, 0);
        let mut said = holder.clone();
        said.handle(HolderInput::Goodbye, at(10), &mut Vec::new());
        assert!(answer(&mut said, ask, 20).is_empty() && !said.holds(at(20).mono) && said.deadline().is_none());
        answer(&mut holder, ask, 20);
        let mut out = Vec::new();
        holder.handle(HolderInput::Message(Message::Gone { id: holder.id() }), at(30), &mut out);
        assert!(matches!(out[..], [HolderOutput::Fenced { .. }, HolderOutput::Over]), "{out:?}");
        assert!(answer(&mut holder, ask, 40).is_empty() && !holder.holds(at(40).mono));
    }
}
