//! Comparing the tables of this node with those of its peers.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ekka_core::event::EventKind;
use ekka_core::id::{Incarnation, NodeId};
use ekka_core::table::{Cut, Digest, Revision, Vector, behind};
use tokio::time::sleep;
use tracing::debug;

use super::super::available::AvailableSlot;
use super::super::hub::Tables;
use super::super::quorum::QuorumSlot;
use super::super::slot::Slot;
use super::reach::Reach;
use super::{ABOVE_MAX, Ask, PeerVerdict, Step, TableVerdict, Told};
use crate::rpc::Hub;

/// A difference is believed when it was found so often, one after the other.
const TIMES: u32 = 3;
/// It is looked for so often where rows are forgotten meanwhile.
const TRIES: u32 = 10;
/// Why a difference that was found is not said to be one.
const FORGOTTEN: &str = "rows were deleted and forgotten while it was compared: ask again";
const PAUSE: Duration = Duration::from_millis(200);
/// How often the oldest node compares by itself; the first time somewhere within the first hour.
const EVERY: Duration = Duration::from_secs(3600);
const FIRST: Duration = Duration::from_secs(600);

/// What came of comparing a table with a peer.
pub(in crate::table) struct Found {
    /// How the peer stands.
    pub(in crate::table) step: Step,
    /// What this node's rows summed to; `None` where nothing was compared.
    pub(in crate::table) mine: Option<Digest>,
    /// What this node and the peer held at the cut, of an `available` table.
    pub(in crate::table) held: Option<(Vector, Vector)>,
    /// How far the peer was, of a `quorum` table.
    pub(in crate::table) revision: Option<Revision>,
}

impl Found {
    fn nothing(why: String) -> Self {
        Self { step: Step::NotCompared(why), mine: None, held: None, revision: None }
    }
}

/// What one comparison found.
struct Compared {
    step: Step,
    /// What this node's rows summed to in it.
    mine: Digest,
    held: Option<(Vector, Vector)>,
    revision: Option<Revision>,
    /// The peer has dropped tombstones meanwhile: a row that is only here may be one that was deleted since.
    dropped: bool,
}

/// Compares all tables every hour, where this node is the oldest that is up.
async fn keep_comparing(tables: Weak<Tables>, hub: Weak<Hub>, me: NodeId) {
    // Nodes that were started together need not compare together.
    let spread = u32::try_from(me.as_u128() % 3000).unwrap_or(0);
    sleep(FIRST + Duration::from_secs(u64::from(spread))).await;
    loop {
        {
            let (Some(tables), Some(hub)) = (tables.upgrade(), hub.upgrade()) else { return };
            if tables.view().leader == Some(me) {
                for slot in tables.slots().iter() {
                    tables.verify(&hub, slot).await;
                }
            }
        }
        sleep(EVERY).await;
    }
}

impl Tables {
    /// Compares all tables every hour, where this node is the oldest that is up.
    pub(crate) fn compare_now_and_then(self: &Arc<Self>, hub: &Arc<Hub>, me: NodeId) {
        self.while_it_runs(keep_comparing(Arc::downgrade(self), Arc::downgrade(hub), me));
    }

    /// Compares one table, or all of them. `None`: there is no such table.
    pub(crate) async fn verify_all(&self, hub: &Arc<Hub>, name: Option<&str>) -> Option<Vec<TableVerdict>> {
        let slots: Vec<Slot> = match name {
            Some(name) => vec![self.named(name)?],
            None => self.slots().to_vec(),
        };
        let mut verdicts = Vec::new();
        for slot in &slots {
            verdicts.push(self.verify(hub, slot).await);
        }
        Some(verdicts)
    }

    /// Compares a table with each peer that is up, one after the other.
    pub(in crate::table) async fn verify(&self, hub: &Arc<Hub>, slot: &Slot) -> TableVerdict {
        let schema = slot.schema();
        let mut verdict = TableVerdict {
            table: schema.name.clone(),
            kind: schema.kind,
            rows: 0,
            digest: 0,
            peers: Vec::new(),
            left_out: None,
        };
        match slot {
            Slot::Owned(_) => {
                verdict.left_out = Some("its rows are those of their owners, which go with them".into());
                return verdict;
            }
            Slot::Available(slot) if !*slot.signals.loaded().borrow() => {
                verdict.left_out = Some("this node has not got from its peers what they hold".into());
                return verdict;
            }
            Slot::Available(_) | Slot::Quorum(_) => {}
        }
        let peers = self.world.up();
        if peers.is_empty() {
            verdict.left_out = Some("no other node is up".into());
        }
        // The verdict is by the word of each peer itself; one that is not reached is said to be that.
        let reach = Reach::direct(self, hub);
        for peer in peers.iter() {
            let Some(Found { step, mine, .. }) = self.sure(&reach, slot, *peer).await else { continue };
            if let Some(digest) = mine {
                (verdict.rows, verdict.digest) = (digest.rows(), digest.whole());
            }
            let name = self.world.name_of(peer.node_id);
            verdict.peers.push(PeerVerdict { name, node: peer.node_id, step });
        }
        self.take_down(slot, &verdict);
        verdict
    }

