//! The durable group of this node's cluster: its room, the replica that the shell runs for it, and what waits for an
//! entry to be committed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::leave::Forced;
use super::{CommandError, Control, GroupNews, GroupRequest, Message, NotRemoved, Output, RequestId, Work, emit};
use crate::autocluster::{self, Denial};
use crate::consensus::{GroupEvent, VoterId};
use crate::decision::DecisionId;
use crate::durable::{self, Change, Durable, Refusal, Wish};
use crate::id::{ClusterId, Incarnation, NodeId, StoreId};
use crate::lease::Terms;
use crate::machine::Machine;
use crate::membership::{self, Record, RemovalCause, Seat};
use crate::time::{Instant, Now};
use crate::volatile::Proposal;

/// How long after the replica has failed it is opened anew: a disc that was full may have room again.
const REOPEN_AFTER: Duration = Duration::from_secs(2);

/// What is answered once a wish has ended.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A newcomer.
    Admission(Box<Record>),
    /// `force-leave` by an operator of this node.
    Force(Forced),
    /// A removal that another node asked of the leader.
    Asked { by: NodeId, nonce: u64 },
    /// The removal of a member that says that it has left.
    Farewell { from: NodeId, cluster_id: ClusterId },
    /// This cluster goes into an older one.
    Absorb(ClusterId),
    /// A range of tokens, for the program that embeds this node.
    Tokens(RequestId),
    /// A table is to be made or dropped.
    Schema { id: RequestId, decision: DecisionId },
    /// Quorum tables are to hold their first row.
    QuorumRows { id: RequestId, decision: DecisionId },
    /// The next record of the volatile group.
    Generation,
    /// The same by an operator's word.
    Volatile { id: RequestId, decision: DecisionId },
    /// An incarnation that is to be gone, proposed in this term.
    Gone { id: Incarnation, term: u64 },
    /// A member that is to be cleaned.
    Clean(NodeId),
}

/// The room and what waits on it.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) durable: Durable,
    /// The cluster whose replica the shell runs.
    pub(super) open: Option<ClusterId>,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    last_wish: u64,
    /// Admissions that are committed, each with its place: answered once this node has applied it too.
    pub(super) admitted: Vec<(u64, Box<Record>)>,
    /// What the group waits for, in words.
    pub(super) waits: String,
    /// The replica has failed, and is opened anew then.
    reopen_at: Option<Instant>,
    /// The index of the last entry that the replica has told.
    heard: u64,
    /// The decision on each entry that took somebody out, for the event of it.
    pub(super) removals: BTreeMap<NodeId, DecisionId>,
}

/// The place of the first voters in a log; the replica puts them there before anybody has voted.
const FIRST_VOTERS: u64 = 1;

impl Group {
    pub(super) fn new(me: Incarnation, leases: Terms) -> Self {
        Self {
            durable: Durable::new(me, durable::Faults::default()).with_leases(leases),
            open: None,
            waiting: BTreeMap::new(),
            last_wish: 0,
            admitted: Vec::new(),
            waits: String::new(),
            reopen_at: None,
            heard: 0,
            removals: BTreeMap::new(),
        }
    }

    /// Whether this node is in a cluster, and so has a replica.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How many ranges of tokens are asked for.
    pub(super) fn takers(&self) -> usize {
        self.waiting.values().filter(|waiting| matches!(waiting, Waiting::Tokens(_))).count()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.open.and_then(|_| self.durable.deadline()), self.reopen_at].into_iter().flatten().min()
    }

    /// Whether the replica has told more than has come: the record here is an old one.
    pub(super) fn is_behind(&self) -> bool {
        self.heard < self.durable.standing().told.index
    }

    /// The cluster whose replica the shell runs.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.open
    }

    fn absorbs(&self, into: ClusterId) -> bool {
        self.waiting.values().any(|waiting| matches!(waiting, Waiting::Absorb(other) if *other == into))
    }

    /// Whether its log is there and holds nothing but the first voters: nothing that it was asked to keep.
    pub(super) fn is_unfounded(&self) -> bool {
        let standing = self.durable.standing();
        let begun = self.open.is_some() && standing.failed.is_none() && !standing.configuration.voters.is_empty();
        begun && self.durable.record().cluster().is_none() && standing.last.index <= FIRST_VOTERS
    }

    pub(super) fn admits(&self, id: Incarnation) -> bool {
        let waits = |waiting: &Waiting| matches!(waiting, Waiting::Admission(record) if record.id == id);
        self.waiting.values().any(waits) || self.admitted.iter().any(|(_, record)| record.id == id)
    }
}

