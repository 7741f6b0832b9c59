//! Members that go for good: this node's own `leave`, and what is asked of the leader of the group, who alone moves votes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::commands::Answer;
use super::removed::Log;
use super::{CommandError, Control, Message, NotRemoved, Output, RequestId};
use crate::consensus::VoterId;
use crate::decision::DecisionId;
use crate::durable::REPLACE_WITHIN;
use crate::id::{ClusterId, NodeId};
use crate::machine::Machine;
use crate::membership::{self, RemovalCause};
use crate::time::{Instant, Now};
use crate::view::Status;

/// How long `leave` and `force-leave` wait until the removal is committed: a vote moves first, to one that has caught up.
pub(super) const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The same with `--replace-with`: a little longer than the leader of the group waits, which says why.
const REPLACE_TIMEOUT: Duration = REPLACE_WITHIN.saturating_add(Duration::from_secs(10));
/// How often `leave` looks for somebody to ask.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long whoever was asked to take out itself may need to hand over leadership.
const ASK_ANOTHER_AFTER: Duration = Duration::from_millis(500);
/// How long one that was asked to remove a member may take, before another is asked.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// This node's own `leave` under way.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) id: RequestId,
    pub(super) decision: DecisionId,
    /// When the next member is asked, and how many were.
    pub(super) ask_at: Instant,
    pub(super) asked: usize,
    /// Once the removal is committed: the write that this node's own disc must have.
    pub(super) committed: Option<u64>,
    pub(super) on_disc: bool,
    pub(super) until: Instant,
}

impl Leaving {
    /// When it is looked at again.
    pub(super) fn deadline(&self) -> Instant {
        if self.committed.is_none() { self.ask_at.min(self.until) } else { self.until }
    }
}

/// A member that an operator of this node has taken out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forced {
    pub(super) id: RequestId,
    pub(super) node_id: NodeId,
    pub(super) replace_with: Option<NodeId>,
    pub(super) decision: DecisionId,
}

impl Forced {
    /// How long it is waited for: a successor may have much to learn.
    pub(super) fn timeout(&self) -> Duration {
        if self.replace_with.is_some() { REPLACE_TIMEOUT } else { REMOVAL_TIMEOUT }
    }
}

/// What is done with the answer of the leader.
#[derive(Debug)]
pub(super) enum AskedFor {
    Force(Forced),
    Farewell {
        from: NodeId,
        cluster_id: ClusterId,
    },
    /// This node's own `leave`.
    Leave,
}

#[derive(Debug)]
pub(super) struct AskedLeader {
    pub(super) what: AskedFor,
    pub(super) until: Instant,
}

impl Control {
    pub(super) fn leave(&mut self, id: RequestId, only_plan: bool, now: Now, out: &mut Vec<Output>) -> Option<Answer> {
        if let Some(error) = self.busy() {
            return Some(Err(error));
        }
        let others = self.others_up();
        let refused = match self.autocluster.cluster_id() {
            None => Some(String::from("this node is in no cluster")),
            Some(_) if self.membership.size() <= 1 => {
                Some(String::from("this node is the only member: there is nobody to leave"))
            }
            Some(_) if others.is_empty() => {
                Some(String::from("no other member is in reach to remember it: try again when one is"))
            }
            Some(_) if !self.standing.quorum.holds() => Some(self.no_majority("take a member out")),
            Some(_) => None,
        };
        if only_plan {
            return Some(self.plan_leave(refused, now, out));
        }
        if let Some(why) = refused {
            return Some(Err(CommandError::Refused(why)));
        }
        let rule = "section 6: leave takes a member out for good, and is remembered";
        let decision =
            self.decisions.record(now.wall, "leave", format!("{} leaves", self.setup.name), rule, Vec::new());
        let mut given = Vec::new();
        self.membership.handle(membership::Input::SetStatus(Status::Leaving), now, &mut given);
        self.membership_gave(given, now, out);
        self.standing.leaving = true;
        let until = now.mono + REMOVAL_TIMEOUT;
        let ask_at = now.mono;
        self.pending.leaving = Some(Leaving { id, decision, ask_at, asked: 0, committed: None, on_disc: false, until });
        self.pursue_leave(now, out);
        None
    }

