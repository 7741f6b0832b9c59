//! TLS for the interface on TCP, from the operator's files.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ServeError;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many may be under way at one time.
const HANDSHAKES_MAX: usize = 32;

/// Certificate and key of a server.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// Reads a chain and its key (PEM).
    ///
    /// # Errors
    /// A file cannot be read, or the two do not belong together.
    pub fn read(certfile: &Path, keyfile: &Path) -> Result<Self, ServeError> {
        let bad = |key, path: &Path, why: String| ServeError::Tls { key, path: path.to_owned(), why };
        let bad_cert = |why: String| bad("api.tls.certfile", certfile, why);
        let bad_key = |why: String| bad("api.tls.keyfile", keyfile, why);
        let pem = std::fs::read(certfile).map_err(|error| bad_cert(error.to_string()))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| bad_cert(format!("no certificate in PEM: {error}")))?;
        if chain.is_empty() {
            return Err(bad_cert("holds no certificate in PEM".into()));
        }
        let pem = std::fs::read(keyfile).map_err(|error| bad_key(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| bad_key(format!("no key in PEM: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| bad_cert(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| bad_cert(format!("does not fit to the key: {error}")))?;
        Ok(Self(Arc::new(config)))
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(certificate and key)")
    }
}

/// A listener whose connections have done their handshake; slow ones do not hold up others.
pub(super) struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    addr: SocketAddr,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, addr: SocketAddr, tls: ServerTls) -> Self {
        let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
        tokio::spawn(shake_hands(tcp, TlsAcceptor::from(tls.0), sender));
        Self { ready, addr }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await, // the runtime is ending
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

async fn shake_hands(
    mut tcp: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, addr) = tokio::select! {
            accepted = Listener::accept(&mut tcp) => accepted,
            () = ready.closed() => return,
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // An error means that the server has ended.
                Ok(Ok(stream)) => drop(ready.send((stream, addr)).await),
                Ok(Err(error)) => tracing::debug!(peer_addr = %addr, err = %error, "admin TLS handshake failed"),
                Err(_) => tracing::debug!(peer_addr = %addr, "admin TLS handshake took too long"),
            }
        });
    }
}
