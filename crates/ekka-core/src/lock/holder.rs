//! The sessions of one process, on its own clock.
//!
//! A session is valid until nine tenths of its time-to-live have passed since *before* the last renewal was sent that was
//! answered; the keeper waits the whole of it from a later moment, so clocks may differ in rate by a tenth (S1-4, S1-7). One
//! that ran out is lost, whatever comes later: its owner was told so.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Message, SessionId};
use crate::id::NodeId;
use crate::limits::{LOCK_ASKS_MAX, LOCK_RENEWALS_MAX};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// Renewals that are due so soon go with those that are due now.
const TOGETHER: Duration = Duration::from_millis(500);
/// So often is a session renewed within its time-to-live.
const RENEWALS: u32 = 5;

/// What a holder is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HolderInput {
    /// Who leads the group that the locks are in, and who votes there, as far as this node knows.
    Group {
        /// The leader.
        leader: Option<NodeId>,
        /// The voters.
        voters: BTreeSet<NodeId>,
    },
    /// A session was opened by a command that was answered. Told once of each: what a second answer says is old.
    Opened {
        /// Which.
        session: SessionId,
        /// Its time-to-live.
        ttl: Duration,
        /// When the command was sent.
        asked: Instant,
    },
    /// The owner is done with it, or has ended: it is renewed no more.
    Closed(SessionId),
    /// It has ended by the authority's word.
    Ended(SessionId),
    /// A message came.
    Message(Message),
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
    /// The session is valid until then, on this node's clock.
    Valid {
        /// Which.
        session: SessionId,
        /// Until when.
        until: Instant,
    },
    /// The session is lost: from now on anybody else may be given what it held.
    Lost {
        /// Which.
        session: SessionId,
        /// The authority said that it has ended; otherwise its time ran out here.
        ended: bool,
    },
}

/// Faults put in on purpose, so that a test can show that the harness sees them. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HolderFaults {
    /// A session counts from when the answer came.
    pub from_answer: bool,
    /// A process that was stopped finds out at the next look, after it has taken what came meanwhile.
    pub pause_unseen: bool,
    /// Nothing is taken off for clocks of different rates.
    pub no_margin: bool,
}

impl HolderFaults {
    /// How long a session is valid from when its renewal was sent.
    fn valid_for(self, ttl: Duration) -> Duration {
        if self.no_margin { ttl } else { ttl / 10 * 9 }
    }
}

#[derive(Clone, Debug)]
struct Kept {
    ttl: Duration,
    until: Instant,
    ask_at: Instant,
}

/// See the head. One for each process.
#[derive(Clone, Debug)]
pub struct Holder {
    leader: Option<NodeId>,
    voters: BTreeSet<NodeId>,
    sessions: BTreeMap<SessionId, Kept>,
    /// Questions without an answer, the oldest first.
    asks: VecDeque<(u64, Instant)>,
    last_ask: u64,
    /// The latest question was answered.
    answered: bool,
    faults: HolderFaults,
}

impl Holder {
    /// One that keeps nothing yet.
    #[must_use]
    pub fn new(faults: HolderFaults) -> Self {
        Self {
            leader: None,
            voters: BTreeSet::new(),
            sessions: BTreeMap::new(),
            asks: VecDeque::new(),
            last_ask: 0,
            answered: false,
            faults,
        }
    }

    /// Until when a session is valid; `None` where it is not.
    #[must_use]
    pub fn until(&self, session: SessionId) -> Option<Instant> {
        self.sessions.get(&session).map(|kept| kept.until)
    }

    /// Compares with the clock before anything else is done: the first thing that a process hears on waking is what it lost.
    fn look(&mut self, now: Instant, out: &mut Vec<HolderOutput>) {
        self.sessions.retain(|session, kept| {
            let lost = kept.until <= now;
            if lost {
                out.push(HolderOutput::Lost { session: *session, ended: false });
            }
            !lost
        });
    }

    fn opened(&mut self, session: SessionId, ttl: Duration, asked: Instant, now: Instant, out: &mut Vec<HolderOutput>) {
        let from = if self.faults.from_answer { now } else { asked };
        let until = from + self.faults.valid_for(ttl);
        if until <= now {
            return out.push(HolderOutput::Lost { session, ended: false });
        }
        self.sessions.entry(session).or_insert(Kept { ttl, until, ask_at: from + ttl / RENEWALS });
        out.push(HolderOutput::Valid { session, until });
    }

    fn ended(&mut self, session: SessionId, out: &mut Vec<HolderOutput>) {
        if self.sessions.remove(&session).is_some() {
            out.push(HolderOutput::Lost { session, ended: true });
        }
    }

