//! How this node stands: its status, the majority in reach, why it is not ready, what it waits for, the split.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::loading::Loading;
use super::{Control, Output, Work, emit, recover};
use crate::autocluster;
use crate::event::EventKind;
use crate::id::{ClusterId, Incarnation, NodeId, NodeName};
use crate::limits::{HEARTBEAT_INTERVAL, LINK_SILENCE, MEMBER_SILENCE};
use crate::machine::Machine;
use crate::membership::{self, Roster};
use crate::time::{Instant, Now, Wall};
use crate::view::{Conflict, LinkState, Quorum, Reason, Split, SplitState, Status};
use crate::wire::Refusal;

/// How long a refusal by a peer is shown after it was given last.
const REFUSAL_SHOWN: Duration = Duration::from_secs(10);
/// A link that was silent for `LINK_SILENCE` already has by then been so for as long as it takes to find a member down.
const BROKEN: Duration = MEMBER_SILENCE.saturating_sub(LINK_SILENCE).saturating_add(HEARTBEAT_INTERVAL);
/// A step that comes this much later than asked for counts as a pause of the process.
const PAUSE: Duration = Duration::from_secs(1);

/// A cluster that this node has just entered.
pub(super) struct Entry {
    pub(super) cluster_id: ClusterId,
    pub(super) roster: Roster,
    /// `formed`, `joined`, `merged`.
    pub(super) how: &'static str,
    /// By an operator's word.
    pub(super) asked: bool,
}

/// How this node stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) status: Status,
    /// Whether this incarnation has taken part in its present cluster.
    pub(super) was_up: bool,
    /// Whether it was up there, with all rows of its tables.
    pub(super) synced: bool,
    /// What the shell said last of the tables that it keeps.
    pub(super) tables: Option<Loading>,
    pub(super) draining: bool,
    pub(super) leaving: bool,
    pub(super) waits: String,
    pub(super) quorum: Quorum,
    pub(super) conflicts: BTreeMap<ClusterId, Conflict>,
    /// The latest refusal by a peer, which a person must read.
    pub(super) refusal: Option<(Refusal, Instant)>,
    pub(super) clock: Option<String>,
    /// The disc is nearly full.
    pub(super) disc: Option<String>,
    pub(super) split: Split,
    /// A partition was told as begun, and not as ended.
    pub(super) split_told: bool,
    /// When this start began.
    pub(super) started: Instant,
    broken_since: Option<Instant>,
    since: BTreeMap<String, Wall>,
    expected: Option<Instant>,
    told: Option<(bool, Status, bool, bool, bool)>,
}

impl Standing {
    pub(super) fn new(now: Now) -> Self {
        Self {
            status: Status::Joining,
            was_up: false,
            synced: false,
            tables: None,
            draining: false,
            leaving: false,
            waits: String::new(),
            quorum: Quorum::default(),
            conflicts: BTreeMap::new(),
            refusal: None,
            clock: None,
            disc: None,
            split: Split::default(),
            split_told: false,
            started: now.mono,
            broken_since: None,
            since: BTreeMap::from([(String::from("joining"), now.wall)]),
            expected: None,
            told: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.refusal.as_ref().map(|(_, at)| *at + REFUSAL_SHOWN)
    }

    /// What it was in its cluster counts no more.
    pub(super) fn leaves_cluster(&mut self) {
        (self.was_up, self.synced, self.draining) = (false, false, false);
    }

    /// Whether this node is up and reaches a majority of its cluster's voters.
    pub(super) fn holds(&self) -> bool {
        self.was_up && self.quorum.holds()
    }

    /// Since when a reason holds; the first time it is asked for starts it.
    fn since(&mut self, code: &str, wall: Wall) -> Wall {
        *self.since.entry(code.to_string()).or_insert(wall)
    }

    fn keep_only(&mut self, codes: &[&str]) {
        self.since.retain(|code, _| codes.contains(&code.as_str()));
    }
}

impl Control {
    /// Notices that the process did not run: silence in that time proves nothing about others.
    pub(super) fn notice_pause(&mut self, now: Now, out: &mut Vec<Output>) {
        if let Some(expected) = self.standing.expected.take() {
            let late = now.mono.since(expected);
            if late > PAUSE {
                let for_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
                // At once: the look at who is silent, which follows, must not count this time.
                let mut given = Vec::new();
                self.membership.handle(membership::Input::Paused { for_ms }, now, &mut given);
                self.membership_gave(given, now, out);
                self.twins.wait_longer(late);
                emit(None, EventKind::NodePaused { for_ms }, out);
            }
        }
        if self.standing.refusal.as_ref().is_some_and(|(_, at)| now.mono >= *at + REFUSAL_SHOWN) {
            self.standing.refusal = None;
            self.dirty = true;
        }
    }

