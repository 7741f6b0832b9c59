//! The server's own authority, as files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// An authority and what it signed.
#[derive(Clone)]
pub(crate) struct Pki {
    ca: PathBuf,
    config: Arc<ServerConfig>,
}

impl Pki {
    /// Makes an authority, and a certificate for these names and addresses.
    pub(crate) fn new(directory: &Path, names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("an authority");
        let ca = directory.join("ca.crt");
        fs::write(&ca, authority.pem()).expect("the authority can be written");
        let issuer = Issuer::new(params, key);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let own = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(names).expect("names").signed_by(&own, &issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(own.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
        Self { ca, config: Arc::new(config.expect("a certificate with its key")) }
    }

    /// The authority in PEM.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }
}
