//! Bytes: frames with hard limits, and the Hello that both ends say first.
//!
//! Owns no state but the decoder's buffer. Anything unexpected is an error that closes the connection.
//! The wire knows no room: messages of a room encode themselves (serde, `postcard`), the envelope is in `control`.

mod frame;
mod hello;
mod template;

pub use frame::{FrameDecoder, FrameError, FrameKind, encode_frame};
pub use hello::{Hello, HelloError, HelloReply, Lane, Purpose, Refusal, RefusalReason, VersionRange};
pub use template::{HelloTemplate, Moment};

/// The protocol version that this code speaks best.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest protocol version that this code still speaks.
pub const PROTOCOL_VERSION_MIN: u16 = 1;
