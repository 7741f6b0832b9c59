//! The strategies that the loop asks, what ties them to the node, and their replacement as a whole.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::autocluster::{Proposal, Registration};
use ekka_core::control::Input;
use ekka_core::limits::{DISCOVERY_TIMEOUT, NEWS_INTERVAL};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::driver::Own;
use super::shared::Shared;
use crate::discovery::{Attachment, Discovery, Found};

/// How long taking an entry out of one backend may hold up this node's end.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// The strategies in use.
pub(super) struct Strategies {
    list: Vec<Arc<dyn Discovery>>,
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
        self.tasks.spawn(self.ended.clone().run_until_cancelled_owned(task));
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
        let strategies = Self { list, to, shared, registration, use_of: Use::default(), clearing: None };
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
            self.use_of.spawn(listen(news, strategy.clone(), self.to.clone(), self.shared.clone()));
        }
    }

    /// Asks all of them; each answer comes as an input.
    pub(super) fn ask(&self) {
        for strategy in &self.list {
            self.use_of.spawn(discover(strategy.clone(), self.to.clone(), self.shared.clone()));
        }
    }

    /// What backends are to know from now on.
    pub(super) fn register(&self, registration: Registration) {
        self.registration.send_replace(registration);
    }

    /// Offers a value to the backend that decides; the answer comes as an input.
    pub(super) fn claim(&self, offer: Proposal) {
        self.use_of.spawn(claim(self.list.clone(), offer, self.to.clone()));
    }

    /// Takes another list. What this node left in the backends of the old one is taken out before the new one begins,
    /// or the new entries could be taken out instead.
    pub(super) fn replace(&mut self, list: Vec<Arc<dyn Discovery>>) {
        let old = std::mem::replace(&mut self.list, list);
        let before = std::mem::take(&mut self.use_of);
        let stays = |strategy: &&Arc<dyn Discovery>| self.list.iter().any(|new| new.name() == strategy.name());
        self.shared.forget_strategies(old.iter().filter(|strategy| !stays(strategy)).map(|strategy| strategy.name()));
        let cleared = CancellationToken::new();
        self.attach(&cleared);
        let earlier = self.clearing.take();
        self.clearing = Some(self.shared.tasks.spawn(async move {
            wait_for(earlier).await;
            before.end().await;
            unregister(old).await;
            cleared.cancel();
        }));
    }

    /// Ends all of it and takes this node's entries out of all backends.
    pub(super) async fn unregister(&mut self) {
        std::mem::take(&mut self.use_of).end().await;
        // A reload just before may still be taking an entry out.
        wait_for(self.clearing.take()).await;
        unregister(self.list.clone()).await;
    }
}

async fn wait_for(clearing: Option<JoinHandle<()>>) {
    if let Some(clearing) = clearing {
        // An error is that it panicked, which is in the log.
        let _ = clearing.await;
    }
}

/// Each takes its own entry out; one that hangs holds no other up, nor this node's end.
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
    under_way.join_all().await;
}

/// Asks a strategy when it says that there is news, not more often than that is worth it.
async fn listen(news: Arc<Notify>, strategy: Arc<dyn Discovery>, to: mpsc::Sender<Own>, shared: Arc<Shared>) {
    loop {
        news.notified().await;
        discover(strategy.clone(), to.clone(), shared.clone()).await;
        tokio::time::sleep(NEWS_INTERVAL).await;
    }
}

async fn discover(strategy: Arc<dyn Discovery>, to: mpsc::Sender<Own>, shared: Arc<Shared>) {
    let result = match tokio::time::timeout(DISCOVERY_TIMEOUT, strategy.discover()).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", DISCOVERY_TIMEOUT.as_secs())),
    };
    shared.discovered(strategy.name(), &result);
    shared.ignored(strategy.name(), strategy.ignored());
    let result = result.map(Found::into_answer);
    let found = Input::Discovered { strategy: strategy.name().to_owned(), result };
    // Nobody listens any more only where the node has ended.
    let _ = to.send(Own::Input(found)).await;
}

/// Asks each strategy whether its backend decides; the first that does has the word.
async fn claim(list: Vec<Arc<dyn Discovery>>, offer: Proposal, to: mpsc::Sender<Own>) {
    let asked = async {
        for strategy in list {
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
    let _ = to.send(Own::Input(Input::Claimed(result))).await;
}
