//! How much room is left on the disc of the data directory, and what this node does about it.
//!
//! Below `storage.reserve` the node says so (reason and alarm `disc_full`) and is not ready; below [`FLOOR`], where its own
//! log may soon not be written, it leads no group as long as another voter can. Both end by themselves, well above where
//! they began.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ekka_core::control::Input;
use ekka_core::id::NodeId;
use ekka_core::view::View;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::driver::Own;
use super::group::witnesses;
use super::shared::Shared;
use crate::consensus::raft::RaftGroup;
use crate::storage::Storage;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Who has less than this leads nothing.
const FLOOR: u64 = 16 << 20;

/// What the room on the disc allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    reserve: u64,
    /// Bytes.
    free: u64,
    /// There is less than the reserve, or was, and is not yet twice as much again.
    pub(super) full: bool,
    /// There is less than the floor, or was, and is not yet the reserve again.
    pub(super) low: bool,
}

impl Room {
    pub(super) fn new(reserve: u64) -> Self {
        Self { reserve, free: u64::MAX, full: false, low: false }
    }

    fn seen(self, free: u64) -> Self {
        let until = |within: bool, begins: u64, ends: u64| free < if within { ends } else { begins };
        let full = until(self.full, self.reserve, self.reserve.saturating_mul(2));
        let low = until(self.low, FLOOR, self.reserve.max(2 * FLOOR));
        Self { free, full, low, ..self }
    }

    /// Why the node is not ready, if so.
    fn words(&self) -> Option<String> {
        let mib = |bytes: u64| bytes >> 20;
        self.full.then(|| {
            let (free, reserve, twice) = (mib(self.free), mib(self.reserve), mib(self.reserve.saturating_mul(2)));
            let leads = if self.low { "; this node leads no group meanwhile" } else { "" };
            format!(
                "{free} MiB are free on the disc of the data directory, storage.reserve is {reserve} MiB; ends by itself above {twice} MiB{leads}"
            )
        })
    }
}

/// Says whether there is less than the reserve, whenever it is asked.
pub(super) fn is_full(shared: &Shared) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let room = shared.room().subscribe();
    Arc::new(move || room.borrow().full)
}

/// Looks as long as one start of the node runs. What holds is told again and again: the next start knows nothing of it.
pub(super) async fn watch_disc(storage: Arc<dyn Storage>, shared: Arc<Shared>, own: mpsc::Sender<Own>) {
    let mut told = None;
    loop {
        if let Some(free) = storage.disc().free {
            // Whoever follows it is woken where something begins or ends, not by each number.
            shared.room().send_if_modified(|room| {
                let before = std::mem::replace(room, room.seen(free));
                (before.full, before.low) != (room.full, room.low)
            });
            let words = shared.room().borrow().words();
            // The number changes all the time: what is told is that it began, and that it ended.
            if words.is_some() != told.is_some() {
                if own.send(Own::Input(Input::Disc(words.clone()))).await.is_err() {
                    return;
                }
                told = words;
            }
        }
        sleep(LOOK).await;
    }
}

/// Tells a replica which nodes are to lead only where nobody else can, as long as it runs: the witnesses, and this node
/// while its disc is nearly full.
pub(super) async fn forward_reluctant(
    me: NodeId,
    mut views: watch::Receiver<Arc<View>>,
    mut room: watch::Receiver<Room>,
    group: Weak<RaftGroup>,
) {
    let mut told: Option<BTreeSet<NodeId>> = None;
    loop {
        let mut present = witnesses(&views.borrow_and_update());
        if room.borrow_and_update().low {
            present.insert(me);
        }
        let Some(group) = group.upgrade() else { return };
        if told.as_ref() != Some(&present) {
            told = Some(present.clone());
            group.set_witnesses(present).await;
        }
        drop(group);
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            changed = room.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_below_the_reserve_ends_above_twice_as_much() {
        let mib = |number: u64| number << 20;
        let mut room = Room::new(mib(256));
        let steps = [(300, false, false), (255, true, false), (300, true, false), (15, true, true), (200, true, true)];
        for (free, full, low) in steps.into_iter().chain([(256, true, false), (511, true, false), (512, false, false)])
        {
            room = room.seen(mib(free));
            assert_eq!((room.full, room.low), (full, low), "{free} MiB");
            assert_eq!(room.words().is_some(), full);
        }
    }

    #[test]
    fn a_reserve_of_nothing_never_makes_it_full() {
        let room = Room::new(0).seen(1);
        assert!(!room.full && room.low);
    }
}
