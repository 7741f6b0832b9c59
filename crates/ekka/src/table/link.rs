//! Links to peers: which tables have something for whom, and who is woken for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

use ekka_core::control::CloseCause;
use ekka_core::id::{Incarnation, NodeName};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::wire::Wire;
use crate::answers::Answers;
use crate::meeting::{Company, Meeting};

/// A link, as others see it.
pub(super) struct Link {
    pub(super) peer: Incarnation,
    pub(super) name: NodeName,
    state: Mutex<State>,
    /// A full copy may have to be sent.
    pub(super) copies: Notify,
    /// It is to end: replaced, or of no use.
    pub(super) end: CancellationToken,
    /// Its connection, while there is one.
    wire: Mutex<Option<Wire>>,
}

#[derive(Default)]
struct State {
    /// Tables that may have something for the peer.
    dirty: Vec<u64>,
    /// Tables that were opened on this link.
    opened: Vec<u64>,
    driver: Option<Waker>,
}

impl Link {
    pub(super) fn new(peer: Incarnation, name: NodeName) -> Self {
        let (copies, end) = (Notify::new(), CancellationToken::new());
        Self { peer, name, state: Mutex::default(), copies, end, wire: Mutex::default() }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A table may have something for the peer: said by the driver itself, which looks before it waits.
    pub(super) fn mark(&self, table: u64) {
        let mut state = self.locked();
        if !state.dirty.contains(&table) {
            state.dirty.push(table);
        }
    }

    /// Carries a connection to its end, and says why that came.
    pub(super) async fn carry(self: &Arc<Self>, wire: Wire, stop: &CancellationToken) -> CloseCause {
        let port = wire.port();
        *self.wired() = Some(wire);
        let cause = tokio::select! {
            biased;
            () = stop.cancelled() => CloseCause::Stopping,
            () = self.end.cancelled() => CloseCause::Redundant,
            cause = port.closing() => cause,
            cause = std::future::poll_fn(|cx| self.poll(cx)) => cause,
        };
        self.wired().take();
        cause
    }

    /// Ends it at once: whoever writes on it just now has written when this returns, and nobody writes after that.
    pub(super) fn cut(&self) {
        self.end.cancel();
        self.wired().take();
    }

    fn wired(&self) -> MutexGuard<'_, Option<Wire>> {
        // What a panic left half-written ends with the task that it ended.
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<CloseCause> {
        loop {
            let mut answers = Answers::default();
            let read = match self.wired().as_mut().map(|wire| wire.poll_in(self, cx, &mut answers)) {
                Some(Poll::Ready(Ok(()))) => true,
                Some(Poll::Ready(Err(cause))) => return Poll::Ready(cause),
                Some(Poll::Pending) | None => false,
            };
            // Whoever is woken finds the connection free, and may write on it himself.
            drop(answers);
            if let Some(Poll::Ready(cause)) = self.wired().as_mut().map(|wire| wire.poll_write(self, cx)) {
                return Poll::Ready(cause);
            }
            if !read {
                return Poll::Pending;
            }
        }
    }

    /// Writes in the caller's task what the tables have for the peer, where the driver sleeps: that saves waking its
    /// thread. False where the driver is at work, and may have looked for the last time before it sleeps.
    fn write_now(self: &Arc<Self>) -> bool {
        let Ok(mut wired) = self.wire.try_lock() else { return false };
        // Who was woken already looks again.
        if let (Some(wire), Some(driver)) = (wired.as_mut(), self.sleeper()) {
            wire.write_for(self, &driver);
        }
        true
    }

    /// The driver, where it waits and there is something for it.
    fn sleeper(&self) -> Option<Waker> {
        let mut state = self.locked();
        if state.dirty.is_empty() { None } else { state.driver.take() }
    }

    /// Whether the driver waits and there is something for it.
    fn has_sleeper(&self) -> bool {
        let state = self.locked();
        !state.dirty.is_empty() && state.driver.is_some()
    }

    /// A table was opened while the link was there: the peer is told first of all.
    pub(super) fn opened(&self, table: u64) {
        let mut state = self.locked();
        state.opened.push(table);
        state.dirty.push(table);
        wake(state);
    }

    /// The tables that may have something; `None` where none has, and then the driver is woken once one has.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<(Vec<u64>, Vec<u64>)> {
        let mut state = self.locked();
        if state.dirty.is_empty() {
            state.driver = Some(cx.waker().clone());
            return None;
        }
        Some((std::mem::take(&mut state.opened), std::mem::take(&mut state.dirty)))
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// All links of a node.
#[derive(Default)]
pub(super) struct Links {
    all: RwLock<Arc<[Arc<Link>]>>,
    /// Wakes the drivers, on their own thread: a writer on another one wakes that thread once, however many they are.
    pump: Mutex<Option<Waker>>,
    /// Writers that wait for their peers.
    company: Company,
}

impl Links {
    pub(super) fn all(&self) -> Arc<[Arc<Link>]> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A table may have something for every peer.
    pub(super) fn stir(&self, table: u64) {
        let all = self.all();
        if all.is_empty() {
            return;
        }
        for link in &*all {
            link.mark(table);
        }
        self.wake_pump();
    }

    /// The same, and it is written at once where nothing else goes on: by a writer that waits for the answers.
    pub(super) fn send(&self, table: u64) {
        let mut left = false;
        for link in &*self.all() {
            link.mark(table);
            left |= !link.write_now();
        }
        if left {
            self.wake_pump();
        }
    }

    fn wake_pump(&self) {
        let pump = self.pump.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pump) = pump {
            pump.wake();
        }
    }

    /// The writers that wait for their peers.
    pub(super) fn company(&self) -> Company {
        self.company.clone()
    }

    /// Wakes drivers for which there is something, for ever: once those writers are back that were answered last.
    pub(super) async fn keep_pumping(&self) {
        let mut meeting = Meeting::new(self.company());
        loop {
            std::future::poll_fn(|cx| self.poll_woken(cx)).await;
            meeting.wait().await;
            self.all().iter().filter_map(|link| link.sleeper()).for_each(Waker::wake);
        }
    }

    /// Ready where a driver has something to do.
    fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        *self.pump.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.all().iter().any(|link| link.has_sleeper()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes a link into use, and says which one it replaces.
    pub(super) fn insert(&self, link: &Arc<Link>) -> Option<Arc<Link>> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &&Arc<Link>| other.peer.node_id == link.peer.node_id;
        let replaced = all.iter().find(same).cloned();
        *all = all.iter().filter(|other| !same(other)).chain([link]).cloned().collect();
        replaced
    }

    /// Takes a link out; whether it was the one in use.
    pub(super) fn remove(&self, link: &Arc<Link>) -> bool {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        *all = all.iter().filter(|other| !Arc::ptr_eq(other, link)).cloned().collect();
        all.len() < before
    }
}
