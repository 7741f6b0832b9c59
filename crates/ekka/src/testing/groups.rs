//! Replicas of the engine's adapter over memory: network, stores, states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ekka_core::consensus::{GroupEvent, GroupId, VoterId};
use ekka_core::id::{ClusterId, NodeId};
use ekka_core::rng::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::RuntimeClock;
use super::group_net::GroupNet;
use super::suite::consensus::{Ledger, LedgerMachine, World};
use crate::consensus::raft::{Faults, RaftGroup, Settings, Setup};
use crate::consensus::{Group, GroupError};
use crate::env::{BoxFuture, Clock};
use crate::storage::{MemoryStorage, Storage};

struct Slot {
    me: VoterId,
    storage: Arc<dyn Storage>,
    ledger: Ledger,
    replica: Option<Arc<RaftGroup>>,
    /// The replica of the start before, on its way to its end.
    ended: Option<Arc<RaftGroup>>,
}

/// Replicas of one group, named by numbers.
pub struct RaftWorld {
    net: GroupNet,
    clock: Arc<dyn Clock>,
    rng: Mutex<Rng>,
    settings: Settings,
    faults: Faults,
    witnesses: BTreeSet<NodeId>,
    slots: Mutex<BTreeMap<usize, Slot>>,
}

/// The node with this number.
#[must_use]
pub fn node(number: usize) -> NodeId {
    NodeId::from_u128(0x1000 + number as u128)
}

impl RaftWorld {
    /// A world whose chance comes from a seed.
    #[must_use]
    pub fn new(seed: u64, settings: Settings) -> Self {
        Self {
            net: GroupNet::new(seed ^ 0x5eed),
            clock: Arc::new(RuntimeClock::default()),
            rng: Mutex::new(Rng::new(seed)),
            settings,
            faults: Faults::default(),
            witnesses: BTreeSet::new(),
            slots: Mutex::default(),
        }
    }

    /// The same with faults put in on purpose.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The same with these numbers as witnesses.
    #[must_use]
    pub fn with_witnesses(mut self, numbers: &[usize]) -> Self {
        self.witnesses = numbers.iter().map(|number| node(*number)).collect();
        self
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &GroupNet {
        &self.net
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<usize, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot<T>(&self, number: usize, then: impl FnOnce(&mut Slot) -> T) -> T {
        let mut slots = self.slots();
        let slot = slots.entry(number).or_insert_with(|| Slot {
            me: VoterId { node_id: node(number), start: 1 },
            storage: Arc::new(MemoryStorage::new(1)),
            ledger: Ledger::default(),
            replica: None,
            ended: None,
        });
        then(slot)
    }

    /// The replica is to keep its log in this store from its next start on.
    pub fn set_storage(&self, number: usize, storage: Arc<dyn Storage>) {
        self.slot(number, |slot| slot.storage = storage);
    }

    /// The store of a replica.
    #[must_use]
    pub fn storage(&self, number: usize) -> Arc<dyn Storage> {
        self.slot(number, |slot| slot.storage.clone())
    }

    /// Starts a replica, which tells what it applies to `events`.
    ///
    /// # Errors
    /// As for [`RaftGroup::open`].
    pub async fn open(&self, number: usize, events: Option<mpsc::Sender<GroupEvent>>) -> Result<(), GroupError> {
        let ended = self.slot(number, |slot| slot.ended.take());
        if let Some(ended) = ended {
            // No process has two replicas on one store.
            ended.close().await;
        }
        let router = self.net.join(node(number));
        let seed = self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        let setup = self.slot(number, |slot| {
            // The state is in memory: a new start begins with none.
            slot.ledger.clear();
            Setup {
                group: GroupId::Durable { cluster_id: ClusterId::from_u128(1) },
                me: slot.me,
                storage: slot.storage.clone(),
                log: "group/durable".into(),
                machine: Box::new(LedgerMachine::new(slot.ledger.clone())),
                router,
                clock: self.clock.clone(),
                seed,
                witnesses: self.witnesses.clone(),
                events,
                stop: CancellationToken::new(),
                commits: Arc::default(),
                settings: self.settings.clone(),
            }
        });
        let replica = RaftGroup::open_with(setup, self.faults).await?;
        self.slot(number, |slot| slot.replica = Some(Arc::new(replica)));
        Ok(())
    }
}

impl World for RaftWorld {
    fn voter(&self, number: usize) -> VoterId {
        self.slot(number, |slot| slot.me)
    }

    fn start(&self, number: usize) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.open(number, None).await.expect("a store in memory can be opened") })
    }

    fn kill(&self, number: usize) {
        self.net.kill(node(number));
        self.slot(number, |slot| {
            slot.ended = slot.replica.take();
            if let Some(ended) = &slot.ended {
                ended.kill();
            }
        });
    }

    fn group(&self, number: usize) -> Arc<dyn Group> {
        self.slot(number, |slot| slot.replica.clone()).expect("it was started")
    }

    fn is_up(&self, number: usize) -> bool {
        self.slot(number, |slot| slot.replica.is_some())
    }

    fn ledger(&self, number: usize) -> Ledger {
        self.slot(number, |slot| slot.ledger.clone())
    }

    fn set_cut(&self, from: usize, to: usize, cut: bool) {
        self.net.set_cut(node(from), node(to), cut);
    }
}
