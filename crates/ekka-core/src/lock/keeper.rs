//! The time-to-live of sessions, in the memory of whoever leads the group that their locks are in.
//!
//! A new leader knows nothing of renewals: it waits the whole time-to-live of each session from when it was ready. What it
//! answers is confirmed by a majority after it was asked, and what it proposes to end is answered no more; so whoever was told
//! that its session goes on counts from before a moment at which no other leader was waiting for its end (S1-4, S2-9).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::SessionId;
use crate::consensus::rounds::Rounds;
use crate::id::NodeId;
use crate::limits::{LOCK_ASKS_MAX, LOCK_RENEWALS_MAX};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// How often sessions are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// After so long a proposal without an answer is made again. Made twice it ends a session once.
const PROPOSE_AGAIN: Duration = Duration::from_secs(2);
/// A process that was not called for so long was stopped: what was sent to it lies unread.
const STOPPED: Duration = Duration::from_secs(2);

/// A message between a client's agent and whoever may lead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// These sessions go on.
    Renew {
        /// Number of the question, by which the agent knows when it asked.
        ask: u64,
        /// Which, at most [`LOCK_RENEWALS_MAX`] of them.
        sessions: Vec<SessionId>,
    },
    /// The answer.
    Renewed {
        /// The question.
        ask: u64,
        /// These go on from when it was sent.
        sessions: Vec<SessionId>,
        /// These are not open.
        over: Vec<SessionId>,
    },
    /// Who was asked does not lead.
    NotLeading {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
}

/// What a keeper is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperInput {
    /// What the replica on this node knows.
    Standing {
        /// The term it is in.
        term: u64,
        /// Who leads it.
        leader: Option<NodeId>,
        /// This node leads it, and has applied an entry of that term, with every [`KeeperInput::Opened`] and
        /// [`KeeperInput::Ended`] before it handed in.
        ready: bool,
    },
    /// A session is open, as applied.
    Opened {
        /// Which.
        session: SessionId,
        /// How long it must be unheard before it ends.
        ttl: Duration,
    },
    /// A session has ended, as applied.
    Ended(SessionId),
    /// A message came.
    Message {
        /// From whom; it may be this node.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// The answer to [`KeeperOutput::Confirm`].
    Confirmed {
        /// Which round.
        round: u64,
        /// A majority of the voters had seen no higher term *after* the round began.
        ok: bool,
    },
}

/// What a keeper wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperOutput {
    /// Send this; it may be to this node itself.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Have a majority confirm that this node still leads this term, by questions that are sent from now on.
    Confirm {
        /// Comes back with the answer.
        round: u64,
        /// Which term. A round that another term answered is not confirmed.
        term: u64,
    },
    /// Propose [`super::Command::Expire`] of this session, with this term.
    Expire {
        /// Which.
        session: SessionId,
        /// The term.
        term: u64,
    },
}

/// Faults put in on purpose, so that a test can show that the harness sees them. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeeperFaults {
    /// It answers without having its term confirmed.
    pub unconfirmed: bool,
    /// A new leader goes by what it remembers of renewals.
    pub remembers: bool,
}

#[derive(Clone, Debug)]
struct Open {
    ttl: Duration,
    heard: Instant,
    /// When its end was proposed in this term.
    proposed: Option<Instant>,
}

/// A question that waits for a round.
#[derive(Clone, Debug)]
struct Renewal {
    from: NodeId,
    ask: u64,
    sessions: Vec<SessionId>,
}

/// See the head. One at each voter of the group.
#[derive(Clone, Debug)]
pub struct Keeper {
    me: NodeId,
    term: u64,
    leader: Option<NodeId>,
    ready: bool,
    /// No session counts as heard before this: when this node was ready, or when its process woke up.
    since: Instant,
    sessions: BTreeMap<SessionId, Open>,
    /// By who asked and the number of the question, as a ring: so many of each node are kept.
    renewals: Rounds<(NodeId, usize), Renewal>,
    look_at: Instant,
    called_at: Instant,
    faults: KeeperFaults,
}

