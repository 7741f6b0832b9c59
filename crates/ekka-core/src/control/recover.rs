//! `recover`: the cluster goes on without the majority of its voters. And the other side of it: a node that the cluster
//! was recovered without stops at once.
//!
//! The survivor asks every member that it is linked with where its log ends. Its own must be the newest. Then its replica
//! ends and the whole log is read, committed or not. The state goes to disc with a new store id and the next generation,
//! and then into a new log as its first entry, of which this node is the only voter. A crash before that write changes
//! nothing; one after it goes on where it was. The old log stays in the store under its own name.
//!
//! Where only the volatile group is lost, and a majority of the durable one is up, nothing of that: the next volatile group
//! is one more entry.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::commands::{Answer, plan};
use super::group::Waiting;
use super::{CommandError, Control, GroupRequest, Message, Output, RequestId, Work, emit};
use crate::autocluster::{self, Outranked};
use crate::consensus::{LogPlace, VoterId};
use crate::decision::DecisionId;
use crate::durable::plan::Plan;
use crate::durable::recover::{self, LogInReach};
use crate::durable::{self, Command, Entry, Founder, InReach, Record, Recovery, Why, Wish, generation};
use crate::event::EventKind;
use crate::id::{ClusterId, Incarnation, NodeId, NodeName};
use crate::limits::{DETECTION_TIME, GROUP_COMMAND_MAX};
use crate::membership::{self, RemovalCause, Seat};
use crate::time::{Instant, Now};
use crate::volatile::{Generation, Proposal, Version};
use crate::wire::Hello;

/// How long members may take to say where their logs end: who does not answer is not in reach.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take until the new log has its first entry.
const DONE_TIMEOUT: Duration = Duration::from_secs(60);

/// A `recover` under way.
#[derive(Debug)]
struct Recovering {
    id: RequestId,
    accept_loss: bool,
    nonce: u64,
    waiting: BTreeSet<NodeId>,
    logs: Vec<LogInReach>,
    in_reach: Vec<NodeId>,
    until: Instant,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Members are asked for their logs.
    Asking,
    /// The shell reads the whole log.
    Reading(DecisionId),
    /// The recovery goes to disc with this write.
    Writing(DecisionId, u64),
    /// The new log is to commit it.
    Committing(DecisionId),
}

/// What this node keeps of a recovery.
#[derive(Debug)]
pub(super) struct Recover {
    under_way: Option<Recovering>,
    saved: Option<Recovery>,
    /// Whether formation was told that quorum tables have held rows.
    rows_told: bool,
}

impl Recover {
    pub(super) fn new(saved: Option<Recovery>) -> Self {
        Self { under_way: None, saved, rows_told: false }
    }

    /// With what the new log begins, until it is committed there.
    pub(super) fn saved(&self) -> Option<&Recovery> {
        self.saved.as_ref()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|recovering| recovering.until)
    }
}

/// What `status` says of a cluster that was recovered without this node.
pub(super) fn outranked_words(outranked: &Outranked, stays_out: bool) -> String {
    let Outranked { cluster_id, words } = outranked;
    let next = if stays_out {
        "it was given up there: `ekka join NODE` lets it in as a new member, after a restart if it was not restarted since"
    } else {
        "it asks to be let in again"
    };
    format!("{words}; {next}. Its log of cluster {cluster_id} is kept in its store")
}

impl Control {
    /// The generation of the cluster that this node is in.
    pub(super) fn generation(&self) -> u64 {
        self.autocluster.saved().generation.max(self.group.durable.record().generation())
    }

