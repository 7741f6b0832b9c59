//! Whom this node has parted from: declared down by it, or told so, and met again in the same process or not yet.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Contact, HealId, Parting, Plan};
use crate::id::{Guid, NodeId};
use crate::time::Instant;

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Apart {
    pub(super) process: Guid,
    /// Of this node's own count; a parting that is found again has a new one, and one from whoever is met again for the first
    /// time since: a view from before says nothing of it.
    pub(super) number: u64,
    /// The number that it had before they met again.
    fell: u64,
    /// They have met since.
    met: bool,
    /// This node itself declared it down.
    own: bool,
    /// The number under which the other one said so.
    theirs: Option<u64>,
    since: Option<HealId>,
    /// It runs again.
    back: bool,
    /// When it was told last.
    told: Option<Instant>,
}

impl Apart {
    /// Nothing is known of it but that, and whether it runs again.
    fn new(process: Guid, number: u64, back: bool) -> Self {
        let (own, theirs, since, told) = (false, None, None, None);
        Self { process, number, fell: number, met: back, own, theirs, since, back, told }
    }
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Partings {
    from: BTreeMap<NodeId, Apart>,
    /// Who ran, in which process, does not any more, and was not declared down yet. A start in the same process has this of the
    /// one before it.
    silent: BTreeMap<NodeId, Guid>,
    last: u64,
    /// Before then nobody is to be told: in a cluster of a thousand it would be looked for with each message.
    due: Option<Instant>,
    /// Grows with each change.
    version: u64,
}

impl Partings {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// None any more. Numbers go on: others may remember those of before, of this very process.
    pub(super) fn anew(&self) -> Self {
        Self { last: self.last, version: self.version + 1, ..Self::default() }
    }

    /// Grows with each change, and sometimes without one.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The number of the latest one.
    pub(super) fn upto(&self) -> u64 {
        self.last
    }

    /// A member is seen otherwise than before, or for the first time. Whether anything changed.
    pub(super) fn seen(&mut self, before: Option<&Contact>, now: &Contact) -> bool {
        let node_id = now.id.node_id;
        let another = self.silent.get(&node_id).is_some_and(|process| *process != now.process);
        if now.running || now.goodbye || another {
            self.silent.remove(&node_id);
        } else if before.is_some_and(|before| before.running && before.process == now.process) {
            self.silent.insert(node_id, now.process);
        }
        // Its connection may end a while before it is declared down, and others may hear it until then.
        if now.lost && self.silent.remove(&node_id).is_some() {
            self.version += 1;
            let fallen = Apart { own: true, ..Apart::new(now.process, self.next(), false) };
            // What was known before of this process stays true.
            let before = self.from.get(&node_id).map(|apart| (apart.process, apart.theirs));
            let (process, theirs) = before.unwrap_or((now.process, None));
            self.from.insert(node_id, Apart { process, theirs, ..fallen });
            return true;
        }
        let Some(apart) = self.from.get_mut(&node_id) else { return false };
        if apart.process != now.process || now.goodbye {
            // Another start from the disc, or an orderly end: that one has returned, or will.
            self.from.remove(&node_id);
            self.version += 1;
            return true;
        }
        let changed = apart.back != now.running;
        apart.back = now.running;
        if apart.back && apart.own && !apart.met {
            apart.met = true;
            self.last += 1;
            apart.number = self.last;
        }
        if !now.running {
            apart.told = None;
        }
        if changed {
            self.version += 1;
            self.due = Some(Instant::ZERO);
        }
        changed
    }

    /// A member is none any more.
    pub(super) fn forget(&mut self, node_id: NodeId) -> bool {
        self.silent.remove(&node_id);
        self.version += 1;
        self.from.remove(&node_id).is_some()
    }

    /// The other one says that it had declared this node down. Whether that is news. Whether it runs is what this node
    /// sees, and not that it was heard: it may end before it is seen, and then nothing says that it does not run.
    pub(super) fn said(&mut self, node_id: NodeId, process: Guid, theirs: u64, back: bool) -> bool {
        let known = self.from.get(&node_id).filter(|apart| apart.process == process && apart.since.is_none());
        if known.is_some_and(|apart| apart.theirs >= Some(theirs) || apart.own && apart.back) {
            // Known, or this node found the same by itself; what it covers is told apart by the other's number.
            if let Some(apart) = self.from.get_mut(&node_id) {
                apart.theirs = apart.theirs.max(Some(theirs));
            }
            return false;
        }
        let before = known.map(|apart| (apart.own, apart.fell, apart.met || back));
        let number = self.next();
        let (own, fell, met) = before.unwrap_or((false, number, true));
        let apart = Apart { own, fell, met, theirs: Some(theirs), ..Apart::new(process, number, back) };
        self.from.insert(node_id, apart);
        self.version += 1;
        if own && back {
            self.due = Some(Instant::ZERO);
        }
        true
    }

