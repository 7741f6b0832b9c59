//! Writes that wait for copies on other nodes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::table::{Ack, Acknowledged, OpNumber, TooFewCopies};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::PutError;
use crate::answers::{Answers, Asker, Offices};
use crate::meeting::{Caller, Company};

/// The answer to a write.
pub(super) type Answer = Result<Acknowledged, TooFewCopies>;

/// How a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How many nodes have to have it.
    pub(super) ack: Ack,
    /// Two copies are asked for, or it is an error.
    pub(super) strict: bool,
}

/// What became of a write at once.
pub(super) enum Written {
    /// It is acknowledged, or will not be.
    Now(Answer),
    /// The table was dropped, or the node has ended: it is not written.
    Closed,
    /// Others have to say that they hold it.
    Later(oneshot::Receiver<Answer>),
}

impl Written {
    /// The answer, within the time that is left. `unanswered` says why nobody will answer any more, `missing` who did not.
    pub(super) async fn answer(
        self,
        left: Duration,
        unanswered: impl FnOnce() -> PutError,
        missing: impl FnOnce() -> String,
    ) -> Result<Acknowledged, PutError> {
        let answer = match self {
            Self::Closed => return Err(PutError::Closed),
            Self::Now(answer) => answer,
            Self::Later(later) => match timeout(left, later).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => return Err(unanswered()),
                Err(_) => return Err(PutError::TimedOut { missing: missing() }),
            },
        };
        Ok(answer?)
    }
}

struct Waiter {
    number: OpNumber,
    strict: bool,
    asker: Asker<Answer>,
    /// Where it waits for peers. Gone before it is answered: it does not count twice where it comes back at once.
    caller: Option<Caller>,
}

/// Those of one table, by what they wait for; each queue in the order of the writes.
pub(super) struct Acks {
    queues: Mutex<[VecDeque<Waiter>; 3]>,
    offices: Offices<Answer>,
    /// Those of all tables that wait for peers.
    company: Company,
}

const KINDS: [Ack; 3] = [Ack::Local, Ack::Two, Ack::All];

impl Acks {
    pub(super) fn new(company: Company) -> Self {
        Self { queues: Mutex::default(), offices: Offices::default(), company }
    }

    fn locked(&self) -> MutexGuard<'_, [VecDeque<Waiter>; 3]> {
        // Nothing that holds this lock can leave it half-changed.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answer to a write. Called while the table is locked for that write, so that numbers come in order.
    pub(super) fn wait(&self, number: OpNumber, ack: Ack, strict: bool) -> oneshot::Receiver<Answer> {
        let (asker, receiver) = self.offices.ask();
        let caller = (ack != Ack::Local).then(|| self.company.one_more());
        let queue = KINDS.iter().position(|kind| *kind == ack).unwrap_or(0);
        self.locked()[queue].push_back(Waiter { number, strict, asker, caller });
        receiver
    }

    /// Whether anybody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.locked().iter().all(VecDeque::is_empty)
    }

    /// Whether a write that is acknowledged so goes out at once: none of its table waits, and nobody else is likely to write
    /// just now. Others go together.
    pub(super) fn goes_alone(&self, ack: Ack) -> bool {
        ack != Ack::Local && self.is_empty() && !self.company.is_expected()
    }

    /// The answers to those whose writes have enough copies by now: `reached` gives up to which number they have, `answer`
    /// what is said of one. They are to be given out once no lock is held.
    pub(super) fn settle(
        &self,
        reached: impl Fn(Ack) -> OpNumber,
        answer: impl Fn(OpNumber, Ack, bool) -> Option<Answer>,
    ) -> Answers<Answer> {
        let mut answers = Answers::default();
        let mut queues = self.locked();
        for (queue, ack) in queues.iter_mut().zip(KINDS) {
            if queue.is_empty() {
                continue;
            }
            let reached = reached(ack);
            while let Some(waiter) = queue.pop_front_if(|waiter| waiter.number <= reached) {
                let Some(answer) = answer(waiter.number, ack, waiter.strict) else {
                    queue.push_front(waiter);
                    break;
                };
                let Waiter { asker, caller, .. } = waiter;
                // Before any of them is gone: the most that there were counts.
                if caller.is_some() {
                    self.company.note();
                }
                drop(caller);
                answers.push(asker, answer);
            }
        }
        answers
    }

    /// Forgets those who wait no more.
    pub(super) fn tidy(&self) {
        for queue in self.locked().iter_mut() {
            queue.retain(|waiter| !waiter.asker.is_closed());
        }
    }

    /// Nobody will answer any more: the table is dropped, or the node has ended.
    pub(super) fn end(&self) {
        self.locked().iter_mut().for_each(VecDeque::clear);
    }
}
