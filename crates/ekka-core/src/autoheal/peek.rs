//! All views once, for an operator who asks what a heal would do, and whether one has ended.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::room::Healing;
use super::{Gathered, HealId, Message, Output, Sight};
use crate::id::NodeId;
use crate::limits::HEAL_LOOK_AGAIN;
use crate::time::{Instant, Now};

/// A look that goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Peeking {
    number: u64,
    sights: BTreeMap<NodeId, Sight>,
    pub(super) until: Instant,
    /// Who has not answered by then is asked once more.
    again: Option<Instant>,
}

impl Peeking {
    pub(super) fn deadline(&self) -> Instant {
        self.again.unwrap_or(self.until)
    }
}

impl Healing {
    pub(super) fn peek(&mut self, now: Now, out: &mut Vec<Output>) {
        self.leading.looks += 1;
        let number = self.leading.looks;
        let sights = BTreeMap::from([(self.id.node_id, self.sight())]);
        self.peeking = Some(Peeking {
            number,
            sights,
            until: now.mono + HEAL_LOOK_AGAIN,
            again: Some(now.mono + HEAL_LOOK_AGAIN / 2),
        });
        self.ask_for_views(out);
    }

    fn ask_for_views(&self, out: &mut Vec<Output>) {
        let Some(peeking) = &self.peeking else { return };
        let message = Message::Look { number: peeking.number, once: true };
        out.extend(self.unheard(peeking).into_iter().map(|to| Output::Send { to, message: message.clone() }));
    }

    fn unheard(&self, peeking: &Peeking) -> Vec<NodeId> {
        let running = self.contacts.values().filter(|contact| contact.running).map(|contact| contact.id.node_id);
        running.filter(|node_id| !peeking.sights.contains_key(node_id)).collect()
    }

    /// A view came; it may be one of these.
    pub(super) fn peeked_at(&mut self, number: u64, sight: &Sight) {
        if let Some(peeking) = self.peeking.as_mut().filter(|peeking| peeking.number == number) {
            peeking.sights.insert(sight.id.node_id, sight.clone());
        }
    }

    pub(super) fn peek_on(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(peeking) = &mut self.peeking else { return };
        if peeking.again.take_if(|at| *at <= now.mono).is_some() {
            self.ask_for_views(out);
        }
        let Some(missing) = self.peeking.as_ref().map(|peeking| self.unheard(peeking)) else { return };
        if let Some(peeking) = self.peeking.take_if(|peeking| missing.is_empty() || peeking.until <= now.mono) {
            let sights = peeking.sights.into_values().collect();
            let gathered = Gathered { id: HealId::NONE, leader: self.id, sights };
            out.push(Output::Peeked { gathered, missing });
        }
    }
}