    /// `recover`: without an operator's word for the loss it only says what would be given up.
    pub(super) fn recover(
        &mut self,
        id: RequestId,
        accept_loss: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
        if let Some(error) = self.busy() {
            return Some(Err(error));
        }
        if self.recovery.under_way.is_some() || self.recovery.saved.is_some() {
            return Some(Err(CommandError::Refused("`recover` is under way on this node: wait for its end".into())));
        }
        if self.standing.quorum.holds() && !self.group.durable.record().volatile_lost().is_empty() {
            return self.recover_volatile(id, accept_loss, now, out);
        }
        let me = self.me().node_id;
        let nonce = self.rng.next_u64();
        let waiting: BTreeSet<NodeId> = self.conns.nodes().filter(|node_id| *node_id != me).collect();
        for to in waiting.iter().copied() {
            self.send(to, &Message::LogEnd { nonce }, out);
        }
        let mut recovering = Recovering {
            id,
            accept_loss,
            nonce,
            waiting,
            logs: Vec::new(),
            in_reach: Vec::from([me]),
            until: now.mono + ASK_TIMEOUT,
            step: Step::Asking,
        };
        if let Some(last) = self.log_end() {
            let name = self.setup.name.clone();
            recovering.logs.push(LogInReach { node_id: me, name, generation: self.generation(), last });
        }
        let all_here = recovering.waiting.is_empty();
        self.recovery.under_way = Some(recovering);
        if all_here {
            self.judge_recovery(now, out);
        }
        None
    }

    /// Only the volatile group is lost: a majority commits that the next one begins with nothing.
    fn recover_volatile(
        &mut self,
        id: RequestId,
        accept_loss: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
        let record = self.group.durable.record();
        let lines = recover::plan_volatile(record, |lost| self.name_of(lost.node_id));
        if !accept_loss {
            return Some(plan(lines, None));
        }
        let founders: BTreeSet<Incarnation> = record.present().filter(|start| record.votes(start.node_id)).collect();
        let expected = record.volatile().version;
        let version = Version { number: expected.number + 1, revision: 0 };
        let next =
            Generation { version, founders: founders.clone(), sets: Vec::from([founders]), from: None, lost: true };
        let rule = "section 10: recover, by an operator's word";
        let what = format!("recover the volatile group: {}", lines.join("; "));
        let decision = self.decisions.record(now.wall, "command", what, rule, lines.clone());
        let wish = Wish::Generation(Proposal { expected, next });
        self.wish((wish, Waiting::Volatile { id, decision }), decision, lines, now, out);
        None
    }

    /// It is committed.
    pub(super) fn volatile_recovered(&mut self, id: RequestId, decision: DecisionId, out: &mut Vec<Output>) {
        let number = self.group.durable.record().volatile().number();
        let reply = self.done(format!("generation {number} of the volatile group begins empty"), decision);
        out.push(Output::Reply { id, result: Ok(reply) });
    }

    /// Where this node's log ends, where it has one that can be read.
    fn log_end(&self) -> Option<LogPlace> {
        let standing = self.group.durable.standing();
        (self.group.open.is_some() && standing.failed.is_none()).then_some(standing.last)
    }

    /// Another member asks, before it recovers the cluster.
    pub(super) fn say_log_end(&mut self, to: NodeId, nonce: u64, out: &mut Vec<Output>) {
        let (cluster_id, generation, last) = (self.autocluster.cluster_on_disc(), self.generation(), self.log_end());
        self.send(to, &Message::LogEnds { nonce, cluster_id, generation, last }, out);
    }

    /// It has answered.
    pub(super) fn log_ends(
        &mut self,
        from: NodeId,
        nonce: u64,
        (cluster_id, generation, last): (Option<ClusterId>, u64, Option<LogPlace>),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let mine = self.autocluster.cluster_on_disc();
        let name = self.membership.record(from).map(|record| record.name.clone());
        let Some(recovering) = &mut self.recovery.under_way else { return };
        if recovering.nonce != nonce || recovering.step != Step::Asking || !recovering.waiting.remove(&from) {
            return;
        }
        if cluster_id.is_some() && cluster_id == mine {
            recovering.in_reach.push(from);
            if let (Some(name), Some(last)) = (name, last) {
                recovering.logs.push(LogInReach { node_id: from, name, generation, last });
            }
        }
        if recovering.waiting.is_empty() {
            self.judge_recovery(now, out);
        }
    }

