//! `--plan`: what a command would do to members and votes, found by the policy itself.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::command::Admission;
use super::outcome::Outcome;
use super::reach::InReach;
use super::state::Record;
use super::voters::{Candidate, Look, Step, next_step};
use crate::consensus::VoterId;
use crate::id::{Incarnation, NodeId};
use crate::view::Role;

/// Steps after which the policy must have come to rest: each brings in or takes out at least one.
const STEPS_MAX: usize = 64;

/// What a cluster of two voters is told everywhere.
pub const TWO_VOTERS: &str =
    "two voters: none can be lost. Add a third node or a witness: ekka agent --set node.role=witness";

/// What would be done, and why it is refused, where it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// One line each.
    pub lines: Vec<String>,
    /// Why it would be refused.
    pub refused: Option<String>,
}

/// The steps that the policy would take until it rests, supposed that whoever is up catches up.
#[must_use]
pub fn steps(mut look: Look) -> (Vec<String>, BTreeSet<VoterId>) {
    let mut lines = Vec::new();
    for member in look.members.values_mut() {
        member.caught_up |= member.up;
    }
    for _ in 0..STEPS_MAX {
        match next_step(&look) {
            Step::Learn { learners, why } => {
                look.configuration.learners = learners.into_iter().collect();
                lines.push(why);
            }
            Step::Change { voters, why } => {
                look.configuration.learners.retain(|learner| !voters.contains(learner));
                look.configuration.voters = vec![voters.into_iter().collect()];
                lines.push(why);
            }
            Step::Nothing { why } => {
                if !why.is_empty() {
                    lines.push(why);
                }
                break;
            }
        }
    }
    (lines, look.configuration.voters.into_iter().flatten().collect())
}

/// How many may fail, in words.
fn strength(voters: usize) -> String {
    match (voters, voters.saturating_sub(voters / 2 + 1)) {
        (2, _) => String::from(TWO_VOTERS),
        (voters, lose) => format!("{voters} voters: {lose} can be lost"),
    }
}

/// Admission of a node.
#[must_use]
pub fn admit(record: &Record, who: &Admission) -> Plan {
    let mut trial = record.clone();
    let outcome = trial.try_admit(who);
    let mut lines = vec![format!("{} becomes a member of {}", who.name, cluster(record))];
    for step in &who.chain {
        lines.push(format!("tokens begin above {}, the last ceiling of cluster {}", step.ceiling, step.from));
    }
    let refused = match outcome {
        Outcome::Refused { words, .. } => Some(words),
        Outcome::Already { .. } => Some(format!("{} is a member already", who.name)),
        Outcome::Done { .. } | Outcome::Unknown { .. } => None,
    };
    Plan { lines, refused }
}

/// Admission of a node, and what becomes of the votes then.
#[must_use]
pub fn admit_and_vote(record: &Record, mut look: Look, who: &Admission) -> Plan {
    let Plan { mut lines, refused } = admit(record, who);
    if refused.is_none() {
        let candidate = Candidate {
            name: who.name.clone(),
            role: who.role,
            store: who.store,
            since: u64::MAX,
            zone: String::new(),
            up: true,
            caught_up: true,
            leaving: false,
            follows: false,
            lost: false,
            leads: false,
        };
        look.members.insert(who.id.node_id, candidate);
        votes(&look, None, &mut lines);
    }
    Plan { lines, refused }
}

/// `leave` on this node.
#[must_use]
pub fn leave(record: &Record, mut look: Look, node_id: NodeId) -> Plan {
    let Some(member) = record.member(node_id) else {
        return Plan { lines: Vec::new(), refused: Some(String::from("this node is no member")) };
    };
    if record.members().len() == 1 {
        let refused = Some(format!("{} is the only member: there is nobody to leave", member.name));
        return Plan { lines: Vec::new(), refused };
    }
    if let Some(candidate) = look.members.get_mut(&node_id) {
        candidate.leaving = true;
    }
    let stay = record.members().len() - 1;
    let lines = vec![
        format!("{} leaves for good; {stay} members stay", member.name),
        String::from("no strategy brings it back until `ekka join` or `ekka form`"),
    ];
    with_votes(&look, node_id, lines, None)
}