    /// Keeps what a comparison came to, and tells people where it is the first to find a difference.
    pub(in crate::table) fn take_down(&self, slot: &Slot, verdict: &TableVerdict) {
        let Some(differs) = verdict.differs() else { return };
        if !self.verdicts.take(slot.id(), differs) {
            return;
        }
        for peer in &verdict.peers {
            if let Step::Differs { ranges } = &peer.step {
                let (table, peer) = (verdict.table.clone(), peer.name.clone());
                self.aside.tell(EventKind::TableDigestMismatch { table, peer, ranges: ranges.len() as u64 });
            }
        }
    }

    /// A comparison that finds a difference is made again: one that stays is one. `None`: the peer holds none of it.
    pub(in crate::table) async fn sure(&self, reach: &Reach<'_>, slot: &Slot, peer: Incarnation) -> Option<Found> {
        let (mut found, mut times) = (0, 0);
        loop {
            let compared = match slot {
                Slot::Available(slot) => self.compare_available(reach, slot, peer).await,
                Slot::Quorum(slot) => self.compare_quorum(reach, slot, peer).await,
                Slot::Owned(_) => Err("it is owned".into()),
            };
            let result = match compared {
                Ok(compared) => {
                    let Compared { step, mine, held, revision, dropped } = compared?;
                    found += u32::from(!dropped);
                    match step {
                        Step::Differs { .. } if dropped && times + 1 == TRIES => Found::nothing(FORGOTTEN.into()),
                        step => Found { step, mine: Some(mine), held, revision },
                    }
                }
                Err(why) => Found::nothing(why),
            };
            times += 1;
            if found == TIMES || times == TRIES || !matches!(result.step, Step::Differs { .. }) {
                return Some(result);
            }
            debug!(table = slot.schema().name, peer = %peer.node_id, step = ?result.step, "compared, and asked again");
            sleep(PAUSE).await;
        }
    }

    async fn compare_available(
        &self,
        reach: &Reach<'_>,
        slot: &Arc<AvailableSlot>,
        peer: Incarnation,
    ) -> Result<Option<Compared>, String> {
        let table = slot.id;
        let (theirs, before) = match reach.ask(peer, Ask::Held { table }).await? {
            Told::Held(theirs, dropped) => (theirs, dropped),
            other => return Err(not(other)),
        };
        let (cut, wall) = (slot.read().cut(), self.now().wall);
        let mine = cut.clone();
        let Some(above) = self.blocking(move || mine.above(&theirs, ABOVE_MAX)).await else {
            return Err(format!("more than {ABOVE_MAX} rows are on their way to it"));
        };
        let question = Ask::Available { table, held: cut.held().clone(), above: above.clone(), wall };
        let Told::Available { held, above: more, digest, dropped } = reach.sum(peer, question).await? else {
            return Err("it gave an answer of another kind".into());
        };
        let Some(more) = more else { return Err(format!("more than {ABOVE_MAX} of its rows are on their way here")) };
        let (peer, here) = (behind(cut.held(), &held), behind(&held, cut.held()));
        let both = Some((cut.held().clone(), held));
        let sum = move || {
            let without: BTreeSet<_> = above.union(&more).copied().collect();
            Cut::digest(&cut, &without, wall)
        };
        let mine: Digest = self.blocking(sum).await;
        let step = step(&mine, &digest, (peer, here));
        Ok(Some(Compared { step, mine, held: both, revision: None, dropped: dropped != before }))
    }

    async fn compare_quorum(
        &self,
        reach: &Reach<'_>,
        slot: &Arc<QuorumSlot>,
        peer: Incarnation,
    ) -> Result<Option<Compared>, String> {
        let table = slot.id;
        let (rows, history) = slot.rows_here(self.view().generation).ok_or("this node has no replica of the group")?;
        let before = rows.view();
        let question = Ask::Quorum { table, history, revision: before.revision() };
        let (revision, changed, digest) = match reach.sum(peer, question).await? {
            Told::Quorum { revision, changed, digest } => (revision, changed, digest),
            Told::NoReplica => return Ok(None),
            other => return Err(not(other)),
        };
        let (view, changed) = if revision >= before.revision() {
            (before, changed)
        } else {
            let here = rows.read();
            let changed = here.changed_after(table, revision);
            (here.view().clone(), changed.map_err(|_| "it is further behind than is kept here".to_owned())?)
        };
        let peer = view.revision().saturating_sub(revision);
        let mine = self.blocking(move || view.digest(table, &changed)).await;
        let step = step(&mine, &digest, (peer, 0));
        Ok(Some(Compared { step, mine, held: None, revision: Some(revision), dropped: false }))
    }
}

fn step(mine: &Digest, theirs: &Digest, (peer, here): (u64, u64)) -> Step {
    let ranges = mine.differing(theirs);
    match (ranges.is_empty(), peer + here) {
        (false, _) => Step::Differs { ranges },
        (true, 0) => Step::InStep,
        (true, _) => Step::Behind { peer, here },
    }
}

fn not(told: Told) -> String {
    match told {
        Told::Not(words) => words,
        Told::NotOpen => "it has not opened the table".into(),
        _ => "it gave an answer of another kind".into(),
    }
}
