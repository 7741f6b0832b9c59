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
}

impl Healing {
    pub(super) fn peek(&mut self, now: Now, out: &mut Vec<Output>) {
        self.leading.looks += 1;
        let number = self.leading.looks;
        let sights = BTreeMap::from([(self.id.node_id, self.sight())]);
        self.peeking = Some(Peeking { number, sights, until: now.mono + HEAL_LOOK_AGAIN });
        for contact in self.contacts.values().filter(|contact| contact.running) {
            out.push(Output::Send { to: contact.id.node_id, message: Message::Look { number, once: true } });
        }
    }

    /// A view came; it may be one of these.
    pub(super) fn peeked_at(&mut self, number: u64, sight: &Sight) {
        if let Some(peeking) = self.peeking.as_mut().filter(|peeking| peeking.number == number) {
            peeking.sights.insert(sight.id.node_id, sight.clone());
        }
    }

    pub(super) fn peek_on(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(peeking) = &self.peeking else { return };
        let running = || self.contacts.values().filter(|contact| contact.running);
        let all = running().all(|contact| peeking.sights.contains_key(&contact.id.node_id));
        if !all && now.mono < peeking.until {
            return;
        }
        if let Some(peeking) = self.peeking.take() {
            let sights = peeking.sights.into_values().collect();
            out.push(Output::Peeked(Gathered { id: HealId::NONE, leader: self.id, sights }));
        }
    }
}
