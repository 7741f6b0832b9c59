//! Why a handshake came to nothing, with the words that the system or the TLS library gave.

use std::io;

use ekka_core::control::DialError;
use ekka_core::wire::{FrameError, HelloError, Refusal, RefusalReason};
use rustls::AlertDescription;

/// Why a handshake came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Either side does not trust the other; the text is a detail for the log.
    Credentials(String),
    /// The peer does not speak the protocol.
    Garbage(String),
    /// A frame above the limit.
    TooLarge(String),
    /// The peer took too long; what was awaited.
    Timeout(&'static str),
    /// The connection broke.
    Broken(String),
    /// The peer refused this node in words.
    RefusedByPeer(Refusal),
    /// This node refuses the peer in words, which the peer is to be told.
    Refuse(Refusal),
}

impl Failure {
    /// The label under which the accepting side counts it; a connection that merely broke was not refused.
    pub(super) fn reason(&self) -> Option<RefusalReason> {
        match self {
            Self::Credentials(_) => Some(RefusalReason::Credentials),
            Self::Garbage(_) => Some(RefusalReason::Garbage),
            Self::TooLarge(_) => Some(RefusalReason::TooLarge),
            Self::Timeout(_) => Some(RefusalReason::Timeout),
            Self::Refuse(refusal) => Some(refusal.reason),
            Self::Broken(_) | Self::RefusedByPeer(_) => None,
        }
    }

    /// In words; `ours` is [`Credentials::describe`](super::Credentials::describe).
    pub(super) fn text(&self, peer: &str, ours: &str) -> String {
        match self {
            Self::Credentials(detail) => credentials_text(peer, ours, detail),
            Self::Garbage(text) | Self::TooLarge(text) => {
                format!("{peer} does not speak ekka's protocol: {text}")
            }
            Self::Timeout(what) => format!("{peer} took too long: waited for {what}"),
            Self::Broken(text) => format!("{peer}: {text}"),
            Self::RefusedByPeer(refusal) | Self::Refuse(refusal) => refusal.text.clone(),
        }
    }

    /// The same for the dialling side.
    pub(super) fn into_dial_error(self, peer: &str, ours: &str) -> DialError {
        match self {
            Self::Credentials(detail) => DialError::Credentials(credentials_text(peer, ours, &detail)),
            Self::Garbage(text) | Self::TooLarge(text) => DialError::Garbage(text),
            Self::Timeout(_) => DialError::TimedOut,
            Self::Broken(text) => DialError::Network(text),
            Self::RefusedByPeer(refusal) | Self::Refuse(refusal) => DialError::Rejected(refusal),
        }
    }
}

fn credentials_text(peer: &str, ours: &str, detail: &str) -> String {
    format!(
        "{peer} refused our credentials: node.cookie, cluster.name or cluster.tls differ. Ours: {ours}. \
         Compare with \"ekka check\" there ({detail})"
    )
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return of_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Self::Broken("the peer closed the connection in the middle of the handshake".to_owned())
            }
            _ => Self::Broken(format!("the connection broke during the handshake: {error}")),
        }
    }
}

fn of_tls(error: &rustls::Error) -> Failure {
    use AlertDescription as Alert;
    match error {
        rustls::Error::AlertReceived(
            Alert::ProtocolVersion
            | Alert::DecodeError
            | Alert::UnexpectedMessage
            | Alert::IllegalParameter
            | Alert::RecordOverflow
            | Alert::InternalError,
        ) => Failure::Garbage(error.to_string()),
        rustls::Error::AlertReceived(_)
        | rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::FailedToGetCurrentTime => Failure::Credentials(error.to_string()),
        _ => Failure::Garbage(error.to_string()),
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            _ => Self::Garbage(error.to_string()),
        }
    }
}

impl From<HelloError> for Failure {
    fn from(error: HelloError) -> Self {
        Self::Garbage(error.to_string())
    }
}
