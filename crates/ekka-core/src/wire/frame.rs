//! Frames: `u32` length (big endian, of kind and body), `u8` kind, body.

use alloc::vec::Vec;

use crate::limits::{BULK_FRAME_MAX, CONTROL_FRAME_MAX, HELLO_FRAME_MAX};

/// What a frame carries. The hard limit of its length depends on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// A [`Hello`](super::Hello), the first frame of the dialling side.
    Hello = 1,
    /// A [`HelloReply`](super::HelloReply), the first frame of the accepting side, and a later refusal of the dialling side.
    HelloReply = 2,
    /// A message of the control lane.
    Control = 3,
    /// A message of the bulk lane.
    Bulk = 4,
    /// A message of a consensus group, on a control connection; it passes `Control` by.
    Group = 5,
    /// A call, its answer, or a piece of a stream, on a connection of the lane for calls.
    Call = 6,
    /// A message about a table, on a connection of the lane for tables.
    Table = 7,
}

impl FrameKind {
    /// Longest kind and body together, in bytes.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::Hello | Self::HelloReply => HELLO_FRAME_MAX,
            Self::Control | Self::Group => CONTROL_FRAME_MAX,
            Self::Bulk | Self::Call | Self::Table => BULK_FRAME_MAX,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Hello),
            2 => Some(Self::HelloReply),
            3 => Some(Self::Control),
            4 => Some(Self::Bulk),
            5 => Some(Self::Group),
            6 => Some(Self::Call),
            7 => Some(Self::Table),
            _ => None,
        }
    }
}

/// Why bytes are no frame. The peer's fault; the connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is above the limit of what is expected here.
    #[error("a frame of {length} bytes is announced, at most {limit} are taken here")]
    TooLarge {
        /// The announced length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The length is zero.
    #[error("an empty frame")]
    Empty,
    /// The kind is unknown.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// The kind is known but has no place here.
    #[error("a frame of kind {0:?} has no place here")]
    Unexpected(FrameKind),
}

/// Appends one frame to `out`.
///
/// # Errors
/// `TooLarge` where the body is above the limit of its kind; `out` is unchanged then.
pub fn encode_frame(kind: FrameKind, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let length = body.len() + 1;
    if length > kind.limit() {
        return Err(FrameError::TooLarge { length, limit: kind.limit() });
    }
    out.reserve(4 + length);
    let head = u32::try_from(length).expect("the limit of every kind is far below 2^32");
    out.extend_from_slice(&head.to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(body);
    Ok(())
}

/// Cuts a stream of bytes into frames. Holds at most one frame of the largest kind that is allowed.
#[derive(Debug)]
pub struct FrameDecoder {
    allowed: &'static [FrameKind],
    limit: usize,
    buffer: Vec<u8>,
    start: usize,
}

impl FrameDecoder {
    /// A decoder that takes only frames of these kinds.
    #[must_use]
    pub fn new(allowed: &'static [FrameKind]) -> Self {
        let limit = allowed.iter().map(|kind| kind.limit()).max().unwrap_or(0);
        Self { allowed, limit, buffer: Vec::new(), start: 0 }
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 64 * 1024 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// The peer broke the rules: close the connection. The length is judged as soon as its four bytes are there.
    pub fn next_frame(&mut self) -> Result<Option<(FrameKind, Vec<u8>)>, FrameError> {
        Ok(self.next_slice()?.map(|(kind, body)| (kind, body.to_vec())))
    }

    /// The same without a copy: the body stays in the decoder until the next call.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn next_slice(&mut self) -> Result<Option<(FrameKind, &[u8])>, FrameError> {
        let waiting = &self.buffer[self.start..];
        let Some((head, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if length > self.limit {
            return Err(FrameError::TooLarge { length, limit: self.limit });
        }
        let Some(&byte) = rest.first() else { return Ok(None) };
        let kind = FrameKind::from_byte(byte).ok_or(FrameError::UnknownKind(byte))?;
        if !self.allowed.contains(&kind) {
            return Err(FrameError::Unexpected(kind));
        }
        if length > kind.limit() {
            return Err(FrameError::TooLarge { length, limit: kind.limit() });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let body = self.start + 5..self.start + 4 + length;
        self.start = body.end;
        Ok(Some((kind, &self.buffer[body])))
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: &[FrameKind] = &[FrameKind::Control];

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        for body in [&b""[..], b"a", b"hello"] {
            encode_frame(FrameKind::Control, body, &mut bytes).unwrap();
        }
        for cut in 1..bytes.len() {
            let mut decoder = FrameDecoder::new(CONTROL);
            let mut got = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some((_, body)) = decoder.next_frame().unwrap() {
                    got.push(body);
                }
            }
            assert_eq!(got, [b"".to_vec(), b"a".to_vec(), b"hello".to_vec()]);
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_its_body_comes() {
        let mut decoder = FrameDecoder::new(CONTROL);
        decoder.push(&u32::MAX.to_be_bytes());
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn garbage_is_refused() {
        for (bytes, error) in [
            (&[0, 0, 0, 0][..], FrameError::Empty),
            (&[0, 0, 0, 2, 99, 0][..], FrameError::UnknownKind(99)),
            (&[0, 0, 0, 2, 1, 0][..], FrameError::Unexpected(FrameKind::Hello)),
        ] {
            let mut decoder = FrameDecoder::new(CONTROL);
            decoder.push(bytes);
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }
}
