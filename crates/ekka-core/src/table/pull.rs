//! What is missing here, and of whom it is asked.

use super::available::Table;
use super::batch::Batch;
use super::copy::Taking;
use super::event::Event;
use super::merge::Refused;
use super::message::Message;
use super::peers::Peer;
use super::stamp::{Hlc, StampError};
use super::vector::{Dot, Numbers};
use super::version::Malformed;
use crate::id::Incarnation;
use crate::limits::{TABLE_PULL_PATIENCE, TABLE_PULL_TIMEOUT};
use crate::time::{Instant, Now};

impl Table {
    pub(super) fn on_ops(&mut self, id: Incarnation, batch: &Batch, now: Now) -> Result<(), Malformed> {
        let origins = &mut self.origins;
        let versions = batch.unpack(|origin| origins.place(origin))?;
        let mut early = false;
        for version in versions {
            let replaced = version.waits_for().filter(|dot| !self.held.covers(*dot)).map(|dot| dot.origin);
            let origin = version.carrier().origin;
            match self.apply(version, now.wall) {
                Ok(true) => self.peers.put_off.applied(origin),
                // What nobody who counts has reported is not waited for.
                Ok(false) | Err(Refused::Over) => {}
                Err(Refused::TooEarly) => early |= !self.peers.put_off.waits(origin, replaced, now.mono),
                Err(Refused::Stamp(error)) => {
                    let by_bound = error == StampError::BoundReached;
                    if self.peers.put_off.refused(origin, id, by_bound, now.mono) {
                        self.events.push(Event::StampRefused { from: id, error });
                    }
                }
                Err(Refused::Stuck) => self.events.push(Event::Stuck),
            }
        }
        if let Some((from, since)) = self.peers.pulling.as_mut()
            && *from == id
        {
            *since = now.mono;
        }
        if let Some(peer) = self.peers.map.get_mut(&id) {
            peer.needs_pull |= early;
        }
        self.want(now.mono);
        Ok(())
    }

    pub(super) fn on_served(&mut self, id: Incarnation, now: Now) {
        if self.peers.pulling.is_some_and(|(from, _)| from == id) {
            self.peers.pulling = None;
        }
        if let Some(peer) = self.peers.map.get_mut(&id) {
            // What is still missing is waited for, and not asked for again at once.
            (peer.needs_pull, peer.heard) = (false, Some(now.mono));
            peer.digest_pulled = Some(peer.digest);
        }
        self.want(now.mono);
    }

    /// Asks somebody for what is missing, if that is not under way.
    pub(super) fn want(&mut self, now: Instant) {
        if self.taking.is_some() {
            return;
        }
        if let Some((from, since)) = self.peers.pulling {
            if now.since(since) < TABLE_PULL_TIMEOUT {
                return;
            }
            self.peers.pulling = None;
            if let Some(peer) = self.peers.map.get_mut(&from) {
                (peer.needs_pull, peer.heard) = (false, Some(now));
            }
        }
        let asked = || self.peers.map.iter().filter(|(id, _)| !self.peers.put_off.spares(**id, now));
        let early = asked().find(|(_, peer)| peer.needs_pull);
        let Some((id, _)) = early.or_else(|| asked().find(|(_, peer)| self.lacks(peer, now))) else { return };
        let id = *id;
        self.peers.pulling = Some((id, now));
        if let Some(peer) = self.peers.map.get_mut(&id) {
            peer.owes_pull = true;
        }
    }

    /// Whether a peer reports operations that are missing here and will not, or did not, come from their origin.
    fn lacks(&self, peer: &Peer, now: Instant) -> bool {
        let Some(heard) = peer.heard else { return false };
        let waited = now.since(heard) >= TABLE_PULL_PATIENCE;
        if waited && peer.digest != self.over.digest() && peer.digest_pulled != Some(peer.digest) {
            return true;
        }
        let missing = |numbers: &Numbers, at_once: bool| {
            numbers.iter().any(|(origin, number)| {
                let next = Dot { origin, number: self.held.get(origin) + 1 };
                next.number <= number
                    && self.over.allows(&self.origins, next)
                    && !self.peers.put_off.is_put_off(origin, now)
                    && (!at_once || !self.peers.map.contains_key(&self.origins.get(origin)))
            })
        };
        waited && missing(&peer.awaited, false) || missing(&peer.held, true)
    }

    /// Asks a peer for a full copy, unless one is being taken.
    pub fn ask_copy(&mut self, id: Incarnation, now: Now) {
        self.ask_later_copy(id, 0, now);
    }

    /// The same for one that was begun after the one of this number.
    pub(super) fn ask_later_copy(&mut self, id: Incarnation, after: u64, now: Now) {
        let spared = self.over.is_gone(id) || self.peers.put_off.spares(id, now.mono);
        if self.taking.is_none() && self.peers.map.contains_key(&id) && !spared {
            self.taking = Some(Taking::new(id, now.mono).later_than(after));
            self.tell(id, Message::CopyAsk { resume: None });
        }
    }

    /// Nothing is asked of a peer for a while.
    pub(super) fn delay(&mut self, id: Incarnation, now: Instant) {
        if let Some(peer) = self.peers.map.get_mut(&id) {
            (peer.needs_pull, peer.heard) = (false, Some(now));
        }
    }

    /// After a full copy: the operations that came to its giver since, and those that were refused meanwhile.
    pub(super) fn pull_from(&mut self, id: Incarnation) {
        if let Some(peer) = self.peers.map.get_mut(&id) {
            peer.needs_pull = true;
        }
    }

    /// This bound of stamps is on disc. What only the one before it kept out is asked for with the next tick.
    pub fn bound_is(&mut self, bound: Hlc) {
        self.clock.bound_is(bound);
        for from in self.peers.put_off.bound_raised().collect::<alloc::vec::Vec<_>>() {
            self.pull_from(from);
        }
    }
}
