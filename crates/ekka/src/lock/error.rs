//! Why a lock was not had, or is held no more.

use std::time::Duration;

use ekka_core::lock::{BadName, LockName};

/// Why a lock was not had, or is held no more. In every case this caller holds nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Something else that was asked for cannot be, in words.
    #[error("{0}")]
    Bad(String),
    /// Somebody holds it, and it was not to be waited for.
    #[error("lock {name} is held{}", by(holder.as_ref()))]
    Held {
        /// Which.
        name: LockName,
        /// Whose it is, where that is known.
        holder: Option<String>,
    },
    /// It was not free within the time given.
    #[error("lock {name} was not free within {waited:?}{}", by(holder.as_ref()))]
    TimedOut {
        /// Which: of several the one that was waited for.
        name: LockName,
        /// For how long.
        waited: Duration,
        /// Whose it is, where that is known.
        holder: Option<String>,
    },
    /// No majority of the voters is in reach, so nobody may be let in.
    #[error("no majority of the voters is in reach: {0}")]
    NoQuorum(String),
    /// It was held, and was lost: its time ran out, its node was cut off or declared gone, or an operator took it.
    #[error("lock {0} was lost")]
    Lost(LockName),
    /// It cannot be given, in words.
    #[error("{0}")]
    Refused(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

fn by(holder: Option<&String>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

impl LockError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::TimedOut { .. } | Self::NoQuorum(_) | Self::Lost(_))
    }
}
