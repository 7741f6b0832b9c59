//! The lease of this incarnation, and the leases of all while this node leads: its rooms among the others.
//!
//! The holder asks the leader of the durable group once a second; the keeper, at each voter, is told what the group has
//! committed, who sees whom down, and who said goodbye. What they want goes out as messages, as wishes of the group, and
//! as [`Output::Lease`], by which whoever answers for this node compares the lease with the clock at that moment.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::group::Waiting;
use super::{Control, GroupRequest, Message, Output, StopReason, emit};
use crate::consensus::Configuration;
use crate::durable::{Change, Reply, Wish};
use crate::event::EventKind;
use crate::id::{Incarnation, NodeId};
use crate::lease::{
    self, Cause, Faults, GoneEntry, GoneTable, Holder, HolderInput, HolderOutput, Keeper, KeeperInput, KeeperOutput,
    Outcome, Terms,
};
use crate::limits::{LEASE_INTERVAL, MEMBERS_MAX};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// The two rooms, and what they were told last.
#[derive(Debug)]
pub(super) struct Leases {
    holder: Holder,
    keeper: Keeper,
    /// Term, leader, and whether this node may answer as that.
    told: Option<(u64, Option<NodeId>, bool)>,
    voters: BTreeSet<NodeId>,
    /// What the shell knows of the lease.
    until: Option<Instant>,
    /// The lease was there in this cluster, and is not now.
    pub(super) fenced: bool,
    /// The lease was there in this cluster.
    pub(super) was_held: bool,
    /// When it is said next whom this node sees down.
    say_at: Instant,
}

impl Leases {
    pub(super) fn new(me: Incarnation) -> Self {
        let faults = Faults::default();
        // How long leases last is what the group has committed: nobody is answered before.
        let terms = Terms::new(Duration::ZERO);
        Self {
            holder: Holder::new(me, faults),
            keeper: Keeper::new(me.node_id, terms, GoneTable::default(), faults),
            told: None,
            voters: BTreeSet::new(),
            until: None,
            fenced: false,
            was_held: false,
            say_at: Instant::ZERO,
        }
    }

    /// Whether the node holds its lease at this moment.
    pub(super) fn holds(&self, now: Now) -> bool {
        self.holder.holds(now.mono)
    }

    /// Whether it has no lease: fenced, or not asked yet.
    pub(super) fn lacks(&self) -> bool {
        self.until.is_none()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.holder.deadline(), self.keeper.deadline(), Some(self.say_at)].into_iter().flatten().min()
    }

    pub(super) fn check(&self) {
        self.holder.check();
        self.keeper.check();
    }
}

/// For one of the two.
enum Input {
    Holder(HolderInput),
    Keeper(KeeperInput),
}

impl Control {
    /// Gives the rooms what is for them, and each what the other has for it.
    fn lease(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let mut queue = VecDeque::from([input]);
        while let Some(input) = queue.pop_front() {
            match input {
                Input::Holder(input) => {
                    let mut given = Vec::new();
                    self.leases.holder.handle(input, now, &mut given);
                    self.holder_gave(given, &mut queue, now, out);
                }
                Input::Keeper(input) => {
                    let mut given = Vec::new();
                    self.leases.keeper.handle(input, now, &mut given);
                    self.keeper_gave(given, &mut queue, now, out);
                }
            }
        }
        self.tell_lease(out);
    }

    fn holder_gave(&mut self, given: Vec<HolderOutput>, queue: &mut VecDeque<Input>, now: Now, out: &mut Vec<Output>) {
        let me = self.me().node_id;
        for output in given {
            match output {
                HolderOutput::Send { to, message } if to == me => {
                    queue.push_back(Input::Keeper(KeeperInput::Message { from: me, message }));
                }
                HolderOutput::Send { to, message } => self.send_lease(to, message, out),
                HolderOutput::Fenced { unrenewed } => self.fenced(unrenewed.unwrap_or_default(), now, out),
                HolderOutput::Renewed { .. } => {
                    (self.leases.fenced, self.leases.was_held) = (false, true);
                    self.dirty = true;
                }
                HolderOutput::Over => self.over(now, out),
            }
        }
    }

