//! The part of a desk on a node that votes: where it leads, it ends sessions that nobody renews, and has tokens at hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ekka_core::consensus::Standing;
use ekka_core::id::NodeId;
use ekka_core::lock::{Keeper, KeeperFaults, KeeperInput, KeeperOutput, Message};
use ekka_core::machine::Machine;
use ekka_core::time::{Instant, Now};
use tokio::sync::oneshot;

use super::ledger::{News, What};
use super::wire::Told;
use crate::consensus::raft::RaftGroup;

/// After so long tokens are asked for once more.
const TOKENS_AGAIN: Duration = Duration::from_secs(1);

/// The replica that this node serves.
pub(crate) struct Voting {
    pub(super) generation: u64,
    pub(super) group: Weak<RaftGroup>,
    keeper: Keeper,
    pub(super) standing: Arc<Standing>,
    /// Of whom a question waits for its answer.
    asked: BTreeMap<(NodeId, u64), oneshot::Sender<Told>>,
    /// Locks may be granted, and so many tokens are left.
    open: bool,
    tokens: u64,
    /// When tokens are asked for, or asked for again; `None` while that is under way.
    pub(super) tokens_at: Option<Instant>,
}

impl Voting {
    pub(super) fn new(me: NodeId, generation: u64, group: Weak<RaftGroup>, now: Instant) -> Self {
        Self {
            generation,
            group,
            keeper: Keeper::new(me, KeeperFaults::default()),
            standing: Arc::default(),
            asked: BTreeMap::new(),
            open: false,
            tokens: 0,
            tokens_at: Some(now),
        }
    }

    /// It leads, and has applied an entry of its term.
    pub(super) fn leads(&self) -> bool {
        self.standing.leads && self.standing.failed.is_none() && self.standing.applied.term == self.standing.term
    }

    pub(super) fn stands(&mut self, standing: Arc<Standing>, now: Now, out: &mut Vec<KeeperOutput>) {
        self.standing = standing;
        let leader = self.standing.leader.map(|leader| leader.node_id);
        let input = KeeperInput::Standing { term: self.standing.term, leader, ready: self.leads() };
        self.keeper.handle(input, now, out);
    }

    pub(super) fn happened(&mut self, news: &News, now: Now, out: &mut Vec<KeeperOutput>) {
        use ekka_core::lock::Event;
        (self.open, self.tokens) = (news.open, news.tokens);
        match &news.what {
            What::Events(events) => {
                for event in events {
                    let input = match event {
                        Event::Opened { session, ttl_ms } => {
                            KeeperInput::Opened { session: *session, ttl: Duration::from_millis(*ttl_ms) }
                        }
                        Event::Over { session, .. } => KeeperInput::Ended(*session),
                        _ => continue,
                    };
                    self.keeper.handle(input, now, out);
                }
            }
            // Before locks may be granted there is nobody: what is there is of before.
            What::Anew(_) if !news.open => {}
            What::Anew(sessions) => {
                let known: Vec<_> = self.keeper.sessions().collect();
                for session in known.into_iter().filter(|id| !sessions.iter().any(|(open, _)| open == id)) {
                    self.keeper.handle(KeeperInput::Ended(session), now, out);
                }
                for (session, ttl_ms) in sessions {
                    let input = KeeperInput::Opened { session: *session, ttl: Duration::from_millis(*ttl_ms) };
                    self.keeper.handle(input, now, out);
                }
            }
        }
    }

    /// A node asks; it is answered once a majority has confirmed that this one leads.
    pub(super) fn asked(
        &mut self,
        from: NodeId,
        message: Message,
        reply: oneshot::Sender<Told>,
        now: Now,
        out: &mut Vec<KeeperOutput>,
    ) {
        if let Message::Renew { ask, .. } = &message {
            // Whoever asked under this number before is answered no more.
            self.asked.retain(|_, reply| !reply.is_closed());
            self.asked.insert((from, *ask), reply);
        }
        self.keeper.handle(KeeperInput::Message { from, message }, now, out);
    }

    /// The answer to a question.
    pub(super) fn answer(&mut self, to: NodeId, message: Message) {
        match &message {
            Message::Renewed { ask, .. } => {
                if let Some(reply) = self.asked.remove(&(to, *ask)) {
                    let _ = reply.send(Told::Answer(message));
                }
            }
            Message::NotLeading { .. } => {
                // All that this node asked of one that does not lead.
                let asked: Vec<_> = self.asked.keys().filter(|(from, _)| *from == to).copied().collect();
                for key in asked {
                    if let Some(reply) = self.asked.remove(&key) {
                        let _ = reply.send(Told::Answer(message.clone()));
                    }
                }
            }
            Message::Renew { .. } => {}
        }
    }

    pub(super) fn confirmed(&mut self, round: u64, ok: bool, now: Now, out: &mut Vec<KeeperOutput>) {
        self.keeper.handle(KeeperInput::Confirmed { round, ok }, now, out);
    }

    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<KeeperOutput>) {
        self.keeper.tick(now, out);
    }

    /// Whether tokens are to be asked for now; they count as asked for from then on.
    pub(super) fn wants_tokens(&mut self, low: u64, now: Instant) -> bool {
        let wants = self.lacks_tokens(low) && self.tokens_at.is_some_and(|at| at <= now);
        if wants {
            self.tokens_at = None;
        }
        wants
    }

    /// They came, or did not.
    pub(super) fn tokens_ended(&mut self, now: Instant) {
        self.tokens_at = Some(now + TOKENS_AGAIN);
    }

    pub(super) fn deadline(&self, low: u64) -> Option<Instant> {
        let tokens = self.tokens_at.filter(|_| self.lacks_tokens(low));
        self.keeper.deadline().into_iter().chain(tokens).min()
    }

    fn lacks_tokens(&self, low: u64) -> bool {
        self.leads() && self.open && self.tokens < low
    }
}
