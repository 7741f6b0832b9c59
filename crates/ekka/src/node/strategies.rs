//! The strategies that the loop asks, what ties them to the node, and their replacement as a whole.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::autocluster::{Proposal, Registration, SourceList};
use ekka_core::control::Input;
use ekka_core::limits::{DISCOVERY_TIMEOUT, NEWS_INTERVAL};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::driver::Own;
use super::shared::Shared;
use crate::discovery::{Attachment, Discovery, Found};

/// How long taking an entry out of one backend may hold up this node's end.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// The strategies in use.
pub(super) struct Strategies {
    list: Vec<Arc<dyn Discovery>>,
    number: SourceList,
    to: mpsc::Sender<Own>,
    shared: Arc<Shared>,
    registration: watch::Sender<Registration>,
    use_of: Use,
    /// Takes the entries of the list before out.
    clearing: Option<JoinHandle<()>>,
}

/// One list in use: its tasks, and the word that ends them. What an old list still names must not come after what the
/// new one does, and its entry in a backend must not come back after it was taken out.
#[derive(Default)]
struct Use {
    ended: CancellationToken,
    tasks: TaskTracker,
}

impl Use {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = task => {}
            }
        });
    }

    async fn end(self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Strategies {
    pub(super) fn new(list: Vec<Arc<dyn Discovery>>, to: mpsc::Sender<Own>, shared: Arc<Shared>) -> Self {
        let registration = watch::Sender::default();
        let number = SourceList::default();
        let strategies = Self { list, number, to, shared, registration, use_of: Use::default(), clearing: None };
        let cleared = CancellationToken::new();
        cleared.cancel();
        strategies.attach(&cleared);
        strategies
    }

    /// Begins what goes on beside the rounds, once that is cleared.
    fn attach(&self, cleared: &CancellationToken) {
        for strategy in &self.list {
            let news = Arc::new(Notify::new());
            let node = Attachment { registration: self.registration.subscribe(), news: news.clone() };
            let (running, cleared) = (strategy.clone(), cleared.clone());
            self.use_of.spawn(async move {
                cleared.cancelled_owned().await;
                running.run(node).await;
            });
            self.use_of.spawn(listen(news, self.asker(strategy)));
        }
    }

    /// Asks all of them; each answer comes as an input.
    pub(super) fn ask(&self) {
        for strategy in &self.list {
            let asker = self.asker(strategy);
            self.use_of.spawn(async move { asker.ask().await });
        }
    }

    fn asker(&self, strategy: &Arc<dyn Discovery>) -> Asker {
        let (strategy, list) = (strategy.clone(), self.number);
        Asker { strategy, list, to: self.to.clone(), shared: self.shared.clone() }
    }

    /// The number of the list in use.
    pub(super) fn number(&self) -> SourceList {
        self.number
    }

    /// What backends are to know from now on.
    pub(super) fn register(&self, registration: Registration) {
        self.registration.send_replace(registration);
    }

    /// Offers a value to the backend that decides; the answer comes as an input.
    pub(super) fn claim(&self, offer: Proposal) {
        self.use_of.spawn(claim(self.list.clone(), self.number, offer, self.to.clone()));
    }

    /// Takes another list. What this node left in the backends of the old one is taken out before the new one begins,
    /// or the new entries could be taken out instead.
    pub(super) fn replace(&mut self, list: Vec<Arc<dyn Discovery>>) {
        let old = std::mem::replace(&mut self.list, list);
        self.number = self.number.next();
        let before = std::mem::take(&mut self.use_of);
        before.ended.cancel();
        let stays = |strategy: &&Arc<dyn Discovery>| self.list.iter().any(|new| new.name() == strategy.name());
        let gone = old.iter().filter(|strategy| !stays(strategy)).map(|strategy| strategy.name());
        self.shared.exchanged_strategies(self.number, gone);
        let cleared = CancellationToken::new();
        self.attach(&cleared);
        // Whatever becomes of the old list, the new one begins.
        let cleared = cleared.drop_guard();
        let earlier = self.clearing.take();
        self.clearing = Some(self.shared.tasks.spawn(async move {
            wait_for(earlier).await;
            before.end().await;
            unregister(old).await;
            drop(cleared);
        }));
    }

    /// Ends all of it and takes this node's entries out of all backends.
    pub(super) async fn unregister(&mut self) {
        let list = self.end().await;
        unregister(list).await;
    }

    /// Ends all of it, and gives the strategies back; the entries in backends stay.
    pub(super) async fn end(&mut self) -> Vec<Arc<dyn Discovery>> {
        std::mem::take(&mut self.use_of).end().await;
        // A reload just before may still be taking an entry out.
        wait_for(self.clearing.take()).await;
        std::mem::take(&mut self.list)
    }
}

async fn wait_for(clearing: Option<JoinHandle<()>>) {
    if let Some(clearing) = clearing {
        // An error is that it panicked, which is in the log.
        let _ = clearing.await;
    }
}

/// Each takes its own entry out; one that hangs or panics holds no other up, nor this node's end.
async fn unregister(list: Vec<Arc<dyn Discovery>>) {
    let mut under_way = tokio::task::JoinSet::new();
    for strategy in list {
        under_way.spawn(async move {
            let taken_out = tokio::time::timeout(UNREGISTER_TIMEOUT, strategy.unregister()).await;
            let late = || format!("no answer within {} s", UNREGISTER_TIMEOUT.as_secs());
            if let Err(err) = taken_out.unwrap_or_else(|_| Err(late())) {
                warn!(strategy = strategy.name(), err, "this node's entry could not be taken out");
            }
        });
    }
    while let Some(ended) = under_way.join_next().await {
        if let Err(err) = ended {
            error!(%err, "taking an entry out broke off");
        }
    }
}

/// One who asks one strategy of one list.
struct Asker {
    strategy: Arc<dyn Discovery>,
    list: SourceList,
    to: mpsc::Sender<Own>,
    shared: Arc<Shared>,
}

impl Asker {
    async fn ask(&self) {
        let strategy = &self.strategy;
        let result = match tokio::time::timeout(DISCOVERY_TIMEOUT, strategy.discover()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", DISCOVERY_TIMEOUT.as_secs())),
        };
        self.shared.discovered(self.list, strategy.name(), &result, strategy.ignored());
        let result = result.map(Found::into_answer);
        let found = Input::Discovered { list: self.list, strategy: strategy.name().to_owned(), result };
        // Nobody listens any more only where the node has ended.
        let _ = self.to.send(Own::Input(found)).await;
    }
}

/// Asks a strategy when it says that there is news, not more often than that is worth it.
async fn listen(news: Arc<Notify>, asker: Asker) {
    loop {
        news.notified().await;
        asker.ask().await;
        tokio::time::sleep(NEWS_INTERVAL).await;
    }
}

/// Asks each strategy whether its backend decides; the first that does has the word.
async fn claim(strategies: Vec<Arc<dyn Discovery>>, list: SourceList, offer: Proposal, to: mpsc::Sender<Own>) {
    let asked = async {
        for strategy in strategies {
            match strategy.claim(&offer).await {
                Ok(None) => {}
                Ok(Some(holds)) => return Ok(Box::new(holds)),
                Err(error) => return Err(error),
            }
        }
        Err("no strategy in use has a backend that decides".to_owned())
    };
    let late = |_| Err(format!("no answer within {} s", DISCOVERY_TIMEOUT.as_secs()));
    let result = tokio::time::timeout(DISCOVERY_TIMEOUT, asked).await.unwrap_or_else(late);
    let _ = to.send(Own::Input(Input::Claimed { list, result })).await;
}

#[cfg(test)]
mod tests;
