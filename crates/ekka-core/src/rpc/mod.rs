//! Room `rpc`: calls, casts and streams between two nodes, as far as they need no socket.
//!
//! Owns the messages of the lane for calls ([`Head`]), what the called side has under way for one peer ([`Serving`]),
//! and the credit of a stream ([`Credit`], [`Acknowledged`]). Payloads stay bytes: the codec of a method is the shell's.
//!
//! In: messages of the peer, and the ends of the work that they began. Out: what may run now.
//!
//! Invariants: at most `window` calls of one connection are under way, so a peer that calls without reading answers cannot
//! make memory grow; of the calls with one key at most one runs, and they run in the order in which they came; a
//! call is answered at most once.

mod credit;
mod message;
mod serving;

pub use credit::{Acknowledged, Credit, Overrun};
pub use message::{CallHead, Codec, Head, MessageError, Refusal, Trace, decode, encode};
pub use serving::{Admitted, Serving};

/// Hashes the text of a key. Equal keys must meet; two keys that meet by accident only wait for each other.
#[must_use]
pub fn key_of(text: &[u8]) -> u64 {
    // FNV-1a: the same on every node and in every version.
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
