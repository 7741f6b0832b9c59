//! What others read: members, links, who is unreachable, who is oldest.

use alloc::string::String;
use alloc::vec::Vec;

use super::evidence::Cell;
use super::room::Membership;
use crate::id::{Incarnation, NodeId};
use crate::limits::{DETECTION_TIME, LINK_SILENCE};
use crate::time::{Instant, Now, Wall};
use crate::view::{Link, LinkState, Member, Role, Status, Unreachable};

impl Membership {
    /// The status of a node as this one sees it.
    #[must_use]
    pub fn status(&self, node_id: NodeId) -> Status {
        let said = self.record(node_id).map_or(Status::Joining, |record| record.status);
        if node_id == self.own.id.node_id {
            return self.own.status;
        }
        let goodbye = self.contacts.get(&node_id).is_some_and(|contact| contact.goodbye);
        if goodbye || said == Status::Stopped {
            Status::Stopped
        } else if self.is_running(node_id) {
            said
        } else {
            Status::Down
        }
    }

    /// All members as this node sees them, the oldest first.
    #[must_use]
    pub fn members(&self, now: Now) -> Vec<Member> {
        let voters = self.voters();
        let mut ids = self.by_seniority.clone();
        if !ids.contains(&self.own.id.node_id) {
            ids.push(self.own.id.node_id);
        }
        ids.into_iter().filter_map(|id| self.member(id, voters, now)).collect()
    }

    /// When this node heard that one last.
    #[must_use]
    pub fn last_heard(&self, node_id: NodeId) -> Option<Instant> {
        self.contacts.get(&node_id).and_then(|contact| contact.heard)
    }

    fn member(&self, node_id: NodeId, voters: &[NodeId], now: Now) -> Option<Member> {
        let own = node_id == self.own.id.node_id;
        let record = if own { &self.own } else { self.record(node_id)? };
        let contact = self.contacts.get(&node_id);
        let (last_heard, last_heard_wall) = if own {
            (Some(now.mono), Some(now.wall))
        } else {
            (contact.and_then(|c| c.heard), contact.and_then(|c| c.heard_wall))
        };
        Some(Member {
            name: record.name.clone(),
            id: record.id,
            status: self.status(node_id),
            role: record.role,
            voter: voters.contains(&node_id),
            endpoint: record.endpoint.clone(),
            version: record.software.clone(),
            since: if own { record.started } else { contact.map_or(record.started, |c| c.since) },
            last_heard,
            last_heard_wall,
            tags: record.tags.clone(),
            seniority: self.roster.seats.get(&node_id).map_or(u64::MAX, |seat| seat.number),
        })
    }

    /// The oldest member that is up.
    #[must_use]
    pub fn leader(&self, over: impl Fn(Incarnation) -> bool) -> Option<NodeId> {
        self.by_seniority.iter().copied().find(|id| self.can_lead(*id, &over))
    }

    /// Up, and not over by a committed entry: of such a start the last word may not have come.
    fn can_lead(&self, id: NodeId, over: impl Fn(Incarnation) -> bool) -> bool {
        self.status(id) == Status::Up && self.record(id).is_some_and(|record| !over(record.id))
    }

    /// The oldest core that is up.
    #[must_use]
    pub fn coordinator(&self, over: impl Fn(Incarnation) -> bool) -> Option<NodeId> {
        let core = |id: &NodeId| self.record(*id).is_some_and(|record| record.role == Role::Core);
        self.by_seniority.iter().copied().find(|id| core(id) && self.can_lead(*id, &over))
    }

    /// Whether this node has had the time to meet that one: just after its own start it has heard nobody.
    fn had_time(&self, node_id: NodeId, now: Instant) -> bool {
        match self.contacts.get(&node_id) {
            Some(contact) => {
                contact.heard.is_some() || contact.down_since.is_some_and(|since| now.since(since) >= DETECTION_TIME)
            }
            None => self.suggested.get(&node_id) == Some(&false),
        }
    }