/// `force-leave NODE [--replace-with NEW]`; with whom this node hears.
#[must_use]
pub fn force_leave(
    record: &Record,
    mut look: Look,
    node_id: NodeId,
    replace_with: Option<NodeId>,
    in_reach: &InReach,
) -> Plan {
    let Some(member) = record.member(node_id) else {
        return Plan { lines: Vec::new(), refused: Some(format!("node_id {node_id} is no member")) };
    };
    let refused = no_majority(record, in_reach)
        .or_else(|| replace_with.and_then(|new| replacement(record, &look, node_id, new, in_reach)));
    match (replace_with, look.members.get_mut(&node_id)) {
        (Some(new), _) => look.replace = Some((node_id, new)),
        (None, Some(candidate)) => candidate.leaving = true,
        (None, None) => {}
    }
    let mut lines = Vec::new();
    if let Some(new) = replace_with.and_then(|new| record.member(new)) {
        lines.push(format!("waits until {} has caught up, then moves the vote in one change", new.name));
    }
    lines.push(format!("{} is taken out for good: its vote and its row in `members`", member.name));
    if !record.is_over(Incarnation { node_id, guid: member.guid })
        && let Some(agreed) = record.leases()
    {
        let seconds = agreed.waited().as_secs_f64();
        lines.push(format!("its locks and rows of its own end once its lease has run out: at most {seconds} s later"));
    }
    lines.push(String::from("should it come back, it is told so and stays outside until `ekka join`"));
    lines.push(String::from(
        "what only it has of tables on disc stays there: `ekka join` on it brings that, so keep its disc until then",
    ));
    with_votes(&look, node_id, lines, refused)
}

fn no_majority(record: &Record, in_reach: &InReach) -> Option<String> {
    if in_reach.is_majority_of(record.configuration()) {
        return None;
    }
    let voters = record.voters();
    let here = in_reach.count(&voters);
    let needed = voters.len() / 2 + 1;
    Some(format!(
        "{here} of {} voters in reach, {needed} needed to remove a member: see `ekka recover --plan`",
        voters.len()
    ))
}

/// Why the second cannot take the vote of the first, if it cannot: what was found, and what is taken.
fn replacement(record: &Record, look: &Look, old: NodeId, new: NodeId, in_reach: &InReach) -> Option<String> {
    let name = |id| record.name_of(id);
    let taken = "--replace-with takes a core member that is up, follows the log and does not vote yet";
    let found = if old == new {
        format!("{} is the one that is to go", name(old))
    } else if !record.votes(old) {
        return Some(format!("{} has no vote that could move: leave out --replace-with", name(old)));
    } else {
        match record.member(new) {
            None => format!("{} is no member", name(new)),
            Some(member) if member.role == Role::Replicant => {
                format!("{} is a replicant, which never votes", name(new))
            }
            Some(member) if member.role == Role::Witness && !is_witness(record, old) => {
                format!("{} is a witness, and {} is none", name(new), name(old))
            }
            Some(_) if record.votes(new) => format!("{} votes already", name(new)),
            Some(_) if !in_reach.has(new) => format!("{} is down", name(new)),
            Some(_) if look.members.get(&new).is_none_or(|candidate| candidate.store.is_none()) => {
                format!("{} has not said yet which store it votes with", name(new))
            }
            Some(_) => return None,
        }
    };
    Some(format!("{found}: {taken}"))
}

fn is_witness(record: &Record, node_id: NodeId) -> bool {
    record.member(node_id).is_some_and(|member| member.role == Role::Witness)
}

/// Adds what becomes of the votes.
fn with_votes(look: &Look, node_id: NodeId, mut lines: Vec<String>, refused: Option<String>) -> Plan {
    votes(look, Some(node_id), &mut lines);
    Plan { lines, refused }
}

/// Who votes before and after, by which steps, whether a majority is up then, and what can be lost.
fn votes(look: &Look, goes: Option<NodeId>, lines: &mut Vec<String>) {
    let before: BTreeSet<VoterId> = look.configuration.voters.iter().flatten().copied().collect();
    let names = |voters: &BTreeSet<VoterId>| {
        let name = |voter: &VoterId| {
            let member = look.members.get(&voter.node_id);
            member.map_or_else(|| format!("node_id {}", voter.node_id), |member| member.name.to_string())
        };
        voters.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let up = |voter: &&VoterId| look.members.get(&voter.node_id).is_some_and(|member| member.up);
    lines.push(format!("now {} vote: {}", before.len(), names(&before)));
    let (steps, after) = steps(look.clone());
    lines.extend(steps);
    if goes.is_some_and(|node_id| after.iter().any(|voter| voter.node_id == node_id)) {
        lines.push(String::from("until then it keeps its vote, and nothing is removed"));
    } else if after != before {
        let (here, needed) = (after.iter().filter(up).count(), after.len() / 2 + 1);
        lines.push(format!("then {} vote: {}", after.len(), names(&after)));
        lines.push(format!("{here} of them are up, {needed} are a majority"));
        lines.push(strength(after.len()));
    } else if goes.is_some() {
        let (here, needed) = (after.iter().filter(up).count(), after.len() / 2 + 1);
        lines.push(format!("it has no vote, so these go on: {here} of them are up, {needed} are a majority"));
    }
}

fn cluster(record: &Record) -> String {
    record.cluster().map_or_else(|| String::from("no cluster"), |id| id.to_string())
}
