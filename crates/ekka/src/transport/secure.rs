//! From a fresh stream to one whose other end is known to hold trusted credentials, in every mode.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::challenge::{Challenge, MAGIC, NO, Proven, Seal, Side};
use super::credentials::{AuthorityId, Credentials, Security};
use super::failure::Failure;
use super::tls::{PEER_DNS_NAME, Tls};
use crate::env::{BoxStream, Entropy};

/// The first byte of a TLS handshake record.
pub(super) const TLS_HANDSHAKE: u8 = 22;
/// A fatal TLS alert, `access_denied`: how a node without TLS answers one with.
const TLS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// A stream whose other end holds trusted credentials.
///
/// On the dialling side of TLS the peer has not yet judged this node; that shows at the first read.
pub(super) struct Secured {
    pub(super) stream: BoxStream,
    pub(super) seal: Seal,
    pub(super) trust: Trust,
    /// The certificate to compare the claimed name with; only of the operator's.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// The authorities that a connection stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trust {
    ours: Option<AuthorityId>,
    pub(super) theirs: AuthorityId,
}

impl Trust {
    /// For tests of what comes after the securing.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { ours: None, theirs: AuthorityId([0; 32]) }
    }

    /// Whether both are still trusted.
    pub(super) fn holds_under(&self, credentials: &Credentials) -> bool {
        credentials.trusts(&self.theirs) && self.ours.is_none_or(|ours| credentials.trusts(&ours))
    }
}

/// A failure, and the stream on which the peer may still be told.
pub(super) struct Unsecured {
    pub(super) failure: Failure,
    pub(super) stream: Option<BoxStream>,
}

/// Lets the present runtime wait for the socket under a secured stream; see [`crate::env::rehome`].
pub(super) fn rehome(stream: &mut BoxStream) -> io::Result<()> {
    let any = (**stream).as_any();
    if let Some(dialled) = any.downcast_mut::<tokio_rustls::client::TlsStream<BoxStream>>() {
        return crate::env::rehome(dialled.get_mut().0);
    }
    if let Some(accepted) = any.downcast_mut::<tokio_rustls::server::TlsStream<Rewound>>() {
        return crate::env::rehome(&mut accepted.get_mut().0.inner);
    }
    if let Some(rewound) = any.downcast_mut::<Rewound>() {
        return crate::env::rehome(&mut rewound.inner);
    }
    crate::env::rehome(stream)
}

/// Secures the dialling side.
pub(super) async fn dial(
    credentials: &Credentials,
    entropy: &dyn Entropy,
    mut stream: BoxStream,
) -> Result<Secured, Unsecured> {
    match credentials.security() {
        Security::Tls(tls) => dial_tls(tls, stream, credentials).await,
        Security::Challenge(challenge) => match challenge.dial(&mut stream, nonce(entropy)).await {
            Ok(proven) => Ok(in_the_clear(stream, proven)),
            Err(failure) => Err(Unsecured { failure, stream: Some(stream) }),
        },
    }
}

/// Secures the accepting side. `Ok(None)`: the peer went away without a word.
pub(super) async fn accept(
    credentials: &Credentials,
    entropy: &dyn Entropy,
    mut stream: BoxStream,
) -> Result<Option<Secured>, Unsecured> {
    let mut head = [0u8; 4];
    match read_head(&mut stream, &mut head).await {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(failure) => return Err(Unsecured { failure, stream: Some(stream) }),
    }
    let secured = match credentials.security() {
        Security::Tls(tls) => accept_tls(tls, credentials, head, stream).await,
        Security::Challenge(challenge) => accept_challenge(challenge, entropy, head, stream).await,
    };
    secured.map(Some)
}

async fn read_head(stream: &mut BoxStream, head: &mut [u8; 4]) -> Result<bool, Failure> {
    match stream.read(&mut head[..1]).await {
        Ok(0) | Err(_) => return Ok(false),
        Ok(_) => {}
    }
    if head[0] != TLS_HANDSHAKE && head[0] != MAGIC[0] {
        return Err(Failure::Garbage("its first byte is not one of ekka".to_owned()));
    }
    stream.read_exact(&mut head[1..]).await?;
    Ok(true)
}