    fn ask(&mut self, now: Instant, out: &mut Vec<HolderOutput>) {
        let soon = now + TOGETHER;
        let mut due: Vec<SessionId> = Vec::new();
        for (session, kept) in self.sessions.iter_mut().filter(|(_, kept)| kept.ask_at <= soon) {
            kept.ask_at = now + kept.ttl / RENEWALS;
            due.push(*session);
        }
        // A leader that fell silent may be none any more, and then somebody among the voters is, or will be.
        let to: Vec<NodeId> = match self.leader {
            Some(leader) if self.answered => alloc::vec![leader],
            _ => self.voters.iter().copied().collect(),
        };
        for sessions in due.chunks(LOCK_RENEWALS_MAX) {
            self.last_ask += 1;
            if self.asks.len() == LOCK_ASKS_MAX {
                self.asks.pop_front();
            }
            self.asks.push_back((self.last_ask, now));
            let message = Message::Renew { ask: self.last_ask, sessions: sessions.to_vec() };
            out.extend(to.iter().map(|to| HolderOutput::Send { to: *to, message: message.clone() }));
        }
        self.answered = false;
    }

    fn renewed(&mut self, sent: Instant, sessions: &[SessionId], now: Instant, out: &mut Vec<HolderOutput>) {
        let from = if self.faults.from_answer { now } else { sent };
        let faults = self.faults;
        for session in sessions {
            let Some(kept) = self.sessions.get_mut(session) else { continue };
            let until = from + faults.valid_for(kept.ttl);
            if until > kept.until {
                kept.until = until;
                out.push(HolderOutput::Valid { session: *session, until });
            }
        }
    }

    fn message(&mut self, message: &Message, now: Instant, out: &mut Vec<HolderOutput>) {
        match message {
            Message::Renewed { ask, sessions, over } => {
                // Each question is answered once. None names a session that was not open here when it was asked.
                let at = self.asks.iter().position(|(number, _)| number == ask);
                let Some((_, sent)) = at.and_then(|at| self.asks.remove(at)) else { return };
                self.answered |= *ask == self.last_ask;
                self.renewed(sent, sessions, now, out);
                for session in over {
                    self.ended(*session, out);
                }
            }
            Message::NotLeading { leader: Some(leader) } if self.voters.contains(leader) => {
                if self.leader.replace(*leader) != Some(*leader) {
                    self.ask_at_once(now);
                }
            }
            Message::NotLeading { .. } | Message::Renew { .. } => {}
        }
    }

    /// Somebody else leads: what was asked of the one before may never be answered.
    fn ask_at_once(&mut self, now: Instant) {
        self.sessions.values_mut().for_each(|kept| kept.ask_at = kept.ask_at.min(now));
        self.answered = true;
    }
}

impl Machine for Holder {
    type Input = HolderInput;
    type Output = HolderOutput;