    fn keeper_gave(&mut self, given: Vec<KeeperOutput>, queue: &mut VecDeque<Input>, now: Now, out: &mut Vec<Output>) {
        let me = self.me().node_id;
        for output in given {
            match output {
                KeeperOutput::Send { to, message } if to == me => {
                    queue.push_back(Input::Holder(HolderInput::Message(message)));
                }
                KeeperOutput::Send { to, message } => self.send_lease(to, message, out),
                KeeperOutput::Confirm { round, term } => {
                    out.push(Output::Group(GroupRequest::Confirm { round, term }));
                }
                KeeperOutput::Propose(entry) => self.wish_gone(entry, now, out),
            }
        }
    }

    fn send_lease(&mut self, to: NodeId, message: lease::Message, out: &mut Vec<Output>) {
        if let Some(cluster_id) = self.group.cluster() {
            let generation = self.generation();
            self.send(to, &Message::Lease { cluster_id, generation, message }, out);
        }
    }

    /// The shell compares with the clock itself; it only has to know with what.
    fn tell_lease(&mut self, out: &mut Vec<Output>) {
        let until = self.leases.holder.until();
        if until != self.leases.until {
            self.leases.until = until;
            out.push(Output::Lease(until));
        }
    }

    fn fenced(&mut self, unrenewed: Duration, now: Now, out: &mut Vec<Output>) {
        // Before anything else that this step gives out.
        self.tell_lease(out);
        self.leases.fenced = true;
        self.dirty = true;
        if self.stopping {
            return;
        }
        let lease_age_ms = u64::try_from(unrenewed.as_millis()).unwrap_or(u64::MAX);
        let what = format!("{} is fenced: its lease was renewed {lease_age_ms} ms ago", self.setup.name);
        let rule = "section 9: without renewal for two thirds of gone_after a node is fenced";
        let id = self.decisions.record(now.wall, "down", what, rule, Vec::new());
        emit(Some(id), EventKind::NodeFenced { lease_age_ms }, out);
    }

    /// This start was declared gone while it lived: the node goes on under a new guid.
    pub(super) fn over(&mut self, now: Now, out: &mut Vec<Output>) {
        let incarnation = self.me().guid;
        let what = format!("this start of {} (guid {incarnation}) is over: it takes a new guid", self.setup.name);
        let rule = "section 9: who lives and is gone takes a new guid and comes back under it";
        let id = self.decisions.record(now.wall, "down", what, rule, Vec::new());
        emit(Some(id), EventKind::NodeOver { incarnation }, out);
        self.end(StopReason::Over, now, out);
    }

    /// The node is about to say goodbye: from here on others may be told that it is gone.
    pub(super) fn give_up_lease(&mut self, now: Now, out: &mut Vec<Output>) {
        self.stopping = true;
        self.lease(Input::Holder(HolderInput::Goodbye), now, out);
    }

    /// Begins anew, in another cluster or in none.
    pub(super) fn reset_leases(&mut self, out: &mut Vec<Output>) {
        let before = &self.leases;
        let (until, holder, keeper) = (before.until, before.holder.anew(), before.keeper.anew());
        self.leases = Leases { holder, keeper, until, ..Leases::new(self.me()) };
        self.tell_lease(out);
    }

    /// What the replica knows of its group has changed, or what it has applied.
    pub(super) fn leases_stand(&mut self, now: Now, out: &mut Vec<Output>) {
        let durable = &self.group.durable;
        let standing = durable.standing();
        let leader = standing.leader.map(|leader| leader.node_id);
        // Entries come before the standing that they led to: so every `gone` of earlier terms is known here.
        let ready = durable.leads() && durable.record().leases().is_some();
        let told = (standing.term, leader, ready);
        let before = self.leases.told.replace(told);
        if before == Some(told) {
            return;
        }
        let term = standing.term;
        self.lease(Input::Keeper(KeeperInput::Standing { term, leader, ready }), now, out);
        self.clean_stands(now, out);
        if before.is_none_or(|(_, known, _)| known != leader) {
            self.lease(Input::Holder(HolderInput::Leader(leader)), now, out);
            self.ask_for_lease(now, out);
        }
    }

    /// Asks at once, where there is no lease and somebody to ask.
    fn ask_for_lease(&mut self, now: Now, out: &mut Vec<Output>) {
        self.lease(Input::Holder(HolderInput::Ask), now, out);
    }

