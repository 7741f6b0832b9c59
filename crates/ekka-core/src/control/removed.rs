//! Members that are out, this node among them: what is told of it, and what becomes of what was kept.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::{Control, Output, Work, clean, emit};
use crate::autocluster;
use crate::decision::{DecisionId, Decisions};
use crate::durable::Change;
use crate::event::EventKind;
use crate::id::NodeId;
use crate::membership::{self, RemovalCause};
use crate::time::Now;

/// What becomes of the log of a cluster that this node is out of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Log {
    /// That it is out stands in the log of the group itself.
    Delete,
    /// That it is out is hearsay. Others may have given up this node and be wrong, and the log be the last one.
    Keep,
}

impl Control {
    pub(super) fn member_removed(&mut self, node_id: NodeId, cause: RemovalCause, now: Now, out: &mut Vec<Output>) {
        let Some(record) = self.membership.record(node_id) else { return };
        let name = record.name.clone();
        let what = format!("{name} (node_id {node_id}) is no member any more: {}", cause.as_str());
        let rule = if cause == RemovalCause::Autoclean {
            clean::RULE
        } else {
            "section 9: removal (a record of the gossip until the durable group holds it)"
        };
        let evidence = self.why_removed(node_id);
        let id: DecisionId = self.decisions.record(now.wall, "remove", what, rule, evidence);
        let kind = match cause {
            RemovalCause::Leave => EventKind::MemberLeft { name, node_id },
            RemovalCause::Force | RemovalCause::Autoclean => {
                EventKind::MemberRemoved { name, node_id, cause: cause.as_str().into() }
            }
        };
        emit(Some(id), kind, out);
    }

    /// Notes which record tells of the entry by which somebody was taken out.
    pub(super) fn note_removals(&mut self, changes: &[Change], entry: Option<DecisionId>) {
        let Some(entry) = entry else { return };
        for change in changes {
            if let Change::Removed { node_id, .. } = change {
                self.group.removals.insert(*node_id, entry);
            }
        }
    }

    /// What the entry says by which a member was taken out, where this node has applied it.
    fn why_removed(&mut self, node_id: NodeId) -> Vec<String> {
        let Some(entry) = self.group.removals.remove(&node_id) else {
            return vec![String::from("heard of from another member")];
        };
        let mut evidence = vec![format!("by the committed entry of {entry}")];
        evidence.extend(self.decisions.get(entry).into_iter().flat_map(|decision| decision.evidence.clone()));
        evidence
    }

    /// Somebody removed this node while it was away or alive.
    pub(super) fn self_removed(&mut self, cause: RemovalCause, by: NodeId, now: Now, out: &mut Vec<Output>) {
        // Its own `leave` is over by the leader's answer, or by a seat that gossip brings first.
        let log = if cause == RemovalCause::Leave || self.is_out_by_record() { Log::Delete } else { Log::Keep };
        // Once its lease has run out this start is over in that cluster: under its guid it is not admitted again.
        let begins_anew = self.standing.was_up;
        self.persist.anew = begins_anew.then(|| self.persist.next()).or(self.persist.anew);
        if self.standing.leaving {
            return self.leave_committed(log);
        }
        let by = self.membership.record(by).map_or_else(|| by.to_string(), |record| record.name.to_string());
        if cause == RemovalCause::Autoclean {
            return self.self_cleaned(&by, log, now, out);
        }
        let what = format!("this node was removed from the cluster ({}) by {by}", cause.as_str());
        let rule = "section 9: who was cleaned joins as new; whom an operator removed waits for an operator";
        let id = self.decisions.record(now.wall, "remove", what.clone(), rule, Vec::new());
        emit(Some(id), EventKind::NodeRefused { reason: "removed".into(), by }, out);
        self.forget_cluster(true, log);
    }

    /// The cluster has forgotten this node while it was away. Nobody meant to keep it out, so it asks to be let in again, as
    /// any newcomer does, and what only it holds goes with it.
    fn self_cleaned(&mut self, by: &str, log: Log, now: Now, out: &mut Vec<Output>) {
        let what = String::from("this node was cleaned while it was away: it comes back by itself, as a new member");
        let rule =
            "section 10: who was cleaned joins as new, and gives what nobody else has seen before it takes a copy";
        let evidence = vec![
            format!(
                "{by}, which led the group, had it cleaned: a majority of voters saw it down for cluster.autoclean"
            ),
            String::from("rows that were deleted meanwhile stay deleted; writes that only this node has are handed in"),
        ];
        let id = self.decisions.record(now.wall, "remove", what, rule, evidence);
        let (name, node_id) = (self.setup.name.clone(), self.me().node_id);
        let cause = RemovalCause::Autoclean.as_str().into();
        emit(Some(id), EventKind::MemberRemoved { name, node_id, cause }, out);
        self.forget_cluster(false, log);
    }

    /// The decisions of this process for the start that follows this one in the same process.
    pub fn take_decisions(&mut self) -> Decisions {
        core::mem::take(&mut self.decisions)
    }

    /// With the decisions of the start before it: why it ended is asked of the one that goes on.
    #[must_use]
    pub fn with_decisions(self, decisions: Decisions) -> Self {
        Self { decisions, ..self }
    }

    /// Goes on under a new guid, once its own disc has that it is out.
    pub(super) fn begin_anew(&mut self, token: u64, now: Now, out: &mut Vec<Output>) {
        if self.persist.anew.is_some_and(|at| at <= token) {
            self.persist.anew = None;
            self.finish_leaving(now, out);
            self.over(now, out);
        }
    }

    /// Whether this node's own record of the cluster says that it is no member of it.
    fn is_out_by_record(&self) -> bool {
        let record = self.group.durable.record();
        record.cluster().is_some() && record.member(self.me().node_id).is_none()
    }

    /// The cluster that this node wanted to join has taken it out before.
    pub(super) fn taken_out(&mut self, why: String, now: Now, out: &mut Vec<Output>) {
        let rule = "section 6: who left or was removed waits for an operator";
        let id = self.decisions.record(now.wall, "remove", why.clone(), rule, Vec::new());
        emit(Some(id), EventKind::NodeRefused { reason: "removed".into(), by: why }, out);
        self.dirty = true;
    }

    /// Back to a node without a cluster.
    pub(super) fn forget_cluster(&mut self, stay_out: bool, log: Log) {
        self.standing.leaves_cluster();
        self.work.push_back(Work::Autocluster(autocluster::Input::Left { stay_out }));
        self.work.push_back(Work::Membership(membership::Input::Reset { farewell: false }));
        self.work.push_back(Work::DropGroup(log));
        self.reset_heal();
        // What it voted in that cluster goes with its log: should it vote there again, it is another voter.
        self.take_new_store();
    }

    /// From now on this node votes as another voter.
    pub(super) fn take_new_store(&mut self) {
        self.store_resets += 1;
        let store = self.setup.store.after(self.store_resets);
        self.work.push_back(Work::Autocluster(autocluster::Input::Store(store)));
        self.work.push_back(Work::Membership(membership::Input::SetStore(store)));
        self.persist.wanted = true;
        self.dirty = true;
    }
}
