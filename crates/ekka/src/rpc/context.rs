//! What a handler passes on to the calls that it makes itself: the deadline, and the place in a trace.

use std::future::Future;
use std::time::Duration;

use ekka_core::limits::{CALL_DEADLINE, CALL_DEADLINE_MAX};
pub use ekka_core::rpc::Trace;
use tokio::time::Instant;

/// What belongs to the request that a task works for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    pub(super) deadline: Option<Instant>,
    pub(super) trace: Option<Trace>,
}

tokio::task_local! {
    static CONTEXT: Context;
}

impl Context {
    /// That of the present task; empty outside of a handler.
    pub(super) fn current() -> Self {
        CONTEXT.try_with(|context| *context).unwrap_or_default()
    }

    /// Runs a future with it.
    pub(super) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CONTEXT.scope(self, future)
    }

    /// The deadline of a call made now: what was asked for, or the default, but never later than that of the request
    /// that the caller itself works for.
    pub(super) fn deadline(self, asked: Option<Duration>, now: Instant) -> Instant {
        let own = now + asked.unwrap_or(CALL_DEADLINE).min(CALL_DEADLINE_MAX);
        match (self.deadline, asked) {
            (Some(inherited), None) => inherited,
            (Some(inherited), Some(_)) => own.min(inherited),
            (None, _) => own,
        }
    }
}

/// Runs a future as a part of a trace: calls made in it carry this place, and their handlers find it with
/// [`current_trace`]. Inside a handler the caller's place is set already.
pub async fn with_trace<F: Future>(trace: Trace, future: F) -> F::Output {
    Context { trace: Some(trace), ..Context::current() }.scope(future).await
}

/// The place in a trace that the present task works for.
#[must_use]
pub fn current_trace() -> Option<Trace> {
    Context::current().trace
}

/// What is left of the deadline of the request that the present task works for; `None` outside of a handler.
#[must_use]
pub fn time_left() -> Option<Duration> {
    Context::current().deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_inside_a_handler_never_outlives_its_request() {
        let now = Instant::now();
        let at = |secs| now + Duration::from_secs(secs);
        let outside = Context::default();
        assert_eq!(outside.deadline(None, now), now + CALL_DEADLINE);
        assert_eq!(outside.deadline(Some(Duration::from_secs(60)), now), at(60));
        let inside = Context { deadline: Some(at(2)), trace: None };
        assert_eq!(inside.deadline(None, now), at(2));
        assert_eq!(inside.deadline(Some(Duration::from_secs(1)), now), at(1));
        assert_eq!(inside.deadline(Some(Duration::from_secs(60)), now), at(2));
        let inherited = inside.scope(async { (Context::current().deadline, time_left()) }).await;
        assert_eq!(inherited, (Some(at(2)), Some(Duration::from_secs(2))));
    }
}
