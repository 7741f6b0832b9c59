//! Strategies that name candidates: each is one type behind one trait, each only a hint.

use ekka_core::autocluster::Candidate;
use ekka_core::id::ClusterId;

use crate::env::BoxFuture;

/// One strategy.
pub trait Discovery: Send + Sync + 'static {
    /// The word in the configuration.
    fn name(&self) -> &'static str;

    /// Whom it knows now. An answer can add someone to contact, never remove a member.
    fn discover(&self) -> BoxFuture<'_, Result<Vec<Candidate>, String>>;

    /// Makes this node known where the backend can.
    fn register(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Takes this node's entry out, at stop and at leave.
    fn unregister(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Where the backend decides: offers `id` and gives the id that holds. `None`: the backend cannot decide.
    fn claim(&self, _id: ClusterId) -> BoxFuture<'_, Result<Option<ClusterId>, String>> {
        Box::pin(async { Ok(None) })
    }
}
