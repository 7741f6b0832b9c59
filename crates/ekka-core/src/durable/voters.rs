//! Who should vote in the durable group, one step at a time (section 12).
//!
//! All cores up to two; then the largest odd number not above the number of cores and seven. A voter keeps its place as
//! long as its node is a core member with the same store, over restarts and however old it is. Who replaces one that
//! leaves, was down for `cluster.autoclean`, or has lost its store, learns first and is changed in by one joint change:
//! nobody is taken out before its successor can vote. Witnesses vote and are no more than half of the voters.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::consensus::{Configuration, VoterId};
use crate::id::{NodeId, NodeName};
use crate::limits::VOTERS_MAX;
use crate::view::Role;

/// A member, as far as its vote is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its name, for words.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// Its store, where it has one.
    pub store: Option<u128>,
    /// Since when it is a member: the longest member comes first.
    pub since: u64,
    /// Its zone; voters are spread over them. Empty where it has none.
    pub zone: String,
    /// It is heard.
    pub up: bool,
    /// Its replica has what was committed a moment ago. Where nobody reports that, being a learner is enough: the change
    /// itself waits for the log.
    pub caught_up: bool,
    /// It is on its way out, or is to be forced out.
    pub leaving: bool,
    /// It leaves, and follows the log as long as the volatile group needs it.
    pub follows: bool,
    /// It has been down for as long as `cluster.autoclean` says.
    pub lost: bool,
    /// It leads: of two that the group can do without the other one goes, and nobody has to hand over.
    pub leads: bool,
}

/// What is looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// The members.
    pub members: BTreeMap<NodeId, Candidate>,
    /// The latest committed configuration.
    pub configuration: Configuration,
    /// An operator's `force-leave OLD --replace-with NEW`: nobody else than the second may take the vote of the first.
    pub replace: Option<(NodeId, NodeId)>,
}

/// The next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// These learn beside the voters.
    Learn {
        /// All of them, those that learn already included.
        learners: BTreeSet<VoterId>,
        /// Why, in words.
        why: String,
    },
    /// These vote, by one joint change.
    Change {
        /// All of them.
        voters: BTreeSet<VoterId>,
        /// Why, in words.
        why: String,
    },
    /// Nothing is to be done now; in words what is waited for, empty where all is as it should be.
    Nothing {
        /// What is waited for.
        why: String,
    },
}

/// How many of so many cores vote.
#[must_use]
pub fn wanted(cores: usize) -> usize {
    match cores {
        0..=2 => cores,
        _ if cores >= VOTERS_MAX => VOTERS_MAX,
        _ => (cores - 1) | 1,
    }
}

/// The next step towards the voters that should be.
#[must_use]
pub fn next_step(look: &Look) -> Step {
    let [present] = look.configuration.voters.as_slice() else {
        let why = if look.configuration.voters.is_empty() { "" } else { "a change of the voters is under way" };
        return Step::Nothing { why: why.into() };
    };
    let present: BTreeSet<VoterId> = present.iter().copied().collect();
    // Where nobody can be chosen members come and go all the same: one that is to leave learns no more.
    let (target, waits) = match choose(look, &present) {
        Ok(target) => (target, None),
        Err(why) => (present.clone(), Some(why)),
    };
    let learners = learners(look, &present, &target);
    let have: BTreeSet<VoterId> = look.configuration.learners.iter().copied().collect();
    if learners != have {
        let (comes, goes) = (names(look, learners.difference(&have)), names(look, have.difference(&learners)));
        let why = if comes.is_empty() { format!("{goes} learns no more") } else { format!("{comes} learns") };
        return Step::Learn { learners, why };
    }
    if let Some(why) = waits {
        return Step::Nothing { why };
    }
    if let Some(late) = target.difference(&present).find(|voter| !look.is_ready(**voter)) {
        return Step::Nothing { why: format!("waits: {} catches up before it votes", look.name(late.node_id)) };
    }
    if target != present {
        // A set that cannot have its majority now would stop the group before it is in force.
        let (up, needed) = (target.iter().filter(|voter| look.is_up(**voter)).count(), target.len() / 2 + 1);
        if up < needed {
            let why = format!("waits: {up} of the {} that would vote are up, {needed} needed", target.len());
            return Step::Nothing { why };
        }
        let why = change_words(look, &present, &target);
        // Whoever leads now can hand over to somebody who votes already: no two sets in a row are strangers.
        let voters = if target.is_disjoint(&present) { &target | &present } else { target };
        return Step::Change { voters, why };
    }
    Step::Nothing { why: String::new() }
}

impl Look {
    fn name(&self, node_id: NodeId) -> String {
        self.members.get(&node_id).map_or_else(|| format!("node_id {node_id}"), |member| member.name.to_string())
    }

    /// The voter that this member would be, where it may be one.
    fn voter(&self, node_id: NodeId, member: &Candidate) -> Option<VoterId> {
        self.follower(node_id, member).filter(|_| member.role != Role::Replicant && !member.leaving)
    }

    /// The learner that it would be: whoever stays follows the log.
    fn follower(&self, node_id: NodeId, member: &Candidate) -> Option<VoterId> {
        let forced = self.replace.is_some_and(|(old, _)| old == node_id);
        let stays = (!member.leaving || member.follows) && !member.lost && !forced;
        member.store.filter(|_| stays).map(|start| VoterId { node_id, start })
    }

    fn is_up(&self, voter: VoterId) -> bool {
        self.members.get(&voter.node_id).is_some_and(|member| member.up)
    }

    fn is_ready(&self, voter: VoterId) -> bool {
        self.members.get(&voter.node_id).is_some_and(|member| member.up && member.caught_up)
    }

