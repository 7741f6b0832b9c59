//! Why a dial came to nothing.

use alloc::string::String;

use crate::wire::Refusal;

/// Why a dial came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DialError {
    /// The host refused: no process listens there.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The name could not be resolved.
    Unresolved(String),
    /// Any other error of the network, in the words of the system.
    Network(String),
    /// TLS or the HMAC challenge failed: cookie, cluster name or TLS mode differ.
    Credentials(String),
    /// The peer answered with a refusal.
    Rejected(Refusal),
    /// What answered does not speak the protocol.
    Garbage(String),
}

impl core::fmt::Display for DialError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused: no process listens there"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Unresolved(text) => write!(f, "the name does not resolve: {text}"),
            Self::Network(text) | Self::Credentials(text) => f.write_str(text),
            Self::Rejected(refusal) => f.write_str(&refusal.text),
            Self::Garbage(text) => write!(f, "what answers there does not speak ekka's protocol: {text}"),
        }
    }
}
