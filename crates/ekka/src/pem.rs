//! Files in PEM, with errors that name the file, what it should hold, and what was found.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a file of certificates should hold.
pub(crate) const CERTIFICATES: &str = "certificates in PEM";
/// What a file with a key should hold.
pub(crate) const KEY: &str = "private key in PEM";

/// A file that does not hold what it should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: not read as {expected}: {problem}")]
pub(crate) struct PemError {
    pub(crate) path: String,
    pub(crate) expected: &'static str,
    pub(crate) problem: String,
}

impl PemError {
    fn new(path: &Path, expected: &'static str, problem: &str) -> Self {
        Self { path: path.display().to_string(), expected, problem: problem.to_owned() }
    }
}

/// The bytes of a file that should hold that. Blocks.
pub(crate) fn bytes(path: &Path, expected: &'static str) -> Result<Vec<u8>, PemError> {
    fs::read(path).map_err(|error| PemError::new(path, expected, &error.to_string()))
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let problem = |text: &str| PemError::new(path, CERTIFICATES, text);
    let found =
        CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(|e| problem(&e.to_string()))?;
    if found.is_empty() { Err(problem("it holds none")) } else { Ok(found) }
}

/// The key of a file.
pub(crate) fn key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| PemError::new(path, KEY, &error.to_string()))
}