    fn is_witness(&self, voter: VoterId) -> bool {
        self.members.get(&voter.node_id).is_some_and(|member| member.role == Role::Witness)
    }

    fn witnesses(&self, voters: &BTreeSet<VoterId>) -> usize {
        voters.iter().filter(|voter| self.is_witness(**voter)).count()
    }
}

/// Who should vote, those who cannot yet included.
fn choose(look: &Look, present: &BTreeSet<VoterId>) -> Result<BTreeSet<VoterId>, String> {
    let eligible: BTreeSet<VoterId> = look.members.iter().filter_map(|(id, member)| look.voter(*id, member)).collect();
    let keep: BTreeSet<VoterId> = present.intersection(&eligible).copied().collect();
    // Who does not vote and is down cannot be brought in; it counts again when it is back.
    let mut spare: Vec<VoterId> =
        eligible.difference(&keep).copied().filter(|voter| look.members[&voter.node_id].up).collect();
    let votes = |node_id| present.iter().any(|voter| voter.node_id == node_id);
    if let Some((old, new)) = look.replace.filter(|(old, new)| votes(*old) && !votes(*new)) {
        return replaced(look, present, &eligible, (old, new));
    }
    let cores = keep.iter().chain(&spare).filter(|voter| !look.is_witness(**voter)).count();
    let witnesses = keep.iter().chain(&spare).count() - cores;
    let size = wanted(cores + witnesses.min(cores));
    let mut target = keep;
    shrink(look, &mut target, size);
    // As many as went above that bound of witnesses come in again: there are as many cores as the bound asks for.
    while target.len() < size {
        let at_home = |voter: &VoterId| votes(voter.node_id);
        let witnesses = look.witnesses(&target);
        let room = |voter: &&VoterId| !look.is_witness(**voter) || (witnesses + 1) * 2 <= size;
        let best = spare.iter().filter(room).min_by_key(|voter| {
            let member = &look.members[&voter.node_id];
            // A node whose store is another now comes back into its own place; then the emptiest zone, cores, the longest.
            (!at_home(voter), in_zone(look, &target, &member.zone), look.is_witness(**voter), member.since, **voter)
        });
        let Some(best) = best.copied() else { break };
        spare.retain(|voter| *voter != best);
        target.insert(best);
    }
    if target.is_empty() {
        return Err(String::from("waits: no core member that is up can vote"));
    }
    Ok(target)
}

/// `force-leave OLD --replace-with NEW`.
fn replaced(
    look: &Look,
    present: &BTreeSet<VoterId>,
    eligible: &BTreeSet<VoterId>,
    (old, new): (NodeId, NodeId),
) -> Result<BTreeSet<VoterId>, String> {
    let Some(successor) = eligible.iter().find(|voter| voter.node_id == new) else {
        return Err(format!("waits: {} cannot vote yet: it is to take the vote of {}", look.name(new), look.name(old)));
    };
    let mut target: BTreeSet<VoterId> = present.iter().copied().filter(|voter| voter.node_id != old).collect();
    target.insert(*successor);
    Ok(target)
}

fn in_zone(look: &Look, voters: &BTreeSet<VoterId>, zone: &str) -> usize {
    voters.iter().filter(|voter| look.members.get(&voter.node_id).is_some_and(|member| member.zone == zone)).count()
}

/// Takes out whom the smaller group can do without: who is down, then of the fullest zone, then who does not
/// lead, then the youngest member. While
/// more than half were witnesses only these go, a core that is down or not: what was acknowledged must be where tables are.
fn shrink(look: &Look, target: &mut BTreeSet<VoterId>, size: usize) {
    loop {
        let too_many = look.witnesses(target) * 2 > size;
        if target.len() <= size && !too_many {
            return;
        }
        let may_go = target.iter().copied().filter(|voter| !too_many || look.is_witness(*voter));
        let least = may_go.max_by_key(|voter| {
            let member = &look.members[&voter.node_id];
            let zone = in_zone(look, target, &member.zone);
            (!member.up, zone, look.is_witness(*voter), !member.leads, member.since, *voter)
        });
        let Some(least) = least else { return };
        target.remove(&least);
    }
}

/// Members that do not vote follow the log all the same, replicants too: they learn from it who is a member.
fn learners(look: &Look, present: &BTreeSet<VoterId>, target: &BTreeSet<VoterId>) -> BTreeSet<VoterId> {
    let follow = look.members.iter().filter_map(|(id, member)| look.follower(*id, member));
    follow.chain(target.iter().copied()).filter(|voter| !present.contains(voter)).collect()
}

fn names<'a>(look: &Look, voters: impl Iterator<Item = &'a VoterId>) -> String {
    let names: Vec<String> = voters.map(|voter| look.name(voter.node_id)).collect();
    names.join(", ")
}

fn change_words(look: &Look, present: &BTreeSet<VoterId>, target: &BTreeSet<VoterId>) -> String {
    let (comes, goes) = (names(look, target.difference(present)), names(look, present.difference(target)));
    let count = format!("{} voters of {}", target.len(), look.members.len());
    match (comes.is_empty(), goes.is_empty()) {
        (false, false) => format!("{comes} votes in place of {goes}: {count}"),
        (false, true) => format!("{comes} votes: {count}"),
        (_, _) => format!("{goes} votes no more: {count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_so_many_cores_vote() {
        let table: Vec<usize> = (0..10).map(wanted).collect();
        assert_eq!(table, [0, 1, 2, 3, 3, 5, 5, 7, 7, 7]);
    }
}
