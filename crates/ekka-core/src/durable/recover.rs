//! `ekka recover`: a cluster goes on without the majority of its voters, by an operator's word.
//!
//! A survivor founds the group anew with itself as the only voter, on an empty store; the first entry brings the roster
//! of the newest log in reach. The generation of the cluster is a later one, and tokens begin far above the last known
//! ceiling. Whoever was given up and lives learns of it at the first contact, by the generation.
//!
//! Nobody else may recover beside the survivor, and nobody can be kept from it who does not hear of it. Where two did, each
//! of them has given up the other: generation, tokens, places of the volatile group differ, and the later generation wins.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::command::{Command, Founder, Recovery};
use super::generation;
use super::plan::Plan;
use super::reach::InReach;
use super::state::Record;
use crate::consensus::{LogPlace, VoterId};
use crate::id::{Incarnation, NodeId, NodeName};
use crate::limits::{RECOVER_GENERATIONS, RECOVER_TOKENS, TOKEN_MAX};
use crate::view::Role;

/// Why nothing is given up where it need not be.
pub const MAJORITY_IN_REACH: &str = "a majority of the voters is in reach: nothing needs to be given up, and \
                                     `ekka force-leave` takes out whom it is not";

/// A log that can be read: this node's own, or that of a member that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogInReach {
    /// Whose.
    pub node_id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// The generation of the cluster there.
    pub generation: u64,
    /// Its last entry.
    pub last: LogPlace,
}

/// The newest of these logs: of the highest generation, then by Raft's own order. Among equals this node's own.
#[must_use]
pub fn newest(me: NodeId, logs: &[LogInReach]) -> Option<&LogInReach> {
    logs.iter().max_by_key(|log| (log.generation, log.last, log.node_id == me))
}

/// Members that are given up: all whose log is not in reach and who do not answer.
#[must_use]
pub fn given_up(record: &Record, in_reach: &InReach) -> Vec<NodeId> {
    record.members().keys().copied().filter(|id| !in_reach.has(*id)).collect()
}

/// `recover --plan` on this node, with the store that it would vote with: what would be given up, or why nothing is.
#[must_use]
pub fn plan(record: &Record, survivor: &Founder, logs: &[LogInReach], in_reach: &InReach) -> Plan {
    let me = survivor.id.node_id;
    let next = generation::next(record.generation(), survivor.store);
    let tokens = tokens_from(record.token_ceiling(), next);
    let refused = refusal(record, (survivor, tokens), logs, in_reach);
    let name = |id: &NodeId| record.name_of(*id);
    let lost = given_up(record, in_reach);
    let voters = record.voters();
    let (all, here) = (voters.len(), in_reach.count(&voters));
    let mut lines = vec![format!("{here} of {all} voters in reach, {} needed", all / 2 + 1)];
    let replaced = |voter: &&VoterId| in_reach.has(voter.node_id) && !in_reach.has_voter(**voter);
    lines.extend(voters.iter().filter(replaced).map(|voter| {
        format!("{} is in reach and has another store than that which votes: its log is lost", name(&voter.node_id))
    }));
    if let Some(log) = newest(me, logs) {
        lines.push(format!(
            "the newest log in reach is that of {}: term {}, entry {}",
            log.name, log.last.term, log.last.index
        ));
    }
    lines.push(match lost.as_slice() {
        [] => String::from("nobody is given up"),
        lost => format!("given up: {}", lost.iter().map(name).collect::<Vec<_>>().join(", ")),
    });
    if !lost.is_empty() {
        lines.push(String::from(
            "what only they held is lost: the last acknowledged writes of quorum tables, changes of members",
        ));
        lines.push(String::from("should one of them live, it stops granting and writing when it meets this cluster, and stays outside until `ekka join`"));
        lines.push(String::from("none of them may recover beside this node: of two that did only one goes on, and what the other acknowledged since is lost"));
    }
    lines.push(format!(
        "the cluster goes on as its generation {}, {} as its only voter until others have caught up",
        generation::words(next),
        name(&me)
    ));
    if survivor.role == Role::Witness {
        lines.push(format!(
            "{} is a witness: it votes and holds no table. Start a core node at once; where a core member is left, run it \
             there",
            name(&me)
        ));
    }
    lines.push(format!("every lock is free again; fencing tokens begin at {tokens}"));
    if let Some(merging) = record.merging() {
        lines.push(format!(
            "it was to go into {}, and serves again: do this only where that one is lost for good. Should they meet all the \
             same, it goes there anew",
            merging.into
        ));
        lines.push(String::from(
            "members that are taken out, or come back, while this runs may have to do so again: other members go on with \
             the old log until they hear of it",
        ));
    }
    Plan { lines, refused }
}

