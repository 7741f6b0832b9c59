//! What the loop and the handles share: the view, the events, the figures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use ekka_core::autocluster::{Candidate, SourceList};
use ekka_core::event::{Event, EventKind};
use ekka_core::id::NodeName;
use ekka_core::limits::EVENTS_KEPT;
use ekka_core::time::{Instant, Now};
use ekka_core::view::View;
use tokio::sync::{broadcast, watch};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::StampedEvent;
use super::group_figures::GroupFigures;
use super::heal::HealFigures;
use super::reading::Reader;
use super::room::Room;
use super::volatile::VolatileGroup;
use crate::discovery::Found;
use crate::env::Clock;
use crate::storage::{DiscFigures, Storage};
use crate::table::{Committed, Here, Tell};

/// The part of a node that its handles read.
pub(super) struct Shared {
    pub(super) name: NodeName,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: TaskTracker,
    views: watch::Sender<Arc<View>>,
    events: broadcast::Sender<Arc<StampedEvent>>,
    history: Mutex<VecDeque<Arc<StampedEvent>>>,
    last_event: AtomicU64,
    last_step: AtomicU64,
    figures: Mutex<Figures>,
    reader: Mutex<Option<Reader>>,
    storage: OnceLock<Weak<dyn Storage>>,
    volatile: Mutex<Option<VolatileGroup>>,
    lease: watch::Sender<Option<Instant>>,
    room: watch::Sender<Room>,
    committed: watch::Sender<Arc<Committed>>,
    quorum: Arc<Here>,
    durable: Arc<GroupFigures>,
    of_volatile: Arc<GroupFigures>,
    heals: Arc<HealFigures>,
}

/// Which of the two groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupKind {
    Durable,
    Volatile,
}

