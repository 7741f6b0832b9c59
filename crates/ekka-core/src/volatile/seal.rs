//! Giving up a generation: what was served is sealed for good, and handed in to whoever asked.

use alloc::vec::Vec;

use super::room::{Generations, Serving};
use super::{Held, LogKey, Message, Output};
use crate::id::NodeId;
use crate::limits::UNLED_MAX;
use crate::time::Instant;

impl Generations {
    pub(super) fn seal(&mut self, from: NodeId, generation: u64, insists: bool, now: Instant, out: &mut Vec<Output>) {
        if generation != self.number() || !self.facts.generation.voters().contains(&self.me) {
            // Not read from the durable group yet, or past: the other asks again, or learns better.
            if generation < self.number() {
                out.push(Output::Send { to: from, message: Message::Serving { generation: self.number() } });
            }
            return;
        }
        let insists = insists || self.has_ended();
        if self.led() && !insists {
            out.push(Output::Send { to: from, message: Message::Serving { generation } });
            if self.facts.living(from).is_some_and(|id| self.is_past(id)) {
                out.push(Output::Send { to: from, message: Message::TakenOut { generation } });
            }
            return;
        }
        // It may hear of a leader yet; a seal too early would cost the group a voter.
        if self.serving == Serving::Runs(generation) && now.since(self.unled_since) < UNLED_MAX && !insists {
            return;
        }
        if self.settings.faults.unsealed && self.serving == Serving::Runs(generation) {
            let held = Held::Log(LogKey { generation, place: self.standing.last });
            let message = Message::HandedIn { generation, voter: self.me, held };
            return out.push(Output::Send { to: from, message });
        }
        self.sealed = self.sealed.max(generation);
        self.askers.insert(from);
        match self.serving {
            Serving::Runs(runs) => self.stop(runs, out),
            Serving::Stopping(_) => {}
            Serving::Nothing | Serving::Fetching(_) => {
                self.serving = Serving::Nothing;
                self.hand_in(out);
            }
        }
    }

    /// Answers those who asked, once nothing runs here any more.
    pub(super) fn hand_in(&mut self, out: &mut Vec<Output>) {
        let (generation, voter, held) = (self.sealed, self.me, self.held());
        for to in core::mem::take(&mut self.askers) {
            out.push(Output::Send { to, message: Message::HandedIn { generation, voter, held } });
        }
    }

    /// What this process can give of the generation that it sealed.
    pub(super) fn held(&self) -> Held {
        match self.log {
            Some(log) => Held::Log(log),
            None if (1..=self.dropped).contains(&self.sealed) && !self.settings.faults.forgets_dropping => {
                Held::Dropped
            }
            None => Held::Nothing,
        }
    }
}
