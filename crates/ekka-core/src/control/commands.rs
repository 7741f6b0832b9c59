//! What operators and the embedding program want: done, planned, or refused in words.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{
    CloseCause, Command, CommandError, Control, GroupRequest, Message, Output, Reply, RequestId, StopReason, Work, emit,
};
use crate::autocluster;
use crate::consensus::VoterId;
use crate::decision::DecisionId;
use crate::event::EventKind;
use crate::id::{ClusterId, NodeId, NodeName};
use crate::machine::Machine;
use crate::membership::{self, RemovalCause};
use crate::time::{Instant, Now};
use crate::view::{Quorum, Status};

/// How long `join` and `form` may take before they are given up.
const ENTER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long `leave` and `force-leave` wait until the removal is committed: a vote moves first, to one that has caught up.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often `leave` looks for somebody to ask.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long one that was asked to remove a member may take, before another is asked.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Of so many looks, every so many hands leadership over: the one before may have come to nothing.
const HAND_OVER_EVERY: usize = 10;

/// Commands that were begun.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entering: Option<Entering>,
    leaving: Option<Leaving>,
    /// Removals that the leader of the group was asked for.
    asked: BTreeMap<u64, AskedLeader>,
    last_nonce: u64,
    /// `force-leave` of members that this node's own room takes out, until when each.
    forcing: BTreeMap<RequestId, Instant>,
    /// Members that left, to be told once this node's disc has it.
    confirms: BTreeMap<(NodeId, ClusterId), u64>,
}

#[derive(Debug)]
struct Entering {
    id: RequestId,
    what: String,
    until: Instant,
}

#[derive(Debug)]
struct Leaving {
    id: RequestId,
    decision: DecisionId,
    /// When the next member is asked, and how many were.
    ask_at: Instant,
    asked: usize,
    /// Once the removal is committed: the write that this node's own disc must have.
    committed: Option<u64>,
    on_disc: bool,
    until: Instant,
}

/// What is done with the answer of the leader.
#[derive(Debug)]
enum AskedFor {
    Force {
        id: RequestId,
        node_id: NodeId,
        decision: DecisionId,
    },
    Farewell {
        from: NodeId,
        cluster_id: ClusterId,
    },
    /// This node's own `leave`.
    Leave,
}

#[derive(Debug)]
struct AskedLeader {
    what: AskedFor,
    until: Instant,
}

impl Pending {
    /// A member's farewell is to be confirmed with this write. One that is said again waits for the same.
    pub(super) fn confirm(&mut self, token: u64, to: NodeId, cluster_id: ClusterId) {
        self.confirms.entry((to, cluster_id)).or_insert(token);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let entering = self.entering.as_ref().map(|entering| entering.until);
        let leaving = self.leaving.as_ref().map(|leaving| leaving.ask_at.min(leaving.until));
        let asked = self.asked.values().map(|asked| asked.until).min();
        [entering, leaving, asked, self.forcing.values().min().copied()].into_iter().flatten().min()
    }
}

type Answer = Result<Reply, CommandError>;

#[expect(clippy::unnecessary_wraps, reason = "every caller answers with a result")]
fn plan(lines: Vec<String>, refused: Option<String>) -> Answer {
    Ok(Reply::Plan { plan: lines, refused })
}

