//! The way back of this node's tables after a partition: it holds all that others held when that began, and each table is
//! found equal with a node of the side that everybody comes back to.
//!
//! **What is waited for.** Tables exchange what the other lacks whenever two nodes meet, so nothing is pulled here. Of an
//! `available` table every node of the heal is asked once what it holds (`collect`); then it is waited until this node
//! has all of that, and a comparison at a cut finds a node of the side that has it as well, and the same rows (`equal`).
//! A `quorum` table is waited for as long as its group has a majority, and comes back with it later. The rows of `owned` ones
//! are those of their owners, which show them again by being up.
//!
//! **Cancelling.** Dropping the future stops it; it has changed nothing but what was counted and said.

mod collect;
mod count;
mod equal;

pub(in crate::table) use self::count::Sights;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::view::{Role, View};
use tokio::time::{Instant, sleep};

use self::collect::Collected;
use self::equal::Attempts;
use super::digest::{Ask, Reach, Told};
use super::hub::Tables;
use super::slot::Slot;
use crate::rpc::Hub;

/// Until it is looked at again who has answered, and what has come.
const PAUSE: Duration = Duration::from_millis(250);
/// The same while only rows are waited for that are on their way.
const SHORT: Duration = Duration::from_millis(50);
/// How often it is said what is waited for.
const SAY: Duration = Duration::from_secs(1);
/// Of so many things that are waited for each is said; of more, how many.
const SAID_MAX: usize = 3;

/// What came by an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Exchanged {
    /// Operations of others that came since they were met again.
    pub(crate) rows: u64,
    /// Versions that lost to one whose writer had not seen them meanwhile.
    pub(crate) overridden: u64,
}

/// Why a table is not healed yet.
enum Wait {
    /// Rows are on their way.
    Rows(String),
    /// Somebody has not answered, or is not where it has to be.
    Node(String),
}

impl Wait {
    fn text(&self) -> &str {
        match self {
            Self::Rows(text) | Self::Node(text) => text,
        }
    }
}

impl Tables {
    /// Waits until this node holds all that these nodes hold now, and each table is found equal with a node of the side;
    /// says meanwhile what it waits for. *Cancel safe.*
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        hub: &Arc<Hub>,
        collected: &[Incarnation],
        side: &[Incarnation],
        waits: impl Fn(String) + Send + Sync,
    ) -> Exchanged {
        let view = self.view();
        if is_witness(&view, view.me.node_id) {
            return Exchanged::default();
        }
        let holders = |nodes: &[Incarnation]| -> Vec<Incarnation> {
            let others = nodes.iter().copied().filter(|node| node.node_id != view.me.node_id);
            others.filter(|node| !is_witness(&view, node.node_id)).collect()
        };
        let (collected, side) = (holders(collected), holders(side));
        let heal = Heal { tables: self, reach: Reach::by_others(self, hub), collected, side };
        heal.run(Saying::new(waits)).await
    }
}

/// A witness holds no tables.
fn is_witness(view: &View, node: NodeId) -> bool {
    view.member(node).is_some_and(|member| member.role == Role::Witness)
}

/// What an exchange goes by.
struct Heal<'a> {
    tables: &'a Arc<Tables>,
    reach: Reach<'a>,
    /// The others that may hold something.
    collected: Vec<Incarnation>,
    /// Those to compare with.
    side: Vec<Incarnation>,
}

/// One table on its way.
struct Job {
    slot: Slot,
    collected: Collected,
    attempts: Attempts,
    done: bool,
}

