//! The certificate authorities that the system trusts.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where most systems keep them.
const PLACES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Reads them, those that can be read. Blocks.
///
/// # Errors
/// This host keeps none where they usually are, in words.
pub fn system_authorities() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = PLACES.iter().map(Path::new).find(|path| path.exists());
    let path = found.ok_or_else(|| format!("this host keeps no authorities in {}", PLACES.join(", ")))?;
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect())
}