    /// Members that are down without a goodbye.
    #[must_use]
    pub fn unreachable(&self, now: Now) -> Vec<Unreachable> {
        let me = self.own.id.node_id;
        let down = |id: &NodeId| *id != me && self.status(*id) == Status::Down && self.had_time(*id, now.mono);
        self.by_seniority
            .iter()
            .copied()
            .filter(down)
            .map(|node_id| {
                let contact = self.contacts.get(&node_id);
                let fresh = |heard: Instant| now.mono.since(heard) < LINK_SILENCE;
                Unreachable {
                    node_id,
                    since: contact.map_or(now.wall, |c| c.since),
                    evidence: contact.map_or_else(|| String::from("silent"), |c| c.evidence.clone()),
                    seen_by: self.witnesses(node_id).filter(|(_, heard)| fresh(*heard)).map(|(by, _)| by).collect(),
                }
            })
            .collect()
    }

    /// The link matrix as far as this node knows it: its own row, and in small clusters the rows of the others.
    #[must_use]
    pub fn links(&self, now: Now) -> Vec<Link> {
        let me = self.own.id.node_id;
        let mut links = Vec::new();
        for contact in self.contacts.values() {
            let to = contact.id.node_id;
            if !self.roster.is_member(to) || !self.is_neighbour(to) || contact.goodbye {
                continue;
            }
            let hears = contact.connected && contact.is_heard_within(LINK_SILENCE + self.late, now.mono);
            let cell = Cell { start: 0, heard: contact.heard.filter(|_| hears), rtt_us: 0 };
            let mut link = self.link(me, to, cell, now);
            link.rtt_us = contact.rtt_us();
            link.last_ok = contact.heard_wall;
            links.push(link);
        }
        if !self.is_large() {
            // Rows come on direct links. What the one of a node said that is heard by way of others has aged since, and would
            // show its links broken.
            let late =
                |from: NodeId, at: Instant| now.mono.since(at) >= LINK_SILENCE + self.late && self.is_running(from);
            for (from, row) in self.rows.iter().filter(|(from, row)| !late(**from, row.at)) {
                for (to, cell) in row.cells().filter(|(to, _)| to != from && self.roster.is_member(*to)) {
                    if self.status(to) != Status::Stopped {
                        links.push(self.link(*from, to, cell, now));
                    }
                }
            }
        }
        links
    }

    fn hears(&self, from: NodeId, to: NodeId, now: Instant) -> Option<bool> {
        let fresh = |heard: Option<Instant>| heard.is_some_and(|at| now.since(at) < LINK_SILENCE + self.late);
        if from == self.own.id.node_id {
            return self.contacts.get(&to).map(|c| c.connected && fresh(c.heard));
        }
        self.rows.get(&from)?.cell(to).map(|cell| fresh(cell.heard))
    }

    fn link(&self, from: NodeId, to: NodeId, cell: Cell, now: Now) -> Link {
        let hears = cell.heard.is_some_and(|at| now.mono.since(at) < LINK_SILENCE + self.late);
        let heard_by_other = self.hears(to, from, now.mono) == Some(true);
        let via = || {
            self.contacts
                .keys()
                .chain(core::iter::once(&self.own.id.node_id))
                .copied()
                .filter(|third| *third != from && *third != to)
                .find(|third| {
                    self.hears(*third, from, now.mono) == Some(true) && self.hears(*third, to, now.mono) == Some(true)
                })
        };
        let (state, via) = match (hears, heard_by_other) {
            (true, _) => (LinkState::Up, None),
            (false, true) => (LinkState::OneWay, None),
            (false, false) => match via() {
                Some(third) => (LinkState::Relayed, Some(third)),
                None => (LinkState::Down, None),
            },
        };
        let last_ok: Option<Wall> = cell.heard.map(|at| {
            let ago = u64::try_from(now.mono.since(at).as_millis()).unwrap_or(u64::MAX);
            Wall::from_millis(now.wall.as_millis().saturating_sub(ago))
        });
        let rtt_us = (cell.rtt_us > 0).then_some(u64::from(cell.rtt_us));
        Link { from, to, state, rtt_us, last_ok, via }
    }
}