/// What is counted here (the transport counts the rest).
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// The strategies in use: what earlier ones say is not counted any more.
    sources: SourceList,
    pub(super) rounds: BTreeMap<(String, &'static str), u64>,
    pub(super) last_success: BTreeMap<String, Instant>,
    pub(super) candidates: BTreeMap<String, Vec<Candidate>>,
    pub(super) ignored: BTreeMap<(String, &'static str), u64>,
    pub(super) removed: BTreeMap<&'static str, u64>,
    pub(super) leader_changes: u64,
    pub(super) incarnations_gone: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds this lock can leave it half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(name: NodeName, clock: Arc<dyn Clock>, first: Arc<View>, reserve: u64) -> Self {
        Self {
            name,
            last_step: AtomicU64::new(clock.now().mono.as_nanos()),
            clock,
            tasks: TaskTracker::new(),
            views: watch::Sender::new(first),
            events: broadcast::Sender::new(EVENTS_KEPT),
            history: Mutex::default(),
            last_event: AtomicU64::new(0),
            figures: Mutex::default(),
            reader: Mutex::default(),
            storage: OnceLock::new(),
            volatile: Mutex::default(),
            lease: watch::Sender::new(None),
            room: watch::Sender::new(Room::new(reserve)),
            committed: watch::Sender::new(Arc::default()),
            quorum: Arc::default(),
            durable: Arc::default(),
            of_volatile: Arc::default(),
            heals: Arc::default(),
        }
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    pub(super) fn view_changes(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    pub(super) fn publish(&self, view: Arc<View>) {
        self.views.send_replace(view);
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Arc<StampedEvent>> {
        self.events.subscribe()
    }

    pub(super) fn recent_events(&self, last: usize) -> Vec<Arc<StampedEvent>> {
        let history = locked(&self.history);
        history.iter().skip(history.len().saturating_sub(last)).cloned().collect()
    }

    /// Stamps an event, keeps it, logs it, and gives it to those who listen.
    pub(super) fn event(&self, event: Event, now: Now) {
        self.count(&event.kind);
        let id = self.last_event.fetch_add(1, Ordering::Relaxed) + 1;
        let stamped = Arc::new(StampedEvent { time: now.wall, id, node: self.name.clone(), event });
        log(&stamped);
        let mut history = locked(&self.history);
        if history.len() == EVENTS_KEPT {
            history.pop_front();
        }
        history.push_back(stamped.clone());
        drop(history);
        // An error only says that nobody listens.
        let _ = self.events.send(stamped);
    }

    fn count(&self, kind: &EventKind) {
        match kind {
            EventKind::MemberRemoved { cause, .. } => {
                let cause = if cause == "autoclean" { "autoclean" } else { "force" };
                *locked(&self.figures).removed.entry(cause).or_default() += 1;
            }
            EventKind::HealFinished { ms, .. } => self.heals.healed(Duration::from_millis(*ms)),
            EventKind::HealFailed { .. } => self.heals.failed(),
            EventKind::MemberLeft { .. } => *locked(&self.figures).removed.entry("leave").or_default() += 1,
            EventKind::MemberGone { .. } => locked(&self.figures).incarnations_gone += 1,
            EventKind::LeaderChanged { .. } => locked(&self.figures).leader_changes += 1,
            _ => {}
        }
    }

    /// A strategy of that list answered; with what it ignored so far.
    pub(super) fn discovered(
        &self,
        list: SourceList,
        strategy: &str,
        result: &Result<Found, String>,
        ignored: Vec<(&'static str, u64)>,
    ) {
        let mut figures = locked(&self.figures);
        if list != figures.sources {
            return;
        }
        let word = match result {
            Ok(found) if found.candidates.is_empty() => "empty",
            Ok(_) => "ok",
            Err(_) => "error",
        };
        *figures.rounds.entry((strategy.to_owned(), word)).or_default() += 1;
        if let Ok(Found { candidates, .. }) = result {
            figures.last_success.insert(strategy.to_owned(), self.clock.now().mono);
            figures.candidates.insert(strategy.to_owned(), candidates.clone());
        }
        figures.ignored.extend(ignored.into_iter().map(|(reason, count)| ((strategy.to_owned(), reason), count)));
    }

    /// Another list is in use. Of strategies that are gone with the one before, the last answer is none of now.
    pub(super) fn exchanged_strategies<'a>(&self, list: SourceList, gone: impl Iterator<Item = &'a str>) {
        let mut figures = locked(&self.figures);
        figures.sources = list;
        for name in gone {
            figures.candidates.remove(name);
            figures.last_success.remove(name);
        }
    }

    /// This replica of the volatile group serves from now on, or none.
    pub(super) fn serves_volatile(&self, group: Option<VolatileGroup>) {
        *locked(&self.volatile) = group;
    }

    pub(super) fn volatile(&self) -> Option<VolatileGroup> {
        locked(&self.volatile).clone()
    }

    pub(super) fn figures(&self) -> Figures {
        locked(&self.figures).clone()
    }

    /// Replicas of groups keep their logs there.
    pub(super) fn stores_in(&self, storage: &Arc<dyn Storage>) {
        // A node opens one store.
        let _ = self.storage.set(Arc::downgrade(storage));
    }

    /// Syncs of the store since it was opened.
    pub(super) fn syncs(&self) -> u64 {
        self.storage.get().and_then(Weak::upgrade).map_or(0, |storage| storage.syncs())
    }

    /// How the disc of the store does.
    pub(super) fn disc(&self) -> DiscFigures {
        self.storage.get().and_then(Weak::upgrade).map_or_else(DiscFigures::default, |storage| storage.disc())
    }

    /// Tells people of events, for those who outlive one start of the node.
    pub(super) fn teller(self: &Arc<Self>) -> Tell {
        let shared = Arc::downgrade(self);
        Arc::new(move |kind: EventKind| {
            if let Some(shared) = shared.upgrade() {
                shared.event(kind.into(), shared.clock.now());
            }
        })
    }

    /// What the cluster has committed that tables go by.
    pub(super) fn committed(&self) -> &watch::Sender<Arc<Committed>> {
        &self.committed
    }

    /// The replicas that quorum tables are in.
    pub(super) fn quorum(&self) -> &Arc<Here> {
        &self.quorum
    }

    /// What room the disc has.
    pub(super) fn room(&self) -> &watch::Sender<Room> {
        &self.room
    }

    /// What is counted of a group.
    pub(super) fn groups(&self, which: GroupKind) -> &Arc<GroupFigures> {
        match which {
            GroupKind::Durable => &self.durable,
            GroupKind::Volatile => &self.of_volatile,
        }
    }

    /// What is counted of heals.
    pub(super) fn heals(&self) -> &Arc<HealFigures> {
        &self.heals
    }

    /// The replica of the durable group that runs from now on.
    pub(super) fn reads_from(&self, reader: Option<Reader>) {
        *locked(&self.reader) = reader;
    }

    pub(super) fn reader(&self) -> Option<Reader> {
        locked(&self.reader).clone()
    }

    /// Until when this node holds its lease.
    pub(super) fn lease(&self) -> watch::Receiver<Option<Instant>> {
        self.lease.subscribe()
    }

    pub(super) fn set_lease(&self, until: Option<Instant>) {
        self.lease.send_replace(until);
    }

    pub(super) fn stepped(&self, at: Instant) {
        self.last_step.store(at.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn last_step(&self) -> Instant {
        Instant::from_nanos(self.last_step.load(Ordering::Relaxed))
    }
}

/// For programs that embed a node; the agent writes each event as a line of its own, in words.
fn log(stamped: &StampedEvent) {
    let decision = stamped.event.decision.map(|id| id.to_string());
    let event = stamped.event.kind.type_name();
    debug!(target: "ekka::event", event, id = decision, node = %stamped.node, details = ?stamped.event.kind, "event");
}