impl Control {
    pub(super) fn command(&mut self, id: RequestId, command: Command, now: Now, out: &mut Vec<Output>) {
        let answer = match command {
            Command::Form { plan } => self.form(id, plan, now),
            Command::Join { name, plan } => self.join(id, name, plan, now),
            Command::Leave { plan } => self.leave(id, plan, now, out),
            Command::Stop { by, plan } => self.stop(id, by, plan, now, out),
            Command::Drain { plan } => Some(self.drain(true, plan, now)),
            Command::Undrain { plan } => Some(self.drain(false, plan, now)),
            Command::ForceLeave { node, alive, plan } => self.force_leave(id, &node, (alive, plan), now, out),
            Command::Why { id } => Some(match self.decisions.get(id) {
                Some(decision) => Ok(Reply::Decision(decision.clone())),
                None => Err(CommandError::NotFound(format!("no record {id} is kept on {}", self.setup.name))),
            }),
            Command::Decisions { last } => {
                let last = usize::try_from(last).unwrap_or(usize::MAX);
                Some(Ok(Reply::Decisions(self.decisions.iter().rev().take(last).cloned().collect())))
            }
            Command::SafeToStop => Some(Ok(self.safe_to_stop())),
        };
        if let Some(result) = answer {
            out.push(Output::Reply { id, result });
        }
    }

    fn record_command(&mut self, now: Now, what: &str) -> DecisionId {
        self.decisions.record(now.wall, "command", what.into(), "an operator's word", Vec::new())
    }

    fn done(&self, text: impl Into<String>, decision: DecisionId) -> Reply {
        Reply::Done { text: text.into(), decision, cluster_id: self.autocluster.cluster_id() }
    }

    /// The other members, by name, that are up.
    fn others_up(&self) -> Vec<NodeName> {
        let me = self.me().node_id;
        let roster = self.membership.roster();
        let up = roster.seats.iter().filter(|(id, seat)| seat.removed.is_none() && **id != me);
        up.filter(|(id, _)| self.membership.is_running(**id))
            .filter_map(|(id, _)| roster.records.get(id))
            .map(|record| record.name.clone())
            .collect()
    }

    fn busy(&self) -> Option<CommandError> {
        let entering = self.pending.entering.as_ref().map(|e| e.what.clone());
        let what = entering.or_else(|| self.pending.leaving.as_ref().map(|_| String::from("leave")))?;
        Some(CommandError::Refused(format!("`{what}` is under way on this node: wait for its end")))
    }

    fn form(&mut self, id: RequestId, only_plan: bool, now: Now) -> Option<Answer> {
        if let Some(error) = self.busy() {
            return Some(Err(error));
        }
        if let Some(cluster) = self.autocluster.cluster_id() {
            let why = format!("this node is in cluster {cluster} already");
            return Some(if only_plan { plan(Vec::new(), Some(why)) } else { Err(CommandError::Refused(why)) });
        }
        if only_plan {
            let lines = vec![format!("{} forms a new cluster \"{}\" alone", self.setup.name, self.setup.cluster_name)];
            return Some(plan(lines, None));
        }
        self.record_command(now, "form a cluster of this node");
        self.pending.entering = Some(Entering { id, what: "form".into(), until: now.mono + ENTER_TIMEOUT });
        self.work.push_back(Work::Autocluster(autocluster::Input::Form));
        None
    }

    fn join(&mut self, id: RequestId, name: NodeName, only_plan: bool, now: Now) -> Option<Answer> {
        if let Some(error) = self.busy() {
            return Some(Err(error));
        }
        let refused =
            |why: String| Some(if only_plan { plan(Vec::new(), Some(why)) } else { Err(CommandError::Refused(why)) });
        let Some(endpoint) = name.endpoint(self.setup.base_port) else {
            return refused(format!("{name}: base port and digits of the name are above 65535 together"));
        };
        if endpoint == self.setup.endpoint {
            return refused(format!("{name} is this node itself"));
        }
        if only_plan {
            let others = self.others_up();
            let mut lines = vec![format!("{} goes into the cluster of {name} ({endpoint})", self.setup.name)];
            if let Some(cluster) = self.autocluster.cluster_id() {
                lines.push(format!(
                    "it gives up its present cluster {cluster}, which keeps {} other members",
                    others.len()
                ));
            }
            return Some(plan(lines, None));
        }
        self.record_command(now, &format!("join {name}"));
        let what = format!("join {name}");
        self.pending.entering = Some(Entering { id, what, until: now.mono + ENTER_TIMEOUT });
        self.work.push_back(Work::Autocluster(autocluster::Input::Join { name, endpoint }));
        None
    }

