//! What the node does itself for its way back after a partition: calls the program's callbacks, and waits for its tables.
//!
//! `Control` asks for it ([`HealRequest`]) and is told what came of it ([`HealNews`]). One thing is under way at a time: a
//! later request takes the place of one that is not answered. An exchange that is replaced ends at once; callbacks that
//! were begun go on, and are not called again for the same heal.

mod callbacks;
mod figures;

pub use self::callbacks::{HealCallbacks, HealInfo};
pub(super) use self::figures::HealFigures;

use std::sync::Arc;

use ekka_core::autoheal::{HealId, HealNews, HealRequest};
use ekka_core::id::Incarnation;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::callbacks::Step;
use crate::env::BoxFuture;
use crate::rpc::Hub;
use crate::table::{Exchanged, Tables};

/// News that may wait for the loop. Where it is full, what an exchange waits for is said a moment later.
pub(super) const NEWS_MAX: usize = 16;

/// Says what is waited for.
type Waits = Box<dyn Fn(String) + Send + Sync>;
/// Waits until this node's tables hold what these held, and are found equal with one of those.
pub(super) type Exchange =
    Arc<dyn Fn(Vec<Incarnation>, Vec<Incarnation>, Waits) -> BoxFuture<'static, Exchanged> + Send + Sync>;

/// The exchange of these tables.
pub(super) fn exchange(tables: &Arc<Tables>, hub: &Arc<Hub>) -> Exchange {
    let (tables, hub) = (tables.clone(), hub.clone());
    Arc::new(move |collected, side, waits| {
        let (tables, hub) = (tables.clone(), hub.clone());
        Box::pin(async move { tables.exchange(&hub, &collected, &side, waits).await })
    })
}

/// Carries out what `Control` asks for.
pub(super) struct Healer {
    callbacks: HealCallbacks,
    /// Of the program: its callbacks run there.
    runtime: Handle,
    exchange: Exchange,
    news: mpsc::Sender<HealNews>,
    tasks: TaskTracker,
    figures: Arc<HealFigures>,
    /// The heal that this node is on its way back in, until it comes to `reboot`.
    heal: Option<HealId>,
    /// Dropped, it ends what is under way.
    under_way: Option<AbortOnDropHandle<()>>,
}

impl Healer {
    pub(super) fn new(
        (callbacks, runtime): (HealCallbacks, Handle),
        exchange: Exchange,
        news: mpsc::Sender<HealNews>,
        (tasks, figures): (TaskTracker, Arc<HealFigures>),
    ) -> Self {
        Self { callbacks, runtime, exchange, news, tasks, figures, heal: None, under_way: None }
    }

    /// Begins what is asked for; it is in the place of what was asked for before, where that is not answered.
    pub(super) fn request(&mut self, request: HealRequest) {
        self.under_way = None;
        match request {
            HealRequest::Prepare { id } => {
                self.comes_back_in(id);
                self.call(Step::Prepare, id);
            }
            HealRequest::Reboot { id } => {
                self.heal = None;
                self.call(Step::Reboot, id);
            }
            HealRequest::Exchange { id, collected, side } => {
                self.comes_back_in(id);
                let (says, news) = (self.news.clone(), self.news.clone());
                // What is said while the loop has much to do is said again later: it changes.
                let waits = Box::new(move |text| drop(says.try_send(HealNews::Waits { id, text })));
                let exchanged = (self.exchange)(collected, side, waits);
                self.begin(async move {
                    let Exchanged { rows, overridden } = exchanged.await;
                    // The loop has ended.
                    let _ = news.send(HealNews::Exchanged { id, rows, overridden }).await;
                });
            }
            HealRequest::Drop => {}
        }
    }

    /// What was begun under another id, and did not come to its end, is begun again.
    fn comes_back_in(&mut self, id: HealId) {
        if self.heal.replace(id).is_some_and(|before| before != id) {
            self.figures.restarted();
        }
    }

    fn call(&mut self, step: Step, id: HealId) {
        let called = self.callbacks.call(step, HealInfo { heal: id }, &self.runtime, &self.tasks);
        let news = self.news.clone();
        self.begin(async move {
            let Some(failed) = called.await else { return };
            let told = match step {
                Step::Prepare => HealNews::Prepared { id, failed },
                Step::Reboot => HealNews::Rebooted { id, failed },
            };
            // The loop has ended.
            let _ = news.send(told).await;
        });
    }

    fn begin(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.under_way = Some(AbortOnDropHandle::new(self.tasks.spawn(work)));
    }
}

#[cfg(test)]
mod nodes;
#[cfg(test)]
mod tests;