    /// Why the disc is full, if it is.
    pub(super) fn disc_is(&mut self, full: Option<String>, out: &mut Vec<Output>) {
        match (&self.standing.disc, &full) {
            (None, Some(why)) => emit(None, EventKind::DiscFull { why: why.clone() }, out),
            (Some(_), None) => emit(None, EventKind::DiscOk {}, out),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.standing.disc = full;
    }

    pub(super) fn note_expected(&mut self, now: Now) {
        self.standing.expected = self.deadline().map(|deadline| deadline.max(now.mono));
    }

    /// Works out status and majority anew, and tells the rooms where they changed.
    pub(super) fn stand(&mut self) {
        let me = self.me().node_id;
        let voters = self.membership.voters();
        let with_us = |v: &NodeId| self.membership.is_running(*v) && self.autocluster.is_with_us(*v);
        let in_reach = self.with_stores(voters.iter().copied().filter(|v| *v == me || with_us(v)));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let sets = self
            .group
            .durable
            .record()
            .configuration()
            .voters
            .iter()
            .map(|set| (count(set.len()), count(in_reach.count(set))));
        // Before anything is committed here nobody can have lost the store that it votes with.
        let committed = self.group.durable.record().voters();
        let lost = |node_id: &NodeId| {
            let mut own = committed.iter().filter(|voter| voter.node_id == *node_id).peekable();
            own.peek().is_some() && !own.any(|voter| in_reach.has_voter(*voter))
        };
        let here = voters.iter().filter(|node_id| in_reach.has(**node_id) && !lost(node_id)).count();
        let quorum = Quorum::new(count(voters.len()), count(here)).of_each(sets);
        let clock = self.clock_refused();
        // Who has others to compare with has compared before it is up for the first time.
        let comparable = voters.len() <= 1 || self.clocks.compared();
        let status = self.next_status(quorum, clock.is_none() && comparable);
        if (quorum, status, &clock) != (self.standing.quorum, self.standing.status, &self.standing.clock) {
            self.dirty = true;
        }
        let changed = status != self.standing.status;
        self.standing.quorum = quorum;
        self.standing.clock = clock;
        self.standing.status = status;
        if changed {
            self.standing.was_up |= status.takes_part();
            self.standing.synced |= status == Status::Up;
            self.work.push_back(Work::Membership(membership::Input::SetStatus(status)));
        }
        let (alone, unfounded) = (self.membership.size() <= 1, self.group.is_unfounded());
        let told = (quorum.holds(), status, self.standing.clock.is_some(), alone, unfounded);
        if self.standing.told != Some(told) {
            self.standing.told = Some(told);
            let (quorum, status, clock_refused, alone, unfounded) = told;
            let standing = autocluster::Input::Standing { quorum, status, clock_refused, alone, unfounded };
            self.work.push_back(Work::Autocluster(standing));
        }
    }

    fn next_status(&self, quorum: Quorum, clock_agrees: bool) -> Status {
        let cluster = self.autocluster.cluster_id();
        let entered = cluster.is_some() && self.membership.roster().cluster_id == cluster;
        let present = self.is_present();
        if self.standing.leaving {
            Status::Leaving
        } else if !entered {
            Status::Joining
        } else if self.standing.was_up || (present && quorum.holds() && clock_agrees && self.leases.was_held) {
            if self.healing().healing {
                Status::Healing
            } else if self.standing.draining {
                Status::Draining
            } else if self.lacks_rows() {
                Status::Syncing
            } else {
                Status::Up
            }
        } else {
            Status::Joining
        }
    }

    /// What this node waits for, in words; empty where it waits for nothing.
    pub(super) fn waits(&self) -> String {
        if self.standing.status != Status::Joining {
            return String::new();
        }
        let waits = self.waits_for();
        match &self.standing.refusal {
            Some((refusal, _)) if waits.is_empty() => format!("refused: {}", refusal.text),
            // One peer's refusal need not be what it waits for.
            Some((refusal, _)) => format!("{waits}; refused by one: {}", refusal.text),
            None => waits,
        }
    }

    fn waits_for(&self) -> String {
        let voters = self.membership.voters();
        let returning = self.autocluster.cluster_id().is_some() && !voters.is_empty();
        if returning && self.standing.quorum.holds() && !self.is_present() {
            return self.waits_for_entry();
        }
        if returning && self.standing.quorum.holds() && !self.leases.was_held {
            return self.waits_for_lease();
        }
        if !returning || self.standing.quorum.holds() {
            return self.standing.waits.clone();
        }
        let missing: Vec<String> = voters
            .iter()
            .filter(|v| **v != self.me().node_id)
            .filter_map(|v| Some((self.membership.is_running(*v), self.membership.record(*v)?)))
            .filter_map(|(runs, record)| match runs {
                false => Some(record.name.to_string()),
                true if self.autocluster.is_with_us(record.id.node_id) => None,
                true => Some(format!("{} (it runs, and is not in this cluster)", record.name)),
            })
            .collect();
        let Quorum { voters, in_reach, .. } = self.standing.quorum;
        format!(
            "waits: {in_reach} of {voters} voters up; needs {}. If they are lost for good: ekka recover --plan",
            missing.join(" or ")
        )
    }

    /// It is a member, and was not told yet that it counts as one that lives.
    fn waits_for_lease(&self) -> String {
        match self.group_leader() {
            Some(leader) => {
                let name = self.membership.record(leader).map_or_else(|| leader.to_string(), |r| r.name.to_string());
                format!("waits: {name}, which leads, has not answered for its lease yet")
            }
            None => self.waits_for_leader(),
        }
    }

    /// Nobody is known to lead: there is nobody, or who leads is not heard.
    fn waits_for_leader(&self) -> String {
        let others = self.membership.voters().iter().filter(|voter| **voter != self.me().node_id);
        let unheard = others.filter(|voter| !self.conns.is_linked(**voter));
        let unheard: Vec<String> =
            unheard.filter_map(|voter| self.membership.record(*voter)).map(|record| record.name.to_string()).collect();
        if unheard.is_empty() {
            return String::from("waits: the voters elect who leads them");
        }
        format!(
            "waits: none of the voters that this node hears leads them, and it has no link to {}: see `ekka links`",
            unheard.join(" and ")
        )
    }

    /// A majority is in reach, and has not committed yet that this start of this node is a member.
    fn waits_for_entry(&self) -> String {
        let durable = &self.group.durable;
        let leader = durable.standing().leader.map(|leader| leader.node_id);
        let name = leader.map(|id| self.membership.record(id).map_or_else(|| id.to_string(), |r| r.name.to_string()));
        match (&durable.standing().failed, name) {
            (Some(why), _) => format!("waits: its log of the cluster's group cannot be used: {why}"),
            (None, Some(name)) => format!("waits: {name}, which leads, has not committed this start of it yet"),
            (None, None) => self.waits_for_leader(),
        }
    }

    /// Why this node is not ready for work that needs a majority; the first is the main one.
    pub(super) fn reasons(&mut self, wall: Wall) -> Vec<Reason> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        if let Some(text) = self.standing.clock.clone() {
            found.push(("clock", text));
        }
        if let Some(text) = self.standing.disc.clone() {
            found.push(("disc_full", text));
        }
        if let Some(outranked) = &self.autocluster.saved().outranked {
            found.push(("outranked", recover::outranked_words(outranked, self.autocluster.saved().left)));
        }
        match self.standing.status {
            Status::Joining if self.autocluster.saved().left => {
                let unheard = if self.membership.is_parting() {
                    "; no member of it has confirmed that yet, and each that is met is told"
                } else {
                    ""
                };
                let text = format!(
                    "this node left its cluster, or was taken out: `ekka join NODE` or `ekka form` brings it back{unheard}"
                );
                found.push(("left", text));
            }
            Status::Joining => {
                let waits = self.waits();
                found.push(("joining", if waits.is_empty() { "looks for its cluster".into() } else { waits }));
            }
            Status::Syncing => found.push(("syncing", self.syncing_words())),
            Status::Healing => found.push(("healing", self.healing().waits)),
            Status::Draining => found.push(("draining", "told to drain: `ekka undrain` ends it".into())),
            Status::Leaving => found.push(("leaving", "leaves the cluster".into())),
            Status::Stopped => found.push(("stopping", "is stopping".into())),
            Status::Gone => {
                found.push(("fenced", "this start was declared gone: the node comes back under a new guid".into()));
            }
            _ => {}
        }
        let Quorum { voters, in_reach, needed, .. } = self.standing.quorum;
        if self.standing.was_up && !self.standing.quorum.holds() {
            let text = format!("minority: {in_reach} of {voters} voters in reach, {needed} needed");
            found.push(("minority", text));
            if let Some((refusal, _)) = &self.standing.refusal {
                found.push(("refused", format!("refused by those that it meets: {}", refusal.text)));
            }
        }
        if self.standing.status.takes_part() && self.standing.quorum.holds() {
            found.extend(self.volatile_reason().map(|text| ("syncing", text)));
        }
        if self.standing.was_up
            && self.leases.lacks()
            && !matches!(self.standing.status, Status::Stopped | Status::Gone)
        {
            let text = "fenced: no majority has renewed its lease, so others may be told that it is gone".to_string();
            found.push(("fenced", text));
        }
        let codes: Vec<&str> = found.iter().map(|(code, _)| *code).collect();
        self.standing.keep_only(&codes);
        found
            .into_iter()
            .map(|(code, text)| Reason { code: code.into(), text, since: self.standing.since(code, wall) })
            .collect()
    }

