//! Replicas of one group of registers, or of quorum tables: the engine's adapter, a network in memory, simulated discs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ekka::consensus::Group;
use ekka::consensus::raft::{RaftGroup, Settings, Setup};
use ekka::env::Clock;
use ekka::testing::group_net::{GroupNet, Weather};
use ekka::testing::{PlantedFault, RuntimeClock, open_replica};
use ekka_core::consensus::{GroupId, Standing, StateMachine, VoterId};
use ekka_core::id::{ClusterId, NodeId};
use ekka_core::rng::Rng;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{GroupClient, Kept, Op, Outcome, RegisterClient, RegisterMachine, RegisterReader};
use super::{TablesClient, TablesMachine, TablesReader};
use crate::stack::StoreDisc;

/// How often somebody who waits looks again.
const LOOK: Duration = Duration::from_millis(20);

/// Reads what a replica has applied.
#[derive(Clone)]
enum Reader {
    Registers(RegisterReader),
    Tables(TablesReader),
}

impl Reader {
    /// An empty state, and its reader.
    fn of(kept: Kept) -> (Box<dyn StateMachine>, Self) {
        match kept {
            Kept::Registers => {
                let machine = RegisterMachine::default();
                let reader = machine.reader();
                (Box::new(machine), Self::Registers(reader))
            }
            Kept::Tables => {
                let machine = TablesMachine::default();
                let reader = machine.reader();
                (Box::new(machine), Self::Tables(reader))
            }
        }
    }
}

struct Slot {
    disc: StoreDisc,
    running: Option<(Arc<RaftGroup>, Reader)>,
    ended: Option<Arc<RaftGroup>>,
    starts: u128,
}

/// The replicas, by number.
pub(super) struct Replicas {
    seed: u64,
    net: GroupNet,
    clock: Arc<dyn Clock>,
    kept: Kept,
    planted: Option<PlantedFault>,
    settings: Settings,
    slots: Mutex<Vec<Slot>>,
    leaders: Mutex<BTreeMap<u64, BTreeSet<VoterId>>>,
}

fn node(number: usize) -> NodeId {
    NodeId::from_u128(0x1000 + number as u128)
}

fn voter(number: usize) -> VoterId {
    VoterId { node_id: node(number), start: 1 }
}

impl Replicas {
    pub(super) fn new(seed: u64, count: usize, (kept, planted): (Kept, Option<PlantedFault>)) -> Self {
        let mut rng = Rng::new(seed).child("replicas");
        let net = GroupNet::new(rng.next_u64());
        let jitter = Duration::from_millis([1, 5, 30][rng.index(3)]);
        let loss_per_mille = if rng.below(3) == 0 { rng.below(30) } else { 0 };
        net.set_weather(Weather { delay: Duration::from_micros(200), jitter, loss_per_mille, ..Weather::default() });
        let slot = |_| Slot { disc: StoreDisc::new(rng.next_u64()), running: None, ended: None, starts: 0 };
        let slots = Mutex::new((0..count).map(slot).collect());
        // Some cut their logs often, so that snapshots are made and sent.
        let mut settings = Settings::default();
        if seed.is_multiple_of(3) {
            (settings.log_entries, settings.log_kept) = (24, 4);
        }
        let clock = Arc::new(RuntimeClock::default());
        Self { seed, net, clock, kept, planted, settings, slots, leaders: Mutex::default() }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().expect("no holder of this lock panics")
    }

    fn count(&self) -> usize {
        self.slots().len()
    }

    fn running(&self, number: usize) -> Option<(Arc<RaftGroup>, Reader)> {
        self.slots()[number].running.clone()
    }

    /// Starts all and makes a group of them.
    pub(super) async fn found(&self) -> Result<(), String> {
        for number in 0..self.count() {
            self.start(number).await?;
        }
        let voters: BTreeSet<VoterId> = (0..self.count()).map(voter).collect();
        for number in 0..self.count() {
            if let Some((group, _)) = self.running(number) {
                let voters = voters.clone();
                // Each founder does it; the first wins.
                tokio::spawn(async move { drop(group.found(voters).await) });
            }
        }
        self.leader(Duration::from_secs(10)).await
    }

    async fn start(&self, number: usize) -> Result<(), String> {
        let ended = self.slots()[number].ended.take();
        if let Some(ended) = ended {
            // No process has two replicas on one store.
            ended.close().await;
        }
        let router = self.net.join(node(number));
        let (machine, reader) = Reader::of(self.kept);
        let (disc, starts) = {
            let slot = &mut self.slots()[number];
            slot.starts += 1;
            (slot.disc.clone(), slot.starts)
        };
        let setup = Setup {
            group: GroupId::Durable { cluster_id: ClusterId::from_u128(1) },
            me: voter(number),
            storage: Arc::new(disc.open(1)),
            log: "group/durable".into(),
            machine,
            router,
            clock: self.clock.clone(),
            seed: self.seed ^ (number as u64) << 32 ^ u64::try_from(starts).unwrap_or(0),
            witnesses: BTreeSet::new(),
            events: None,
            stop: CancellationToken::new(),
            commits: Arc::default(),
            settings: self.settings.clone(),
        };
        let opened = open_replica(setup, self.planted).await;
        let group = opened.map_err(|error| format!("replica {number} cannot be opened: {error}"))?;
        self.slots()[number].running = Some((Arc::new(group), reader));
        Ok(())
    }

