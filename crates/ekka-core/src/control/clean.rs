//! Autoclean among the other rooms: what it is told of members and voters, and the removals that it wants.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::group::Waiting;
use super::{Control, Output, Work};
use crate::autoclean::{Case, Down, Faults, Grounds, Input, Output as Wanted};
use crate::durable::{self, Reply, Wish};
use crate::id::{Incarnation, NodeId};
use crate::machine::Machine;
use crate::membership::{self, RemovalCause, Seat};
use crate::time::Now;
use crate::view::Status;

/// Of every record about who is cleaned, and who is not.
pub(super) const RULE: &str =
    "section 10, autoclean: the leader and a majority of voters have seen it down for cluster.autoclean";

impl super::Faults {
    pub(super) fn of_autoclean(self) -> Faults {
        Faults { minority: self.minority_cleans }
    }
}

impl Control {
    fn clean(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let mut given = Vec::new();
        self.clean.handle(input, now, &mut given);
        self.clean_gave(given, now, out);
    }

    /// Whether a heal with this member is under way. One that is down heals nothing until it is back: what it said of itself
    /// before is of the past.
    pub(super) fn heals_with(&self, node_id: NodeId) -> bool {
        let says = self.membership.record(node_id).is_some_and(|record| record.status == Status::Healing);
        says && self.membership.is_running(node_id) || self.heal.room.concerns(node_id)
    }

    /// Whether a member runs and is not known to be in another cluster. One that has not said yet where it is, is here.
    fn runs_here(&self, node_id: NodeId) -> bool {
        let me = self.me().node_id;
        node_id == me || self.membership.is_running(node_id) && self.autocluster.is_with_us(node_id)
    }

    /// Whom this voter sees down, those that are gone included: they are members until they are cleaned.
    pub(super) fn seen_down(&self) -> BTreeSet<Incarnation> {
        let record = self.group.durable.record();
        let is_down = |id: &Incarnation| {
            if record.is_over(*id) { !self.runs_here(id.node_id) } else { !self.sees(*id) }
        };
        record.starts().filter(is_down).collect()
    }

    /// Whether the room counts on this node.
    pub(super) fn cleans(&self) -> bool {
        self.group.is_open() && (self.group.durable.leads() || self.setup.faults.minority_cleans)
    }

    /// Tells the room whom this node sees down, where it counts that.
    pub(super) fn tell_who_is_down(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.cleans() {
            return;
        }
        let record = self.group.durable.record();
        let away = record.starts().filter(|id| !self.runs_here(id.node_id));
        let down = away.map(|id| Down { id, over: record.is_over(id), heals: self.heals_with(id.node_id) });
        let down: Vec<Down> = down.collect();
        self.clean(Input::Down(down), now, out);
    }

    /// The term, or who leads it, has changed.
    pub(super) fn clean_stands(&mut self, now: Now, out: &mut Vec<Output>) {
        let (term, leads) = (self.group.durable.standing().term, self.group.durable.leads());
        self.clean(Input::Standing { term, leads }, now, out);
        self.tell_who_is_down(now, out);
    }

    /// Who votes.
    pub(super) fn clean_voters(&mut self, sets: Vec<BTreeSet<NodeId>>, now: Now, out: &mut Vec<Output>) {
        self.clean(Input::Voters(sets), now, out);
    }

    /// A voter says whom it sees down.
    pub(super) fn clean_report(&mut self, voter: NodeId, down: BTreeSet<Incarnation>, now: Now, out: &mut Vec<Output>) {
        self.clean(Input::Report { voter, down }, now, out);
    }

    /// `cluster.autoclean` was reloaded.
    pub(super) fn clean_after(&mut self, limit: Option<Duration>, now: Now, out: &mut Vec<Output>) {
        self.clean(Input::Limit(limit), now, out);
    }

