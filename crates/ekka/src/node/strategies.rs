//! The strategies that the loop asks, and their replacement as a whole.

use std::sync::Arc;

use ekka_core::control::Input;
use ekka_core::limits::DISCOVERY_TIMEOUT;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::driver::Own;
use super::shared::Shared;
use crate::discovery::Discovery;

/// The strategies in use.
pub(super) struct Strategies {
    list: Vec<Arc<dyn Discovery>>,
    /// Ends the rounds under way: what an old list still names must not come after what the new one does.
    replaced: CancellationToken,
}

impl Strategies {
    pub(super) fn new(list: Vec<Arc<dyn Discovery>>) -> Self {
        Self { list, replaced: CancellationToken::new() }
    }

    /// Asks all of them; each answer comes as an input.
    pub(super) fn ask(&self, to: &mpsc::Sender<Own>, shared: &Arc<Shared>) {
        for strategy in &self.list {
            let task = discover(strategy.clone(), to.clone(), shared.clone());
            shared.tasks.spawn(self.replaced.clone().run_until_cancelled_owned(task));
        }
    }

    /// Takes another list. What this node left in a backend that is asked no more is taken out of it.
    pub(super) fn replace(&mut self, list: Vec<Arc<dyn Discovery>>, shared: &Arc<Shared>) {
        let old = std::mem::replace(self, Self::new(list));
        old.replaced.cancel();
        let stays = |strategy: &Arc<dyn Discovery>| self.list.iter().any(|new| new.name() == strategy.name());
        let gone: Vec<_> = old.list.into_iter().filter(|strategy| !stays(strategy)).collect();
        shared.forget_strategies(gone.iter().map(|strategy| strategy.name()));
        shared.tasks.spawn(unregister(gone));
    }

    /// Takes this node's entries out of all backends.
    pub(super) async fn unregister(&self) {
        unregister(self.list.clone()).await;
    }
}

async fn unregister(list: Vec<Arc<dyn Discovery>>) {
    for strategy in list {
        if let Err(err) = strategy.unregister().await {
            warn!(strategy = strategy.name(), err, "this node's entry could not be taken out");
        }
    }
}

async fn discover(strategy: Arc<dyn Discovery>, to: mpsc::Sender<Own>, shared: Arc<Shared>) {
    let result = match tokio::time::timeout(DISCOVERY_TIMEOUT, strategy.discover()).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", DISCOVERY_TIMEOUT.as_secs())),
    };
    shared.discovered(strategy.name(), &result);
    let found = Input::Discovered { strategy: strategy.name().to_owned(), result };
    // Nobody listens any more only where the node has ended.
    let _ = to.send(Own::Input(found)).await;
}