    /// Which kind of split this node sees.
    pub(super) fn split(&mut self, now: Now) -> Split {
        if !self.standing.was_up {
            return Split { majority: self.standing.quorum.holds(), ..Split::default() };
        }
        let unreachable = self.membership.unreachable(now);
        let majority = self.standing.quorum.holds();
        let suspected = unreachable.iter().any(|u| u.evidence != "refused");
        let state = if !majority {
            SplitState::Minority
        } else if suspected {
            SplitState::Suspected
        } else if self.heal_waits().is_some() {
            SplitState::Healing
        } else if self.broken_for_long(now) {
            SplitState::Partial
        } else {
            SplitState::None
        };
        let since = match (state, self.standing.split.since) {
            (SplitState::None, _) => None,
            (_, Some(since)) => Some(since),
            (_, None) => Some(now.wall),
        };
        Split { state, since, majority, unreachable }
    }

    /// Whether a link between two that run has been broken for longer than it takes to find out that one of them is
    /// down: before that it may be just the first sign of it.
    fn broken_for_long(&mut self, now: Now) -> bool {
        if !self.broken_link(now) {
            self.standing.broken_since = None;
            return false;
        }
        let long = *self.standing.broken_since.get_or_insert(now.mono) + BROKEN;
        if now.mono < long {
            self.refresh_at = self.refresh_at.min(long); // to say so at once, and not at the next turn of all ages
        }
        now.mono >= long
    }

