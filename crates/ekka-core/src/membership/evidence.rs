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
use crate::limits::{HEARTBEAT_INTERVAL, LINK_SILENCE, MEMBER_SILENCE, RECONTACT_INTERVAL};
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
    /// When the row's node heard the cell's node, on this node's clock.
    pub(super) heard: Option<Instant>,
    pub(super) rtt_us: u32,
}

fn at(ago_ms: Option<u32>, now: Instant) -> Option<Instant> {
    ago_ms.map(|ms| now - Duration::from_millis(u64::from(ms)))
}

impl Row {
    pub(super) fn new(heard: &[Heard], now: Instant) -> Self {
        let cells = heard
            .iter()
            .map(|cell| (cell.node_id, Cell { heard: at(cell.ago_ms, now), rtt_us: cell.rtt_us }))
            .collect();
        Self { at: now, cells }
    }

    pub(super) fn set(&mut self, node_id: NodeId, ago_ms: Option<u32>, now: Instant) {
        let cell = self.cells.entry(node_id).or_insert(Cell { heard: None, rtt_us: 0 });
        cell.heard = at(ago_ms, now).max(cell.heard);
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

    /// Whether anything came from this node within that time.
    #[must_use]
    pub fn is_heard(&self, node_id: NodeId, within: Duration, now: Now) -> bool {
        self.contacts.get(&node_id).is_some_and(|contact| contact.is_heard_within(within, now.mono))
    }

    /// Whether this node runs, as far as this node can tell. A node that is no neighbour is believed as foca says.
    #[must_use]
    pub fn is_running(&self, node_id: NodeId) -> bool {
        if node_id == self.own.id.node_id {
            return true;
        }
        match self.contacts.get(&node_id) {
            Some(contact) if contact.goodbye.is_some() => false,
            Some(contact) if self.is_neighbour(node_id) || contact.connected => contact.alive,
            _ => {
                let stopped = self.record(node_id).is_some_and(|r| r.status == Status::Stopped);
                !stopped && self.suggested.get(&node_id).copied().unwrap_or(false)
            }
        }
    }

    /// Who else hears this node: the members whose rows say so, with when.
    pub(super) fn witnesses(&self, node_id: NodeId) -> impl Iterator<Item = (NodeId, Instant)> + '_ {
        self.rows.iter().filter(move |(by, _)| **by != node_id).filter_map(move |(by, row)| {
            let heard = row.cell(node_id)?.heard?;
            self.is_running(*by).then_some((*by, heard))
        })
    }

    fn latest_evidence(&self, node_id: NodeId) -> Option<Instant> {
        let own = self.contacts.get(&node_id).and_then(|contact| contact.heard);
        own.max(self.witnesses(node_id).map(|(_, heard)| heard).max())
    }

    /// Looks at every neighbour: silent links are probed anew, silent members fall.
    pub(super) fn watch(&mut self, now: Now, out: &mut Vec<Output>) {
        let watched: Vec<NodeId> = self.contacts.keys().copied().collect();
        for node_id in watched {
            let Some(contact) = self.contacts.get(&node_id) else { continue };
            if contact.goodbye.is_some() || !contact.alive {
                continue;
            }
            let id = contact.id;
            let silent_for = contact.heard.map_or(Duration::MAX, |heard| now.mono.since(heard));
            if contact.connected && silent_for > LINK_SILENCE + self.late {
                self.probe_anew(node_id, silent_for, now, out);
            }
            let unheard_for = self.latest_evidence(node_id).map_or(Duration::MAX, |heard| now.mono.since(heard));
            // Each node hears a little later what others heard; one heartbeat covers that.
            if unheard_for > MEMBER_SILENCE + self.late {
                let lines = self.lines(node_id, now.mono);
                self.fall(id, "silent", lines, now, out);
                out.push(Output::Drop { node_id });
            } else if silent_for > MEMBER_SILENCE + self.late && contact_is_stuck(self, node_id) {
                out.push(Output::Drop { node_id });
            }
            self.judge_refusal(node_id, now, out);
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

    fn judge_refusal(&mut self, node_id: NodeId, now: Now, out: &mut Vec<Output>) {
        let Some(contact) = self.contacts.get(&node_id) else { return };
        let (id, Some(reset)) = (contact.id, contact.reset) else { return };
        if !contact.alive || contact.connected || contact.evidence != "refused" {
            return;
        }
        // Rows that were sent before the others could notice say nothing: one interval is left to them.
        let settled = now.mono.since(reset) > HEARTBEAT_INTERVAL + HEARTBEAT_INTERVAL / 2;
        let heard_since = self.witnesses(node_id).any(|(by, heard)| {
            let fresh = self.rows.get(&by).is_some_and(|row| now.mono.since(row.at) < ROW_FRESH);
            fresh && heard > reset + HEARTBEAT_INTERVAL / 2
        });
        let alone = self.rows.keys().all(|by| *by == node_id || !self.is_running(*by));
        if !heard_since && (settled || alone) {
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
        contact.alive = true;
        contact.since = now.wall;
        contact.down_since = None;
        contact.evidence.clear();
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
        contact.since = now.wall;
        contact.down_since = Some(now.mono);
        contact.evidence = evidence.into();
        contact.next_dial = now.mono;
        self.rows.remove(&id.node_id);
        out.push(Output::Liveness { id, up: false, evidence: evidence.into(), lines });
        out.push(Output::Changed);
    }

    /// foca's word, which counts only for nodes that this one does not watch itself.
    pub(super) fn suggest(&mut self, id: Incarnation, up: bool, now: Now, out: &mut Vec<Output>) {
        let node_id = id.node_id;
        if self.record(node_id).is_some_and(|record| record.id.guid > id.guid) {
            return;
        }
        let before = self.suggested.insert(node_id, up);
        let watched = self.is_neighbour(node_id) || self.contacts.get(&node_id).is_some_and(|c| c.connected);
        if before != Some(up) && !watched && self.roster.is_member(node_id) {
            let _ = now;
            out.push(Output::Liveness { id, up, evidence: "gossip".into(), lines: Vec::new() });
            out.push(Output::Changed);
        }
    }
}

/// A link that nothing comes through although others hear the peer: its connection is of no use.
fn contact_is_stuck(room: &Membership, node_id: NodeId) -> bool {
    room.contacts.get(&node_id).is_some_and(|contact| contact.connected)
}
