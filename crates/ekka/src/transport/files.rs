//! The operator's certificate files: read as a whole, and read again when what they hold has changed.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::credentials::CredentialsError;
use super::expiry::not_after;
use super::kdf::mac;
use super::shared::Shared;
use crate::pem::{self, CERTIFICATES, KEY, bytes, certificates};

/// What became of changed certificate files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateNotice {
    /// They are in use.
    Taken,
    /// They cannot be used, and why; those before go on serving. Said once for each cause.
    Refused(String),
}

/// What three files hold.
pub(super) struct Files {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) facts: Facts,
}

/// What is remembered of files in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    /// Of the bytes of all three.
    pub(super) digest: [u8; 32],
    /// When the first of the own chain ends, in seconds since 1970.
    pub(super) own_ends: Option<u64>,
    /// When the first of the authorities ends.
    pub(super) ca_ends: Option<u64>,
}

impl Files {
    /// Reads them. Gives `None` where they hold what `before` was made from. Blocks.
    pub(super) fn read(
        certfile: &Path,
        keyfile: &Path,
        cacertfile: &Path,
        before: Option<&Facts>,
    ) -> Result<Option<Self>, CredentialsError> {
        let (chain, key, authorities) =
            (bytes(certfile, CERTIFICATES)?, bytes(keyfile, KEY)?, bytes(cacertfile, CERTIFICATES)?);
        let digest = mac(b"ekka certificate files", &[&chain, &key, &authorities]);
        if before.is_some_and(|before| before.digest == digest) {
            return Ok(None);
        }
        let chain = certificates(certfile, &chain)?;
        let key = pem::key(keyfile, &key)?;
        let authorities = certificates(cacertfile, &authorities)?;
        let first_end = |list: &[CertificateDer<'_>]| list.iter().filter_map(|one| not_after(one)).min();
        let facts = Facts { digest, own_ends: first_end(&chain), ca_ends: first_end(&authorities) };
        Ok(Some(Self { chain, key, authorities, facts }))
    }
}

/// Looks at the files now and then, and takes what they hold. Between two writes of an operator they may not fit
/// together: then those before serve, and the next look tries again.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut said = None;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = shared.kill.cancelled() => return,
            () = tokio::time::sleep(shared.limits.certificates_poll) => {}
        }
        let before = shared.credentials();
        let reading = before.clone();
        match shared.env.blocking(move || reading.read_again()).await {
            Ok(None) => said = None,
            Ok(Some(fresh)) => {
                said = None;
                // A reload that came between knows better.
                if shared.take_credentials(fresh, Some(&before)) {
                    shared.tell_certificates(CertificateNotice::Taken);
                }
            }
            Err(error) => {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    shared.tell_certificates(CertificateNotice::Refused(text.clone()));
                    said = Some(text);
                }
            }
        }
    }
}