impl Control {
    /// With which store this node votes.
    pub(super) fn store(&self) -> StoreId {
        self.setup.store.after(self.store_resets)
    }

    /// Runs the replicas of this node's cluster, and founds the durable group where this node is one of those who vote in it
    /// first: that is harmless where it has begun, and a crash right after the vote must not leave it unfounded.
    pub(super) fn open_group(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(cluster_id) = self.autocluster.cluster_on_disc() else { return };
        if self.group.open == Some(cluster_id) {
            return;
        }
        self.close_group(false, out);
        self.open_replica(cluster_id, now, out);
        self.open_volatile(now);
    }

    /// Opens the durable replica anew, whose store has failed or was read by somebody else. That of the volatile group
    /// goes on: it has not failed, and one that begins again would have forgotten its vote.
    pub(super) fn reopen_group(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(cluster_id) = self.group.open else { return };
        self.close_replica(false, out);
        self.open_replica(cluster_id, now, out);
    }

    fn open_replica(&mut self, cluster_id: ClusterId, now: Now, out: &mut Vec<Output>) {
        let me = VoterId { node_id: self.me().node_id, start: self.store().as_u128() };
        self.group.open = Some(cluster_id);
        let goes_on = self.recovery.saved().is_some_and(|recovery| recovery.survivor.store == me.start);
        out.push(Output::Group(GroupRequest::Open { cluster_id, me, goes_on }));
        let founders = self.autocluster.saved().first_voters.clone();
        if founders.iter().any(|founder| founder.id.node_id == me.node_id && founder.store == me.start) {
            self.durable(durable::Input::Found { cluster_id, founders }, now, out);
        }
        self.go_on_recovering(me, now, out);
    }

    /// Ends the replicas; with `delete` the log of the durable one goes too.
    pub(super) fn close_group(&mut self, delete: bool, out: &mut Vec<Output>) {
        self.close_volatile(out);
        self.close_replica(delete, out);
    }

    fn close_replica(&mut self, delete: bool, out: &mut Vec<Output>) {
        if self.group.open.is_some() {
            out.push(Output::Group(GroupRequest::Close { delete }));
        }
        let last_wish = self.group.last_wish;
        let waiting = core::mem::take(&mut self.group.waiting);
        self.group = Group { last_wish, ..Group::new(self.me(), self.setup.leases) };
        self.reset_leases(out);
        self.clean = self.clean.anew();
        for waiting in waiting.into_values() {
            self.wish_failed(waiting, "the replica of the group has ended on this node", Denial::Later, out);
        }
        self.work.push_back(Work::Membership(membership::Input::Voters(Vec::new())));
    }

    /// What the replica of this cluster says. What is still under way from an earlier one is dropped.
    pub(super) fn group_said(&mut self, cluster_id: ClusterId, news: GroupNews, now: Now, out: &mut Vec<Output>) {
        if self.group.open != Some(cluster_id) {
            return;
        }
        if let GroupNews::Event { event, .. } = &news {
            self.group.heard = self.group.heard.max(event.at().index);
        }
        let input = match news {
            GroupNews::Event { event: GroupEvent::Applied { at, command }, replay } => {
                durable::Input::Applied { at, command, replay }
            }
            GroupNews::Event { event: GroupEvent::Reconfigured(configuration), .. } => {
                durable::Input::Configured(configuration)
            }
            GroupNews::Event { event: GroupEvent::Restored { snapshot, .. }, .. } => durable::Input::Restored(snapshot),
            GroupNews::Standing(standing) => {
                let at = || self.group.reopen_at.unwrap_or(now.mono + REOPEN_AFTER);
                self.group.reopen_at = standing.failed.is_some().then(at);
                self.dirty |= standing.leader != self.group.durable.standing().leader;
                durable::Input::Standing(*standing)
            }
            GroupNews::Answered { token, result } => durable::Input::Answered { token, result },
            GroupNews::Reconfigured { token, result, latest } => durable::Input::Reconfigured { token, result, latest },
            GroupNews::Confirmed { round, ok } => return self.lease_confirmed(round, ok, now, out),
            GroupNews::Whole(result) => return self.whole_log_read(result, now, out),
        };
        let restored = matches!(input, durable::Input::Restored(_));
        let configured = restored || matches!(input, durable::Input::Configured(_));
        self.durable(input, now, out);
        if restored {
            self.leases_restored(now, out);
        }
        self.leases_stand(now, out);
        if configured {
            let configuration = self.group.durable.record().configuration().clone();
            self.lease_voters(&configuration, now, out);
            let voters = self.group.durable.record().voters().into_iter().map(|voter| voter.node_id).collect();
            self.work.push_back(Work::Membership(membership::Input::Voters(voters)));
            self.dirty = true;
        }
        self.answer_admitted(now, out);
        self.follow_generations(now, out);
        self.note_record(out);
    }

