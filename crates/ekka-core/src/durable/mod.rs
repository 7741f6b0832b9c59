//! The durable group: who is a member, who votes, which tokens may be issued, which cluster goes into which.
//!
//! **Owns** the [`Record`] that the log of the group adds up to, the wishes that are to be committed, and, on the leader,
//! the steps towards the voters that should be.
//!
//! **Inputs** [`Input`]: entries and configurations as they are committed, what the replica knows of its group, what
//! membership knows of the members, wishes, and the answers of the group.
//!
//! **Outputs** [`Output`]: commands to propose, voters to change, the seats that gossip carries, what changed, replies.
//!
//! **Invariants** (checked by `check`): places in the order of the cluster only grow, and no two members have one; a
//! member's present start is not below one that is over; no node is both a member and forgotten; the token floor is not
//! above the ceiling; one proposal of a wish is under way at a time, and one change of the voters.
//!
//! **How a proposal survives a lost answer.** A wish fixes its command when it is first proposed, and proposes the very
//! same again after an answer that was lost. Commands name what they were decided on, so one copy does it, a second one
//! finds it done, and one that arrives when all is different is outdated. Tokens differ: whose answer was lost takes the
//! next range.
//!
//! # How Control will use it
//!
//! `Control` owns one [`Durable`] beside its other rooms, with a `Work::Durable(Input)` of its own, and the shell owns
//! the replica (`consensus::Group`), whose state machine is a second [`Record`]. The replica gives every committed entry
//! to its record, and the same bytes to `Control` as [`Input::Applied`]; configurations as [`Input::Configured`],
//! snapshots as [`Input::Restored`], its standing as [`Input::Standing`].
//!
//! - [`Output::Ask`] becomes an output of `Control` as it is; the shell calls the port and answers with the token. `GroupError` becomes [`Failure`] one to one.
//! - autocluster's `Entered { how: "formed" }` gives [`Input::Found`] on every founder (the vote carries the store ids);
//!   its `Admit` gives [`Wish::Admit`], whose reply gives `autocluster::Input::Admitted`. Where autocluster moves a
//!   node along merge records it takes `chain` from [`absorb::Chains`].
//! - [`Output::Seats`] goes to membership in place of its own counting (`Input::Admit`, `Input::Remove` there fall away);
//!   [`Output::Changed`] goes to tables, locks and duties, [`Output::Decision`] to `decisions`.
//! - [`Input::Facts`] is made from membership's members whenever one of them changes. `leaving` comes from the status,
//!   the store id has to be a field of a member's own record.
//! - majority everywhere (readiness, split, autoclean) is [`InReach::is_majority_of`] the configuration.
//! - a Hello carries [`Record::generation`]; what a peer says becomes [`Input::Heard`].
//!
//! **Sources**: sections 2, 4, 6, 8 to 10, 12, 13 of the design; schedules S1-5, S1-6, S1-8, S1-9, S1-12, S1-13, S2-4, S2-6,
//! S2-7, M10; Raft (Ongaro 2014), chapter 4 for changes of voters.

pub mod absorb;
mod check;
mod cluster;
pub mod command;
mod ends;
pub mod generation;
mod lead;
mod members;
pub mod outcome;
pub mod plan;
mod pursue;
mod reach;
pub mod recover;
mod room;
pub mod schemas;
mod state;
pub mod voters;
mod wish;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

pub use absorb::{Chains, MergeRecord};
pub use command::{Admission, Command, Entry, Founder, Proof, Recovery, Removal, Why};
pub use outcome::{Change, Gave, Outcome, Refusal};
pub use pursue::REPLACE_WITHIN;
pub use reach::InReach;
pub use room::Durable;
pub use schemas::{SchemaChange, TableEntry};
pub use state::{Forgotten, Member, Record};
pub use wish::Wish;

use crate::consensus::{Configuration, LogPlace, Standing, VoterId};
use crate::event::EventKind;
use crate::id::{ClusterId, Incarnation, NodeId, NodeName};
use crate::membership::Seat;
use crate::view::Role;

/// Faults put in on purpose, so that a test can show that it sees them. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Generations are taken without compare-and-set.
    pub generations_unchecked: bool,
    /// Admissions from an absorbed cluster do not raise the token ceiling.
    pub chain_ceilings_ignored: bool,
    /// Only the first record of a chain is followed.
    pub merging_not_followed: bool,
}

/// What membership knows of a node that is, or wants to be, a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// Its latest start.
    pub id: Incarnation,
    /// Its name.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// The id of its Raft store, as it says itself.
    pub store: Option<u128>,
    /// Its zone (the tag `zone`).
    pub zone: String,
    /// It is heard.
    pub up: bool,
    /// It says that it is on its way out.
    pub leaving: bool,
    /// Its replica has what was committed a moment ago, as far as it reports that; true where nobody reports.
    pub caught_up: bool,
}

