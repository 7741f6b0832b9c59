//! A write on its way: how it is acknowledged, and for how long that is waited for.

use std::future::IntoFuture;
use std::time::Duration;

use ekka_core::table::{Ack, Acknowledged};

use super::super::acks::Terms;
use super::super::error::PutError;
use crate::env::BoxFuture;

/// Time for copies to be acknowledged, unless told otherwise.
pub(in crate::table) const DEADLINE: Duration = Duration::from_secs(5);

/// A write that is carried out once it is awaited. *Dropping the future then does not undo.*
///
/// The future gives how many nodes have it, and whether it survives the loss of power there, or a [`PutError`].
#[must_use = "it is written when the future is awaited"]
pub struct Request<W> {
    pub(super) work: W,
    terms: Terms,
    deadline: Duration,
}

/// What a request does.
pub trait Work: sealed::Carry {}

impl<W: sealed::Carry> Work for W {}

pub(super) mod sealed {
    use super::{Acknowledged, BoxFuture, Duration, PutError, Terms};

    /// How it is carried out.
    pub trait Carry: Send + 'static {
        /// Does it, and waits for the copies.
        fn carry_out(self, terms: Terms, deadline: Duration) -> BoxFuture<'static, Result<Acknowledged, PutError>>;
    }
}

impl<W> Request<W> {
    pub(super) fn new(work: W) -> Self {
        Self { work, terms: Terms { ack: Ack::Two, strict: false }, deadline: DEADLINE }
    }

    /// How many nodes have to have it: two unless told otherwise, if another one is up.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.terms.ack = ack;
        self
    }

    /// Fewer than two copies are an error; it is written all the same.
    pub fn strict(mut self) -> Self {
        self.terms.strict = true;
        self
    }

    /// How long the copies are waited for: 5 s unless told otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<W: Work> IntoFuture for Request<W> {
    type Output = Result<Acknowledged, PutError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.work.carry_out(self.terms, self.deadline)
    }
}