    fn handle(&mut self, input: HolderInput, now: Now, out: &mut Vec<HolderOutput>) {
        let now = now.mono;
        if !self.faults.pause_unseen {
            self.look(now, out);
        }
        match input {
            HolderInput::Group { leader, voters } => {
                self.voters = voters;
                let before = core::mem::replace(&mut self.leader, leader);
                if leader.is_some() && before != leader {
                    self.ask_at_once(now);
                }
            }
            HolderInput::Opened { session, ttl, asked } => self.opened(session, ttl, asked, now, out),
            HolderInput::Closed(session) => drop(self.sessions.remove(&session)),
            HolderInput::Ended(session) => self.ended(session, out),
            HolderInput::Message(message) => self.message(&message, now, out),
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<HolderOutput>) {
        self.look(now.mono, out);
        if self.sessions.values().any(|kept| kept.ask_at <= now.mono) {
            self.ask(now.mono, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.sessions.values().map(|kept| kept.until.min(kept.ask_at)).min()
    }

    fn check(&self) {
        assert!(self.asks.len() <= LOCK_ASKS_MAX, "questions without an answer are bounded");
        assert!(self.asks.iter().is_sorted(), "questions are in the order of their numbers and times");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Guid;

    const LEADER: NodeId = NodeId::from_u128(7);
    const OTHER: NodeId = NodeId::from_u128(8);
    const TTL: Duration = Duration::from_secs(10);

    fn session(number: u64) -> SessionId {
        SessionId { node_id: NodeId::from_u128(1), guid: Guid::from_u128(1), number }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    struct Desk {
        holder: Holder,
        out: Vec<HolderOutput>,
    }

    impl Desk {
        /// One session that was opened at 0 ms.
        fn new() -> Self {
            let mut desk = Self { holder: Holder::new(HolderFaults::default()), out: Vec::new() };
            let voters = BTreeSet::from([LEADER, OTHER]);
            desk.give(0, HolderInput::Group { leader: Some(LEADER), voters });
            desk.give(40, HolderInput::Opened { session: session(1), ttl: TTL, asked: at(0) });
            assert_eq!(desk.taken(), [HolderOutput::Valid { session: session(1), until: at(9_000) }]);
            desk
        }

        fn give(&mut self, ms: u64, input: HolderInput) {
            self.holder.handle(input, Now { mono: at(ms), ..Now::default() }, &mut self.out);
            self.holder.check();
        }

        fn tick(&mut self, ms: u64) {
            self.holder.tick(Now { mono: at(ms), ..Now::default() }, &mut self.out);
            self.holder.check();
        }

        fn taken(&mut self) -> Vec<HolderOutput> {
            core::mem::take(&mut self.out)
        }

        /// The number of the question that is asked at this time, and of whom.
        fn asks(&mut self, ms: u64) -> (u64, Vec<NodeId>) {
            self.tick(ms);
            let asked: Vec<(NodeId, u64)> = self
                .taken()
                .into_iter()
                .map(|output| match output {
                    HolderOutput::Send { to, message: Message::Renew { ask, .. } } => (to, ask),
                    other => panic!("{other:?}"),
                })
                .collect();
            (asked[0].1, asked.into_iter().map(|(to, _)| to).collect())
        }

        fn renewed(&mut self, ms: u64, ask: u64) {
            let message = Message::Renewed { ask, sessions: alloc::vec![session(1)], over: Vec::new() };
            self.give(ms, HolderInput::Message(message));
        }
    }

    #[test]
    fn s1_4_a_session_counts_from_before_its_renewal_was_sent() {
        let mut desk = Desk::new();
        let (ask, to) = desk.asks(2_000);
        assert_eq!(to, [LEADER]);
        desk.renewed(2_900, ask);
        assert_eq!(desk.taken(), [HolderOutput::Valid { session: session(1), until: at(11_000) }]);
        let (late, to) = desk.asks(4_000);
        assert_eq!(to, [LEADER]);
        let (ask, to) = desk.asks(6_000);
        assert_eq!(to, [LEADER, OTHER], "the leader fell silent");
        desk.renewed(6_100, ask);
        desk.renewed(6_200, late);
        desk.renewed(6_300, ask);
        assert_eq!(desk.taken(), [HolderOutput::Valid { session: session(1), until: at(15_000) }], "never shorter");
        assert_eq!(desk.holder.until(session(1)), Some(at(15_000)));
    }

    #[test]
    fn s1_7_who_wakes_up_after_the_deadline_hears_of_the_loss_first_and_of_nothing_else() {
        let mut desk = Desk::new();
        let (ask, _) = desk.asks(2_000);
        desk.renewed(11_000, ask);
        assert_eq!(desk.taken(), [HolderOutput::Lost { session: session(1), ended: false }]);
        desk.renewed(11_001, ask);
        desk.tick(20_000);
        assert_eq!((desk.taken(), desk.holder.until(session(1))), (Vec::new(), None));
        // One whose opening took so long was never valid.
        desk.give(30_000, HolderInput::Opened { session: session(2), ttl: TTL, asked: at(21_000) });
        assert_eq!(desk.taken(), [HolderOutput::Lost { session: session(2), ended: false }]);
    }

    #[test]
    fn what_the_authority_has_ended_is_lost_once_and_what_its_owner_closed_is_not() {
        let mut desk = Desk::new();
        let (ask, _) = desk.asks(2_000);
        let over = Message::Renewed { ask, sessions: Vec::new(), over: alloc::vec![session(1)] };
        desk.give(2_100, HolderInput::Message(over.clone()));
        desk.give(2_200, HolderInput::Message(over));
        desk.give(2_300, HolderInput::Ended(session(1)));
        assert_eq!(desk.taken(), [HolderOutput::Lost { session: session(1), ended: true }]);
        desk.give(3_000, HolderInput::Opened { session: session(2), ttl: TTL, asked: at(3_000) });
        desk.taken();
        desk.give(3_100, HolderInput::Closed(session(2)));
        desk.tick(60_000);
        assert_eq!(desk.taken(), []);
        assert_eq!(desk.holder.deadline(), None);
    }

    #[test]
    fn another_leader_is_asked_at_once() {
        let mut desk = Desk::new();
        let (ask, _) = desk.asks(2_000);
        desk.renewed(2_050, ask);
        desk.taken();
        desk.give(2_100, HolderInput::Message(Message::NotLeading { leader: Some(NodeId::from_u128(99)) }));
        desk.tick(2_100);
        assert_eq!(desk.taken(), [], "it does not vote");
        desk.give(2_200, HolderInput::Message(Message::NotLeading { leader: Some(OTHER) }));
        assert_eq!(desk.asks(2_200).1, [OTHER]);
        desk.give(2_300, HolderInput::Message(Message::NotLeading { leader: Some(OTHER) }));
        desk.tick(2_300);
        assert_eq!(desk.taken(), [], "once");
    }

    #[test]
    fn sessions_are_renewed_together_and_in_messages_of_bounded_length() {
        let mut desk = Desk::new();
        for number in 2..=2_500 {
            desk.give(40, HolderInput::Opened { session: session(number), ttl: TTL, asked: at(number % 400) });
        }
        desk.taken();
        desk.tick(2_000);
        let lengths = desk.taken().into_iter().filter_map(|output| match output {
            HolderOutput::Send { to: LEADER, message: Message::Renew { sessions, .. } } => Some(sessions.len()),
            _ => None,
        });
        let lengths: Vec<usize> = lengths.collect();
        assert_eq!(lengths.iter().sum::<usize>(), 2_500);
        assert!(lengths.len() <= 3 && lengths.iter().all(|length| *length <= LOCK_RENEWALS_MAX), "{lengths:?}");
        assert_eq!(desk.holder.deadline(), Some(at(4_000)));
    }
}