    /// Everybody in reach has answered: says what would be given up, or gives it up.
    fn judge_recovery(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(recovering) = self.recovery.under_way.take() else { return };
        let (record, in_reach) = (self.group.durable.record(), self.reach_of(&recovering.in_reach));
        let in_reach = &in_reach;
        let Plan { mut lines, refused } = recover::plan(record, &self.survivor(), &recovering.logs, in_reach);
        // A change of the voters that this log holds and nobody has confirmed yet counts too.
        let latest = &self.group.durable.standing().configuration;
        let whole = record.merging().is_none() && in_reach.is_majority_of(latest);
        let refused = refused.or_else(|| whole.then(|| recover::MAJORITY_IN_REACH.into()));
        let refused = refused.or_else(|| self.too_early(now)).or_else(|| self.led_elsewhere());
        lines.extend(recover::given_up(record, in_reach).into_iter().map(|id| self.last_seen(id, now)));
        match refused {
            refused if !recovering.accept_loss => {
                out.push(Output::Reply { id: recovering.id, result: plan(lines, refused) });
            }
            Some(why) => out.push(Output::Reply { id: recovering.id, result: Err(CommandError::Refused(why)) }),
            None => {
                let rule = "section 10: recover, by an operator's word";
                let what = format!("recover: {}", lines.join("; "));
                let decision = self.decisions.record(now.wall, "command", what, rule, lines);
                let step = Step::Reading(decision);
                self.recovery.under_way = Some(Recovering { until: now.mono + DONE_TIMEOUT, step, ..recovering });
                let Founder { id, store, .. } = self.survivor();
                let next = VoterId { node_id: id.node_id, start: store };
                out.push(Output::Group(GroupRequest::Whole { next }));
            }
        }
    }

    /// These nodes, with the stores that they vote with.
    fn reach_of(&self, nodes: &[NodeId]) -> InReach {
        self.with_stores(nodes.iter().copied())
    }

    /// Why it cannot be said yet that the majority is gone. Who does not answer this node may be slow, or be heard by
    /// others; and a node that has just started has not met those that live.
    fn too_early(&self, now: Now) -> Option<String> {
        if self.standing.quorum.holds() && self.group.durable.record().merging().is_none() {
            return Some(recover::MAJORITY_IN_REACH.into());
        }
        let since = now.mono.since(self.standing.started);
        let left = (DETECTION_TIME * 2).checked_sub(since).filter(|left| !left.is_zero())?;
        let (seconds, left) = (since.as_secs(), left.as_secs() + 1);
        Some(format!("this node started {seconds} s ago and may not have met all that live: try again in {left} s"))
    }

    /// With a majority up the leader is the one to do it: what it holds is all that was ever acknowledged.
    fn led_elsewhere(&self) -> Option<String> {
        let leader =
            self.group_leader().filter(|leader| *leader != self.me().node_id && self.standing.quorum.holds())?;
        Some(format!("{} leads the group: run it there, or what it has acknowledged is lost", self.name_of(leader)))
    }

    /// When a member was heard last.
    fn last_seen(&self, node_id: NodeId, now: Now) -> String {
        let name = self.name_of(node_id);
        let heard = self.membership.last_heard(node_id).map(|at| now.mono.since(at).as_secs());
        match heard {
            Some(seconds) => format!("{name} was heard last {seconds} s ago"),
            None => format!("{name} was not heard since this node started"),
        }
    }

