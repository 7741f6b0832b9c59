//! Ideal replicas named by numbers, for the conformance suite of the port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ekka::consensus::Group;
use ekka::env::BoxFuture;
use ekka::testing::RuntimeClock;
use ekka::testing::suite::consensus::{Ledger, LedgerMachine, World};
use ekka_core::consensus::VoterId;
use ekka_core::consensus::ideal::Input;
use ekka_core::id::NodeId;
use tokio_util::task::AbortOnDropHandle;

use super::{IdealGroup, IdealGroups};

#[derive(Default)]
struct Slot {
    ledger: Ledger,
    replica: Option<Arc<IdealGroup>>,
}

/// The world of one ideal group.
pub struct IdealWorld {
    groups: IdealGroups,
    slots: Mutex<BTreeMap<usize, Slot>>,
    _carried: AbortOnDropHandle<()>,
}

impl IdealWorld {
    /// A world whose chance comes from a seed. Needs a runtime.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let groups = IdealGroups::new(seed, Arc::new(RuntimeClock::default()));
        let task = groups.clone();
        let carried = AbortOnDropHandle::new(tokio::spawn(async move { task.run().await }));
        Self { groups, slots: Mutex::default(), _carried: carried }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<usize, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn voter(number: usize) -> VoterId {
    VoterId { node_id: NodeId::from_u128(0x1000 + number as u128), start: 1 }
}

impl World for IdealWorld {
    fn voter(&self, number: usize) -> VoterId {
        voter(number)
    }

    fn start(&self, number: usize) -> BoxFuture<'_, ()> {
        let ledger = self.ledger(number);
        // The state is in memory: a new start begins with none.
        ledger.clear();
        let replica = self.groups.open(voter(number), Box::new(LedgerMachine::new(ledger)), None);
        self.slots().entry(number).or_default().replica = Some(Arc::new(replica));
        Box::pin(async {})
    }

    fn kill(&self, number: usize) {
        self.slots().entry(number).or_default().replica = None;
        self.groups.kill(voter(number));
    }

    fn group(&self, number: usize) -> Arc<dyn Group> {
        self.slots().get(&number).and_then(|slot| slot.replica.clone()).expect("it was started")
    }

    fn is_up(&self, number: usize) -> bool {
        self.slots().get(&number).is_some_and(|slot| slot.replica.is_some())
    }

    fn ledger(&self, number: usize) -> Ledger {
        self.slots().entry(number).or_default().ledger.clone()
    }

    fn set_cut(&self, from: usize, to: usize, cut: bool) {
        self.groups.input(Input::Cut { from: voter(from), to: voter(to), cut });
    }
}