/// Why the group did not answer a proposal with an outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No majority: nothing was given to any log.
    NoQuorum(String),
    /// It may be committed, now or later, or never.
    Unknown(String),
    /// The group does not do this, in words.
    Refused(String),
    /// The replica has ended.
    Ended(String),
}

/// How a wish ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It holds, by the entry at this place (0: by an earlier one).
    Done {
        /// The place.
        number: u64,
        /// What comes with it.
        gave: Gave,
    },
    /// It was not done, and asking again changes nothing.
    Refused {
        /// Why; `None` where the group itself refused.
        code: Option<Refusal>,
        /// The same in words.
        words: String,
    },
    /// The leader has to be asked.
    AskLeader {
        /// Who leads, as far as is known.
        leader: Option<VoterId>,
    },
    /// It is not done, or not known to be: asking again can help.
    TryAgain {
        /// It may have been done.
        unknown: bool,
        /// Why, in words.
        words: String,
    },
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The next committed entry.
    Applied {
        /// Where it stands.
        at: LogPlace,
        /// Its bytes.
        command: Vec<u8>,
        /// It was applied before this start of the node already: it brings the record up to date and is no news.
        replay: bool,
    },
    /// A configuration was committed.
    Configured(Configuration),
    /// The replica took a snapshot in place of entries.
    Restored(Vec<u8>),
    /// What the replica knows of its group now.
    Standing(Standing),
    /// What membership knows now, of every node that it knows.
    Facts(BTreeMap<NodeId, Fact>),
    /// The vote has chosen this cluster, and this node is one of its founders. Said again at each start until the record
    /// holds the cluster: the first leader of the group may have died before the first entry.
    Found {
        /// Its id.
        cluster_id: ClusterId,
        /// All founders, the oldest first.
        founders: Vec<Founder>,
    },
    /// Something is to be committed.
    Wish {
        /// Comes back with the reply.
        id: u64,
        /// What.
        wish: Wish,
        /// The number of the decision on this node.
        decision: u64,
        /// Who saw what.
        evidence: Vec<String>,
    },
    /// Nobody waits for this wish any more; what was proposed may be done all the same.
    Withdraw {
        /// Which.
        id: u64,
    },
    /// The group has answered a proposal: with the bytes of an [`Outcome`], or not.
    Answered {
        /// Of the output.
        token: u64,
        /// The answer.
        result: Result<Vec<u8>, Failure>,
    },
    /// The group has ended a change of voters or learners.
    Reconfigured {
        /// Of the output.
        token: u64,
        /// How.
        result: Result<(), Failure>,
        /// Where the latest configuration stands in this replica's log now, committed or not: the next step waits until
        /// the record holds it.
        latest: LogPlace,
    },
    /// A node of this cluster says which generation of it it is in.
    Heard {
        /// Who.
        by: NodeName,
        /// The generation.
        generation: u64,
    },
    /// This node goes on without the majority, by an operator's word: what was the newest log is the first entry of a
    /// new one. Said again at each start until the record holds it.
    Recover(Recovery),
    /// Another voter is to lead, since this one is to be taken out.
    HandOver,
}

/// What the room, and `Control` for it, wants of the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Found the group with exactly these voters; harmless where it has begun.
    Found {
        /// The voters.
        voters: BTreeSet<VoterId>,
    },
    /// Have this committed, and answer with the token.
    Propose {
        /// The token.
        token: u64,
        /// The entry.
        command: Vec<u8>,
    },
    /// Make these the voters, and say so with the token.
    ChangeVoters {
        /// The token.
        token: u64,
        /// All voters.
        voters: BTreeSet<VoterId>,
    },
    /// Let these learn, and say so with the token.
    SetLearners {
        /// The token.
        token: u64,
        /// All learners.
        learners: BTreeSet<VoterId>,
    },
}

/// What goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The group is to do something.
    Ask(Ask),
    /// Another voter is to lead, if one can.
    HandOver {
        /// One of these; they keep their votes.
        among: BTreeSet<VoterId>,
    },
    /// What a committed entry changed.
    Changed(Vec<Change>),
    /// The seats as committed, for gossip. Given when they change.
    Seats(BTreeMap<NodeId, Seat>),
    /// For people.
    Event(EventKind),
    /// For `ekka why`, on every member.
    Decision {
        /// Its kind.
        kind: &'static str,
        /// What was committed.
        what: String,
        /// By which rule.
        rule: &'static str,
        /// Who proposed it, and what was seen.
        evidence: Vec<String>,
    },
    /// A wish has ended.
    Reply {
        /// Which.
        id: u64,
        /// How.
        reply: Reply,
    },
    /// What the group waits for, in words; empty where it waits for nothing. Given when it changes.
    Waits(String),
    /// The cluster was recovered without this node: it stops granting and writing at once.
    Outranked {
        /// Why, in words.
        words: String,
    },
}
