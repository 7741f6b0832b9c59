//! What only the leader does: the first entry, what members say of themselves, the steps towards the voters.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::command::{Command, Entry, Why};
use super::room::{AGAIN, Asked, Durable};
use super::voters::{self, Candidate, Look, Step};
use super::wish::held_back;
use super::{Ask, Fact, Output};
use crate::consensus::{LogPlace, VoterId};
use crate::id::NodeId;
use crate::lease::Agreed;
use crate::membership::RemovalCause;
use crate::time::Now;

impl Durable {
    /// What only the leader does: the first entry, new starts and stores of members, the next step towards the voters.
    pub(super) fn lead(&mut self, now: Now, out: &mut Vec<Output>) {
        self.again_at = self.again_at.filter(|at| now.mono < *at);
        self.hand_over_at = self.hand_over_at.filter(|at| now.mono < *at);
        if !self.leads() || self.again_at.is_some() {
            return;
        }
        if self.record.cluster().is_none() {
            if let Some(recovery) = self.recovering.clone() {
                self.propose_own(None, Command::Recover(recovery), "an operator's word: recover --accept-loss", out);
            } else if let Some((cluster_id, founders)) = self.founding.clone() {
                self.propose_own(None, Command::Found { cluster_id, founders }, "the vote has chosen it", out);
            }
            return;
        }
        self.agree_on_leases(now, out);
        let news: Vec<(NodeId, Command)> = self.facts.iter().filter_map(|(id, fact)| self.news(*id, fact)).collect();
        for (node_id, command) in news {
            self.propose_own(Some(node_id), command, "its own record says so", out);
        }
        if self.record.merging().is_none() && self.change.is_none() {
            self.step_voters(now, out);
        }
    }

    /// Has the length of leases committed that this node is configured with.
    fn agree_on_leases(&mut self, now: Now, out: &mut Vec<Output>) {
        let (Some(own), agreed) = (self.leases, self.record.leases()) else { return };
        let since = match self.agreed_since {
            Some((with, since)) if with == agreed => since,
            _ => now.mono,
        };
        (self.agreed_since, self.agree_at) = (Some((agreed, since)), None);
        match Agreed::next(agreed, own, now.mono.since(since)) {
            Ok(agreed) => {
                let term = self.standing.term;
                self.propose_own(None, Command::Leases { term, agreed }, "the leader is configured so", out);
            }
            Err(later) => self.agree_at = later.map(|later| now.mono + later),
        }
    }

    /// What a member says of itself and the record does not hold yet.
    fn news(&self, node_id: NodeId, fact: &Fact) -> Option<(NodeId, Command)> {
        let member = self.record.member(node_id).filter(|_| fact.up)?;
        if fact.id.guid > member.guid && !self.record.is_over(fact.id) {
            let (id, name, role) = (fact.id, fact.name.clone(), fact.role);
            return Some((node_id, Command::Returned { id, name, role }));
        }
        let to = fact.store.filter(|store| fact.id.guid == member.guid && member.store != Some(*store))?;
        Some((node_id, Command::StoreChanged { node_id, from: member.store, to }))
    }

    fn propose_own(&mut self, about: Option<NodeId>, command: Command, evidence: &str, out: &mut Vec<Output>) {
        let asked = Asked::Own(about);
        if self.asked.values().any(|under_way| *under_way == asked) {
            return;
        }
        let token = self.token(asked);
        let why = Why::new(self.me.node_id, 0, vec![evidence.to_string()]);
        out.push(Output::Ask(Ask::Propose { token, command: Entry { why, command }.encode() }));
    }

