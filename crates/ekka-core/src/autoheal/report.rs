//! What a node tells of itself: to those whom it had declared down, to the leader, and to a leader that looks.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::member::{Step, Under};
use super::room::Healing;
use super::{HealId, Message, Output, Sight};
use crate::id::{Incarnation, NodeId};
use crate::limits::{
    FULL_MESH_MAX, HEAL_LOOK_AGAIN, HEAL_LOOK_RETRY, HEAL_LOOK_SHOWN, HEAL_PARTED_RETRY, HEAL_RETRY, HEAL_SIGHT_PAUSE,
    HEAL_SIGHT_PAUSE_LARGE, HEAL_WATCHES_MAX,
};
use crate::time::{Instant, Now};

/// Stands for a view: while it is the same the view is. To make the view costs a pass over all members.
pub(super) type Mark = (u64, u64, HealId, HealId, Option<HealId>);

/// The latest look of a leader at this node. While nodes meet again several take themselves for the leader, each until it has
/// met an older one.
pub(super) struct Watch {
    number: u64,
    pub(super) until: Instant,
    said: Sight,
    /// What that was made of.
    pub(super) mark: Mark,
    pub(super) next: Instant,
}

impl Healing {
    pub(super) fn looked_at(
        &mut self,
        from: Incarnation,
        (number, once): (u64, bool),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if !self.active {
            return;
        }
        let said = self.sight();
        let (until, next) = (now.mono + HEAL_LOOK_SHOWN, now.mono + self.sight_pause());
        if !once {
            if self.watched.len() >= HEAL_WATCHES_MAX && !self.watched.contains_key(&from.node_id) {
                let oldest = self.watched.iter().min_by_key(|(_, watch)| watch.until).map(|(leader, _)| *leader);
                oldest.and_then(|oldest| self.watched.remove(&oldest));
            }
            let watch = Watch { number, until, said: said.clone(), mark: self.mark(), next };
            self.watched.insert(from.node_id, watch);
        }
        self.send(from, Message::Sight { number, sight: Box::new(said) }, now, out);
    }

    pub(super) fn mark(&self) -> Mark {
        let under = self.under.as_ref().map(|under| under.plan.id);
        (self.partings.version(), self.told, self.seen, self.healed, under)
    }

    fn sight_pause(&self) -> Duration {
        if self.contacts.len() < FULL_MESH_MAX { HEAL_SIGHT_PAUSE } else { HEAL_SIGHT_PAUSE_LARGE }
    }

    /// After so long a leader asks those again who have not answered.
    pub(super) fn look_retry(&self) -> Duration {
        if self.contacts.len() < FULL_MESH_MAX { HEAL_LOOK_RETRY } else { HEAL_LOOK_AGAIN }
    }

    /// Tells whoever looks what has changed since it was told.
    pub(super) fn show_changes(&mut self, now: Now, out: &mut Vec<Output>) {
        self.watched.retain(|_, watch| watch.until > now.mono);
        let due: Vec<NodeId> =
            self.watched.iter().filter(|(_, watch)| watch.next <= now.mono).map(|(leader, _)| *leader).collect();
        if due.is_empty() {
            return;
        }
        let (mark, pause) = (self.mark(), self.sight_pause());
        // What changes later in this very step waits for its pause as well, so that no deadline is in the past.
        let mut made = None;
        for to in due {
            let Some(mut watch) = self.watched.remove(&to) else { continue };
            watch.next = now.mono + pause;
            let sight = if watch.mark == mark {
                None
            } else {
                watch.mark = mark;
                let sight = made.get_or_insert_with(|| self.sight()).clone();
                (sight != watch.said).then_some(sight)
            };
            let number = watch.number;
            if let Some(sight) = &sight {
                watch.said = sight.clone();
            }
            self.watched.insert(to, watch);
            if let Some(sight) = sight {
                self.send_to(to, Message::Sight { number, sight: Box::new(sight) }, now, out);
            }
        }
    }

    /// Tells those whom this node had declared down, and the leader, what is pending.
    pub(super) fn report(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.active {
            self.report_at = None;
            return;
        }
        // Lost with the first connection, it is wanted again before the plan is made; a large cluster has it in the views.
        let again = if self.contacts.len() < FULL_MESH_MAX { HEAL_RETRY } else { HEAL_PARTED_RETRY };
        for (node_id, process, number) in self.partings.untold(now.mono, again) {
            let message = Message::Parted { process, own: self.process, number };
            self.send_to(node_id, message, now, out);
        }
        let stuck = self.stuck();
        let parted = self.partings.pending() && self.under.is_none();
        if !parted && stuck.is_none() {
            self.report_at = None;
            return;
        }
        if self.report_at.is_some_and(|at| at > now.mono) {
            return;
        }
        self.report_at = Some(now.mono + HEAL_RETRY);
        let looked_at = self.watched.contains_key(&self.leader());
        if !looked_at {
            self.say_pending(stuck, false, now, out);
        }
    }

    pub(super) fn say_pending(&mut self, stuck: Option<HealId>, asked: bool, now: Now, out: &mut Vec<Output>) {
        let pending = Message::Pending { stuck, asked, who: self.id, upto: self.partings.upto() };
        self.send_to(self.leader(), pending, now, out);
    }

    /// The heal of this node that cannot end as it was planned: somebody of it is not there any more.
    fn stuck(&self) -> Option<HealId> {
        let gone = |under: &&Under| {
            let plan = &under.plan;
            let lost = !self.options.death_unseen && plan.nodes.iter().any(|side| !self.runs(side.id));
            under.step == Step::Adrift || lost || !self.runs(plan.leader) || !self.runs(plan.coordinator)
        };
        let under = self.under.as_ref().filter(|under| under.step != Step::Rebooting);
        under.filter(gone).map(|under| under.plan.id)
    }
}
