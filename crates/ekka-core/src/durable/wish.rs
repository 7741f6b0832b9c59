//! What is to be committed, and what it takes: the next thing to do for a wish, as the record stands.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::absorb::MergeRecord;
use super::command::{Admission, Command, Removal};
use super::outcome::{Gave, Outcome, Refusal};
use super::pursue::{REPLACE_WITHIN, WISH_TIMEOUT};
use super::schemas::SchemaChange;
use super::state::Record;
use super::{Fact, Reply};
use crate::id::{ClusterId, Incarnation, NodeId};
use crate::lease::GoneEntry;
use crate::membership::RemovalCause;
use crate::volatile::Proposal;

/// What is to be committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// This node is to become a member. `basis` is set here.
    Admit(Admission),
    /// A member goes for good: its vote first, then its seat. For one that votes or learns only the leader can do it.
    Remove {
        /// Whom.
        node_id: NodeId,
        /// Why.
        cause: RemovalCause,
        /// Who wants it.
        by: NodeId,
        /// Who is to take its vote, and nobody else.
        replace_with: Option<NodeId>,
    },
    /// A start is over.
    Gone(GoneEntry),
    /// So many fencing tokens that nobody else has.
    Tokens(u64),
    /// Tokens are issued from this number on.
    TokensFrom(u64),
    /// This cluster goes into that one.
    Absorb {
        /// The older one.
        into: ClusterId,
        /// An operator's word.
        by_word: bool,
    },
    /// Another cluster has gone into this one.
    TakeIn {
        /// The records.
        chain: Vec<MergeRecord>,
    },
    /// The next volatile group, or other voters of the present one.
    Generation(Proposal),
    /// Quorum tables are about to hold their first row.
    QuorumRows,
    /// A table is made or dropped.
    Schema(SchemaChange),
}

/// What comes next for a wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Propose this.
    Propose(Command),
    /// Wait for this, in words.
    Wait(String),
    /// It ends so.
    End(Reply),
}

impl Wish {
    /// Who is to lose the vote, and who alone may take it.
    pub(super) fn removes(&self) -> Option<(NodeId, RemovalCause, Option<NodeId>)> {
        match self {
            Self::Remove { node_id, cause, replace_with, .. } => Some((*node_id, *cause, *replace_with)),
            _ => None,
        }
    }

    /// How long it is tried. A removal goes on until it is done, refused or withdrawn: a vote may take long to move.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Remove { replace_with: Some(_), .. } => Some(REPLACE_WITHIN),
            Self::Remove { .. } => None,
            _ => Some(WISH_TIMEOUT),
        }
    }

    /// What comes next.
    pub(super) fn next(&self, record: &Record, fact: impl Fn(NodeId) -> Option<Fact>, leads: bool) -> Next {
        match self {
            Self::Admit(who) => Next::Propose(Command::Admit(Admission { basis: record.number(), ..who.clone() })),
            Self::Remove { node_id, cause, by, .. } => removal(record, &fact, (*node_id, *cause, *by), leads),
            Self::Gone(entry) => Next::Propose(Command::Gone(entry.clone())),
            Self::Tokens(count) => Next::Propose(Command::RaiseCeiling { by: *count }),
            Self::TokensFrom(floor) => Next::Propose(Command::TokensFrom { floor: *floor }),
            Self::Absorb { into, by_word } => Next::Propose(Command::Merging { into: *into, by_word: *by_word }),
            Self::TakeIn { chain } => Next::Propose(Command::Merged { chain: chain.clone() }),
            Self::Generation(proposal) => Next::Propose(Command::Generation(proposal.clone())),
            Self::QuorumRows => Next::Propose(Command::QuorumRows),
            Self::Schema(change) => Next::Propose(Command::Schema(change.encode())),
        }
    }
}

