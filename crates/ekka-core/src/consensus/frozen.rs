//! Snapshots beside the machine: a state of one moment that is written down piece by piece, and pieces that become a
//! state again, both without whoever applies the log.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;

/// Bytes of a piece of a state that is bytes already.
const PIECE: usize = 256 * 1024;

/// A state of one moment.
pub trait Frozen: Send + Sync {
    /// The bytes of the snapshot in pieces, the same each time. They may be cut anywhere.
    fn pieces(&self) -> Box<dyn Iterator<Item = Vec<u8>> + Send + '_>;
}

impl Frozen for Vec<u8> {
    fn pieces(&self) -> Box<dyn Iterator<Item = Vec<u8>> + Send + '_> {
        Box::new(self.chunks(PIECE).map(<[u8]>::to_vec))
    }
}

/// Puts a state together from the pieces of a snapshot, however they are cut.
pub trait Restoring: Send + Sync {
    /// Takes the next piece.
    ///
    /// # Errors
    /// It does not go on as a snapshot does, in words. Nothing can be made of this any more.
    fn take(&mut self, piece: &[u8]) -> Result<(), String>;

    /// The state, once all pieces have been taken.
    ///
    /// # Errors
    /// It ends too early, or was none, in words.
    fn finish(self: Box<Self>) -> Result<Restored, String>;
}

/// Makes a [`Restoring`] with nothing in it.
pub type Restorer = fn() -> Box<dyn Restoring>;

/// A state that was put together, of the kind of one machine.
pub struct Restored(Box<dyn Any + Send>);

impl Restored {
    /// That it is of another kind of machine.
    pub const OTHER: &str = "a snapshot of another kind of state";

    /// This state.
    #[must_use]
    pub fn new<T: Send + 'static>(state: T) -> Self {
        Self(Box::new(state))
    }

    /// The state, where it is of this kind.
    #[must_use]
    pub fn into_state<T: 'static>(self) -> Option<T> {
        self.0.downcast().ok().map(|state| *state)
    }
}

/// Keeps the bytes as they are, for machines that have little in them.
#[derive(Clone, Debug, Default)]
pub struct Gathered(Vec<u8>);

impl Restoring for Gathered {
    fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        self.0.extend_from_slice(piece);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Restored, String> {
        Ok(Restored::new(self.0))
    }
}
