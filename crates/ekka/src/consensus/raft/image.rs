//! A snapshot between the engine, the store and the network: never one piece of bytes.

use std::fmt;
use std::sync::{Arc, Mutex};

use ekka_core::consensus::{Frozen, Restored};

use super::shared::lock;

/// The engine carries it and does not look into it.
#[derive(Clone, Default)]
pub(crate) enum Image {
    #[default]
    Nothing,
    /// A state of this replica, to be written down for another.
    Frozen(Arc<dyn Frozen>),
    /// A state that has come, put together.
    Restored(Arc<Mutex<Option<Restored>>>),
}

impl Image {
    pub(super) fn restored(state: Restored) -> Self {
        Self::Restored(Arc::new(Mutex::new(Some(state))))
    }

    /// The state that has come: once.
    pub(super) fn into_restored(self) -> Option<Restored> {
        match self {
            Self::Restored(state) => lock(&state).take(),
            Self::Nothing | Self::Frozen(_) => None,
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "no snapshot",
            Self::Frozen(_) => "a snapshot",
            Self::Restored(_) => "a snapshot that has come",
        })
    }
}

/// The same bytes in pieces of this size; the last one may be shorter.
pub(super) struct Cut<I> {
    pieces: I,
    size: usize,
    begun: Vec<u8>,
}

impl<I: Iterator<Item = Vec<u8>>> Cut<I> {
    pub(super) fn new(pieces: I, size: usize) -> Self {
        Self { pieces, size, begun: Vec::new() }
    }
}

impl<I: Iterator<Item = Vec<u8>>> Iterator for Cut<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while self.begun.len() < self.size {
            let Some(piece) = self.pieces.next() else {
                return Some(std::mem::take(&mut self.begun)).filter(|last| !last.is_empty());
            };
            if self.begun.is_empty() {
                self.begun = piece;
            } else {
                self.begun.extend_from_slice(&piece);
            }
        }
        let rest = self.begun.split_off(self.size);
        Some(std::mem::replace(&mut self.begun, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_anew_and_nothing_is_lost() {
        let pieces = || [3, 0, 10, 1, 7].into_iter().map(|length| (0..length).collect::<Vec<u8>>());
        let whole = pieces().collect::<Vec<_>>().concat();
        for size in 1..25 {
            let cut: Vec<_> = Cut::new(pieces(), size).collect();
            assert_eq!(cut.concat(), whole);
            let (last, others) = cut.split_last().unwrap();
            assert!(others.iter().all(|piece| piece.len() == size) && (1..=size).contains(&last.len()));
        }
        assert_eq!(Cut::new(std::iter::empty(), 4).next(), None);
    }
}
