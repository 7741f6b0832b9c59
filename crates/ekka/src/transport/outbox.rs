//! What waits to be written on one connection, bounded in bytes, and why the connection is to be closed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::control::CloseCause;
use tokio::sync::{Notify, Semaphore, watch};

/// The queue of one connection: many senders, one writer.
pub(super) struct Outbox {
    bytes_max: usize,
    state: Mutex<State>,
    filled: Notify,
    closing: watch::Sender<Option<CloseCause>>,
    /// Bytes that wait in a queue beside this one: the lane for calls has its own.
    beside: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    /// Bytes of `frames` and of the batch that is being written.
    bytes: usize,
    /// The batch that is being written.
    writing: usize,
    /// What senders wait on for room, and how much there is of it at most.
    room: Option<(Arc<Semaphore>, usize)>,
    /// Room to give back when the batch is written.
    room_taken: usize,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    Queued,
    /// The queue ran over: the connection closes, and this many frames are lost.
    Stuck {
        lost: usize,
    },
    /// The connection closes already.
    Closing,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
            filled: Notify::new(),
            closing: watch::Sender::new(None),
            beside: Arc::default(),
        }
    }

    /// Gives room for each written frame back to senders that wait for it; a frame takes at most all of it.
    pub(super) fn give_room_back_to(&self, room: Arc<Semaphore>, room_max: usize) {
        self.locked().room = Some((room, room_max));
    }

    /// Queues one encoded frame.
    pub(super) fn push(&self, frame: Vec<u8>) -> Pushed {
        let mut state = self.locked();
        if self.closing.borrow().is_some() {
            return Pushed::Closing;
        }
        if state.bytes + frame.len() > self.bytes_max {
            let lost = state.frames.len() + 1;
            state.frames.clear();
            state.bytes = state.writing;
            drop(state);
            self.close(CloseCause::Stuck);
            return Pushed::Stuck { lost };
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        drop(state);
        self.filled.notify_one();
        Pushed::Queued
    }

    /// Closes the queue: nothing more comes in. The first cause stays.
    pub(super) fn close(&self, cause: CloseCause) {
        self.closing.send_if_modified(|closing| {
            let first = closing.is_none();
            if first {
                *closing = Some(cause);
            }
            first
        });
        self.filled.notify_one();
    }

    /// Waits until the queue is closed.
    pub(super) async fn closing(&self) -> CloseCause {
        let mut closing = self.closing.subscribe();
        let cause = closing.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
        cause.unwrap_or(CloseCause::Stopping)
    }

    /// Waits for frames and takes as many as make a good write; `None` once the queue is closed and empty.
    pub(super) async fn take(&self) -> Option<Vec<u8>> {
        loop {
            if let Some(batch) = self.take_now() {
                return Some(batch);
            }
            if self.closing.borrow().is_some() {
                return None;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self) -> Option<Vec<u8>> {
        let mut state = self.locked();
        let mut batch = state.frames.pop_front()?;
        let room_max = state.room.as_ref().map_or(0, |(_, max)| *max);
        state.room_taken = batch.len().min(room_max);
        while let Some(next) = state.frames.front() {
            if batch.len() + next.len() > BATCH_BYTES {
                break;
            }
            batch.extend_from_slice(next);
            let room = next.len().min(room_max);
            state.room_taken += room;
            state.frames.pop_front();
        }
        state.writing = batch.len();
        Some(batch)
    }

    /// Says that the batch taken last is written.
    pub(super) fn written(&self) {
        let mut state = self.locked();
        state.bytes = state.bytes.saturating_sub(state.writing);
        state.writing = 0;
        if let Some((room, _)) = &state.room {
            room.add_permits(state.room_taken);
        }
    }

    /// Bytes that wait.
    pub(super) fn queued_bytes(&self) -> usize {
        self.locked().bytes + self.beside.load(Ordering::Relaxed)
    }

    /// Where the queue beside this one says how many bytes wait in it.
    pub(super) fn beside(&self) -> Arc<AtomicUsize> {
        self.beside.clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames are gathered up to this many bytes for one write.
const BATCH_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_leave_in_order_and_in_batches() {
        let outbox = Outbox::new(1_000_000);
        for byte in 0..3u8 {
            assert_eq!(outbox.push(vec![byte; 30_000]), Pushed::Queued);
        }
        let first = outbox.take().await.unwrap();
        assert_eq!((first.len(), first[0], first[59_999]), (60_000, 0, 1));
        assert_eq!(outbox.queued_bytes(), 90_000, "what is being written still counts");
        outbox.written();
        assert_eq!(outbox.queued_bytes(), 30_000);
        outbox.close(CloseCause::Stopping);
        assert_eq!(outbox.push(vec![9]), Pushed::Closing);
        assert_eq!(outbox.take().await.unwrap()[0], 2, "what was queued before the close still leaves");
        assert_eq!(outbox.take().await, None);
    }

    #[tokio::test]
    async fn a_queue_that_runs_over_is_closed_as_stuck_and_frees_its_memory() {
        let outbox = Outbox::new(100);
        assert_eq!(outbox.push(vec![0; 60]), Pushed::Queued);
        assert_eq!(outbox.push(vec![0; 60]), Pushed::Stuck { lost: 2 });
        outbox.close(CloseCause::Stopping);
        assert_eq!(outbox.closing().await, CloseCause::Stuck);
        assert_eq!(outbox.queued_bytes(), 0);
    }
}
