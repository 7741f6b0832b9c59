//! The ideal group behind the consensus port: for whole nodes in a simulation that is not about consensus.
//!
//! One [`IdealGroups`] stands for one group and all its replicas; the world says who is up and which ways are cut. It
//! lives in the time of the runtime, and its chance comes from a seed.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka::consensus::{Applied, Group, GroupError};
use ekka::env::{BoxFuture, Clock};
use ekka_core::consensus::ideal::{Ask, Ideal, Input, Output, Refusal, RequestId};
use ekka_core::consensus::{GroupEvent, LogPlace, Standing, StateMachine, VoterId};
use ekka_core::limits::GROUP_COMMAND_MAX;
use ekka_core::machine::Machine;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

pub use self::world::IdealWorld;

/// Without anything to do it looks at the time so often.
const IDLE: Duration = Duration::from_millis(100);

struct Replica {
    machine: Box<dyn StateMachine>,
    events: Option<mpsc::Sender<GroupEvent>>,
    standing: watch::Sender<Arc<Standing>>,
}

struct State {
    group: Ideal,
    replicas: BTreeMap<VoterId, Replica>,
    /// What the state machines answered to the command at an index.
    answers: BTreeMap<u64, Vec<u8>>,
    waiting: BTreeMap<RequestId, (VoterId, oneshot::Sender<Result<LogPlace, Refusal>>)>,
    asked: RequestId,
}

/// One group with all its replicas. Clones are handles to the same one.
#[derive(Clone)]
pub struct IdealGroups {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
}

impl IdealGroups {
    /// A group that is not founded. [`IdealGroups::run`] carries it.
    #[must_use]
    pub fn new(seed: u64, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            group: Ideal::new(seed),
            replicas: BTreeMap::new(),
            answers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            asked: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), clock, changed: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries the group for as long as it is polled.
    pub async fn run(&self) {
        loop {
            let now = self.clock.now();
            let deadline = {
                let mut state = self.state();
                let mut out = Vec::new();
                state.group.tick(now, &mut out);
                state.take(out);
                state.group.deadline()
            };
            let wait = deadline.map_or(IDLE, |at| at.since(self.clock.now().mono));
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Tells the group what the world does.
    pub fn input(&self, input: Input) {
        let now = self.clock.now();
        let mut state = self.state();
        let mut out = Vec::new();
        state.group.handle(input, now, &mut out);
        state.take(out);
        drop(state);
        self.changed.notify_one();
    }

    /// Starts a replica with an empty state.
    ///
    /// What it applies is also given to `events`, whose bound has to be wide enough for a whole log.
    #[must_use]
    pub fn open(
        &self,
        me: VoterId,
        machine: Box<dyn StateMachine>,
        events: Option<mpsc::Sender<GroupEvent>>,
    ) -> IdealGroup {
        let standing = Standing { me, ..Standing::default() };
        let replica = Replica { machine, events, standing: watch::channel(Arc::new(standing)).0 };
        self.state().replicas.insert(me, replica);
        self.input(Input::Up(me));
        IdealGroup { groups: self.clone(), me }
    }

    /// Ends a replica as `kill -9` does.
    pub fn kill(&self, me: VoterId) {
        self.input(Input::Down(me));
        let mut state = self.state();
        state.replicas.remove(&me);
        // Whoever waits is told that the end of it is not known.
        state.waiting.retain(|_, (by, _)| *by != me);
    }
}

impl State {
    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Tell(to, event) => self.tell(to, event),
                Output::Done { id, result, .. } => {
                    if let Some((_, waiting)) = self.waiting.remove(&id) {
                        let _ = waiting.send(result);
                    }
                }
            }
        }
        self.publish();
    }

    fn tell(&mut self, to: VoterId, event: GroupEvent) {
        let Some(replica) = self.replicas.get_mut(&to) else { return };
        match &event {
            GroupEvent::Applied { at, command } => {
                let answer = replica.machine.apply(*at, command);
                let known = self.answers.entry(at.index).or_insert_with(|| answer.clone());
                assert_eq!(*known, answer, "state machines of one log answer alike");
            }
            GroupEvent::Reconfigured(configuration) => replica.machine.reconfigured(configuration),
            GroupEvent::Restored { snapshot, .. } => {
                replica.machine.restore(snapshot).expect("it was made by a machine of the same kind");
            }
        }
        if let Some(events) = &replica.events {
            assert!(
                !matches!(events.try_send(event), Err(mpsc::error::TrySendError::Full(_))),
                "the bound is too narrow"
            );
        }
    }

    fn publish(&self) {
        for (me, replica) in &self.replicas {
            let applied = self.group.applied(*me);
            let leader = self.group.leader_for(*me);
            let standing = Standing {
                me: *me,
                term: self.group.term(),
                leader,
                leads: leader == Some(*me),
                last: self.group.stored(*me),
                applied,
                told: applied,
                configuration: self.group.configuration_for(*me),
                failed: None,
            };
            replica.standing.send_if_modified(|now| {
                let changed = **now != standing;
                if changed {
                    *now = Arc::new(standing);
                }
                changed
            });
        }
    }
}

