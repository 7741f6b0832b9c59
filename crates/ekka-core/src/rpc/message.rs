//! The messages of the lane for calls: a head in `postcard`, then the payload to the end of the frame.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::limits::METHOD_NAME_MAX;

/// How a payload is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Codec {
    /// `MessagePack` with the names of fields, so that fields may be added.
    MessagePack,
    /// JSON.
    Json,
    /// `postcard`: small and fast, but both sides must have the very same types.
    Postcard,
    /// Bytes as they are.
    Raw,
}

impl Codec {
    /// The word for people and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessagePack => "messagepack",
            Self::Json => "json",
            Self::Postcard => "postcard",
            Self::Raw => "raw",
        }
    }
}

/// The place of a call in a distributed trace, as W3C Trace Context defines it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The trace.
    pub trace_id: u128,
    /// The span of the caller.
    pub span_id: u64,
    /// Its flags; bit 0 says that it is recorded.
    pub flags: u8,
}

/// The head of a call and of the opening of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallHead<'a> {
    /// Numbered by the caller, for this connection; never used twice on it.
    pub id: u64,
    /// The method.
    pub method: &'a str,
    /// How the payload is written.
    pub codec: Codec,
    /// What is left of the deadline, in microseconds: clocks are not compared.
    pub deadline_us: u64,
    /// Calls with one key run in order.
    pub key: Option<u64>,
    /// The caller's place in a trace.
    pub trace: Option<Trace>,
}

/// Why a call was not answered with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// No handler of this name.
    NoSuchMethod,
    /// The window of this peer is full; nothing was run.
    Busy,
    /// The request cannot be read with the types of this side; nothing was run.
    VersionMismatch,
    /// The handler gave an error, or panicked.
    HandlerFailed,
    /// The answer is above the limit; the handler has run.
    AnswerTooLarge,
    /// The deadline passed; the handler was dropped.
    TimedOut,
    /// This node stops; the handler was dropped.
    Cancelled,
}

/// What a frame of the lane says; a payload follows it. New kinds are appended, never inserted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Head<'a> {
    /// A request; its payload follows.
    #[serde(borrow)]
    Call(CallHead<'a>),
    /// A request that nobody waits for. It is answered all the same, without a payload: that frees its place in the
    /// window.
    Cast(CallHead<'a>),
    /// The answer follows.
    Answer {
        /// Of which call.
        id: u64,
    },
    /// There is no answer; the words follow.
    Refused {
        /// Of which call, or stream.
        id: u64,
        /// Why.
        why: Refusal,
    },
    /// The caller does not wait any more.
    Cancel {
        /// Of which call, or stream.
        id: u64,
    },
    /// The sender opens a stream.
    Open {
        /// Which, and to whom; the deadline is that of the first acknowledgement.
        call: CallHead<'a>,
        /// Items that may be on their way.
        window: u32,
    },
    /// The next item of a stream follows.
    Item {
        /// Of which stream.
        id: u64,
    },
    /// The receiver has handled the items up to this number (the first is 1).
    Handled {
        /// Of which stream.
        id: u64,
        /// How many in all.
        count: u64,
    },
    /// The sender has sent all.
    Finish {
        /// Of which stream.
        id: u64,
    },
    /// The receiver has handled all and ended without error.
    Finished {
        /// Of which stream.
        id: u64,
    },
}

/// Why bytes are no message. The peer's fault; the connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The head cannot be read.
    #[error("the head of a call cannot be read")]
    Head,
    /// The name of a method is empty or too long.
    #[error("a method's name of {0} bytes")]
    MethodName(usize),
}

/// Appends the head to `out`; the payload is appended by the caller.
pub fn encode(head: &Head<'_>, out: &mut Vec<u8>) {
    // A vector takes everything, and no type of the head is one that postcard cannot hold.
    match postcard::to_extend(head, core::mem::take(out)) {
        Ok(bytes) => *out = bytes,
        Err(error) => debug_assert!(false, "a head that cannot be encoded: {error}"),
    }
}

/// Splits a frame into its head and its payload.
///
/// # Errors
/// The bytes are no message; nothing was changed, and the connection must be closed.
pub fn decode(frame: &[u8]) -> Result<(Head<'_>, &[u8]), MessageError> {
    let (head, payload) = postcard::take_from_bytes::<Head<'_>>(frame).map_err(|_| MessageError::Head)?;
    if let Head::Call(call) | Head::Cast(call) | Head::Open { call, .. } = &head {
        let length = call.method.len();
        if length == 0 || length > METHOD_NAME_MAX {
            return Err(MessageError::MethodName(length));
        }
    }
    Ok((head, payload))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn call(method: &str) -> CallHead<'_> {
        let trace = Trace { trace_id: 1 << 100, span_id: 7, flags: 1 };
        CallHead {
            id: 300,
            method,
            codec: Codec::Json,
            deadline_us: 5_000_000,
            key: Some(u64::MAX),
            trace: Some(trace),
        }
    }

    #[test]
    fn every_message_survives_the_wire_with_its_payload() {
        for head in [
            Head::Call(call("shop.price")),
            Head::Cast(call("x")),
            Head::Answer { id: 1 },
            Head::Refused { id: 2, why: Refusal::HandlerFailed },
            Head::Cancel { id: 3 },
            Head::Open { call: call("shop.orders"), window: 1024 },
            Head::Item { id: 4 },
            Head::Handled { id: 4, count: 9 },
            Head::Finish { id: 4 },
            Head::Finished { id: 4 },
        ] {
            let mut bytes = vec![9, 9];
            encode(&head, &mut bytes);
            bytes.extend_from_slice(b"payload");
            assert_eq!(decode(&bytes[2..]), Ok((head, &b"payload"[..])));
        }
    }

    #[test]
    fn a_name_that_no_method_can_have_is_refused() {
        let long = "x".repeat(METHOD_NAME_MAX + 1);
        for (name, length) in [("", 0), (long.as_str(), METHOD_NAME_MAX + 1)] {
            let mut bytes = Vec::new();
            encode(&Head::Call(call(name)), &mut bytes);
            assert_eq!(decode(&bytes), Err(MessageError::MethodName(length)));
        }
        assert_eq!(decode(&[200]), Err(MessageError::Head));
    }
}
