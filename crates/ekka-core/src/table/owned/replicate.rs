//! How the rows of an owner get to the others: operation by operation, or as a whole to who is behind.

use alloc::vec::Vec;
use core::ops::Bound;

use super::super::map::Map;
use super::super::version::Malformed;
use super::message::{Operations, OwnedMessage};
use super::row::OwnedRow;
use super::{Logged, OwnedTable, Owner, Sequence};
use crate::id::Incarnation;
use crate::limits::TABLE_COPY_BYTES;

/// What a connected peer holds of this owner, and what it is sending of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The operation that it gets next; `None` until it has said what it holds.
    next: Option<Sequence>,
    acked: Sequence,
    state: Option<Sending>,
    taking: Option<Taking>,
    /// What it was told of its own operations last.
    told: Option<Sequence>,
    /// It is to be told again, whatever it was told.
    ask: bool,
    /// Whether it was told which operation of this node is the latest.
    announced: bool,
    /// Its latest operation when it got in touch.
    last: Option<Sequence>,
}

/// The rows of this node as they were after one operation, on their way.
#[derive(Clone, Debug)]
struct Sending {
    sequence: Sequence,
    rows: Map<OwnedRow>,
    begun: bool,
    after: Option<Vec<u8>>,
    sent: u64,
}

/// The rows of an owner that are coming in.
#[derive(Clone, Debug)]
struct Taking {
    sequence: Sequence,
    rows: Map<OwnedRow>,
}

impl OwnedTable {
    /// There is a connection to a peer.
    pub fn connect(&mut self, id: Incarnation) {
        self.peers.insert(id, Peer { ask: true, ..Peer::default() });
    }

    /// The connection to a peer has ended.
    pub fn disconnect(&mut self, id: Incarnation) {
        self.peers.remove(&id);
    }

    /// Peers whose rows were not taken when they came, since the roster did not name them then.
    pub(super) fn ask_those_without_rows(&mut self) {
        for (id, peer) in &mut self.peers {
            peer.ask |= self.present.get(&id.node_id) == Some(id) && !self.owners.contains_key(&id.node_id);
        }
    }

    /// The next message for a peer, with about so many bytes; `None` where there is nothing to say.
    pub fn poll(&mut self, id: Incarnation, budget: usize) -> Option<OwnedMessage> {
        let (held, last) = (self.held(id), self.sequence());
        let present = self.present.get(&id.node_id) == Some(&id);
        let peer = self.peers.get_mut(&id)?;
        if present && (core::mem::take(&mut peer.ask) || peer.told.is_some_and(|told| told != held)) {
            peer.told = Some(held);
            return Some(OwnedMessage::Held { sequence: held });
        }
        if peer.next.is_some() && !core::mem::replace(&mut peer.announced, true) {
            return Some(OwnedMessage::Last { sequence: last });
        }
        if peer.state.is_some() {
            return peer.next_of_state();
        }
        let next = peer.next.filter(|next| *next <= last)?;
        let Some(at) = next.checked_sub(self.log_start) else {
            let rows = self.owners.get(&self.me.node_id)?.rows.clone();
            peer.state = Some(Sending { sequence: last, rows, begun: false, after: None, sent: 0 });
            peer.next = Some(last + 1);
            return peer.next_of_state();
        };
        let (mut bytes, mut operations) = (0, Vec::new());
        for Logged { operation, .. } in self.log.iter().skip(usize::try_from(at).unwrap_or(usize::MAX)) {
            if bytes >= budget {
                break;
            }
            bytes += operation.size();
            operations.push(operation.clone());
        }
        peer.next = Some(next + operations.len() as u64);
        if self.faults.sent_counts {
            peer.acked = next - 1 + operations.len() as u64;
        }
        Some(OwnedMessage::Operations { after: next - 1, operations: Operations(operations) })
    }

