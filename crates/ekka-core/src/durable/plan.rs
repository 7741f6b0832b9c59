//! `--plan`: what a command would do to members and votes, found by the policy itself.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::command::Admission;
use super::outcome::Outcome;
use super::state::Record;
use super::voters::{Look, Step, next_step};
use crate::consensus::VoterId;
use crate::id::NodeId;

/// Steps after which the policy must have come to rest: each brings in or takes out at least one.
const STEPS_MAX: usize = 64;

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
        (2, _) => String::from("two voters: none can be lost. Add a third node or a witness (node.role = witness)"),
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
    with_votes(look, node_id, lines, None)
}

/// `force-leave NODE [--replace-with NEW]`; `in_reach` are the nodes that this one hears, itself included.
#[must_use]
pub fn force_leave(
    record: &Record,
    mut look: Look,
    node_id: NodeId,
    replace_with: Option<NodeId>,
    in_reach: &BTreeSet<NodeId>,
) -> Plan {
    let Some(member) = record.member(node_id) else {
        return Plan { lines: Vec::new(), refused: Some(format!("node_id {node_id} is no member")) };
    };
    let refused = (!record.is_majority(in_reach)).then(|| {
        let voters = record.voters();
        let here = voters.iter().filter(|voter| in_reach.contains(&voter.node_id)).count();
        let needed = voters.len() / 2 + 1;
        format!(
            "{here} of {} voters in reach, {needed} needed to remove a member: see `ekka recover --plan`",
            voters.len()
        )
    });
    match (replace_with, look.members.get_mut(&node_id)) {
        (Some(new), _) => look.replace = Some((node_id, new)),
        (None, Some(candidate)) => candidate.leaving = true,
        (None, None) => {}
    }
    let lines = vec![
        format!("{} is taken out for good: its vote and its row in `members`", member.name),
        String::from("should it come back, it is told so and stays outside until `ekka join`"),
    ];
    with_votes(look, node_id, lines, refused)
}

/// Adds what becomes of the votes.
fn with_votes(look: Look, node_id: NodeId, mut lines: Vec<String>, refused: Option<String>) -> Plan {
    let before: BTreeSet<VoterId> = look.configuration.voters.iter().flatten().copied().collect();
    let (steps, after) = steps(look);
    lines.extend(steps);
    if after.iter().any(|voter| voter.node_id == node_id) {
        lines.push(String::from("until then it keeps its vote, and nothing is removed"));
    } else if after != before {
        lines.push(strength(after.len()));
    }
    Plan { lines, refused }
}

fn cluster(record: &Record) -> String {
    record.cluster().map_or_else(|| String::from("no cluster"), |id| id.to_string())
}