    pub(super) fn durable(&mut self, input: durable::Input, now: Now, out: &mut Vec<Output>) {
        let mut given = Vec::new();
        self.group.durable.handle(input, now, &mut given);
        self.durable_gave(given, now, out);
    }

    pub(super) fn tick_group(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.group.reopen_at.is_some_and(|at| at <= now.mono) {
            // As at a start: what it had on disc is read again, from its beginning.
            self.reopen_group(now, out);
        }
        if self.group.open.is_some() {
            let mut given = Vec::new();
            self.group.durable.tick(now, &mut given);
            self.durable_gave(given, now, out);
        }
    }

    fn durable_gave(&mut self, given: Vec<durable::Output>, now: Now, out: &mut Vec<Output>) {
        let mut entry = None;
        for output in given {
            match output {
                durable::Output::Ask(ask) => out.push(Output::Group(GroupRequest::Ask(ask))),
                durable::Output::HandOver { among } => out.push(Output::Group(GroupRequest::HandOver { among })),
                durable::Output::Changed(changes) => {
                    self.group_changed(&changes);
                    self.note_removals(&changes, entry.take());
                    self.leases_changed(&changes, now, out);
                }
                durable::Output::Seats(seats) => {
                    self.work.push_back(Work::Membership(membership::Input::Seats(seats)));
                }
                durable::Output::Event(kind) => emit(None, kind, out),
                durable::Output::Decision { kind, what, rule, evidence } => {
                    entry = Some(self.decisions.record(now.wall, kind, what, rule, evidence));
                }
                durable::Output::Reply { id, reply } => self.wish_ended(id, reply, now, out),
                durable::Output::Waits(text) => {
                    self.group.waits = text;
                    self.dirty = true;
                }
                durable::Output::Outranked { words } => self.outranked(words, now, out),
            }
        }
    }

    fn group_changed(&mut self, changes: &[Change]) {
        self.dirty |= changes.iter().any(|change| !matches!(change, Change::Tokens { .. }));
        let mut seats = BTreeMap::new();
        let record = self.group.durable.record();
        for change in changes {
            match change {
                Change::Admitted { id, number } | Change::Returned { id, number } => {
                    let by = record.member(id.node_id).map_or(id.node_id, |member| member.by);
                    seats.insert(id.node_id, Seat { number: *number, by, removed: None });
                }
                Change::Removed { node_id, cause, by, number } => {
                    seats.insert(*node_id, Seat { number: *number, by: *by, removed: Some(*cause) });
                }
                Change::Merging(record) | Change::Merged(record) => {
                    self.work.push_back(Work::Autocluster(autocluster::Input::Merging(*record)));
                }
                _ => {}
            }
        }
        if !seats.is_empty() {
            self.work.push_back(Work::Membership(membership::Input::Seats(seats)));
        }
    }

    /// Whether this start of this node is a member by a committed entry.
    pub(super) fn is_present(&self) -> bool {
        self.group.durable.record().is_present(self.me())
    }

    pub(super) fn wish(
        &mut self,
        (wish, waiting): (Wish, Waiting),
        decision: DecisionId,
        evidence: Vec<String>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.group.last_wish += 1;
        let id = self.group.last_wish;
        self.group.waiting.insert(id, waiting);
        self.tell_facts(now, out);
        self.durable(durable::Input::Wish { id, wish, decision: decision.0, evidence }, now, out);
    }