    /// Brings this node's own `leave` on. The leader of the group has it committed: it moves this node's vote first, and
    /// from then on the group does not talk to this node any more. So a leader lets another one lead first, and whoever
    /// is not known to lead is asked in turn.
    fn pursue_leave(&mut self, now: Now, out: &mut Vec<Output>) {
        let asks = self.pending.asked.values().any(|asked| matches!(asked.what, AskedFor::Leave));
        let due = |leaving: &&mut Leaving| leaving.committed.is_none() && leaving.ask_at <= now.mono;
        let Some(leaving) = self.pending.leaving.as_mut().filter(due) else { return };
        leaving.ask_at = now.mono + ASK_AGAIN;
        if asks {
            return;
        }
        if self.group.durable.leads() {
            // It says by its status that it leaves: its room hands over, or moves the only vote.
            return;
        }
        leaving.asked += 1;
        let turn = leaving.asked;
        let me = self.me().node_id;
        let linked = |id: &NodeId| *id != me && self.conns.is_linked(*id);
        let members: Vec<NodeId> = self.membership.roster().by_seniority().into_iter().filter(linked).collect();
        // Every other time the one that leads, as far as this node knows: it may be one that led.
        let leader = self.group_leader().filter(linked).filter(|_| turn % 2 == 1 || members.len() == 1);
        let in_turn = || (!members.is_empty()).then(|| members[turn / 2 % members.len()]);
        if let Some(to) = leader.or_else(in_turn) {
            self.ask(to, AskedFor::Leave, (me, RemovalCause::Leave), now, out);
        }
    }

    /// This node's removal is committed: it is out, and says so once its disc has it.
    pub(super) fn leave_committed(&mut self, log: Log) {
        if self.pending.leaving.as_ref().is_none_or(|leaving| leaving.committed.is_some()) {
            return;
        }
        self.forget_cluster(true, log);
        let token = self.persist.next();
        // Its start is over there once its lease has run out: it comes back under another guid, whenever that is.
        self.persist.anew = Some(token);
        if let Some(leaving) = &mut self.pending.leaving {
            leaving.committed = Some(token);
        }
    }

    /// It is not, and this node stays a member.
    pub(super) fn leave_failed(&mut self, words: &str, out: &mut Vec<Output>) {
        let Some(Leaving { id, .. }) = self.pending.leaving.take_if(|leaving| leaving.committed.is_none()) else {
            return;
        };
        self.standing.leaving = false;
        self.dirty = true;
        let text = format!("{} stays a member: {words}", self.setup.name);
        out.push(Output::Reply { id, result: Err(CommandError::Failed(text)) });
    }

    pub(super) fn farewell_heard(&mut self, by: NodeId, now: Now) {
        self.dirty = true;
        let rule = "section 6: leave takes a member out for good, and is remembered";
        let what = format!("node_id {by} holds this node's farewell");
        self.decisions.record(now.wall, "leave", what, rule, Vec::new());
    }

    /// Answers `leave` once it is committed and on disc, or says that it is not.
    pub(super) fn finish_leaving(&mut self, now: Now, out: &mut Vec<Output>) {
        self.pursue_leave(now, out);
        let Some(Leaving { committed, on_disc, until, .. }) = self.pending.leaving else { return };
        if committed.is_none() && now.mono >= until {
            let seconds = REMOVAL_TIMEOUT.as_secs();
            let mut waits = self.group.waits.clone();
            if waits.is_empty() && self.group.durable.record().volatile_names(self.me().node_id) {
                waits = String::from("the volatile group does not go on without it yet");
            }
            let waits = if waits.is_empty() { String::new() } else { format!("; {waits}") };
            let words = format!("its removal was not committed within {seconds} s{waits}; it may be all the same");
            return self.leave_failed(&words, out);
        }
        if committed.is_none() || !on_disc && now.mono < until {
            return;
        }
        self.standing.leaving = false;
        self.dirty = true;
        let Some(Leaving { id, decision, .. }) = self.pending.leaving.take() else { return };
        let name = &self.setup.name;
        let result = if on_disc {
            Ok(self.done(format!("{name} has left the cluster"), decision))
        } else {
            Err(CommandError::Failed(format!("{name} is out of the cluster, but its own disc has not confirmed that")))
        };
        out.push(Output::Reply { id, result });
    }

