//! What this node held in a table when it was taken out of the cluster, or its cluster went into another one: given to one
//! node, which decides for all; then the table takes a full copy from that node, and what was held before is discarded.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::id::Incarnation;
use ekka_core::schema::{Schema, Shape, Storage};
use ekka_core::table::{Estate, Event, Message, Table};
use ekka_core::time::{Instant, Now};
use tracing::{debug, info};

use super::available::AvailableSlot;
use super::disc::Key;

/// A judge that is not linked for so long is given up, and another one is asked. It decides alone: what it has decided
/// already is the same for the next one, or in the journal of both.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is left of a table for others.
pub(super) struct Legacy {
    /// Which table it was.
    pub(super) key: Key,
    pub(super) schema: Schema,
    pub(super) estate: Estate,
    /// Where it is on disc.
    pub(super) turn: Option<u32>,
}

/// One that is being given by the table that goes on.
pub(super) struct Heir {
    legacy: Legacy,
    /// The next message of it; the others come after the judge has answered.
    offer: Option<Message>,
    /// Since when the judge is not linked.
    lost: Option<Instant>,
    /// The copy of the judge is in, up to this place of the log.
    landed: Option<u64>,
}

/// Whether keys of such a table hold who wrote them.
pub(super) fn has_parts(schema: &Schema) -> bool {
    schema.shape == Shape::Bag || !matches!(schema.merge, ekka_core::schema::MergeRule::LastWriter)
}

/// Whether rows of one table can be rows of the other.
pub(super) fn fits(ours: &Schema, theirs: &Schema) -> bool {
    (ours.kind, ours.shape, ours.merge, &ours.codec) == (theirs.kind, theirs.shape, theirs.merge, &theirs.codec)
}

impl AvailableSlot {
    fn heirs(&self) -> MutexGuard<'_, Vec<Heir>> {
        // Nothing that holds this lock can leave it half-changed.
        self.heirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has this given to somebody.
    pub(super) fn inherit(&self, legacy: Legacy) {
        info!(
            table = self.schema.name,
            versions = legacy.estate.versions(),
            "what this node held before is given to a member"
        );
        self.heirs().push(Heir { legacy, offer: None, lost: None, landed: None });
    }

    /// Whether there is something that is not given yet.
    pub(super) fn has_estate(&self) -> bool {
        !self.heirs().is_empty()
    }

    /// How many versions only this node may have, as nobody has judged them yet.
    pub(super) fn estate_versions(&self) -> u64 {
        self.heirs().iter().map(|heir| heir.legacy.estate.versions() as u64).sum()
    }

    /// The table ends before all was given.
    pub(super) fn disinherit(&self) -> Vec<Legacy> {
        self.heirs().drain(..).map(|heir| heir.legacy).collect()
    }

    /// What is done: others have it, and this node has what they have.
    pub(super) fn given(&self) -> Vec<Legacy> {
        let synced = {
            let table = self.read();
            let on_disc = self.schema.storage == Storage::Disc;
            move |at: u64| !on_disc || table.is_synced(at)
        };
        let is_done = |heir: &mut Heir| heir.landed.is_some_and(&synced);
        self.heirs().extract_if(.., is_done).map(|heir| heir.legacy).collect()
    }

    /// To whom something of it is to be sent now.
    pub(super) fn estate_goes_to(&self) -> Option<Incarnation> {
        let heirs = self.heirs();
        let heir = heirs.iter().find(|heir| heir.landed.is_none())?;
        heir.legacy.estate.judge()
    }

    /// Finds a judge where there is none, and asks again.
    pub(super) fn tend_estate(&self, table: &mut Table, now: Now) {
        let mut heirs = self.heirs();
        let Some(heir) = heirs.iter_mut().find(|heir| heir.landed.is_none()) else { return };
        let linked = |judge: Incarnation| table.connected().any(|peer| peer == judge);
        if heir.legacy.estate.judge().is_some_and(linked) {
            heir.lost = None;
            heir.offer = heir.legacy.estate.tick(table, now).or(heir.offer.take());
            return;
        }
        let lost = *heir.lost.get_or_insert(now.mono);
        let runs = |judge: Incarnation| self.world.running().contains(&judge);
        if heir.legacy.estate.judge().is_some_and(runs) && now.mono.since(lost) < PATIENCE {
            return;
        }
        // One that has all, and has said what it holds: so this node's clock is above its.
        let fit = |peer: &&Incarnation| self.has_loaded(**peer) && table.is_abreast_of(**peer).is_some();
        let Some(judge) = self.world.up().iter().find(fit).copied() else { return };
        debug!(table = self.schema.name, peer = %judge.node_id, "what this node held before is offered");
        (heir.lost, heir.offer) = (None, Some(heir.legacy.estate.offer(judge)));
    }

    /// A link is there again: what was sent on the last one may not have come.
    pub(super) fn offer_again(&self, peer: Incarnation) {
        for heir in self.heirs().iter_mut().filter(|heir| heir.landed.is_none()) {
            if heir.legacy.estate.judge() == Some(peer) {
                heir.offer = Some(heir.legacy.estate.offer(peer));
            }
        }
    }

    /// An answer of the judge may have come.
    pub(super) fn estate_hears(&self, peer: Incarnation, message: &Message, table: &mut Table, now: Now) {
        if matches!(message, Message::EstateWanted { .. } | Message::EstateTaken { .. } | Message::NotNow)
            && let Some(heir) = self.heirs().iter_mut().find(|heir| heir.landed.is_none())
        {
            heir.legacy.estate.receive(peer, message, table, now);
        }
    }

    /// The next message of it for a peer, for the lane of bulk data.
    pub(super) fn poll_estate(&self, peer: Incarnation) -> Option<Message> {
        let mut heirs = self.heirs();
        let heir = heirs.iter_mut().find(|heir| heir.landed.is_none())?;
        let is_judge = heir.legacy.estate.judge() == Some(peer);
        is_judge.then(|| heir.offer.take().or_else(|| heir.legacy.estate.poll())).flatten()
    }

    /// Something happened to the table that may be the end of it; `at` is how far its log goes.
    pub(super) fn estate_sees(&self, event: &Event, at: u64) {
        if let Some(heir) = self.heirs().iter_mut().find(|heir| heir.landed.is_none())
            && heir.legacy.estate.is_done_by(event)
        {
            info!(table = self.schema.name, "what this node held before is given, and the judge's copy is in");
            heir.landed = Some(at);
        }
    }
}