    /// What was committed.
    pub(super) fn leases_changed(&mut self, changes: &[Change], now: Now, out: &mut Vec<Output>) {
        let (mut members, mut length) = (false, false);
        for change in changes {
            match change {
                Change::Ended { id, .. } => {
                    members = true;
                    self.incarnation_ended(*id, now, out);
                }
                Change::Founded { .. }
                | Change::Admitted { .. }
                | Change::Returned { .. }
                | Change::Removed { .. }
                | Change::Recovered { .. } => members = true,
                Change::Leases(_) => length = true,
                _ => {}
            }
        }
        if members {
            self.tell_present(now, out);
        }
        if length {
            self.tell_length(now, out);
        }
    }

    /// The record was replaced as a whole.
    pub(super) fn leases_restored(&mut self, now: Now, out: &mut Vec<Output>) {
        let ended: Vec<Incarnation> = self.group.durable.record().ended().collect();
        for id in ended {
            self.incarnation_ended(id, now, out);
        }
        self.tell_present(now, out);
        self.tell_length(now, out);
    }

    fn incarnation_ended(&mut self, id: Incarnation, now: Now, out: &mut Vec<Output>) {
        self.lease(Input::Keeper(KeeperInput::Gone(id)), now, out);
        let me = self.me();
        if id.node_id == me.node_id && me.guid <= id.guid {
            self.lease(Input::Holder(HolderInput::Gone), now, out);
        }
    }

    fn tell_present(&mut self, now: Now, out: &mut Vec<Output>) {
        let present: BTreeSet<Incarnation> = self.group.durable.record().present().collect();
        let removed: BTreeSet<Incarnation> = self.group.durable.record().removed().collect();
        let own = present.contains(&self.me());
        self.lease(Input::Keeper(KeeperInput::Starts { present, removed }), now, out);
        if own {
            self.ask_for_lease(now, out);
        }
    }

    fn tell_length(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(agreed) = self.group.durable.record().leases() else { return };
        let terms = KeeperInput::Terms { given: agreed.given(), waited: agreed.waited() };
        self.lease(Input::Keeper(terms), now, out);
        self.leases_stand(now, out);
    }

    /// Who votes.
    pub(super) fn lease_voters(&mut self, configuration: &Configuration, now: Now, out: &mut Vec<Output>) {
        let sets = configuration.voters.iter();
        let sets: Vec<BTreeSet<NodeId>> = sets.map(|set| set.iter().map(|voter| voter.node_id).collect()).collect();
        self.leases.voters = sets.iter().flatten().copied().collect();
        let voters = self.leases.voters.clone();
        self.clean_voters(sets.clone(), now, out);
        self.lease(Input::Keeper(KeeperInput::Voters(sets)), now, out);
        self.lease(Input::Holder(HolderInput::Voters(voters)), now, out);
    }

    /// A message of the leases came.
    pub(super) fn lease_came(&mut self, from: Incarnation, message: lease::Message, now: Now, out: &mut Vec<Output>) {
        match message {
            lease::Message::Renew { .. } => {
                self.lease(Input::Keeper(KeeperInput::Message { from: from.node_id, message }), now, out);
            }
            // Whoever is outside this cluster says nothing of its leases.
            _ if !self.leases.voters.contains(&from.node_id) => {}
            lease::Message::Renewed { id, .. } | lease::Message::Gone { id } if id.node_id != self.me().node_id => {
                self.lease(Input::Keeper(KeeperInput::Message { from: from.node_id, message }), now, out);
            }
            _ => self.lease(Input::Holder(HolderInput::Message(message)), now, out),
        }
    }

    /// A voter says whom it sees down.
    pub(super) fn down_reported(
        &mut self,
        voter: NodeId,
        down: BTreeSet<Incarnation>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if down.len() <= MEMBERS_MAX {
            self.clean_report(voter, down.clone(), now, out);
            self.lease(Input::Keeper(KeeperInput::Report { voter, down }), now, out);
        }
    }

    /// A node said goodbye on its own connection.
    pub(super) fn goodbye_came(&mut self, from: Incarnation, now: Now, out: &mut Vec<Output>) {
        if self.group.durable.record().is_present(from) {
            self.lease(Input::Keeper(KeeperInput::Ended(from, Cause::Goodbye)), now, out);
        }
    }

    /// The group has answered whether this node still leads that term.
    pub(super) fn lease_confirmed(&mut self, round: u64, ok: bool, now: Now, out: &mut Vec<Output>) {
        self.lease(Input::Keeper(KeeperInput::Confirmed { round, ok }), now, out);
    }