    /// Ends what was asked of the leader and not answered.
    pub(super) fn expire_asked(&mut self, now: Now, out: &mut Vec<Output>) {
        let due: Vec<u64> = self.pending.asked.iter().filter(|(_, a)| a.until <= now.mono).map(|(n, _)| *n).collect();
        for nonce in due {
            if let Some(AskedLeader { what: AskedFor::Force(forced), .. }) = self.pending.asked.remove(&nonce) {
                let words = format!("the leader did not answer within {} s; it may go on", forced.timeout().as_secs());
                self.force_failed(forced.id, &words, out);
            }
        }
        let (due, later): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.pending.leaderless).into_iter().partition(|(at, _)| *at <= now.mono);
        self.pending.leaderless = later;
        let awaited = |forced: &Forced| self.pending.forcing.contains_key(&forced.id);
        let due: Vec<Forced> = due.into_iter().map(|(_, forced)| forced).filter(awaited).collect();
        for forced in due {
            self.wish_force(forced, now, out);
        }
        let due = self.pending.forcing.iter().filter(|(_, until)| **until <= now.mono).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            let waits = self.group.waits.clone();
            let waits = if waits.is_empty() { String::new() } else { format!(" ({waits})") };
            let words = if self.group_leader().is_none() {
                String::from("no leader of the group was found in time: try again")
            } else if self.pending.leaderless.iter().any(|(_, forced)| forced.id == id) {
                String::from("no leader of the group that may do it was found in time, and nothing was done: try again")
            } else {
                format!("not committed in time{waits}; it goes on")
            };
            self.force_failed(id, &words, out);
        }
    }

    /// Asks the leader of the group, who alone moves votes.
    pub(super) fn ask_leader(&mut self, leader: Option<VoterId>, forced: Forced, now: Now, out: &mut Vec<Output>) {
        let me = self.me().node_id;
        let Some(leader) = leader.filter(|leader| leader.node_id != me && self.conns.is_linked(leader.node_id)) else {
            // The voters elect one, perhaps because it is the leader that died.
            return self.pending.leaderless.push((now.mono + ASK_AGAIN, forced));
        };
        self.ask(leader.node_id, AskedFor::Force(forced), (forced.node_id, RemovalCause::Force), now, out);
    }

    /// Passes on that a node has left; it says so again until it is confirmed.
    pub(super) fn ask_for_farewell(
        &mut self,
        leader: NodeId,
        from: NodeId,
        cluster_id: ClusterId,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let same = |asked: &AskedLeader| matches!(asked.what, AskedFor::Farewell { from: other, .. } if other == from);
        if leader != self.me().node_id && !self.pending.asked.values().any(same) {
            let what = AskedFor::Farewell { from, cluster_id };
            self.ask(leader, what, (from, RemovalCause::Leave), now, out);
        }
    }

    fn ask(
        &mut self,
        leader: NodeId,
        what: AskedFor,
        (node_id, cause): (NodeId, RemovalCause),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.pending.last_nonce += 1;
        let nonce = self.pending.last_nonce;
        // A farewell, and `leave`, are said again.
        let (wait, replace_with) = match &what {
            AskedFor::Force(forced) => (forced.timeout(), forced.replace_with),
            AskedFor::Farewell { .. } | AskedFor::Leave => (ASKED_AGAIN_AFTER, None),
        };
        self.pending.asked.insert(nonce, AskedLeader { what, until: now.mono + wait });
        self.send(leader, &Message::Remove { nonce, node_id, cause, replace_with }, out);
    }

    /// The leader has answered.
    pub(super) fn leader_removed(
        &mut self,
        nonce: u64,
        result: Result<(), NotRemoved>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(AskedLeader { what, .. }) = self.pending.asked.remove(&nonce) else { return };
        match (what, result) {
            (AskedFor::Force(forced), Ok(())) => self.forced(forced, out),
            (AskedFor::Force(forced), Err(NotRemoved { again: true, .. })) => {
                self.pending.leaderless.push((now.mono + ASK_ANOTHER_AFTER, forced));
            }
            (AskedFor::Force(forced), Err(NotRemoved { words, .. })) => self.force_failed(forced.id, &words, out),
            (AskedFor::Farewell { from, cluster_id }, Ok(())) => self.confirm_farewell(from, cluster_id),
            (AskedFor::Leave, Ok(())) => self.leave_committed(Log::Delete),
            // Asked again, the next one.
            (AskedFor::Leave | AskedFor::Farewell { .. }, Err(_)) => {}
        }
    }

    pub(super) fn confirm_farewell(&mut self, from: NodeId, cluster_id: ClusterId) {
        let token = self.persist.next();
        self.pending.confirm(token, from, cluster_id);
    }

    /// A member is taken out.
    pub(super) fn forced(&mut self, forced: Forced, out: &mut Vec<Output>) {
        let Forced { id, node_id, replace_with, decision } = forced;
        self.pending.forcing.remove(&id);
        let name = self.name_of(node_id);
        let text = match replace_with {
            Some(new) => format!("{name} is no member any more; {} has its vote", self.name_of(new)),
            None => format!("{name} is no member any more"),
        };
        let reply = self.done(text, decision);
        out.push(Output::Reply { id, result: Ok(reply) });
    }

    /// It is not.
    pub(super) fn force_failed(&mut self, id: RequestId, words: &str, out: &mut Vec<Output>) {
        self.pending.forcing.remove(&id);
        out.push(Output::Reply { id, result: Err(CommandError::Failed(words.to_string())) });
    }
}
