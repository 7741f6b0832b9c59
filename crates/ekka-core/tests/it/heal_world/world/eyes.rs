//! How nodes see each other: heard directly, or by one who is heard; down after silence or once refused.

use ekka_core::autoheal::{Contact, Input};

use super::World;
use crate::heal_world::node::Due;
use crate::heal_world::plan::{SECOND, Us};

/// From then on a process that ended is refused by its machine.
const REFUSED: Us = SECOND / 2;

impl World {
    /// Whom each node hears, as bits.
    fn hears(&self) -> Vec<u32> {
        let hears = |a: usize, b: usize| a != b && self.nodes[a].acts() && self.nodes[b].acts() && self.net.open(b, a);
        let of = |a: usize| (0..self.nodes.len()).filter(|b| hears(a, *b)).fold(0, |all, b| all | 1 << b);
        (0..self.nodes.len()).map(of).collect()
    }

    pub(super) fn look(&mut self) {
        let hears = self.hears();
        for n in 0..self.nodes.len() {
            if !self.nodes[n].acts() {
                continue;
            }
            let of = |x: usize| if hears[n] & 1 << x == 0 { 0 } else { hears[x] };
            let seen = (0..self.nodes.len()).fold(hears[n], |all, x| all | of(x));
            for m in 0..self.nodes.len() {
                if m != n {
                    self.see(n, m, seen & 1 << m != 0);
                }
            }
            self.tell_contacts(n);
        }
    }

    /// What one node makes of hearing of another one, or not.
    fn see(&mut self, n: usize, m: usize, heard: bool) {
        let now = self.now;
        let other = &self.nodes[m];
        let (id, process, died, ended) = (other.id, other.process, other.died, !other.runs());
        let (goodbye, near) = (other.goodbye, self.net.both(n, m));
        let by = (self.nodes[n].process, process);
        let eye = &mut self.nodes[n].eyes[m];
        if heard {
            if eye.process != process {
                eye.fell = None;
                eye.goodbye = false;
            }
            (eye.id, eye.process, eye.heard) = (id, process, now);
            let again = *eye.again.get_or_insert(now);
            if !eye.running && now >= again + eye.back {
                eye.running = true;
                if let Some(fell) = eye.fell.take() {
                    self.tried.partings += 1;
                    self.line(&format!("{n} sees {m} again"));
                    self.judge.parted((n, m), by, fell, now);
                }
            }
            return;
        }
        eye.again = None;
        let refused = ended && near && now >= died + REFUSED;
        if eye.running && (now >= eye.heard + eye.limit || refused || ended && goodbye && near) {
            eye.running = false;
            eye.fell = Some(now);
            let text = format!("{n} no more sees {m}");
            self.line(&text);
        }
        if ended && goodbye && near {
            self.nodes[n].eyes[m].goodbye = true;
        }
    }

    /// Tells the room what has changed.
    pub(super) fn tell_contacts(&mut self, n: usize) {
        let active = self.now >= self.nodes[n].active_at;
        let contact = |m: usize| {
            let eye = &self.nodes[n].eyes[m];
            Contact {
                id: eye.id,
                process: eye.process,
                core: self.plan.cores[m],
                running: eye.running,
                goodbye: eye.goodbye,
                lost: !eye.running,
                seniority: self.plan.seniority[m],
            }
        };
        let contacts: Vec<Contact> = (0..self.nodes.len()).filter(|m| *m != n).map(contact).collect();
        if self.nodes[n].given.as_ref().is_some_and(|given| given.0 == contacts && given.1 == active) {
            return;
        }
        self.nodes[n].given = Some((contacts.clone(), active));
        let input = Input::Contacts {
            contacts,
            seniority: self.plan.seniority[n],
            core: self.plan.cores[n],
            voters: self.voters.clone(),
            active,
        };
        let guid = self.nodes[n].id.guid;
        self.give(n, Due { guid, input });
    }
}
