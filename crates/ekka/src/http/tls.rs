//! TLS 1.3 towards a server: which authorities are trusted, and which certificate this side shows.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::{HttpError, Server};
use crate::env::{BoxStream, Env, system_authorities};
use crate::pem::{self, CERTIFICATES, KEY, PemError};

/// Files in PEM.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsFiles {
    /// Authorities; without it those that the system trusts.
    pub(crate) cacertfile: Option<PathBuf>,
    /// The certificate that this side shows, and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// How the files looked when they were read: they are read again when that changes.
type Look = Vec<Option<(SystemTime, u64)>>;

pub(super) struct Connector {
    files: TlsFiles,
    made: Mutex<Option<(Look, Arc<ClientConfig>)>>,
}

impl Connector {
    pub(super) fn new(files: TlsFiles) -> Self {
        Self { files, made: Mutex::new(None) }
    }

    pub(super) async fn connect(&self, env: &Env, server: &Server) -> Result<BoxStream, HttpError> {
        let failed =
            |why: &dyn std::fmt::Display| HttpError::Connect { server: server.to_string(), why: why.to_string() };
        let (stream, _) = env.net.dial(&server.endpoint).await.map_err(|error| failed(&error))?;
        if !server.tls {
            return Ok(stream);
        }
        let wrong = |why: String| HttpError::Tls { server: server.to_string(), why };
        let config = self.config(env).await.map_err(wrong)?;
        let host = server.endpoint.host.to_string();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| wrong(format!("{host} is no name that a certificate can hold")))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| wrong(error.to_string()))?))
    }

    async fn config(&self, env: &Env) -> Result<Arc<ClientConfig>, String> {
        let files = self.files.clone();
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (look, config) = env
            .blocking(move || {
                let look = look(&files);
                match made {
                    Some((before, config)) if before == look => Ok((look, config)),
                    _ => make(&files).map(|config| (look, config)),
                }
            })
            .await?;
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some((look, config.clone()));
        Ok(config)
    }
}

fn look(files: &TlsFiles) -> Look {
    let identity = files.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
    let paths = files.cacertfile.iter().chain(identity);
    let one = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    paths.map(one).collect()
}

fn make(files: &TlsFiles) -> Result<Arc<ClientConfig>, String> {
    let authorities = match &files.cacertfile {
        Some(path) => certificates(path).map_err(|error| error.to_string())?,
        None => system_authorities()?,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    if roots.is_empty() {
        let from = files.cacertfile.as_deref().unwrap_or(Path::new("the system's list"));
        return Err(format!("{}: holds no authority that can be used", from.display()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certfile, keyfile)) => {
            let files = || Ok((certificates(certfile)?, pem::key(keyfile, &pem::bytes(keyfile, KEY)?)?));
            let (chain, key) = files().map_err(|error: PemError| error.to_string())?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("{} and {}: {error}", certfile.display(), keyfile.display()))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    pem::certificates(path, &pem::bytes(path, CERTIFICATES)?)
}