    fn broken_link(&self, now: Now) -> bool {
        self.membership.links(now).iter().any(|link| {
            link.state != LinkState::Up && self.membership.is_running(link.from) && self.membership.is_running(link.to)
        })
    }

    /// This node's cluster changed: formed, joined, merged into another.
    pub(super) fn entered(&mut self, entry: Entry, lines: Vec<String>, now: Now, out: &mut Vec<Output>) {
        let Entry { cluster_id, roster, how, asked } = entry;
        let before = self.membership.roster().cluster_id;
        let names: Vec<NodeName> = roster.records.values().map(|r| r.name.clone()).collect();
        let expect = u32::try_from(self.autocluster.needed(now)).unwrap_or(u32::MAX);
        let what = format!("{how} cluster {cluster_id}");
        let rule = match how {
            "formed" => "section 8, rule 4: forming is a vote",
            "merged" => "section 8, rule 6: the younger cluster goes into the older one",
            _ => "section 8, rule 3: join the cluster with the smallest id that can commit",
        };
        let id = self.decisions.record(now.wall, how, what, rule, lines);
        self.standing.leaves_cluster();
        self.standing.conflicts.remove(&cluster_id);
        self.work.push_back(Work::Membership(membership::Input::Enter { roster, farewell: asked }));
        self.reset_heal();
        self.persist.wanted = true;
        self.dirty = true;
        match (how, before) {
            ("formed", _) => emit(Some(id), EventKind::ClusterFormed { id: cluster_id, nodes: names, expect }, out),
            (_, Some(from)) if from != cluster_id => {
                emit(Some(id), EventKind::ClusterMerged { from, into: cluster_id }, out);
            }
            _ => {}
        }
        self.open_group(now, out);
        self.command_entered(cluster_id, id, out);
    }