    fn kill(&self, number: usize, power: bool) {
        self.net.kill(node(number));
        let slot = &mut self.slots()[number];
        if let Some((group, _)) = slot.running.take() {
            group.kill();
            slot.ended = Some(group);
            if !power {
                slot.disc.process_ended();
            }
        }
    }

    fn cut(&self, from: usize, to: usize, cut: bool) {
        self.net.set_cut(node(from), node(to), cut);
    }

    fn mend(&self) {
        for from in 0..self.count() {
            (0..self.count()).for_each(|to| self.cut(from, to, false));
        }
    }

    async fn start_all(&self) -> Result<(), String> {
        for number in 0..self.count() {
            if self.running(number).is_none() {
                self.start(number).await?;
            }
        }
        Ok(())
    }

    /// One fault, or one repair.
    pub(super) async fn fault(&self, rng: &mut Rng) -> Result<(), String> {
        self.note_leaders()?;
        let count = self.count();
        let (one, other) = (rng.index(count), rng.index(count));
        let power = rng.below(2) == 0;
        match rng.below(12) {
            0..=2 => self.kill(one, power),
            3 => {
                // Power is gone everywhere, and back.
                (0..count).for_each(|number| self.kill(number, true));
                self.start_all().await?;
            }
            4 => self.kill(self.leading().unwrap_or(one), power),
            5 => {
                self.cut(one, other, true);
                self.cut(other, one, true);
            }
            6 => self.cut(one, other, true),
            7 => (0..count).for_each(|other| {
                self.cut(one, other, true);
                self.cut(other, one, true);
            }),
            8 => self.mend(),
            9 => {
                self.kill(one, power);
                self.start(one).await?;
            }
            _ => self.start_all().await?,
        }
        Ok(())
    }

    /// Stops whoever leads, or somebody else, for a while: what it had sent and what was sent to it comes late.
    pub(super) fn pause(&self, rng: &mut Rng) {
        let one = if rng.below(2) == 0 { self.leading() } else { None };
        self.net.pause(node(one.unwrap_or_else(|| rng.index(self.count()))));
    }

    /// Whoever was paused goes on.
    pub(super) fn wake(&self) {
        self.net.wake();
    }

    fn leading(&self) -> Option<usize> {
        (0..self.count()).find(|n| self.running(*n).is_some_and(|(group, _)| group.standing().borrow().leads))
    }

    /// Ends every fault.
    pub(super) async fn repair(&self) -> Result<(), String> {
        self.wake();
        self.mend();
        self.start_all().await
    }

    /// Waits for a leader.
    pub(super) async fn leader(&self, limit: Duration) -> Result<(), String> {
        let led = async {
            loop {
                self.note_leaders()?;
                let leads = |number| self.running(number).is_some_and(|(group, _)| group.standing().borrow().leads);
                if (0..self.count()).any(leads) {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        };
        timeout(limit, led).await.unwrap_or_else(|_| Err(format!("nobody leads within {limit:?}: {}", self.words())))
    }

    /// How each replica stands.
    fn words(&self) -> String {
        let of = |number| {
            let Some((group, _)) = self.running(number) else { return format!("{number} is off") };
            let standing = group.standing().borrow().clone();
            let Standing { term, leader, last, applied, configuration, failed, .. } = &*standing;
            let (last, applied, voters) = (last.index, applied.index, configuration.voters.len());
            format!("{number}: term {term}, leader {leader:?}, {applied} of {last} applied, {voters} sets, {failed:?}")
        };
        (0..self.count()).map(of).collect::<Vec<_>>().join("; ")
    }

    /// One leader a term.
    fn note_leaders(&self) -> Result<(), String> {
        let mut leaders = self.leaders.lock().expect("no holder of this lock panics");
        for number in 0..self.count() {
            let Some((group, _)) = self.running(number) else { continue };
            let standing = group.standing().borrow().clone();
            if let Some(failed) = &standing.failed {
                return Err(format!("replica {number} has failed: {failed}"));
            }
            if standing.leads {
                let of_term = leaders.entry(standing.term).or_default();
                of_term.insert(standing.me);
                if of_term.len() > 1 {
                    return Err(format!("term {} has the leaders {of_term:?}", standing.term));
                }
            }
        }
        Ok(())
    }

    /// What the replicas themselves show at the end.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.note_leaders()
    }
}

/// A client at one replica; it waits while that is down.
pub(super) struct ReplicaClient {
    replicas: Arc<Replicas>,
    at: usize,
    through_the_log: bool,
}

impl ReplicaClient {
    pub(super) fn new(replicas: Arc<Replicas>, at: usize, through_the_log: bool) -> Self {
        Self { replicas, at, through_the_log }
    }
}

impl RegisterClient for ReplicaClient {
    async fn apply(&mut self, key: &str, op: Op) -> Outcome {
        let (group, reader) = loop {
            match self.replicas.running(self.at) {
                Some(running) => break running,
                None => sleep(LOOK).await,
            }
        };
        match reader {
            Reader::Tables(reader) => TablesClient::new(group, reader).apply(key, op).await,
            Reader::Registers(_) if self.through_the_log => GroupClient::through_the_log(group).apply(key, op).await,
            Reader::Registers(reader) => GroupClient::with_barrier(group, reader).apply(key, op).await,
        }
    }
}
