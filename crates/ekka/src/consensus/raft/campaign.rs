//! Carries the campaign's machine: the engine's state and messages in, questions and elections out; keeps the standing
//! of the replica up to date, and gives the leader's signs of life.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::campaign::{Facts, Input, Output, Sign};
use ekka_core::consensus::{Standing, VoterId};
use ekka_core::id::NodeId;
use ekka_core::limits::GROUP_HEARTBEAT;
use ekka_core::machine::Machine;
use openraft::ServerState;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use super::log::LogStore;
use super::message::{Body, Notice};
use super::reports::Reports;
use super::shared::{Shared, lock};
use super::types::{Metrics, configuration, place_or_start};
use super::{hand_over, voters};

/// What other tasks of the replica tell this one. One that is lost is as a message that is lost.
pub(super) enum Event {
    Notice(VoterId, Notice),
    Heard(Sign),
    Yielding(Option<VoterId>),
    Witnesses(BTreeSet<NodeId>),
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    log: LogStore,
    log_bytes: u64,
    facts: Facts,
    out: Vec<Output>,
    reports: Reports,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, metrics: watch::Receiver<Metrics>, log: LogStore, log_bytes: u64) -> Self {
        let reports = Reports::new(metrics);
        Self { shared, reports, log, log_bytes, facts: Facts::default(), out: Vec::new() }
    }

    /// Runs until the replica ends; then the engine ends too.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut beat = beat();
        self.look();
        loop {
            self.carry().await;
            let wait = self.wait();
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => break,
                // Before what can come without a pause (the engine reports with each reader): a leader that is busy must
                // not fall silent.
                _ = beat.tick() => self.beat().await,
                event = events.recv() => match event {
                    Some(event) => self.take(event),
                    None => break,
                },
                goes_on = self.reports.next() => if goes_on { self.look() } else { break },
                () = sleep(wait) => self.tick(),
            }
        }
        if let Some(raft) = self.shared.raft()
            && let Err(error) = raft.shutdown().await
        {
            tracing::error!(group = ?self.shared.group, err = %error, "the engine ended in disorder");
        }
        self.look();
    }

    fn wait(&self) -> Duration {
        let now = self.shared.clock.now().mono;
        let deadline = lock(&self.shared.campaign).deadline();
        deadline.map_or(GROUP_HEARTBEAT, |at| at.since(now).min(GROUP_HEARTBEAT))
    }

    fn handle(&mut self, input: Input) {
        let now = self.shared.clock.now();
        lock(&self.shared.campaign).handle(input, now, &mut self.out);
    }

    fn tick(&mut self) {
        let now = self.shared.clock.now();
        lock(&self.shared.campaign).tick(now, &mut self.out);
    }

    fn take(&mut self, event: Event) {
        if matches!(event, Event::Notice(..)) {
            // What is asked and answered is about the log as it is now, not as it was when the engine last reported.
            self.look();
        }
        match event {
            Event::Heard(sign) => self.handle(Input::Heard(sign)),
            Event::Yielding(to) => self.handle(Input::Yielding(to)),
            Event::Witnesses(nodes) => self.handle(Input::Witnesses(nodes)),
            Event::Notice(from, Notice::Question(question)) => self.handle(Input::Asked { from, question }),
            Event::Notice(from, Notice::Answer(answer)) => self.handle(Input::Answered { from, answer }),
            Event::Notice(_, Notice::TakeOver { term }) => self.handle(Input::Permitted { term }),
            // For the sender of a snapshot, who has it already.
            Event::Notice(_, Notice::Credit { .. }) => {}
        }
        self.publish();
    }

    async fn beat(&mut self) {
        self.look();
        self.tick();
        if self.facts.leads
            && let Some(raft) = self.shared.raft()
        {
            // An engine that has ended says so in its metrics.
            let _ = raft.trigger().heartbeat().await;
            voters::finish(&self.shared, &self.facts.configuration);
        }
        self.shorten().await;
    }

    /// The engine counts entries; they may be long ones.
    async fn shorten(&self) {
        let Some(raft) = self.shared.raft().filter(|_| self.log.bytes_after(None) > self.log_bytes) else { return };
        let (snapshot, applied) = {
            let metrics = self.reports.newest();
            (metrics.snapshot, metrics.last_applied)
        };
        // An engine that has ended says so in its metrics; one that makes a snapshot already makes no other.
        let _ = match snapshot {
            Some(at) if self.log.bytes_after(Some(at)) <= self.log_bytes / 2 => {
                raft.trigger().purge_log(at.index).await
            }
            _ if applied > snapshot => raft.trigger().snapshot().await,
            _ => Ok(()),
        };
    }

    /// Takes the engine's state.
    fn look(&mut self) {
        let (metrics, is_new) = self.reports.look();
        let leads = metrics.state == ServerState::Leader;
        if is_new {
            self.note_majority(&metrics, leads);
        }
        let applied = place_or_start(metrics.last_applied.as_ref());
        let matched = metrics.replication.iter().flatten();
        let facts = Facts {
            term: metrics.current_term,
            leads,
            has_majority: leads && self.shared.has_majority(),
            last: self.log.last(),
            configuration: configuration(&metrics.membership_config, applied),
            matched: matched.map(|(voter, id)| (*voter, place_or_start(id.as_ref()))).collect(),
        };
        if facts != self.facts {
            self.facts = facts.clone();
            self.handle(Input::Facts(facts));
        }
        self.publish();
    }

    /// Notes when a majority has answered. A young leader has it on credit.
    fn note_majority(&self, metrics: &Metrics, leads: bool) {
        let mut at = lock(&self.shared.majority_at);
        if !leads {
            *at = None;
            return;
        }
        let now = Instant::now();
        let acked = metrics.millis_since_quorum_ack.and_then(|ms| now.checked_sub(Duration::from_millis(ms)));
        if !self.facts.leads || self.facts.term != metrics.current_term {
            *at = Some(now);
        } else {
            *at = (*at).max(acked);
        }
    }

    fn publish(&self) {
        let metrics = self.reports.newest();
        let shared = &self.shared;
        let applied = *shared.applied.borrow();
        let told = *lock(&shared.told);
        let leads = self.facts.leads && shared.has_majority() && applied.term == self.facts.term;
        let heard = lock(&shared.campaign).hears(shared.clock.now().mono);
        let failed = match &metrics.running_state {
            Err(fatal) if !shared.stop.is_cancelled() => Some(fatal.to_string()),
            _ => None,
        };
        let standing = Standing {
            me: shared.me,
            term: self.facts.term,
            leader: heard.map(|(leader, _)| leader),
            leads: leads && failed.is_none(),
            last: self.facts.last,
            applied,
            told,
            configuration: self.facts.configuration.clone(),
            failed,
        };
        shared.standing.send_if_modified(|now| {
            let changed = **now != standing;
            if changed {
                *now = Arc::new(standing);
            }
            changed
        });
    }

    /// Does what the machine has decided.
    async fn carry(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Ask { to, question } => self.notify(to, Notice::Question(question)),
                Output::Answer { to, answer } => self.notify(to, Notice::Answer(answer)),
                Output::Elect => {
                    tracing::debug!(group = ?self.shared.group, voter = %self.shared.me, "campaigning");
                    if let Some(raft) = self.shared.raft() {
                        let _ = raft.trigger().elect().await;
                    }
                }
                Output::HandOver(to) => {
                    let (shared, log) = (self.shared.clone(), self.log.clone());
                    self.shared.tasks.spawn(async move { hand_over::to(&shared, &log, to).await });
                }
            }
        }
    }

    fn notify(&self, to: VoterId, notice: Notice) {
        let shared = &self.shared;
        // Lost where there is no link; the round ends by its time.
        let _ = shared.router.send(shared.group, shared.me, to, Body::Notice(notice));
    }
}

fn beat() -> Interval {
    let mut beat = interval(GROUP_HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}