    /// What the policy of the voters looks at.
    #[must_use]
    pub fn look(&self) -> Look {
        let removals: Vec<_> = self.wishes.values().filter_map(|pending| pending.wish.removes()).collect();
        let removed = |id: NodeId, cause: RemovalCause| {
            removals.iter().any(|(node_id, why, to)| *node_id == id && *why == cause && to.is_none())
        };
        let leader = self.standing.leader.map(|voter| voter.node_id);
        let members = self.record.members().iter().map(|(node_id, member)| {
            let fact = self.facts.get(node_id).filter(|fact| fact.id.guid == member.guid);
            let candidate = Candidate {
                name: member.name.clone(),
                role: member.role,
                store: member.store,
                since: member.since,
                zone: fact.map(|fact| fact.zone.clone()).unwrap_or_default(),
                up: fact.is_some_and(|fact| fact.up),
                caught_up: fact.is_some_and(|fact| fact.caught_up),
                leaving: fact.is_some_and(|fact| fact.leaving)
                    || removed(*node_id, RemovalCause::Leave)
                    || removed(*node_id, RemovalCause::Force),
                follows: held_back(&self.record, *node_id, fact),
                lost: removed(*node_id, RemovalCause::Autoclean),
                leads: leader == Some(*node_id),
            };
            (*node_id, candidate)
        });
        Look {
            members: members.collect(),
            configuration: self.record.configuration().clone(),
            replace: removals.iter().find_map(|(old, _, new)| new.map(|new| (*old, new))),
        }
    }

    fn step_voters(&mut self, now: Now, out: &mut Vec<Output>) {
        let latest = &self.standing.configuration;
        let held = self.record.configuration().at;
        if !latest.committed || latest.at != held || held < self.due {
            // The record is behind the log: a change may be under way.
            return;
        }
        let waits = match voters::next_step(&self.look()) {
            Step::Learn { learners, why } => {
                let token = self.begin_change();
                out.push(Output::Ask(Ask::SetLearners { token, learners }));
                why
            }
            Step::Change { voters, why } => {
                if let Some(beside) = self.beside(&voters) {
                    let lasts = beside == voters;
                    let token = self.begin_change();
                    out.push(Output::Ask(Ask::ChangeVoters { token, voters: beside }));
                    let me = || self.record.name_of(self.me.node_id);
                    if lasts { why } else { format!("{why}, once {} leads no more", me()) }
                } else {
                    self.hand_over(&voters, now, out);
                    let name = |voter: &VoterId| self.record.name_of(voter.node_id);
                    let names: Vec<String> = voters.iter().map(name).collect();
                    let me = self.record.name_of(self.me.node_id);
                    format!("waits: {me} leads; first {} is to lead", names.join(" or "))
                }
            }
            Step::Nothing { why } => why,
        };
        self.say(waits, out);
    }

    /// What this leader may make the voters on the way to these. It keeps its own vote: from the moment that it has none nobody
    /// would lead until the others have noticed, while one that hands over costs an election by permission, and leads on
    /// where that fails. Those that are new come in beside it first, or there may be nobody who can lead; then there is
    /// nothing for it to do but to hand over.
    fn beside(&self, voters: &BTreeSet<VoterId>) -> Option<BTreeSet<VoterId>> {
        let present = self.record.voters();
        let Some(own) = present.iter().find(|voter| voter.node_id == self.me.node_id) else {
            return Some(voters.clone());
        };
        if voters.iter().any(|voter| voter.node_id == own.node_id) {
            Some(voters.clone())
        } else if voters.is_subset(&present) {
            None
        } else {
            Some(voters.iter().copied().chain([*own]).collect())
        }
    }

    fn begin_change(&mut self) -> u64 {
        self.last_token += 1;
        self.change = Some(self.last_token);
        self.last_token
    }

    pub(super) fn reconfigured(&mut self, token: u64, failed: bool, latest: LogPlace, now: Now) {
        if self.change != Some(token) {
            return;
        }
        (self.change, self.due) = (None, latest);
        // Whatever came of it, the next step is chosen by the configuration that is committed then.
        if failed {
            self.again_at = Some(now.mono + AGAIN);
        }
    }

    pub(super) fn say(&mut self, waits: String, out: &mut Vec<Output>) {
        if self.waits != waits {
            self.waits.clone_from(&waits);
            out.push(Output::Waits(waits));
        }
    }
}