    /// Looks at the clock before anything else is done: a process that stood still hears first that its lease is over.
    pub(super) fn look_at_lease(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.leases.until.is_some_and(|until| until <= now.mono) {
            self.tick_leases(now, out);
        }
    }

    pub(super) fn tick_leases(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.group.is_open() {
            return;
        }
        if now.mono >= self.leases.say_at {
            self.leases.say_at = now.mono + LEASE_INTERVAL;
            self.say_who_is_down(now, out);
        }
        let mut queue = VecDeque::new();
        let mut given = Vec::new();
        self.leases.holder.tick(now, &mut given);
        self.holder_gave(given, &mut queue, now, out);
        let mut given = Vec::new();
        self.leases.keeper.tick(now, &mut given);
        self.keeper_gave(given, &mut queue, now, out);
        while let Some(input) = queue.pop_front() {
            self.lease(input, now, out);
        }
        self.tell_lease(out);
    }

    /// Tells the leader whom this voter sees down; the leader also looks who said goodbye to whom led before it.
    fn say_who_is_down(&mut self, now: Now, out: &mut Vec<Output>) {
        let me = self.me().node_id;
        let Some(leader) = self.group_leader() else { return };
        let record = self.group.durable.record();
        if leader == me {
            let goodbye = |id: &Incarnation| id.node_id != me && self.membership.said_goodbye(*id);
            let stopped: Vec<Incarnation> = record.present().filter(goodbye).collect();
            for id in stopped {
                self.goodbye_came(id, now, out);
            }
        }
        let record = self.group.durable.record();
        if !record.votes(me) {
            return;
        }
        let down = self.seen_down();
        if leader == me {
            self.down_reported(me, down, now, out);
        } else if let Some(cluster_id) = self.group.cluster() {
            let generation = self.generation();
            self.send(leader, &Message::SeenDown { cluster_id, generation, down }, out);
        }
    }

    /// Whether this node hears that start, or hears of it, in this cluster.
    pub(super) fn sees(&self, id: Incarnation) -> bool {
        let later = |id: Incarnation| self.membership.record(id.node_id).is_some_and(|known| known.id.guid > id.guid);
        id == self.me()
            || self.membership.is_running(id.node_id) && !later(id) && self.autocluster.says_it_is_in(id.node_id)
    }

    fn wish_gone(&mut self, entry: GoneEntry, now: Now, out: &mut Vec<Output>) {
        let name = |id: &NodeId| self.membership.record(*id).map_or_else(|| id.to_string(), |r| r.name.to_string());
        let evidence = match &entry.cause {
            Cause::Goodbye => vec![String::from("it said goodbye on its own connection")],
            Cause::NewerStart => vec![String::from("a later start of its directory runs")],
            Cause::Silent { unheard_ms, seen_down_by } => vec![
                format!("its lease was not renewed for {unheard_ms} ms"),
                format!("down in the eyes of {}", seen_down_by.iter().map(name).collect::<Vec<_>>().join(", ")),
            ],
            Cause::Removed { unheard_ms } => {
                vec![String::from("its node was taken out"), format!("its lease was not renewed for {unheard_ms} ms")]
            }
        };
        let what = format!("{} (guid {}) is to be gone", name(&entry.id.node_id), entry.id.guid);
        let rule = "section 9: gone is one committed entry, and for ever";
        let decision = self.decisions.record(now.wall, "down", what, rule, evidence.clone());
        let waiting = Waiting::Gone { id: entry.id, term: entry.term };
        self.wish((Wish::Gone(entry), waiting), decision, evidence, now, out);
    }

    /// What became of a proposal. One that was committed is told as what it changed.
    pub(super) fn gone_answered(&mut self, id: Incarnation, term: u64, reply: &Reply, now: Now, out: &mut Vec<Output>) {
        let outcome = match reply {
            Reply::Done { .. } => return,
            Reply::TryAgain { unknown: true, .. } => Outcome::Unknown,
            Reply::Refused { .. } | Reply::AskLeader { .. } | Reply::TryAgain { unknown: false, .. } => Outcome::Failed,
        };
        self.lease(Input::Keeper(KeeperInput::Proposed { id, term, outcome }), now, out);
    }
}
