//! Makes the view, and tells what changed since the last one as events.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Control, Fixed, Output, emit};
use crate::durable::plan::TWO_VOTERS;
use crate::event::EventKind;
use crate::id::{Incarnation, NodeId, NodeName};
use crate::time::Now;
use crate::view::{Conflict, Member, Quorum, Reason, Split, SplitState, Status, View, Volatile};

/// How often ages in the view are brought up to date although nothing else changed.
const REFRESH: Duration = Duration::from_secs(1);
/// The same in a large cluster, where a view costs more.
const REFRESH_LARGE: Duration = Duration::from_secs(10);

/// How often in a large cluster the view is made anew while many things change: each view costs a row a member.
pub(super) const SETTLE_LARGE: Duration = Duration::from_millis(250);

/// The view of a node that has not begun.
pub(super) fn first_view(fixed: &Fixed, me: Incarnation) -> View {
    View {
        number: 0,
        me,
        name: fixed.name.clone(),
        status: Status::Joining,
        cluster_name: fixed.cluster_name.clone(),
        cluster_id: None,
        generation: 0,
        cluster_version: fixed.software.clone(),
        ready_quorum: false,
        ready_available: false,
        reasons: Vec::new(),
        leader: None,
        coordinator: None,
        sync: None,
        quorum: Quorum::default(),
        volatile: Volatile::default(),
        split: Split::default(),
        conflicts: Vec::new(),
        alarms: Vec::new(),
        advice: Vec::new(),
        members: Vec::new(),
        links: Vec::new(),
        clock_offset_ms: None,
        clock_peers: 0,
        peer_clock_offset_ms: BTreeMap::new(),
        started: fixed.started,
    }
}

/// A version as numbers, so that 0.10 is above 0.9.
fn version_key(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0)).collect()
}

impl Control {
    /// Makes the view anew where something changed, and gives it out with the events of what changed.
    pub(super) fn publish(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.dirty {
            return;
        }
        let large = self.membership.is_large();
        if large && now.mono < self.settled_at && !self.is_urgent() {
            self.refresh_at = self.refresh_at.min(self.settled_at);
            return;
        }
        self.dirty = false;
        self.settled_at = now.mono + SETTLE_LARGE;
        self.refresh_at = now.mono + if large { REFRESH_LARGE } else { REFRESH };
        let view = Arc::new(self.make_view(now));
        let before = core::mem::replace(&mut self.view, view.clone());
        self.standing.split = view.split.clone();
        node_events(&before, &view, out);
        self.member_events(&before, &view, out);
        self.split_events(&before, &view, now, out);
        hint_events(&before, &view, out);
        out.push(Output::Publish(view));
    }

    /// Whether what others wait for changed: in a large cluster the rest is told a little later, many things at once.
    fn is_urgent(&self) -> bool {
        let leads = |id: NodeId| self.membership.status(id) == Status::Up;
        self.view.status != self.standing.status
            || self.leases.fenced && self.view.ready_quorum
            || self.view.quorum != self.standing.quorum
            || self.view.cluster_id != self.autocluster.cluster_on_disc()
            || self.view.leader.is_some_and(|id| !leads(id))
    }

    fn make_view(&mut self, now: Now) -> View {
        let reasons = self.reasons(now.wall);
        let split = self.split(now);
        let mut members = self.membership.members(now);
        self.mark_gone(&mut members);
        let status = self.standing.status;
        let usable = status == Status::Up && self.standing.clock.is_none() && self.standing.disc.is_none();
        let held = self.standing.quorum.holds() && self.leases.holds(now);
        let ready_quorum = usable && held && self.volatile_is_ready();
        if ready_quorum {
            self.note_ready();
        }
        let versions: BTreeSet<&str> = members.iter().map(|m| m.version.as_str()).collect();
        let cluster_version =
            versions.into_iter().min_by_key(|v| version_key(v)).unwrap_or(&self.setup.software).to_string();
        let conflicts: Vec<Conflict> = self.standing.conflicts.values().cloned().collect();
        let advice = self.advice(&split, &members, &conflicts);
        let alarms = self.alarms(&reasons, &conflicts, now);
        let (clock_offset_ms, clock_peers) = self.clock_ahead_ms();
        View {
            number: self.view.number + 1,
            me: self.me(),
            name: self.setup.name.clone(),
            status,
            cluster_name: self.setup.cluster_name.clone(),
            cluster_id: self.autocluster.cluster_on_disc(),
            generation: self.generation(),
            cluster_version,
            ready_quorum,
            ready_available: usable,
            reasons,
            leader: self.membership.leader(|id| self.is_over(id)),
            coordinator: self.membership.coordinator(|id| self.is_over(id)),
            sync: self.sync(),
            quorum: self.standing.quorum,
            volatile: self.volatile_view(),
            split,
            conflicts,
            alarms,
            advice,
            links: self.membership.links(now),
            members,
            clock_offset_ms,
            clock_peers,
            peer_clock_offset_ms: self.clocks.offsets().clone(),
            started: self.setup.started,
        }
    }

