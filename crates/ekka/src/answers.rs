//! Answers to callers, given out together.
//!
//! To wake a task of another runtime costs a system call, and it may run before whoever woke it has given the next answer
//! or let go of a lock. So answers are gathered, and given out once the giver is done; those for one other runtime go to
//! a task there, which wakes its neighbours without the kernel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::{mpsc, oneshot};

/// Answers for callers of one runtime.
type Bundle<T> = Vec<(oneshot::Sender<T>, T)>;

/// A task of a runtime that gives answers to callers there.
struct Office<T> {
    runtime: Id,
    bundles: mpsc::UnboundedSender<Bundle<T>>,
}

/// The runtimes that callers wait on. Clones are handles to the same ones.
pub(crate) struct Offices<T>(Arc<Mutex<Vec<Office<T>>>>);

/// Who waits for one answer.
pub(crate) struct Asker<T> {
    answer: oneshot::Sender<T>,
    office: Option<Office<T>>,
}

/// Answers that are given out when this is dropped.
#[must_use = "they are given out when this is dropped"]
pub(crate) struct Answers<T>(Vec<(Asker<T>, T)>);

impl<T> Clone for Office<T> {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime, bundles: self.bundles.clone() }
    }
}

impl<T> Clone for Offices<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Offices<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Send + 'static> Offices<T> {
    fn locked(&self) -> MutexGuard<'_, Vec<Office<T>>> {
        // Nothing that holds this lock can leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One who waits for an answer, in a task of this runtime or elsewhere, and where the answer comes.
    pub(crate) fn ask(&self) -> (Asker<T>, oneshot::Receiver<T>) {
        let (answer, receiver) = oneshot::channel();
        // A thread that blocks on its future runs nobody else meanwhile: it is answered by itself.
        let here = tokio::task::try_id().and_then(|_| Handle::try_current().ok());
        let office = here.map(|here| self.office(&here));
        (Asker { answer, office }, receiver)
    }

    fn office(&self, here: &Handle) -> Office<T> {
        let mut offices = self.locked();
        if let Some(office) = offices.iter().find(|office| office.runtime == here.id()) {
            return office.clone();
        }
        // Those of runtimes that are over.
        offices.retain(|office| !office.bundles.is_closed());
        let (bundles, queue) = mpsc::unbounded_channel();
        here.spawn(give_out(queue));
        let office = Office { runtime: here.id(), bundles };
        offices.push(office.clone());
        office
    }
}

/// Until nobody can ask any more.
async fn give_out<T>(mut bundles: mpsc::UnboundedReceiver<Bundle<T>>) {
    while let Some(bundle) = bundles.recv().await {
        give_all(bundle);
    }
}

fn give_all<T>(bundle: Bundle<T>) {
    for (asker, answer) in bundle {
        // Whoever asked may have gone.
        let _ = asker.send(answer);
    }
}

impl<T> Asker<T> {
    /// Whether nobody waits any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }
}

impl<T> Answers<T> {
    /// One more.
    pub(crate) fn push(&mut self, asker: Asker<T>, answer: T) {
        self.0.push((asker, answer));
    }

    /// All of these too.
    pub(crate) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }
}

impl<T> Drop for Answers<T> {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        let here = Handle::try_current().ok().map(|here| here.id());
        let mut elsewhere: Vec<(Office<T>, Bundle<T>)> = Vec::new();
        for (Asker { answer: asker, office }, answer) in self.0.drain(..) {
            match office.filter(|office| Some(office.runtime) != here) {
                None => drop(asker.send(answer)),
                Some(office) => match elsewhere.iter_mut().find(|(known, _)| known.runtime == office.runtime) {
                    Some((_, bundle)) => bundle.push((asker, answer)),
                    None => elsewhere.push((office, vec![(asker, answer)])),
                },
            }
        }
        for (office, bundle) in elsewhere {
            if bundle.len() == 1 {
                give_all(bundle);
            } else if let Err(mpsc::error::SendError(bundle)) = office.bundles.send(bundle) {
                // The runtime is over; a caller may wait on a thread of its own.
                give_all(bundle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A runtime on a thread of its own that asks so often and gives what comes.
    fn asking(offices: &Offices<u32>, count: u32) -> (Vec<Asker<u32>>, thread::JoinHandle<Vec<u32>>) {
        let (sender, askers) = std::sync::mpsc::channel();
        let offices = offices.clone();
        let answers = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let asking = async move {
                let mut receivers = Vec::new();
                for _ in 0..count {
                    let (asker, receiver) = offices.ask();
                    sender.send(asker).unwrap();
                    receivers.push(receiver);
                }
                let mut answers = Vec::new();
                for receiver in receivers {
                    answers.push(receiver.await.unwrap());
                }
                answers
            };
            runtime.block_on(async { tokio::spawn(asking).await.unwrap() })
        });
        (askers.iter().take(count as usize).collect(), answers)
    }

    fn answer(askers: Vec<Asker<u32>>) {
        let mut answers = Answers::default();
        for (n, asker) in (0..).zip(askers) {
            answers.push(asker, n);
        }
    }

    #[test]
    fn callers_of_several_runtimes_get_their_answers() {
        let offices = Offices::default();
        let (mut one, ones) = asking(&offices, 3);
        let (two, twos) = asking(&offices, 2);
        let (three, threes) = asking(&offices, 1);
        one.extend(two);
        one.extend(three);
        assert_eq!(offices.locked().len(), 3);
        answer(one);
        assert_eq!(
            (ones.join().unwrap(), twos.join().unwrap(), threes.join().unwrap()),
            (vec![0, 1, 2], vec![3, 4], vec![5])
        );
    }

    #[test]
    fn a_runtime_that_is_over_is_forgotten_and_nobody_waits_on_it() {
        let offices = Offices::default();
        let (asker, receiver) = {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let offices = offices.clone();
            runtime.block_on(async { tokio::spawn(async move { offices.ask() }).await.unwrap() })
        };
        let (sender, second) = oneshot::channel();
        let beside = Asker { answer: sender, office: asker.office.clone() };
        answer(vec![asker, beside]);
        assert_eq!((receiver.blocking_recv(), second.blocking_recv()), (Ok(0), Ok(1)));
        let (askers, answers) = asking(&offices, 1);
        assert_eq!(offices.locked().len(), 1);
        answer(askers);
        assert_eq!(answers.join().unwrap(), [0]);
    }

    #[tokio::test]
    async fn callers_of_the_same_runtime_are_answered_at_once() {
        let offices = Offices::default();
        let ((one, mut first), (two, mut second)) = (offices.ask(), offices.ask());
        answer(vec![one, two]);
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(0), Ok(1)));
    }

    #[test]
    fn who_waits_in_no_task_is_answered_too() {
        let offices = Offices::default();
        let (outside, first) = offices.ask();
        // Nothing runs on this runtime but what blocks on it.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ((inside, second), (beside, third)) = runtime.block_on(async { (offices.ask(), offices.ask()) });
        answer(vec![outside, inside, beside]);
        assert_eq!([first, second, third].map(|receiver| receiver.blocking_recv()), [Ok(0), Ok(1), Ok(2)]);
    }
}
