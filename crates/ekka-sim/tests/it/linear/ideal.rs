//! A consensus group that keeps its promises in one process: an order of commands, delays on the way there and back,
//! answers that are lost, replicas that lag. And the faults that break each promise.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ekka::consensus::{Applied, Group, GroupError};
use ekka::env::BoxFuture;
use ekka_core::consensus::{LogPlace, Standing, StateMachine, VoterId};
use ekka_core::rng::Rng;
use ekka_sim::linear::{RegisterMachine, RegisterReader};
use tokio::sync::watch;

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// A barrier is passed although the replica lags.
    StaleRead,
    /// A command is answered and forgotten.
    LostWrite,
    /// A command whose first answer was lost is done again.
    DoubleApply,
    /// A command that is said not to be done is done later.
    FailedIsDone,
}

struct Inner {
    rng: Rng,
    index: u64,
    machine: RegisterMachine,
    /// The replica that readers read, and what it has not applied yet.
    replica: RegisterMachine,
    lag: Vec<(LogPlace, Vec<u8>)>,
}

pub(crate) struct IdealGroup {
    inner: Mutex<Inner>,
    fault: Fault,
    /// One in so many answers is lost, and as many proposals never arrive; 0: none.
    loss: u64,
    standing: watch::Sender<Arc<Standing>>,
}

impl Inner {
    fn commit(&mut self, command: &[u8], forget: bool) -> Applied {
        self.index += 1;
        let at = LogPlace { term: 1, index: self.index };
        if forget {
            // Applied to a copy that nobody reads.
            let mut copy = RegisterMachine::default();
            copy.restore(&self.machine.snapshot()).expect("a snapshot of its own kind");
            return Applied { at, answer: copy.apply(at, command) };
        }
        self.lag.push((at, command.to_vec()));
        Applied { at, answer: self.machine.apply(at, command) }
    }

    fn catch_up(&mut self, leave: usize) {
        let upto = self.lag.len().saturating_sub(leave);
        for (at, command) in self.lag.drain(..upto) {
            self.replica.apply(at, &command);
        }
    }

    fn one_in(&mut self, many: u64) -> bool {
        many > 0 && self.rng.below(many) == 0
    }
}

impl IdealGroup {
    pub(crate) fn new(seed: u64, fault: Fault, loss: u64) -> Arc<Self> {
        let inner = Inner {
            rng: Rng::new(seed),
            index: 0,
            machine: RegisterMachine::default(),
            replica: RegisterMachine::default(),
            lag: Vec::new(),
        };
        let standing = watch::Sender::new(Arc::new(Standing::default()));
        Arc::new(Self { inner: Mutex::new(inner), fault, loss, standing })
    }

    pub(crate) fn reader(&self) -> RegisterReader {
        self.inner().replica.reader()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    fn delay(&self) -> Duration {
        self.inner().rng.up_to(Duration::from_millis(20))
    }

    fn one_in(&self, many: u64) -> bool {
        self.inner().one_in(many)
    }

    async fn proposed(&self, command: Vec<u8>) -> Result<Applied, GroupError> {
        tokio::time::sleep(self.delay()).await;
        if self.one_in(self.loss) {
            if self.fault == Fault::FailedIsDone {
                self.inner().commit(&command, false);
            }
            return Err(GroupError::NoQuorum("it was lost on the way".into()));
        }
        if self.one_in(self.loss) {
            // Done or not, and perhaps only after whoever asked has given up: as a proposal in a queue is.
            if self.one_in(2) {
                tokio::time::sleep(self.delay()).await;
                self.inner().commit(&command, false);
            }
            return Err(GroupError::Unknown("the answer was lost".into()));
        }
        let forget = self.fault == Fault::LostWrite && self.one_in(10);
        let applied = self.inner().commit(&command, forget);
        if self.fault == Fault::DoubleApply && self.one_in(10) {
            tokio::time::sleep(self.delay()).await;
            self.inner().commit(&command, false);
        }
        tokio::time::sleep(self.delay()).await;
        Ok(applied)
    }

    async fn read_index(&self) -> Result<LogPlace, GroupError> {
        tokio::time::sleep(self.delay()).await;
        if self.one_in(self.loss) {
            return Err(GroupError::NoQuorum("no majority answered".into()));
        }
        let at = {
            let mut inner = self.inner();
            let leave = if self.fault == Fault::StaleRead { 3 } else { 0 };
            inner.catch_up(leave);
            LogPlace { term: 1, index: inner.index }
        };
        Ok(at)
    }
}

impl Group for IdealGroup {
    fn found(&self, _voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async { Ok(()) })
    }

    fn propose(&self, command: Vec<u8>) -> BoxFuture<'_, Result<Applied, GroupError>> {
        Box::pin(self.proposed(command))
    }

    fn barrier(&self) -> BoxFuture<'_, Result<LogPlace, GroupError>> {
        Box::pin(self.read_index())
    }

    fn change_voters(&self, _voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async { Err(GroupError::Refused("there is one replica".into())) })
    }

    fn set_learners(&self, _learners: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async { Err(GroupError::Refused("there is one replica".into())) })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async { Ok(()) })
    }

    fn hand_over_to(&self, _: BTreeSet<VoterId>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