    pub(super) fn tick_clean(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.clean.deadline().is_some_and(|at| at <= now.mono) {
            self.tell_who_is_down(now, out);
        }
        let mut given = Vec::new();
        self.clean.tick(now, &mut given);
        self.clean_gave(given, now, out);
    }

    fn clean_gave(&mut self, given: Vec<Wanted>, now: Now, out: &mut Vec<Output>) {
        for wanted in given {
            match wanted {
                Wanted::Clean(case, grounds) => self.wish_clean(&case, &grounds, now, out),
                Wanted::Withdraw(node_id) => self.withdraw_clean(node_id, now, out),
            }
        }
    }

    fn wish_clean(&mut self, case: &Case, grounds: &Grounds, now: Now, out: &mut Vec<Output>) {
        let (node_id, me) = (case.id.node_id, self.me().node_id);
        if self.setup.faults.minority_cleans {
            let seat =
                Seat { number: self.membership.roster().next_number(), by: me, removed: Some(RemovalCause::Autoclean) };
            self.work.push_back(Work::Membership(membership::Input::Seats(BTreeMap::from([(node_id, seat)]))));
            return;
        }
        let name = self.name_of(node_id);
        let seen_by: Vec<String> = case.seen_by.iter().map(|voter| self.name_of(*voter)).collect();
        let goodbye = if self.membership.said_goodbye(case.id) { " (it said goodbye)" } else { "" };
        let evidence = vec![
            format!(
                "{}, which leads, has seen it down for {}{goodbye}, cluster.autoclean is {}",
                self.setup.name,
                words(case.down_for),
                words(case.limit)
            ),
            format!(
                "{} of {} voters report it down: {}",
                seen_by.len(),
                self.standing.quorum.voters,
                seen_by.join(", ")
            ),
            format!("its start {} is gone by a committed entry", case.id.guid),
        ];
        let what = format!("clean {name} (node_id {node_id}): it was down for {}", words(case.down_for));
        let decision = self.decisions.record(now.wall, "remove", what, RULE, evidence.clone());
        if let Ok(bytes) = postcard::to_allocvec(grounds) {
            self.decisions.keep_inputs(decision, &bytes);
        }
        let wish = Wish::Remove { node_id, cause: RemovalCause::Autoclean, by: me, replace_with: None };
        self.wish((wish, Waiting::Clean(node_id)), decision, evidence, now, out);
    }

    fn withdraw_clean(&mut self, node_id: NodeId, now: Now, out: &mut Vec<Output>) {
        let same = |waiting: &Waiting| matches!(waiting, Waiting::Clean(other) if *other == node_id);
        let ids: Vec<u64> = self.group.waiting.iter().filter(|(_, waiting)| same(waiting)).map(|(id, _)| *id).collect();
        for id in ids {
            self.group.waiting.remove(&id);
            self.durable(durable::Input::Withdraw { id }, now, out);
            let why = if self.group.durable.leads() {
                "what it was cleaned for does not hold any more"
            } else {
                "this node leads no more"
            };
            self.keeps(node_id, why, now);
        }
    }

    /// How a removal that the room wanted ended.
    pub(super) fn clean_ended(&mut self, node_id: NodeId, reply: &Reply, now: Now, out: &mut Vec<Output>) {
        match reply {
            Reply::Done { .. } => {}
            Reply::Refused { words, .. } | Reply::TryAgain { words, .. } => self.keeps(node_id, words, now),
            Reply::AskLeader { .. } => self.keeps(node_id, "another member leads now", now),
        }
        self.clean(Input::Ended(node_id), now, out);
    }

    fn keeps(&mut self, node_id: NodeId, why: &str, now: Now) {
        let what = format!("{} is not cleaned", self.name_of(node_id));
        self.decisions.record(now.wall, "remove", what, RULE, vec![why.to_string()]);
    }
}

/// A time in words, as exact as people want it.
fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} m {s} s"),
        (h, m, _) => format!("{h} h {m} m"),
    }
}