    /// Has this cluster's way into an older one committed.
    pub(super) fn wish_absorb(&mut self, into: ClusterId, by_word: bool, now: Now, out: &mut Vec<Output>) {
        if self.group.absorbs(into) || self.group.open.is_none() {
            return;
        }
        let rule = "section 8, rule 6: the younger cluster goes into the older one";
        let decision = self.decisions.record(now.wall, "merge", format!("go into cluster {into}"), rule, Vec::new());
        self.wish((Wish::Absorb { into, by_word }, Waiting::Absorb(into)), decision, Vec::new(), now, out);
    }

    /// Has the next record of the volatile group committed.
    pub(super) fn wish_generation(&mut self, proposal: Proposal, now: Now, out: &mut Vec<Output>) {
        let version = proposal.next.version;
        let what = format!("propose generation {}, revision {}", version.number, version.revision);
        let rule = "section 12: one volatile group, by compare-and-set";
        let decision = self.decisions.record(now.wall, "command", what, rule, Vec::new());
        self.wish((Wish::Generation(proposal), Waiting::Generation), decision, Vec::new(), now, out);
    }

    /// Who leads the group, as far as its replica here knows.
    pub(super) fn group_leader(&self) -> Option<NodeId> {
        self.group.durable.standing().leader.map(|leader| leader.node_id)
    }

    /// Has a member taken out, by an operator of this node; only the leader moves its vote.
    pub(super) fn wish_force(&mut self, forced: Forced, now: Now, out: &mut Vec<Output>) {
        let Forced { node_id, replace_with, decision, .. } = forced;
        let (cause, by) = (RemovalCause::Force, self.me().node_id);
        let wish = Wish::Remove { node_id, cause, by, replace_with };
        self.wish((wish, Waiting::Force(forced)), decision, Vec::new(), now, out);
    }

    /// Another member asks the leader to take one out.
    pub(super) fn asked_to_remove(
        &mut self,
        (by, nonce): (NodeId, u64),
        (node_id, cause, replace_with): (NodeId, RemovalCause, Option<NodeId>),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let (me, durable) = (self.me().node_id, &self.group.durable);
        // Who leads cannot take itself out: from then on it does not lead, and nobody would know what was asked of it.
        let others = || durable.record().voters().into_iter().any(|voter| voter.node_id != me);
        let hands_over = node_id == me && durable.leads() && others();
        if !durable.leads() || hands_over {
            if hands_over {
                self.durable(durable::Input::HandOver, now, out);
            }
            let words = format!("{} does not lead the group, or not for long", self.setup.name);
            return self.send(by, &Message::Removed { nonce, result: Err(NotRemoved { words, again: true }) }, out);
        }
        let what = format!("take out node_id {node_id} ({}), asked by node_id {by}", cause.as_str());
        let rule = "section 9: removal is one committed entry";
        let decision = self.decisions.record(now.wall, "remove", what, rule, Vec::new());
        let wish = Wish::Remove { node_id, cause, by, replace_with };
        self.wish((wish, Waiting::Asked { by, nonce }), decision, Vec::new(), now, out);
    }

    /// A node says that it has left this cluster: that is committed before it is confirmed. It says so until it is.
    pub(super) fn farewell_came(
        &mut self,
        from: NodeId,
        cluster_id: ClusterId,
        member: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let same = |waiting: &Waiting| matches!(waiting, Waiting::Farewell { from: other, .. } if *other == from);
        if !member {
            self.confirm_farewell(from, cluster_id);
        } else if self.group.durable.leads() && !self.group.waiting.values().any(same) {
            let what = format!("take out node_id {from}, which has left");
            let rule = "section 6: leave takes a member out for good, and is remembered";
            let decision = self.decisions.record(now.wall, "leave", what, rule, Vec::new());
            let wish = Wish::Remove { node_id: from, cause: RemovalCause::Leave, by: from, replace_with: None };
            self.wish((wish, Waiting::Farewell { from, cluster_id }), decision, Vec::new(), now, out);
        } else if let Some(leader) = self.group.durable.standing().leader {
            self.ask_for_farewell(leader.node_id, from, cluster_id, now, out);
        }
    }

