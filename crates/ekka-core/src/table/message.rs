//! The messages of tables between nodes. New variants are appended; nothing is taken out or moved.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::owned::OwnedMessage;
use super::stamp::{Hlc, Stamp};
use super::vector::{OpId, OpNumber, Vector};
use crate::id::Incarnation;

/// A message with the table that it is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The table: the number of the entry of the durable group that made it.
    pub table: u64,
    /// The shard; 0 until there are more.
    pub shard: u16,
    /// The message.
    pub body: Body,
}

/// A message by the kind of its table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// About an `available` table.
    Available(Message),
    /// About an `owned` one.
    Owned(OwnedMessage),
    /// The sender has opened the table just now, on a link that was there before: what it was told until then it has not
    /// heard, and both begin anew.
    Opened,
    /// The sender has got from its peers what they held: who holds what it holds has all.
    Loaded,
    /// The connection is there, and its sender lives: it is about no table.
    Alive,
    /// How much there is of a table that is loaded, by which the receiver knows how far it is with fetching it.
    Amount {
        /// Bytes of its rows.
        bytes: u64,
    },
    /// Whether the sender's disc has room for more of a table that is kept there: while it has none, no copy there counts.
    Room {
        /// It has.
        has: bool,
    },
}

/// A message between two nodes about one `available` table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// What the sender holds, and what it knows of origins that are over.
    Report(Report),
    /// Operations in an order in which they can be applied.
    Ops(Batch),
    /// How much the sender holds of the receiver's own operations: all up to these numbers.
    Held {
        /// In its rows.
        applied: OpNumber,
        /// So that it survives what the table's storage promises.
        stored: OpNumber,
    },
    /// The sender wants all operations above this vector, of whatever origin.
    Pull {
        /// What it holds.
        have: Vector,
    },
    /// All that the last [`Message::Pull`] asked for has been sent.
    Served,
    /// What is missing is no longer in the sender's log: a full copy has to be asked for.
    TooFarBehind,
    /// The sender wants a full copy.
    CopyAsk {
        /// Where an earlier one is to be gone on with.
        resume: Option<CopyPlace>,
    },
    /// A full copy begins: all that there is beside rows and journal.
    CopyHead(CopyHead),
    /// Rows of a full copy, in order of their keys.
    CopyRows {
        /// Which try of which copy.
        copy: u64,
        /// The rows.
        rows: Batch,
    },
    /// Entries of the journal of a full copy.
    CopyJournal {
        /// Which try of which copy.
        copy: u64,
        /// The entries.
        entries: Batch,
    },
    /// All of a full copy has been sent.
    CopyEnd {
        /// Which try of which copy.
        copy: u64,
        /// How many rows, by which the receiver knows that it has all.
        rows: u64,
        /// How many entries of the journal.
        entries: u64,
    },
    /// The sender was cleaned, has come back under a new guid, and gives what only it may have.
    Estate {
        /// How many messages of the estate went before.
        number: u64,
        /// Versions of rows.
        versions: Batch,
        /// Whether they are of its journal.
        journal: bool,
    },
    /// All of the estate has been sent.
    EstateEnd {
        /// How many messages it was.
        messages: u64,
    },
    /// The estate is judged; a full copy may be asked for.
    EstateTaken {
        /// The number of the last copy that was begun before: it may lack what was judged.
        after: u64,
    },
    /// The sender was cleaned and has come back; it wants to know what the receiver holds, to give the rest.
    EstateOffer,
    /// The answer: what is not above this vector need not be given.
    EstateWanted {
        /// What the sender holds, origins that are over and folded included.
        have: Vector,
    },
    /// The sender cannot do now what it was asked for; ask another node, or later.
    NotNow,
    /// A full copy is gone on with from the place that was asked for.
    CopyAgain {
        /// Which copy.
        of: u64,
        /// The number that its parts have from here on: what comes under another one is late.
        copy: u64,
    },
    /// As [`Message::EstateOffer`], by a member of a cluster that has gone into this one.
    AbsorbedOffer,
}

/// What a node holds of one table.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// In its rows.
    pub held: Vector,
    /// So that it survives what the table's storage promises; `None` where that is the same.
    pub stored: Option<Vector>,
    /// Of each origin that is over and not folded, the number held when, or after, that was learnt.
    pub closing: Vec<OpId>,
    /// Origins that the sender has folded and the receiver has not, with their last numbers.
    pub folded: Vec<OpId>,
    /// A sum over all origins that the sender has folded.
    pub folded_digest: u64,
    /// The sender's clock, above which a newcomer's must be.
    pub clock: Hlc,
}

/// A place in a full copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyPlace {
    /// Which copy.
    pub copy: u64,
    /// How many rows have come.
    pub rows: u64,
    /// The key of the last of them.
    pub after: Option<Vec<u8>>,
}

/// What a full copy has beside rows and journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyHead {
    /// A number that its giver gives to one copy only, and no other start of a node; its parts have it too.
    pub copy: u64,
    /// Who gives it: it is void when that incarnation is over.
    pub giver: Incarnation,
    /// What its rows and journal account for.
    pub held: Vector,
    /// The last numbers of origins that are over and have left the vectors.
    pub folded: Vec<OpId>,
    /// The newest tombstone that was ever dropped.
    pub gc_floor: Stamp,
    /// The giver's clock.
    pub clock: Hlc,
}
