//! What the rooms membership and autocluster give out, carried to each other and to the shell.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::standing::Entry;
use super::{CloseCause, Control, Message, Output, Work};
use crate::autocluster;
use crate::event::EventKind;
use crate::machine::Machine;
use crate::membership;
use crate::time::Now;

impl Control {
    pub(super) fn membership_gave(&mut self, given: Vec<membership::Output>, now: Now, out: &mut Vec<Output>) {
        for output in given {
            match output {
                membership::Output::Send { to, message } => self.send(to, &Message::Membership(message), out),
                membership::Output::Dial { node_id, endpoint } => {
                    if !self.conns.is_linked(node_id) && !self.stopped {
                        out.push(Output::Dial { endpoint });
                    }
                }
                membership::Output::Redial { endpoint, .. } => {
                    if !self.stopped {
                        out.push(Output::Dial { endpoint });
                    }
                }
                membership::Output::Drop { node_id } => self.drop_links(node_id, &CloseCause::Silent, out),
                membership::Output::Persist => self.persist.wanted = true,
                membership::Output::Changed => self.dirty = true,
                membership::Output::Liveness { id, up, evidence, lines } => {
                    self.liveness_changed(id, up, &evidence, lines, now);
                }
                membership::Output::Seated { node_id, removed } => {
                    self.dirty = true;
                    self.persist.wanted = true;
                    if let Some(cause) = removed {
                        self.member_removed(node_id, cause, now, out);
                    }
                }
                membership::Output::SelfRemoved { cause, by } => self.self_removed(cause, by, now, out),
                membership::Output::FarewellCame { from, cluster_id, member } => {
                    self.farewell_came(from, cluster_id, member, now, out);
                }
                membership::Output::FarewellHeard { by } => self.farewell_heard(by, now),
                membership::Output::CountedIn(roster) => {
                    let other = roster.cluster_id.filter(|id| !self.autocluster.merges_with(*id));
                    let elsewhere = other.is_some() && self.autocluster.cluster_on_disc().is_some();
                    if (elsewhere || self.autocluster.saved().left) && !self.autocluster.is_joining() {
                        self.work.push_back(Work::Membership(membership::Input::Part(roster)));
                    }
                }
                membership::Output::RoundTrip { node_id, rtt_us, peer_wall } => {
                    self.compare_clock(node_id, peer_wall, rtt_us, now, out);
                }
            }
        }
    }

    pub(super) fn autocluster(&mut self, input: autocluster::Input, now: Now, out: &mut Vec<Output>) {
        let from = match &input {
            autocluster::Input::Received { from, .. } => Some(from.node_id),
            _ => None,
        };
        let is_in = |control: &Self| from.map(|node_id| control.autocluster.says_it_is_in(node_id));
        let before = is_in(self);
        let mut given = Vec::new();
        self.autocluster.handle(input, now, &mut given);
        // Whom this node hears depends on it: a heal, and the durable group, need not wait until the view is made anew.
        self.dirty |= is_in(self) != before;
        self.autocluster_gave(given, now, out);
    }

    pub(super) fn autocluster_gave(&mut self, given: Vec<autocluster::Output>, now: Now, out: &mut Vec<Output>) {
        for output in given {
            match output {
                autocluster::Output::Discover => out.push(Output::Discover),
                autocluster::Output::Claim(proposal) => out.push(Output::Claim(Box::new(proposal))),
                autocluster::Output::Register(registration) => out.push(Output::Register(registration)),
                autocluster::Output::Dial { endpoint, anew } => {
                    let never = self.setup.faults.no_recontact && self.standing.was_up;
                    let own = endpoint == self.setup.endpoint || never;
                    if !own && (anew || !self.conns.is_linked_at(&endpoint, now.mono)) && !self.stopped {
                        out.push(Output::Dial { endpoint });
                    }
                }
                autocluster::Output::Send { to, message } => self.send(to, &Message::Autocluster(message), out),
                autocluster::Output::Persist { token } => {
                    self.persist.wanted = true;
                    self.persist.covers = Some(token);
                }
                autocluster::Output::Entered { cluster_id, roster, how, lines, asked } => {
                    self.entered(Entry { cluster_id, roster, how, asked }, lines, now, out);
                }
                autocluster::Output::Admit { record, asked, chain } => {
                    self.admit(record, (asked, chain), now, out);
                }
                autocluster::Output::Absorb { into, by_word } => self.wish_absorb(into, by_word, now, out),
                autocluster::Output::Heard { by, generation } => self.heard_generation(by, generation, now, out),
                autocluster::Output::Over => self.over(now, out),
                autocluster::Output::TakenOut(why) => self.taken_out(why, now, out),
                autocluster::Output::Waits(text) => {
                    if self.standing.waits != text {
                        self.standing.waits.clone_from(&text);
                        self.dirty = true;
                        if !text.is_empty() {
                            out.push(Output::Event(EventKind::ClusterWaiting { waits: text }.into()));
                        }
                    }
                }
                autocluster::Output::Conflict { other, met } => self.conflict(other, met, now, out),
                autocluster::Output::JoinDone(result) => self.join_done(result, now, out),
                autocluster::Output::DiscoveryState { strategy, error } => {
                    out.push(Output::Event(match error {
                        Some(error) => EventKind::DiscoveryFailing { strategy, error }.into(),
                        None => EventKind::DiscoveryOk { strategy }.into(),
                    }));
                }
            }
        }
    }
}