impl Keeper {
    /// A keeper of a node that does not lead yet and knows of no session.
    #[must_use]
    pub fn new(me: NodeId, faults: KeeperFaults) -> Self {
        Self {
            me,
            term: 0,
            leader: None,
            ready: false,
            since: Instant::ZERO,
            sessions: BTreeMap::new(),
            renewals: Rounds::default(),
            look_at: Instant::ZERO,
            called_at: Instant::ZERO,
            faults,
        }
    }

    /// The sessions that it knows of.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    fn may_answer(&self) -> bool {
        self.leader == Some(self.me) && self.ready
    }

    fn standing(&mut self, term: u64, leader: Option<NodeId>, ready: bool, now: Instant) {
        let before = (self.term, self.may_answer());
        (self.term, self.leader, self.ready) = (term, leader, ready);
        if before == (term, self.may_answer()) {
            return;
        }
        if before.0 != term {
            // Whatever waits belongs to a term that is over. Proposals of earlier terms are applied by the time this node is
            // ready, or void. Those of this term may lie in the log although this node was not ready for a while.
            self.renewals.clear();
            self.sessions.values_mut().for_each(|open| open.proposed = None);
        }
        self.renewals.give_up();
        self.look_at = now;
        if !self.faults.remembers {
            self.since = now;
        }
    }

    fn message(&mut self, from: NodeId, message: &Message, now: Instant, out: &mut Vec<KeeperOutput>) {
        let Message::Renew { ask, sessions } = message else { return };
        if self.leader != Some(self.me) {
            let message = Message::NotLeading { leader: self.leader };
            return out.push(KeeperOutput::Send { to: from, message });
        }
        let sessions = sessions.iter().take(LOCK_RENEWALS_MAX).copied().collect();
        let renewal = Renewal { from, ask: *ask, sessions };
        if self.faults.unconfirmed {
            return self.answer(renewal, now, out);
        }
        let place = usize::try_from(*ask % LOCK_ASKS_MAX as u64).unwrap_or(0);
        self.renewals.wait((from, place), renewal);
        self.confirm(now, out);
    }

    fn confirm(&mut self, now: Instant, out: &mut Vec<KeeperOutput>) {
        if self.may_answer()
            && let Some(round) = self.renewals.begin(now)
        {
            out.push(KeeperOutput::Confirm { round, term: self.term });
        }
    }

    fn confirmed(&mut self, round: u64, ok: bool, now: Instant, out: &mut Vec<KeeperOutput>) {
        let Some(renewals) = self.renewals.ended(round) else { return };
        for renewal in renewals.into_values().filter(|_| ok) {
            self.answer(renewal, now, out);
        }
        self.confirm(now, out);
    }

    /// Answers a renewal, by what holds at this moment and not when it came. A session that is to end is not named: its
    /// agent stops at its deadline, or hears that it has ended. Where clocks are no further apart than they may be, its agent has
    /// given it up by then; so no seed needs this.
    fn answer(&mut self, renewal: Renewal, now: Instant, out: &mut Vec<KeeperOutput>) {
        if !self.may_answer() {
            return;
        }
        let (mut sessions, mut over) = (Vec::new(), Vec::new());
        for session in renewal.sessions {
            match self.sessions.get_mut(&session) {
                None => over.push(session),
                Some(open) if open.proposed.is_some() => {}
                Some(open) => {
                    open.heard = now;
                    sessions.push(session);
                }
            }
        }
        if !sessions.is_empty() || !over.is_empty() {
            let message = Message::Renewed { ask: renewal.ask, sessions, over };
            out.push(KeeperOutput::Send { to: renewal.from, message });
        }
    }

    fn look(&mut self, now: Instant, out: &mut Vec<KeeperOutput>) {
        self.look_at = now + LOOK_INTERVAL;
        if !self.may_answer() {
            return;
        }
        let (since, term) = (self.since, self.term);
        for (session, open) in &mut self.sessions {
            let due = match open.proposed {
                Some(at) => now.since(at) >= PROPOSE_AGAIN,
                None => now.since(open.heard.max(since)) >= open.ttl,
            };
            if due {
                open.proposed = Some(now);
                out.push(KeeperOutput::Expire { session: *session, term });
            }
        }
    }

    /// Notices that this process was stopped: renewals that came meanwhile lie unread, so nobody is unheard.
    fn wake(&mut self, now: Instant) {
        if now.since(self.called_at) >= STOPPED {
            self.since = self.since.max(now);
        }
        self.called_at = now;
    }
}