/// Why the second will not take the vote of the first any more, where that is so. While a replacement is waited for no
/// other vote moves, so one that cannot come about has to end.
pub(super) fn successor_lost(
    record: &Record,
    (old, new): (NodeId, NodeId),
    on_its_way_out: bool,
) -> Option<(Refusal, String)> {
    let name = |id| record.name_of(id);
    let what = format!("{}, which was to take the vote of {},", name(new), name(old));
    let again = "give another one, or none";
    let Some(member) = record.member(new) else {
        return Some((Refusal::NotMember, format!("{what} is no member any more: {again}")));
    };
    // Once it votes what is left to do needs it no more.
    if record.votes(new) {
        None
    } else if on_its_way_out {
        Some((Refusal::Outdated, format!("{what} is on its way out itself: {again}")))
    } else if record.is_over(Incarnation { node_id: new, guid: member.guid }) {
        Some((Refusal::Over, format!("{what} is gone: {again}, or the same once it is back")))
    } else {
        None
    }
}

/// Whether a member that leaves in good order is waited for: the volatile group still names it, and hands on what it holds
/// first. It follows the log until then, or it could not play its part in that.
pub(super) fn held_back(record: &Record, node_id: NodeId, fact: Option<&Fact>) -> bool {
    fact.is_some_and(|fact| fact.up && fact.leaving) && record.volatile_names(node_id)
}

/// What an outcome means for the wish.
pub(super) enum Verdict {
    /// Its end.
    End(Reply),
    /// What is to be proposed is found anew, a little later.
    LookAgain,
}

/// Judges the outcome of a command.
pub(super) fn judge(proposed: &Command, outcome: Outcome) -> Verdict {
    match (outcome, proposed) {
        (Outcome::Done { number, gave } | Outcome::Already { number, gave }, _) => {
            Verdict::End(Reply::Done { number, gave })
        }
        // Who was to be taken out is out already, votes again, or has moved on.
        (Outcome::Refused { code, .. }, Command::Remove(_)) if code != Refusal::Last => Verdict::LookAgain,
        (Outcome::Refused { code, words }, _) => Verdict::End(Reply::Refused { code: Some(code), words }),
        (Outcome::Unknown { words }, _) => {
            let words = format!("a member runs an older version: {words}");
            Verdict::End(Reply::TryAgain { unknown: false, words })
        }
    }
}

fn removal(
    record: &Record,
    fact: &impl Fn(NodeId) -> Option<Fact>,
    (node_id, cause, by): (NodeId, RemovalCause, NodeId),
    leads: bool,
) -> Next {
    let refuse = |code, words| Next::End(Reply::Refused { code: Some(code), words });
    let Some(member) = record.member(node_id) else {
        return match record.forgotten().get(&node_id) {
            Some(out) => Next::End(Reply::Done { number: out.number, gave: Gave::Nothing }),
            None => refuse(Refusal::NotMember, format!("node_id {node_id} is no member, as far as this node has read")),
        };
    };
    if record.members().len() == 1 {
        return refuse(Refusal::Last, format!("{} is the only member: there is nobody to leave", member.name));
    }
    if cause == RemovalCause::Autoclean && fact(node_id).is_some_and(|fact| fact.up) {
        return refuse(Refusal::Outdated, format!("{} is back", member.name));
    }
    if cause == RemovalCause::Leave
        && let Some(known) = fact(node_id).filter(|known| known.up)
    {
        if !known.leaving {
            // It waits no more, or has started again; it asks anew where it still wants to.
            return refuse(Refusal::Outdated, format!("{} does not say that it leaves", member.name));
        }
        if held_back(record, node_id, Some(&known)) {
            return Next::Wait(format!("the volatile group goes on without {} first", member.name));
        }
    }
    if record.follows(node_id) {
        if !leads {
            return Next::End(Reply::AskLeader { leader: None });
        }
        return Next::Wait(format!("the place of {} in the group goes first", member.name));
    }
    if cause == RemovalCause::Autoclean && !record.is_over(Incarnation { node_id, guid: member.guid }) {
        return Next::Wait(format!("{} is not gone yet", member.name));
    }
    Next::Propose(Command::Remove(Removal { node_id, seniority: member.seniority, cause, by }))
}