    /// Who is over by a committed entry is gone, whatever it says; who said goodbye before is known as stopped.
    fn mark_gone(&self, members: &mut [Member]) {
        for member in members.iter_mut().filter(|member| member.status != Status::Stopped && self.is_over(member.id)) {
            member.status = Status::Gone;
        }
    }

    /// Whether another start than this one is over by a committed entry; this one finds that out by its lease.
    fn is_over(&self, id: Incarnation) -> bool {
        id != self.me() && self.group.durable.record().is_over(id)
    }

    fn alarms(&self, reasons: &[Reason], conflicts: &[Conflict], now: Now) -> Vec<Reason> {
        let lasting = |reason: &&Reason| matches!(reason.code.as_str(), "clock" | "disc_full");
        let mut alarms: Vec<Reason> = reasons.iter().filter(lasting).cloned().collect();
        let warns_ms = self.clock_warns_ms().filter(|_| alarms.iter().all(|alarm| alarm.code != "clock"));
        if let Some(ms) = warns_ms {
            let text = format!("this node's clock is {ms} ms ahead of the median of its peers");
            alarms.push(Reason { code: "clock".into(), text, since: now.wall });
        }
        if let Some((refusal, _)) = self.standing.refusal.as_ref().filter(|_| self.standing.was_up) {
            let text = format!("a peer refuses this node: {}", refusal.text);
            alarms.push(Reason { code: "refused".into(), text, since: now.wall });
        }
        alarms.extend(self.setup.damage.iter().map(|what| Reason {
            code: "storage_damaged".into(),
            text: format!("{what}: this node votes as a new voter and is filled from its peers"),
            since: self.setup.started,
        }));
        alarms.extend(conflicts.iter().map(|conflict| Reason {
            code: "conflict".into(),
            text: format!("another cluster {} of this name: met {}; {}", conflict.other, conflict.met, conflict.why),
            since: conflict.since,
        }));
        alarms
    }

    fn advice(&self, split: &Split, members: &[Member], conflicts: &[Conflict]) -> Vec<String> {
        let mut advice = Vec::new();
        let name = |id: NodeId| members.iter().find(|m| m.id.node_id == id).map(|m| m.name.to_string());
        for unreachable in &split.unreachable {
            let Some(name) = name(unreachable.node_id) else { continue };
            advice.push(format!(
                "{name} is {}: check its machine and the network to it. If it is lost for good: ekka force-leave {name} --plan",
                unreachable.evidence
            ));
        }
        match split.state {
            SplitState::Minority => {
                advice.push("this side has no majority: quorum tables and locks refuse, until the link is back".into());
            }
            SplitState::Healing => {
                advice.push(format!("the network is whole again; {}", self.heal_waits().unwrap_or_default()));
            }
            SplitState::Partial => {
                advice.push("all members are up, but a link between two of them is broken: see `ekka links`".into());
            }
            _ => {}
        }
        if let Some(conflict) = conflicts.first() {
            advice
                .push(format!("decide which cluster stays: ekka join {} --plan, or the other way round", conflict.met));
        }
        let voters = self.standing.quorum.voters;
        if voters == 2 {
            advice.push(TWO_VOTERS.into());
        }
        advice
    }

