//! Every way in which a peer can be bad: refused within its deadline, counted under its reason, told once a minute.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::transport_common::pki::{Pki, uri};
use crate::transport_common::*;
use ekka::transport::{Credentials, Limits, RefusalNotice};
use ekka_core::control::DialError;
use ekka_core::wire::{RefusalReason, VersionRange};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How often each is bad.
const TIMES: u64 = 3;
const DEADLINE: Duration = Duration::from_millis(500);

/// One node, and what it tells of refusals.
struct Victim {
    node: Node,
    notices: broadcast::Receiver<RefusalNotice>,
    begun: Instant,
}

impl Victim {
    async fn new(pki: &Pki) -> Self {
        let limits = Limits { handshake: DEADLINE, linger: Duration::from_millis(50), ..Limits::default() };
        let node = Setup { credentials: pki.trusted(), limits, ..setup(1) }.start().await;
        let notices = node.transport.refusals();
        Self { node, notices, begun: Instant::now() }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.node.transport.local_addrs()[0]).await.unwrap()
    }

    /// A peer that the operator certified.
    async fn certified(&self, pki: &Pki) -> TlsStream<TcpStream> {
        let read = |name: &str| fs::read(pki.path().join(name)).unwrap();
        let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(&read(name)).collect::<Result<_, _>>().unwrap()
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("ca.pem"));
        let key = PrivateKeyDer::from_pem_slice(&read("node.key")).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates("node.pem"), key)
            .unwrap();
        let name = ServerName::from(IpAddr::from([127, 0, 0, 1]));
        TlsConnector::from(Arc::new(config)).connect(name, self.connect().await).await.unwrap()
    }

    /// All were refused for this reason alone, in time, and were told of once.
    async fn refused(&mut self, reason: RefusalReason) {
        self.node.refused(reason.as_str(), TIMES).await;
        let limit = DEADLINE * u32::try_from(TIMES).unwrap() + Duration::from_secs(5);
        assert!(self.begun.elapsed() < limit, "{reason:?}: {:?}", self.begun.elapsed());
        let counted = self.node.transport.stats().refused;
        assert_eq!(counted.values().sum::<u64>(), TIMES, "{reason:?}: {counted:?}");
        let told: Vec<_> = std::iter::from_fn(|| self.notices.try_recv().ok()).map(|n| (n.reason, n.count)).collect();
        assert_eq!(told, [(reason, 1)]);
        assert!(self.node.inputs.try_recv().is_err(), "{reason:?}: nothing of it reaches control");
    }
}

/// Waits for the end of a connection.
async fn ended(mut stream: impl AsyncRead + Unpin) {
    let swallow = async { while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {} };
    timeout(PATIENCE, swallow).await.expect("the connection is closed");
}

/// Dials as node 2 that says these versions of itself.
async fn dial(victim: &Victim, credentials: Credentials, versions: VersionRange) {
    let mut peer = Setup { versions, credentials, ..setup(2) }.start().await;
    for _ in 0..TIMES {
        let error = peer.dial_and_fail(&victim.node.endpoint).await;
        assert!(matches!(error, DialError::Rejected(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_peer_certified_for_another_name() {
    let pki = Pki::new();
    let mut victim = Victim::new(&pki).await;
    dial(&victim, pki.issue(uri("ekka://ekka3@127.0.0.1"), 4000), VersionRange::OURS).await;
    victim.refused(RefusalReason::Name).await;
}

#[tokio::test]
async fn a_peer_of_a_protocol_that_nobody_speaks() {
    let pki = Pki::new();
    let mut victim = Victim::new(&pki).await;
    dial(&victim, pki.trusted(), VersionRange { min: 7, max: 9 }).await;
    victim.refused(RefusalReason::Version).await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else() {
    let mut victim = Victim::new(&Pki::new()).await;
    for _ in 0..TIMES {
        let mut stream = victim.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        ended(stream).await;
    }
    victim.refused(RefusalReason::Garbage).await;
}

#[tokio::test]
async fn a_peer_that_announces_a_huge_frame() {
    let pki = Pki::new();
    let mut victim = Victim::new(&pki).await;
    for _ in 0..TIMES {
        let mut stream = victim.certified(&pki).await;
        stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        ended(stream).await;
    }
    victim.refused(RefusalReason::TooLarge).await;
}

#[tokio::test]
async fn a_peer_that_says_nothing() {
    let pki = Pki::new();
    let mut victim = Victim::new(&pki).await;
    ended(victim.connect().await).await;
    for _ in 1..TIMES {
        // Verified, and silent from then on.
        ended(victim.certified(&pki).await).await;
    }
    victim.refused(RefusalReason::Timeout).await;
}