impl Heal<'_> {
    async fn run(&self, mut saying: Saying<impl Fn(String) + Send + Sync>) -> Exchanged {
        let mut jobs = BTreeMap::new();
        let mut opened = false;
        loop {
            self.follow(&mut jobs);
            let mut waits = Vec::new();
            // Who has not answered for one table is not waited for again for the next ones.
            let mut silent = BTreeSet::new();
            for job in jobs.values_mut().filter(|job| !job.done) {
                match self.step(job, &mut silent).await {
                    Ok(()) => job.done = true,
                    Err(wait) => waits.push(wait),
                }
            }
            if waits.is_empty() && !opened {
                match self.all_opened().await {
                    Ok(()) => opened = true,
                    Err(wait) => waits.push(wait),
                }
            }
            // What was opened meanwhile has its turn as well.
            if waits.is_empty() && self.tables.slots().iter().all(|slot| jobs.contains_key(&slot.id())) {
                return self.finish(&jobs);
            }
            saying.say(&waits);
            let rows_only = waits.iter().all(|wait| matches!(wait, Wait::Rows(_)));
            sleep(if rows_only { SHORT } else { PAUSE }).await;
        }
    }

    /// Takes up what is open here, and lets go of what is no more.
    fn follow(&self, jobs: &mut BTreeMap<u64, Job>) {
        let open = self.tables.slots();
        jobs.retain(|id, job| open.iter().any(|slot| slot.id() == *id) && !job.slot.is_closed());
        for slot in &*open {
            jobs.entry(slot.id()).or_insert_with(|| Job {
                slot: slot.clone(),
                collected: Collected::new(slot),
                attempts: Attempts::default(),
                done: false,
            });
        }
    }

    async fn step(&self, job: &mut Job, silent: &mut BTreeSet<Incarnation>) -> Result<(), Wait> {
        match &job.slot {
            Slot::Available(slot) => {
                if !slot.signals.is_loaded() {
                    let why = slot.waits().unwrap_or_else(|| "it has not got what its peers hold".into());
                    return Err(Wait::Node(format!("table {}: {why}", slot.schema.name)));
                }
                self.collect(slot, &mut job.collected, silent).await?;
                self.find_equal(slot, &job.collected, &mut job.attempts).await
            }
            Slot::Quorum(slot) => self.catch_up(slot, &mut job.attempts).await,
            Slot::Owned(_) => Ok(()),
        }
    }

    /// Whether this node has opened what a node of the side has: tables that were made while it was cut off. Without a
    /// majority it may never hear of them.
    async fn all_opened(&self) -> Result<(), Wait> {
        let mut failed = None;
        for peer in &self.reach.nearest_first(&self.side) {
            if !self.tables.view().quorum.holds() {
                return Ok(());
            }
            let name = || self.tables.world.name_of(peer.node_id);
            match self.reach.ask(*peer, Ask::Open).await {
                Ok(Told::Open(theirs)) => {
                    let lacking = theirs.iter().filter(|id| self.tables.slot(**id).is_none()).count();
                    let text = || format!("{lacking} tables that {} has are not open here yet", name());
                    return if lacking == 0 { Ok(()) } else { Err(Wait::Node(text())) };
                }
                Ok(Told::Not(why)) | Err(why) => {
                    failed.get_or_insert_with(|| format!("{} does not say what tables it has: {why}", name()));
                }
                Ok(_) => {}
            }
        }
        failed.map_or(Ok(()), |text| Err(Wait::Node(text)))
    }

    fn finish(&self, jobs: &BTreeMap<u64, Job>) -> Exchanged {
        let side: BTreeSet<NodeId> = self.side.iter().map(|node| node.node_id).collect();
        let mut exchanged = Exchanged::default();
        for job in jobs.values() {
            let Slot::Available(slot) = &job.slot else { continue };
            let count = job.collected.count(slot, &side);
            slot.figures.healed(count.taken, count.given);
            slot.sights.forget(self.collected.iter().map(|node| node.node_id));
            exchanged.rows = exchanged.rows.saturating_add(count.taken);
            exchanged.overridden = exchanged.overridden.saturating_add(count.overridden);
        }
        exchanged
    }
}

/// Says what is waited for, when that is another thing than before and not too often.
struct Saying<W> {
    waits: W,
    last: String,
    since: Option<Instant>,
}

impl<W: Fn(String)> Saying<W> {
    fn new(waits: W) -> Self {
        Self { waits, last: String::new(), since: None }
    }

    fn say(&mut self, waits: &[Wait]) {
        let mut texts: Vec<&str> = waits.iter().take(SAID_MAX).map(Wait::text).collect();
        let more = format!("{} more", waits.len().saturating_sub(SAID_MAX));
        if waits.len() > SAID_MAX {
            texts.push(&more);
        }
        let text = texts.join("; ");
        let is_due = self.since.is_none_or(|since| since.elapsed() >= SAY);
        if !text.is_empty() && text != self.last && is_due {
            (self.waits)(text.clone());
            (self.last, self.since) = (text, Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests;