    /// The shell has ended the replica and read its log.
    pub(super) fn whole_log_read(&mut self, result: Result<Vec<u8>, String>, now: Now, out: &mut Vec<Output>) {
        let Some(mut recovering) = self.recovery.under_way.take() else { return };
        let Step::Reading(decision) = recovering.step else { return };
        match result.and_then(|bytes| self.recovery_of(&bytes, &recovering.in_reach)) {
            Ok(recovery) => {
                self.close_group(false, out);
                self.take_new_store();
                self.recovery.saved = Some(recovery);
                recovering.step = Step::Writing(decision, self.persist.next());
                self.recovery.under_way = Some(recovering);
            }
            Err(why) => {
                // As it was before.
                self.reopen_group(now, out);
                let why = format!("nothing was changed: {why}");
                out.push(Output::Reply { id: recovering.id, result: Err(CommandError::Failed(why)) });
            }
        }
    }

    /// This node as the only voter of the new log.
    fn survivor(&self) -> Founder {
        let role = self.membership.record(self.me().node_id).map(|record| record.role).unwrap_or_default();
        let store = self.setup.store.after(self.store_resets + 1).as_u128();
        Founder { id: self.me(), name: self.setup.name.clone(), role, store }
    }

    /// What the new log is to begin with.
    fn recovery_of(&self, snapshot: &[u8], in_reach: &[NodeId]) -> Result<Recovery, String> {
        let newest = Record::from_snapshot(snapshot)?;
        let given_up = recover::given_up(&newest, &self.reach_of(in_reach));
        let command = recover::command(&newest, self.survivor(), given_up);
        let why = Why::new(self.me().node_id, 0, Vec::new());
        let length = Entry { why, command: command.clone() }.encode().len();
        match command {
            Command::Recover(_) if length > GROUP_COMMAND_MAX => Err(format!(
                "the record of the cluster has {length} bytes, an entry of a log at most {GROUP_COMMAND_MAX}"
            )),
            Command::Recover(recovery) => Ok(recovery),
            _ => Err("no recovery".into()),
        }
    }

    /// Something is on disc: where that is the recovery, the new log begins.
    pub(super) fn recovery_persisted(&mut self, token: u64, now: Now, out: &mut Vec<Output>) {
        let Some(recovering) = &mut self.recovery.under_way else { return };
        let Step::Writing(decision, wanted) = recovering.step else { return };
        if wanted <= token {
            recovering.step = Step::Committing(decision);
            // Told from now on, not before: who hears of it is out at once, and a crash would take it back.
            if let Some(Recovery { generation, .. }) = self.recovery.saved {
                self.work.push_back(Work::Autocluster(autocluster::Input::Generation(generation)));
            }
            self.open_group(now, out);
        }
    }

    /// The replica of a log that this node was to begin was opened.
    pub(super) fn go_on_recovering(&mut self, me: VoterId, now: Now, out: &mut Vec<Output>) {
        if let Some(recovery) = self.recovery.saved.clone().filter(|recovery| recovery.survivor.store == me.start) {
            self.durable(durable::Input::Recover(recovery), now, out);
        }
    }

    /// The record may have another generation, or the first row of a quorum table.
    pub(super) fn note_record(&mut self, out: &mut Vec<Output>) {
        let record = self.group.durable.record();
        let (generation, rows) = (record.generation(), record.quorum_rows());
        if generation > self.autocluster.saved().generation {
            self.work.push_back(Work::Autocluster(autocluster::Input::Generation(generation)));
        }
        if core::mem::replace(&mut self.recovery.rows_told, rows) != rows {
            self.work.push_back(Work::Autocluster(autocluster::Input::QuorumRows(rows)));
        }
        if self.recovery.saved.take_if(|recovery| recovery.generation <= generation).is_some() {
            self.persist.wanted = true;
            self.forget_ghosts();
            if let Some(Recovering { id, step: Step::Committing(decision), .. }) = self.recovery.under_way.take() {
                let (number, name) = (generation::words(generation), &self.setup.name);
                let text = format!("the cluster goes on as its generation {number}, {name} votes alone");
                let reply = self.done(text, decision);
                out.push(Output::Reply { id, result: Ok(reply) });
            }
        }
    }

