//! Whether a table is found equal with a node of the side.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::Incarnation;
use ekka_core::schema::{Kind, Storage};
use ekka_core::table::{Revision, Vector};
use ekka_core::view::View;
use tokio::time::Instant;

use super::super::available::AvailableSlot;
use super::super::digest::{Found, PeerVerdict, Step, TableVerdict};
use super::super::quorum::QuorumSlot;
use super::super::slot::Slot;
use super::collect::Collected;
use super::{Heal, Wait};

/// After a comparison that did not find a table equal the next one waits for so long at first, and longer each time: it
/// goes through all rows on both nodes.
const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// The comparisons of one table in one heal.
#[derive(Default)]
pub(super) struct Attempts {
    /// Not before then, as this was found.
    next: Option<(Instant, String)>,
    failed: u32,
    /// What a node of the side had applied when it was asked first, in this history.
    wanted: Option<(String, Revision)>,
}

impl Attempts {
    fn check(&self) -> Result<(), Wait> {
        match &self.next {
            Some((next, why)) if Instant::now() < *next => Err(Wait::Node(why.clone())),
            _ => Ok(()),
        }
    }

    fn failed(&mut self, why: String) -> Wait {
        let pause = AGAIN.saturating_mul(1 << self.failed.min(8)).min(AGAIN_MAX);
        self.failed += 1;
        self.next = Some((Instant::now() + pause, why.clone()));
        Wait::Node(why)
    }
}

impl Heal<'_> {
    /// Finds an `available` table equal with a node of the side, at a cut where both hold all that is wanted.
    pub(super) async fn find_equal(
        &self,
        slot: &Arc<AvailableSlot>,
        collected: &Collected,
        attempts: &mut Attempts,
    ) -> Result<(), Wait> {
        let lacking = collected.lacking(&slot.read().all_held());
        let table = &slot.schema.name;
        if lacking > 0 {
            return Err(Wait::Rows(format!("table {table}: {lacking} operations of others are on their way")));
        }
        attempts.check()?;
        let mut failed = Vec::new();
        for peer in &self.reach.nearest_first(&self.side) {
            let name = self.tables.world.name_of(peer.node_id);
            match self.lacks(slot, collected, *peer).await {
                Ok(0) => {}
                Ok(lacking) => {
                    failed.push(format!("{name} has not got {lacking} operations yet"));
                    continue;
                }
                Err(why) => {
                    failed.push(format!("{name}: {why}"));
                    continue;
                }
            }
            let Some(found) = self.compare(&Slot::Available(slot.clone()), *peer).await else { continue };
            match judge(collected, &found) {
                Ok(()) => return Ok(()),
                Err(NotEqual::Differs(ranges)) => {
                    failed = vec![differs(&name, ranges)];
                    break;
                }
                Err(NotEqual::NotSure(why)) => failed.push(format!("{name}: {why}")),
            }
        }
        if self.side.is_empty() {
            return Ok(());
        }
        Err(attempts.failed(format!("table {table}: {}", failed.join(", "))))
    }

    /// Waits for the replica that a `quorum` table is in, as long as its group has a majority.
    pub(super) async fn catch_up(&self, slot: &Arc<QuorumSlot>, attempts: &mut Attempts) -> Result<(), Wait> {
        let view = self.tables.view();
        let Some((rows, history)) = slot.rows_here(view.generation) else { return Ok(()) };
        if !has_majority(&view, slot.schema.storage) {
            return Ok(());
        }
        attempts.check()?;
        if attempts.wanted.as_ref().is_some_and(|(of, _)| *of != history) {
            attempts.wanted = None;
        }
        let mut failed = None;
        for peer in &self.reach.nearest_first(&self.side) {
            let name = self.tables.world.name_of(peer.node_id);
            let applied = rows.view().revision();
            // One without a replica has nothing to compare with.
            let Some(found) = self.compare(&Slot::Quorum(slot.clone()), *peer).await else { continue };
            if let (None, Some(theirs)) = (&attempts.wanted, found.revision) {
                attempts.wanted = Some((history.clone(), theirs));
            }
            let why = match (&found.step, &attempts.wanted) {
                (Step::NotCompared(why), _) => format!("{name}: {why}"),
                (Step::Differs { ranges }, _) => differs(&name, ranges.len()),
                (_, Some((_, wanted))) if applied < *wanted => "what others have applied is on its way".into(),
                _ => return Ok(()),
            };
            failed.get_or_insert(why);
        }
        let Some(why) = failed else { return Ok(()) };
        Err(attempts.failed(format!("table {}: {why}", slot.schema.name)))
    }

    /// Compares, and takes down what came of it. `None`: there is nothing to compare with.
    async fn compare(&self, slot: &Slot, peer: Incarnation) -> Option<Found> {
        let found = self.tables.sure(&self.reach, slot, peer).await?;
        let (name, node, step) = (self.tables.world.name_of(peer.node_id), peer.node_id, found.step.clone());
        let kind: Kind = slot.schema().kind;
        let peers = vec![PeerVerdict { name, node, step }];
        let (rows, digest) = found.mine.as_ref().map_or((0, 0), |mine| (mine.rows(), mine.whole()));
        let verdict = TableVerdict { table: slot.schema().name.clone(), kind, rows, digest, peers, left_out: None };
        self.tables.take_down(slot, &verdict);
        Some(found)
    }
}

/// Why a comparison does not say that a table is healed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotEqual {
    /// What both hold is not equal, in so many ranges.
    Differs(usize),
    /// It does not say enough; why.
    NotSure(String),
}

/// Whether a comparison says that a table is healed: both held what is wanted at that cut, and every range is equal.
pub(super) fn judge(collected: &Collected, found: &Found) -> Result<(), NotEqual> {
    let not_sure = |why: &str| Err(NotEqual::NotSure(why.into()));
    match (&found.step, &found.held) {
        (Step::NotCompared(why), _) => not_sure(why),
        (Step::Differs { ranges }, _) => Err(NotEqual::Differs(ranges.len())),
        (Step::InStep | Step::Behind { .. }, None) => not_sure("it is not known what was compared"),
        (Step::InStep | Step::Behind { .. }, Some((mine, theirs))) => {
            let covers = |held: &Vector| collected.lacking(held) == 0;
            if covers(mine) && covers(theirs) { Ok(()) } else { not_sure("operations are on their way") }
        }
    }
}

fn differs(name: &str, ranges: usize) -> String {
    format!("its rows are not those of {name}, in {ranges} of 256 ranges of keys")
}

/// Whether the group that tables of a storage are in has a majority, as this node sees it.
fn has_majority(view: &View, storage: Storage) -> bool {
    let runs = |node: &&ekka_core::id::NodeId| view.member(**node).is_some_and(|member| member.status.is_running());
    let voters = &view.volatile.voters;
    view.quorum.holds()
        && match storage {
            Storage::Disc => true,
            Storage::Ram => voters.iter().filter(runs).count() > voters.len() / 2,
        }
}
