//! The snapshot of both: written down from what was frozen, and put together from pieces.

use ekka_core::consensus::{Frozen, Restored, Restoring};
use ekka_core::table::quorum::{Reader, View};

use super::{LENGTH, TAG, before_rows};

/// Both at one moment.
pub(super) struct Two {
    pub(super) first: Vec<u8>,
    pub(super) view: View,
}

impl Frozen for Two {
    fn pieces(&self) -> Box<dyn Iterator<Item = Vec<u8>> + Send + '_> {
        Box::new(std::iter::once(before_rows(&self.first)).chain(self.view.pieces()))
    }
}

/// Takes the pieces of a snapshot of both.
#[derive(Default)]
pub(super) struct Both {
    /// What came before the rows; all of it, where there are none.
    begun: Vec<u8>,
    rows: Option<Reader>,
}

impl Both {
    /// How long what comes before the rows is, once that is known.
    fn before(&self) -> Result<Option<usize>, String> {
        let Some((&TAG, rest)) = self.begun.split_first() else { return Ok(None) };
        let Some(length) = rest.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u64::from_le_bytes(*length)).ok();
        let before = length.and_then(|length| length.checked_add(1 + LENGTH));
        before.map(Some).ok_or_else(|| "a snapshot with tables that is too short".to_owned())
    }

    fn take_rows(&mut self, piece: &[u8]) -> Result<(), String> {
        let rows = self.rows.get_or_insert_default();
        rows.take(piece).map_err(|error| error.to_string())
    }
}

impl Restoring for Both {
    fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        if self.rows.is_some() {
            return self.take_rows(piece);
        }
        self.begun.extend_from_slice(piece);
        match self.before()? {
            Some(before) if before <= self.begun.len() => {
                let rows = self.begun.split_off(before);
                self.take_rows(&rows)
            }
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<Restored, String> {
        let Self { mut begun, rows } = *self;
        let tagged = begun.first() == Some(&TAG);
        let view = match rows {
            Some(rows) => rows.finish().map_err(|error| error.to_string())?,
            None if tagged => return Err("a snapshot with tables that is too short".into()),
            None => View::default(),
        };
        if tagged {
            begun.drain(..=LENGTH);
        }
        Ok(Restored::new((begun, view)))
    }
}
