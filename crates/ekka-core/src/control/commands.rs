//! What operators and the embedding program want: done, planned, or refused in words.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::leave::{AskedLeader, Forced, Leaving};
use super::plans::PlannedJoin;
use super::{CloseCause, Command, CommandError, Control, Message, Output, Reply, RequestId, StopReason, Work, emit};
use crate::autocluster;
use crate::decision::DecisionId;
use crate::durable::Wish;
use crate::event::EventKind;
use crate::id::{ClusterId, NodeId, NodeName};
use crate::membership;
use crate::time::{Instant, Now};
use crate::view::{Quorum, Status};

/// How long `join` and `form` may take before they are given up.
const ENTER_TIMEOUT: Duration = Duration::from_secs(60);

/// Commands that were begun.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entering: Option<Entering>,
    pub(super) leaving: Option<Leaving>,
    /// Removals that the leader of the group was asked for.
    pub(super) asked: BTreeMap<u64, AskedLeader>,
    pub(super) last_nonce: u64,
    /// `force-leave` of members that this node's own room takes out, until when each.
    pub(super) forcing: BTreeMap<RequestId, Instant>,
    /// Those for which no leader was known, and when it is looked for again.
    pub(super) leaderless: Vec<(Instant, Forced)>,
    /// Plans of `join` that a member of the other cluster was asked for.
    pub(super) planned: BTreeMap<u64, PlannedJoin>,
    /// Members that left, to be told once this node's disc has it.
    pub(super) confirms: BTreeMap<(NodeId, ClusterId), u64>,
}

#[derive(Debug)]
struct Entering {
    id: RequestId,
    what: String,
    until: Instant,
}

impl Pending {
    /// A member's farewell is to be confirmed with this write. One that is said again waits for the same.
    pub(super) fn confirm(&mut self, token: u64, to: NodeId, cluster_id: ClusterId) {
        self.confirms.entry((to, cluster_id)).or_insert(token);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let entering = self.entering.as_ref().map(|entering| entering.until);
        let leaving = self.leaving.as_ref().map(Leaving::deadline);
        let asked = self.asked.values().map(|asked| asked.until).min();
        let planned = self.planned.values().map(|planned| planned.until).min();
        let leaderless = self.leaderless.iter().map(|(at, _)| *at).min();
        [entering, leaving, asked, planned, leaderless, self.forcing.values().min().copied()]
            .into_iter()
            .flatten()
            .min()
    }
}

pub(super) type Answer = Result<Reply, CommandError>;

#[expect(clippy::unnecessary_wraps, reason = "every caller answers with a result")]
pub(super) fn plan(lines: Vec<String>, refused: Option<String>) -> Answer {
    Ok(Reply::Plan { plan: lines, refused })
}

impl Control {
    pub(super) fn command(&mut self, id: RequestId, command: Command, now: Now, out: &mut Vec<Output>) {
        let answer = match command {
            Command::Form { plan } => self.form(id, plan, now),
            Command::Join { name, absorb, plan } => self.join(id, name, (absorb, plan), now, out),
            Command::Leave { plan } => self.leave(id, plan, now, out),
            Command::Stop { by, plan } => self.stop(id, by, plan, now, out),
            Command::Drain { plan } => Some(self.drain(true, plan, now)),
            Command::Undrain { plan } => Some(self.drain(false, plan, now)),
            Command::ForceLeave { node, replace_with, alive, plan } => {
                self.force_leave(id, (&node, replace_with.as_deref()), (alive, plan), now, out)
            }
            Command::Heal { plan } => self.ask_heal(id, plan, now, out),
            Command::Why { id } => Some(self.why(id)),
            Command::Decisions { last } => {
                let last = usize::try_from(last).unwrap_or(usize::MAX);
                Some(Ok(Reply::Decisions(self.decisions.iter().rev().take(last).cloned().collect())))
            }
            Command::SafeToStop { groups } => Some(Ok(self.safe_to_stop(groups))),
            Command::TakeTokens { count } => self.take_tokens(id, Wish::Tokens(count), now, out),
            Command::TokensFrom { floor } => self.take_tokens(id, Wish::TokensFrom(floor), now, out),
            Command::QuorumRows => self.begin_quorum_rows(id, now, out),
            Command::Schema(change) => self.change_schema(id, change, now, out),
            Command::Recover { accept_loss, plan } => self.recover(id, accept_loss && !plan, now, out),
        };
        if let Some(result) = answer {
            out.push(Output::Reply { id, result });
        }
    }

    pub(super) fn record_command(&mut self, now: Now, what: &str) -> DecisionId {
        self.decisions.record(now.wall, "command", what.into(), "an operator's word", Vec::new())
    }

