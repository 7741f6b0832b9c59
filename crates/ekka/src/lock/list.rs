//! Which locks there are, who holds them, and how many wait.

use std::time::Duration;

use ekka_core::lock::{Answer, Command, LockName, Mode, Refusal};
use serde::{Deserialize, Serialize};

use super::wire::{ASK, Ask as Question, Told};
use super::{LockError, Locks};
use crate::consensus::Group;
use crate::node::Node;
use crate::rpc::Call;

/// How long one voter may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Somebody who holds a lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockHolder {
    /// What its session says of itself: the name of its node, unless told otherwise.
    pub owner: String,
    /// Its session.
    pub session: String,
    /// How it holds it.
    pub mode: Mode,
    /// Its fencing token.
    pub token: u64,
}

/// A lock that somebody holds or waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockRow {
    /// Which.
    pub name: LockName,
    /// Who holds it.
    pub holders: Vec<LockHolder>,
    /// How many wait.
    pub waiters: u64,
}

impl Node {
    /// The quorum locks that somebody holds or waits for, in the order of their names, after all that was committed before this
    /// call.
    ///
    /// # Errors
    /// `NoQuorum`.
    pub async fn lock_list(&self) -> Result<Vec<LockRow>, LockError> {
        let locks = self.lock_desk();
        if let Some(rows) = here(&locks).await {
            return Ok(rows);
        }
        for voter in locks.voters() {
            let told = Call::new(locks.hub(), voter, &ASK, &Question::List).deadline(ANSWER).await;
            if let Ok(Told::Rows(rows)) = told {
                return Ok(rows);
            }
        }
        Err(LockError::NoQuorum("no voter with the locks is in reach".into()))
    }
}

impl Node {
    /// Takes a quorum lock from all who hold it; whoever is next gets a higher token. How many held it. *Each of them may go on
    /// until it hears of that: what must not be done twice checks the token.*
    ///
    /// # Errors
    /// `Name`; `Refused`: nobody holds it; `NoQuorum`: it is not known whether it was done.
    pub async fn lock_force_release(&self, name: &str, by: &str) -> Result<u64, LockError> {
        let command = Command::Force { name: name.parse()?, by: by.to_owned() };
        match self.lock_desk().commit(command).await {
            Ok(Answer::Forced { holders }) => Ok(holders),
            Ok(Answer::Refused(Refusal::NotHeld)) => Err(LockError::Refused(format!("nobody holds lock {name}"))),
            Ok(other) => Err(LockError::Refused(format!("{other:?}"))),
            Err(error) => Err(LockError::NoQuorum(error.to_string())),
        }
    }
}

/// Those of the replica that this node serves; `None` where it serves none, or is cut off.
pub(super) async fn here(locks: &Locks) -> Option<Vec<LockRow>> {
    let (group, book) = locks.book()?;
    group.barrier().await.ok()?;
    let state = book.read();
    let row = |row: ekka_core::lock::Row<'_>| LockRow {
        name: row.name.clone(),
        holders: row
            .holders
            .iter()
            .map(|(session, owner, mode, token)| LockHolder {
                owner: (*owner).to_owned(),
                session: session.to_string(),
                mode: *mode,
                token: *token,
            })
            .collect(),
        waiters: row.waiters as u64,
    };
    Some(state.locks().rows().map(row).collect())
}
