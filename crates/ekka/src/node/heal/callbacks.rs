//! What the program wants to be called for when this node comes back after a partition.

use std::any::Any;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::autoheal::HealId;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::env::BoxFuture;

/// So long each callback may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a callback is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HealInfo {
    /// Which heal this node comes back in.
    pub heal: HealId,
}

/// What is called when this node comes back after a partition: `prepare` before its tables are exchanged, `reboot` once
/// they are, both while its status is `healing`. A node that all others come back to is not called.
///
/// Clones are the same registry. It can be given to a node at its start
/// ([`StartOptions::callbacks`](crate::node::StartOptions::callbacks)), and added to while the node runs; it goes with a
/// node that takes a new guid in the same process.
#[derive(Clone, Default)]
pub struct HealCallbacks(Arc<Registry>);

#[derive(Default)]
struct Registry {
    lists: Mutex<[Vec<Callback>; 2]>,
    /// The last call of each step.
    last: Mutex<[Option<Called>; 2]>,
    /// One step at a time: one that was begun goes on although another is asked for.
    turn: tokio::sync::Mutex<()>,
}

type Callback = Arc<dyn Fn(HealInfo) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A call of all callbacks of a step, and what came of it once all have ended.
struct Called {
    heal: HealId,
    failed: watch::Receiver<Option<Vec<String>>>,
}

/// Which of both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Prepare,
    Reboot,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Reboot => "reboot",
        }
    }
}

impl HealCallbacks {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls this before the tables are exchanged; after those that were added before it, each once in a heal.
    ///
    /// It runs as a task of the runtime in which the node was started, for 10 s at most; then it is dropped. One that
    /// fails, hangs or panics is told of (`heal.failed`), and holds up neither the others nor the heal.
    pub fn on_prepare<F, W, E>(&self, callback: F)
    where
        F: Fn(HealInfo) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + 'static,
    {
        self.add(Step::Prepare, callback);
    }

    /// The same once the tables are exchanged, before the node is `up`.
    pub fn on_reboot<F, W, E>(&self, callback: F)
    where
        F: Fn(HealInfo) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + 'static,
    {
        self.add(Step::Reboot, callback);
    }

    fn add<F, W, E>(&self, step: Step, callback: F)
    where
        F: Fn(HealInfo) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + 'static,
    {
        let callback: Callback = Arc::new(move |info| {
            let work = callback(info);
            Box::pin(async move { work.await.map_err(|error| error.to_string()) })
        });
        locked(&self.0.lists)[step as usize].push(callback);
    }

    /// Calls all of a step, where that was not begun for this heal; which of them failed, in words, once they have ended.
    /// `None`: nobody will say so any more. Dropping the future ends nothing.
    pub(super) fn call(
        &self,
        step: Step,
        info: HealInfo,
        runtime: &Handle,
        tasks: &TaskTracker,
    ) -> impl Future<Output = Option<Vec<String>>> + Send + use<> {
        let mut failed = {
            let mut last = locked(&self.0.last);
            match &last[step as usize] {
                Some(called) if called.heal == info.heal => called.failed.clone(),
                _ => {
                    let (done, failed) = watch::channel(None);
                    last[step as usize] = Some(Called { heal: info.heal, failed: failed.clone() });
                    let (registry, runtime) = (self.0.clone(), runtime.clone());
                    // Not on the program's runtime: were that blocked, nobody would count the time.
                    tasks.spawn(async move { done.send_replace(Some(registry.call_all(step, info, &runtime).await)) });
                    failed
                }
            }
        };
        async move { failed.wait_for(Option::is_some).await.ok()?.clone() }
    }
}

impl Registry {
    async fn call_all(&self, step: Step, info: HealInfo, runtime: &Handle) -> Vec<String> {
        let _turn = self.turn.lock().await;
        let callbacks = locked(&self.lists)[step as usize].clone();
        let (of, mut failed) = (callbacks.len(), Vec::new());
        for (number, callback) in (1..).zip(callbacks) {
            // As a task: a panic is that of the callback alone.
            let mut task = runtime.spawn(async move { callback(info).await });
            let why = match timeout(LIMIT, &mut task).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => format!("failed: {error}"),
                Ok(Err(error)) => broken_off(error),
                Err(_) => {
                    task.abort();
                    format!("did not end within {} s, and was dropped", LIMIT.as_secs())
                }
            };
            failed.push(format!("{} callback {number} of {of} {why}", step.as_str()));
        }
        failed
    }
}

fn broken_off(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("panicked: {}", words(&*panic)),
        Err(_) => "was dropped: the runtime that the node was started in has ended".to_owned(),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words").to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can leave them half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