impl Machine for Keeper {
    type Input = KeeperInput;
    type Output = KeeperOutput;

    fn handle(&mut self, input: KeeperInput, now: Now, out: &mut Vec<KeeperOutput>) {
        let now = now.mono;
        self.wake(now);
        match input {
            KeeperInput::Standing { term, leader, ready } => {
                self.standing(term, leader, ready, now);
                self.confirm(now, out);
            }
            KeeperInput::Opened { session, ttl } => {
                self.sessions.entry(session).or_insert(Open { ttl, heard: now, proposed: None });
            }
            KeeperInput::Ended(session) => {
                self.sessions.remove(&session);
            }
            KeeperInput::Message { from, message } => self.message(from, &message, now, out),
            KeeperInput::Confirmed { round, ok } => self.confirmed(round, ok, now, out),
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<KeeperOutput>) {
        let now = now.mono;
        self.wake(now);
        if self.renewals.expire(now) {
            self.confirm(now, out);
        }
        if now >= self.look_at {
            self.look(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.renewals.deadline().map_or(self.look_at, |until| until.min(self.look_at)))
    }

    fn check(&self) {
        assert!(
            self.renewals.deadline().is_none() || self.may_answer(),
            "only who leads, and is ready, has its term confirmed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Guid;
    use crate::time::Wall;

    const ME: NodeId = NodeId::from_u128(1);
    const AGENT: NodeId = NodeId::from_u128(9);
    const TTL: Duration = Duration::from_secs(15);

    fn session(number: u64) -> SessionId {
        SessionId { node_id: AGENT, guid: Guid::from_u128(1), number }
    }

    struct Desk {
        keeper: Keeper,
        now: Now,
        out: Vec<KeeperOutput>,
    }

    impl Desk {
        /// Leads term 5, ready since `at` ms, with one session.
        fn leading(at: u64) -> Self {
            let mut desk =
                Self { keeper: Keeper::new(ME, KeeperFaults::default()), now: Now::default(), out: Vec::new() };
            desk.at(at);
            desk.give(KeeperInput::Opened { session: session(1), ttl: TTL });
            desk.give(KeeperInput::Standing { term: 5, leader: Some(ME), ready: true });
            desk
        }

        fn at(&mut self, ms: u64) {
            // Called as often as a process that runs is.
            let to = Instant::ZERO + Duration::from_millis(ms);
            while self.now.mono < to {
                let next = to.min(self.now.mono + Duration::from_millis(100));
                self.now = Now { mono: next, wall: Wall::from_millis(ms) };
                self.keeper.tick(self.now, &mut self.out);
                self.keeper.check();
            }
        }

        fn give(&mut self, input: KeeperInput) {
            self.keeper.handle(input, self.now, &mut self.out);
            self.keeper.check();
        }

        fn renew(&mut self, ask: u64) {
            let message = Message::Renew { ask, sessions: alloc::vec![session(1)] };
            self.give(KeeperInput::Message { from: AGENT, message });
        }

        fn taken(&mut self) -> Vec<KeeperOutput> {
            core::mem::take(&mut self.out)
        }
    }

    const EXPIRE: fn(u64) -> KeeperOutput = |term| KeeperOutput::Expire { session: session(1), term };

    /// S1-4: an answer is worth what a majority confirms after it was asked for.
    #[test]
    fn a_renewal_is_answered_after_a_round_that_began_after_it() {
        let mut desk = Desk::leading(0);
        desk.renew(1);
        assert_eq!(desk.taken(), [KeeperOutput::Confirm { round: 1, term: 5 }]);
        desk.renew(2);
        assert_eq!(desk.taken(), [], "a round that is under way proves nothing for it");
        desk.give(KeeperInput::Confirmed { round: 1, ok: true });
        let message = Message::Renewed { ask: 1, sessions: alloc::vec![session(1)], over: Vec::new() };
        let renewed = KeeperOutput::Send { to: AGENT, message };
        assert_eq!(desk.taken(), [renewed, KeeperOutput::Confirm { round: 2, term: 5 }]);
        desk.give(KeeperInput::Confirmed { round: 2, ok: false });
        assert_eq!(desk.taken(), []);
        desk.give(KeeperInput::Standing { term: 6, leader: Some(AGENT), ready: false });
        desk.renew(3);
        let message = Message::NotLeading { leader: Some(AGENT) };
        assert_eq!(desk.taken(), [KeeperOutput::Send { to: AGENT, message }]);
    }

    #[test]
    fn who_is_unheard_for_all_of_its_time_is_ended_and_answered_no_more() {
        let mut desk = Desk::leading(0);
        desk.at(10_000);
        desk.renew(1);
        desk.give(KeeperInput::Confirmed { round: 1, ok: true });
        desk.taken();
        desk.at(24_900);
        assert_eq!(desk.taken(), []);
        desk.at(25_300);
        assert_eq!(desk.taken(), [EXPIRE(5)]);
        desk.renew(2);
        desk.give(KeeperInput::Confirmed { round: 2, ok: true });
        assert_eq!(desk.taken(), [KeeperOutput::Confirm { round: 2, term: 5 }], "its end is in the log, or may be");
        desk.at(27_500);
        assert_eq!(desk.taken(), [EXPIRE(5)], "an answer was lost");
        desk.give(KeeperInput::Ended(session(1)));
        desk.renew(3);
        desk.give(KeeperInput::Confirmed { round: 3, ok: true });
        let message = Message::Renewed { ask: 3, sessions: Vec::new(), over: alloc::vec![session(1)] };
        assert!(desk.taken().contains(&KeeperOutput::Send { to: AGENT, message }));
    }

    /// S1-3, S1-4: it knows nothing of what the leader before it answered.
    #[test]
    fn a_new_leader_waits_the_whole_time_from_when_it_was_ready() {
        let mut desk = Desk::leading(0);
        desk.at(14_000);
        desk.give(KeeperInput::Standing { term: 6, leader: Some(AGENT), ready: false });
        desk.at(20_000);
        assert_eq!(desk.taken(), [], "who does not lead ends nobody");
        desk.give(KeeperInput::Standing { term: 7, leader: Some(ME), ready: false });
        desk.at(21_000);
        desk.give(KeeperInput::Standing { term: 7, leader: Some(ME), ready: true });
        desk.at(35_900);
        assert_eq!(desk.taken(), []);
        desk.at(36_300);
        assert_eq!(desk.taken(), [EXPIRE(7)]);
    }

    /// The majority was out of reach for a moment, and nobody else was elected: the end that was proposed may lie in the log.
    #[test]
    fn an_end_that_was_proposed_in_this_term_is_remembered_while_this_node_is_not_ready() {
        let mut desk = Desk::leading(0);
        desk.at(15_300);
        assert_eq!(desk.taken(), [EXPIRE(5)]);
        desk.give(KeeperInput::Standing { term: 5, leader: Some(ME), ready: false });
        desk.renew(1);
        assert_eq!(desk.taken(), [], "it waits until this node is ready");
        desk.give(KeeperInput::Standing { term: 5, leader: Some(ME), ready: true });
        assert_eq!(desk.taken(), [KeeperOutput::Confirm { round: 1, term: 5 }]);
        desk.give(KeeperInput::Confirmed { round: 1, ok: true });
        assert_eq!(desk.taken(), [], "and is not answered");
    }

    /// S2-9: what was sent to a process that was stopped lies unread when it wakes up.
    #[test]
    fn a_leader_that_was_stopped_ends_nobody_for_what_it_did_not_hear() {
        let mut desk = Desk::leading(0);
        desk.now = Now { mono: Instant::ZERO + Duration::from_secs(60), ..desk.now };
        desk.keeper.tick(desk.now, &mut desk.out);
        assert_eq!(desk.taken(), []);
        desk.at(74_900);
        assert_eq!(desk.taken(), []);
        desk.at(75_300);
        assert_eq!(desk.taken(), [EXPIRE(5)]);
    }
}
