//! What desks say to each other, by calls between nodes.

use ekka_core::lock::{Cause, Held, Message, SessionId};
use serde::{Deserialize, Serialize};

use super::LockRow;
use crate::rpc::Method;

/// How a desk speaks to another. It is no method for programs.
pub(super) const ASK: Method<Ask, Told> = Method::new("ekka.lock").postcard();

/// New ones are appended, never inserted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// To a voter: its sessions go on.
    Renew(Message),
    /// From whoever leads, to the node whose sessions these are.
    Happened(Vec<Happened>),
    /// To a voter: which locks there are.
    List,
}

/// What became of a request by somebody else's command. New ones are appended, never inserted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Happened {
    /// It was let in.
    Granted { session: SessionId, request: u64, held: Vec<Held> },
    /// It has ended, whether it held or waited.
    Ended { session: SessionId, request: u64, cause: Cause },
    /// Its session has.
    Over { session: SessionId, cause: Cause },
}

impl Happened {
    pub(super) fn session(&self) -> SessionId {
        match self {
            Self::Granted { session, .. } | Self::Ended { session, .. } | Self::Over { session, .. } => *session,
        }
    }
}

/// New ones are appended, never inserted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// The answer of a voter.
    Answer(Message),
    /// Taken note of.
    Noted,
    /// It cannot be answered here now.
    Not,
    /// The locks, in the order of their names.
    Rows(Vec<LockRow>),
}