    pub(super) fn done(&self, text: impl Into<String>, decision: DecisionId) -> Reply {
        Reply::Done { text: text.into(), decision, cluster_id: self.autocluster.cluster_id() }
    }

    /// The other members, by name, that are up.
    pub(super) fn others_up(&self) -> Vec<NodeName> {
        let me = self.me().node_id;
        let roster = self.membership.roster();
        let up = roster.seats.iter().filter(|(id, seat)| seat.removed.is_none() && **id != me);
        up.filter(|(id, _)| self.membership.is_running(**id))
            .filter_map(|(id, _)| roster.records.get(id))
            .map(|record| record.name.clone())
            .collect()
    }

    pub(super) fn busy(&self) -> Option<CommandError> {
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

    fn join(
        &mut self,
        id: RequestId,
        name: NodeName,
        (absorb, only_plan): (bool, bool),
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
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
        if absorb && !self.standing.quorum.holds() {
            return refused(self.no_majority("take this cluster into another one"));
        }
        // Of one that is not heard yet it is found out once it is.
        let linked = self.conns.named(&name).next().map(|(peer, _)| peer.node_id);
        if let Some(why) = linked.filter(|_| absorb).and_then(|peer| self.autocluster.is_older(peer, &name)) {
            return refused(why);
        }
        if only_plan {
            return self.plan_join(id, (&name, &endpoint), absorb, now, out);
        }
        let what = if absorb { format!("join {name} --absorb") } else { format!("join {name}") };
        self.record_command(now, &what);
        self.pending.entering = Some(Entering { id, what, until: now.mono + ENTER_TIMEOUT });
        self.work.push_back(Work::Autocluster(autocluster::Input::Join { name, endpoint, absorb }));
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

    pub(super) fn no_majority(&self, what: &str) -> String {
        let Quorum { voters, in_reach, needed, .. } = self.standing.quorum;
        format!("{in_reach} of {voters} voters in reach, {needed} needed to {what}: see `ekka recover --plan`")
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

    fn say_goodbye(&mut self, out: &mut Vec<Output>) {
        let peers: Vec<NodeId> = self.membership.roster().records.keys().copied().collect();
        for peer in peers {
            self.send(peer, &Message::Membership(membership::Message::Goodbye), out);
        }
    }

    fn stop(&mut self, id: RequestId, by: String, only_plan: bool, now: Now, out: &mut Vec<Output>) -> Option<Answer> {
        if only_plan {
            let Quorum { needed, in_reach, .. } = self.standing.quorum;
            let votes = self.membership.voters().contains(&self.me().node_id);
            let left = in_reach.saturating_sub(u32::from(votes));
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
        self.give_up_lease(now, out);
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
            (Status::Syncing | Status::Up | Status::Draining | Status::Healing, _) | (_, false) => None,
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
    pub(super) fn resolve(&self, text: &str) -> Result<NodeId, CommandError> {
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

    fn safe_to_stop(&self, groups: bool) -> Reply {
        let mut reasons = if groups { self.groups_need_me() } else { Vec::new() };
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

    /// Why a group would have no majority without this node.
    fn groups_need_me(&self) -> Vec<String> {
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
        reasons.extend(self.volatile_needs_me());
        reasons
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
            StopReason::Asked | StopReason::Over => None,
            StopReason::Refused(refusal) => Some((refusal.reason.as_str().to_string(), refusal.text.clone())),
            StopReason::Restored(text) => Some((String::from("restored"), text.clone())),
        };
        if let Some((reason, text)) = words {
            let rule = "section 4: of two with one identity the newer stops; a restored directory joins as new";
            let id = self.decisions.record(now.wall, "stop", text.clone(), rule, Vec::new());
            emit(Some(id), EventKind::NodeRefused { reason, by: text }, out);
        }
        self.fail_pending(out);
        self.fail_heals(out);
        if reason != StopReason::Asked {
            // Who was told to stop hands over first. This one must not go on, and gives nothing more.
            self.end_volatile(now, out);
        }
        self.standing.status = if reason == StopReason::Over { Status::Gone } else { Status::Stopped };
        self.give_up_lease(now, out);
        self.dirty = true;
        self.publish(now, out);
        for conn in self.conns.all().chain(self.twins.conns()).collect::<Vec<_>>() {
            out.push(Output::Close { conn, cause: CloseCause::Stopping });
        }
        if reason != StopReason::Over {
            emit(None, EventKind::NodeStopped {}, out);
        }
        self.stopped = true;
        out.push(Output::Stop(reason));
    }
}