    pub(super) fn command_entered(&mut self, cluster: ClusterId, decision: DecisionId, out: &mut Vec<Output>) {
        if let Some(entering) = self.pending.entering.take() {
            let text = format!("{} is in cluster {cluster}", self.setup.name);
            let reply = Reply::Done { text, decision, cluster_id: Some(cluster) };
            out.push(Output::Reply { id: entering.id, result: Ok(reply) });
        }
    }

    pub(super) fn join_done(&mut self, result: Result<ClusterId, String>, now: Now, out: &mut Vec<Output>) {
        match result {
            Ok(cluster) => {
                let decision = self.record_command(now, "join or form: done");
                self.command_entered(cluster, decision, out);
            }
            Err(why) => {
                if let Some(entering) = self.pending.entering.take() {
                    out.push(Output::Reply { id: entering.id, result: Err(CommandError::Failed(why)) });
                }
            }
        }
    }

    pub(super) fn expire_commands(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.pending.entering.as_ref().is_some_and(|entering| entering.until <= now.mono)
            && let Some(entering) = self.pending.entering.take()
        {
            let waits = self.waits();
            let why = format!("`{}` did not end within {} s; {waits}", entering.what, ENTER_TIMEOUT.as_secs());
            out.push(Output::Reply { id: entering.id, result: Err(CommandError::Failed(why)) });
        }
    }

