//! What waits to be written on one connection: many senders append to one buffer, the driver takes all of it at once.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ekka_core::limits::CALLS_QUEUE_MAX;
use ekka_core::rpc::{Head, encode};
use ekka_core::wire::FrameKind;
use tokio::sync::Notify;

/// The queue of one connection.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Bytes that wait, and those of the batch that is being written.
    waiting: Arc<AtomicUsize>,
    /// Of all that was ever queued, how much was given to the socket.
    handed: AtomicU64,
    /// Told whenever some of it was written.
    drained: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// Where the buffer begins in all that was ever queued.
    begin: u64,
    /// Nothing comes in any more.
    closed: bool,
    /// The buffer ran over: the peer reads nothing.
    stuck: bool,
    driver: Option<Waker>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    /// It waits, and begins at this place of all that was ever queued.
    At(u64),
    /// The connection is over.
    Closed,
}

impl Queue {
    /// Appends one frame. Callers hold a place in a window, so the queue itself refuses only a peer that breaks the
    /// rules: it then closes.
    pub(super) fn push(&self, head: &Head<'_>, payload: &[u8]) -> Pushed {
        let mut state = self.locked();
        if state.closed {
            return Pushed::Closed;
        }
        let start = state.buffer.len();
        if start > 2 * CALLS_QUEUE_MAX {
            state.closed = true;
            state.stuck = true;
            wake(state);
            return Pushed::Closed;
        }
        let buffer = &mut state.buffer;
        buffer.extend_from_slice(&[0, 0, 0, 0, FrameKind::Call as u8]);
        encode(head, buffer);
        buffer.extend_from_slice(payload);
        let length = u32::try_from(buffer.len() - start - 4).unwrap_or(u32::MAX);
        buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self.waiting.fetch_add(buffer.len() - start, Ordering::Relaxed);
        let at = state.begin + start as u64;
        wake(state);
        Pushed::At(at)
    }

    /// A queue that says in `waiting` how many bytes wait.
    pub(super) fn new(waiting: Arc<AtomicUsize>) -> Self {
        Self { waiting, ..Self::default() }
    }

    /// Whether the peer does not read.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > CALLS_QUEUE_MAX
    }

    /// So many bytes were written.
    pub(super) fn wrote(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.handed.fetch_add(bytes as u64, Ordering::SeqCst);
        self.drained.notify_waiters();
    }

    /// Of all that was ever queued, how much was given to the socket.
    pub(super) fn handed(&self) -> u64 {
        self.handed.load(Ordering::SeqCst)
    }

    /// Waits until the queue is not full, or nothing comes in any more.
    pub(super) async fn room(&self) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            if !self.is_full() || self.locked().closed {
                return;
            }
            drained.await;
        }
    }

    /// Whether it ran over.
    pub(super) fn is_stuck(&self) -> bool {
        self.locked().stuck
    }

    /// Nothing comes in from now on.
    pub(super) fn close(&self) {
        self.locked().closed = true;
        self.drained.notify_waiters();
    }

    /// Gives all that waits to the driver, in exchange for an empty buffer; pending where nothing waits, and ready with
    /// `false` once nothing will.
    pub(super) fn poll_take(&self, batch: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<bool> {
        debug_assert!(batch.is_empty());
        let mut state = self.locked();
        if state.buffer.is_empty() {
            if state.closed {
                return Poll::Ready(false);
            }
            state.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.driver = None;
        state.begin += state.buffer.len() as u64;
        std::mem::swap(&mut state.buffer, batch);
        Poll::Ready(true)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the driver once for all that has gathered until it looks.
fn wake(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &Queue) -> Vec<u8> {
        let mut batch = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(queue.poll_take(&mut batch, &mut cx), Poll::Ready(true));
        batch
    }

    #[test]
    fn what_begins_behind_the_bytes_given_to_the_socket_has_not_left() {
        let queue = Queue::default();
        let Pushed::At(first) = queue.push(&Head::Cancel { id: 1 }, b"") else { panic!("closed") };
        queue.wrote(taken(&queue).len());
        let Pushed::At(second) = queue.push(&Head::Cancel { id: 2 }, b"") else { panic!("closed") };
        queue.close();
        assert!(first < queue.handed() && second >= queue.handed());
        assert_eq!(queue.push(&Head::Cancel { id: 3 }, b""), Pushed::Closed);
    }

    #[test]
    fn a_queue_that_nobody_reads_closes_and_says_so() {
        let queue = Queue::default();
        let payload = vec![0; 16 * 1024 * 1024];
        let pushed = (0..10).filter(|id| queue.push(&Head::Answer { id: *id }, &payload) != Pushed::Closed).count();
        assert!(pushed * payload.len() >= 2 * CALLS_QUEUE_MAX && pushed < 10, "{pushed}");
        assert!(queue.is_full() && queue.is_stuck());
    }
}