    /// Members that gossip knows of and the recovered record does not: only the lost majority had committed them.
    fn forget_ghosts(&mut self) {
        let record = self.group.durable.record();
        let (number, by, removed) = (record.number(), self.me().node_id, Some(RemovalCause::Force));
        let members = self.membership.roster().by_seniority().into_iter();
        let ghosts = members.filter(|node_id| record.member(*node_id).is_none());
        let seats = ghosts.map(|node_id| (node_id, Seat { number, by, removed })).collect();
        self.work.push_back(Work::Membership(membership::Input::Seats(seats)));
    }

    /// Ends what takes too long.
    pub(super) fn tick_recovery(&mut self, now: Now, out: &mut Vec<Output>) {
        let due = self.recovery.under_way.as_ref().filter(|recovering| recovering.until <= now.mono);
        let Some(Recovering { step, .. }) = due else { return };
        let seconds = DONE_TIMEOUT.as_secs();
        match step {
            Step::Asking => self.judge_recovery(now, out),
            Step::Reading(_) => {
                self.whole_log_read(Err(format!("the log was not read within {seconds} s")), now, out);
            }
            // The disc is asked again and again: the new log begins once it has answered.
            Step::Writing(..) => self.tell_late(seconds, out),
            Step::Committing(_) => {
                self.tell_late(seconds, out);
                self.recovery.under_way = None;
            }
        }
    }

    /// Whoever asked for it waits no more; it goes on.
    fn tell_late(&mut self, seconds: u64, out: &mut Vec<Output>) {
        let Some(recovering) = &mut self.recovery.under_way else { return };
        recovering.until = recovering.until + DONE_TIMEOUT;
        let why = format!("not done within {seconds} s; it goes on");
        out.push(Output::Reply { id: recovering.id, result: Err(CommandError::Failed(why)) });
    }

    /// What a peer says in its Hello of the generation of this node's cluster.
    pub(super) fn hello_generation(&mut self, hello: &Hello, now: Now, out: &mut Vec<Output>) {
        if hello.cluster_id.is_some() && hello.cluster_id == self.autocluster.cluster_on_disc() {
            self.heard_generation(hello.name.clone(), hello.generation, now, out);
        }
    }

    /// A peer of this node's cluster is in this generation of it.
    pub(super) fn heard_generation(&mut self, by: NodeName, generation: u64, now: Now, out: &mut Vec<Output>) {
        if generation > self.generation() {
            self.durable(durable::Input::Heard { by, generation }, now, out);
        }
    }

    /// Whether these are members as an earlier generation of this node's cluster has them. Seats merge by their places,
    /// and those of two generations do not follow each other: a survivor that is given up by another one would be taken
    /// out by its word, and the other by that of this one. Whoever is behind hears so, and begins with this roster.
    pub(super) fn is_of_the_past(&self, peer: NodeId, message: &membership::Message) -> bool {
        let membership::Message::Roster { roster, .. } = message else { return false };
        let ours = roster.cluster_id.is_some() && roster.cluster_id == self.autocluster.cluster_id();
        ours && self.autocluster.is_behind(peer)
    }

    /// The cluster was recovered without this node: its replica ends at once, its log is kept, and it is out.
    pub(super) fn outranked(&mut self, words: String, now: Now, out: &mut Vec<Output>) {
        if self.autocluster.cluster_id().is_none() {
            return;
        }
        let rule = "section 10: a node of a lower generation stops granting and writing at once";
        let id = self.decisions.record(now.wall, "command", words.clone(), rule, Vec::new());
        emit(Some(id), EventKind::NodeRefused { reason: "outranked".to_string(), by: words.clone() }, out);
        self.recovery = Recover { rows_told: self.recovery.rows_told, ..Recover::new(None) };
        self.close_group(false, out);
        self.standing.leaves_cluster();
        self.work.push_back(Work::Autocluster(autocluster::Input::Outranked { words }));
        self.work.push_back(Work::Membership(membership::Input::Reset { farewell: false }));
        self.reset_heal();
        self.take_new_store();
    }
}