    fn wish_ended(&mut self, id: u64, reply: durable::Reply, now: Now, out: &mut Vec<Output>) {
        let Some(waiting) = self.group.waiting.remove(&id) else { return };
        if let Waiting::Tokens(id) = waiting {
            return Self::tokens_taken(id, &reply, out);
        }
        if let Waiting::Schema { id, decision } = waiting {
            return Self::schema_changed((id, decision), &reply, out);
        }
        if let Waiting::Clean(node_id) = waiting {
            return self.clean_ended(node_id, &reply, now, out);
        }
        self.dirty = true;
        match (reply, waiting) {
            (reply, Waiting::Gone { id, term }) => self.gone_answered(id, term, &reply, now, out),
            (durable::Reply::Done { number, .. }, Waiting::Admission(record)) => {
                self.group.admitted.push((number, record));
            }
            (durable::Reply::Done { .. }, Waiting::Force(forced)) => self.forced(forced, out),
            (durable::Reply::Done { .. }, Waiting::Asked { by, nonce }) => {
                self.send(by, &Message::Removed { nonce, result: Ok(()) }, out);
            }
            (durable::Reply::Done { .. }, Waiting::Farewell { from, cluster_id }) => {
                self.confirm_farewell(from, cluster_id);
            }
            (
                durable::Reply::Done { .. },
                Waiting::Absorb(_) | Waiting::Tokens(_) | Waiting::Schema { .. } | Waiting::Clean(_),
            ) => {}
            (durable::Reply::Done { .. }, Waiting::QuorumRows { id, decision }) => {
                self.quorum_rows_begun(id, decision, out);
            }
            (durable::Reply::Done { .. }, Waiting::Generation) => self.volatile.wish_ended(),
            (durable::Reply::Done { .. }, Waiting::Volatile { id, decision }) => {
                self.volatile_recovered(id, decision, out);
            }
            (durable::Reply::AskLeader { leader }, Waiting::Force(forced)) => {
                self.ask_leader(leader, forced, now, out);
            }
            (durable::Reply::AskLeader { .. }, Waiting::Asked { by, nonce }) => {
                let refused = NotRemoved { words: String::from("another member leads now"), again: true };
                self.send(by, &Message::Removed { nonce, result: Err(refused) }, out);
            }
            (durable::Reply::AskLeader { .. }, waiting) => {
                self.wish_failed(waiting, "another member leads now", Denial::Later, out);
            }
            (durable::Reply::Refused { code, words }, waiting) => {
                let denial = match code {
                    Some(Refusal::Over) => Denial::Over,
                    Some(Refusal::TakenOut) => Denial::TakenOut,
                    Some(Refusal::Full) => Denial::Never,
                    _ => Denial::Later,
                };
                self.wish_failed(waiting, &words, denial, out);
            }
            (durable::Reply::TryAgain { words, .. }, waiting) => {
                self.wish_failed(waiting, &words, Denial::Later, out);
            }
        }
    }

    fn wish_failed(&mut self, waiting: Waiting, words: &str, denial: Denial, out: &mut Vec<Output>) {
        match waiting {
            Waiting::Admission(record) => {
                let result = Err((words.to_string(), denial));
                self.work.push_back(Work::Autocluster(autocluster::Input::Admitted { id: record.id, result }));
            }
            Waiting::Force(forced) => self.force_failed(forced.id, words, out),
            Waiting::Tokens(id)
            | Waiting::Schema { id, .. }
            | Waiting::QuorumRows { id, .. }
            | Waiting::Volatile { id, .. } => {
                out.push(Output::Reply { id, result: Err(CommandError::Failed(words.to_string())) });
            }
            Waiting::Asked { by, nonce } => {
                let result = Err(NotRemoved { words: words.to_string(), again: false });
                self.send(by, &Message::Removed { nonce, result }, out);
            }
            // It is said again, or the clusters meet again, and it is tried anew.
            Waiting::Farewell { .. } | Waiting::Absorb(_) | Waiting::Gone { .. } | Waiting::Clean(_) => {}
            Waiting::Generation => self.volatile.wish_ended(),
        }
    }
}