    fn member_events(&mut self, before: &View, view: &View, out: &mut Vec<Output>) {
        let was: BTreeMap<NodeId, &Member> = before.members.iter().map(|m| (m.id.node_id, m)).collect();
        for member in view.members.iter().filter(|m| m.id.node_id != view.me.node_id) {
            let old = was.get(&member.id.node_id);
            let restarted = old.is_some_and(|old| old.id != member.id);
            if !restarted && old.map(|old| old.status) == Some(member.status) {
                continue;
            }
            let (name, node_id) = (member.name.clone(), member.id.node_id);
            let known = self.evidence.get(&node_id);
            let decision = known.map(|(decision, _)| *decision);
            let kind = match member.status {
                // It was said to join already.
                Status::Syncing if old.is_some_and(|old| old.status == Status::Joining) && !restarted => continue,
                // What it does in a heal it says itself, by `heal.*`; for the others it is there, before and after.
                Status::Healing if old.is_some_and(|old| old.status.is_running()) => continue,
                Status::Up | Status::Draining if old.is_some_and(|old| old.status == Status::Healing) && !restarted => {
                    continue;
                }
                Status::Joining | Status::Syncing => EventKind::MemberJoining { name, node_id },
                Status::Draining if old.is_some_and(|old| old.status == Status::Up) => continue,
                Status::Up | Status::Draining | Status::Healing => EventKind::MemberUp { name, node_id },
                Status::Leaving => EventKind::MemberLeaving { name, node_id },
                Status::Stopped => EventKind::MemberStopped { name, node_id },
                Status::Down | Status::Gone if old.is_none_or(|old| old.status == Status::Down) => continue,
                Status::Down | Status::Gone => match known {
                    Some((_, evidence)) => EventKind::MemberDown { name, node_id, evidence: evidence.clone() },
                    // A member that was never heard by this incarnation is listed, not reported.
                    None => continue,
                },
            };
            emit(decision, kind, out);
        }
        let roster = self.membership.roster();
        self.evidence.retain(|id, _| *id == view.me.node_id || roster.is_member(*id));
    }
}

fn node_events(before: &View, view: &View, out: &mut Vec<Output>) {
    for (for_, was, is) in [
        ("quorum", before.ready_quorum, view.ready_quorum),
        ("available", before.ready_available, view.ready_available),
    ] {
        if is && !was {
            emit(None, EventKind::NodeReady { for_: for_.into() }, out);
        } else if was && !is {
            let reasons = view.reasons.iter().map(|r| r.text.clone()).collect();
            emit(None, EventKind::NodeNotReady { for_: for_.into(), reasons }, out);
        }
    }
    if before.number > 0 && before.cluster_version != view.cluster_version {
        let (from, to) = (before.cluster_version.clone(), view.cluster_version.clone());
        emit(None, EventKind::ClusterVersion { from, to }, out);
    }
}

impl Control {
    fn split_events(&mut self, before: &View, view: &View, now: Now, out: &mut Vec<Output>) {
        if before.split.state == view.split.state {
            return;
        }
        let name = |id: &NodeId| view.member(*id).map(|m| m.name.clone());
        let silent: Vec<NodeName> = view.split.unreachable.iter().filter_map(|u| name(&u.node_id)).collect();
        let kind = match view.split.state {
            // What becomes of it is told by `heal.*`.
            SplitState::Healing => return,
            SplitState::None if !core::mem::take(&mut self.standing.split_told) => return,
            SplitState::None => {
                let for_ms = before.split.since.map_or(0, |s| now.wall.offset_from(s).unsigned_abs());
                EventKind::PartitionEnded { for_ms }
            }
            SplitState::Suspected => EventKind::PartitionSuspected { silent },
            SplitState::Minority => {
                let here = view.members.iter().map(|m| m.name.clone()).filter(|n| !silent.contains(n)).collect();
                EventKind::PartitionOccurred { sides: alloc::vec![here, silent] }
            }
            SplitState::Partial => {
                let broken = view.links.iter().filter(|l| l.state != crate::view::LinkState::Up);
                let links = broken.filter_map(|l| Some((name(&l.from)?, name(&l.to)?))).collect();
                EventKind::PartitionPartial { links }
            }
        };
        self.standing.split_told = view.split.state != SplitState::None;
        emit(None, kind, out);
    }
}

fn hint_events(before: &View, view: &View, out: &mut Vec<Output>) {
    let name = |view: &View, id: Option<NodeId>| id.and_then(|id| view.member(id)).map(|m| m.name.clone());
    if before.leader != view.leader {
        let kind = EventKind::LeaderChanged { from: name(before, before.leader), to: name(view, view.leader) };
        emit(None, kind, out);
    }
    if before.coordinator != view.coordinator {
        let (from, to) = (name(before, before.coordinator), name(view, view.coordinator));
        emit(None, EventKind::CoordinatorChanged { from, to }, out);
    }
}