/// One replica of an ideal group.
pub struct IdealGroup {
    groups: IdealGroups,
    me: VoterId,
}

impl IdealGroup {
    fn is_open(&self) -> Result<(), GroupError> {
        if self.groups.state().replicas.contains_key(&self.me) {
            return Ok(());
        }
        Err(GroupError::Ended("it was closed".into()))
    }

    async fn ask(&self, ask: Ask) -> Result<LogPlace, GroupError> {
        self.is_open()?;
        let (answer, result) = oneshot::channel();
        let id = {
            let mut state = self.groups.state();
            state.asked += 1;
            let id = state.asked;
            state.waiting.insert(id, (self.me, answer));
            id
        };
        self.groups.input(Input::Ask { by: self.me, id, ask });
        match result.await {
            Ok(Ok(at)) => Ok(at),
            Ok(Err(Refusal::NoQuorum(why))) => Err(GroupError::NoQuorum(why)),
            Ok(Err(Refusal::Unknown(why))) => Err(GroupError::Unknown(why)),
            Ok(Err(Refusal::Refused(why))) => Err(GroupError::Refused(why)),
            Err(_) => Err(GroupError::Unknown("the replica has ended".into())),
        }
    }

    async fn propose_now(&self, command: Vec<u8>) -> Result<Applied, GroupError> {
        if command.len() > GROUP_COMMAND_MAX {
            return Err(GroupError::TooLarge { length: command.len(), limit: GROUP_COMMAND_MAX });
        }
        let at = self.ask(Ask::Propose(command)).await?;
        let answer = self.groups.state().answers.get(&at.index).cloned().expect("the leader has applied it");
        Ok(Applied { at, answer })
    }

    async fn hand_over_now(&self, among: BTreeSet<VoterId>) {
        let Ok(()) = self.is_open() else { return };
        self.groups.input(Input::HandOver(self.me, among));
        let mut standing = self.standing();
        let _ = timeout(Duration::from_secs(2), standing.wait_for(|standing| !standing.leads)).await;
    }

    fn snapshot_now(&self) -> Result<(), GroupError> {
        let state = self.groups.state();
        let replica = state.replicas.get(&self.me).ok_or_else(|| GroupError::Ended("it was closed".into()))?;
        let snapshot = replica.machine.snapshot();
        drop(state);
        self.groups.input(Input::Snapshot(self.me, snapshot));
        Ok(())
    }
}

impl Group for IdealGroup {
    fn found(&self, voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async move {
            self.is_open()?;
            if !voters.contains(&self.me) {
                return Err(GroupError::Refused("this replica is not among the founders".into()));
            }
            self.groups.input(Input::Found(voters));
            Ok(())
        })
    }

    fn propose(&self, command: Vec<u8>) -> BoxFuture<'_, Result<Applied, GroupError>> {
        Box::pin(self.propose_now(command))
    }

    fn barrier(&self) -> BoxFuture<'_, Result<LogPlace, GroupError>> {
        Box::pin(self.ask(Ask::Barrier))
    }

    fn change_voters(&self, voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async move { self.ask(Ask::ChangeVoters(voters)).await.map(|_| ()) })
    }

    fn set_learners(&self, learners: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async move { self.ask(Ask::SetLearners(learners)).await.map(|_| ()) })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(async move { self.snapshot_now() })
    }

    fn hand_over_to(&self, among: BTreeSet<VoterId>) -> BoxFuture<'_, ()> {
        Box::pin(self.hand_over_now(among))
    }

    fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        let state = self.groups.state();
        match state.replicas.get(&self.me) {
            Some(replica) => replica.standing.subscribe(),
            None => watch::channel(Arc::new(Standing { me: self.me, ..Standing::default() })).1,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.groups.kill(self.me);
        Box::pin(async {})
    }
}
