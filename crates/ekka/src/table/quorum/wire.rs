//! What a node without a replica asks one that has it, by calls between nodes.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{LogPlace, VoterId};
use ekka_core::id::{ClusterId, NodeId};
use ekka_core::schema::Storage;
use ekka_core::table::quorum::{Delta, Mark, Octets};
use serde::{Deserialize, Serialize};

use crate::rpc::{Call, CallError, Hub, Method};

/// How a node asks. It is no method for programs.
pub(super) const ASK: Method<Ask, Told> = Method::new("ekka.quorum").postcard();
/// How long one that has nothing new waits for it before it says so.
pub(super) const WAIT: Duration = Duration::from_secs(1);

/// Something about the replica of the group of a storage.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) storage: Storage,
    pub(super) what: What,
}

/// What is asked. New ones are appended, never inserted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// What changed after a mark of this history; where that is nothing yet, within [`WAIT`].
    After { history: String, mark: Mark },
    /// All of it, in pieces.
    All,
    /// The next piece of what was begun.
    Piece { number: u64, piece: u32 },
    /// How far the tables are, with everything that was committed anywhere before this was asked.
    Barrier { history: String },
    /// Have a command committed.
    Propose { history: String, command: Octets },
}

/// What is answered. New ones are appended, never inserted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// That cannot be done here now, in words. Nothing was done.
    Not(String),
    /// What changed, and how the group stands.
    News { delta: Delta, leader: Option<NodeId>, voters: Vec<Vec<VoterId>> },
    /// It is not kept any more, or the history is another one: all of it is to be asked for.
    Anew,
    /// All of it follows under this number.
    Begun { number: u64, cluster: ClusterId, history: String },
    /// A piece; nothing after the last one.
    Piece(Option<Octets>),
    /// So far.
    At(Mark),
    /// Committed and applied.
    Applied { at: LogPlace, answer: Octets },
    /// It was handed to the group: whether it is done is not known.
    Unknown(String),
}

/// The way to other nodes.
#[derive(Clone)]
pub(super) struct Lane {
    pub(super) hub: Arc<Hub>,
    pub(super) storage: Storage,
}

impl Lane {
    pub(super) async fn ask(&self, node: NodeId, what: What, limit: Duration) -> Result<Told, CallError> {
        let ask = Ask { storage: self.storage, what };
        Call::new(self.hub.clone(), node, &ASK, &ask).deadline(limit).await
    }
}
