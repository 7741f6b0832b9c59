//! The shape of a room: input and time in, outputs out, and the next deadline.

use alloc::vec::Vec;

use crate::time::{Instant, Now};

/// A pure state machine. It reads no clock, draws no randomness of its own, and does no input or output.
pub trait Machine {
    /// What comes in: messages, results of outputs, ticks.
    type Input;
    /// What goes out: things for the shell, or for the room above, to do in this order.
    type Output;

    /// Takes one input at `now` and appends what is to be done.
    fn handle(&mut self, input: Self::Input, now: Now, out: &mut Vec<Self::Output>);

    /// Does what is due at `now`. Called at [`Machine::deadline`] or later, and harmless at any time.
    fn tick(&mut self, now: Now, out: &mut Vec<Self::Output>);

    /// The earliest time at which [`Machine::tick`] is wanted.
    fn deadline(&self) -> Option<Instant>;

    /// Asserts every invariant that the module's head names. Called after each step in simulation and tests.
    fn check(&self);
}