/// What is said where only the volatile group is lost: the next one begins with nothing, by an entry of a majority.
#[must_use]
pub fn plan_volatile(record: &Record, names: impl Fn(&Incarnation) -> String) -> Vec<String> {
    let lost: Vec<String> = record.volatile_lost().iter().map(names).collect();
    vec![
        String::from(
            "a majority of the voters is in reach: no member is given up, no acknowledged write of a disc is lost",
        ),
        format!(
            "the volatile group is lost with {}, which are gone and could go on without this cluster",
            lost.join(", ")
        ),
        String::from(
            "the next one begins empty: ram quorum tables are lost, every lock is free after the longest session time",
        ),
        String::from("should they live behind a cut, they must not go on serving: keep them off the network"),
    ]
}

/// The first token of this generation, by the last ceiling before it. The later of two generations begins higher, and
/// what the other one issues stays below that.
pub(super) fn tokens_from(ceiling: u64, generation: u64) -> u64 {
    let apart = generation::survivor(generation) * (RECOVER_TOKENS >> 32);
    ceiling.saturating_add(RECOVER_TOKENS).saturating_add(apart).min(TOKEN_MAX)
}

/// By how much the number of the volatile group grows: no other survivor's group may be taken for this one. A millionth
/// part of a chance is left, so that people need not read longer numbers.
pub(super) fn volatile_jump(generation: u64) -> u64 {
    RECOVER_GENERATIONS * (1 + (generation::survivor(generation) >> 12))
}

fn refusal(
    record: &Record,
    (survivor, tokens): (&Founder, u64),
    logs: &[LogInReach],
    in_reach: &InReach,
) -> Option<String> {
    let me = survivor.id.node_id;
    if record.cluster().is_none() {
        return Some(String::from("this node has no record of a cluster: there is nothing to recover here"));
    }
    // Who was to go into a cluster that is lost serves nobody, majority or not (schedule M10).
    if record.merging().is_none() && in_reach.is_majority_of(record.configuration()) {
        return Some(String::from(MAJORITY_IN_REACH));
    }
    let was = record.member(me).map(|member| member.role);
    if survivor.role == Role::Replicant || was == Some(Role::Replicant) {
        return Some(String::from(
            "this node is a replicant, which never voted: run it on a core member that is left, or on a witness",
        ));
    }
    if !logs.iter().any(|log| log.node_id == me) {
        return Some(String::from("this node keeps no log of the group: run it on a voter"));
    }
    if tokens >= TOKEN_MAX {
        return Some(String::from("fencing tokens are used up: a new cluster has to be formed"));
    }
    let newest = newest(me, logs).filter(|log| log.node_id != me)?;
    Some(format!("the log of {} is newer than this one: run it there, or less is kept than could be", newest.name))
}

/// The first entry of the recovered cluster.
#[must_use]
pub fn command(newest: &Record, survivor: Founder, given_up: Vec<NodeId>) -> Command {
    let generation = generation::next(newest.generation(), survivor.store);
    Command::Recover(Recovery { generation, snapshot: newest.to_snapshot(), given_up, survivor })
}

/// Whether a cluster of generation `mine` is over because a peer of it is in a later one: then this node grants and
/// writes nothing from now on, in words.
#[must_use]
pub fn outranked(mine: u64, by: &NodeName, theirs: u64) -> Option<String> {
    (theirs > mine).then(|| {
        let (mine, theirs) = (generation::words(mine), generation::words(theirs));
        format!(
            "{by} is in generation {theirs} of this cluster, this node in {mine}: the cluster was recovered without it, \
             and it grants and writes nothing any more"
        )
    })
}