async fn dial_tls(tls: &Tls, stream: BoxStream, credentials: &Credentials) -> Result<Secured, Unsecured> {
    let name = ServerName::try_from(PEER_DNS_NAME).expect("the fixed name is a DNS name");
    match TlsConnector::from(tls.client.clone()).connect(name, stream).into_fallible().await {
        Ok(stream) => {
            let chain = owned(stream.get_ref().1.peer_certificates());
            secured_by_tls(tls, Side::Dial, chain, Box::new(stream), credentials)
        }
        Err((error, stream)) => Err(Unsecured { failure: error.into(), stream: Some(stream) }),
    }
}

async fn accept_tls(
    tls: &Tls,
    credentials: &Credentials,
    head: [u8; 4],
    mut stream: BoxStream,
) -> Result<Secured, Unsecured> {
    if head == *MAGIC {
        let answer = [&MAGIC[..], &[NO]].concat();
        let failure = match write(&mut stream, &answer).await {
            Ok(()) => Failure::Credentials("it speaks without TLS, we do not".to_owned()),
            Err(error) => error.into(),
        };
        return Err(Unsecured { failure, stream: Some(stream) });
    }
    let stream = Rewound { head, taken: 0, inner: stream };
    match TlsAcceptor::from(tls.server.clone()).accept(stream).into_fallible().await {
        Ok(stream) => {
            let chain = owned(stream.get_ref().1.peer_certificates());
            secured_by_tls(tls, Side::Accept, chain, Box::new(stream), credentials)
        }
        Err((error, stream)) => Err(Unsecured { failure: error.into(), stream: Some(stream.inner) }),
    }
}

async fn accept_challenge(
    challenge: &Challenge,
    entropy: &dyn Entropy,
    head: [u8; 4],
    mut stream: BoxStream,
) -> Result<Secured, Unsecured> {
    let result = if head == *MAGIC {
        challenge.accept(&mut stream, nonce(entropy)).await
    } else if head[0] == TLS_HANDSHAKE {
        match write(&mut stream, &TLS_DENIED).await {
            Ok(()) => Err(Failure::Credentials("it speaks TLS, we do not".to_owned())),
            Err(error) => Err(error.into()),
        }
    } else {
        Err(Failure::Garbage("its first bytes are not those of ekka".to_owned()))
    };
    match result {
        Ok(proven) => Ok(in_the_clear(stream, proven)),
        Err(failure) => Err(Unsecured { failure, stream: Some(stream) }),
    }
}

async fn write(stream: &mut BoxStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn owned(chain: Option<&[CertificateDer<'_>]>) -> Vec<CertificateDer<'static>> {
    chain.unwrap_or_default().iter().map(|certificate| certificate.clone().into_owned()).collect()
}

fn secured_by_tls(
    tls: &Tls,
    side: Side,
    chain: Vec<CertificateDer<'static>>,
    stream: BoxStream,
    credentials: &Credentials,
) -> Result<Secured, Unsecured> {
    let Some(theirs) = tls.authority_of(&chain, side == Side::Dial) else {
        let failure = Failure::Credentials("its certificate leads to no trusted authority".to_owned());
        return Err(Unsecured { failure, stream: Some(stream) });
    };
    let named = matches!(credentials.mode(), super::Mode::Files { .. });
    let certificate = chain.into_iter().next().filter(|_| named);
    Ok(Secured { stream, seal: Seal::Plain, trust: Trust { ours: tls.own, theirs }, certificate })
}

fn in_the_clear(stream: BoxStream, proven: Proven) -> Secured {
    let trust = Trust { ours: Some(proven.ours), theirs: proven.theirs };
    Secured { stream, seal: proven.seal, trust, certificate: None }
}

fn nonce(entropy: &dyn Entropy) -> [u8; 32] {
    let mut nonce = [0u8; 32];
    nonce[..16].copy_from_slice(&entropy.bits().to_be_bytes());
    nonce[16..].copy_from_slice(&entropy.bits().to_be_bytes());
    nonce
}

/// A stream whose first bytes, already read, are given out once more.
struct Rewound {
    head: [u8; 4],
    taken: usize,
    inner: BoxStream,
}

impl AsyncRead for Rewound {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.head[this.taken..];
        if left.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