    pub(super) fn conflict(
        &mut self,
        other: ClusterId,
        met: Option<(NodeName, String)>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.dirty = true;
        let Some((met, why)) = met else {
            self.standing.conflicts.remove(&other);
            return;
        };
        let new = !self.standing.conflicts.contains_key(&other);
        let since = self.standing.conflicts.get(&other).map_or(now.wall, |c| c.since);
        let conflict = Conflict { other, met: met.clone(), why: why.clone(), since };
        self.standing.conflicts.insert(other, conflict);
        if new {
            let rule = "section 8, rule 6: where two formed clusters meet and neither may move, an operator decides";
            let lines = alloc::vec![format!("met {met}"), why.clone()];
            let id =
                self.decisions.record(now.wall, "conflict", format!("cluster {other} is another one"), rule, lines);
            emit(Some(id), EventKind::ClusterConflict { other, met, why }, out);
        }
    }

    pub(super) fn liveness_changed(
        &mut self,
        id: Incarnation,
        up: bool,
        evidence: &str,
        mut lines: Vec<String>,
        now: Now,
    ) {
        self.dirty = true;
        let name = self.membership.record(id.node_id).map_or_else(|| id.node_id.to_string(), |r| r.name.to_string());
        lines.insert(0, format!("evidence: {evidence}"));
        let (kind, what) = if up {
            ("up", format!("{name} (guid {}) is heard", id.guid))
        } else {
            ("down", format!("{name} (guid {}) is down", id.guid))
        };
        let rule = "section 9: down is each node's own hint, from direct and indirect evidence";
        let decision = self.decisions.record(now.wall, kind, what, rule, lines);
        self.evidence.insert(id.node_id, (decision, evidence.to_string()));
    }
}
