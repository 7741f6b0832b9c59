//! What nodes tell each other of a table beside its rows: who has all of it and how much that is, and whose disc has no room
//! for more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ekka_core::id::Incarnation;

/// How this node stands itself.
#[derive(Clone, Copy)]
pub(super) struct Here {
    /// It has what its peers held.
    pub(super) loaded: bool,
    /// Its disc has room for more of the table.
    pub(super) has_room: bool,
}

/// What a peer is to be told now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// That this node has all.
    Loaded,
    /// How much that is.
    Amount,
    /// Whether its disc has room.
    Room(bool),
}

/// What was heard from the peers of one table, and what they were told.
#[derive(Default)]
pub(super) struct Told {
    peers: Mutex<BTreeMap<Incarnation, Peer>>,
    /// A peer said that it has no room: those who write look no further while none did.
    some_full: AtomicBool,
}

#[derive(Default)]
struct Peer {
    /// What it said.
    loaded: bool,
    bytes: Option<u64>,
    full: bool,
    /// What it was told.
    told_loaded: bool,
    told_amount: bool,
    told_full: bool,
}

impl Peer {
    fn due(&self, here: Here) -> Option<Due> {
        if here.loaded && !self.told_loaded {
            Some(Due::Loaded)
        } else if here.loaded && !self.told_amount {
            Some(Due::Amount)
        } else if here.has_room == self.told_full {
            Some(Due::Room(here.has_room))
        } else {
            None
        }
    }
}

impl Told {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<Incarnation, Peer>> {
        // Nothing that holds this lock can leave it half-changed.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins: nothing was said on it.
    pub(super) fn begin(&self, peer: Incarnation) {
        let mut peers = self.locked();
        peers.insert(peer, Peer::default());
        self.count(&peers);
    }

    fn count(&self, peers: &BTreeMap<Incarnation, Peer>) {
        self.some_full.store(peers.values().any(|peer| peer.full), Ordering::Relaxed);
    }

    /// What a peer is to be told next; it counts as told.
    pub(super) fn next(&self, peer: Incarnation, here: Here) -> Option<Due> {
        let mut peers = self.locked();
        let peer = peers.get_mut(&peer)?;
        let due = peer.due(here)?;
        match due {
            Due::Loaded => peer.told_loaded = true,
            Due::Amount => peer.told_amount = true,
            Due::Room(has) => peer.told_full = !has,
        }
        Some(due)
    }

    /// Whether there is something to tell a peer.
    pub(super) fn owes(&self, peer: Incarnation, here: Here) -> bool {
        self.locked().get(&peer).is_some_and(|peer| peer.due(here).is_some())
    }

    /// A peer has what its peers held.
    pub(super) fn is_loaded(&self, peer: Incarnation) {
        self.locked().entry(peer).or_default().loaded = true;
    }

    /// So many bytes are what a peer has.
    pub(super) fn has(&self, peer: Incarnation, bytes: u64) {
        self.locked().entry(peer).or_default().bytes = Some(bytes);
    }

    /// Whether the disc of a peer has room.
    pub(super) fn room(&self, peer: Incarnation, has: bool) {
        let mut peers = self.locked();
        peers.entry(peer).or_default().full = !has;
        self.count(&peers);
    }

    /// Whether a peer said that it has all.
    pub(super) fn has_all(&self, peer: Incarnation) -> bool {
        self.locked().get(&peer).is_some_and(|peer| peer.loaded)
    }

    /// How much there is of the table, as far as one of these peers said so.
    pub(super) fn amount(&self, of: &[Incarnation]) -> Option<u64> {
        let peers = self.locked();
        of.iter().filter_map(|peer| peers.get(peer)?.bytes).max()
    }

    /// Those of some peers that have all.
    pub(super) fn with_all(&self, of: &[Incarnation]) -> Vec<Incarnation> {
        let peers = self.locked();
        of.iter().copied().filter(|peer| peers.get(peer).is_some_and(|peer| peer.loaded)).collect()
    }

    /// Those of some peers whose copies count: all but those without room.
    pub(super) fn with_room(&self, of: Arc<[Incarnation]>) -> Arc<[Incarnation]> {
        if !self.some_full.load(Ordering::Relaxed) {
            return of;
        }
        let peers = self.locked();
        of.iter().copied().filter(|peer| !peers.get(peer).is_some_and(|peer| peer.full)).collect()
    }
}

#[cfg(test)]
mod tests {
    use ekka_core::id::{Guid, NodeId};

    use super::*;

    fn id(node: u128) -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) }
    }

    #[test]
    fn each_thing_is_told_once_on_a_connection() {
        let told = Told::default();
        let here = |loaded, has_room| Here { loaded, has_room };
        assert_eq!(told.next(id(2), here(true, true)), None, "there is no connection");
        told.begin(id(2));
        assert_eq!(told.next(id(2), here(false, true)), None);
        assert_eq!(told.next(id(2), here(false, false)), Some(Due::Room(false)));
        assert!(!told.owes(id(2), here(false, false)) && told.owes(id(2), here(false, true)));
        let all = |told: &Told| std::iter::from_fn(|| told.next(id(2), here(true, true))).collect::<Vec<_>>();
        assert_eq!(all(&told), [Due::Loaded, Due::Amount, Due::Room(true)]);
        told.begin(id(2));
        assert_eq!(all(&told), [Due::Loaded, Due::Amount], "the next connection begins anew");
    }

    #[test]
    fn who_has_no_room_does_not_count_until_it_says_that_it_has() {
        let (told, both): (Told, Arc<[Incarnation]>) = (Told::default(), Arc::new([id(2), id(3)]));
        for peer in [id(2), id(3)] {
            told.begin(peer);
        }
        assert_eq!(*told.with_room(both.clone()), [id(2), id(3)]);
        told.room(id(2), false);
        assert_eq!(*told.with_room(both.clone()), [id(3)]);
        told.room(id(3), false);
        assert!(told.with_room(both.clone()).is_empty());
        told.room(id(3), true);
        assert_eq!(*told.with_room(both.clone()), [id(3)]);
        told.begin(id(2));
        assert_eq!(*told.with_room(both), [id(2), id(3)]);
    }
}
