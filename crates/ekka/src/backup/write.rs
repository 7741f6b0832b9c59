//! Writing a backup piece by piece; nothing is kept of what was written but its sum.

use ring::digest::{Context, SHA256};

use super::form::{FORM, MAGIC, Piece, SUM};

/// Makes the bytes of a backup.
pub(crate) struct Encoder {
    sum: Context,
}

impl Encoder {
    /// Begins: with the bytes in front of the first piece.
    pub(crate) fn begin() -> (Self, Vec<u8>) {
        let mut first = MAGIC.to_vec();
        first.extend_from_slice(&FORM.to_le_bytes());
        let mut sum = Context::new(&SHA256);
        sum.update(&first);
        (Self { sum }, first)
    }

    /// The bytes of a piece.
    ///
    /// # Errors
    /// It is too long to be written down, in words.
    pub(crate) fn piece(&mut self, piece: &Piece) -> Result<Vec<u8>, String> {
        let packed = postcard::to_allocvec(piece).map_err(|error| error.to_string())?;
        let len = u32::try_from(packed.len()).map_err(|_| format!("a piece of {} bytes", packed.len()))?;
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend_from_slice(&packed);
        self.sum.update(&bytes);
        let sum = self.sum.clone().finish();
        bytes.extend_from_slice(&sum.as_ref()[..SUM]);
        self.sum.update(&sum.as_ref()[..SUM]);
        Ok(bytes)
    }

    /// The bytes behind the last piece.
    pub(crate) fn end(self) -> Vec<u8> {
        self.sum.finish().as_ref().to_vec()
    }
}
