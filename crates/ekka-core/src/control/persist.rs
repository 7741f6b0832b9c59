//! What a node keeps on disc, and when it is written.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::publish::SETTLE_LARGE;
use super::{Control, Output, Saved, Work};
use crate::autocluster;
use crate::membership;
use crate::time::{Instant, Now};

/// Writes under way.
#[derive(Default)]
pub(super) struct Persist {
    last: u64,
    pub(super) wanted: bool,
    /// Token of this room → highest token of autocluster that it covers.
    waiting: BTreeMap<u64, u64>,
    pub(super) covers: Option<u64>,
    /// Once this write is done the node takes a new guid.
    pub(super) anew: Option<u64>,
    /// Until when a large cluster's roster waits for more changes.
    pub(super) not_before: Instant,
}

impl Persist {
    /// The token of the next write, which is wanted.
    pub(super) fn next(&mut self) -> u64 {
        self.wanted = true;
        self.last + 1
    }
}

impl Control {
    /// What is to be on disc now.
    #[must_use]
    pub fn saved(&self) -> Saved {
        // Id and roster of a new cluster go to disc in one write: a crash between two would leave an id without members.
        let present = self.membership.roster();
        let (roster, asked) = self.autocluster.entering().unwrap_or((present, false));
        let mut farewells: Vec<_> = self.membership.farewells().cloned().collect();
        // So does what is to be said to those whom an operator's word leaves behind.
        if asked && present.cluster_id != roster.cluster_id {
            farewells.extend(membership::Farewell::of(present, self.me().node_id));
        }
        farewells.retain(|farewell| Some(farewell.cluster_id) != roster.cluster_id);
        let mut formation = self.autocluster.saved().clone();
        let recovery = self.recovery.saved().cloned();
        // One write: after a crash the generation is known before the new log has begun.
        formation.generation = formation.generation.max(recovery.as_ref().map_or(0, |recovery| recovery.generation));
        Saved {
            formation,
            roster: roster.clone(),
            farewells,
            store_resets: self.store_resets,
            recovery,
            heal_number: self.heal.number(),
        }
    }

    pub(super) fn persist_if_wanted(&mut self, out: &mut Vec<Output>) {
        if !core::mem::take(&mut self.persist.wanted) {
            return;
        }
        self.persist.last += 1;
        if let Some(covers) = self.persist.covers.take() {
            self.persist.waiting.insert(self.persist.last, covers);
        }
        out.push(Output::Persist { token: self.persist.last, saved: Box::new(self.saved()) });
    }

    pub(super) fn persisted(&mut self, token: u64, now: Now, out: &mut Vec<Output>) {
        let later = self.persist.waiting.split_off(&(token + 1));
        let done = core::mem::replace(&mut self.persist.waiting, later);
        if let Some(covers) = done.into_values().next_back() {
            self.work.push_back(Work::Autocluster(autocluster::Input::Persisted { token: covers }));
        }
        self.commands_persisted(token, out);
        self.recovery_persisted(token, now, out);
        self.heal_persisted(token, now, out);
        self.begin_anew(token, now, out);
    }

    /// Whether what is to be kept can wait: a roster that others told of, while a large cluster forms. Each write holds
    /// the whole roster. What formation must have on disc before it answers never waits.
    pub(super) fn persist_can_wait(&mut self, now: Now) -> bool {
        let large = self.membership.is_large();
        if large && self.persist.wanted && self.persist.covers.is_none() && now.mono < self.persist.not_before {
            return true;
        }
        if self.persist.wanted {
            self.persist.not_before = now.mono + SETTLE_LARGE;
        }
        false
    }
}
