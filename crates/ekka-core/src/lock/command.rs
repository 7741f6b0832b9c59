//! What is asked of the arbitration, and what it says.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{LockName, SessionId, Want};
use crate::id::Incarnation;

/// A command. New ones are appended, never inserted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Opens a session. Opening it twice is opening it once.
    Open {
        /// Which.
        session: SessionId,
        /// How long it must be unheard before it ends, in milliseconds.
        ttl_ms: u64,
        /// It is of the process that the node is part of.
        own: bool,
        /// What people read of its owner.
        label: String,
    },
    /// The session's end is proven: its client said so, or its process was seen to end.
    Close {
        /// Which.
        session: SessionId,
    },
    /// The session was unheard for its whole time-to-live, by the clock of the leader of this term.
    Expire {
        /// Which.
        session: SessionId,
        /// The term in which the leader proposed it; in any other it is void.
        term: u64,
    },
    /// This node has started under this guid: what its own process held under an earlier one is over.
    Started {
        /// The later start.
        id: Incarnation,
    },
    /// Wants locks, all of them.
    Acquire {
        /// In which session.
        session: SessionId,
        /// Number of the request; a client counts them up.
        request: u64,
        /// Which locks. They are taken in the order of their names, whatever order they are given in.
        wants: Vec<Want>,
        /// On whose behalf within the session: what holds under this number already may come in again.
        owner: u64,
        /// It may come in again where the same owner holds in the same mode.
        again: bool,
        /// Waits where it is not let in; otherwise nothing is held.
        wait: bool,
        /// Requests with smaller numbers were answered, and are not made again.
        floor: u64,
    },
    /// Gives up a request: what it holds is free, and where it waits it waits no more.
    Release {
        /// In which session.
        session: SessionId,
        /// Which request.
        request: u64,
    },
    /// Takes a lock from all who hold it, by an operator's word.
    Force {
        /// Which.
        name: LockName,
        /// Who asked.
        by: String,
    },
    /// Numbers that nobody else has, to be issued as tokens.
    Tokens {
        /// The first of them.
        from: u64,
        /// One more than the last.
        to: u64,
    },
}

/// A lock that was granted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub name: LockName,
    /// Its fencing token: larger than every one that was issued before.
    pub token: u64,
}

/// What a command is answered with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done, or done before.
    Done,
    /// The request holds all that it wants.
    Granted(Vec<Held>),
    /// The request waits.
    Waits {
        /// For which lock.
        name: LockName,
        /// How many wait before it.
        before: u64,
    },
    /// The request would have had to wait.
    Busy {
        /// For which lock.
        name: LockName,
        /// Whose it is: the label of a session that holds it, where one does.
        holder: Option<String>,
    },
    /// A lock was taken from so many holders.
    Forced {
        /// How many.
        holders: u64,
    },
    /// Nothing was done.
    Refused(Refusal),
    /// A newer version added this command; nothing was done.
    Unknown,
}

/// Why nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The session is not open: it never was, or it has ended.
    NoSession,
    /// The session may not be opened again: it has ended, or is of a start that is over.
    Over,
    /// The request has ended before: it was released, or answered in the negative, and holds nothing.
    Ended,
    /// There is no such request.
    NoRequest,
    /// The same request was made for other locks before.
    Differs,
    /// The request wants nothing, or too much at once, or one lock twice.
    BadWants,
    /// The same owner holds that lock, and did not ask to come in again, or wants another mode.
    HeldByOwner(LockName),
    /// The semaphore has so many permits where another number was named.
    OtherPermits {
        /// Which.
        name: LockName,
        /// How many it has.
        of: u32,
    },
    /// Another leader has proposed it than the one that leads.
    OtherTerm,
    /// There is no room for another session, request or lock.
    Full,
    /// Nobody holds that lock.
    NotHeld,
    /// Nobody is let in yet: sessions of before may be valid, or there are no tokens.
    NotReady,
}

/// Why a lock was lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// Its session was unheard for its whole time-to-live.
    Expired,
    /// Its client ended.
    Closed,
    /// The start of the node that its process was part of is over.
    NodeGone,
    /// By an operator's word.
    Forced,
}

/// What a command did, to others than whoever is answered, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A session is open.
    Opened {
        /// Which.
        session: SessionId,
        /// How long it must be unheard before it ends, in milliseconds.
        ttl_ms: u64,
    },
    /// A session has ended, after all that it held was lost.
    Over {
        /// Which.
        session: SessionId,
        /// Why.
        cause: Cause,
    },
    /// A request that waited holds all that it wants.
    Granted {
        /// Whose.
        session: SessionId,
        /// Which.
        request: u64,
        /// What.
        held: Vec<Held>,
    },
    /// A lock was lost.
    Lost {
        /// By which session.
        session: SessionId,
        /// What.
        held: Held,
        /// Why.
        cause: Cause,
    },
    /// A request has ended by somebody else's word, whether it held all that it wanted or waited: it holds nothing.
    Ended {
        /// Whose.
        session: SessionId,
        /// Which.
        request: u64,
        /// Why.
        cause: Cause,
    },
    /// The tokens run low, or have run out and requests wait for that alone.
    TokensWanted {
        /// How many are left.
        left: u64,
    },
}
