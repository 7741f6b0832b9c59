//! Why a call gave no answer.

use std::time::Duration;

use ekka_core::id::NodeId;

/// Why a call gave no answer.
///
/// Two questions decide what to do: [`outcome_unknown`](Self::outcome_unknown), whether the request may have been
/// carried out, and [`is_retryable`](Self::is_retryable), whether the same call may be made again without doing anything
/// twice.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The node is not there, or the connection with it ended before the answer came.
    #[error("{text}")]
    Unreachable {
        /// Whom.
        node: NodeId,
        /// Why, in words.
        text: String,
        /// The request may have left this node.
        sent: bool,
    },
    /// The deadline passed.
    #[error("no answer within {after:?}{}", if *.sent { "" } else { ", and the request had not been sent" })]
    TimedOut {
        /// Whom.
        node: NodeId,
        /// How long it had.
        after: Duration,
        /// The request may have left this node.
        sent: bool,
    },
    /// The node has no handler of this name.
    #[error("{text}")]
    NoSuchMethod {
        /// Whom.
        node: NodeId,
        /// What it has instead, in words.
        text: String,
    },
    /// The handler gave an error, or panicked.
    #[error("the handler failed: {text}")]
    HandlerFailed {
        /// Whom.
        node: NodeId,
        /// What it said.
        text: String,
    },
    /// Request or answer are above the limit.
    #[error("{what} of {size} bytes, at most {limit} are carried")]
    TooLarge {
        /// Whom.
        node: NodeId,
        /// Which of both.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
        /// It is the answer that is too large: the handler has run.
        ran: bool,
    },
    /// The two sides do not understand each other: types or codecs differ.
    #[error("{text}")]
    VersionMismatch {
        /// Whom.
        node: NodeId,
        /// What differs, in words.
        text: String,
        /// It is the answer that cannot be read: the handler has run.
        ran: bool,
    },
    /// The node stopped while the handler ran.
    #[error("the node stopped before the handler was done")]
    Cancelled {
        /// Whom.
        node: NodeId,
    },
    /// The node has as many calls of this one under way as it takes. Nothing was run.
    #[error("{text}")]
    Busy {
        /// Whom.
        node: NodeId,
        /// What is full, in words.
        text: String,
    },
}

impl CallError {
    /// Whom it was to reach.
    #[must_use]
    pub fn node(&self) -> NodeId {
        match self {
            Self::Unreachable { node, .. }
            | Self::TimedOut { node, .. }
            | Self::NoSuchMethod { node, .. }
            | Self::HandlerFailed { node, .. }
            | Self::TooLarge { node, .. }
            | Self::VersionMismatch { node, .. }
            | Self::Cancelled { node }
            | Self::Busy { node, .. } => *node,
        }
    }

    /// Whether the handler may have run, or may still run, although this node will not learn how it ended. Where it is
    /// false the handler either did not run, or its failure is known.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Unreachable { sent, .. } | Self::TimedOut { sent, .. } => *sent,
            Self::TooLarge { ran, .. } | Self::VersionMismatch { ran, .. } => *ran,
            Self::Cancelled { .. } => true,
            Self::NoSuchMethod { .. } | Self::HandlerFailed { .. } | Self::Busy { .. } => false,
        }
    }

    /// Whether the same call may be made again and may then succeed: nothing was run, and the cause may pass. Where the
    /// outcome is unknown it is false; a request that may be carried out twice can be repeated all the same.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let passes = matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. });
        passes && !self.outcome_unknown()
    }

    /// The word for metrics and JSON.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed_out",
            Self::NoSuchMethod { .. } => "no_such_method",
            Self::HandlerFailed { .. } => "handler_failed",
            Self::TooLarge { .. } => "too_large",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::Cancelled { .. } => "cancelled",
            Self::Busy { .. } => "busy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_run_may_be_repeated() {
        let node = NodeId::from_u128(1);
        let after = Duration::from_secs(5);
        let text = String::new;
        let table = [
            (CallError::Unreachable { node, text: text(), sent: false }, false, true),
            (CallError::Unreachable { node, text: text(), sent: true }, true, false),
            (CallError::TimedOut { node, after, sent: false }, false, true),
            (CallError::TimedOut { node, after, sent: true }, true, false),
            (CallError::NoSuchMethod { node, text: text() }, false, false),
            (CallError::HandlerFailed { node, text: text() }, false, false),
            (CallError::TooLarge { node, what: "a request", size: 2, limit: 1, ran: false }, false, false),
            (CallError::TooLarge { node, what: "an answer", size: 2, limit: 1, ran: true }, true, false),
            (CallError::VersionMismatch { node, text: text(), ran: false }, false, false),
            (CallError::VersionMismatch { node, text: text(), ran: true }, true, false),
            (CallError::Cancelled { node }, true, false),
            (CallError::Busy { node, text: text() }, false, true),
        ];
        for (error, unknown, retryable) in table {
            assert_eq!((error.outcome_unknown(), error.is_retryable()), (unknown, retryable), "{error:?}");
            assert_eq!(error.node(), node);
        }
    }
}
