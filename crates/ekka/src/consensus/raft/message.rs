//! What replicas of a group say to each other, and the frames that carry it.

use ekka_core::consensus::campaign::{Answer, Question};
use ekka_core::consensus::{GroupId, LogPlace, VoterId};
use ekka_core::volatile::Source;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};

use super::types::{Blob, Meta, Types, Vote};

/// A frame of the control lane.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) group: GroupId,
    pub(super) from: VoterId,
    pub(super) to: VoterId,
    pub(super) body: Body,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Body {
    /// Wants a reply with the same number.
    Request(u64, Request),
    Reply(u64, Reply),
    Notice(Notice),
}

#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    Append {
        rpc: AppendEntriesRequest<Types>,
        /// The leader has been answered by a majority lately.
        has_majority: bool,
    },
    Vote(VoteRequest<VoterId>),
    /// Commands for the leader. Who does not lead may pass them on as often as `hops` says.
    Propose {
        commands: Vec<Blob>,
        hops: u8,
    },
    /// The place up to which a reader has to wait.
    ReadIndex {
        hops: u8,
    },
    /// All pieces of this snapshot were sent: install it.
    Install {
        vote: Vote,
        meta: Meta,
        transfer: u64,
        length: u64,
    },
    /// What a sealed replica held, for one that begins with it.
    HandOut(Source),
}

#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Append(AppendEntriesResponse<VoterId>),
    Vote(VoteResponse<VoterId>),
    Proposed(Proposed),
    ReadIndex(Option<LogPlace>),
    Installed(Vote),
    /// It could not be done, in words.
    Failed(String),
    /// It comes by this transfer.
    HandingOut {
        transfer: u64,
        length: u64,
    },
}

/// What became of forwarded commands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Proposed {
    /// Applied, with the answer to each.
    Done { at: LogPlace, answers: Vec<Vec<u8>> },
    /// Given to no log: they may be tried elsewhere.
    NotHanded(String),
    /// They may be committed, now or later, or never.
    Unknown(String),
}

#[derive(Serialize, Deserialize)]
pub(super) enum Notice {
    Question(Question),
    Answer(Answer),
    /// The leader of this term asks the receiver to take over.
    TakeOver {
        term: u64,
    },
    /// So many pieces of a snapshot have been taken in all.
    Credit {
        transfer: u64,
        taken: u32,
    },
}

/// What a frame of the bulk lane begins with, so that users of the lane tell their frames apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BulkUse {
    /// A piece of the snapshot of a consensus group.
    GroupSnapshot,
    /// A message of the full copy of a table.
    TableCopy,
}

/// A piece of a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) what: BulkUse,
    pub(super) group: GroupId,
    pub(super) from: VoterId,
    pub(super) to: VoterId,
    pub(super) transfer: u64,
    /// Its number, from 0.
    pub(super) number: u32,
    pub(super) bytes: Blob,
}

/// What a frame of the bulk lane is for; nothing where that is not known here.
#[must_use]
pub fn bulk_use(frame: &[u8]) -> Option<BulkUse> {
    postcard::take_from_bytes(frame).ok().map(|(what, _)| what)
}
