//! Who is heard by whom, and the verdict.
//!
//! A member is down for this node only if nobody whom it can ask has heard it lately: its own ages, and the ages in
//! the rows of the others. A refused dial after a reset connection is proof enough for a hint, unless another member
//! hears that very process at this moment (a firewall that rejects looks the same).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::room::Membership;
use super::{Heard, Message, Output};
use crate::id::{Incarnation, NodeId};
use crate::limits::{HEARTBEAT_INTERVAL, LINK_SILENCE, MEMBER_SILENCE, MEMBERS_MAX, RECONTACT_INTERVAL};
use crate::time::{Instant, Now};
use crate::view::Status;

/// How many others are asked about a silent link.
const ASKED: usize = 3;
/// A row older than this says nothing of the present.
const ROW_FRESH: Duration = Duration::from_millis(1_000);

/// One node's row of the link matrix, as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) at: Instant,
    cells: BTreeMap<NodeId, Cell>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Which start was heard.
    pub(super) start: u32,
    /// When the row's node heard the cell's node, on this node's clock.
    pub(super) heard: Option<Instant>,
    pub(super) rtt_us: u32,
}

/// What tells one start of a node from another in a row.
pub(super) fn start(id: Incarnation) -> u32 {
    let [.., a, b, c, d] = id.guid.as_u128().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn at(ago_ms: Option<u32>, now: Instant) -> Option<Instant> {
    ago_ms.map(|ms| now - Duration::from_millis(u64::from(ms)))
}

impl Row {
    pub(super) fn new(heard: &[Heard], now: Instant) -> Self {
        let cells = heard
            .iter()
            .take(MEMBERS_MAX)
            .map(|cell| {
                let Heard { node_id, start, ago_ms, rtt_us } = *cell;
                (node_id, Cell { start, heard: at(ago_ms, now), rtt_us })
            })
            .collect();
        Self { at: now, cells }
    }

    /// Takes the answer to an indirect probe, if the row has that node at all.
    pub(super) fn set(&mut self, node_id: NodeId, start: u32, ago_ms: Option<u32>, now: Instant) {
        if let Some(cell) = self.cells.get_mut(&node_id) {
            let before = cell.heard.filter(|_| cell.start == start);
            *cell = Cell { start, heard: at(ago_ms, now).max(before), rtt_us: cell.rtt_us };
        }
    }

    pub(super) fn cell(&self, node_id: NodeId) -> Option<Cell> {
        self.cells.get(&node_id).copied()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = (NodeId, Cell)> + '_ {
        self.cells.iter().map(|(id, cell)| (*id, *cell))
    }

    pub(super) fn shift(&mut self, by: Duration) {
        self.at = self.at + by;
        for cell in self.cells.values_mut() {
            cell.heard = cell.heard.map(|at| at + by);
        }
    }
}

impl Membership {
    /// How long ago this node itself heard a peer that is in contact.
    pub(super) fn own_age_ms(&self, node_id: NodeId, now: Instant) -> Option<u32> {
        let contact = self.contacts.get(&node_id)?;
        let heard = contact.heard.filter(|_| contact.alive)?;
        Some(u32::try_from(now.since(heard).as_millis()).unwrap_or(u32::MAX))
    }

    /// Whether this node runs, as far as this node can tell. A node that is no neighbour is believed as foca says.
    #[must_use]
    pub fn is_running(&self, node_id: NodeId) -> bool {
        if node_id == self.own.id.node_id {
            return true;
        }
        match self.contacts.get(&node_id) {
            Some(contact) if contact.goodbye => false,
            Some(contact) if self.is_neighbour(node_id) || contact.connected => contact.alive,
            _ => {
                let stopped = self.record(node_id).is_some_and(|r| r.status == Status::Stopped);
                !stopped && self.suggested.get(&node_id).copied().unwrap_or(false)
            }
        }
    }

    /// Whether this node's verdict, or that of gossip where it counts, is that the node is down. One that has just been
    /// heard of and not called yet does not run for this node either, but nobody has parted from it.
    #[must_use]
    pub fn is_declared_down(&self, node_id: NodeId) -> bool {
        match self.contacts.get(&node_id) {
            Some(contact) if self.is_neighbour(node_id) || contact.connected => contact.declared,
            _ => self.suggested.get(&node_id) == Some(&false),
        }
    }

    /// Which start of a node is in contact, or was last.
    #[must_use]
    pub fn heard_as(&self, node_id: NodeId) -> Option<Incarnation> {
        self.contacts.get(&node_id).map(|contact| contact.id)
    }

    /// Members that run and say that they hear this one.
    pub fn hearers(&self, node_id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.witnesses(node_id).map(|(by, _)| by)
    }

    /// Who else hears this node: the members whose rows say so, with when.
    pub(super) fn witnesses(&self, node_id: NodeId) -> impl Iterator<Item = (NodeId, Instant)> + '_ {
        let known = self.contacts.get(&node_id).map(|c| c.id).or_else(|| self.record(node_id).map(|r| r.id));
        self.rows.iter().filter(move |(by, _)| **by != node_id).filter_map(move |(by, row)| {
            let cell = row.cell(node_id).filter(|cell| known.is_some_and(|id| start(id) == cell.start))?;
            let heard = cell.heard?;
            self.is_running(*by).then_some((*by, heard))
        })
    }

    fn latest_evidence(&self, node_id: NodeId) -> Option<Instant> {
        let own = self.contacts.get(&node_id).and_then(|contact| contact.heard.max(contact.believed));
        own.max(self.witnesses(node_id).map(|(_, heard)| heard).max())
    }

    /// Looks at every neighbour: silent links are probed anew, silent members fall.
    pub(super) fn watch(&mut self, now: Now, out: &mut Vec<Output>) {
        self.take_over(now);
        let watched: Vec<NodeId> = self.contacts.keys().copied().collect();
        for node_id in watched {
            let Some(contact) = self.contacts.get(&node_id) else { continue };
            let (id, connected) = (contact.id, contact.connected);
            if contact.goodbye {
                continue;
            }
            if !contact.alive {
                self.look_for_witness(id, now, out);
                self.declare_unheard(node_id, now, out);
                continue;
            }
            let silent_for = contact.heard.map_or(Duration::MAX, |heard| now.mono.since(heard));
            if self.is_large() && !self.is_neighbour(node_id) {
                self.watch_stranger(id, silent_for, now, out);
                continue;
            }
            if contact.connected && silent_for > LINK_SILENCE + self.late {
                self.probe_anew(node_id, silent_for, now, out);
            }
            // Each node hears a little later what others heard; one heartbeat covers that. Others are asked only where
            // this node itself hears nothing: a voter of a large cluster has the rows of all.
            let unheard_for = if silent_for > MEMBER_SILENCE + self.late {
                self.latest_evidence(node_id).map_or(Duration::MAX, |heard| now.mono.since(heard))
            } else {
                silent_for
            };
            if unheard_for > MEMBER_SILENCE + self.late {
                let lines = self.lines(node_id, now.mono);
                self.fall(id, "silent", lines, now, out);
                out.push(Output::Drop { node_id });
            } else if silent_for > MEMBER_SILENCE + self.late && connected {
                // Others hear it, but nothing comes through this link any more.
                out.push(Output::Drop { node_id });
            }
            self.judge_refusal(node_id, now, out);
        }
    }

    /// A link to a member of a large cluster that is no neighbour: left from when it was one, or it is that member's
    /// wish. Nobody owes a heartbeat on it, so silence proves nothing: the link ends, and foca's word counts.
    fn watch_stranger(&mut self, id: Incarnation, silent_for: Duration, now: Now, out: &mut Vec<Output>) {
        let node_id = id.node_id;
        let Some(up) = self.suggested.get(&node_id).copied() else { return };
        let late = self.late;
        let Some(contact) = self.contacts.get_mut(&node_id) else { return };
        if silent_for <= MEMBER_SILENCE + late {
            return;
        }
        contact.alive = false;
        contact.down_since = Some(now.mono);
        if contact.connected {
            out.push(Output::Drop { node_id });
        }
        self.rows.remove(&node_id);
        if !up {
            self.gossiped(id, false, now, out);
        }
        out.push(Output::Changed);
    }

    /// A member's liveness changed by foca's word.
    pub(super) fn gossiped(&mut self, id: Incarnation, up: bool, now: Now, out: &mut Vec<Output>) {
        if let Some(contact) = self.contacts.get_mut(&id.node_id) {
            contact.since = now.wall;
            contact.declared = !up;
            contact.evidence = if up { String::new() } else { String::from("silent") };
        }
        out.push(Output::Liveness { id, up, evidence: "gossip".into(), lines: Vec::new() });
    }

    /// A member that this node does not hear is up all the same if somebody in contact has heard it since it fell.
    fn look_for_witness(&mut self, id: Incarnation, now: Now, out: &mut Vec<Output>) {
        let node_id = id.node_id;
        if !self.is_neighbour(node_id) {
            return;
        }
        let fell = self.contacts.get(&node_id).and_then(|contact| contact.down_since).unwrap_or(now.mono);
        let late = self.late;
        let witness = self
            .witnesses(node_id)
            .find(|(_, heard)| *heard > fell && now.mono.since(*heard) < LINK_SILENCE + late)
            .map(|(by, _)| by);
        if let Some(by) = witness {
            let by = self.record(by).map_or_else(|| by.to_string(), |record| record.name.to_string());
            self.rise(id, &format!("heard by {by}"), now, out);
        }
    }

    /// Whom nobody has heard for as long as a member may be silent since this node began to call it is down, as one is that
    /// was heard before.
    fn declare_unheard(&mut self, node_id: NodeId, now: Now, out: &mut Vec<Output>) {
        let limit = MEMBER_SILENCE + self.late;
        let watched = self.is_neighbour(node_id);
        let Some(contact) = self.contacts.get_mut(&node_id) else { return };
        let unheard = contact.down_since.is_some_and(|since| now.mono.since(since) > limit);
        if watched && !contact.alive && !contact.declared && unheard {
            contact.declared = true;
            out.push(Output::Changed);
        }
    }

    /// Members that this node has to watch from now on, where gossip watched them before, run as gossip said until there
    /// was time to call them.
    pub(super) fn take_over(&mut self, now: Now) {
        for (node_id, up) in core::mem::take(&mut self.taken_over) {
            let Some(id) = self.record(node_id).map(|record| record.id) else { continue };
            let contact = self.contact(id, now);
            contact.alive = up;
            contact.declared = !up;
            contact.believed = up.then_some(now.mono);
            contact.down_since = (!up).then_some(now.mono);
        }
    }

    /// A link is silent: dial beside it, and ask others.
    fn probe_anew(&mut self, node_id: NodeId, silent_for: Duration, now: Now, out: &mut Vec<Output>) {
        let endpoint = self.record(node_id).map(|record| record.endpoint.clone());
        let Some(contact) = self.contacts.get_mut(&node_id) else { return };
        if contact.asked.is_some_and(|asked| now.mono.since(asked) < RECONTACT_INTERVAL) {
            return;
        }
        contact.asked = Some(now.mono);
        // A broken link is counted from when a view shows it first.
        out.push(Output::Changed);
        if let Some(endpoint) = endpoint {
            out.push(Output::Redial { node_id, endpoint });
        }
        let others: Vec<NodeId> = self
            .contacts
            .values()
            .filter(|c| c.connected && c.alive && c.id.node_id != node_id)
            .filter(|c| c.is_heard_within(silent_for, now.mono))
            .map(|c| c.id.node_id)
            .take(ASKED)
            .collect();
        for to in others {
            out.push(Output::Send { to, message: Message::IndirectProbe { target: node_id } });
        }
    }

    /// A dial was refused: if the connection had been reset before, the process is over, unless somebody hears it.
    pub(super) fn refused(&mut self, node_id: NodeId, now: Now, out: &mut Vec<Output>) {
        if let Some(contact) = self.contacts.get_mut(&node_id)
            && contact.alive
            && !contact.connected
        {
            contact.evidence = "refused".to_string();
            contact.next_dial = now.mono + HEARTBEAT_INTERVAL;
        }
        self.judge_refusal(node_id, now, out);
    }

    /// A dial just after a reset failed otherwise than by a refusal: the listening socket of a process that ends goes
    /// a moment after its connections, so the next dial is not left to wait its usual time.
    pub(super) fn unreachable_after_reset(&mut self, node_id: NodeId, now: Now) {
        if let Some(contact) = self.contacts.get_mut(&node_id)
            && contact.alive
            && !contact.connected
            && contact.reset.is_some_and(|reset| now.mono.since(reset) < RECONTACT_INTERVAL)
        {
            contact.next_dial = now.mono;
        }
    }

    fn judge_refusal(&mut self, node_id: NodeId, now: Now, out: &mut Vec<Output>) {
        let Some(contact) = self.contacts.get(&node_id) else { return };
        let (id, Some(reset)) = (contact.id, contact.reset) else { return };
        if !contact.alive || contact.connected || contact.evidence != "refused" {
            return;
        }
        // What others heard until half an interval after the reset may have been under way. From there on a process
        // that runs is heard within one interval by each, so a row that is younger than both together says for certain.
        let doubtful = HEARTBEAT_INTERVAL / 2;
        let settled = doubtful + HEARTBEAT_INTERVAL;
        let heard_since = self.witnesses(node_id).any(|(by, heard)| {
            let fresh = self.rows.get(&by).is_some_and(|row| now.mono.since(row.at) < ROW_FRESH);
            fresh && heard > reset + doubtful
        });
        let reports = |by: &NodeId| self.contacts.get(by).is_some_and(|c| c.connected && c.alive);
        let all_said =
            self.rows.iter().filter(|(by, _)| **by != node_id && reports(by)).all(|(_, row)| row.at > reset + settled);
        if !heard_since && (all_said || now.mono.since(reset) > settled + HEARTBEAT_INTERVAL) {
            let lines = self.lines(node_id, now.mono);
            self.fall(id, "refused", lines, now, out);
        }
    }

    fn lines(&self, node_id: NodeId, now: Instant) -> Vec<String> {
        let ago = |heard: Instant| format!("{} ms ago", now.since(heard).as_millis());
        let mut lines = Vec::new();
        let own = self.contacts.get(&node_id).and_then(|c| c.heard);
        lines.push(format!("this node heard it {}", own.map_or_else(|| "never".to_string(), ago)));
        for (by, heard) in self.witnesses(node_id) {
            let by = self.record(by).map_or_else(|| by.to_string(), |record| record.name.to_string());
            lines.push(format!("{by} heard it {}", ago(heard)));
        }
        if !self.late.is_zero() {
            lines.push(format!("this node itself was {} ms late, which was added", self.late.as_millis()));
        }
        lines
    }

    pub(super) fn rise(&mut self, id: Incarnation, evidence: &str, now: Now, out: &mut Vec<Output>) {
        let Some(contact) = self.contacts.get_mut(&id.node_id) else { return };
        contact.rises();
        contact.since = now.wall;
        out.push(Output::Liveness { id, up: true, evidence: evidence.into(), lines: Vec::new() });
        out.push(Output::Changed);
    }

    pub(super) fn fall(
        &mut self,
        id: Incarnation,
        evidence: &str,
        lines: Vec<String>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(contact) = self.contacts.get_mut(&id.node_id) else { return };
        let was = core::mem::replace(&mut contact.alive, false);
        if !was {
            return;
        }
        contact.declared = true;
        contact.since = now.wall;
        contact.down_since = Some(now.mono);
        contact.evidence = evidence.into();
        contact.next_dial = now.mono;
        self.rows.remove(&id.node_id);
        self.spread_down(id, now, out);
        out.push(Output::Liveness { id, up: false, evidence: evidence.into(), lines });
        out.push(Output::Changed);
    }
}