    /// Whether [`OwnedTable::poll`] has something for a peer.
    #[must_use]
    pub fn has_more_for(&self, id: Incarnation) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let present = self.present.get(&id.node_id) == Some(&id);
        let tells = present && (peer.ask || peer.told.is_some_and(|told| told != self.held(id)));
        let sends = peer.next.is_some_and(|next| !peer.announced || next <= self.sequence());
        tells || sends || peer.state.is_some()
    }

    /// Takes a message of a peer.
    ///
    /// # Errors
    /// Where it is not what it should be; then the connection is to be ended, and nothing has changed.
    pub fn receive(&mut self, id: Incarnation, message: OwnedMessage) -> Result<(), Malformed> {
        if !self.peers.contains_key(&id) {
            return Ok(());
        }
        message.check()?;
        match message {
            OwnedMessage::Held { sequence } => self.on_held(id, sequence),
            // Rows of others than the present incarnation are not taken: later ones are asked for once it is.
            _ if self.present.get(&id.node_id) != Some(&id) && !self.faults.takes_of_the_gone => {}
            OwnedMessage::Operations { after, operations } => self.on_operations(id, after, &operations),
            OwnedMessage::State { sequence } => self.on_state(id, sequence),
            OwnedMessage::Rows(rows) => {
                if let Some(taking) = self.peers.get_mut(&id).and_then(|peer| peer.taking.as_mut()) {
                    for row in rows {
                        taking.rows.insert(row);
                    }
                }
            }
            OwnedMessage::StateEnd { rows } => self.on_state_end(id, rows),
            OwnedMessage::Last { sequence } => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.last = Some(sequence);
                }
            }
        }
        Ok(())
    }

    fn on_held(&mut self, id: Incarnation, sequence: Sequence) {
        // Nobody holds more than there is.
        let sequence = sequence.min(self.sequence());
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.acked = sequence;
        // The first word of a connection, or one that lacks what was sent: it goes on from there.
        if peer.next.is_none() || sequence == 0 {
            (peer.next, peer.state) = (Some(sequence + 1), None);
        }
    }

    fn on_operations(&mut self, id: Incarnation, after: Sequence, operations: &Operations) {
        let held = self.held(id);
        if after > held {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.ask = true;
            }
            return;
        }
        self.owners.entry(id.node_id).or_insert_with(|| Owner::new(id, 0, Map::default(), &self.extracts));
        for (sequence, operation) in (after + 1..).zip(&operations.0) {
            if sequence > held {
                self.apply(id.node_id, operation);
            }
        }
    }

    fn on_state(&mut self, id: Incarnation, sequence: Sequence) {
        if self.faults.state_counts_early {
            let new = || Owner::new(id, 0, Map::default(), &self.extracts);
            self.owners.entry(id.node_id).or_insert_with(new).sequence = sequence;
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.taking = Some(Taking { sequence, rows: Map::default() });
        }
    }

    fn on_state_end(&mut self, id: Incarnation, rows: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(mut taking) = peer.taking.take() else { return };
        if taking.rows.len() as u64 != rows || taking.sequence < self.held(id) {
            return;
        }
        if let Some(held) = self.owners.get(&id.node_id).filter(|_| self.faults.state_merges) {
            for row in &held.rows {
                taking.rows.update(row.key(), |new| new.is_none().then(|| row.clone()));
            }
        }
        let owner = Owner::new(id, taking.sequence, taking.rows, &self.extracts);
        self.owners.insert(id.node_id, owner);
        if !self.faults.state_untold {
            self.changes.cut();
        }
    }

    /// Forgets the log: whoever is behind its end gets all rows as a whole. The log does this by itself at its bounds.
    pub fn drop_log(&mut self) {
        (self.log_start, self.log_bytes) = (self.sequence() + 1, 0);
        self.log.clear();
    }

    /// Peers that follow operation by operation, and how many bytes of them each lacks. Who is to get all rows as a whole
    /// is none of them.
    pub fn lags(&self) -> impl Iterator<Item = (Incarnation, u64)> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.next.is_some() && peer.state.is_none()).filter_map(|(id, peer)| {
            let first = (peer.acked + 1).checked_sub(self.log_start)?;
            let Some(lacks) = self.log.get(usize::try_from(first).ok()?) else { return Some((*id, 0)) };
            Some((*id, self.written - lacks.written + lacks.operation.size() as u64))
        })
    }

    /// How much of this node's operations a peer holds.
    #[must_use]
    pub fn acked(&self, id: Incarnation) -> Sequence {
        self.peers.get(&id).map_or(0, |peer| peer.acked)
    }
}

impl Peer {
    /// Its latest operation when it got in touch, once it has said so.
    pub(super) fn last(&self) -> Option<Sequence> {
        self.last
    }

    fn next_of_state(&mut self) -> Option<OwnedMessage> {
        let sending = self.state.as_mut()?;
        if !sending.begun {
            sending.begun = true;
            return Some(OwnedMessage::State { sequence: sending.sequence });
        }
        let start = sending.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut bytes, mut rows) = (0, Vec::new());
        for row in sending.rows.from(start) {
            if bytes >= TABLE_COPY_BYTES {
                break;
            }
            bytes += row.size();
            rows.push(row.clone());
        }
        let Some(last) = rows.last().map(|row| row.key().to_vec()) else {
            let rows = sending.sent;
            self.state = None;
            return Some(OwnedMessage::StateEnd { rows });
        };
        sending.after = Some(last);
        sending.sent += rows.len() as u64;
        Some(OwnedMessage::Rows(rows))
    }
}