    fn leave(&mut self, id: RequestId, only_plan: bool, now: Now, out: &mut Vec<Output>) -> Option<Answer> {
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
            let lines = vec![
                format!(
                    "{} leaves for good; {} members stay",
                    self.setup.name,
                    self.membership.size().saturating_sub(1)
                ),
                String::from("no strategy brings it back until `ekka join` or `ekka form`"),
            ];
            return Some(plan(lines, refused));
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
    /// from then on the group does not talk to this node any more. So a leader lets another one lead, and whoever is
    /// not known to lead is asked in turn.
    fn pursue_leave(&mut self, now: Now, out: &mut Vec<Output>) {
        let asks = self.pending.asked.values().any(|asked| matches!(asked.what, AskedFor::Leave));
        let due = |leaving: &&mut Leaving| leaving.committed.is_none() && leaving.ask_at <= now.mono;
        let Some(leaving) = self.pending.leaving.as_mut().filter(due) else { return };
        leaving.ask_at = now.mono + ASK_AGAIN;
        if asks {
            return;
        }
        leaving.asked += 1;
        let turn = leaving.asked;
        if let Some(others) = self.leads_with() {
            // The only voter says by its status that it leaves, and moves its own vote.
            if !others.is_empty() && turn % HAND_OVER_EVERY == 1 {
                out.push(Output::Group(GroupRequest::HandOver));
            }
            return;
        }
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
    pub(super) fn leave_committed(&mut self, out: &mut Vec<Output>) {
        if self.pending.leaving.as_ref().is_none_or(|leaving| leaving.committed.is_some()) {
            return;
        }
        // Told at once, so that nobody takes what follows for a crash.
        self.say_goodbye(out);
        self.forget_cluster(true, false);
        let token = self.persist.next();
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

    fn no_majority(&self, what: &str) -> String {
        let Quorum { voters, in_reach, needed, .. } = self.standing.quorum;
        format!("{in_reach} of {voters} voters in reach, {needed} needed to {what}: see `ekka recover --plan`")
    }

    pub(super) fn farewell_heard(&mut self, by: NodeId, now: Now) {
        self.dirty = true;
        let rule = "section 6: leave takes a member out for good, and is remembered";
        let what = format!("node_id {by} holds this node's farewell");
        self.decisions.record(now.wall, "leave", what, rule, Vec::new());
    }

    pub(super) fn commands_persisted(&mut self, token: u64, out: &mut Vec<Output>) {
        if let Some(leaving) = self.pending.leaving.as_mut().filter(|l| l.committed.is_some_and(|at| at <= token)) {
            leaving.on_disc = true;
        }
        let confirms = core::mem::take(&mut self.pending.confirms);
        let (done, later) = confirms.into_iter().partition(|(_, wanted)| *wanted <= token);
        self.pending.confirms = later;
        let done: BTreeMap<(NodeId, ClusterId), u64> = done;
        for (to, cluster_id) in done.into_keys() {
            let message = membership::Message::FarewellHeard { cluster_id };
            self.send(to, &Message::Membership(message), out);
        }
    }

    /// Answers `leave` once it is committed and on disc, or says that it is not.
    pub(super) fn finish_leaving(&mut self, now: Now, out: &mut Vec<Output>) {
        self.pursue_leave(now, out);
        let Some(Leaving { committed, on_disc, until, .. }) = self.pending.leaving else { return };
        if committed.is_none() && now.mono >= until {
            let seconds = REMOVAL_TIMEOUT.as_secs();
            let waits = self.group.waits.clone();
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
            if let Some(AskedLeader { what: AskedFor::Force { id, .. }, .. }) = self.pending.asked.remove(&nonce) {
                self.force_failed(
                    id,
                    &format!("the leader did not answer within {} s", REMOVAL_TIMEOUT.as_secs()),
                    out,
                );
            }
        }
        let due = self.pending.forcing.iter().filter(|(_, until)| **until <= now.mono).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            let waits = self.group.waits.clone();
            let words = format!("not committed within {} s ({waits}); it goes on", REMOVAL_TIMEOUT.as_secs());
            self.force_failed(id, &words, out);
        }
    }

    /// Asks the leader of the group, who alone moves votes.
    pub(super) fn ask_leader(
        &mut self,
        leader: Option<VoterId>,
        (id, node_id, decision): (RequestId, NodeId, DecisionId),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let me = self.me().node_id;
        let Some(leader) = leader.filter(|leader| leader.node_id != me && self.conns.is_linked(leader.node_id)) else {
            return self.force_failed(id, "no leader of the group is in reach just now: try again", out);
        };
        let what = AskedFor::Force { id, node_id, decision };
        self.ask(leader.node_id, what, (node_id, RemovalCause::Force), now, out);
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
        let wait = if matches!(what, AskedFor::Force { .. }) { REMOVAL_TIMEOUT } else { ASKED_AGAIN_AFTER };
        self.pending.asked.insert(nonce, AskedLeader { what, until: now.mono + wait });
        self.send(leader, &Message::Remove { nonce, node_id, cause }, out);
    }

    /// The leader has answered.
    pub(super) fn leader_removed(&mut self, nonce: u64, result: Result<(), String>, out: &mut Vec<Output>) {
        let Some(AskedLeader { what, .. }) = self.pending.asked.remove(&nonce) else { return };
        match (what, result) {
            (AskedFor::Force { id, node_id, decision }, Ok(())) => self.forced(id, node_id, decision, out),
            (AskedFor::Force { id, .. }, Err(words)) => self.force_failed(id, &words, out),
            (AskedFor::Farewell { from, cluster_id }, Ok(())) => self.confirm_farewell(from, cluster_id),
            (AskedFor::Leave, Ok(())) => self.leave_committed(out),
            // Asked again, the next one.
            (AskedFor::Leave | AskedFor::Farewell { .. }, Err(_)) => {}
        }
    }

    pub(super) fn confirm_farewell(&mut self, from: NodeId, cluster_id: ClusterId) {
        let token = self.persist.next();
        self.pending.confirm(token, from, cluster_id);
    }

    /// A member is taken out.
    pub(super) fn forced(&mut self, id: RequestId, node_id: NodeId, decision: DecisionId, out: &mut Vec<Output>) {
        self.pending.forcing.remove(&id);
        let name = self.membership.record(node_id).map_or_else(|| node_id.to_string(), |r| r.name.to_string());
        let reply = self.done(format!("{name} is no member any more"), decision);
        out.push(Output::Reply { id, result: Ok(reply) });
    }

    /// It is not.
    pub(super) fn force_failed(&mut self, id: RequestId, words: &str, out: &mut Vec<Output>) {
        self.pending.forcing.remove(&id);
        out.push(Output::Reply { id, result: Err(CommandError::Failed(words.to_string())) });
    }

    fn say_goodbye(&mut self, out: &mut Vec<Output>) {
        let peers: Vec<NodeId> = self.membership.roster().records.keys().copied().collect();
        for peer in peers {
            self.send(peer, &Message::Membership(membership::Message::Goodbye), out);
        }
    }

    fn stop(&mut self, id: RequestId, by: String, only_plan: bool, now: Now, out: &mut Vec<Output>) -> Option<Answer> {
        if only_plan {
            let Quorum { needed, in_reach, .. } = self.standing.quorum;
            let left = in_reach.saturating_sub(1);
            let lines = vec![
                format!("{} says goodbye and ends; it stays a member and comes back by itself", self.setup.name),
                format!("{left} voters stay in reach, {needed} are needed"),
            ];
            return Some(plan(lines, None));
        }
        let rule = "section 6: stop is not leave";
        let what = format!("{} stops, asked by {by}", self.setup.name);
        let decision = self.decisions.record(now.wall, "stop", what, rule, Vec::new());
        emit(Some(decision), EventKind::NodeStopping { by }, out);
        self.say_goodbye(out);
        self.persist.wanted = true;
        self.persist_if_wanted(out);
        // The reply goes first: after `Stop` nothing more is given out.
        let reply = self.done(format!("{} is stopping", self.setup.name), decision);
        out.push(Output::Reply { id, result: Ok(reply) });
        self.end(StopReason::Asked, now, out);
        None
    }

    fn drain(&mut self, on: bool, only_plan: bool, now: Now) -> Answer {
        let refused = match (self.standing.status, on) {
            (Status::Up | Status::Draining, _) | (_, false) => None,
            (status, _) => Some(format!("this node is {}: only one that is up drains", status.as_str())),
        };
        let text =
            if on { "new work goes elsewhere; the node stays a member" } else { "the node takes new work again" };
        if only_plan {
            return plan(vec![text.into()], refused);
        }
        if let Some(why) = refused {
            return Err(CommandError::Refused(why));
        }
        self.standing.draining = on;
        self.dirty = true;
        let decision = self.record_command(now, if on { "drain" } else { "undrain" });
        Ok(self.done(text, decision))
    }

    /// The one member that a name, or at least six hex digits of a node id, means.
    fn resolve(&self, text: &str) -> Result<NodeId, CommandError> {
        let roster = self.membership.roster();
        let members = || roster.seats.iter().filter(|(_, seat)| seat.removed.is_none()).map(|(id, _)| *id);
        let hex: String = text.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
        let is_hex = hex.len() >= 6 && hex.chars().all(|c| c.is_ascii_hexdigit());
        let name = text.parse::<NodeName>().ok();
        let found: Vec<NodeId> = members()
            .filter(|id| {
                let by_name = name.is_some() && roster.records.get(id).map(|r| &r.name) == name.as_ref();
                by_name || is_hex && format!("{:032x}", id.as_u128()).starts_with(&hex)
            })
            .collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => {
                let names: Vec<String> =
                    members().filter_map(|id| roster.records.get(&id)).map(|r| r.name.to_string()).collect();
                let text = format!(
                    "no member is `{text}`: give a name, or at least 6 hex digits of a node id. Members: {}",
                    names.join(", ")
                );
                Err(CommandError::NotFound(text))
            }
            _ => Err(CommandError::Ambiguous {
                text: text.into(),
                candidates: found.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    fn force_leave(
        &mut self,
        id: RequestId,
        node: &str,
        (alive, only_plan): (bool, bool),
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
        let node_id = match self.resolve(node) {
            Ok(node_id) => node_id,
            Err(error) => return Some(Err(error)),
        };
        let name = self.membership.record(node_id).map_or_else(|| node.to_string(), |r| r.name.to_string());
        let refused = if node_id == self.me().node_id {
            Some(format!("{name} is this node: use `ekka leave`"))
        } else if self.membership.is_running(node_id) && !alive {
            Some(format!("{name} is up: use `ekka leave` there; --alive to do it all the same"))
        } else if !self.standing.quorum.holds() {
            Some(self.no_majority("remove a member"))
        } else {
            None
        };
        if only_plan {
            let lines = vec![
                format!("{name} is taken out for good: its vote and its row in `members`"),
                String::from("should it come back, it is told so and stays outside until `ekka join`"),
            ];
            return Some(plan(lines, refused));
        }
        if let Some(why) = refused {
            return Some(Err(CommandError::Refused(why)));
        }
        let decision = self.record_command(now, &format!("force-leave {name}"));
        self.pending.forcing.insert(id, now.mono + REMOVAL_TIMEOUT);
        self.wish_force(id, node_id, decision, now, out);
        None
    }

    fn safe_to_stop(&self) -> Reply {
        let mut reasons = Vec::new();
        let quorum = self.standing.quorum;
        let votes = self.membership.voters().contains(&self.me().node_id);
        if self.autocluster.cluster_id().is_some() && votes && quorum.can_lose == 0 {
            reasons.push(format!(
                "without this node {} of {} voters are in reach, {} are needed",
                quorum.in_reach.saturating_sub(1),
                quorum.voters,
                quorum.needed
            ));
        }
        let roster = self.membership.roster();
        for record in
            roster.records.values().filter(|r| roster.seats.get(&r.id.node_id).is_some_and(|s| s.removed.is_none()))
        {
            let moving = matches!(record.status, Status::Joining | Status::Syncing | Status::Healing);
            if moving && self.membership.is_running(record.id.node_id) {
                reasons.push(format!("{} is {}", record.name, record.status.as_str()));
            }
        }
        Reply::Answer { yes: reasons.is_empty(), reasons }
    }

    fn fail_pending(&mut self, out: &mut Vec<Output>) {
        let ids = [self.pending.entering.take().map(|e| e.id), self.pending.leaving.take().map(|l| l.id)];
        let forced = core::mem::take(&mut self.pending.forcing).into_keys();
        for id in ids.into_iter().flatten().chain(forced).collect::<Vec<_>>() {
            out.push(Output::Reply { id, result: Err(CommandError::Stopping) });
        }
    }

    /// Ends this node.
    pub(super) fn end(&mut self, reason: StopReason, now: Now, out: &mut Vec<Output>) {
        if self.stopped {
            return;
        }
        let words = match &reason {
            StopReason::Asked => None,
            StopReason::Refused(refusal) => Some((refusal.reason.as_str().to_string(), refusal.text.clone())),
            StopReason::Restored(text) => Some((String::from("restored"), text.clone())),
        };
        if let Some((reason, text)) = words {
            let rule = "section 4: of two with one identity the newer stops; a restored directory joins as new";
            let id = self.decisions.record(now.wall, "stop", text.clone(), rule, Vec::new());
            emit(Some(id), EventKind::NodeRefused { reason, by: text }, out);
        }
        self.fail_pending(out);
        self.standing.status = Status::Stopped;
        self.dirty = true;
        self.publish(now, out);
        for conn in self.conns.all().chain(self.twins.conns()).collect::<Vec<_>>() {
            out.push(Output::Close { conn, cause: CloseCause::Stopping });
        }
        emit(None, EventKind::NodeStopped {}, out);
        self.stopped = true;
        out.push(Output::Stop(reason));
    }
}