    /// What a heal has answered is over: this node was on the coordinator's side, or came back.
    pub(super) fn answered(&mut self, plan: &Plan, own: NodeId, process: Guid) {
        self.version += 1;
        let upto = plan.upto(own, process);
        let came_back = plan.outside().any(|id| id.node_id == own);
        self.from.retain(|node_id, apart| {
            // Who came back has what the other one holds, whether they had met when the views were collected or not.
            let number = if came_back { apart.fell } else { apart.number };
            let told = apart.theirs.is_none_or(|theirs| theirs <= plan.upto(*node_id, apart.process));
            let open = if apart.own { number > upto || !told } else { number > upto && !told };
            // One that is not back was found down after the views were collected, or is down still.
            open || !apart.back && apart.own
        });
    }

    /// The other one came back in a heal that has answered this node's partings from it up to a number.
    pub(super) fn answered_by(&mut self, node_id: NodeId, upto: u64) {
        self.version += 1;
        if self.from.get(&node_id).is_some_and(|apart| apart.own && apart.back && apart.number <= upto) {
            self.from.remove(&node_id);
        }
    }

    /// This node came back in that heal, and the other one may not have yet.
    pub(super) fn left_behind(&mut self, node_id: NodeId, process: Guid, heal: HealId) {
        self.version += 1;
        if !self.from.contains_key(&node_id) {
            let number = self.next();
            self.from.insert(node_id, Apart { since: Some(heal), ..Apart::new(process, number, true) });
        }
    }

    /// That heal has ended: nobody was left behind.
    pub(super) fn ended(&mut self, heal: HealId) {
        self.version += 1;
        self.from.retain(|_, apart| apart.since.is_none_or(|since| since > heal));
    }

    /// Whether this node has parted from one that runs.
    pub(super) fn pending(&self) -> bool {
        self.from.values().any(|apart| apart.back && apart.since.is_none())
    }

    /// From whom, and which process of each, back or not.
    pub(super) fn all(&self) -> impl Iterator<Item = (NodeId, Guid)> + '_ {
        let open = self.from.iter().filter(|(_, apart)| apart.since.is_none());
        open.map(|(node_id, apart)| (*node_id, apart.process))
    }

    /// What the leader is told: from whom, as far as these run.
    pub(super) fn list(&self) -> Vec<Parting> {
        let back = self.from.iter().filter(|(_, apart)| apart.back);
        back.map(|(node_id, apart)| Parting {
            node_id: *node_id,
            process: apart.process,
            number: apart.number,
            since: apart.since,
        })
        .collect()
    }

    /// Who is to be told that this node had declared it down, with the number.
    pub(super) fn untold(&mut self, now: Instant, again: Duration) -> Vec<(NodeId, Guid, u64)> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut untold = Vec::new();
        let mut next: Option<Instant> = None;
        for (node_id, apart) in self.from.iter_mut().filter(|(_, apart)| apart.own && apart.back) {
            let told = apart.told.filter(|told| now < *told + again).unwrap_or_else(|| {
                untold.push((*node_id, apart.process, apart.number));
                now
            });
            apart.told = Some(told);
            let at = told + again;
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.due = next;
        untold
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn names(&self, node_id: NodeId) -> bool {
        self.from.contains_key(&node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    const PEER: NodeId = NodeId::from_u128(7);

    fn contact(process: u128, running: bool, lost: bool) -> Contact {
        let process = Guid::from_u128(process);
        let id = Incarnation { node_id: PEER, guid: process };
        Contact { id, process, core: true, running, goodbye: false, lost, seniority: 1 }
    }

    /// How many partings are known after it was seen like this, one after the other.
    fn parted(seen: &[Contact]) -> usize {
        let mut partings = Partings::default();
        let mut before = None;
        for now in seen {
            partings.seen(before, now);
            before = Some(now);
        }
        partings.from.len()
    }

    #[test]
    fn who_is_declared_down_a_while_after_its_connection_ended_has_parted() {
        let (up, ended, down) = (contact(1, true, false), contact(1, false, false), contact(1, false, true));
        assert_eq!(parted(&[up, down]), 1, "at once");
        assert_eq!(parted(&[up, ended, down]), 1, "later");
        assert_eq!(parted(&[up, ended, up, ended]), 0, "never declared down");
        assert_eq!(parted(&[ended, down]), 0, "it did not run here before");
        assert_eq!(parted(&[up, ended, contact(2, false, true)]), 0, "another process");
        let goodbye = Contact { goodbye: true, ..ended };
        assert_eq!(parted(&[up, goodbye, down]), 0, "an orderly end");
    }
}
